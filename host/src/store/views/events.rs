//! Events as lists and pages show them, with what became of them.

use std::collections::HashSet;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params};
use serde::Serialize;

use super::{At, Page, PageRequest};
use crate::model::decision::{Decision, Priority};
use crate::model::id::{EventId, RunId};
use crate::model::time::TimestampMs;
use crate::model::trigger::Trigger;
use crate::store::keys::KeyHasher;
use crate::store::seen;
use crate::store::{Store, StoreError, row};

/// How far the order of `received_at` may be from the order of writing, in milliseconds.
///
/// A delivery gets its time before it waits for the writer. Time filters look this much
/// further and then compare exactly.
const DISORDER_MS: i64 = 10_000;

const NEWEST: &str = "
SELECT seq FROM event
 WHERE seq < :before AND :oldest <= seq AND :since <= received_at AND received_at < :until
 ORDER BY seq DESC LIMIT :limit";

const NEWEST_OF_TENANT: &str = "
SELECT seq FROM event
 WHERE tenant = :tenant
   AND seq < :before AND :oldest <= seq AND :since <= received_at AND received_at < :until
 ORDER BY seq DESC LIMIT :limit";

const NEWEST_OF_INTEGRATION: &str = "
SELECT seq FROM event
 WHERE integration_id = :integration_id
   AND seq < :before AND :oldest <= seq AND :since <= received_at AND received_at < :until
 ORDER BY seq DESC LIMIT :limit";

// Ids begin with the time: the index on them finds where a time stands.
const FIRST_FROM: &str = "SELECT seq FROM event WHERE :id <= id ORDER BY id LIMIT 1";
const LAST_BEFORE: &str = "SELECT seq FROM event WHERE id < :id ORDER BY id DESC LIMIT 1";

// Skips from one integration to the next in the index.
const INTEGRATIONS: &str = "
WITH RECURSIVE found (integration_id) AS (
    SELECT min(integration_id) FROM event
    UNION ALL
    SELECT (SELECT min(integration_id) FROM event WHERE found.integration_id < event.integration_id)
      FROM found
     WHERE found.integration_id IS NOT NULL)
SELECT integration_id FROM found WHERE integration_id IS NOT NULL";

// The configuration's file may give an integration to another tenant; its events stay with the one
// that had it. Its oldest and its newest event tell, so that not all of them are read.
const OWNERS: &str = "
SELECT (SELECT tenant FROM event WHERE integration_id = :integration_id ORDER BY seq LIMIT 1)      AS first,
       (SELECT tenant FROM event WHERE integration_id = :integration_id ORDER BY seq DESC LIMIT 1) AS last";

const FIND_SEQ: &str = "SELECT seq FROM event WHERE id = :id";
const SEQ_OF_RUN: &str = "SELECT event_seq FROM run WHERE seq = :run_seq";

const LOAD: &str = "
SELECT id, tenant, integration_id, source, event_type, idempotency_key, received_at, occurred_at, body_bytes,
       duplicate_count, duplicate_at
  FROM event
 WHERE seq = :seq AND (:tenant IS NULL OR tenant = :tenant)";

const RUNS: &str =
    "SELECT id, policy, outcome, decision FROM run WHERE event_seq = :seq ORDER BY seq";

// An action that is being carried out has no retry: its due time is the end of a lease.
// `CROSS JOIN` keeps the order of the tables: otherwise SQLite walks through all actions and attempts.
const STATUS: &str = "
WITH runs AS MATERIALIZED (
         SELECT seq, state, attempt, run_after FROM run WHERE event_seq = :seq),
     actions AS MATERIALIZED (
         SELECT action.seq, action.state, action.attempt, action.due_at,
                (SELECT count(*) FROM action_attempt WHERE action_seq = action.seq) AS ended
           FROM runs CROSS JOIN action ON action.run_seq = runs.seq),
     tries AS MATERIALIZED (
         SELECT finished_at, error FROM runs CROSS JOIN attempt ON attempt.run_seq = runs.seq
          UNION ALL
         SELECT finished_at, error FROM actions CROSS JOIN action_attempt ON action_attempt.action_seq = actions.seq),
     retries AS (
         SELECT run_after AS at FROM runs WHERE state = 'queued' AND 0 < attempt
          UNION ALL
         SELECT due_at FROM actions WHERE state = 'pending' AND 0 < attempt AND attempt = ended)
