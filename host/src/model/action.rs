//! Actions on their way to a destination.

use super::decision::{ActionContent, Classification};
use super::id::{ActionId, EventId, RunId};
use super::time::TimestampMs;

/// An action that is about to be written with its decision.
#[derive(Clone, Debug)]
pub struct NewAction {
    /// The id it gets.
    pub id: ActionId,
    /// The plan's name for it.
    pub name: String,
    /// The destination's name.
    pub destination: String,
    /// `{event key}:{policy}:{name}`.
    pub idempotency_key: String,
    /// What it carries.
    pub content: ActionContent,
}

/// An action that was claimed, with everything needed to carry it out.
#[derive(Clone, Debug)]
pub struct ClaimedAction {
    /// The action's id.
    pub id: ActionId,
    /// The action's row.
    pub seq: i64,
    /// The plan's name for it.
    pub name: String,
    /// The destination's name.
    pub destination: String,
    /// `{event key}:{policy}:{name}`; the same at every attempt.
    pub idempotency_key: String,
    /// What it carries.
    pub content: ActionContent,
    /// 1 for the first try.
    pub attempt: u32,
    /// When the first attempt began.
    pub first_attempt_at: TimestampMs,
    /// When the decision was committed.
    pub decided_at: TimestampMs,
    /// The run that asked for it.
    pub run_id: RunId,
    /// The policy of that run.
    pub policy: String,
    /// The run's classification.
    pub classification: Classification,
    /// The event behind it.
    pub event: ActionEvent,
}

/// What a destination is told about the event behind an action.
#[derive(Clone, Debug)]
pub struct ActionEvent {
    /// The event's id.
    pub id: EventId,
    /// Owner.
    pub tenant: String,
    /// Where it came in.
    pub integration_id: String,
    /// The name of the kind of sender, which may no longer be declared.
    pub source: String,
    /// `{source}.{event}`.
    pub event_type: String,
    /// The sender's stable id.
    pub idempotency_key: String,
    /// When it was received.
    pub received_at: TimestampMs,
    /// When it happened at the sender.
    pub occurred_at: Option<TimestampMs>,
}

/// How one attempt of an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The destination took it.
    Done(Receipt),
    /// It may work later.
    Failed {
        /// What went wrong.
        error: String,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// What the destination asked for, in milliseconds from now.
        retry_after_ms: Option<i64>,
    },
    /// Trying again cannot help.
    Refused {
        /// What went wrong.
        error: String,
        /// The HTTP status, where there was one.
        status: Option<u16>,
    },
}

/// What the destination answered: proof that it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The built-in desk opened this ticket.
    Ticket,
    /// A webhook was answered.
    Http {
        /// The status, 2xx.
        status: u16,
        /// The beginning of the answer's body.
        body: String,
        /// The answer's own id, from a `request-id` header of its kind, where there is one.
        request_id: Option<String>,
    },
}
