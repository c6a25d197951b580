//! Signing secrets of integrations: sealed, counted, ended, and when each was last used.
//!
//! Called by `integrations`, which seals and opens them, and by `http::ingest`, which
//! says which one was used. A use is noted in memory and written once in a while:
//! no delivery waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::integrations::{self, Changed, Refused, done_if};
use super::sealing::KeyCheck;
use super::{Store, StoreError, row};
use crate::model::id::SecretId;
use crate::model::integration::{Origin, SECRETS_MAX};
use crate::model::secret::Secret;
use crate::model::time::TimestampMs;

/// Retired secrets of an integration that lists still show.
pub const RETIRED_MAX: u32 = 16;

const LIST: &str = "
SELECT id, tenant, integration_id, origin, created_at, last_used_at, live_until, retired_at, sealed
  FROM secret
 ORDER BY created_at, id";

const OF_INTEGRATION: &str = "
SELECT id, tenant, integration_id, origin, created_at, last_used_at, live_until, retired_at, sealed
  FROM secret
 WHERE integration_id = :integration_id AND tenant = :tenant
 ORDER BY created_at, id";

const INSERT: &str = "
INSERT INTO secret (id, tenant, integration_id, origin, created_at, sealed)
VALUES (:id, :tenant, :integration_id, 'store', :created_at, :sealed)";

// One that ends earlier already keeps its end.
const END_OTHERS: &str = "
UPDATE secret SET live_until = :live_until
 WHERE integration_id = :integration_id AND tenant = :tenant AND id <> :id
   AND sealed IS NOT NULL AND coalesce(live_until > :live_until, TRUE)";

const COUNT_LIVE: &str = "
SELECT count(*)
  FROM secret
 WHERE integration_id = :integration_id AND tenant = :tenant AND id <> :except
   AND sealed IS NOT NULL AND coalesce(live_until > :now, TRUE)";

const RETIRE: &str = "
UPDATE secret SET retired_at = :now, live_until = NULL, sealed = NULL
 WHERE id = :id AND integration_id = :integration_id AND tenant = :tenant AND sealed IS NOT NULL";

const RETIRE_ENDED: &str = "
UPDATE secret SET retired_at = live_until, live_until = NULL, sealed = NULL
 WHERE integration_id = :integration_id AND live_until <= :now";

const HAS_ENDED: &str = "SELECT EXISTS (SELECT 1 FROM secret WHERE live_until <= :now)";

const RETIRE_ALL_ENDED: &str = "
UPDATE secret SET retired_at = live_until, live_until = NULL, sealed = NULL
 WHERE live_until <= :now";

const FORGET_RETIRED: &str = "
DELETE FROM secret
 WHERE integration_id = :integration_id
   AND id IN (SELECT id FROM secret
               WHERE integration_id = :integration_id AND retired_at IS NOT NULL
               ORDER BY retired_at DESC, id DESC LIMIT -1 OFFSET :kept)";

const REMOVE_ALL: &str =
    "DELETE FROM secret WHERE integration_id = :integration_id AND tenant = :tenant";

const IS_SEALED: &str = "SELECT EXISTS (SELECT 1 FROM secret WHERE sealed IS NOT NULL)";

const KEY_CHECK: &str = "SELECT value FROM meta WHERE name = 'master_key_check'";

const KEEP_KEY_CHECK: &str = "
INSERT INTO meta (name, value) VALUES ('master_key_check', :value)
    ON CONFLICT (name) DO UPDATE SET value = :value";

const INSERT_DECLARED: &str = "
INSERT INTO secret (id, tenant, integration_id, origin, created_at)
VALUES (:id, :tenant, :integration_id, 'file', :now)
    ON CONFLICT (id) DO NOTHING";

const FORGET_DECLARED: &str = "DELETE FROM secret WHERE id = :id AND origin = 'file'";

const NOTE_USE: &str = "
UPDATE secret SET last_used_at = :at WHERE id = :id AND coalesce(last_used_at < :at, TRUE)";

