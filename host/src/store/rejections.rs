//! Deliveries that were refused: the newest ones, without their bodies, and how many of all.
//!
//! Called by `http::ingest`. Anybody can cause these writes, so they may cost
//! little: few wait at a time, and one more is only counted instead of taking a
//! place that an event needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use super::views::{At, Page, PageRequest};
use super::{Store, StoreError};
use crate::model::time::TimestampMs;

/// Rejections that are kept.
pub const REJECTIONS_MAX: i64 = 10_000;
/// Rejections that may wait for the writer at the same time.
pub const REJECTIONS_WAITING_MAX: usize = 32;

const _: () = assert!(
    REJECTIONS_WAITING_MAX * 16 < super::writer::WRITES_WAITING_MAX,
    "rejections may take no place that events need"
);

const INSERT: &str = "
INSERT INTO rejection (at, tenant, integration_id, source, cause, header, remote, body_bytes, body_sha256)
VALUES (:at, :tenant, :integration_id, :source, :cause, :header, :remote, :body_bytes, :body_sha256)";

const FORGET_OLDEST: &str = "DELETE FROM rejection WHERE seq <= :newest - :kept";

const WRITE_COUNT: &str = "
INSERT INTO rejection_count (tenant, integration_id, cause, count)
VALUES (:tenant, :integration_id, :cause, :count)
    ON CONFLICT DO UPDATE SET count = excluded.count";

const COUNTS: &str = "
SELECT tenant, integration_id, cause, count
  FROM rejection_count
 WHERE :tenant IS NULL OR tenant = :tenant";

const NEWEST: &str = "SELECT seq FROM rejection WHERE seq < :before ORDER BY seq DESC LIMIT :limit";

const LOAD: &str = "
SELECT at, tenant, integration_id, source, cause, header, remote, body_bytes, body_sha256
  FROM rejection
 WHERE seq = :seq AND (:tenant IS NULL OR tenant = :tenant)";

/// A delivery that was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// When it came in.
    pub at: TimestampMs,
    /// Owner of the integration.
    pub tenant: String,
    /// The integration that it came in through.
    pub integration_id: String,
    /// The kind of sender.
    pub source: String,
    /// Why, as a stable name.
    pub cause: &'static str,
    /// The name of the header that is the cause.
    pub header: Option<String>,
    /// The address that it came from.
    pub remote: String,
    /// The body's length: as received, or as announced where it was not read to its end.
    pub body_bytes: u64,
    /// The body's SHA-256, where it was read to its end.
    pub body_sha256: Option<[u8; 32]>,
}

/// A rejection, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectionView {
    /// When it came in.
    pub at: At,
    /// Owner of the integration.
    pub tenant: String,
    /// The integration that it came in through.
    pub integration_id: String,
    /// The kind of sender.
    pub source: String,
    /// Why, as a stable name.
    pub cause: String,
    /// The name of the header that is the cause.
    pub header: Option<String>,
    /// The address that it came from.
    pub remote: String,
    /// The body's length: as received, or as announced where it was not read to its end.
    pub body_bytes: u64,
    /// The body's SHA-256 in hexadecimal, where it was read to its end.
    pub body_sha256: Option<String>,
}

/// What rejections are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CountKey {
    /// Owner of the integration.
    pub tenant: String,
    /// The integration.
    pub integration_id: String,
    /// Why, as a stable name.
    pub cause: String,
}

/// How many deliveries were refused for one cause, those that are no longer listed included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectionCount {
    /// Whose, where and why.
    #[serde(flatten)]
    pub key: CountKey,
    /// Since the database was made.
    pub count: u64,
}

/// How many rejections wait for the writer, how many were not listed, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    waiting: AtomicUsize,
    dropped: AtomicU64,
    counts: Mutex<Counts>,
}

/// Totals, of which the writer writes those that the database does not know yet.
///
/// A total and not a difference is written: a write that is done twice, or of which nobody learns
/// how it ended, counts nothing twice and loses nothing.
#[derive(Debug, Default)]
struct Counts {
    totals: BTreeMap<CountKey, u64>,
    unwritten: BTreeSet<CountKey>,
}

impl Store {
    /// Counts a rejection and writes it down, unless the writer has more important things to do.
    pub async fn reject(&self, rejected: Rejected) {
        let pressure = self.rejections.clone();
        pressure.count(&rejected);
        if REJECTIONS_WAITING_MAX <= pressure.waiting.fetch_add(1, Ordering::Relaxed) {
            pressure.waiting.fetch_sub(1, Ordering::Relaxed);
            pressure.count_dropped(&StoreError::Busy);
            return;
        }
        // Given back by the write and not by this future, which may be dropped while the write waits.
        let place = Place(pressure.clone());
        let written = self
            .write(move |tx| {
                insert(tx, &rejected)?;
                place.0.write_counts(tx)
            })
            .await;
        match written {
            Ok(written) => pressure.counts().are_written(&written),
            Err(error) => pressure.count_dropped(&error),
        }
    }

    /// Writes down what was only counted so far, as before an orderly end.
    pub async fn write_rejection_counts(&self) -> Result<(), StoreError> {
        let pressure = self.rejections.clone();
        if pressure.counts().unwritten.is_empty() {
            return Ok(());
        }
        let written = self.write(move |tx| pressure.write_counts(tx)).await?;
        self.rejections.counts().are_written(&written);
        Ok(())
    }

