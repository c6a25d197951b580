//! What happens next after an attempt, of a run or of an action. Pure: no clock, no I/O.
//!
//! Called by `worker` and `actions`; the store writes what is decided here.

pub mod strikes;

use crate::model::action::{Delivered, Receipt};
use crate::model::decision::{Decision, Priority};
use crate::model::outcome::{Outcome, Refusal};
use crate::model::policy::{OnFailure, RetryPolicy};
use crate::model::run::Completion;
use crate::model::time::TimestampMs;

/// Delays double up to this one, in milliseconds.
const DELAY_MS_MAX: i64 = 3_600_000;
/// How long a run waits after an error of the host, in milliseconds, before jitter.
const HOST_ERROR_DELAY_MS: i64 = 2_000;
/// Errors of the host after which a run is given up: something is broken for good.
const HOST_ERRORS_MAX: u32 = 1_000;
/// How long a run waits before it looks again whether its plugin is still quarantined, in milliseconds,
/// before jitter. The end of a quarantine wakes it earlier.
const HELD_DELAY_MS: i64 = 15_000;
/// The same for one that waits for long: a tenth of its time so far, up to this.
const HELD_DELAY_MS_MAX: i64 = 600_000;
const HELD_LOOKS: i64 = 10;
/// Attempts on which a plugin may break a rule before `on_failure` applies.
const BREACHES_BEFORE_ON_FAILURE: u32 = 2;

/// What an attempt was, besides its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// 1 for the first try, errors of the host not counted.
    pub number: u32,
    /// Attempts before this one that ended in an error of the host.
    pub host_errors: u32,
    /// Attempts before this one on which a plugin broke a rule.
    pub breaches: u32,
    /// Other versions of the plugin that broke a rule on the same event.
    pub other_versions: u32,
    /// When the first one began.
    pub first_at: TimestampMs,
    /// Now.
    pub now: TimestampMs,
    /// A random number in `0.0..1.0` that spreads retries.
    pub jitter: f64,
}

/// The next state of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The run is over, with a decision.
    Complete(Completion),
    /// The run is over, with the decision that the policy declares as its default route.
    Route {
        /// Why the plugins did not decide, for a person.
        reason: String,
        /// Whether a plugin broke a rule.
        breach: bool,
    },
    /// It is tried again.
    RetryAt {
        /// Not before this time.
        at: TimestampMs,
        /// Whether a plugin broke a rule.
        breach: bool,
        /// Whether the attempt does not count.
        host_error: bool,
    },
    /// It is given up.
    Dead {
        /// Why, for a person.
        reason: String,
        /// Whether a plugin broke a rule.
        breach: bool,
    },
}

/// Decides what happens to a run after one attempt.
pub fn after_attempt(
    retry: &RetryPolicy,
    on_failure: &OnFailure,
    attempt: Attempt,
    outcome: &Outcome,
) -> Transition {
    let again = |not_before_ms: i64, breach: bool| {
        let delay_ms = backoff_ms(retry, attempt.number, attempt.jitter).max(not_before_ms);
        match (exhausted(retry, attempt, delay_ms), on_failure) {
            (Some(why), OnFailure::DefaultRoute(_)) if breach => Transition::Route {
                reason: given_up(outcome, &why),
                breach,
            },
            (Some(why), _) => Transition::Dead {
                reason: given_up(outcome, &why),
                breach,
            },
            (None, _) => Transition::RetryAt {
                at: attempt.now + delay_ms,
                breach,
                host_error: false,
            },
        }
    };
    match outcome {
        Outcome::Decided(decision) => Transition::Complete(completion(decision)),
        Outcome::Refused(Refusal::InvalidPayload(_) | Refusal::Permanent(_)) => Transition::Dead {
            reason: given_up(outcome, "trying again cannot help"),
            breach: false,
        },
        Outcome::Refused(Refusal::Retry { after_ms, .. }) => {
            again(after_ms.map_or(0, i64::from), false)
        }
        Outcome::Refused(Refusal::Other(_)) => again(0, false),
        Outcome::Broken(_)
            if attempt.other_versions == 0 && attempt.breaches + 1 < BREACHES_BEFORE_ON_FAILURE =>
        {
            again(0, true)
        }
        // Not the versions are to blame, but the event.
        Outcome::Broken(_) if 0 < attempt.other_versions => {
            let why = "the event broke several versions of the plugin";
            let reason = given_up(outcome, why);
            let breach = true;
            given_over(on_failure, outcome, Transition::Dead { reason, breach })
        }
        Outcome::Broken(_) => given_over(on_failure, outcome, again(0, true)),
        Outcome::Quarantined { .. } => {
            given_over(on_failure, outcome, held(retry, attempt, outcome))
        }
        // Who took the policy out wants its runs no more; they stay as dead letters.
        Outcome::Unconfigured { .. } => Transition::Dead {
            reason: outcome.error().unwrap_or_default(),
            breach: false,
        },
        Outcome::HostError(_) if HOST_ERRORS_MAX <= attempt.host_errors => Transition::Dead {
            reason: given_up(outcome, "too many errors of the host"),
            breach: false,
        },
        Outcome::HostError(_) => {
            let delay_ms = HOST_ERROR_DELAY_MS + jittered(HOST_ERROR_DELAY_MS, attempt.jitter);
            Transition::RetryAt {
                at: attempt.now + delay_ms,
                breach: false,
                host_error: true,
            }
        }
    }
}

