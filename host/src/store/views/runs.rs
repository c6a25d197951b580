//! Runs as lists and pages show them, with their attempts, actions and receipts.

use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use super::{At, Page, PageRequest};
use crate::model::decision::{ActionContent, Decision, Priority};
use crate::model::id::{ActionId, EventId, RunId, TicketId};
use crate::model::run::{Dropped, LogLine};
use crate::store::{Store, StoreError, row};

const NEWEST: &str = "SELECT seq FROM run WHERE seq < :before ORDER BY seq DESC LIMIT :limit";

const NEWEST_OF_TENANT: &str = "
SELECT seq FROM run WHERE tenant = :tenant AND seq < :before ORDER BY seq DESC LIMIT :limit";

const NEWEST_OF_EVENT: &str = "
SELECT seq FROM run
 WHERE event_seq = (SELECT seq FROM event WHERE id = :event_id) AND seq < :before
 ORDER BY seq DESC LIMIT :limit";

const NEWEST_DEAD: &str = "
SELECT seq FROM run WHERE state = 'dead' AND seq < :before ORDER BY seq DESC LIMIT :limit";

const FIND: &str = "SELECT seq FROM run WHERE id = :id";

const LOAD: &str = "
SELECT run.id, run.tenant, run.policy, run.state, run.created_at, run.run_after, run.finished_at, run.attempt,
       run.host_errors, run.outcome, run.decision, run.dead_reason, run.ordering_key, run.waits, run.late, run.dropped,
       event.id AS event_id, event.event_type, event.integration_id
  FROM run
  JOIN event ON event.seq = run.event_seq
 WHERE run.seq = :seq AND (:tenant IS NULL OR run.tenant = :tenant)";

const ATTEMPTS: &str = "
SELECT number, started_at, finished_at, class, error, classifier_digest, triager_digest, cpu_us, memory_bytes, log
  FROM attempt
 WHERE run_seq = :seq
 ORDER BY number";

const ACTIONS: &str = "
SELECT action.seq, action.id, action.name, action.destination, action.idempotency_key, action.content, action.state,
       action.created_at, action.due_at, action.finished_at, action.attempt, action.dead_reason,
       receipt.at AS receipt_at, receipt.ticket_id, receipt.status, receipt.body, receipt.request_id
  FROM action
  LEFT JOIN receipt ON receipt.action_seq = action.seq
 WHERE action.run_seq = :seq
 ORDER BY action.seq";

const ACTION_ATTEMPTS: &str = "
SELECT number, started_at, finished_at, status, error
  FROM action_attempt
 WHERE action_seq = :seq
 ORDER BY number";

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It is over, with a decision.
    Completed,
    /// It was given up.
    Dead,
}

impl RunState {
    /// The word used in SQL, JSON and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Dead => "dead",
        }
    }
}

/// The text names no state of a run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state `{0}`: expected queued, running, completed or dead")]
pub struct UnknownRunState(pub String);

impl FromStr for RunState {
    type Err = UnknownRunState;

    fn from_str(text: &str) -> Result<Self, UnknownRunState> {
        [Self::Queued, Self::Running, Self::Completed, Self::Dead]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| UnknownRunState(text.to_owned()))
    }
}

/// Which runs a list shows. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this policy.
    pub policy: Option<String>,
    /// In this state.
    pub state: Option<RunState>,
    /// Of this event.
    pub event_id: Option<EventId>,
}

/// A run in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunView {
    /// Names it.
    pub run_id: RunId,
    /// The event that it handles.
    pub event_id: EventId,
    /// Owner.
    pub tenant: String,
    /// The integration that the event came in through.
    pub integration_id: String,
    /// The event's type.
    pub event_type: String,
    /// The policy that handles the event.
    pub policy: String,
    /// Where it stands.
    pub state: RunState,
    /// `ignored`, `noted`, `acted`, `routed` or `dropped`, once it is completed.
    pub outcome: Option<String>,
    /// Why it was dropped.
    pub dropped: Option<Dropped>,
    /// Runs with the same key go one after another.
    pub ordering_key: Option<String>,
    /// Whether it waits for an earlier run with its ordering key.
    pub waits: bool,
    /// Whether the plugin is told that the event came late.
    pub late: bool,
    /// How much the event matters, once it is decided.
    pub priority: Option<Priority>,
    /// The classification's category, once it is decided.
    pub category: Option<String>,
    /// The plan in one sentence, where there is one.
    pub summary: Option<String>,
    /// When it was queued first.
    pub created_at: At,
    /// When it may be tried next, while it is queued.
    pub next_attempt_at: Option<At>,
    /// When it ended.
    pub finished_at: Option<At>,
    /// Attempts so far, one that is under way included.
    pub attempt_count: u64,
    /// How many of them ended in an error of the host.
    pub host_errors: u64,
    /// Why it was given up.
    pub dead_reason: Option<String>,
}

