//! Keys, lateness and versions of runs.

use super::*;
use crate::model::policy::{StaleRule, StaleThen};
use crate::model::time::parse_rfc3339;

const BODY: &[u8] = br#"{"issue":{"id":42,"updated_at":"2026-01-01T00:00:00Z"},"long":"LONG"}"#;
const HOUR_MS: i64 = 3_600_000;

fn policy() -> Policy {
    Policy::named("incidents", "acme")
}

fn ordered_by(pointer: &str) -> Policy {
    Policy {
        ordering_key: Some(pointer.parse().unwrap()),
        ..policy()
    }
}

fn late(then: LateThen) -> Policy {
    Policy {
        late: Some(LateRule {
            after_ms: HOUR_MS,
            then,
        }),
        ..policy()
    }
}

fn arrival(body: &[u8]) -> Arrival<'_> {
    Arrival {
        body,
        ordering_key: None,
        occurred_at: None,
        received_at: 10 * HOUR_MS,
    }
}

fn run(policy: &Policy, arrival: Arrival<'_>) -> NewRun {
    runs([policy].into_iter(), arrival).remove(0)
}

#[test]
fn a_policy_without_rules_gets_a_plain_run() {
    let plain = NewRun {
        policy: "incidents".to_owned(),
        ..NewRun::default()
    };
    assert_eq!(run(&policy(), arrival(BODY)), plain);
}

#[test]
fn the_key_is_the_policys_or_else_the_sources() {
    let own = run(&ordered_by("/issue/id"), arrival(BODY));
    assert_eq!(own.ordering_key.as_deref(), Some("42"));

    let of_source = Arrival {
        ordering_key: Some("from-source"),
        ..arrival(BODY)
    };
    let both = run(&ordered_by("/issue/id"), of_source);
    assert_eq!(both.ordering_key.as_deref(), Some("42"));
    for policy in [policy(), ordered_by("/nowhere"), ordered_by("/issue")] {
        let fallen_back = run(&policy, of_source);
        assert_eq!(fallen_back.ordering_key.as_deref(), Some("from-source"));
        assert_eq!(run(&policy, arrival(BODY)).ordering_key, None);
    }
    assert_eq!(
        run(&ordered_by("/a"), arrival(b"no json")).ordering_key,
        None
    );
}

#[test]
fn a_long_key_still_orders() {
    let key = |body: &str| run(&ordered_by("/long"), arrival(body.as_bytes())).ordering_key;
    let [long, other] = ["a", "b"].map(|it| format!(r#"{{"long":"{}"}}"#, it.repeat(300)));
    assert_eq!(key(&long).unwrap().len(), 64);
    assert_eq!(key(&long), key(&long));
    assert_ne!(key(&long), key(&other));
}

#[test]
fn lateness_begins_after_the_limit_and_does_what_the_policy_says() {
    let at = |occurred_at| Arrival {
        occurred_at,
        ..arrival(BODY)
    };
    let punctual = at(Some(9 * HOUR_MS));
    let too_late = at(Some(9 * HOUR_MS - 1));
    let outcome = |then, arrival| {
        let run = run(&late(then), arrival);
        (run.late, run.dropped)
    };
    for then in [LateThen::Flag, LateThen::Process, LateThen::Drop] {
        assert_eq!(outcome(then, punctual), (false, None));
        assert_eq!(outcome(then, at(None)), (false, None));
        // A sender whose clock is ahead.
        assert_eq!(outcome(then, at(Some(11 * HOUR_MS))), (false, None));
    }
    assert_eq!(outcome(LateThen::Flag, too_late), (true, None));
    assert_eq!(outcome(LateThen::Process, too_late), (false, None));
    assert_eq!(
        outcome(LateThen::Drop, too_late),
        (false, Some(Dropped::Late))
    );
}

#[test]
fn a_version_is_read_where_there_is_a_key_to_compare_it_under() {
    let stale = |policy| Policy {
        stale: Some(StaleRule {
            version: "/issue/updated_at".parse().unwrap(),
            then: StaleThen::Drop,
        }),
        ..policy
    };
    let version = parse_rfc3339("2026-01-01T00:00:00Z").map(Version::Time);
    assert!(version.is_some());
    assert_eq!(
        run(&stale(ordered_by("/issue/id")), arrival(BODY)).version,
        version
    );
    assert_eq!(run(&stale(policy()), arrival(BODY)).version, None);
    assert_eq!(
        run(&stale(ordered_by("/issue/id")), arrival(b"{}")).version,
        None
    );
}
