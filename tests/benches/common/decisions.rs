//! When events were decided, read from the database.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rusqlite::Connection;
use triage_host::model::time::TimestampMs;

use super::bodies::id_text;
use super::host::INTEGRATION;
use super::load::Sent;
use super::statistics::Latencies;

const ENDS: &str = "
SELECT event.idempotency_key, run.finished_at
  FROM event JOIN run ON run.event_seq = event.seq
 WHERE event.integration_id = ?1 AND run.outcome = 'acted'";

/// How long each of the quiet tenant's events took from its POST to its decision.
pub fn decisions(database: &Connection, sent: &[Sent]) -> Result<Latencies> {
    let mut statement = database.prepare(ENDS)?;
    let rows = statement.query_map([INTEGRATION], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let ends: HashMap<String, TimestampMs> = rows.collect::<Result<_, _>>()?;
    let mut micros = Vec::new();
    for Sent { number, at } in sent {
        let end = ends.get(&id_text(*number));
        let end = end.context("an event without a decision")?;
        micros.push(u32::try_from((end - at).max(0) * 1_000)?);
    }
    Ok(Latencies::new(micros))
}
