//! Strikes: which events broke which version of a plugin, and what is counted of it.
//!
//! Written with the attempt, in its transaction, so that no restart forgets one. Whether
//! it is too much is decided by `lifecycle`.

use rusqlite::{Connection, named_params};

use super::{Store, StoreError};
use crate::model::outcome::Outcome;
use crate::model::strike::{PluginVersion, StrikeRecord};
use crate::model::time::TimestampMs;

// Versions without a strike are not counted: the table has few rows, most often none.
const COUNT_RUN: &str = "
UPDATE suspect
   SET runs = runs + 1
 WHERE tenant = :tenant AND plugin = :plugin AND digest = :digest";

const STRIKE: &str = "
INSERT OR IGNORE INTO strike (event_seq, tenant, plugin, digest, at)
VALUES (:event_seq, :tenant, :plugin, :digest, :now)";

const OTHER_VERSIONS: &str = "
SELECT count(*) FROM strike
 WHERE event_seq = :event_seq AND tenant = :tenant AND plugin = :plugin AND digest <> :digest";

// A window begins with its first strike; one that comes after its end begins another.
const SUSPECT: &str = "
INSERT INTO suspect (tenant, plugin, digest, since, events, runs, broken)
VALUES (:tenant, :plugin, :digest, :now, :event, 1, 1)
    ON CONFLICT DO UPDATE
   SET events = CASE WHEN since < :window_began THEN :event ELSE events + :event END,
       runs   = CASE WHEN since < :window_began THEN 1 ELSE runs END,
       broken = CASE WHEN since < :window_began THEN 1 ELSE broken + 1 END,
       since  = CASE WHEN since < :window_began THEN :now ELSE since END";

// The event is to blame: it counts against none of the versions that it broke.
const FORGIVE_OTHER: &str = "
UPDATE suspect
   SET events = max(events - 1, 0), broken = max(broken - 1, 0)
 WHERE tenant = :tenant AND plugin = :plugin
   AND digest IN (SELECT digest FROM strike
                   WHERE event_seq = :event_seq AND tenant = :tenant AND plugin = :plugin
                     AND digest <> :digest AND suspect.since <= strike.at)";

const RECORD: &str = "
SELECT events, runs, broken FROM suspect
 WHERE tenant = :tenant AND plugin = :plugin AND digest = :digest";

/// What an attempt says of the versions that were asked in it.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// The versions that were asked, the last of them at the end.
    pub asked: Vec<PluginVersion>,
    /// Whether it is the run's first attempt.
    pub is_first: bool,
    /// Whether a plugin broke a rule in an earlier attempt of the run.
    pub broke_before: bool,
    /// How long strikes are counted together, in milliseconds.
    pub window_ms: i64,
}

impl Store {
    /// How many other versions of the plugin broke a rule on this event.
    pub async fn other_versions_broken(
        &self,
        tenant: String,
        event_seq: i64,
        version: PluginVersion,
    ) -> Result<u32, StoreError> {
        self.read(move |db| other_versions(db, &tenant, event_seq, &version))
            .await
    }
}

/// Writes down what an attempt says of the versions that were asked in it. Gives what is counted of
/// the last one, where it broke a rule.
pub(super) fn record(
    tx: &Connection,
    tenant: &str,
    event_seq: i64,
    conduct: &Conduct,
    outcome: &Outcome,
    now: TimestampMs,
) -> Result<Option<StrikeRecord>, StoreError> {
    if conduct.is_first {
        for version in &conduct.asked {
            tx.prepare_cached(COUNT_RUN)?.execute(named_params! {
                ":tenant": tenant, ":plugin": version.plugin, ":digest": version.digest,
            })?;
        }
    }
    match (outcome, conduct.asked.last()) {
        (Outcome::Broken(_), Some(version)) => {
            strike(tx, tenant, event_seq, version, conduct, now).map(Some)
        }
        _ => Ok(None),
    }
}

fn strike(
    tx: &Connection,
    tenant: &str,
    event_seq: i64,
    version: &PluginVersion,
    conduct: &Conduct,
    now: TimestampMs,
) -> Result<StrikeRecord, StoreError> {
    let (plugin, digest) = (&version.plugin, &version.digest);
    let is_new = tx.prepare_cached(STRIKE)?.execute(named_params! {
        ":event_seq": event_seq, ":tenant": tenant, ":plugin": plugin, ":digest": digest, ":now": now,
    })?;
    let others = other_versions(tx, tenant, event_seq, version)?;
    if others == 0 && (0 < is_new || !conduct.broke_before) {
        tx.prepare_cached(SUSPECT)?.execute(named_params! {
            ":tenant": tenant, ":plugin": plugin, ":digest": digest, ":now": now,
            ":event": is_new, ":window_began": now - conduct.window_ms,
        })?;
    }
    if others == 1 && 0 < is_new {
        tx.prepare_cached(FORGIVE_OTHER)?.execute(named_params! {
            ":event_seq": event_seq, ":tenant": tenant, ":plugin": plugin, ":digest": digest,
        })?;
    }
    let found = tx.prepare_cached(RECORD)?.query_row(
        named_params! { ":tenant": tenant, ":plugin": plugin, ":digest": digest },
        |row| {
            Ok(StrikeRecord {
                events: row.get("events")?,
                runs: row.get("runs")?,
                broken: row.get("broken")?,
            })
        },
    );
    match found {
        // Every strike was the events' fault.
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(StrikeRecord::default()),
        found => Ok(found?),
    }
}

fn other_versions(
    db: &Connection,
    tenant: &str,
    event_seq: i64,
    version: &PluginVersion,
) -> Result<u32, StoreError> {
    Ok(db.prepare_cached(OTHER_VERSIONS)?.query_row(
        named_params! {
            ":event_seq": event_seq,
            ":tenant": tenant,
            ":plugin": version.plugin,
            ":digest": version.digest,
        },
        |row| row.get(0),
    )?)
}
