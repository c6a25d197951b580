//! The queue of runs: claim, finish, rescue.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::lengths::Lengths;
use super::strikes::{self, Conduct};
use super::{Store, StoreError, content, order, row};
use crate::lifecycle::Transition;
use crate::model::action::NewAction;
use crate::model::decision::Decision;
use crate::model::id::RunId;
use crate::model::outcome::Outcome;
use crate::model::queue::{Lane, QueuedLane, Share};
use crate::model::run::{ClaimedEvent, ClaimedRun, Completion, Evaluation};
use crate::model::strike::StrikeRecord;
use crate::model::time::TimestampMs;

// One step from lane to lane, however many runs are queued in each. Two statements: SQLite walks through
// all entries of a lane for `(tenant, policy) > (:tenant, :policy)`, 8 ms with 100,000 of them.
pub(super) const NEXT_LANE_OF_TENANT: &str = "
SELECT tenant, policy, run_after
  FROM run INDEXED BY run_due
 WHERE state = 'queued' AND waits = 0 AND tenant = :tenant AND policy > :policy
 ORDER BY policy, run_after
 LIMIT 1";

pub(super) const FIRST_LANE_OF_NEXT_TENANT: &str = "
SELECT tenant, policy, run_after
  FROM run INDEXED BY run_due
 WHERE state = 'queued' AND waits = 0 AND tenant > :tenant
 ORDER BY tenant, policy, run_after
 LIMIT 1";

const CLAIM: &str = "
UPDATE run
   SET state = 'running', run_after = NULL, lease_until = :lease_until,
       attempt = attempt + 1, first_attempt_at = coalesce(first_attempt_at, :now)
 WHERE seq IN (SELECT seq FROM run INDEXED BY run_due
                WHERE state = 'queued' AND waits = 0
                  AND tenant = :tenant AND policy = :policy AND run_after <= :now
                ORDER BY run_after, seq
                LIMIT :limit)
RETURNING seq";

const LOAD_CLAIMED: &str = "
SELECT run.seq AS run_seq, run.id AS run_id, run.policy, run.ordering_key, run.late, run.attempt, run.host_errors, run.breaches,
       run.first_attempt_at, event.seq AS event_seq, event.id AS event_id, event.tenant, event.integration_id,
       event.source, event.event_type, event.idempotency_key, event.received_at, event.occurred_at,
       event_content.encoding, event_content.content, event_content.dictionary AS dictionary_seq,
       (SELECT content FROM content_dictionary WHERE event_seq = event_content.dictionary) AS dictionary
  FROM run
  JOIN event         ON event.seq = run.event_seq
  JOIN event_content ON event_content.event_seq = run.event_seq
 WHERE run.seq = :seq";

const INSERT_ATTEMPT: &str = "
INSERT INTO attempt (run_seq, number, started_at, finished_at, class, error,
                     classifier_digest, triager_digest, cpu_us, memory_bytes, log)
VALUES (:run_seq, :number, :started_at, :finished_at, :class, :error,
        :classifier_digest, :triager_digest, :cpu_us, :memory_bytes, :log)";

// Each of the three takes effect only while the claim of this attempt stands: a run that was
// rescued meanwhile belongs to another attempt.
const COMPLETE: &str = "
UPDATE run
   SET state = 'completed', lease_until = NULL, finished_at = :now, outcome = :outcome, decision = :decision,
       breaches = breaches + :breaches
 WHERE seq = :seq AND state = 'running' AND attempt = :attempt";

const BURY: &str = "
UPDATE run
   SET state = 'dead', lease_until = NULL, finished_at = :now, dead_reason = :reason,
       breaches = breaches + :breaches
 WHERE seq = :seq AND state = 'running' AND attempt = :attempt";

const REQUEUE: &str = "
UPDATE run
   SET state = 'queued', lease_until = NULL, run_after = :run_after,
       breaches = breaches + :breaches, host_errors = host_errors + :host_errors
 WHERE seq = :seq AND state = 'running' AND attempt = :attempt";