/// The next state of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionTransition {
    /// It happened, and this proves it.
    Delivered(Receipt),
    /// It is tried again, not before this time.
    RetryAt(TimestampMs),
    /// It is given up, for this reason.
    Dead(String),
}

/// Decides what happens to an action after one attempt.
pub fn after_action_attempt(
    retry: &RetryPolicy,
    attempt: Attempt,
    delivered: &Delivered,
) -> ActionTransition {
    match delivered {
        Delivered::Done(receipt) => ActionTransition::Delivered(receipt.clone()),
        Delivered::Refused { error, .. } => ActionTransition::Dead(error.clone()),
        Delivered::Failed {
            error,
            retry_after_ms,
            ..
        } => {
            let delay_ms =
                backoff_ms(retry, attempt.number, attempt.jitter).max(retry_after_ms.unwrap_or(0));
            match exhausted(retry, attempt, delay_ms) {
                Some(why) => ActionTransition::Dead(format!("{error}; {why}")),
                None => ActionTransition::RetryAt(attempt.now + delay_ms),
            }
        }
    }
}

/// How a decided run ends.
pub fn completion(decision: &Decision) -> Completion {
    let has_actions = decision
        .plan
        .as_ref()
        .is_some_and(|it| !it.actions.is_empty());
    match decision.classification.priority {
        Priority::Ignore => Completion::Ignored,
        _ if has_actions => Completion::Acted,
        _ => Completion::Noted,
    }
}

/// What becomes of a run that its plugin cannot decide; `retry` where the policy wants it tried again.
fn given_over(on_failure: &OnFailure, outcome: &Outcome, retry: Transition) -> Transition {
    let breach = matches!(outcome, Outcome::Broken(_));
    match on_failure {
        OnFailure::Retry => retry,
        OnFailure::DeadLetter => Transition::Dead {
            reason: given_up(outcome, "on_failure is dead-letter"),
            breach,
        },
        OnFailure::DefaultRoute(_) => Transition::Route {
            reason: given_up(outcome, "on_failure is default-route"),
            breach,
        },
    }
}

/// A run whose plugin is quarantined stays queued until that ends, or its time does. It uses no attempt.
fn held(retry: &RetryPolicy, attempt: Attempt, outcome: &Outcome) -> Transition {
    let until = attempt.first_at.saturating_add(retry.elapsed_ms_max);
    if until <= attempt.now {
        let why = format!("given up after {} ms", retry.elapsed_ms_max);
        return Transition::Dead {
            reason: given_up(outcome, &why),
            breach: false,
        };
    }
    let waited_ms = attempt.now - attempt.first_at;
    let delay_ms = (waited_ms / HELD_LOOKS).clamp(HELD_DELAY_MS, HELD_DELAY_MS_MAX);
    let at = attempt.now + delay_ms + jittered(delay_ms, attempt.jitter);
    Transition::RetryAt {
        at: at.min(until),
        breach: false,
        host_error: true,
    }
}

fn given_up(outcome: &Outcome, why: &str) -> String {
    format!("{}; {why}", outcome.error().unwrap_or_default())
}

/// Why there is no further attempt, if there is none.
fn exhausted(retry: &RetryPolicy, attempt: Attempt, delay_ms: i64) -> Option<String> {
    if retry.attempts_max <= attempt.number {
        return Some(format!("given up after {} attempts", attempt.number));
    }
    if retry.elapsed_ms_max < attempt.now + delay_ms - attempt.first_at {
        return Some(format!(
            "given up: the next attempt would be later than {} ms",
            retry.elapsed_ms_max
        ));
    }
    None
}

/// The delay after a failed attempt: doubled each time, with full jitter.
///
/// Full jitter spreads clients best (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
fn backoff_ms(retry: &RetryPolicy, attempt: u32, jitter: f64) -> i64 {
    let doublings = attempt.saturating_sub(1).min(40);
    let ceiling = retry
        .base_ms
        .saturating_mul(1_i64 << doublings)
        .min(DELAY_MS_MAX);
    jittered(ceiling, jitter).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "delays are far below 2^52"
)]
fn jittered(ceiling_ms: i64, jitter: f64) -> i64 {
    (ceiling_ms as f64 * jitter.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests;
