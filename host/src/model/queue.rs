//! The queue as a worker sees it: which lanes there are, and who may take how many of each.

use super::time::TimestampMs;

/// A part of the queue in which runs stand in the order of their time: those of one policy, or the
/// actions of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// Whose they are.
    pub tenant: String,
    /// The policy; empty for actions, of which a tenant has one lane.
    pub policy: String,
}

/// A lane in which something is queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedLane {
    /// Which.
    pub lane: Lane,
    /// When its first becomes due, or became.
    pub due_at: TimestampMs,
}

/// How many may be claimed of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub lane: Lane,
    /// At least 1.
    pub count: usize,
}
