//! Deliveries and events.

use super::id::{EventId, RunId};
use super::run::NewRun;
use super::time::TimestampMs;

/// Request headers: names in lower case, in the order received.
///
/// A value that is not UTF-8 is kept with replacement characters; no scheme signs one.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a header; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An event that is about to be kept: verified, named, not yet known to be new.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The id it gets if it is new.
    pub id: EventId,
    /// Owner of the integration.
    pub tenant: String,
    /// The integration that it came in through.
    pub integration_id: String,
    /// The name of the kind of sender, which may no longer be declared.
    pub source: String,
    /// `{source}.{event}`.
    pub event_type: String,
    /// The sender's stable id for what it sent.
    pub idempotency_key: String,
    /// A second key made from the content, where the first one is not signed or not stable.
    pub content_key: Option<ContentKey>,
    /// When the host received it.
    pub received_at: TimestampMs,
    /// When it happened at the sender, where the sender says so.
    pub occurred_at: Option<TimestampMs>,
    /// As received.
    pub headers: Headers,
    /// Exactly the verified bytes.
    pub body: bytes::Bytes,
    /// One run for each policy that wants it, in the order of the configuration.
    pub runs: Vec<NewRun>,
}

/// A second idempotency key, made from what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentKey {
    /// The key's text.
    pub key: String,
    /// How long it counts, in milliseconds after the first event with it; for ever where `None`.
    pub window_ms: Option<i64>,
}

/// What the sender is told once its delivery is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The event: new, or the one that this delivery repeats.
    pub event_id: EventId,
    /// The runs of that event, in the order of the policies.
    pub run_ids: Vec<RunId>,
    /// Whether the event was there before.
    pub duplicate: bool,
}
