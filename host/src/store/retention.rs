//! Deleting what is older than it has to be kept, a little at a time.
//!
//! Called by `retention`. A batch is one write among others of the writer's group, so it must
//! be short. An event goes with everything that belongs to it; one that still has work to do
//! stays until that is done.

use rusqlite::{Connection, named_params};

use super::{Store, StoreError, seen};
use crate::fail_point::{self, Point};
use crate::model::time::TimestampMs;

const OLDEST: &str =
    "SELECT seq, received_at FROM event WHERE :after < seq ORDER BY seq LIMIT :limit";

const HAS_WORK: &str = "
SELECT EXISTS (SELECT 1 FROM run
                WHERE event_seq = :event_seq
                  AND (state IN ('queued', 'running')
                       OR EXISTS (SELECT 1 FROM action WHERE run_seq = run.seq AND state = 'pending')))";

/// What belongs to an event, the leaves first.
const DELETE: [&str; 10] = [
    "DELETE FROM ticket WHERE action_seq IN (SELECT action.seq FROM action JOIN run ON run.seq = run_seq WHERE event_seq = :event_seq)",
    "DELETE FROM receipt WHERE action_seq IN (SELECT action.seq FROM action JOIN run ON run.seq = run_seq WHERE event_seq = :event_seq)",
    "DELETE FROM action_attempt WHERE action_seq IN (SELECT action.seq FROM action JOIN run ON run.seq = run_seq WHERE event_seq = :event_seq)",
    "DELETE FROM action WHERE run_seq IN (SELECT seq FROM run WHERE event_seq = :event_seq)",
    "DELETE FROM attempt WHERE run_seq IN (SELECT seq FROM run WHERE event_seq = :event_seq)",
    "DELETE FROM run WHERE event_seq = :event_seq",
    "DELETE FROM strike WHERE event_seq = :event_seq",
    "DELETE FROM event_name WHERE event_seq = :event_seq",
    "DELETE FROM event_content WHERE event_seq = :event_seq",
    "DELETE FROM event WHERE seq = :event_seq",
];

// The numbers of rows go on where they were, also when no event is left to tell.
const KEEP_LAST: &str = "
INSERT INTO meta (name, value)
SELECT 'last_event_seq', CAST(:event_seq AS BLOB) WHERE NOT EXISTS (SELECT 1 FROM event)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

const DELETE_VERSIONS: &str = "
DELETE FROM newest_version
 WHERE ordering_hash IN (SELECT ordering_hash FROM newest_version
                          WHERE seen_at < :before
                          ORDER BY seen_at
                          LIMIT :limit)";

/// Versions of ordering keys that are deleted with a batch at most.
const VERSIONS_PER_BATCH: usize = 256;
/// Blocks of keys that are deleted with a batch at most.
const BLOCKS_PER_BATCH: usize = 4;

/// Where one batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Events deleted.
    pub deleted: usize,
    /// Events that are old enough and have work to do.
    pub kept: usize,
    /// Where the next batch begins; `None` where no old event is left.
    pub next: Option<i64>,
}

impl Store {
    /// Deletes events received before a time, looking at `limit` events after the row `after`.
    pub async fn delete_expired(
        &self,
        before: TimestampMs,
        after: i64,
        limit: usize,
    ) -> Result<Batch, StoreError> {
        let seen = self.memory()?.seen;
        self.write(move |tx| {
            let batch = delete(tx, before, after, limit)?;
            tx.prepare_cached(DELETE_VERSIONS)?
                .execute(named_params! { ":before": before, ":limit": VERSIONS_PER_BATCH })?;
            seen::lock(&seen).delete_outdated(tx, BLOCKS_PER_BATCH)?;
            Ok(batch)
        })
        .await
    }
}

fn delete(
    tx: &Connection,
    before: TimestampMs,
    after: i64,
    limit: usize,
) -> Result<Batch, StoreError> {
    let oldest: Vec<(i64, TimestampMs)> = tx
        .prepare_cached(OLDEST)?
        .query_map(named_params! { ":after": after, ":limit": limit }, |row| {
            Ok((row.get("seq")?, row.get("received_at")?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut batch = Batch {
        deleted: 0,
        kept: 0,
        next: oldest.last().map(|it| it.0),
    };
    let mut last_deleted = None;
    for (event_seq, received_at) in oldest {
        // Rows are in the order of their commits: hardly ever is an older one behind this.
        if before <= received_at {
            batch.next = None;
            break;
        }
        let params = named_params! { ":event_seq": event_seq };
        if tx
            .prepare_cached(HAS_WORK)?
            .query_row(params, |row| row.get(0))?
        {
            batch.kept += 1;
            continue;
        }
        for sql in DELETE {
            tx.prepare_cached(sql)?.execute(params)?;
        }
        batch.deleted += 1;
        last_deleted = Some(event_seq);
        fail_point::reach(Point::OldEventDeleted);
    }
    if let Some(event_seq) = last_deleted {
        tx.prepare_cached(KEEP_LAST)?
            .execute(named_params! { ":event_seq": event_seq })?;
    }
    Ok(batch)
}
