//! What one tenant may take of what all of them share.

use std::fmt;

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

/// A tenant has as much of something as it may. The text names the tenant and the setting that can allow more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("tenant `{tenant}` is at its limit of {most} {} (`tenants.{tenant}.{limit}`)", limit.unit())]
pub struct AtLimit {
    /// Whose limit it is.
    pub tenant: String,
    /// Which.
    pub limit: TenantLimit,
    /// How much it allows.
    pub most: u64,
}

/// One of the [`TenantLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TenantLimit {
    /// Runs wait until others of the tenant end.
    Concurrency,
    /// Deliveries are refused.
    QueuedRuns,
    /// Runs wait until computing time grew back.
    CpuMsPerMinute,
    /// Actions wait until attempts grew back.
    ActionsPerMinute,
}

impl TenantLimit {
    fn unit(self) -> &'static str {
        match self {
            Self::Concurrency => "runs at the same time",
            Self::QueuedRuns => "queued runs",
            Self::CpuMsPerMinute => "ms of computing in a minute",
            Self::ActionsPerMinute => "attempts of actions in a minute",
        }
    }
}

/// The setting's name.
impl fmt::Display for TenantLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Concurrency => "concurrency",
            Self::QueuedRuns => "queued_runs",
            Self::CpuMsPerMinute => "cpu_ms_per_minute",
            Self::ActionsPerMinute => "actions_per_minute",
        })
    }
}
