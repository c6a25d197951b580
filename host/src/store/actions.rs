//! The queue of actions: claim, finish.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{Store, StoreError, row, tickets};
use crate::lifecycle::ActionTransition;
use crate::model::action::{ActionEvent, ClaimedAction, Delivered, Receipt};
use crate::model::decision::Decision;
use crate::model::queue::{Lane, QueuedLane, Share};
use crate::model::time::TimestampMs;

// One step from tenant to tenant, however many actions each has.
const NEXT_LANE: &str = "
SELECT tenant, due_at
  FROM action INDEXED BY action_due
 WHERE state = 'pending' AND :tenant < tenant
 ORDER BY tenant, due_at
 LIMIT 1";

// A claim is a lease: it moves the action's due time behind its end.
const CLAIM: &str = "
UPDATE action
   SET due_at = :lease_until, attempt = attempt + 1, first_attempt_at = coalesce(first_attempt_at, :now)
 WHERE seq IN (SELECT seq FROM action INDEXED BY action_due
                WHERE state = 'pending' AND tenant = :tenant AND due_at <= :now
                ORDER BY due_at, seq
                LIMIT :limit)
RETURNING seq";

const LOAD_CLAIMED: &str = "
SELECT action.seq AS action_seq, action.id AS action_id, action.name, action.destination,
       action.idempotency_key AS action_key, action.content, action.attempt, action.first_attempt_at,
       action.created_at AS decided_at, run.id AS run_id, run.policy, run.decision,
       event.id AS event_id, event.tenant, event.integration_id, event.source, event.event_type,
       event.idempotency_key AS event_key, event.received_at, event.occurred_at
  FROM action
  JOIN run   ON run.seq = action.run_seq
  JOIN event ON event.seq = run.event_seq
 WHERE action.seq = :seq";

// A claim that was cut off by a crash left its due time in the future; nobody else holds it after a start.
const RELEASE: &str = "
UPDATE action SET due_at = :now
 WHERE state = 'pending' AND tenant = :tenant AND :now < due_at AND EXISTS (
    SELECT 1 WHERE attempt > (SELECT count(*) FROM action_attempt WHERE action_seq = action.seq))";

const DELIVER: &str = "
UPDATE action SET state = 'delivered', due_at = NULL, finished_at = :now
 WHERE seq = :seq AND state = 'pending' AND attempt = :attempt";

const RETRY: &str = "
UPDATE action SET due_at = :due_at WHERE seq = :seq AND state = 'pending' AND attempt = :attempt";

const BURY: &str = "
UPDATE action SET state = 'dead', due_at = NULL, finished_at = :now, dead_reason = :reason
 WHERE seq = :seq AND state = 'pending' AND attempt = :attempt";

const INSERT_ATTEMPT: &str = "
INSERT INTO action_attempt (action_seq, number, started_at, finished_at, status, error)
VALUES (:action_seq, :number, :started_at, :finished_at, :status, :error)";

const INSERT_RECEIPT: &str = "
INSERT INTO receipt (action_seq, at, ticket_id, status, body, request_id)
VALUES (:action_seq, :at, :ticket_id, :status, :body, :request_id)";

/// What is written when an attempt of an action is over.
#[derive(Clone, Debug)]
pub struct FinishedAction {
    /// The action, as it was claimed.
    pub action: ClaimedAction,
    /// When the attempt began.
    pub started_at: TimestampMs,
    /// When it ended.
    pub finished_at: TimestampMs,
    /// How it ended.
    pub delivered: Delivered,
    /// What happens next.
    pub transition: ActionTransition,
}

impl Store {
    /// The tenants that have pending actions, each with when its first is due.
    pub async fn queued_actions(&self) -> Result<Vec<QueuedLane>, StoreError> {
        self.read(queued_lanes).await
    }

    /// Claims due actions of some tenants until `lease_until`, the oldest of each first.
    pub async fn claim_actions(
        &self,
        now: TimestampMs,
        lease_until: TimestampMs,
        shares: Vec<Share>,
    ) -> Result<Vec<ClaimedAction>, StoreError> {
        let claimed = self
            .write(move |tx| claim(tx, now, lease_until, &shares))
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

    /// Makes every claim that a crash cut off due at once. Only right when no other process serves.
    pub async fn release_actions(&self, now: TimestampMs) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let mut count = 0;
            for QueuedLane { lane, .. } in queued_lanes(tx)? {
                let params = named_params! { ":now": now, ":tenant": lane.tenant };
                count += tx.prepare_cached(RELEASE)?.execute(params)?;
            }
            Ok(count)
        })
        .await
    }

    /// Writes attempts of actions with their receipts and next states, in one transaction.
    ///
    /// A ticket is opened here, in the same transaction: there is no moment at which it
    /// stands without its receipt. An attempt whose claim was lost changes nothing.
    pub async fn finish_actions(
        &self,
        finished: Arc<Vec<FinishedAction>>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| finished.iter().try_for_each(|it| finish_action(tx, it)))
            .await
    }
}

fn queued_lanes(db: &Connection) -> Result<Vec<QueuedLane>, StoreError> {
    let mut next_lane = db.prepare_cached(NEXT_LANE)?;
    let mut found: Vec<QueuedLane> = Vec::new();
    loop {
        let before = found.last().map_or("", |it| it.lane.tenant.as_str());
        let next = next_lane.query_row(named_params! { ":tenant": before }, |row| {
            Ok(QueuedLane {
                lane: Lane {
                    tenant: row.get("tenant")?,
                    policy: String::new(),
                },
                due_at: row.get("due_at")?,
            })
        });
        match next.optional()? {
            Some(lane) => found.push(lane),
            None => return Ok(found),
        }
    }
}

