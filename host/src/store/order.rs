//! Runs that must go one after another, and news that come too late.
//!
//! Part of the transactions of `store::events` and `store::runs`. Of the runs with one ordering
//! hash only the oldest that is not over may be claimed; the others wait, apart from the queue,
//! so that they cost those that do not wait nothing.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::keys::{KeyHash, KeyHasher};
use super::{StoreError, row};
use crate::model::event::NewEvent;
use crate::model::id::RunId;
use crate::model::run::{Dropped, NewRun};
use crate::model::version::Version;

const INSERT_QUEUED: &str = "
INSERT INTO run (id, event_seq, tenant, policy, state, created_at, run_after, ordering_key, ordering_hash, waits, late)
VALUES (:id, :event_seq, :tenant, :policy, 'queued', :now, :now, :ordering_key, :ordering_hash, :waits, :late)";

const INSERT_DROPPED: &str = "
INSERT INTO run (id, event_seq, tenant, policy, state, created_at, finished_at, ordering_key, ordering_hash,
                 late, outcome, dropped)
VALUES (:id, :event_seq, :tenant, :policy, 'completed', :now, :now, :ordering_key, :ordering_hash,
        :late, 'dropped', :dropped)";

const IS_BUSY: &str = "
SELECT EXISTS (SELECT 1 FROM run WHERE ordering_hash = :ordering_hash AND state IN ('queued', 'running'))";

const LET_NEXT: &str = "
UPDATE run SET waits = 0
 WHERE seq = (SELECT seq FROM run
               WHERE ordering_hash = (SELECT ordering_hash FROM run WHERE seq = :run_seq)
                 AND state IN ('queued', 'running')
               ORDER BY seq
               LIMIT 1)
   AND waits = 1";

const NEWEST_VERSION: &str =
    "SELECT version FROM newest_version WHERE ordering_hash = :ordering_hash";

const KEEP_VERSION: &str = "
INSERT INTO newest_version (ordering_hash, version, seen_at) VALUES (:ordering_hash, :version, :now)
    ON CONFLICT (ordering_hash) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at";

/// A new run with what the writer thread need not compute.
pub(super) struct PreparedRun {
    pub(super) id: RunId,
    ordering_hash: Option<KeyHash>,
    run: NewRun,
}

impl PreparedRun {
    pub(super) fn new(hasher: &KeyHasher, event: &NewEvent, run: &NewRun) -> Self {
        Self {
            id: RunId::new(event.received_at),
            ordering_hash: run.ordering_key.as_ref().map(|key| {
                hasher.ordering_hash(&event.tenant, &run.policy, &event.integration_id, key)
            }),
            run: run.clone(),
        }
    }
}

/// Queues a run with its event, or writes down why it is over already; says whether it is queued.
pub(super) fn insert(
    tx: &Connection,
    prepared: &PreparedRun,
    event_seq: i64,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let run = &prepared.run;
    let now = event.received_at;
    let stale = match (&prepared.ordering_hash, &run.version) {
        (Some(hash), Some(version)) => is_stale(tx, hash, version, now)?,
        _ => false,
    };
    let dropped = run.dropped.or_else(|| stale.then_some(Dropped::Stale));
    if let Some(dropped) = dropped {
        tx.prepare_cached(INSERT_DROPPED)?.execute(named_params! {
            ":id": prepared.id.to_bytes(),
            ":event_seq": event_seq,
            ":tenant": event.tenant,
            ":policy": run.policy,
            ":now": now,
            ":ordering_key": run.ordering_key,
            ":ordering_hash": prepared.ordering_hash,
            ":late": run.late,
            ":dropped": dropped.as_str(),
        })?;
        return Ok(false);
    }
    let waits = match &prepared.ordering_hash {
        Some(hash) => tx
            .prepare_cached(IS_BUSY)?
            .query_row(named_params! { ":ordering_hash": hash }, |row| row.get(0))?,
        None => false,
    };
    tx.prepare_cached(INSERT_QUEUED)?.execute(named_params! {
        ":id": prepared.id.to_bytes(),
        ":event_seq": event_seq,
        ":tenant": event.tenant,
        ":policy": run.policy,
        ":now": now,
        ":ordering_key": run.ordering_key,
        ":ordering_hash": prepared.ordering_hash,
        ":waits": waits,
        ":late": run.late,
    })?;
    Ok(true)
}

/// Lets the next run with the same ordering key be claimed: this one is over.
pub(super) fn let_next(tx: &Connection, run_seq: i64) -> Result<(), StoreError> {
    tx.prepare_cached(LET_NEXT)?
        .execute(named_params! { ":run_seq": run_seq })?;
    Ok(())
}

/// Whether a newer version was seen; remembers this one where it is the newest.
fn is_stale(
    tx: &Connection,
    hash: &KeyHash,
    version: &Version,
    now: i64,
) -> Result<bool, StoreError> {
    let newest = tx
        .prepare_cached(NEWEST_VERSION)?
        .query_row(named_params! { ":ordering_hash": hash }, |row| {
            row.get::<_, String>("version")
        })
        .optional()?
        .map(|text| row::json::<Version>(&text, "version"))
        .transpose()?;
    if newest.is_some_and(|newest| version.is_older_than(&newest)) {
        return Ok(true);
    }
    tx.prepare_cached(KEEP_VERSION)?.execute(named_params! {
        ":ordering_hash": hash,
        ":version": row::to_json(version)?,
        ":now": now,
    })?;
    Ok(false)
}
