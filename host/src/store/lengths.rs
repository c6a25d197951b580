//! How many runs of each tenant are queued: counted in memory, so that a delivery can be refused
//! without a walk through the queue.
//!
//! Part of the transactions that queue and claim runs: what they change counts once it is committed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

// Both once, at the start: together they read the queue's entries in two indexes.
const READY: &str = "
SELECT tenant, count(*) AS runs
  FROM run INDEXED BY run_due
 WHERE state = 'queued' AND waits = 0
 GROUP BY tenant";

const WAITING: &str = "
SELECT tenant, count(*) AS runs
  FROM run INDEXED BY run_in_order
 WHERE ordering_hash IS NOT NULL AND state IN ('queued', 'running') AND waits = 1
 GROUP BY tenant";

/// The lengths, and what the open transaction does to them.
pub(super) struct Lengths(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    queued: HashMap<String, i64>,
    uncommitted: HashMap<String, i64>,
}

impl Lengths {
    /// Counts what is queued.
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut counts = Counts::default();
        for sql in [READY, WAITING] {
            let mut statement = db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                counts.change(row.get("tenant")?, row.get("runs")?);
            }
        }
        counts.commit();
        Ok(Self(Mutex::new(counts)))
    }

    /// Runs of a tenant that are queued, as the open transaction sees it.
    pub(super) fn of(&self, tenant: &str) -> u64 {
        let counts = self.lock();
        let count = |of: &HashMap<String, i64>| of.get(tenant).copied().unwrap_or(0);
        let queued = count(&counts.queued) + count(&counts.uncommitted);
        u64::try_from(queued).unwrap_or(0)
    }

    /// The open transaction queues so many runs, or takes them out of the queue.
    pub(super) fn change(&self, tenant: &str, by: i64) {
        self.lock().change(tenant.to_owned(), by);
    }

    /// The open transaction is committed.
    pub(super) fn committed(&self) {
        self.lock().commit();
    }

    /// The open transaction is undone.
    pub(super) fn rolled_back(&self) {
        self.lock().uncommitted.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Numbers in a map are never half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn change(&mut self, tenant: String, by: i64) {
        *self.uncommitted.entry(tenant).or_default() += by;
    }

    fn commit(&mut self) {
        for (tenant, by) in self.uncommitted.drain() {
            *self.queued.entry(tenant).or_default() += by;
        }
        self.queued.retain(|_, count| *count != 0);
    }
}