/// A run with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDetail {
    /// The run itself.
    #[serde(flatten)]
    pub run: RunView,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Finished attempts, first one first.
    pub attempts: Vec<AttemptView>,
    /// What the decision asked for, in the plan's order.
    pub actions: Vec<ActionView>,
}

/// One finished attempt of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    /// 1 for the first one.
    pub number: u32,
    /// When it began.
    pub started_at: At,
    /// When it ended.
    pub finished_at: At,
    /// How it ended, as a stable name.
    pub class: String,
    /// What went wrong.
    pub error: Option<String>,
    /// SHA-256 of the classifier's component.
    pub classifier_digest: Option<String>,
    /// SHA-256 of the triager's component.
    pub triager_digest: Option<String>,
    /// Computing time of the plugin in microseconds.
    pub cpu_us: u64,
    /// Most memory of the plugin in bytes.
    pub memory_bytes: u64,
    /// Lines that the plugin wrote.
    pub log: Vec<LogLine>,
}

/// One action of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionView {
    /// Names it.
    pub action_id: ActionId,
    /// The plan's name for it.
    pub name: String,
    /// The destination's name.
    pub destination: String,
    /// The same at every attempt.
    pub idempotency_key: String,
    /// What it carries.
    pub content: ActionContent,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// When the decision was committed.
    pub created_at: At,
    /// When it may be tried next, while it is pending.
    pub next_attempt_at: Option<At>,
    /// When it ended.
    pub finished_at: Option<At>,
    /// Attempts so far, one that is under way included.
    pub attempt_count: u64,
    /// Why it was given up.
    pub dead_reason: Option<String>,
    /// Finished attempts, first one first.
    pub attempts: Vec<ActionAttemptView>,
    /// What the destination answered.
    pub receipt: Option<ReceiptView>,
}

/// One finished attempt of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionAttemptView {
    /// 1 for the first one.
    pub number: u32,
    /// When it began.
    pub started_at: At,
    /// When it ended.
    pub finished_at: At,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
}

/// What a destination answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptView {
    /// When it was kept.
    pub at: At,
    /// The ticket that the built-in desk opened.
    pub ticket_id: Option<TicketId>,
    /// The status of a webhook's answer.
    pub status: Option<u16>,
    /// The beginning of that answer.
    pub body: Option<String>,
    /// The answer's own id.
    pub request_id: Option<String>,
}

impl Store {
    /// Runs, newest first.
    pub async fn list_runs(
        &self,
        tenant: Option<String>,
        filter: RunFilter,
        page: PageRequest,
    ) -> Result<Page<RunView>, StoreError> {
        self.read(move |db| {
            let load = |seq| {
                let loaded = load(db, tenant.as_deref(), seq)?.map(|(run, _)| run);
                Ok(loaded.filter(|it| wanted(&filter, it)))
            };
            match (filter.event_id, filter.state, &tenant) {
                (Some(id), _, _) => {
                    page.walk(db, NEWEST_OF_EVENT, &[(":event_id", &id.to_bytes())], load)
                }
                (None, Some(RunState::Dead), _) => page.walk(db, NEWEST_DEAD, &[], load),
                (None, _, Some(tenant)) => {
                    page.walk(db, NEWEST_OF_TENANT, &[(":tenant", tenant)], load)
                }
                (None, _, None) => page.walk(db, NEWEST, &[], load),
            }
        })
        .await
    }

    /// One run with everything that belongs to it.
    pub async fn run(
        &self,
        tenant: Option<String>,
        id: RunId,
    ) -> Result<Option<RunDetail>, StoreError> {
        self.read(move |db| Ok(find_run(db, tenant.as_deref(), id)?.map(|(_, run)| run)))
            .await
    }
}

/// One run with everything that belongs to it, and its row's number.
pub(in crate::store) fn find_run(
    db: &Connection,
    tenant: Option<&str>,
    id: RunId,
) -> Result<Option<(i64, RunDetail)>, StoreError> {
    let seq: Option<i64> = db
        .prepare_cached(FIND)?
        .query_row(named_params! { ":id": id.to_bytes() }, |row| row.get("seq"))
        .optional()?;
    let Some(seq) = seq else { return Ok(None) };
    let Some((run, decision)) = load(db, tenant, seq)? else {
        return Ok(None);
    };
    let detail = RunDetail {
        run,
        decision,
        attempts: attempts(db, seq)?,
        actions: actions(db, seq)?,
    };
    Ok(Some((seq, detail)))
}

fn wanted(filter: &RunFilter, run: &RunView) -> bool {
    filter.policy.as_ref().is_none_or(|it| *it == run.policy)
        && filter.state.is_none_or(|it| it == run.state)
}

