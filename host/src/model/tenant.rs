//! What one tenant may take of what all of them share.

/// The limits of a tenant, over all of its policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Runs at the same time.
    pub concurrency: usize,
    /// Runs that may be queued; a delivery that would queue more is refused.
    pub queued_runs: u64,
    /// Computing time of its plugins in milliseconds each minute; `None` where it is not limited.
    pub cpu_ms_per_minute: Option<u64>,
    /// Attempts of actions each minute; `None` where they are not limited.
    pub actions_per_minute: Option<u64>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            concurrency: 192,
            queued_runs: 1_000_000,
            cpu_ms_per_minute: None,
            actions_per_minute: None,
        }
    }
}
