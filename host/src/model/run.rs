//! Runs and their attempts.

use super::event::Headers;
use super::id::{EventId, RunId};
use super::outcome::Outcome;
use super::time::TimestampMs;
use super::version::Version;

/// A run that is about to be queued with its event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewRun {
    /// The policy that handles the event.
    pub policy: String,
    /// Runs of one policy and integration with the same key go one after another.
    pub ordering_key: Option<String>,
    /// How new the thing is that the event tells of, for a policy that drops stale news.
    pub version: Option<Version>,
    /// Whether the plugin is told that the event came late.
    pub late: bool,
    /// Why it is over before it begins, if it is.
    pub dropped: Option<Dropped>,
}

/// Why a run was over before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dropped {
    /// The event came later than the policy wants to hear of it.
    Late,
    /// The event tells of an older version than one that came before it.
    Stale,
}

impl Dropped {
    /// The word used in SQL, JSON and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Stale => "stale",
        }
    }

    /// The reason in a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Late => "the event came later than the policy's `late` rule allows",
            Self::Stale => {
                "a newer version of the same thing came before it: the policy's `stale` rule"
            }
        }
    }
}

/// The text is no reason to drop a run.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownDropped;

impl std::str::FromStr for Dropped {
    type Err = UnknownDropped;

    fn from_str(text: &str) -> Result<Self, UnknownDropped> {
        [Self::Late, Self::Stale]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or(UnknownDropped)
    }
}

/// A run that a worker has claimed, with everything it needs to be evaluated.
#[derive(Clone, Debug)]
pub struct ClaimedRun {
    /// The run's id.
    pub id: RunId,
    /// The run's row.
    pub seq: i64,
    /// The policy that handles the event.
    pub policy: String,
    /// Runs with the same key go one after another.
    pub ordering_key: Option<String>,
    /// Whether the event came late, for a policy that wants to know.
    pub late: bool,
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

impl ClaimedRun {
    /// The same run with other headers and another body for its plugins.
    pub fn with_content(mut self, (headers, body): (Headers, Vec<u8>)) -> Self {
        self.event.headers = headers;
        self.event.body = body.into();
        self
    }
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
    /// The host took the policy's default route, because the plugins did not decide.
    Routed,
}

impl Completion {
    /// The word used in SQL, JSON and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Noted => "noted",
            Self::Acted => "acted",
            Self::Routed => "routed",
        }
    }
}
