use proptest::prelude::*;

use super::*;
use crate::model::decision::Classification;
use crate::model::outcome::{Breach, Broken};
use crate::model::policy::DefaultRoute;

const RETRY: RetryPolicy = RetryPolicy {
    attempts_max: 8,
    elapsed_ms_max: 300_000,
    base_ms: 1_000,
};

fn attempt(number: u32, breaches: u32) -> Attempt {
    Attempt {
        number,
        host_errors: 0,
        breaches,
        other_versions: 0,
        first_at: 0,
        now: 10_000,
        jitter: 0.5,
    }
}

fn trap() -> Outcome {
    Outcome::Broken(Broken {
        plugin: "p".to_owned(),
        digest: "d1".to_owned(),
        breach: Breach::Trap("unreachable".to_owned()),
    })
}

#[track_caller]
fn check(outcome: &Outcome, attempt: Attempt, on_failure: OnFailure, expected: &Transition) {
    assert_eq!(
        &after_attempt(&RETRY, &on_failure, attempt, outcome),
        expected
    );
}

#[test]
fn a_decision_without_actions_is_noted() {
    let decision = Decision {
        classification: Classification::unclassified(),
        plan: None,
    };
    let expected = Transition::Complete(Completion::Noted);
    check(
        &Outcome::Decided(Box::new(decision)),
        attempt(1, 0),
        OnFailure::Retry,
        &expected,
    );
}

#[test]
fn an_invalid_payload_is_dead_at_once() {
    let outcome = Outcome::Refused(Refusal::InvalidPayload("no id".to_owned()));
    let reason = "invalid payload: no id; trying again cannot help".to_owned();
    check(
        &outcome,
        attempt(1, 0),
        OnFailure::Retry,
        &Transition::Dead {
            reason,
            breach: false,
        },
    );
}

#[test]
fn a_wish_for_a_later_retry_is_obeyed() {
    let outcome = Outcome::Refused(Refusal::Retry {
        reason: "x".to_owned(),
        after_ms: Some(60_000),
    });
    let expected = Transition::RetryAt {
        at: 70_000,
        breach: false,
        host_error: false,
    };
    check(&outcome, attempt(1, 0), OnFailure::Retry, &expected);
}

#[test]
fn a_breach_is_tried_once_more_whatever_on_failure_says() {
    let expected = Transition::RetryAt {
        at: 10_500,
        breach: true,
        host_error: false,
    };
    check(&trap(), attempt(1, 0), OnFailure::DeadLetter, &expected);
}

#[test]
fn a_second_breach_follows_on_failure() {
    let reason = "plugin `p` (version d1): trap: unreachable; on_failure is dead-letter".to_owned();
    check(
        &trap(),
        attempt(2, 1),
        OnFailure::DeadLetter,
        &Transition::Dead {
            reason,
            breach: true,
        },
    );
    let expected = Transition::RetryAt {
        at: 11_000,
        breach: true,
        host_error: false,
    };
    check(&trap(), attempt(2, 1), OnFailure::Retry, &expected);
}

fn route() -> OnFailure {
    OnFailure::DefaultRoute(DefaultRoute {
        destination: "desk".to_owned(),
        title: "Not triaged".to_owned(),
        priority: Priority::High,
        category: "untriaged".to_owned(),
    })
}

#[test]
fn the_default_route_is_taken_at_the_second_breach_or_where_no_attempt_is_left() {
    let taken = |why: &str| Transition::Route {
        reason: format!("plugin `p` (version d1): trap: unreachable; {why}"),
        breach: true,
    };
    check(
        &trap(),
        attempt(2, 1),
        route(),
        &taken("on_failure is default-route"),
    );
    check(
        &trap(),
        attempt(8, 0),
        route(),
        &taken("given up after 8 attempts"),
    );
}

#[test]
fn an_event_that_broke_several_versions_is_to_blame_and_not_tried_again() {
    let poison = Attempt {
        other_versions: 1,
        ..attempt(1, 0)
    };
    let dead = |why: &str| Transition::Dead {
        reason: format!("plugin `p` (version d1): trap: unreachable; {why}"),
        breach: true,
    };
    let several = dead("the event broke several versions of the plugin");
    check(&trap(), poison, OnFailure::Retry, &several);
    let given_up = dead("on_failure is dead-letter");
    check(&trap(), poison, OnFailure::DeadLetter, &given_up);
    let routed = Transition::Route {
        reason: "plugin `p` (version d1): trap: unreachable; on_failure is default-route"
            .to_owned(),
        breach: true,
    };
    check(&trap(), poison, route(), &routed);
}

fn quarantined() -> Outcome {
    Outcome::Quarantined {
        plugin: "p".to_owned(),
        digest: "d".to_owned(),
        reason: "r".to_owned(),
    }
}

