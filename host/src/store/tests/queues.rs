//! Runs and actions on their way from one state to the next.

use std::sync::Arc;

use super::{NOW, TestStore, event};
use crate::lifecycle::{ActionTransition, Transition};
use crate::model::action::{ClaimedAction, Delivered, NewAction, Receipt};
use crate::model::decision::{ActionContent, Classification, Decision, Priority, Ticket};
use crate::model::id::ActionId;
use crate::model::outcome::{Outcome, Refusal};
use crate::model::run::{ClaimedRun, Completion, Evaluation};
use crate::store::actions::FinishedAction;
use crate::store::runs::FinishedAttempt;
use crate::store::views::{EventState, EventView, PageRequest, RunDetail, RunFilter, RunState};

fn ticket(priority: Priority) -> (Decision, Vec<NewAction>) {
    let classification = Classification {
        priority,
        ..Classification::unclassified()
    };
    let content = ActionContent::Ticket(Ticket {
        title: "title".to_owned(),
        body: "body".to_owned(),
        labels: vec!["a".to_owned(), "b".to_owned()],
        assignee: None,
        group_key: Some("group".to_owned()),
    });
    let action = NewAction {
        id: ActionId::new(NOW),
        name: "open".to_owned(),
        destination: "desk".to_owned(),
        idempotency_key: "a:incidents:open".to_owned(),
        content,
    };
    (
        Decision {
            classification,
            plan: None,
        },
        vec![action],
    )
}

fn finished(
    run: &ClaimedRun,
    at: i64,
    outcome: Outcome,
    transition: Transition,
) -> FinishedAttempt {
    FinishedAttempt {
        run_seq: run.seq,
        event_seq: run.event.seq,
        conduct: crate::store::strikes::Conduct::default(),
        tenant: run.event.tenant.clone(),
        in_order: run.ordering_key.is_some(),
        attempt: run.attempt,
        started_at: at,
        finished_at: at + 5,
        evaluation: Evaluation {
            outcome,
            classifier_digest: None,
            triager_digest: None,
            log: Vec::new(),
            cpu_us: 1,
            memory_bytes: 1,
        },
        transition,
        routed: None,
        actions: Vec::new(),
    }
}

pub(super) fn failed(run: &ClaimedRun, at: i64, transition: Transition) -> Arc<FinishedAttempt> {
    Arc::new(finished(
        run,
        at,
        Outcome::Refused(Refusal::Other("not yet".to_owned())),
        transition,
    ))
}

pub(super) fn decided(run: &ClaimedRun, at: i64, priority: Priority) -> Arc<FinishedAttempt> {
    let (decision, actions) = ticket(priority);
    let transition = Transition::Complete(Completion::Acted);
    Arc::new(FinishedAttempt {
        actions,
        ..finished(run, at, Outcome::Decided(decision.into()), transition)
    })
}

pub(super) fn retry_at(at: i64) -> Transition {
    Transition::RetryAt {
        at,
        breach: false,
        host_error: false,
    }
}

/// The desk took a ticket.
pub(super) fn opened(action: ClaimedAction, at: i64) -> Arc<Vec<FinishedAction>> {
    Arc::new(vec![FinishedAction {
        action,
        started_at: at,
        finished_at: at,
        delivered: Delivered::Done(Receipt::Ticket),
        transition: ActionTransition::Delivered(Receipt::Ticket),
    }])
}

impl TestStore {
    async fn claim(&self, now: i64) -> Vec<ClaimedRun> {
        self.claim_due_runs(now, now + 10_000, 10).await.unwrap()
    }

    async fn claim_actions(&self, now: i64) -> Vec<ClaimedAction> {
        self.claim_due_actions(now, now + 10_000, 10).await.unwrap()
    }

    async fn the_event(&self) -> EventView {
        let page = self
            .list_events(None, Default::default(), PageRequest::default())
            .await
            .unwrap();
        page.items.into_iter().next().unwrap()
    }

    async fn the_run(&self) -> RunDetail {
        let id = self.the_event().await.run_ids[0];
        self.run(None, id).await.unwrap().unwrap()
    }

    async fn finish_action(
        &self,
        action: ClaimedAction,
        at: i64,
        delivered: Delivered,
        transition: ActionTransition,
    ) {
        let finished = FinishedAction {
            action,
            started_at: at,
            finished_at: at + 5,
            delivered,
            transition,
        };
        self.finish_actions(Arc::new(vec![finished])).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_is_claimed_once() {
    let store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    assert!(
        store.claim(NOW - 1).await.is_empty(),
        "not before it is due"
    );
    let claimed = store.claim(NOW).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].attempt, claimed[0].first_attempt_at), (1, NOW));
    assert_eq!(claimed[0].event.body, &b"{\"key\":\"a\"}"[..]);
    assert!(store.claim(NOW).await.is_empty());
    assert_eq!(store.the_run().await.run.state, RunState::Running);
    assert_eq!(store.next_run_due().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_claims_share_the_runs() {
    let store = TestStore::new();
    for number in 0..40 {
        store
            .accept(event("int", &number.to_string(), NOW))
            .await
            .unwrap();
    }
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.store.clone().unwrap();
        claims.spawn(async move { store.claim_due_runs(NOW, NOW + 1, 10).await.unwrap() });
    }
    let mut claimed: Vec<_> = claims
        .join_all()
        .await
        .into_iter()
        .flatten()
        .map(|it| it.seq)
        .collect();
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 40);
}