/// A secret, as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// Names it.
    pub id: SecretId,
    /// Owner of the integration.
    pub tenant: String,
    /// The integration that it signs for.
    pub integration_id: String,
    /// Where its value is.
    pub origin: Origin,
    /// When it was added; for one of the file, when a host first saw it.
    pub created_at: TimestampMs,
    /// When a delivery was last signed with it.
    pub last_used_at: Option<TimestampMs>,
    /// From then on it signs no more.
    pub live_until: Option<TimestampMs>,
    /// When it was ended by hand, or ended by itself.
    pub retired_at: Option<TimestampMs>,
    /// What `store::sealing` made of it, as long as it is live.
    pub sealed: Option<Vec<u8>>,
}

/// A secret that is to be added.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Names it.
    pub id: SecretId,
    /// Owner of the integration.
    pub tenant: String,
    /// The integration that it signs for.
    pub integration_id: String,
    /// What `store::sealing` made of it.
    pub sealed: Vec<u8>,
    /// By which master key.
    pub key_check: KeyCheck,
    /// Now.
    pub created_at: TimestampMs,
    /// How many live secrets the file has, where it declares the integration.
    pub declared: Option<usize>,
    /// When the integration's other secrets of the store end, if they are to.
    pub others_live_until: Option<TimestampMs>,
}

/// A secret of the configuration's file that is live in this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeclaredSecret {
    /// Names it.
    pub id: SecretId,
    /// Owner of the integration.
    pub tenant: String,
    /// The integration that it signs for.
    pub integration_id: String,
}

/// When secrets were used since that was last written down. As many as there are live secrets.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<SecretId, TimestampMs>>);

impl Store {
    /// The id of a secret that stands elsewhere: a keyed hash, which tells nothing about it.
    pub fn secret_id(&self, tenant: &str, integration_id: &str, secret: &Secret) -> SecretId {
        let hash = self
            .hasher
            .hash(tenant, integration_id, "secret", secret.expose());
        SecretId::from_bytes(hash)
    }

    /// Secrets of one integration, oldest first.
    pub async fn secrets_of(
        &self,
        tenant: String,
        integration_id: String,
    ) -> Result<Vec<StoredSecret>, StoreError> {
        let mut secrets = self
            .read(move |db| {
                let params = named_params! { ":tenant": tenant, ":integration_id": integration_id };
                let mut statement = db.prepare_cached(OF_INTEGRATION)?;
                collected(statement.query_map(params, |row| Ok(stored(row)))?)
            })
            .await?;
        self.uses.show(&mut secrets);
        Ok(secrets)
    }

    /// Which master key sealed what is there, if anything is sealed.
    pub async fn master_key_check(&self) -> Result<Option<KeyCheck>, StoreError> {
        self.read(key_check).await
    }

    /// Adds a secret to an integration of the store or of the file.
    pub async fn add_secret(&self, secret: NewSecret) -> Changed<()> {
        self.write(move |tx| {
            if secret.declared.is_none() && !integrations::exists(tx, &secret)? {
                return Ok(Err(Refused::Gone));
            }
            settle(tx, &secret.integration_id, secret.created_at)?;
            match insert(tx, &secret)? {
                Err(refused) => Ok(Err(refused)),
                Ok(()) => {
                    end_others(tx, &secret)?;
                    done_if(tx, true)
                }
            }
        })
        .await
    }

    /// Ends a secret of the store. `declared` is how many live ones the file has; where it would
    /// be the last of all, `may_be_last` says that this is meant.
    pub async fn retire_secret(
        &self,
        tenant: String,
        integration_id: String,
        id: SecretId,
        declared: usize,
        may_be_last: bool,
        now: TimestampMs,
    ) -> Changed<()> {
        self.write(move |tx| {
            let others = count_live(tx, &tenant, &integration_id, id, now)?;
            if others + declared == 0 && !may_be_last {
                return Ok(Err(Refused::LastSecret));
            }
            let retired = tx.prepare_cached(RETIRE)?.execute(named_params! {
                ":id": id.to_bytes(),
                ":tenant": tenant,
                ":integration_id": integration_id,
                ":now": now,
            })?;
            settle(tx, &integration_id, now)?;
            done_if(tx, retired == 1)
        })
        .await
    }