fn claim(
    tx: &Connection,
    now: TimestampMs,
    lease_until: TimestampMs,
    shares: &[Share],
) -> Result<Vec<i64>, StoreError> {
    let mut claim = tx.prepare_cached(CLAIM)?;
    let mut claimed = Vec::new();
    for share in shares {
        let mut seqs = claim.query(named_params! {
            ":now": now,
            ":lease_until": lease_until,
            ":tenant": share.lane.tenant,
            ":limit": share.count,
        })?;
        while let Some(row) = seqs.next()? {
            claimed.push(row.get(0)?);
        }
    }
    Ok(claimed)
}

fn load_claimed(db: &Connection, seq: i64) -> Result<Option<ClaimedAction>, StoreError> {
    let loaded = db
        .prepare_cached(LOAD_CLAIMED)?
        .query_row(named_params! { ":seq": seq }, |row| Ok(claimed_action(row)))
        .optional()?;
    match loaded {
        Some(Ok(action)) => Ok(Some(action)),
        Some(Err(error)) => {
            tracing::error!(action.seq = seq, error = %error, "a claimed action cannot be read");
            Ok(None)
        }
        None => Ok(None),
    }
}

fn claimed_action(row: &Row<'_>) -> Result<ClaimedAction, StoreError> {
    let decision: Decision = row::json(&row.get::<_, String>("decision")?, "decision")?;
    Ok(ClaimedAction {
        id: row::id(row, "action_id")?,
        seq: row.get("action_seq")?,
        name: row.get("name")?,
        destination: row.get("destination")?,
        idempotency_key: row.get("action_key")?,
        content: row::json(&row.get::<_, String>("content")?, "action content")?,
        attempt: row.get("attempt")?,
        first_attempt_at: row.get("first_attempt_at")?,
        decided_at: row.get("decided_at")?,
        run_id: row::id(row, "run_id")?,
        policy: row.get("policy")?,
        classification: decision.classification,
        event: ActionEvent {
            id: row::id(row, "event_id")?,
            tenant: row.get("tenant")?,
            integration_id: row.get("integration_id")?,
            source: row.get("source")?,
            event_type: row.get("event_type")?,
            idempotency_key: row.get("event_key")?,
            received_at: row.get("received_at")?,
            occurred_at: row.get("occurred_at")?,
        },
    })
}

fn finish_action(tx: &Connection, finished: &FinishedAction) -> Result<(), StoreError> {
    let action = &finished.action;
    if !move_action(tx, finished)? {
        tracing::warn!(action.id = %action.id, "an attempt ended after its lease; it changes nothing");
        return Ok(());
    }
    let (status, error) = match &finished.delivered {
        Delivered::Done(Receipt::Http { status, .. }) => (Some(*status), None),
        Delivered::Done(Receipt::Ticket) => (None, None),
        Delivered::Failed { error, status, .. } | Delivered::Refused { error, status } => {
            (*status, Some(error))
        }
    };
    tx.prepare_cached(INSERT_ATTEMPT)?.execute(named_params! {
        ":action_seq": action.seq,
        ":number": action.attempt,
        ":started_at": finished.started_at,
        ":finished_at": finished.finished_at,
        ":status": status,
        ":error": error,
    })?;
    if let ActionTransition::Delivered(receipt) = &finished.transition {
        keep_receipt(tx, finished, receipt)?;
    }
    Ok(())
}

fn keep_receipt(
    tx: &Connection,
    finished: &FinishedAction,
    receipt: &Receipt,
) -> Result<(), StoreError> {
    let (ticket_id, status, body, request_id) = match receipt {
        Receipt::Ticket => {
            let id = tickets::open(tx, &finished.action, finished.finished_at)?;
            (Some(id.to_bytes()), None, None, None)
        }
        Receipt::Http {
            status,
            body,
            request_id,
        } => (None, Some(*status), Some(body), request_id.as_ref()),
    };
    tx.prepare_cached(INSERT_RECEIPT)?.execute(named_params! {
        ":action_seq": finished.action.seq,
        ":at": finished.finished_at,
        ":ticket_id": ticket_id,
        ":status": status,
        ":body": body,
        ":request_id": request_id,
    })?;
    Ok(())
}

/// Moves the action to its next state; says whether the attempt's claim still stood.
fn move_action(tx: &Connection, finished: &FinishedAction) -> Result<bool, StoreError> {
    let (seq, attempt, now) = (
        finished.action.seq,
        finished.action.attempt,
        finished.finished_at,
    );
    let changed = match &finished.transition {
        ActionTransition::Delivered(_) => tx
            .prepare_cached(DELIVER)?
            .execute(named_params! { ":seq": seq, ":attempt": attempt, ":now": now })?,
        ActionTransition::RetryAt(due_at) => tx
            .prepare_cached(RETRY)?
            .execute(named_params! { ":seq": seq, ":attempt": attempt, ":due_at": due_at })?,
        ActionTransition::Dead(reason) => tx.prepare_cached(BURY)?.execute(named_params! {
            ":seq": seq,
            ":attempt": attempt,
            ":now": now,
            ":reason": reason,
        })?,
    };
    Ok(changed == 1)
}
