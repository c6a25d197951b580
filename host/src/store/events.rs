//! Keeping events, and finding the one that a delivery repeats.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::content::{self, Content};
use super::keys::KeyHash;
use super::order::{self, PreparedRun};
use super::seen;
use super::writer::InMemory;
use super::{Store, StoreError, row};
use crate::model::event::{Accepted, Headers, NewEvent};
use crate::model::id::EventId;
use crate::model::tenant::{AtLimit, TenantLimit};
use crate::model::time::TimestampMs;

const INSERT_EVENT: &str = "
INSERT INTO event (seq, id, tenant, integration_id, source, event_type, idempotency_key, received_at, occurred_at,
                   body_bytes, id_hash, content_hash, content_until)
VALUES (:seq, :id, :tenant, :integration_id, :source, :event_type, :idempotency_key, :received_at, :occurred_at,
        :body_bytes, :id_hash, :content_hash, :content_until)";

const INSERT_CONTENT: &str = "
INSERT INTO event_content (event_seq, encoding, dictionary, content)
VALUES (:event_seq, :encoding, :dictionary, :content)";

const COUNT_DUPLICATE: &str = "
UPDATE event
   SET duplicate_count = duplicate_count + 1, duplicate_at = :now
 WHERE seq = :seq
RETURNING id";

const RUNS_OF: &str = "SELECT id FROM run WHERE event_seq = :event_seq ORDER BY seq";

const FIND_EVENT: &str =
    "SELECT seq FROM event WHERE id = :id AND (:tenant IS NULL OR tenant = :tenant)";

/// A new event with everything computed that the writer thread need not compute.
struct Prepared {
    event: NewEvent,
    runs: Vec<PreparedRun>,
    /// Only where packing takes long. The writer thread packs the others behind their integration's dictionary,
    /// once it knows them to be new: it waits for the disk half of its time, and a repeat costs nothing.
    packed: Option<Content>,
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
        self.accept_within(event, u64::MAX).await
    }

    /// The same for a tenant of which no more than `queued_runs` may be queued. A repeat is found
    /// however many there are.
    ///
    /// # Errors
    /// Also [`StoreError::QueueFull`].
    pub async fn accept_within(
        &self,
        event: NewEvent,
        queued_runs: u64,
    ) -> Result<Accepted, StoreError> {
        let memory = self.memory()?;
        let hash = |kind, key| {
            self.hasher
                .hash(&event.tenant, &event.integration_id, kind, key)
        };
        let prepared = Arc::new(Prepared {
            id_hash: hash("id", &event.idempotency_key),
            content_hash: event
                .content_key
                .as_ref()
                .map(|it| hash("content", &it.key)),
            packed: content::takes_long(&event.headers, &event.body)
                .then(|| content::pack(&content::lay_out(&event.headers, &event.body), None)),
            runs: event
                .runs
                .iter()
                .map(|run| PreparedRun::new(&self.hasher, &event, run))
                .collect(),
            event,
        });
        let written = prepared.clone();
        let accepted = self
            .write(move |tx| accept(tx, &memory, &written, queued_runs))
            .await?;
        accepted.ok_or_else(|| {
            StoreError::QueueFull(AtLimit {
                tenant: prepared.event.tenant.clone(),
                limit: TenantLimit::QueuedRuns,
                most: queued_runs,
            })
        })
    }

    /// The headers and the exact body of a kept event.
    pub async fn payload(
        &self,
        tenant: Option<String>,
        id: EventId,
    ) -> Result<Option<(Headers, bytes::Bytes)>, StoreError> {
        self.read(move |db| {
            let found: Option<i64> = db
                .prepare_cached(FIND_EVENT)?
                .query_row(
                    named_params! { ":id": id.to_bytes(), ":tenant": tenant },
                    |row| row.get("seq"),
                )
                .optional()?;
            match found {
                Some(event_seq) => content::find(db, event_seq),
                None => Ok(None),
            }
        })
        .await
    }
}

/// `None` where the tenant's queue is full: no error, which would undo what others wrote as well.
fn accept(
    tx: &Connection,
    memory: &InMemory,
    prepared: &Prepared,
    queued_runs: u64,
) -> Result<Option<Accepted>, StoreError> {
    let event = &prepared.event;
    let now = event.received_at;
    let seen = &mut seen::lock(&memory.seen);
    if let Some(event_seq) = seen.find(tx, &prepared.id_hash, now)? {
        return repeat(tx, event_seq, now).map(Some);
    }
    if let Some(hash) = &prepared.content_hash
        && let Some(event_seq) = seen.find(tx, hash, now)?
    {
        // The same content under another id: that id names the first event from now on.
        seen.add_name(tx, prepared.id_hash, event_seq)?;
        return repeat(tx, event_seq, now).map(Some);
    }
    let wanted = event.runs.iter().filter(|it| it.dropped.is_none()).count() as u64;
    if 0 < wanted && queued_runs < memory.lengths.of(&event.tenant).saturating_add(wanted) {
        return Ok(None);
    }
    let content_until = event
        .content_key
        .as_ref()
        .and_then(|it| it.window_ms)
        .map(|it| now + it);
    let event_seq = seen.next_event();
    insert_event(tx, memory, prepared, event_seq, content_until)?;
    seen.insert(prepared.id_hash, event_seq);
    if let Some(hash) = prepared.content_hash {
        seen.insert(hash, event_seq);
    }
    for run in &prepared.runs {
        if order::insert(tx, run, event_seq, event)? {
            memory.lengths.change(&event.tenant, 1);
        }
    }
    Ok(Some(Accepted {
        event_id: event.id,
        run_ids: prepared.runs.iter().map(|it| it.id).collect(),
        duplicate: false,
    }))
}

fn insert_event(
    tx: &Connection,
    memory: &InMemory,
    prepared: &Prepared,
    event_seq: i64,
    content_until: Option<TimestampMs>,
) -> Result<(), StoreError> {
    let event = &prepared.event;
    // By position and not by name: SQLite looks a name up among all of a statement's, for every event.
    tx.prepare_cached(INSERT_EVENT)?.execute(params![
        event_seq,
        event.id.to_bytes(),
        event.tenant,
        event.integration_id,
        event.source,
        event.event_type,
        event.idempotency_key,
        event.received_at,
        event.occurred_at,
        event.body.len(),
        prepared.id_hash,
        prepared.content_hash,
        content_until,
    ])?;
    let packed_here;
    let content = match &prepared.packed {
        Some(packed) => packed,
        None => {
            packed_here = memory.dictionaries.pack(tx, event_seq, event)?;
            &packed_here
        }
    };
    tx.prepare_cached(INSERT_CONTENT)?.execute(params![
        event_seq,
        content.encoding,
        content.dictionary,
        content.bytes
    ])?;
    Ok(())
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