#[tokio::test]
async fn a_failed_attempt_is_kept_and_the_run_tried_again() {
    let store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    let run = store.claim(NOW).await.remove(0);
    store
        .finish_attempt(failed(&run, NOW, retry_at(NOW + 1_000)))
        .await
        .unwrap();
    let event = store.the_event().await;
    assert_eq!(event.state, EventState::Pending);
    assert_eq!(event.attempt_count, 1);
    assert_eq!(event.last_error.as_deref(), Some("failure: not yet"));
    assert_eq!(event.last_attempt_at.unwrap().0, NOW + 5);
    assert_eq!(event.next_retry_at.unwrap().0, NOW + 1_000);
    assert_eq!(store.next_run_due().await.unwrap(), Some(NOW + 1_000));

    assert!(store.claim(NOW + 999).await.is_empty());
    let again = store.claim(NOW + 1_000).await.remove(0);
    assert_eq!((again.attempt, again.first_attempt_at), (2, NOW));
    let dead = Transition::Dead {
        reason: "given up".to_owned(),
        breach: false,
    };
    store
        .finish_attempt(failed(&again, NOW + 1_000, dead))
        .await
        .unwrap();
    let (event, run) = (store.the_event().await, store.the_run().await);
    assert_eq!(
        (event.state, event.attempt_count, event.next_retry_at),
        (EventState::Failed, 2, None)
    );
    assert_eq!(
        (run.run.state, run.run.dead_reason.as_deref()),
        (RunState::Dead, Some("given up"))
    );
    assert_eq!(
        run.attempts.iter().map(|it| it.number).collect::<Vec<_>>(),
        [1, 2]
    );
    let filter = RunFilter {
        state: Some(RunState::Dead),
        ..RunFilter::default()
    };
    for (tenant, count) in [
        (None, 1),
        (Some("acme".to_owned()), 1),
        (Some("globex".to_owned()), 0),
    ] {
        let dead = store
            .list_runs(tenant, filter.clone(), PageRequest::default())
            .await
            .unwrap();
        assert_eq!(dead.items.len(), count);
    }
}

#[tokio::test]
async fn a_decision_and_its_actions_are_written_together() {
    let store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    let run = store.claim(NOW).await.remove(0);
    store
        .finish_attempt(decided(&run, NOW, Priority::High))
        .await
        .unwrap();
    let detail = store.the_run().await;
    assert_eq!(
        (detail.run.state, detail.run.outcome.as_deref()),
        (RunState::Completed, Some("acted"))
    );
    assert_eq!(
        (detail.run.priority, detail.actions.len()),
        (Some(Priority::High), 1)
    );
    assert_eq!(detail.actions[0].state, "pending");
    assert_eq!(
        store.the_event().await.state,
        EventState::Pending,
        "the action is still to do"
    );
    assert!(store.claim(NOW + 900_000).await.is_empty());
}

#[tokio::test]
async fn an_attempt_whose_claim_was_lost_changes_nothing() {
    let store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    let lost = store.claim(NOW).await.remove(0);
    assert_eq!(
        store.rescue_runs(NOW + 9_999, NOW + 9_999).await.unwrap(),
        0,
        "the lease still runs"
    );
    assert_eq!(
        store.rescue_runs(NOW + 10_000, NOW + 10_000).await.unwrap(),
        1
    );
    store
        .finish_attempt(decided(&lost, NOW, Priority::Low))
        .await
        .unwrap();
    let detail = store.the_run().await;
    assert_eq!(
        (detail.run.state, detail.run.host_errors),
        (RunState::Queued, 1)
    );
    assert!(detail.actions.is_empty());
    assert_eq!(detail.attempts[0].class, "host_error");

    let again = store.claim(NOW + 10_000).await.remove(0);
    assert_eq!((again.attempt, again.host_errors), (2, 1));
    store
        .finish_attempt(decided(&again, NOW + 10_000, Priority::Low))
        .await
        .unwrap();
    store
        .finish_attempt(decided(&again, NOW + 10_001, Priority::Low))
        .await
        .unwrap();
    assert_eq!(store.count("action").await, 1, "one decision is committed");
}

#[tokio::test]
async fn a_run_that_cannot_be_read_does_not_stop_the_others() {
    let store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    store.accept(event("int", "b", NOW)).await.unwrap();
    store
        .execute("UPDATE event_content SET content = x'ff' WHERE event_seq = 1")
        .await
        .unwrap();
    let claimed = store.claim(NOW).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event.idempotency_key, "b");
}

