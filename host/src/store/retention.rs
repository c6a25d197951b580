//! Deleting what is older than it has to be kept, a little at a time.
//!
//! Called by `retention`. A batch is one write among others of the writer's group, so it must
//! be short. An event goes with everything that belongs to it; one that still has work to do
//! stays until that is done.

use std::collections::HashSet;

use rusqlite::{Connection, named_params};

use super::{Store, StoreError, seen};
use crate::fail_point::{self, Point};
use crate::model::time::TimestampMs;

const OLDEST: &str =
    "SELECT seq, received_at FROM event WHERE :after < seq ORDER BY seq LIMIT :limit";

const WITH_WORK: &str = "
SELECT DISTINCT event_seq
  FROM run
 WHERE event_seq BETWEEN :first AND :last
   AND (state IN ('queued', 'running')
        OR EXISTS (SELECT 1 FROM action WHERE run_seq = run.seq AND state = 'pending'))";

/// What belongs to events that follow each other, the leaves first.
const DELETE: [&str; 10] = [
    "DELETE FROM ticket WHERE action_seq IN (SELECT action.seq FROM action JOIN run ON run.seq = run_seq WHERE event_seq BETWEEN :first AND :last)",
    "DELETE FROM receipt WHERE action_seq IN (SELECT action.seq FROM action JOIN run ON run.seq = run_seq WHERE event_seq BETWEEN :first AND :last)",
    "DELETE FROM action_attempt WHERE action_seq IN (SELECT action.seq FROM action JOIN run ON run.seq = run_seq WHERE event_seq BETWEEN :first AND :last)",
    "DELETE FROM action WHERE run_seq IN (SELECT seq FROM run WHERE event_seq BETWEEN :first AND :last)",
    "DELETE FROM attempt WHERE run_seq IN (SELECT seq FROM run WHERE event_seq BETWEEN :first AND :last)",
    "DELETE FROM run WHERE event_seq BETWEEN :first AND :last",
    "DELETE FROM strike WHERE event_seq BETWEEN :first AND :last",
    "DELETE FROM event_name WHERE event_seq BETWEEN :first AND :last",
    "DELETE FROM event_content WHERE event_seq BETWEEN :first AND :last",
    "DELETE FROM event WHERE seq BETWEEN :first AND :last",
];

// The numbers of rows go on where they were, also when no later event is left to tell.
const KEEP_LAST: &str = "
INSERT INTO meta (name, value)
SELECT 'last_event_seq', CAST(:event_seq AS BLOB) WHERE NOT EXISTS (SELECT 1 FROM event WHERE :event_seq < seq)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
 WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER)";

const DELETE_VERSIONS: &str = "
DELETE FROM newest_version
 WHERE ordering_hash IN (SELECT ordering_hash FROM newest_version
                          WHERE seen_at < :before
                          ORDER BY seen_at
                          LIMIT :limit)";

/// Versions of ordering keys that are deleted with a batch at most.
const VERSIONS_PER_BATCH: usize = 256;
/// Rows of filters that are deleted with a batch at most, each with its 32 blocks of keys.
const FILTERS_PER_BATCH: usize = 1;

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
        let memory = self.memory()?;
        self.write(move |tx| {
            let batch = delete(tx, before, after, limit)?;
            tx.prepare_cached(DELETE_VERSIONS)?
                .execute(named_params! { ":before": before, ":limit": VERSIONS_PER_BATCH })?;
            let mut seen = seen::lock(&memory.seen);
            seen.delete_outdated(tx, FILTERS_PER_BATCH)?;
            let next_event = seen.peek_event();
            memory
                .dictionaries
                .delete_outdated(tx, before, next_event)?;
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
    // Rows are in the order of their commits: hardly ever is an older one behind a younger.
    let old: Vec<i64> = oldest
        .iter()
        .take_while(|(_, received_at)| *received_at < before)
        .map(|(event_seq, _)| *event_seq)
        .collect();
    let with_work = with_work(tx, &old)?;
    let mut batch = Batch {
        deleted: 0,
        kept: with_work.len(),
        next: (old.len() == oldest.len())
            .then(|| old.last().copied())
            .flatten(),
    };
    for done in old.split(|event_seq| with_work.contains(event_seq)) {
        let (Some(first), Some(last)) = (done.first(), done.last()) else {
            continue;
        };
        for sql in DELETE {
            tx.prepare_cached(sql)?
                .execute(named_params! { ":first": first, ":last": last })?;
        }
        tx.prepare_cached(KEEP_LAST)?
            .execute(named_params! { ":event_seq": last })?;
        batch.deleted += done.len();
        fail_point::reach(Point::OldEventsDeleted);
    }
    Ok(batch)
}

/// Which of these events, in their order, have work to do.
fn with_work(tx: &Connection, event_seqs: &[i64]) -> Result<HashSet<i64>, StoreError> {
    let (Some(first), Some(last)) = (event_seqs.first(), event_seqs.last()) else {
        return Ok(HashSet::new());
    };
    let found = tx
        .prepare_cached(WITH_WORK)?
        .query_map(named_params! { ":first": first, ":last": last }, |row| {
            row.get("event_seq")
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}