    /// Forgets the values of secrets whose time is over.
    pub async fn retire_ended_secrets(&self, now: TimestampMs) -> Result<(), StoreError> {
        let has_ended: bool = self
            .read(move |db| {
                let mut statement = db.prepare_cached(HAS_ENDED)?;
                Ok(statement.query_row(named_params! { ":now": now }, |row| row.get(0))?)
            })
            .await?;
        if !has_ended {
            return Ok(());
        }
        self.write(move |tx| {
            tx.prepare_cached(RETIRE_ALL_ENDED)?
                .execute(named_params! { ":now": now })?;
            Ok(())
        })
        .await
    }

    /// Remembers since when each secret of the file has been live, and forgets the others.
    pub async fn keep_declared_secrets(
        &self,
        live: Vec<DeclaredSecret>,
        now: TimestampMs,
    ) -> Result<(), StoreError> {
        let kept = self.read(all).await?;
        let kept = kept.into_iter().filter(|it| it.origin == Origin::File);
        let kept: Vec<SecretId> = kept.map(|it| it.id).collect();
        let gone: Vec<SecretId> = kept
            .iter()
            .copied()
            .filter(|id| !live.iter().any(|it| it.id == *id))
            .collect();
        let new: Vec<DeclaredSecret> = live
            .into_iter()
            .filter(|it| !kept.contains(&it.id))
            .collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        self.write(move |tx| {
            for id in &gone {
                tx.prepare_cached(FORGET_DECLARED)?
                    .execute(named_params! { ":id": id.to_bytes() })?;
            }
            for secret in &new {
                tx.prepare_cached(INSERT_DECLARED)?.execute(named_params! {
                    ":id": secret.id.to_bytes(),
                    ":tenant": secret.tenant,
                    ":integration_id": secret.integration_id,
                    ":now": now,
                })?;
            }
            Ok(())
        })
        .await
    }

    /// Notes that a delivery was signed with a secret. Costs no write and no wait.
    pub fn note_secret_use(&self, id: SecretId, now: TimestampMs) {
        let mut uses = self.uses.lock();
        let at = uses.entry(id).or_insert(now);
        *at = now.max(*at);
    }

    /// Writes the uses down that were noted since this was last called, all in one write.
    ///
    /// # Errors
    /// When they could not be written. They stay noted.
    pub async fn write_secret_uses(&self) -> Result<(), StoreError> {
        let noted = std::mem::take(&mut *self.uses.lock());
        if noted.is_empty() {
            return Ok(());
        }
        let uses = noted.clone();
        let written = self
            .write(move |tx| {
                let mut statement = tx.prepare_cached(NOTE_USE)?;
                for (id, at) in &uses {
                    statement.execute(named_params! { ":id": id.to_bytes(), ":at": at })?;
                }
                Ok(())
            })
            .await;
        if written.is_err() {
            noted
                .into_iter()
                .for_each(|(id, at)| self.note_secret_use(id, at));
        }
        written
    }
}