#[tokio::test]
async fn a_ticket_is_opened_with_its_receipt() {
    for (priority, kept) in [(Priority::Critical, "critical"), (Priority::Ignore, "low")] {
        let store = TestStore::new();
        store.accept(event("int", "a", NOW)).await.unwrap();
        let run = store.claim(NOW).await.remove(0);
        store
            .finish_attempt(decided(&run, NOW, priority))
            .await
            .unwrap();
        let action = store.claim_actions(NOW + 5).await.remove(0);
        assert!(
            store.claim_actions(NOW + 5).await.is_empty(),
            "a claim is a lease"
        );
        let done = ActionTransition::Delivered(Receipt::Ticket);
        store
            .finish_action(
                action.clone(),
                NOW + 10,
                Delivered::Done(Receipt::Ticket),
                done.clone(),
            )
            .await;
        store
            .finish_action(action, NOW + 11, Delivered::Done(Receipt::Ticket), done)
            .await;

        let tickets = store
            .list_tickets(Some("acme".to_owned()), PageRequest::default())
            .await
            .unwrap()
            .items;
        assert_eq!(tickets.len(), 1, "finishing twice opens one");
        let ticket = &tickets[0];
        assert_eq!(
            (ticket.priority.as_str(), ticket.category.as_str()),
            (kept, "unclassified")
        );
        assert_eq!(
            (ticket.labels.as_slice(), ticket.group_key.as_deref()),
            (&["a".to_owned(), "b".to_owned()][..], Some("group"))
        );
        assert_eq!(
            (ticket.run_id, ticket.destination.as_str()),
            (run.id, "desk")
        );
        assert_eq!(
            store.ticket(None, ticket.ticket_id).await.unwrap().as_ref(),
            Some(ticket)
        );
        assert_eq!(
            store
                .ticket(Some("globex".to_owned()), ticket.ticket_id)
                .await
                .unwrap(),
            None
        );
        let detail = store.the_run().await;
        assert_eq!(
            detail.actions[0].receipt.as_ref().unwrap().ticket_id,
            Some(ticket.ticket_id)
        );
        assert_eq!(store.the_event().await.state, EventState::Delivered);
    }
}

#[tokio::test]
async fn an_action_is_tried_again_and_given_up() {
    let store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    let run = store.claim(NOW).await.remove(0);
    store
        .finish_attempt(decided(&run, NOW, Priority::Low))
        .await
        .unwrap();
    let action = store.claim_actions(NOW + 5).await.remove(0);
    assert_eq!(
        store.the_event().await.next_retry_at,
        None,
        "it is being carried out"
    );
    let failure = Delivered::Failed {
        error: "503".to_owned(),
        status: Some(503),
        retry_after_ms: None,
    };
    store
        .finish_action(
            action,
            NOW + 10,
            failure.clone(),
            ActionTransition::RetryAt(NOW + 2_000),
        )
        .await;
    let event = store.the_event().await;
    assert_eq!(
        (event.state, event.last_error.as_deref()),
        (EventState::Pending, Some("503"))
    );
    assert_eq!(event.next_retry_at.unwrap().0, NOW + 2_000);
    assert_eq!(store.next_action_due().await.unwrap(), Some(NOW + 2_000));

    let again = store.claim_actions(NOW + 2_000).await.remove(0);
    assert_eq!((again.attempt, again.first_attempt_at), (2, NOW + 5));
    assert_eq!(again.idempotency_key, "a:incidents:open");
    store
        .finish_action(
            again,
            NOW + 2_000,
            failure,
            ActionTransition::Dead("given up".to_owned()),
        )
        .await;
    assert_eq!(store.the_event().await.state, EventState::Failed);
    let action = store.the_run().await.actions.remove(0);
    assert_eq!(
        (action.state.as_str(), action.dead_reason.as_deref()),
        ("dead", Some("given up"))
    );
    assert_eq!(
        action
            .attempts
            .iter()
            .map(|it| it.status)
            .collect::<Vec<_>>(),
        [Some(503), Some(503)]
    );
}

#[tokio::test]
async fn an_action_that_a_crash_cut_off_is_due_at_once() {
    let mut store = TestStore::new();
    store.accept(event("int", "a", NOW)).await.unwrap();
    let run = store.claim(NOW).await.remove(0);
    store
        .finish_attempt(decided(&run, NOW, Priority::Low))
        .await
        .unwrap();
    store.claim_actions(NOW + 5).await.remove(0);
    store.reopen();
    assert!(store.claim_actions(NOW + 6).await.is_empty());
    assert_eq!(store.release_actions(NOW + 6).await.unwrap(), 1);
    assert_eq!(store.claim_actions(NOW + 6).await[0].attempt, 2);
}
