//! Integrations that were added while the host ran, beside those of the configuration's file.
//!
//! Called by `integrations`, which knows the file and the sources. Every change moves
//! a revision on, by which a host notices what another process wrote. Signing
//! secrets are in the file beside this one.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::sealing::KeyCheck;
use super::secrets::{self, NewSecret, StoredSecret};
use super::{Store, StoreError};
use crate::model::rate::Rate;
use crate::model::time::TimestampMs;

/// The most integrations in the store: each is held in memory with its secrets.
pub const INTEGRATIONS_MAX: u32 = 10_000;

const LIST: &str = "
SELECT id, tenant, source, body_bytes_max, inflated_bytes_max, rate_deliveries,
       rate_period_ms, rate_burst, created_at
  FROM integration
 ORDER BY id";

const FIND: &str = "
SELECT id, tenant, source, body_bytes_max, inflated_bytes_max, rate_deliveries,
       rate_period_ms, rate_burst, created_at
  FROM integration
 WHERE id = :id";

const EXISTS: &str =
    "SELECT EXISTS (SELECT 1 FROM integration WHERE id = :id AND tenant = :tenant)";

// Also an id that a removed integration had, as long as events of it are there: its sender may
// still know the URL, which is not another tenant's to take. Its oldest and its newest event tell,
// so that not all of them are read.
const IS_TAKEN: &str = "
SELECT EXISTS (SELECT 1 FROM integration WHERE id = :id)
    OR coalesce((SELECT tenant FROM event WHERE integration_id = :id ORDER BY seq LIMIT 1) <> :tenant, FALSE)
    OR coalesce((SELECT tenant FROM event WHERE integration_id = :id ORDER BY seq DESC LIMIT 1) <> :tenant, FALSE)";

const COUNT: &str = "SELECT count(*) FROM integration";

const INSERT: &str = "
INSERT INTO integration (id, tenant, source, body_bytes_max, inflated_bytes_max,
                         rate_deliveries, rate_period_ms, rate_burst, created_at)
VALUES (:id, :tenant, :source, :body_bytes_max, :inflated_bytes_max,
        :rate_deliveries, :rate_period_ms, :rate_burst, :created_at)";

// Only as the caller knows it: what it did not want to change, another may have changed.
const CHANGE: &str = "
UPDATE integration
   SET body_bytes_max = :body_bytes_max, inflated_bytes_max = :inflated_bytes_max,
       rate_deliveries = :rate_deliveries, rate_period_ms = :rate_period_ms,
       rate_burst = :rate_burst
 WHERE id = :id AND tenant = :tenant
   AND body_bytes_max = :was_body_bytes_max
   AND inflated_bytes_max IS :was_inflated_bytes_max
   AND rate_deliveries IS :was_rate_deliveries
   AND rate_period_ms IS :was_rate_period_ms
   AND rate_burst IS :was_rate_burst";

const REMOVE: &str = "DELETE FROM integration WHERE id = :id AND tenant = :tenant";

const REVISION: &str = "SELECT value FROM meta WHERE name = 'integration_revision'";

const KEEP_REVISION: &str = "
INSERT INTO meta (name, value) VALUES ('integration_revision', :value)
    ON CONFLICT (name) DO UPDATE SET value = :value";

/// An integration of the store, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIntegration {
    /// The last part of its ingest URL.
    pub id: String,
    /// Owner.
    pub tenant: String,
    /// The kind of sender, by name.
    pub source: String,
    /// What it may send.
    pub limits: StoredLimits,
    /// When it was added.
    pub created_at: TimestampMs,
}

/// What an integration of the store may send. `None` stands for a default, which is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLimits {
    /// The largest body in bytes.
    pub body_bytes_max: usize,
    /// The most that a compressed body may inflate to, in bytes.
    pub inflated_bytes_max: Option<usize>,
    /// How many deliveries are taken.
    pub rate: Option<Rate>,
    /// How many of them may come at once after a pause; counts only beside a rate.
    pub burst: Option<u32>,
}

/// Everything that the store adds to the configuration's file, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// By id.
    pub integrations: Vec<StoredIntegration>,
    /// Of every integration, those of the file included.
    pub secrets: Vec<StoredSecret>,
    /// Which master key sealed them.
    pub key_check: Option<KeyCheck>,
    /// Moves on with every change.
    pub revision: u64,
}

/// Why the store did not change what it was asked to. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The integration's id is in use, or was another tenant's.
    Taken,
    /// There are [`INTEGRATIONS_MAX`] integrations.
    TooManyIntegrations,
    /// The integration has as many live secrets as it may have.
    TooManySecrets,
    /// It is the only live secret.
    LastSecret,
    /// Another master key sealed what is there.
    OtherKey,
    /// There is no such thing any more, or it is not as it was.
    Gone,
}

/// What a change came to.
pub type Changed<T> = Result<Result<T, Refused>, StoreError>;

impl Store {
    /// Integrations, secrets and revision, all of the same moment.
    pub async fn kept_integrations(&self) -> Result<Kept, StoreError> {
        let mut kept = self
            .read(|db| {
                let mut statement = db.prepare_cached(LIST)?;
                let rows = statement.query_map([], stored)?;
                Ok(Kept {
                    integrations: rows.collect::<rusqlite::Result<_>>()?,
                    secrets: secrets::all(db)?,
                    key_check: secrets::key_check(db)?,
                    revision: revision(db)?,
                })
            })
            .await?;
        self.uses.show(&mut kept.secrets);
        Ok(kept)
    }

