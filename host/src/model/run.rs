//! Runs and their attempts.

use super::event::Headers;
use super::id::{EventId, RunId};
use super::outcome::Outcome;
use super::time::TimestampMs;

/// A run that a worker has claimed, with everything it needs to be evaluated.
#[derive(Clone, Debug)]
pub struct ClaimedRun {
    /// The run's id.
    pub id: RunId,
    /// The run's row.
    pub seq: i64,
    /// The policy that handles the event.
    pub policy: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// How many earlier attempts ended in an error of the host; they do not count.
    pub host_errors: u32,
    /// In how many earlier attempts a plugin broke a rule.
    pub breaches: u32,
    /// When the first attempt began; the claim's time where this is the first.
    pub first_attempt_at: TimestampMs,
    /// The event.
    pub event: ClaimedEvent,
}

/// The event of a claimed run.
#[derive(Clone, Debug)]
pub struct ClaimedEvent {
    /// The event's id.
    pub id: EventId,
    /// The event's row.
    pub seq: i64,
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
    /// As received.
    pub headers: Headers,
    /// Exactly the verified bytes.
    pub body: bytes::Bytes,
}

/// What one attempt of a run came to: what is written with the run's next state.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// How it ended.
    pub outcome: Outcome,
    /// SHA-256 of the classifier's component, if it was asked.
    pub classifier_digest: Option<String>,
    /// SHA-256 of the triager's component, if it was asked.
    pub triager_digest: Option<String>,
    /// Lines that the plugin wrote, in order.
    pub log: Vec<LogLine>,
    /// Computing time of the guest in microseconds.
    pub cpu_us: u64,
    /// Most linear memory of a stage in bytes.
    pub memory_bytes: u64,
}

/// A line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
    /// Further facts, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// How a completed run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The classifier said `ignore`.
    Ignored,
    /// Decided, with no action.
    Noted,
    /// Decided, with actions.
    Acted,
}

impl Completion {
    /// The word used in SQL, JSON and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Noted => "noted",
            Self::Acted => "acted",
        }
    }
}
