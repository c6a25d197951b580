//! From what an attempt came to, to what is written: asks `lifecycle`, takes the default route. Pure.

use super::attempt::Decided;
use super::route;
use crate::lifecycle::{self, Attempt, Transition};
use crate::live::Setup;
use crate::model::action::NewAction;
use crate::model::decision::Decision;
use crate::model::policy::{OnFailure, RetryPolicy};
use crate::model::run::{ClaimedRun, Evaluation};
use crate::model::strike::PluginVersion;
use crate::model::time::TimestampMs;
use crate::store::strikes::Conduct;

/// What is written of an attempt.
pub(super) struct Settled {
    pub(super) evaluation: Evaluation,
    pub(super) transition: Transition,
    pub(super) routed: Option<Decision>,
    pub(super) actions: Vec<NewAction>,
}

/// What an attempt says of the versions that were asked in it.
pub(super) fn conduct(setup: &Setup, run: &ClaimedRun, evaluation: &Evaluation) -> Conduct {
    let policy = setup.config.policy(&run.policy);
    let asked = |plugin: Option<&String>, digest: &Option<String>| {
        let (plugin, digest) = plugin.zip(digest.as_ref())?;
        Some(PluginVersion {
            plugin: plugin.clone(),
            digest: digest.clone(),
        })
    };
    let roles = [
        asked(
            policy.and_then(|it| it.classifier.as_ref()),
            &evaluation.classifier_digest,
        ),
        asked(
            policy.and_then(|it| it.triager.as_ref()),
            &evaluation.triager_digest,
        ),
    ];
    let mut asked: Vec<PluginVersion> = roles.into_iter().flatten().collect();
    asked.dedup();
    Conduct {
        asked,
        is_first: run.attempt.saturating_sub(run.host_errors) <= 1,
        broke_before: 0 < run.breaches,
        window_ms: setup.config.strikes.window_ms,
    }
}

/// What becomes of a run. `other_versions` of the plugin broke a rule on its event, `jitter` is a random number in `0.0..1.0`.
pub(super) fn settle(
    setup: &Setup,
    run: &ClaimedRun,
    decided: Decided,
    other_versions: u32,
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
        other_versions,
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
