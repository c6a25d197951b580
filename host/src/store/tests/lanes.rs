//! The queue by lanes: what is queued of whom, and how much of it there may be.

use rusqlite::{StatementStatus, named_params};

use super::queues::{failed, retry_at};
use super::{NOW, TestStore, event};
use crate::model::event::NewEvent;
use crate::model::queue::{Lane, QueuedLane, Share};
use crate::model::run::NewRun;
use crate::store::StoreError;
use crate::store::runs::{FIRST_LANE_OF_NEXT_TENANT, NEXT_LANE_OF_TENANT};

fn lane(tenant: &str, policy: &str) -> Lane {
    Lane {
        tenant: tenant.to_owned(),
        policy: policy.to_owned(),
    }
}

/// An event of a tenant, received so many milliseconds later, with a run for each policy.
fn of(tenant: &str, key: &str, after_ms: i64, policies: &[&str]) -> NewEvent {
    let runs = policies.iter().map(|policy| NewRun {
        policy: (*policy).to_owned(),
        ..NewRun::default()
    });
    NewEvent {
        tenant: tenant.to_owned(),
        runs: runs.collect(),
        ..event(tenant, key, NOW + after_ms)
    }
}

async fn lanes(store: &TestStore, after: Option<Lane>, limit: usize) -> Vec<(Lane, i64)> {
    let queued = store.queued_lanes(after, limit).await.unwrap();
    queued
        .into_iter()
        .map(|QueuedLane { lane, due_at }| (lane, due_at - NOW))
        .collect()
}

#[tokio::test]
async fn the_step_to_the_next_lane_is_as_short_behind_a_long_one() {
    let store = TestStore::new();
    let long = |number: i64| of("a", &format!("long-{number}"), number, &["one"]);
    for number in 0..300 {
        store.accept(long(number)).await.unwrap();
    }
    store.accept(of("b", "short", 0, &["one"])).await.unwrap();
    let (found, steps) = store
        .read(|db| {
            let (tenant, policy) = ("a", "one");
            let mut of_tenant = db.prepare(NEXT_LANE_OF_TENANT)?;
            let none = of_tenant.exists(named_params! { ":tenant": tenant, ":policy": policy })?;
            let mut of_next = db.prepare(FIRST_LANE_OF_NEXT_TENANT)?;
            let found = of_next.exists(named_params! { ":tenant": tenant })?;
            let steps = [&of_tenant, &of_next].map(|it| it.get_status(StatementStatus::VmStep));
            Ok(((none, found), steps))
        })
        .await
        .unwrap();
    assert_eq!(found, (false, true));
    // A walk through the long lane takes some for each of its runs.
    assert!(steps.iter().all(|it| *it < 100), "{steps:?}");
}

#[tokio::test]
async fn each_lane_is_listed_once_with_its_first_run() {
    let store = TestStore::new();
    for (key, after_ms) in [("1", 5), ("2", 3), ("3", 9)] {
        store
            .accept(of("b", key, after_ms, &["two", "one"]))
            .await
            .unwrap();
        store
            .accept(of("a", key, after_ms + 10, &["one"]))
            .await
            .unwrap();
    }
    let all = [
        (lane("a", "one"), 13),
        (lane("b", "one"), 3),
        (lane("b", "two"), 3),
    ];
    assert_eq!(lanes(&store, None, 10).await, all);
    assert_eq!(lanes(&store, None, 2).await, all[..2]);
    assert_eq!(lanes(&store, Some(lane("b", "one")), 10).await, all[2..]);
    assert_eq!(lanes(&store, Some(lane("b", "two")), 10).await, []);
}

#[tokio::test]
async fn a_share_is_claimed_of_its_lane_only_the_oldest_first() {
    let store = TestStore::new();
    for (key, after_ms) in [("1", 5), ("2", 3), ("3", 900)] {
        store
            .accept(of("a", key, after_ms, &["one", "two"]))
            .await
            .unwrap();
    }
    let share = |policy, count| Share {
        lane: lane("a", policy),
        count,
    };
    let shares = vec![share("one", 1), share("two", 9), share("none", 9)];
    let claimed = store.claim_runs(NOW + 10, NOW + 20, shares).await.unwrap();
    let mut claimed: Vec<_> = claimed
        .iter()
        .map(|it| (it.policy.as_str(), it.event.idempotency_key.as_str()))
        .collect();
    claimed.sort_unstable();
    assert_eq!(claimed, [("one", "2"), ("two", "1"), ("two", "2")]);
}

#[tokio::test]
async fn a_full_queue_takes_nothing_new_until_a_run_is_claimed() {
    let mut store = TestStore::new();
    let new = |key: &str| of("a", key, 0, &["one", "two"]);
    let is_full = |accepted| matches!(accepted, Err(StoreError::QueueFull(_)));
    store.accept_within(new("1"), 3).await.unwrap();
    assert!(is_full(store.accept_within(new("2"), 3).await));
    assert_eq!(store.count("event").await, 1, "nothing of it was kept");
    assert!(store.accept_within(new("1"), 3).await.unwrap().duplicate);
    store
        .accept_within(of("a", "none", 0, &[]), 0)
        .await
        .unwrap();
    store
        .accept_within(of("b", "2", 0, &["one"]), 1)
        .await
        .unwrap();

    // What is claimed is not queued; what is tried again is, also in the next process.
    let share = Share {
        lane: lane("a", "one"),
        count: 1,
    };
    let run = store
        .claim_runs(NOW, NOW + 1, vec![share])
        .await
        .unwrap()
        .remove(0);
    store.accept_within(new("2"), 3).await.unwrap();
    assert!(is_full(store.accept_within(new("3"), 4).await));
    store
        .finish_attempt(failed(&run, NOW, retry_at(NOW + 1)))
        .await
        .unwrap();
    assert!(is_full(store.accept_within(new("3"), 5).await));
    store.reopen();
    assert!(is_full(store.accept_within(new("3"), 5).await));
    store.accept_within(new("3"), 6).await.unwrap();
}

#[tokio::test]
async fn only_what_was_committed_counts() {
    let store = TestStore::new();
    store.break_writes(true).await;
    for key in ["1", "2"] {
        store.accept(of("a", key, 0, &["one"])).await.unwrap_err();
    }
    store.break_writes(false).await;
    store
        .accept_within(of("a", "1", 0, &["one"]), 1)
        .await
        .unwrap();
    assert_eq!(store.rescue_runs(NOW, NOW).await.unwrap(), 0);
}

#[tokio::test]
async fn runs_that_wait_for_their_turn_and_lost_ones_are_counted() {
    let mut store = TestStore::new();
    let ordered = |key: &str| {
        let mut event = of("a", key, 0, &["one"]);
        event.runs[0].ordering_key = Some("same".to_owned());
        event
    };
    store.accept(ordered("1")).await.unwrap();
    store.accept(ordered("2")).await.unwrap();
    store.reopen();
    let full = |accepted| matches!(accepted, Err(StoreError::QueueFull(_)));
    assert!(full(store.accept_within(ordered("3"), 2).await));
    assert_eq!(
        store.claim_due_runs(NOW, NOW + 1, 9).await.unwrap().len(),
        1
    );
    store.accept_within(ordered("3"), 2).await.unwrap();
    assert_eq!(store.rescue_runs(NOW + 1, NOW + 1).await.unwrap(), 1);
    assert!(full(store.accept_within(ordered("4"), 3).await));
}
