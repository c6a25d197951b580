//! The trace: everything recorded about one event or run, in order.
//!
//! Called by `http` and the command line. What a plugin asked the host is not here
//! yet: it belongs to the journal.

use rusqlite::Connection;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::views::{self, ActionView, At, AttemptView, EventView, RunDetail, RunView};
use super::{Store, StoreError, content};
use crate::model::decision::Decision;
use crate::model::event::Headers;
use crate::model::id::{EventId, RunId};

/// How much of a header that proves something is shown.
const PROOF_CHARS_SHOWN: usize = 8;
/// Parts of the names of such headers.
const PROOF_NAMES: [&str; 8] = [
    "signature",
    "authorization",
    "auth-",
    "token",
    "secret",
    "cookie",
    "api-key",
    "password",
];

/// Everything recorded about one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunTrace {
    /// The run.
    pub run: RunView,
    /// The event that it handles.
    pub event: EventView,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// Everything recorded about one event besides its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventTrace {
    /// The event.
    pub event: EventView,
    /// Its delivery and verification.
    pub steps: Vec<Step>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// When.
    pub at: At,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened in a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A sender delivered the event.
    Delivery(Delivery),
    /// The sender was believed.
    Verification {
        /// The scheme.
        source: String,
        /// Whose secret it was.
        integration_id: String,
    },
    /// An attempt of the run ended.
    Attempt(AttemptView),
    /// The run was decided.
    Decision {
        /// `ignored`, `noted`, `acted` or `routed`.
        outcome: Option<String>,
        /// Classification and plan.
        #[serde(flatten)]
        decision: Decision,
    },
    /// The run was over before it began.
    Dropped {
        /// Why.
        reason: &'static str,
    },
    /// The run was given up.
    Dead {
        /// Why.
        reason: String,
    },
    /// An action was asked for; with its attempts and its receipt.
    Action(Box<ActionView>),
}

/// How an event came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// As received; of values that prove something only the beginning.
    pub headers: Headers,
    /// The body's length.
    pub body_bytes: u64,
    /// The body's SHA-256 in hexadecimal.
    pub body_sha256: String,
    /// How often the event was sent again.
    pub duplicate_count: u64,
    /// When it was last sent again.
    pub last_duplicate_at: Option<At>,
}

impl Store {
    /// Everything recorded about one run, in order.
    pub async fn run_trace(
        &self,
        tenant: Option<String>,
        id: RunId,
    ) -> Result<Option<RunTrace>, StoreError> {
        self.read(move |db| {
            let Some((run_seq, detail)) = views::find_run(db, tenant.as_deref(), id)? else {
                return Ok(None);
            };
            let (event_seq, event) = views::event_of_run(db, run_seq)?;
            let mut steps = came_in(db, event_seq, &event)?;
            steps.extend(handled(&detail));
            Ok(Some(RunTrace {
                run: detail.run,
                event,
                steps,
            }))
        })
        .await
    }

    /// How one event came in.
    pub async fn event_trace(
        &self,
        tenant: Option<String>,
        id: EventId,
    ) -> Result<Option<EventTrace>, StoreError> {
        self.read(move |db| {
            let Some((seq, event)) = views::find_event(db, tenant.as_deref(), id)? else {
                return Ok(None);
            };
            let steps = came_in(db, seq, &event)?;
            Ok(Some(EventTrace { event, steps }))
        })
        .await
    }
}

fn came_in(db: &Connection, event_seq: i64, event: &EventView) -> Result<Vec<Step>, StoreError> {
    let (headers, body) =
        content::find(db, event_seq)?.ok_or(StoreError::Malformed("event without content"))?;
    let delivery = Delivery {
        headers: redacted(headers),
        body_bytes: event.body_bytes,
        body_sha256: hex::encode(Sha256::digest(&body)),
        duplicate_count: event.duplicate_count,
        last_duplicate_at: event.last_duplicate_at,
    };
    let verification = What::Verification {
        source: event.source.clone(),
        integration_id: event.integration_id.clone(),
    };
    Ok(vec![
        Step {
            at: event.received_at,
            what: What::Delivery(delivery),
        },
        Step {
            at: event.received_at,
            what: verification,
        },
    ])
}

fn handled(detail: &RunDetail) -> Vec<Step> {
    let run = &detail.run;
    let attempts = detail.attempts.iter().map(|it| Step {
        at: it.started_at,
        what: What::Attempt(it.clone()),
    });
    // Decided or dead: both are states of a run that ended.
    let ended_at = run.finished_at.unwrap_or(run.created_at);
    let decision = detail.decision.iter().map(|it| Step {
        at: ended_at,
        what: What::Decision {
            outcome: run.outcome.clone(),
            decision: it.clone(),
        },
    });
    let dead = run.dead_reason.iter().map(|it| Step {
        at: ended_at,
        what: What::Dead { reason: it.clone() },
    });
    let dropped = run.dropped.iter().map(|it| Step {
        at: ended_at,
        what: What::Dropped {
            reason: it.reason(),
        },
    });
    let actions = detail.actions.iter().map(|it| Step {
        at: it.created_at,
        what: What::Action(Box::new(it.clone())),
    });
    attempts
        .chain(decision)
        .chain(dropped)
        .chain(dead)
        .chain(actions)
        .collect()
}

/// Headers without what would let a reader pose as the sender.
fn redacted(headers: Headers) -> Headers {
    let redact = |(name, value): (String, String)| {
        let proves = PROOF_NAMES.iter().any(|it| name.contains(it));
        let value = match value.char_indices().nth(PROOF_CHARS_SHOWN) {
            Some((end, _)) if proves => format!("{}…", value.get(..end).unwrap_or_default()),
            _ => value,
        };
        (name, value)
    };
    Headers(headers.0.into_iter().map(redact).collect())
}
