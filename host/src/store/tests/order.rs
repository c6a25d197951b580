//! Runs of one ordering key go one after another, whatever happens; stale news are dropped.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::queues::{decided, failed, retry_at};
use super::{NOW, TestStore, event};
use crate::lifecycle::Transition;
use crate::model::decision::Priority;
use crate::model::event::{Accepted, NewEvent};
use crate::model::run::{ClaimedRun, Dropped, NewRun};
use crate::model::version::Version;
use crate::store::views::RunState;

fn ordered(id: &str, key: Option<&str>, version: Option<i64>) -> NewEvent {
    NewEvent {
        runs: vec![NewRun {
            policy: "incidents".to_owned(),
            ordering_key: key.map(str::to_owned),
            version: version.map(Version::Integer),
            ..NewRun::default()
        }],
        ..event("int", id, NOW)
    }
}

fn dead() -> Transition {
    Transition::Dead {
        reason: "enough".to_owned(),
        breach: false,
    }
}

async fn dropped(store: &TestStore, accepted: &Accepted) -> Option<Dropped> {
    let run = store.run(None, accepted.run_ids[0]).await.unwrap().unwrap();
    assert_eq!(
        run.run.state == RunState::Completed,
        run.run.dropped.is_some()
    );
    run.run.dropped
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An event of this key comes in; 0 is none.
    Accept(u8),
    /// A worker asks for this many runs.
    Claim(usize),
    /// One of the claimed runs ends: completed, dead, or to be tried again.
    Finish(usize, u8),
    /// The process ends, and another one takes its place.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Accept),
        3 => (1..4_usize).prop_map(Step::Claim),
        4 => (0..8_usize, 0..3_u8).prop_map(|(which, how)| Step::Finish(which, how)),
        1 => Just(Step::Restart),
    ]
}

/// What may be claimed: for each key a queue, of which only the first may be under way.
#[derive(Default)]
struct Model {
    queues: BTreeMap<u8, VecDeque<String>>,
    free: Vec<String>,
    under_way: BTreeMap<String, u8>,
}

impl Model {
    fn accept(&mut self, key: u8, id: String) {
        match key {
            0 => self.free.push(id),
            key => self.queues.entry(key).or_default().push_back(id),
        }
    }

    fn claimable(&self) -> Vec<String> {
        let first = self.queues.values().filter_map(|it| it.front());
        first
            .chain(&self.free)
            .filter(|it| !self.under_way.contains_key(*it))
            .cloned()
            .collect()
    }

    fn end(&mut self, id: &str) {
        self.free.retain(|it| it != id);
        for queue in self.queues.values_mut() {
            queue.retain(|it| it != id);
        }
    }
}

async fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut store = TestStore::new();
    let mut model = Model::default();
    let mut claimed: Vec<ClaimedRun> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Accept(key) => {
                let id = format!("key-{number}");
                let text = key.to_string();
                let key_text = (0 < key).then_some(text.as_str());
                store.accept(ordered(&id, key_text, None)).await.unwrap();
                model.accept(key, id);
            }
            Step::Claim(limit) => {
                let claimable = model.claimable();
                let runs = store.claim_due_runs(NOW, NOW + 1_000, limit).await.unwrap();
                prop_assert_eq!(runs.len(), limit.min(claimable.len()));
                for run in runs {
                    let id = run.event.idempotency_key.clone();
                    prop_assert!(claimable.contains(&id), "{} is not its turn", id);
                    model.under_way.insert(id, 0);
                    claimed.push(run);
                }
            }
            Step::Finish(which, how) if which < claimed.len() => {
                let run = claimed.remove(which);
                let id = run.event.idempotency_key.clone();
                model.under_way.remove(&id);
                let finished = match how {
                    0 => decided(&run, NOW, Priority::Low),
                    1 => failed(&run, NOW, dead()),
                    _ => failed(&run, NOW, retry_at(NOW)),
                };
                store.finish_attempt(finished).await.unwrap();
                if how < 2 {
                    model.end(&id);
                }
            }
            Step::Finish(..) => (),
            Step::Restart => {
                claimed.clear();
                model.under_way.clear();
                store.reopen();
                store.rescue_runs(NOW, i64::MAX).await.unwrap();
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn runs_are_claimed_in_the_order_of_a_model(steps in proptest::collection::vec(step(), 1..50)) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(follow(steps))?;
    }
}