const INSERT_ACTION: &str = "
INSERT INTO action (id, run_seq, tenant, name, destination, idempotency_key, content, state, created_at, due_at)
VALUES (:id, :run_seq, :tenant, :name, :destination, :idempotency_key, :content, 'pending', :now, :now)";

// The attempt that was cut off is written down, but as the host's own fault.
const RECORD_LOST: &str = "
INSERT INTO attempt (run_seq, number, started_at, finished_at, class, error, cpu_us, memory_bytes, log)
SELECT seq, attempt, first_attempt_at, :now, 'host_error', 'the host stopped before the attempt ended', 0, 0, '[]'
  FROM run
 WHERE state = 'running' AND lease_until <= :lease_until";

const RESCUE: &str = "
UPDATE run
   SET state = 'queued', lease_until = NULL, run_after = :now, host_errors = host_errors + 1
 WHERE state = 'running' AND lease_until <= :lease_until
RETURNING tenant";

/// What is written when an attempt of a run is over.
#[derive(Clone, Debug)]
pub struct FinishedAttempt {
    /// The run's row.
    pub run_seq: i64,
    /// The event's row.
    pub event_seq: i64,
    /// The run's tenant.
    pub tenant: String,
    /// Whether others wait for their turn behind it.
    pub in_order: bool,
    /// The attempt's number, as claimed.
    pub attempt: u32,
    /// When it began.
    pub started_at: TimestampMs,
    /// When it ended.
    pub finished_at: TimestampMs,
    /// What it came to.
    pub evaluation: Evaluation,
    /// What happens next.
    pub transition: Transition,
    /// What the host decided, where the policy's default route is taken.
    pub routed: Option<Decision>,
    /// The decision's actions.
    pub actions: Vec<NewAction>,
    /// What it says of the plugins' versions.
    pub conduct: Conduct,
}

impl Store {
    /// The lanes in which runs are queued, in their order, from the one behind `after`; `limit` at most.
    pub async fn queued_lanes(
        &self,
        after: Option<Lane>,
        limit: usize,
    ) -> Result<Vec<QueuedLane>, StoreError> {
        self.read(move |db| queued_lanes(db, after, limit)).await
    }

    /// Claims due runs of some lanes until `lease_until`, the oldest of each first, and loads their events.
    ///
    /// A run whose row or event is malformed is left out: its lease runs out and it is
    /// tried again, without stopping the others.
    pub async fn claim_runs(
        &self,
        now: TimestampMs,
        lease_until: TimestampMs,
        shares: Vec<Share>,
    ) -> Result<Vec<ClaimedRun>, StoreError> {
        let lengths = self.memory()?.lengths;
        let claimed = self
            .write(move |tx| claim(tx, &lengths, now, lease_until, &shares))
            .await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        self.read(move |db| {
            claimed
                .iter()
                .filter_map(|seq| load_claimed(db, *seq).transpose())
                .collect()
        })
        .await
    }

    /// Writes an attempt with its decision, actions and next state, in one transaction.
    ///
    /// An attempt whose claim was lost meanwhile changes nothing. Gives what is counted of the
    /// plugin that broke a rule, if one did.
    pub async fn finish_attempt(
        &self,
        finished: Arc<FinishedAttempt>,
    ) -> Result<Option<StrikeRecord>, StoreError> {
        let lengths = self.memory()?.lengths;
        self.write(move |tx| finish_attempt(tx, &lengths, &finished))
            .await
    }

    /// Queues runs whose lease ended at or before `lease_until` again; says how many.
    pub async fn rescue_runs(
        &self,
        now: TimestampMs,
        lease_until: TimestampMs,
    ) -> Result<usize, StoreError> {
        let lengths = self.memory()?.lengths;
        self.write(move |tx| {
            let params = named_params! { ":now": now, ":lease_until": lease_until };
            tx.prepare_cached(RECORD_LOST)?.execute(params)?;
            let mut rescue = tx.prepare_cached(RESCUE)?;
            let mut tenants = rescue.query(params)?;
            let mut count = 0;
            while let Some(row) = tenants.next()? {
                lengths.change(&row.get::<_, String>("tenant")?, 1);
                count += 1;
            }
            Ok(count)
        })
        .await
    }
}