SELECT (SELECT coalesce(sum(attempt), 0) FROM runs)                              AS attempt_count,
       EXISTS (SELECT 1 FROM runs    WHERE state IN ('queued', 'running'))
    OR EXISTS (SELECT 1 FROM actions WHERE state = 'pending')                    AS pending,
       EXISTS (SELECT 1 FROM runs    WHERE state = 'dead')
    OR EXISTS (SELECT 1 FROM actions WHERE state = 'dead')                       AS failed,
       (SELECT max(finished_at) FROM tries)                                      AS last_attempt_at,
       (SELECT error FROM tries WHERE error IS NOT NULL
         ORDER BY finished_at DESC LIMIT 1)                                      AS last_error,
       (SELECT min(at) FROM retries)                                             AS next_retry_at";

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// A run or an action of it is still to do.
    Pending,
    /// Everything is done, or there was nothing to do.
    Delivered,
    /// A run or an action of it was given up.
    Failed,
    /// It was processed again after it had failed.
    Replayed,
}

impl EventState {
    /// The word used in JSON and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Replayed => "replayed",
        }
    }
}

/// The text names no state of an event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state `{0}`: expected pending, delivered, failed or replayed")]
pub struct UnknownEventState(pub String);

impl FromStr for EventState {
    type Err = UnknownEventState;

    fn from_str(text: &str) -> Result<Self, UnknownEventState> {
        [Self::Pending, Self::Delivered, Self::Failed, Self::Replayed]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| UnknownEventState(text.to_owned()))
    }
}

/// Which events a list shows. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Received through this integration.
    pub integration_id: Option<String>,
    /// Of this type, or of a type that this pattern matches.
    pub event_type: Option<Trigger>,
    /// In this state.
    pub state: Option<EventState>,
    /// Received at or after this time.
    pub since: Option<TimestampMs>,
    /// Received before this time.
    pub until: Option<TimestampMs>,
    /// Known by this key; of an event that was sent under several, any of them.
    pub idempotency_key: Option<String>,
}

/// An event and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// Names it.
    pub event_id: EventId,
    /// Owner.
    pub tenant: String,
    /// The integration that it came in through.
    pub integration_id: String,
    /// The kind of sender.
    pub source: String,
    /// `{source}.{event}`.
    pub event_type: String,
    /// The sender's stable id.
    pub idempotency_key: String,
    /// When the host received it.
    pub received_at: At,
    /// When it happened at the sender.
    pub occurred_at: Option<At>,
    /// The body's length.
    pub body_bytes: u64,
    /// What became of it.
    pub state: EventState,
    /// Attempts of its runs.
    pub attempt_count: u64,
    /// When the last attempt of a run or action ended.
    pub last_attempt_at: Option<At>,
    /// The newest error of a run or action.
    pub last_error: Option<String>,
    /// When a run or action is tried again.
    pub next_retry_at: Option<At>,
    /// How often it was sent again.
    pub duplicate_count: u64,
    /// When it was last sent again.
    pub last_duplicate_at: Option<At>,
    /// Its runs, in the order of the policies.
    pub run_ids: Vec<RunId>,
    /// Whether any policy wanted it.
    pub routed: bool,
    /// What was decided; of several decisions the one that matters most.
    pub decision: Option<DecisionBrief>,
}

/// A decision in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionBrief {
    /// The policy that decided.
    pub policy: String,
    /// `ignored`, `noted`, `acted` or `routed`.
    pub outcome: Option<String>,
    /// How much the event matters.
    pub priority: Priority,
    /// A short machine name.
    pub category: String,
    /// The plan in one sentence; the classification's reason where there is no plan.
    pub summary: String,
}