    /// How many rejections were counted but not listed since the start.
    pub fn rejections_dropped(&self) -> u64 {
        self.rejections.dropped.load(Ordering::Relaxed)
    }

    /// Rejections of a tenant's integrations, newest first.
    pub async fn list_rejections(
        &self,
        tenant: Option<String>,
        page: PageRequest,
    ) -> Result<Page<RejectionView>, StoreError> {
        self.read(move |db| {
            page.walk(db, NEWEST, &[], |seq| {
                let params = named_params! { ":seq": seq, ":tenant": tenant };
                Ok(db
                    .prepare_cached(LOAD)?
                    .query_row(params, view)
                    .optional()?)
            })
        })
        .await
    }

    /// How many deliveries of a tenant's integrations were refused, by tenant, integration and cause.
    pub async fn count_rejections(
        &self,
        tenant: Option<String>,
    ) -> Result<Vec<RejectionCount>, StoreError> {
        let pressure = self.rejections.clone();
        self.read(move |db| {
            let mut totals = load_counts(db, tenant.as_deref())?;
            // In the process that counts, with what waits to be written.
            let counts = pressure.counts();
            let own = counts.totals.iter();
            let own = own.filter(|(key, _)| tenant.as_ref().is_none_or(|it| *it == key.tenant));
            totals.extend(own.map(|(key, total)| (key.clone(), *total)));
            let count = |(key, count)| RejectionCount { key, count };
            Ok(totals.into_iter().map(count).collect())
        })
        .await
    }
}

impl Pressure {
    /// Goes on from the totals that the database holds.
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let counts = Counts {
            totals: load_counts(db, None)?,
            unwritten: BTreeSet::new(),
        };
        Ok(Self {
            counts: Mutex::new(counts),
            ..Self::default()
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every change is one insertion, so nothing is half done after a panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, rejected: &Rejected) {
        let key = CountKey {
            tenant: rejected.tenant.clone(),
            integration_id: rejected.integration_id.clone(),
            cause: rejected.cause.to_owned(),
        };
        let mut counts = self.counts();
        *counts.totals.entry(key.clone()).or_default() += 1;
        counts.unwritten.insert(key);
    }

    fn count_dropped(&self, error: &StoreError) {
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        // Whoever floods us must not fill the log as well.
        if dropped.is_power_of_two() {
            tracing::warn!(dropped, error = %error, "rejections are only counted, not listed");
        }
    }

    /// Writes the totals that changed; they count as written when the caller says so, after the commit.
    fn write_counts(&self, tx: &Connection) -> Result<Vec<(CountKey, u64)>, StoreError> {
        let changed = self.counts().unwritten();
        let mut statement = tx.prepare_cached(WRITE_COUNT)?;
        for (key, total) in &changed {
            statement.execute(named_params! {
                ":tenant": key.tenant,
                ":integration_id": key.integration_id,
                ":cause": key.cause,
                ":count": total,
            })?;
        }
        Ok(changed)
    }
}

impl Counts {
    fn unwritten(&self) -> Vec<(CountKey, u64)> {
        let total = |key: &CountKey| Some((key.clone(), *self.totals.get(key)?));
        self.unwritten.iter().filter_map(total).collect()
    }

    fn are_written(&mut self, written: &[(CountKey, u64)]) {
        for (key, total) in written {
            // One that grew meanwhile is written again.
            if self.totals.get(key) == Some(total) {
                self.unwritten.remove(key);
            }
        }
    }
}

/// One of the places for waiting rejections.
struct Place(std::sync::Arc<Pressure>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn insert(tx: &Connection, rejected: &Rejected) -> Result<(), StoreError> {
    tx.prepare_cached(INSERT)?.execute(named_params! {
        ":at": rejected.at,
        ":tenant": rejected.tenant,
        ":integration_id": rejected.integration_id,
        ":source": rejected.source,
        ":cause": rejected.cause,
        ":header": rejected.header,
        ":remote": rejected.remote,
        ":body_bytes": rejected.body_bytes,
        ":body_sha256": rejected.body_sha256,
    })?;
    let newest = tx.last_insert_rowid();
    tx.prepare_cached(FORGET_OLDEST)?
        .execute(named_params! { ":newest": newest, ":kept": REJECTIONS_MAX })?;
    Ok(())
}

fn load_counts(db: &Connection, tenant: Option<&str>) -> rusqlite::Result<BTreeMap<CountKey, u64>> {
    let count = |row: &Row<'_>| {
        let key = CountKey {
            tenant: row.get("tenant")?,
            integration_id: row.get("integration_id")?,
            cause: row.get("cause")?,
        };
        Ok((key, row.get("count")?))
    };
    db.prepare_cached(COUNTS)?
        .query_map(named_params! { ":tenant": tenant }, count)?
        .collect()
}

fn view(row: &Row<'_>) -> rusqlite::Result<RejectionView> {
    Ok(RejectionView {
        at: At(row.get("at")?),
        tenant: row.get("tenant")?,
        integration_id: row.get("integration_id")?,
        source: row.get("source")?,
        cause: row.get("cause")?,
        header: row.get("header")?,
        remote: row.get("remote")?,
        body_bytes: row.get("body_bytes")?,
        body_sha256: row
            .get::<_, Option<[u8; 32]>>("body_sha256")?
            .map(hex::encode),
    })
}
