//! Which policies get a run of an event, in which order, and whether it comes too late. Pure.
//!
//! Called by `http::ingest` once an event has its name. What is compared with earlier events
//! (`waits`, `stale`) is found out by the store, in the transaction that keeps the event.

use std::cell::OnceCell;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::policy::{LateRule, LateThen, Policy};
use crate::model::run::{Dropped, NewRun};
use crate::model::time::TimestampMs;
use crate::model::version::Version;

/// The longest ordering key in bytes; a longer one is replaced by its SHA-256.
const ORDERING_KEY_BYTES_MAX: usize = 256;

/// What routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The body as plugins will read it.
    pub body: &'a [u8],
    /// The key that the source itself found, if it declares one.
    pub ordering_key: Option<&'a str>,
    /// When it happened at the sender, where that is known.
    pub occurred_at: Option<TimestampMs>,
    /// When it was received.
    pub received_at: TimestampMs,
}

/// One run for each policy, in their order.
pub fn runs<'a>(policies: impl Iterator<Item = &'a Policy>, arrival: Arrival<'_>) -> Vec<NewRun> {
    // Parsed at most once, and only for a policy that looks into it.
    let document = OnceCell::new();
    let parsed =
        || document.get_or_init(|| serde_json::from_slice(arrival.body).unwrap_or(Value::Null));
    let mut runs = Vec::new();
    for policy in policies {
        let own_key = policy
            .ordering_key
            .as_ref()
            .and_then(|it| it.text(parsed()));
        let ordering_key = own_key
            .or_else(|| arrival.ordering_key.map(str::to_owned))
            .map(bounded);
        let version = match (&policy.stale, &ordering_key) {
            (Some(rule), Some(_)) => rule.version.find(parsed()).and_then(Version::of),
            _ => None,
        };
        let late = policy
            .late
            .as_ref()
            .is_some_and(|rule| is_late(rule, arrival));
        let then = policy.late.as_ref().map(|it| it.then);
        runs.push(NewRun {
            policy: policy.name.clone(),
            ordering_key,
            version,
            late: late && then == Some(LateThen::Flag),
            dropped: (late && then == Some(LateThen::Drop)).then_some(Dropped::Late),
        });
    }
    runs
}

fn is_late(rule: &LateRule, arrival: Arrival<'_>) -> bool {
    arrival
        .occurred_at
        .is_some_and(|it| rule.after_ms < arrival.received_at.saturating_sub(it))
}

fn bounded(key: String) -> String {
    if key.len() <= ORDERING_KEY_BYTES_MAX {
        key
    } else {
        hex::encode(Sha256::digest(key))
    }
}

#[cfg(test)]
mod tests;
