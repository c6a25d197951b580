//! From what an attempt came to, to what is written: asks `lifecycle`, takes the default route. Pure.

use super::attempt::Decided;
use super::route;
use crate::lifecycle::{self, Attempt, Transition};
use crate::live::Setup;
use crate::model::action::NewAction;
use crate::model::decision::Decision;
use crate::model::policy::{OnFailure, RetryPolicy};
use crate::model::run::{ClaimedRun, Evaluation};
use crate::model::time::TimestampMs;

/// What is written of an attempt.
pub(super) struct Settled {
    pub(super) evaluation: Evaluation,
    pub(super) transition: Transition,
    pub(super) routed: Option<Decision>,
    pub(super) actions: Vec<NewAction>,
}

/// What becomes of a run. `jitter` is a random number in `0.0..1.0`.
pub(super) fn settle(
    setup: &Setup,
    run: &ClaimedRun,
    decided: Decided,
    now: TimestampMs,
    jitter: f64,
) -> Settled {
    let policy = setup.config.policy_of(&run.event.tenant, &run.policy);
    let retry = policy.map_or_else(RetryPolicy::default, |it| it.retry);
    let on_failure = policy.map_or(&OnFailure::Retry, |it| &it.on_failure);
    let attempt = Attempt {
        number: run.attempt.saturating_sub(run.host_errors),
        host_errors: run.host_errors,
        breaches: run.breaches,
        first_at: run.first_attempt_at,
        now,
        jitter,
    };
    let outcome = &decided.evaluation.outcome;
    let transition = lifecycle::after_attempt(&retry, on_failure, attempt, outcome);
    let mut settled = Settled {
        evaluation: decided.evaluation,
        transition,
        routed: None,
        actions: decided.actions,
    };
    if let (Some(policy), OnFailure::DefaultRoute(to), Transition::Route { reason, breach }) =
        (policy, on_failure, &settled.transition)
    {
        let destinations = &setup.config.destinations;
        match route::take(policy, to, destinations, run, reason, now) {
            Ok((decision, actions)) => {
                settled.routed = Some(decision);
                settled.actions = actions;
            }
            Err(problem) => {
                settled.transition = Transition::Dead {
                    reason: format!("{reason}; the default route cannot be taken: {problem}"),
                    breach: *breach,
                };
            }
        }
    }
    settled
}
