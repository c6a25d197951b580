//! Keys of this database: that by which a repeat is recognised, and that which seals compiled plugins.
//!
//! Senders choose their ids, so the hash is keyed with a secret of this database:
//! nobody can make two ids collide. 128 bits of HMAC-SHA256 (RFC 2104, truncated as
//! its section 5 allows) make an accident as unlikely as a damaged disk.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, named_params};
use sha2::Sha256;

use super::{Store, StoreError};

/// A key's hash.
pub(super) type KeyHash = [u8; 16];

const FIND_SECRET: &str = "SELECT value FROM meta WHERE name = :name";
const MAKE_SECRET: &str =
    "INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING";

/// The secret of this database by which repeats are recognised.
const HASHES_KEYS: &str = "key_secret";
/// Seals what this host compiles, so that nobody else's machine code is ever loaded. It stands in
/// the database because whoever can write to the cache of compiled plugins cannot read it here.
const SEALS_ARTEFACTS: &str = "artefact_key";

impl Store {
    /// The key with which compiled plugins are sealed.
    pub async fn artefact_key(&self) -> Result<[u8; 32], StoreError> {
        self.read(|db| Ok(secret(db, SEALS_ARTEFACTS)?)).await
    }
}

/// Gives the database the secrets that it does not have yet.
pub(super) fn make_secrets(connection: &Connection) -> rusqlite::Result<()> {
    for name in [HASHES_KEYS, SEALS_ARTEFACTS] {
        let secret: [u8; 32] = rand::random();
        connection.execute(
            MAKE_SECRET,
            named_params! { ":name": name, ":value": secret },
        )?;
    }
    Ok(())
}

fn secret(connection: &Connection, name: &str) -> rusqlite::Result<[u8; 32]> {
    connection.query_row(FIND_SECRET, named_params! { ":name": name }, |row| {
        row.get(0)
    })
}

/// Hashes keys with this database's secret.
pub(super) struct KeyHasher(Hmac<Sha256>);

impl KeyHasher {
    /// Reads the secret.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let secret = secret(connection, HASHES_KEYS)?;
        // HMAC takes keys of any length.
        Hmac::new_from_slice(&secret)
            .map(Self)
            .map_err(|_| rusqlite::Error::InvalidQuery)
    }

    /// The hash of an integration's key of one kind (`id`, `content` or `secret`). The tenant is part
    /// of it: an integration that is given to another one begins anew.
    pub(super) fn hash(
        &self,
        tenant: &str,
        integration_id: &str,
        kind: &str,
        key: &str,
    ) -> KeyHash {
        self.hash_parts(&[tenant, integration_id, kind, key])
    }

    /// The hash under which a policy's runs with one ordering key go one after another.
    pub(super) fn ordering_hash(
        &self,
        tenant: &str,
        policy: &str,
        integration_id: &str,
        key: &str,
    ) -> KeyHash {
        self.hash_parts(&["ordering", tenant, policy, integration_id, key])
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