    /// The integration of this id, if it is in the store.
    pub async fn stored_integration(
        &self,
        id: String,
    ) -> Result<Option<StoredIntegration>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached(FIND)?;
            Ok(statement
                .query_row(named_params! { ":id": id }, stored)
                .optional()?)
        })
        .await
    }

    /// Which change of integrations and secrets was the last.
    pub async fn integration_revision(&self) -> Result<u64, StoreError> {
        self.read(revision).await
    }

    /// Adds an integration together with its first secret.
    pub async fn add_integration(
        &self,
        integration: StoredIntegration,
        secret: NewSecret,
    ) -> Changed<()> {
        self.write(move |tx| add(tx, &integration, &secret)).await
    }

    /// Changes the limits of an integration of the store, if they still are as it `was`.
    pub async fn change_integration(
        &self,
        was: StoredIntegration,
        limits: StoredLimits,
    ) -> Changed<()> {
        self.write(move |tx| {
            let changed = tx.prepare_cached(CHANGE)?.execute(named_params! {
                ":id": was.id,
                ":tenant": was.tenant,
                ":body_bytes_max": limits.body_bytes_max,
                ":inflated_bytes_max": limits.inflated_bytes_max,
                ":rate_deliveries": limits.rate.map(|it| it.deliveries),
                ":rate_period_ms": limits.rate.map(|it| it.period_ms),
                ":rate_burst": limits.burst,
                ":was_body_bytes_max": was.limits.body_bytes_max,
                ":was_inflated_bytes_max": was.limits.inflated_bytes_max,
                ":was_rate_deliveries": was.limits.rate.map(|it| it.deliveries),
                ":was_rate_period_ms": was.limits.rate.map(|it| it.period_ms),
                ":was_rate_burst": was.limits.burst,
            })?;
            done_if(tx, changed == 1)
        })
        .await
    }

    /// Removes an integration of the store and its secrets. Its events stay.
    pub async fn remove_integration(&self, tenant: String, id: String) -> Changed<()> {
        self.write(move |tx| {
            let params = named_params! { ":id": id, ":tenant": tenant };
            let removed = tx.prepare_cached(REMOVE)?.execute(params)?;
            if removed == 1 {
                secrets::remove_all(tx, &tenant, &id)?;
            }
            done_if(tx, removed == 1)
        })
        .await
    }
}

fn add(
    tx: &Connection,
    integration: &StoredIntegration,
    secret: &NewSecret,
) -> Result<Result<(), Refused>, StoreError> {
    let params = named_params! { ":id": integration.id, ":tenant": integration.tenant };
    let is_taken: bool = tx
        .prepare_cached(IS_TAKEN)?
        .query_row(params, |row| row.get(0))?;
    if is_taken {
        return Ok(Err(Refused::Taken));
    }
    let count: u32 = tx.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    if INTEGRATIONS_MAX <= count {
        return Ok(Err(Refused::TooManyIntegrations));
    }
    if let Err(refused) = secrets::insert(tx, secret)? {
        return Ok(Err(refused));
    }
    tx.prepare_cached(INSERT)?.execute(named_params! {
        ":id": integration.id,
        ":tenant": integration.tenant,
        ":source": integration.source,
        ":body_bytes_max": integration.limits.body_bytes_max,
        ":inflated_bytes_max": integration.limits.inflated_bytes_max,
        ":rate_deliveries": integration.limits.rate.map(|it| it.deliveries),
        ":rate_period_ms": integration.limits.rate.map(|it| it.period_ms),
        ":rate_burst": integration.limits.burst,
        ":created_at": integration.created_at,
    })?;
    done_if(tx, true)
}

/// Whether the integration of a secret is in the store.
pub(super) fn exists(tx: &Connection, secret: &NewSecret) -> Result<bool, StoreError> {
    let params = named_params! { ":id": secret.integration_id, ":tenant": secret.tenant };
    Ok(tx
        .prepare_cached(EXISTS)?
        .query_row(params, |row| row.get(0))?)
}

/// Ends a change: tells every host that there was one, if there was.
pub(super) fn done_if(
    tx: &Connection,
    is_changed: bool,
) -> Result<Result<(), Refused>, StoreError> {
    if !is_changed {
        return Ok(Err(Refused::Gone));
    }
    let next = revision(tx)?.wrapping_add(1);
    tx.prepare_cached(KEEP_REVISION)?
        .execute(named_params! { ":value": next.to_be_bytes() })?;
    Ok(Ok(()))
}

fn revision(db: &Connection) -> Result<u64, StoreError> {
    let kept: Option<[u8; 8]> = db
        .prepare_cached(REVISION)?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(kept.map_or(0, u64::from_be_bytes))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredIntegration> {
    let deliveries: Option<u32> = row.get("rate_deliveries")?;
    let period_ms: Option<u32> = row.get("rate_period_ms")?;
    Ok(StoredIntegration {
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        source: row.get("source")?,
        limits: StoredLimits {
            body_bytes_max: row.get("body_bytes_max")?,
            inflated_bytes_max: row.get("inflated_bytes_max")?,
            rate: deliveries
                .zip(period_ms)
                .map(|(deliveries, period_ms)| Rate {
                    deliveries,
                    period_ms,
                }),
            burst: row.get("rate_burst")?,
        },
        created_at: row.get("created_at")?,
    })
}