#[test]
fn a_run_whose_plugin_is_quarantined_ends_by_on_failure_at_once() {
    let dead = Transition::Dead {
        reason: "plugin p, version d, is quarantined: r; on_failure is dead-letter".to_owned(),
        breach: false,
    };
    check(&quarantined(), attempt(1, 0), OnFailure::DeadLetter, &dead);
    let routed = Transition::Route {
        reason: "plugin p, version d, is quarantined: r; on_failure is default-route".to_owned(),
        breach: false,
    };
    check(&quarantined(), attempt(1, 0), route(), &routed);
}

#[test]
fn what_a_plugin_refuses_is_not_routed() {
    let outcome = Outcome::Refused(Refusal::Other("no".to_owned()));
    let expected = Transition::Dead {
        reason: "failure: no; given up after 8 attempts".to_owned(),
        breach: false,
    };
    check(&outcome, attempt(8, 0), route(), &expected);
}

#[test]
fn an_error_of_the_host_uses_no_attempt() {
    let expected = Transition::RetryAt {
        at: 13_000,
        breach: false,
        host_error: true,
    };
    check(
        &Outcome::HostError("pool".to_owned()),
        attempt(8, 0),
        OnFailure::Retry,
        &expected,
    );
}

#[test]
fn a_run_whose_policy_was_taken_out_is_dead_at_once() {
    let outcome = Outcome::Unconfigured {
        policy: "gone".to_owned(),
    };
    let expected = Transition::Dead {
        reason: "policy `gone` is not configured any more".to_owned(),
        breach: false,
    };
    check(&outcome, attempt(1, 0), OnFailure::Retry, &expected);
}

#[test]
fn a_destination_that_names_a_time_gets_it() {
    let failed = Delivered::Failed {
        error: "429".to_owned(),
        status: Some(429),
        retry_after_ms: Some(30_000),
    };
    let next = after_action_attempt(&RETRY, attempt(1, 0), &failed);
    assert_eq!(next, ActionTransition::RetryAt(40_000));
}

#[test]
fn a_refused_action_is_dead() {
    let refused = Delivered::Refused {
        error: "410 Gone".to_owned(),
        status: Some(410),
    };
    let next = after_action_attempt(&RETRY, attempt(1, 0), &refused);
    assert_eq!(next, ActionTransition::Dead("410 Gone".to_owned()));
}

proptest! {
    #[test]
    fn retries_are_bounded_in_number_and_time(
        number in 1_u32..100,
        breaches in 0_u32..100,
        first_at in 0_i64..1_000_000,
        elapsed in 0_i64..1_000_000,
        jitter in 0.0_f64..1.0,
        on_failure in prop::sample::select(vec![OnFailure::Retry, OnFailure::DeadLetter, route()]),
    ) {
        let now = first_at + elapsed;
        let attempt = Attempt { number, host_errors: 0, breaches, other_versions: 0, first_at, now, jitter };
        match after_attempt(&RETRY, &on_failure, attempt, &trap()) {
            Transition::RetryAt { at, breach, host_error } => {
                prop_assert!(number < RETRY.attempts_max);
                prop_assert!(now < at && at - first_at <= RETRY.elapsed_ms_max);
                prop_assert!(breach && !host_error);
            }
            Transition::Dead { breach, .. } => {
                prop_assert!(breach && !matches!(on_failure, OnFailure::DefaultRoute(_)));
            }
            Transition::Route { breach, .. } => {
                prop_assert!(breach && matches!(on_failure, OnFailure::DefaultRoute(_)));
            }
            Transition::Complete(_) => prop_assert!(false, "a trap completes nothing"),
        }
    }

    #[test]
    fn a_run_whose_plugin_is_quarantined_waits_until_its_time_is_over(
        elapsed in 0_i64..1_000_000,
        elapsed_ms_max in 1_i64..1_000_000,
        jitter in 0.0_f64..1.0,
    ) {
        let retry = RetryPolicy { elapsed_ms_max, ..RETRY };
        let attempt = Attempt { now: elapsed, jitter, ..attempt(100, 0) };
        match after_attempt(&retry, &OnFailure::Retry, attempt, &quarantined()) {
            Transition::RetryAt { at, breach, host_error } => {
                prop_assert!(elapsed < at && at <= elapsed_ms_max);
                prop_assert!(host_error && !breach, "it uses no attempt");
            }
            Transition::Dead { breach, .. } => prop_assert!(elapsed_ms_max <= elapsed && !breach),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn delays_double_up_to_their_ceiling(attempt in 1_u32..200, jitter in 0.0_f64..1.0) {
        let delay_ms = backoff_ms(&RETRY, attempt, jitter);
        let ceiling_ms = 1_000_i64.saturating_mul(1 << attempt.saturating_sub(1).min(40)).min(DELAY_MS_MAX);
        prop_assert!(0 < delay_ms && delay_ms <= ceiling_ms);
    }
}
