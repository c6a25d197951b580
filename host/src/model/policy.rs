//! What a tenant wants done with some events.

use std::collections::BTreeSet;

use super::decision::Priority;
use super::pointer::JsonPointer;
use super::trigger::Trigger;

/// A policy, checked: everything it names exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Unique within the configuration.
    pub name: String,
    /// Owner. The policy sees events of this tenant's integrations only.
    pub tenant: String,
    /// Which event types concern it.
    pub triggers: Vec<Trigger>,
    /// The plugin that classifies, if any.
    pub classifier: Option<String>,
    /// The plugin that decides what should happen, if any.
    pub triager: Option<String>,
    /// Where the payload names the thing whose events must be handled one after another.
    pub ordering_key: Option<JsonPointer>,
    /// What becomes of events that come late.
    pub late: Option<LateRule>,
    /// What becomes of events that tell of an older version than was seen before.
    pub stale: Option<StaleRule>,
    /// JSON text of the `settings` table.
    pub settings: String,
    /// What its plugins may use.
    pub grants: Grants,
    /// What its plugins may consume.
    pub limits: Limits,
    /// How a run is tried again.
    pub retry: RetryPolicy,
    /// What happens when a plugin breaks a rule twice on one event.
    pub on_failure: OnFailure,
}

#[cfg(test)]
impl Policy {
    /// A policy that wants nothing.
    pub fn named(name: &str, tenant: &str) -> Self {
        Self {
            name: name.to_owned(),
            tenant: tenant.to_owned(),
            triggers: Vec::new(),
            classifier: None,
            triager: None,
            ordering_key: None,
            late: None,
            stale: None,
            settings: "{}".to_owned(),
            grants: Grants::default(),
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            on_failure: OnFailure::default(),
        }
    }
}

/// When an event is late, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRule {
    /// Received more than this many milliseconds after it occurred.
    pub after_ms: i64,
    /// What becomes of it.
    pub then: LateThen,
}

/// What becomes of a late event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateThen {
    /// It is handled, and the plugin is told.
    Flag,
    /// It is handled as any other.
    Process,
    /// Its run is over at once.
    Drop,
}

/// How new an event's news are, and what becomes of old ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleRule {
    /// Where the payload says it: compared within one ordering key.
    pub version: JsonPointer,
    /// What becomes of an event with an older version than one before it.
    pub then: StaleThen,
}

/// What becomes of a stale event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleThen {
    /// Its run is over at once.
    Drop,
}

/// What a policy's plugins may use beyond `log`, `settings` and `clock`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Memory between events.
    pub state: bool,
    /// Hosts that it may send HTTP requests to.
    pub http: Vec<String>,
    /// Whether it may ask a model.
    pub model: bool,
    /// Destinations that its actions may name.
    pub destinations: BTreeSet<String>,
}

/// The largest wall limit that a policy may be given, in milliseconds.
pub const WALL_MS_MAX: u64 = 300_000;

/// The largest linear memory that a policy may be given, in MiB; a guest's slot has room for it.
pub const MEMORY_MB_MAX: u64 = 256;

/// The most elements that the tables of a guest may have together; a guest's slot has room for as many in each.
pub const TABLE_ELEMENTS_MAX: usize = 60_000;

/// What one attempt may consume. Each stage (classify, triage) has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Computing time in milliseconds.
    pub cpu_ms: u64,
    /// Time in milliseconds, waiting included.
    pub wall_ms: u64,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Handles of host objects that are held at the same time.
    pub handles: usize,
    /// Bytes that may cross in one host call, or in the answer.
    pub host_call_bytes: u64,
    /// Bytes of log lines that are kept.
    pub log_bytes: u64,
    /// Actions in one plan.
    pub actions: usize,
    /// Labels of one classification or ticket.
    pub labels: usize,
    /// Bytes of a ticket's body, a message or a webhook's payload.
    pub text_bytes: usize,
    /// Runs of this policy at the same time.
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_ms: 50,
            wall_ms: 30_000,
            memory_bytes: 64 << 20,
            table_elements: TABLE_ELEMENTS_MAX,
            handles: 1_024,
            host_call_bytes: 4 << 20,
            log_bytes: 64 << 10,
            actions: 32,
            labels: 32,
            text_bytes: 256 << 10,
            concurrency: 16,
        }
    }
}

/// How often and how long something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts, the first included.
    pub attempts_max: u32,
    /// No new attempt later than this many milliseconds after the first.
    pub elapsed_ms_max: i64,
    /// The first delay in milliseconds; each further one is twice as long.
    pub base_ms: i64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            elapsed_ms_max: 300_000,
            base_ms: 1_000,
        }
    }
}

/// What happens to a run when a plugin broke a rule on two attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Go on with the usual retries, then dead.
    #[default]
    Retry,
    /// Dead at once.
    DeadLetter,
    /// The host decides in the plugins' place, as the policy declares.
    DefaultRoute(DefaultRoute),
}

/// What the host decides where a policy's plugins cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Where it goes: one of the policy's grants.
    pub destination: String,
    /// One line for people.
    pub title: String,
    /// How much it matters; never [`Priority::Ignore`].
    pub priority: Priority,
    /// The category of its classification.
    pub category: String,
}
