//! How one attempt of a run ended.

use super::decision::Decision;

/// How one attempt of a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The policy decided.
    Decided(Box<Decision>),
    /// The plugin answered that it cannot decide.
    Refused(Refusal),
    /// A plugin broke a rule and was stopped.
    Broken(Broken),
    /// The host could not run the plugin. Not the plugin's fault.
    HostError(String),
    /// The version of the plugin is quarantined; it was not asked.
    Quarantined {
        /// The plugin's name.
        plugin: String,
        /// The version.
        digest: String,
        /// Why it is quarantined.
        reason: String,
    },
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

/// Which version of which plugin broke which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}` (version {}): {breach}", short(.digest))]
pub struct Broken {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of its component in hexadecimal.
    pub digest: String,
    /// The rule.
    pub breach: Breach,
}

/// As many characters of a digest as tell versions apart for a person.
fn short(digest: &str) -> &str {
    digest.get(..DIGEST_CHARS_SHOWN).unwrap_or(digest)
}

const DIGEST_CHARS_SHOWN: usize = 12;

/// The rule that a plugin broke. Where a policy can allow more, the text names its setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It computed for longer than the policy allows.
    #[error(
        "cpu limit: computed for more than {limit_ms} ms; the policy's limits.cpu_ms can allow more"
    )]
    CpuLimit {
        /// The limit.
        limit_ms: u64,
    },
    /// It took longer than the policy allows, waiting included.
    #[error("wall limit: took more than {limit_ms} ms; the policy's limits.wall_ms can allow more")]
    WallLimit {
        /// The limit.
        limit_ms: u64,
    },
    /// It asked for more memory than the policy allows.
    #[error(
        "memory limit: asked for more than {limit_bytes} bytes; the policy's limits.memory_mb can allow more"
    )]
    MemoryLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// Its tables grew over what the policy allows.
    #[error(
        "table limit: asked for more than {limit} table elements; \
         the policy's limits.table_elements can allow more"
    )]
    TableLimit {
        /// The limit.
        limit: usize,
    },
    /// It passed more bytes in one host call, or back as its answer, than the policy allows.
    #[error(
        "host call limit: passed more than {limit_bytes} bytes in one call or answer; \
         the policy's limits.host_call_kb can allow more"
    )]
    HostCallLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// It asked for more randomness at once than any guest may.
    #[error(
        "random limit: asked for more than {limit_bytes} random bytes at once; ask in smaller parts"
    )]
    RandomLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// It held more handles of host objects at once than the policy allows.
    #[error(
        "handle limit: held more than {limit} handles at once; the policy's limits.handles can allow more"
    )]
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
    /// A part of its answer is over a limit.
    #[error(
        "answer limit: {what} has {value} {unit}, the most is {limit}{}",
        can_allow(.setting)
    )]
    AnswerLimit {
        /// The part, as `action `page`: title`.
        what: String,
        /// How much of it there is.
        value: usize,
        /// What is counted: `bytes`, `labels`, `actions`.
        unit: &'static str,
        /// The limit.
        limit: usize,
        /// The policy's setting, where it is one.
        setting: Option<&'static str>,
    },
    /// Its answer makes no sense, or asks for what the policy was not granted.
    #[error("answer refused: {0}")]
    Answer(String),
}

fn can_allow(setting: &Option<&str>) -> String {
    setting.map_or_else(String::new, |it| {
        format!("; the policy's limits.{it} can allow more")
    })
}

impl Breach {
    /// The same about a part of something, which goes in front.
    pub fn of(self, whole: &str) -> Self {
        match self {
            Self::Answer(text) => Self::Answer(format!("{whole}: {text}")),
            Self::AnswerLimit {
                what,
                value,
                unit,
                limit,
                setting,
            } => Self::AnswerLimit {
                what: format!("{whole}: {what}"),
                value,
                unit,
                limit,
                setting,
            },
            other => other,
        }
    }

    /// The rule as a stable name, for lists and metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::CpuLimit { .. } => "cpu_limit",
            Self::WallLimit { .. } => "wall_limit",
            Self::MemoryLimit { .. } => "memory_limit",
            Self::TableLimit { .. } => "table_limit",
            Self::HostCallLimit { .. } => "host_call_limit",
            Self::RandomLimit { .. } => "random_limit",
            Self::HandleLimit { .. } => "handle_limit",
            Self::Exited { .. } => "exited",
            Self::Trap(_) => "trap",
            Self::Contract(_) => "contract_violation",
            Self::AnswerLimit { .. } => "answer_limit",
            Self::Answer(_) => "answer_refused",
        }
    }
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
            Self::Broken(broken) => broken.breach.class(),
            Self::HostError(_) => "host_error",
            Self::Quarantined { .. } => "quarantined",
            Self::Unconfigured { .. } => "unconfigured",
        }
    }

    /// What went wrong, for a person; `None` where nothing did.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Decided(_) => None,
            Self::Refused(refusal) => Some(refusal.to_string()),
            Self::Broken(broken) => Some(broken.to_string()),
            Self::HostError(text) => Some(text.clone()),
            Self::Quarantined {
                plugin,
                digest,
                reason,
            } => Some(format!(
                "plugin {plugin}, version {digest}, is quarantined: {reason}"
            )),
            Self::Unconfigured { policy } => {
                Some(format!("policy `{policy}` is not configured any more"))
            }
        }
    }
}
