//! What a plugin may call, besides computing.
//!
//! One value of [`Capabilities`] belongs to one stage of one attempt and is dropped
//! with it. `sandbox` turns a guest's calls into calls of these functions; nothing
//! here knows about WebAssembly.

pub mod log;
pub mod output;
pub mod random;
pub mod time;

use std::sync::Arc;

use crate::model::time::TimestampMs;

/// What one stage of one attempt may use.
#[derive(Debug)]
pub struct Capabilities {
    /// Where its lines go.
    pub log: log::Log,
    /// JSON text of the policy's settings.
    pub settings: Arc<str>,
    /// The time of the attempt: it stands still, so that a rerun sees the same.
    pub now: TimestampMs,
    /// Its randomness.
    pub random: random::Random,
}

impl Capabilities {
    /// Capabilities for one stage.
    pub fn new(
        settings: Arc<str>,
        now: TimestampMs,
        log_bytes_max: u64,
        random: random::Random,
    ) -> Self {
        Self {
            log: log::Log::new(log_bytes_max),
            settings,
            now,
            random,
        }
    }
}
