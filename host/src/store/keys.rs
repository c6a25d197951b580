//! Keys of this database: that by which a repeat is recognised, and that which seals compiled plugins.
//!
//! Senders choose their ids, so the hash is keyed with a secret of this database:
//! nobody can make two ids collide. 128 bits of HMAC-SHA256 (RFC 2104, truncated as
//! its section 5 allows) make an accident as unlikely as a damaged disk.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension, named_params};
use sha2::Sha256;

use super::{Store, StoreError};

/// A key's hash.
pub(super) type KeyHash = [u8; 16];

/// Seals what this host compiles, so that nobody else's machine code is ever loaded. It stands here because
/// whoever can write to the cache of compiled plugins cannot read it here.
const FIND_ARTEFACT_KEY: &str = "SELECT value FROM meta WHERE name = 'artefact_key'";
const KEEP_ARTEFACT_KEY: &str = "INSERT INTO meta (name, value) VALUES ('artefact_key', :value)";

const FIND_SECRET: &str = "SELECT value FROM meta WHERE name = 'key_secret'";
const KEEP_SECRET: &str = "INSERT INTO meta (name, value) VALUES ('key_secret', :value)";

impl Store {
    /// The key with which compiled plugins are sealed, if the database has one already.
    pub async fn find_artefact_key(&self) -> Result<Option<[u8; 32]>, StoreError> {
        self.read(find_artefact_key).await
    }

    /// The key with which compiled plugins are sealed; made at the first use.
    pub async fn artefact_key(&self) -> Result<[u8; 32], StoreError> {
        self.write(|tx| {
            if let Some(key) = find_artefact_key(tx)? {
                return Ok(key);
            }
            let key: [u8; 32] = rand::random();
            tx.execute(KEEP_ARTEFACT_KEY, named_params! { ":value": key })?;
            Ok(key)
        })
        .await
    }
}

fn find_artefact_key(db: &Connection) -> Result<Option<[u8; 32]>, StoreError> {
    let kept = db
        .query_row(FIND_ARTEFACT_KEY, [], |row| row.get(0))
        .optional()?;
    Ok(kept)
}

/// Hashes keys with this database's secret.
pub(super) struct KeyHasher(Hmac<Sha256>);

impl KeyHasher {
    /// Reads the secret; makes it where the database is new.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let kept: Option<Vec<u8>> = connection
            .query_row(FIND_SECRET, [], |row| row.get(0))
            .optional()?;
        let secret = match kept {
            Some(secret) => secret,
            None => {
                let secret: [u8; 32] = rand::random();
                connection.execute(KEEP_SECRET, named_params! { ":value": secret })?;
                secret.to_vec()
            }
        };
        // HMAC takes keys of any length.
        Hmac::new_from_slice(&secret)
            .map(Self)
            .map_err(|_| rusqlite::Error::InvalidQuery)
    }

    /// The hash of an integration's key of one kind (`id` or `content`).
    pub(super) fn hash(&self, integration_id: &str, kind: &str, key: &str) -> KeyHash {
        self.hash_parts(&[integration_id, kind, key])
    }

    /// The hash under which a policy's runs with one ordering key go one after another.
    pub(super) fn ordering_hash(&self, policy: &str, integration_id: &str, key: &str) -> KeyHash {
        self.hash_parts(&["ordering", policy, integration_id, key])
    }

    fn hash_parts(&self, parts: &[&str]) -> KeyHash {
        let mut mac = self.0.clone();
        for part in parts {
            // The length before each part: no two lists of parts give the same text.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let mut hash = KeyHash::default();
        hash.iter_mut()
            .zip(mac.finalize().into_bytes())
            .for_each(|(to, from)| *to = from);
        hash
    }
}