#[tokio::test]
async fn a_stuck_key_holds_up_only_itself() {
    let store = TestStore::new();
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        store.accept(ordered(id, Some(key), None)).await.unwrap();
    }
    let claimed = store.claim_due_runs(NOW, NOW + 1_000, 10).await.unwrap();
    let ids: Vec<_> = claimed
        .iter()
        .map(|it| it.event.idempotency_key.as_str())
        .collect();
    assert_eq!(ids, ["a1", "b1"]);
    assert_eq!(claimed[0].ordering_key.as_deref(), Some("a"));
    // `a` is tried again in an hour; `b` goes on.
    store
        .finish_attempt(failed(&claimed[0], NOW, retry_at(NOW + 3_600_000)))
        .await
        .unwrap();
    store
        .finish_attempt(decided(&claimed[1], NOW, Priority::Low))
        .await
        .unwrap();
    let claimed = store.claim_due_runs(NOW, NOW + 1_000, 10).await.unwrap();
    let ids: Vec<_> = claimed
        .iter()
        .map(|it| it.event.idempotency_key.as_str())
        .collect();
    assert_eq!(ids, ["b2"]);
    assert_eq!(store.next_run_due().await.unwrap(), Some(NOW + 3_600_000));
}

#[tokio::test]
async fn keys_of_two_policies_or_integrations_do_not_meet() {
    let store = TestStore::new();
    let mut other_policy = ordered("2", Some("a"), None);
    other_policy.runs[0].policy = "others".to_owned();
    let other_integration = NewEvent {
        integration_id: "elsewhere".to_owned(),
        ..ordered("3", Some("a"), None)
    };
    for event in [
        ordered("1", Some("a"), None),
        other_policy,
        other_integration,
    ] {
        store.accept(event).await.unwrap();
    }
    let claimed = store.claim_due_runs(NOW, NOW + 1_000, 10).await.unwrap();
    assert_eq!(claimed.len(), 3);
}

#[tokio::test]
async fn an_older_version_than_one_before_it_is_dropped() {
    let store = TestStore::new();
    let deliver = async |id: &str, key: &str, version: i64| {
        let accepted = store
            .accept(ordered(id, Some(key), Some(version)))
            .await
            .unwrap();
        dropped(&store, &accepted).await
    };
    assert_eq!(deliver("1", "a", 5).await, None);
    assert_eq!(deliver("2", "a", 4).await, Some(Dropped::Stale));
    assert_eq!(deliver("3", "a", 5).await, None);
    assert_eq!(deliver("4", "b", 1).await, None);
    assert_eq!(deliver("5", "a", 6).await, None);
    assert_eq!(deliver("6", "a", 5).await, Some(Dropped::Stale));
    // What was dropped is over: nobody waits for it, and it is never claimed.
    assert_eq!(store.count("run").await, 6);
    let mut ends = Vec::new();
    loop {
        let claimed = store.claim_due_runs(NOW, NOW + 1_000, 10).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for run in claimed {
            store
                .finish_attempt(decided(&run, NOW, Priority::Low))
                .await
                .unwrap();
            ends.push(run.event.idempotency_key);
        }
    }
    assert_eq!(ends, ["1", "4", "3", "5"]);
}

#[tokio::test]
async fn a_late_run_is_kept_and_never_claimed() {
    let store = TestStore::new();
    let mut late = ordered("1", None, None);
    late.runs[0].dropped = Some(Dropped::Late);
    let accepted = store.accept(late).await.unwrap();
    assert_eq!(dropped(&store, &accepted).await, Some(Dropped::Late));
    assert!(
        store
            .claim_due_runs(NOW, NOW + 1_000, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.next_run_due().await.unwrap(), None);
}
