//! Keeping events, and finding the one that a delivery repeats.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, named_params};

use super::content::{self, Content};
use super::keys::KeyHash;
use super::{Store, StoreError, row};
use crate::model::event::{Accepted, Headers, NewEvent};
use crate::model::id::{EventId, RunId};
use crate::model::time::TimestampMs;

const FIND_KEY: &str = "
SELECT event_seq
  FROM event_key
 WHERE hash = :hash AND (valid_until IS NULL OR :now < valid_until)";

// A content key that ran out is taken over by the new event.
const INSERT_KEY: &str = "
INSERT INTO event_key (hash, event_seq, valid_until)
VALUES (:hash, :event_seq, :valid_until)
    ON CONFLICT (hash) DO UPDATE SET event_seq = excluded.event_seq, valid_until = excluded.valid_until";

const INSERT_EVENT: &str = "
INSERT INTO event (id, tenant, integration_id, source, event_type, idempotency_key, received_at, occurred_at, body_bytes)
VALUES (:id, :tenant, :integration_id, :source, :event_type, :idempotency_key, :received_at, :occurred_at, :body_bytes)";

const INSERT_CONTENT: &str = "
INSERT INTO event_content (event_seq, encoding, content) VALUES (:event_seq, :encoding, :content)";

const INSERT_RUN: &str = "
INSERT INTO run (id, event_seq, tenant, policy, state, created_at, run_after)
VALUES (:id, :event_seq, :tenant, :policy, 'queued', :now, :now)";

const COUNT_DUPLICATE: &str = "
UPDATE event
   SET duplicate_count = duplicate_count + 1, duplicate_at = :now
 WHERE seq = :seq
RETURNING id";

const RUNS_OF: &str = "SELECT id FROM run WHERE event_seq = :event_seq ORDER BY seq";

const FIND_CONTENT: &str = "
SELECT encoding, content
  FROM event_content
 WHERE event_seq = (SELECT seq FROM event WHERE id = :id AND (:tenant IS NULL OR tenant = :tenant))";

/// A new event with everything computed that the writer thread need not compute.
struct Prepared {
    event: NewEvent,
    run_ids: Vec<RunId>,
    content: Content,
    id_hash: KeyHash,
    content_hash: Option<KeyHash>,
}

impl Store {
    /// Keeps an event with one queued run for each policy, or finds the event that it repeats.
    ///
    /// When this returns, the answer is on disk.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many writes wait, others when the commit failed;
    /// in both cases nothing was kept.
    pub async fn accept(&self, event: NewEvent) -> Result<Accepted, StoreError> {
        let prepared = Arc::new(Prepared {
            id_hash: self
                .hasher
                .hash(&event.integration_id, "id", &event.idempotency_key),
            content_hash: event
                .content_key
                .as_ref()
                .map(|it| self.hasher.hash(&event.integration_id, "content", &it.key)),
            content: content::pack(&event.headers, &event.body),
            run_ids: event
                .policies
                .iter()
                .map(|_| RunId::new(event.received_at))
                .collect(),
            event,
        });
        self.write(move |tx| accept(tx, &prepared)).await
    }

    /// The headers and the exact body of a kept event.
    pub async fn payload(
        &self,
        tenant: Option<String>,
        id: EventId,
    ) -> Result<Option<(Headers, bytes::Bytes)>, StoreError> {
        self.read(move |db| {
            let found: Option<(String, Vec<u8>)> = db
                .prepare_cached(FIND_CONTENT)?
                .query_row(
                    named_params! { ":id": id.to_bytes(), ":tenant": tenant },
                    |row| Ok((row.get("encoding")?, row.get("content")?)),
                )
                .optional()?;
            found
                .map(|(encoding, bytes)| content::unpack(&encoding, &bytes))
                .transpose()
        })
        .await
    }
}

fn accept(tx: &Connection, prepared: &Prepared) -> Result<Accepted, StoreError> {
    let event = &prepared.event;
    let now = event.received_at;
    let by_id = find_key(tx, prepared.id_hash, now)?;
    let by_content = match (by_id, prepared.content_hash) {
        (None, Some(hash)) => find_key(tx, hash, now)?,
        _ => None,
    };
    if let Some(event_seq) = by_id.or(by_content) {
        if by_id.is_none() {
            // The same content under another id: that id names the first event from now on.
            insert_key(tx, prepared.id_hash, event_seq, None)?;
        }
        return repeat(tx, event_seq, now);
    }
    let event_seq = insert_event(tx, prepared)?;
    insert_key(tx, prepared.id_hash, event_seq, None)?;
    if let (Some(hash), Some(key)) = (prepared.content_hash, &event.content_key) {
        insert_key(
            tx,
            hash,
            event_seq,
            key.window_ms.map(|window_ms| now + window_ms),
        )?;
    }
    for (policy, run_id) in event.policies.iter().zip(&prepared.run_ids) {
        tx.prepare_cached(INSERT_RUN)?.execute(named_params! {
            ":id": run_id.to_bytes(),
            ":event_seq": event_seq,
            ":tenant": event.tenant,
            ":policy": policy,
            ":now": now,
        })?;
    }
    Ok(Accepted {
        event_id: event.id,
        run_ids: prepared.run_ids.clone(),
        duplicate: false,
    })
}

fn insert_event(tx: &Connection, prepared: &Prepared) -> Result<i64, StoreError> {
    let event = &prepared.event;
    tx.prepare_cached(INSERT_EVENT)?.execute(named_params! {
        ":id": event.id.to_bytes(),
        ":tenant": event.tenant,
        ":integration_id": event.integration_id,
        ":source": event.source.as_str(),
        ":event_type": event.event_type,
        ":idempotency_key": event.idempotency_key,
        ":received_at": event.received_at,
        ":occurred_at": event.occurred_at,
        ":body_bytes": event.body.len(),
    })?;
    let event_seq = tx.last_insert_rowid();
    tx.prepare_cached(INSERT_CONTENT)?.execute(named_params! {
        ":event_seq": event_seq,
        ":encoding": prepared.content.encoding,
        ":content": prepared.content.bytes,
    })?;
    Ok(event_seq)
}

fn repeat(tx: &Connection, event_seq: i64, now: TimestampMs) -> Result<Accepted, StoreError> {
    let event_id = tx
        .prepare_cached(COUNT_DUPLICATE)?
        .query_row(named_params! { ":seq": event_seq, ":now": now }, |row| {
            row::id(row, "id")
        })?;
    let run_ids = tx
        .prepare_cached(RUNS_OF)?
        .query_map(named_params! { ":event_seq": event_seq }, |row| {
            row::id(row, "id")
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Accepted {
        event_id,
        run_ids,
        duplicate: true,
    })
}

fn find_key(tx: &Connection, hash: KeyHash, now: TimestampMs) -> rusqlite::Result<Option<i64>> {
    tx.prepare_cached(FIND_KEY)?
        .query_row(named_params! { ":hash": hash, ":now": now }, |row| {
            row.get("event_seq")
        })
        .optional()
}

fn insert_key(
    tx: &Connection,
    hash: KeyHash,
    event_seq: i64,
    valid_until: Option<TimestampMs>,
) -> rusqlite::Result<usize> {
    tx.prepare_cached(INSERT_KEY)?.execute(named_params! {
        ":hash": hash,
        ":event_seq": event_seq,
        ":valid_until": valid_until,
    })
}