impl Store {
    /// Events, newest first.
    pub async fn list_events(
        &self,
        tenant: Option<String>,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<Page<EventView>, StoreError> {
        let hasher = self.hasher.clone();
        self.read(move |db| match &filter.idempotency_key {
            Some(key) => with_key(db, &hasher, tenant.as_deref(), &filter, key),
            None => newest(db, tenant.as_deref(), &filter, page),
        })
        .await
    }

    /// One event.
    pub async fn event(
        &self,
        tenant: Option<String>,
        id: EventId,
    ) -> Result<Option<EventView>, StoreError> {
        self.read(move |db| Ok(find_event(db, tenant.as_deref(), id)?.map(|(_, event)| event)))
            .await
    }
}

/// One event with its row's number.
pub(in crate::store) fn find_event(
    db: &Connection,
    tenant: Option<&str>,
    id: EventId,
) -> Result<Option<(i64, EventView)>, StoreError> {
    let seq: Option<i64> = db
        .prepare_cached(FIND_SEQ)?
        .query_row(named_params! { ":id": id.to_bytes() }, |row| row.get("seq"))
        .optional()?;
    let Some(seq) = seq else { return Ok(None) };
    Ok(load(db, tenant, &EventFilter::default(), seq)?.map(|event| (seq, event)))
}

/// The event of a run, with its row's number.
pub(in crate::store) fn event_of_run(
    db: &Connection,
    run_seq: i64,
) -> Result<(i64, EventView), StoreError> {
    let seq = db
        .prepare_cached(SEQ_OF_RUN)?
        .query_row(named_params! { ":run_seq": run_seq }, |row| {
            row.get("event_seq")
        })?;
    let event = load(db, None, &EventFilter::default(), seq)?
        .ok_or(StoreError::Malformed("run without its event"))?;
    Ok((seq, event))
}

fn newest(
    db: &Connection,
    tenant: Option<&str>,
    filter: &EventFilter,
    page: PageRequest,
) -> Result<Page<EventView>, StoreError> {
    // Index first, so that a time far back costs no walk; the exact comparison is the query's.
    let until = filter.until.map_or(Ok(None), |it| {
        seq_at(db, LAST_BEFORE, it.saturating_add(DISORDER_MS)).map(Some)
    })?;
    let since = filter.since.map_or(Ok(None), |it| {
        seq_at(db, FIRST_FROM, it.saturating_sub(DISORDER_MS)).map(Some)
    })?;
    // Where a bound was asked for and no event is on its right side, nothing can match.
    let (Some(newest), Some(oldest)) = (
        until.unwrap_or(Some(i64::MAX - 1)),
        since.unwrap_or(Some(0)),
    ) else {
        return Ok(Page::one(None));
    };
    let page = page.below(newest.saturating_add(1));
    let load = |seq| load(db, tenant, filter, seq);
    let (since, until) = (
        filter.since.unwrap_or(i64::MIN),
        filter.until.unwrap_or(i64::MAX),
    );
    let mut params: Vec<(&str, &dyn ToSql)> =
        vec![(":oldest", &oldest), (":since", &since), (":until", &until)];
    match (&filter.integration_id, &tenant) {
        (Some(id), _) => {
            params.push((":integration_id", id));
            page.walk(db, NEWEST_OF_INTEGRATION, &params, load)
        }
        (None, Some(tenant)) => {
            params.push((":tenant", tenant));
            page.walk(db, NEWEST_OF_TENANT, &params, load)
        }
        (None, None) => page.walk(db, NEWEST, &params, load),
    }
}

/// The events with a key: at most one for each integration and owner, so never more than a page.
fn with_key(
    db: &Connection,
    hasher: &KeyHasher,
    tenant: Option<&str>,
    filter: &EventFilter,
    key: &str,
) -> Result<Page<EventView>, StoreError> {
    let integration_ids: Vec<String> = match &filter.integration_id {
        Some(id) => vec![id.clone()],
        None => {
            let mut statement = db.prepare_cached(INTEGRATIONS)?;
            statement
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?
        }
    };
    let mut hashes = HashSet::new();
    for integration_id in &integration_ids {
        let owners = match tenant {
            Some(tenant) => vec![tenant.to_owned()],
            None => owners(db, integration_id)?,
        };
        let of_owner = |it: &String| hasher.hash(it, integration_id, "id", key);
        hashes.extend(owners.iter().map(of_owner));
    }
    let mut items: Vec<EventView> = Vec::new();
    for seq in seen::find_by_reading(db, &hashes)?.into_iter().rev() {
        items.extend(load(db, tenant, filter, seq)?);
    }
    Ok(Page {
        items,
        next_cursor: None,
    })
}

fn owners(db: &Connection, integration_id: &str) -> Result<Vec<String>, StoreError> {
    let owners: [Option<String>; 2] = db
        .prepare_cached(OWNERS)?
        .query_row(named_params! { ":integration_id": integration_id }, |row| {
            Ok([row.get("first")?, row.get("last")?])
        })?;
    Ok(owners.into_iter().flatten().collect())
}

fn seq_at(db: &Connection, sql: &str, at: TimestampMs) -> Result<Option<i64>, StoreError> {
    let first_id = u128::try_from(at).unwrap_or(0) << 80;
    let params = named_params! { ":id": first_id.to_be_bytes() };
    Ok(db
        .prepare_cached(sql)?
        .query_row(params, |row| row.get("seq"))
        .optional()?)
}

fn load(
    db: &Connection,
    tenant: Option<&str>,
    filter: &EventFilter,
    seq: i64,
) -> Result<Option<EventView>, StoreError> {
    let event = db
        .prepare_cached(LOAD)?
        .query_row(named_params! { ":seq": seq, ":tenant": tenant }, view)
        .optional()?
        .filter(|it| wanted(filter, it));
    let Some(mut event) = event else {
        return Ok(None);
    };
    add_status(db, &mut event, seq)?;
    if filter.state.is_some_and(|it| it != event.state) {
        return Ok(None);
    }
    add_runs(db, &mut event, seq)?;
    Ok(Some(event))
}

fn wanted(filter: &EventFilter, event: &EventView) -> bool {
    filter
        .integration_id
        .as_ref()
        .is_none_or(|it| *it == event.integration_id)
        && filter
            .event_type
            .as_ref()
            .is_none_or(|it| it.matches(&event.event_type))
        && filter.since.is_none_or(|it| it <= event.received_at.0)
        && filter.until.is_none_or(|it| event.received_at.0 < it)
}

fn view(row: &Row<'_>) -> rusqlite::Result<EventView> {
    Ok(EventView {
        event_id: row::id(row, "id")?,
        tenant: row.get("tenant")?,
        integration_id: row.get("integration_id")?,
        source: row.get("source")?,
        event_type: row.get("event_type")?,
        idempotency_key: row.get("idempotency_key")?,
        received_at: At(row.get("received_at")?),
        occurred_at: row.get::<_, Option<_>>("occurred_at")?.map(At),
        body_bytes: row.get("body_bytes")?,
        duplicate_count: row.get("duplicate_count")?,
        last_duplicate_at: row.get::<_, Option<_>>("duplicate_at")?.map(At),
        state: EventState::Delivered,
        attempt_count: 0,
        last_attempt_at: None,
        last_error: None,
        next_retry_at: None,
        run_ids: Vec::new(),
        routed: false,
        decision: None,
    })
}

fn add_status(db: &Connection, event: &mut EventView, seq: i64) -> Result<(), StoreError> {
    db.prepare_cached(STATUS)?
        .query_row(named_params! { ":seq": seq }, |row| {
            event.state = match (row.get("pending")?, row.get("failed")?) {
                (true, _) => EventState::Pending,
                (false, true) => EventState::Failed,
                (false, false) => EventState::Delivered,
            };
            event.attempt_count = row.get("attempt_count")?;
            event.last_attempt_at = row.get::<_, Option<_>>("last_attempt_at")?.map(At);
            event.last_error = row.get("last_error")?;
            event.next_retry_at = row.get::<_, Option<_>>("next_retry_at")?.map(At);
            Ok(())
        })?;
    Ok(())
}

fn add_runs(db: &Connection, event: &mut EventView, seq: i64) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(RUNS)?;
    let mut rows = statement.query(named_params! { ":seq": seq })?;
    while let Some(row) = rows.next()? {
        event.run_ids.push(row::id(row, "id")?);
        let Some(decision) = row.get::<_, Option<String>>("decision")? else {
            continue;
        };
        let decision: Decision = row::json(&decision, "decision")?;
        let priority = decision.classification.priority;
        if event
            .decision
            .as_ref()
            .is_none_or(|it| it.priority < priority)
        {
            event.decision = Some(brief(row.get("policy")?, row.get("outcome")?, decision));
        }
    }
    event.routed = !event.run_ids.is_empty();
    Ok(())
}

fn brief(policy: String, outcome: Option<String>, decision: Decision) -> DecisionBrief {
    DecisionBrief {
        policy,
        outcome,
        priority: decision.classification.priority,
        category: decision.classification.category,
        summary: decision
            .plan
            .map_or(decision.classification.reason, |it| it.summary),
    }
}