impl Uses {
    /// Puts what is not written down yet into what was read.
    pub(super) fn show(&self, secrets: &mut [StoredSecret]) {
        let uses = self.lock();
        for secret in secrets {
            secret.last_used_at = secret.last_used_at.max(uses.get(&secret.id).copied());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SecretId, TimestampMs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every secret, oldest first.
pub(super) fn all(db: &Connection) -> Result<Vec<StoredSecret>, StoreError> {
    let mut statement = db.prepare_cached(LIST)?;
    collected(statement.query_map([], |row| Ok(stored(row)))?)
}

/// Which master key sealed what is there. `None` where nothing is: then any key will do.
pub(super) fn key_check(db: &Connection) -> Result<Option<KeyCheck>, StoreError> {
    let is_sealed: bool = db
        .prepare_cached(IS_SEALED)?
        .query_row([], |row| row.get(0))?;
    if !is_sealed {
        return Ok(None);
    }
    let mut statement = db.prepare_cached(KEY_CHECK)?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

/// Adds a secret, unless there are too many or the key is another one. It is the caller's to say
/// that there was a change.
pub(super) fn insert(
    tx: &Connection,
    secret: &NewSecret,
) -> Result<Result<(), Refused>, StoreError> {
    if key_check(tx)?.is_some_and(|it| it != secret.key_check) {
        return Ok(Err(Refused::OtherKey));
    }
    let (tenant, integration_id) = (&secret.tenant, &secret.integration_id);
    let live = count_live(tx, tenant, integration_id, secret.id, secret.created_at)?;
    if SECRETS_MAX <= live + secret.declared.unwrap_or(0) {
        return Ok(Err(Refused::TooManySecrets));
    }
    tx.prepare_cached(KEEP_KEY_CHECK)?
        .execute(named_params! { ":value": secret.key_check })?;
    tx.prepare_cached(INSERT)?.execute(named_params! {
        ":id": secret.id.to_bytes(),
        ":tenant": tenant,
        ":integration_id": integration_id,
        ":created_at": secret.created_at,
        ":sealed": secret.sealed,
    })?;
    Ok(Ok(()))
}

pub(super) fn remove_all(
    tx: &Connection,
    tenant: &str,
    integration_id: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(REMOVE_ALL)?
        .execute(named_params! { ":tenant": tenant, ":integration_id": integration_id })?;
    Ok(())
}

fn end_others(tx: &Connection, secret: &NewSecret) -> Result<(), StoreError> {
    if let Some(live_until) = secret.others_live_until {
        tx.prepare_cached(END_OTHERS)?.execute(named_params! {
            ":id": secret.id.to_bytes(),
            ":tenant": secret.tenant,
            ":integration_id": secret.integration_id,
            ":live_until": live_until,
        })?;
    }
    Ok(())
}

fn count_live(
    tx: &Connection,
    tenant: &str,
    integration_id: &str,
    except: SecretId,
    now: TimestampMs,
) -> Result<usize, StoreError> {
    let params = named_params! {
        ":tenant": tenant,
        ":integration_id": integration_id,
        ":except": except.to_bytes(),
        ":now": now,
    };
    Ok(tx
        .prepare_cached(COUNT_LIVE)?
        .query_row(params, |row| row.get(0))?)
}

/// Retires what has ended, and forgets all but the newest of what is retired.
fn settle(tx: &Connection, integration_id: &str, now: TimestampMs) -> Result<(), StoreError> {
    tx.prepare_cached(RETIRE_ENDED)?
        .execute(named_params! { ":integration_id": integration_id, ":now": now })?;
    tx.prepare_cached(FORGET_RETIRED)?
        .execute(named_params! { ":integration_id": integration_id, ":kept": RETIRED_MAX })?;
    Ok(())
}

fn collected<T>(
    rows: impl Iterator<Item = rusqlite::Result<Result<T, StoreError>>>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    for row in rows {
        found.push(row??);
    }
    Ok(found)
}

fn stored(row: &Row<'_>) -> Result<StoredSecret, StoreError> {
    let origin: String = row.get("origin")?;
    Ok(StoredSecret {
        id: row::id(row, "id")?,
        tenant: row.get("tenant")?,
        integration_id: row.get("integration_id")?,
        origin: match origin.as_str() {
            "file" => Origin::File,
            "store" => Origin::Store,
            _ => return Err(StoreError::Malformed("origin of a secret")),
        },
        created_at: row.get("created_at")?,
        last_used_at: row.get("last_used_at")?,
        live_until: row.get("live_until")?,
        retired_at: row.get("retired_at")?,
        sealed: row.get("sealed")?,
    })
}