fn load(
    db: &Connection,
    tenant: Option<&str>,
    seq: i64,
) -> Result<Option<(RunView, Option<Decision>)>, StoreError> {
    db.prepare_cached(LOAD)?
        .query_row(named_params! { ":seq": seq, ":tenant": tenant }, |row| {
            Ok(view(row))
        })
        .optional()?
        .transpose()
}

fn view(row: &Row<'_>) -> Result<(RunView, Option<Decision>), StoreError> {
    let decision: Option<Decision> = row
        .get::<_, Option<String>>("decision")?
        .map(|it| row::json(&it, "decision"))
        .transpose()?;
    let classification = decision.as_ref().map(|it| &it.classification);
    let run = RunView {
        run_id: row::id(row, "id")?,
        event_id: row::id(row, "event_id")?,
        tenant: row.get("tenant")?,
        integration_id: row.get("integration_id")?,
        event_type: row.get("event_type")?,
        policy: row.get("policy")?,
        state: row::word(&row.get::<_, String>("state")?, "run state")?,
        outcome: row.get("outcome")?,
        dropped: row
            .get::<_, Option<String>>("dropped")?
            .map(|it| row::word(&it, "reason to drop a run"))
            .transpose()?,
        ordering_key: row.get("ordering_key")?,
        waits: row.get("waits")?,
        late: row.get("late")?,
        priority: classification.map(|it| it.priority),
        category: classification.map(|it| it.category.clone()),
        summary: decision
            .as_ref()
            .and_then(|it| Some(it.plan.as_ref()?.summary.clone())),
        created_at: At(row.get("created_at")?),
        next_attempt_at: row.get::<_, Option<_>>("run_after")?.map(At),
        finished_at: row.get::<_, Option<_>>("finished_at")?.map(At),
        attempt_count: row.get("attempt")?,
        host_errors: row.get("host_errors")?,
        dead_reason: row.get("dead_reason")?,
    };
    Ok((run, decision))
}

fn attempts(db: &Connection, run_seq: i64) -> Result<Vec<AttemptView>, StoreError> {
    let mut statement = db.prepare_cached(ATTEMPTS)?;
    let mut rows = statement.query(named_params! { ":seq": run_seq })?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(AttemptView {
            number: row.get("number")?,
            started_at: At(row.get("started_at")?),
            finished_at: At(row.get("finished_at")?),
            class: row.get("class")?,
            error: row.get("error")?,
            classifier_digest: row.get("classifier_digest")?,
            triager_digest: row.get("triager_digest")?,
            cpu_us: row.get("cpu_us")?,
            memory_bytes: row.get("memory_bytes")?,
            log: row::json(&row.get::<_, String>("log")?, "attempt log")?,
        });
    }
    Ok(attempts)
}

fn actions(db: &Connection, run_seq: i64) -> Result<Vec<ActionView>, StoreError> {
    let mut statement = db.prepare_cached(ACTIONS)?;
    let mut rows = statement.query(named_params! { ":seq": run_seq })?;
    let mut actions = Vec::new();
    while let Some(row) = rows.next()? {
        actions.push(ActionView {
            action_id: row::id(row, "id")?,
            name: row.get("name")?,
            destination: row.get("destination")?,
            idempotency_key: row.get("idempotency_key")?,
            content: row::json(&row.get::<_, String>("content")?, "action content")?,
            state: row.get("state")?,
            created_at: At(row.get("created_at")?),
            next_attempt_at: row.get::<_, Option<_>>("due_at")?.map(At),
            finished_at: row.get::<_, Option<_>>("finished_at")?.map(At),
            attempt_count: row.get("attempt")?,
            dead_reason: row.get("dead_reason")?,
            attempts: action_attempts(db, row.get("seq")?)?,
            receipt: receipt(row)?,
        });
    }
    Ok(actions)
}

fn action_attempts(db: &Connection, action_seq: i64) -> Result<Vec<ActionAttemptView>, StoreError> {
    let mut statement = db.prepare_cached(ACTION_ATTEMPTS)?;
    let attempts = statement.query_map(named_params! { ":seq": action_seq }, |row| {
        Ok(ActionAttemptView {
            number: row.get("number")?,
            started_at: At(row.get("started_at")?),
            finished_at: At(row.get("finished_at")?),
            status: row.get("status")?,
            error: row.get("error")?,
        })
    })?;
    Ok(attempts.collect::<rusqlite::Result<_>>()?)
}

fn receipt(row: &Row<'_>) -> Result<Option<ReceiptView>, StoreError> {
    let Some(at) = row.get::<_, Option<_>>("receipt_at")?.map(At) else {
        return Ok(None);
    };
    Ok(Some(ReceiptView {
        at,
        ticket_id: row
            .get::<_, Option<[u8; 16]>>("ticket_id")?
            .map(TicketId::from_bytes),
        status: row.get("status")?,
        body: row.get("body")?,
        request_id: row.get("request_id")?,
    }))
}