fn queued_lanes(
    db: &Connection,
    after: Option<Lane>,
    limit: usize,
) -> Result<Vec<QueuedLane>, StoreError> {
    let mut found: Vec<QueuedLane> = Vec::new();
    while found.len() < limit {
        let before = found.last().map(|it| &it.lane).or(after.as_ref());
        match next_lane(db, before)? {
            Some(lane) => found.push(lane),
            None => break,
        }
    }
    Ok(found)
}

/// The lane that comes behind another one; the first of all where there is no other.
fn next_lane(db: &Connection, before: Option<&Lane>) -> Result<Option<QueuedLane>, StoreError> {
    let lane = |row: &Row<'_>| {
        Ok(QueuedLane {
            lane: Lane {
                tenant: row.get("tenant")?,
                policy: row.get("policy")?,
            },
            due_at: row.get("run_after")?,
        })
    };
    let (tenant, policy) = before.map_or(("", ""), |it| (&it.tenant, &it.policy));
    let next = db
        .prepare_cached(NEXT_LANE_OF_TENANT)?
        .query_row(named_params! { ":tenant": tenant, ":policy": policy }, lane)
        .optional()?;
    if next.is_some() {
        return Ok(next);
    }
    let next = db
        .prepare_cached(FIRST_LANE_OF_NEXT_TENANT)?
        .query_row(named_params! { ":tenant": tenant }, lane)
        .optional()?;
    Ok(next)
}

fn claim(
    tx: &Connection,
    lengths: &Lengths,
    now: TimestampMs,
    lease_until: TimestampMs,
    shares: &[Share],
) -> Result<Vec<i64>, StoreError> {
    let mut claim = tx.prepare_cached(CLAIM)?;
    let mut claimed = Vec::new();
    for share in shares {
        let params = named_params! {
            ":now": now,
            ":lease_until": lease_until,
            ":tenant": share.lane.tenant,
            ":policy": share.lane.policy,
            ":limit": share.count,
        };
        let mut seqs = claim.query(params)?;
        while let Some(row) = seqs.next()? {
            claimed.push(row.get(0)?);
            lengths.change(&share.lane.tenant, -1);
        }
    }
    Ok(claimed)
}

fn load_claimed(db: &Connection, seq: i64) -> Result<Option<ClaimedRun>, StoreError> {
    let loaded = db
        .prepare_cached(LOAD_CLAIMED)?
        .query_row(named_params! { ":seq": seq }, |row| Ok(claimed_run(row)))
        .optional()?;
    match loaded {
        Some(Ok(run)) => Ok(Some(run)),
        Some(Err(error)) => {
            tracing::error!(run.seq = seq, error = %error, "a claimed run cannot be read");
            Ok(None)
        }
        None => Ok(None),
    }
}

fn claimed_run(row: &Row<'_>) -> Result<ClaimedRun, StoreError> {
    let (headers, body) = content::of_row(row)?;
    Ok(ClaimedRun {
        id: row::id::<RunId>(row, "run_id")?,
        seq: row.get("run_seq")?,
        policy: row.get("policy")?,
        ordering_key: row.get("ordering_key")?,
        late: row.get("late")?,
        attempt: row.get("attempt")?,
        host_errors: row.get("host_errors")?,
        breaches: row.get("breaches")?,
        first_attempt_at: row.get("first_attempt_at")?,
        event: ClaimedEvent {
            id: row::id(row, "event_id")?,
            seq: row.get("event_seq")?,
            tenant: row.get("tenant")?,
            integration_id: row.get("integration_id")?,
            source: row.get("source")?,
            event_type: row.get("event_type")?,
            idempotency_key: row.get("idempotency_key")?,
            received_at: row.get("received_at")?,
            occurred_at: row.get("occurred_at")?,
            headers,
            body,
        },
    })
}

