//! Deliveries that were not believed: the newest ones, without their bodies.
//!
//! Called by `http::ingest`. Anybody can cause these writes, so they may cost
//! little: few wait at a time, and one more is dropped and counted instead of
//! taking a place that an event needs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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
INSERT INTO rejection (at, tenant, integration_id, source, cause, detail, remote, body_bytes, body_sha256)
VALUES (:at, :tenant, :integration_id, :source, :cause, :detail, :remote, :body_bytes, :body_sha256)";

const FORGET_OLDEST: &str = "DELETE FROM rejection WHERE seq <= :newest - :kept";

const NEWEST: &str = "SELECT seq FROM rejection WHERE seq < :before ORDER BY seq DESC LIMIT :limit";

const LOAD: &str = "
SELECT at, tenant, integration_id, source, cause, detail, remote, body_bytes, body_sha256
  FROM rejection
 WHERE seq = :seq AND (:tenant IS NULL OR tenant = :tenant)";

/// A delivery that was not believed.
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
    /// Why, for a person.
    pub detail: String,
    /// The address that it came from.
    pub remote: String,
    /// The body's length.
    pub body_bytes: usize,
    /// The body's SHA-256.
    pub body_sha256: [u8; 32],
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
    /// Why, for a person.
    pub detail: String,
    /// The address that it came from.
    pub remote: String,
    /// The body's length.
    pub body_bytes: u64,
    /// The body's SHA-256 in hexadecimal.
    pub body_sha256: String,
}

/// How many rejections wait for the writer, and how many were not written.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

impl Store {
    /// Writes a rejection down, unless the writer has more important things to do.
    pub async fn reject(&self, rejected: Rejected) {
        let pressure = self.rejections.clone();
        if REJECTIONS_WAITING_MAX <= pressure.waiting.fetch_add(1, Ordering::Relaxed) {
            pressure.waiting.fetch_sub(1, Ordering::Relaxed);
            pressure.count_dropped(&StoreError::Busy);
            return;
        }
        // Given back by the write and not by this future, which may be dropped while the write waits.
        let place = Place(pressure.clone());
        let written = self
            .write(move |tx| {
                let _held_until_written = &place;
                insert(tx, &rejected)
            })
            .await;
        if let Err(error) = written {
            pressure.count_dropped(&error);
        }
    }

    /// How many rejections were not written down since the start.
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
}

impl Pressure {
    fn count_dropped(&self, error: &StoreError) {
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        // Whoever floods us must not fill the log as well.
        if dropped.is_power_of_two() {
            tracing::warn!(dropped, error = %error, "rejections are not written down");
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
        ":detail": rejected.detail,
        ":remote": rejected.remote,
        ":body_bytes": rejected.body_bytes,
        ":body_sha256": rejected.body_sha256,
    })?;
    let newest = tx.last_insert_rowid();
    tx.prepare_cached(FORGET_OLDEST)?
        .execute(named_params! { ":newest": newest, ":kept": REJECTIONS_MAX })?;
    Ok(())
}

fn view(row: &Row<'_>) -> rusqlite::Result<RejectionView> {
    Ok(RejectionView {
        at: At(row.get("at")?),
        tenant: row.get("tenant")?,
        integration_id: row.get("integration_id")?,
        source: row.get("source")?,
        cause: row.get("cause")?,
        detail: row.get("detail")?,
        remote: row.get("remote")?,
        body_bytes: row.get("body_bytes")?,
        body_sha256: row.get::<_, [u8; 32]>("body_sha256").map(hex::encode)?,
    })
}
