//! How one attempt of a run ended.

use super::decision::Decision;

/// How one attempt of a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The policy decided.
    Decided(Box<Decision>),
    /// The plugin answered that it cannot decide.
    Refused(Refusal),
    /// The plugin broke a rule and was stopped.
    Broken(Breach),
    /// The host could not run the plugin. Not the plugin's fault.
    HostError(String),
    /// The policy was taken out of the configuration after the run was queued.
    Unconfigured {
        /// Its name.
        policy: String,
    },
}

/// A plugin's own answer that it cannot decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The payload is not what the plugin handles.
    #[error("invalid payload: {0}")]
    InvalidPayload(String),
    /// Something outside is not ready.
    #[error("asked to be tried again: {reason}")]
    Retry {
        /// What is not ready.
        reason: String,
        /// Not before this many milliseconds from now.
        after_ms: Option<u32>,
    },
    /// Trying again cannot help.
    #[error("permanent failure: {0}")]
    Permanent(String),
    /// Any other reason.
    #[error("failure: {0}")]
    Other(String),
}

/// The rule that a plugin broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It computed for longer than the policy allows.
    #[error("cpu limit: computed for more than {limit_ms} ms")]
    CpuLimit {
        /// The limit.
        limit_ms: u64,
    },
    /// It took longer than the policy allows, waiting included.
    #[error("wall limit: took more than {limit_ms} ms")]
    WallLimit {
        /// The limit.
        limit_ms: u64,
    },
    /// It asked for more memory than the policy allows.
    #[error("memory limit: asked for more than {limit_bytes} bytes of {what}")]
    MemoryLimit {
        /// `memory` or `table`.
        what: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// It passed more bytes in one host call, or back as its answer, than the policy allows.
    #[error("host call limit: passed more than {limit_bytes} bytes in one call or answer")]
    HostCallLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// It held more handles of host objects at once than a guest may.
    #[error("handle limit: held more than {limit} handles at once")]
    HandleLimit {
        /// The limit.
        limit: usize,
    },
    /// It ended itself instead of answering (`wasi:cli/exit`).
    #[error("exited: ended itself with status {status} instead of answering")]
    Exited {
        /// The status that it gave; 0 is no answer either.
        status: u8,
    },
    /// It trapped.
    #[error("trap: {0}")]
    Trap(String),
    /// Its answer does not follow the contract.
    #[error("contract violation: {0}")]
    Contract(String),
    /// Its answer is over a limit, or asks for what the policy was not granted.
    #[error("answer refused: {0}")]
    Answer(String),
}

impl Outcome {
    /// The class as a stable name, for lists and metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Decided(_) => "decided",
            Self::Refused(Refusal::InvalidPayload(_)) => "invalid_payload",
            Self::Refused(Refusal::Retry { .. }) => "retry",
            Self::Refused(Refusal::Permanent(_)) => "permanent",
            Self::Refused(Refusal::Other(_)) => "failed",
            Self::Broken(Breach::CpuLimit { .. }) => "cpu_limit",
            Self::Broken(Breach::WallLimit { .. }) => "wall_limit",
            Self::Broken(Breach::MemoryLimit { .. }) => "memory_limit",
            Self::Broken(Breach::HostCallLimit { .. }) => "host_call_limit",
            Self::Broken(Breach::HandleLimit { .. }) => "handle_limit",
            Self::Broken(Breach::Exited { .. }) => "exited",
            Self::Broken(Breach::Trap(_)) => "trap",
            Self::Broken(Breach::Contract(_)) => "contract_violation",
            Self::Broken(Breach::Answer(_)) => "answer_refused",
            Self::HostError(_) => "host_error",
            Self::Unconfigured { .. } => "unconfigured",
        }
    }

    /// What went wrong, for a person; `None` where nothing did.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Decided(_) => None,
            Self::Refused(refusal) => Some(refusal.to_string()),
            Self::Broken(breach) => Some(breach.to_string()),
            Self::HostError(text) => Some(text.clone()),
            Self::Unconfigured { policy } => {
                Some(format!("policy `{policy}` is not configured any more"))
            }
        }
    }
}