fn finish_attempt(
    tx: &Connection,
    lengths: &Lengths,
    finished: &FinishedAttempt,
) -> Result<Option<StrikeRecord>, StoreError> {
    if !move_run(tx, finished)? {
        tracing::warn!(
            run.seq = finished.run_seq,
            "an attempt ended after its lease; it changes nothing"
        );
        return Ok(None);
    }
    let evaluation = &finished.evaluation;
    tx.prepare_cached(INSERT_ATTEMPT)?.execute(named_params! {
        ":run_seq": finished.run_seq,
        ":number": finished.attempt,
        ":started_at": finished.started_at,
        ":finished_at": finished.finished_at,
        ":class": evaluation.outcome.class(),
        ":error": evaluation.outcome.error(),
        ":classifier_digest": evaluation.classifier_digest,
        ":triager_digest": evaluation.triager_digest,
        ":cpu_us": evaluation.cpu_us,
        ":memory_bytes": evaluation.memory_bytes,
        ":log": row::to_json(&evaluation.log)?,
    })?;
    for action in &finished.actions {
        tx.prepare_cached(INSERT_ACTION)?.execute(named_params! {
            ":id": action.id.to_bytes(),
            ":run_seq": finished.run_seq,
            ":tenant": finished.tenant,
            ":name": action.name,
            ":destination": action.destination,
            ":idempotency_key": action.idempotency_key,
            ":content": row::to_json(&action.content)?,
            ":now": finished.finished_at,
        })?;
    }
    if matches!(finished.transition, Transition::RetryAt { .. }) {
        lengths.change(&finished.tenant, 1);
    } else if finished.in_order {
        order::let_next(tx, finished.run_seq)?;
    }
    strikes::record(
        tx,
        &finished.tenant,
        finished.event_seq,
        &finished.conduct,
        &evaluation.outcome,
        finished.finished_at,
    )
}

const UNDECIDED: StoreError = StoreError::Malformed("attempt: completed without a decision");

/// Moves the run to its next state; says whether the attempt's claim still stood.
fn move_run(tx: &Connection, finished: &FinishedAttempt) -> Result<bool, StoreError> {
    let (seq, attempt, now) = (finished.run_seq, finished.attempt, finished.finished_at);
    let changed = match &finished.transition {
        Transition::Complete(completion) => {
            let Outcome::Decided(decision) = &finished.evaluation.outcome else {
                return Err(UNDECIDED);
            };
            complete(tx, finished, *completion, decision, false)?
        }
        Transition::Route { breach, .. } => {
            let decision = finished.routed.as_ref().ok_or(UNDECIDED)?;
            complete(tx, finished, Completion::Routed, decision, *breach)?
        }
        Transition::Dead { reason, breach } => tx.prepare_cached(BURY)?.execute(named_params! {
            ":seq": seq,
            ":attempt": attempt,
            ":now": now,
            ":reason": reason,
            ":breaches": breach,
        })?,
        Transition::RetryAt {
            at,
            breach,
            host_error,
        } => tx.prepare_cached(REQUEUE)?.execute(named_params! {
            ":seq": seq,
            ":attempt": attempt,
            ":run_after": at,
            ":breaches": breach,
            ":host_errors": host_error,
        })?,
    };
    Ok(changed == 1)
}

fn complete(
    tx: &Connection,
    finished: &FinishedAttempt,
    completion: Completion,
    decision: &Decision,
    breach: bool,
) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached(COMPLETE)?.execute(named_params! {
        ":seq": finished.run_seq,
        ":attempt": finished.attempt,
        ":now": finished.finished_at,
        ":outcome": completion.as_str(),
        ":decision": row::to_json(decision)?,
        ":breaches": breach,
    })?)
}
