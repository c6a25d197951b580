//! Old events go with everything that is theirs, unless they have work to do.

use super::queues::{decided, opened};
use super::{NOW, TestStore, event, with_content_key};
use crate::model::decision::Priority;
use crate::model::event::NewEvent;
use crate::model::version::Version;
use crate::retention;
use crate::store::retention::Batch;

const DAY_MS: i64 = 86_400_000;

/// Rows of every table that belongs to events.
async fn rows(store: &TestStore) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in [
        "event",
        "event_content",
        "event_name",
        "run",
        "attempt",
        "action",
        "action_attempt",
        "receipt",
        "ticket",
    ] {
        counts.push(store.count(table).await);
    }
    counts
}

/// Decides the oldest run, and opens its ticket.
async fn work(store: &TestStore) {
    let run = store
        .claim_due_runs(NOW, NOW + 1_000, 1)
        .await
        .unwrap()
        .remove(0);
    store
        .finish_attempt(decided(&run, NOW, Priority::High))
        .await
        .unwrap();
    let action = store
        .claim_due_actions(NOW + DAY_MS, NOW + DAY_MS, 1)
        .await
        .unwrap()
        .remove(0);
    store.finish_actions(opened(action, NOW)).await.unwrap();
}

#[tokio::test]
async fn an_old_event_goes_with_everything_that_is_its() {
    let store = TestStore::new();
    let old = with_content_key(event("int", "old", NOW), "content", None);
    let first = store.accept(old.clone()).await.unwrap();
    let again = with_content_key(event("int", "other name", NOW), "content", None);
    assert!(store.accept(again).await.unwrap().duplicate);
    work(&store).await;
    store
        .accept(event("int", "young", NOW + DAY_MS))
        .await
        .unwrap();
    assert_eq!(rows(&store).await, [2, 2, 1, 2, 1, 1, 1, 1, 1]);

    let deleted = retention::sweep(&store, NOW + DAY_MS).await.unwrap();
    assert_eq!(deleted, 1);
    assert_eq!(rows(&store).await, [1, 1, 0, 1, 0, 0, 0, 0, 0]);
    assert!(store.event(None, first.event_id).await.unwrap().is_none());
    // Its keys are free again, in memory too.
    for (id, content) in [("old", "content"), ("other name", "other content")] {
        let later = with_content_key(event("int", id, NOW + DAY_MS), content, None);
        assert!(!store.accept(later).await.unwrap().duplicate, "{id}");
    }
}

#[tokio::test]
async fn an_event_with_work_to_do_stays_and_holds_up_no_other() {
    let store = TestStore::new();
    store.accept(event("int", "done", NOW)).await.unwrap();
    work(&store).await;
    store.accept(event("int", "queued", NOW)).await.unwrap();
    let run = store
        .claim_due_runs(NOW, NOW + 1_000, 1)
        .await
        .unwrap()
        .remove(0);
    store.accept(event("int", "also done", NOW)).await.unwrap();
    work(&store).await;

    let batch = store.delete_expired(NOW + DAY_MS, 0, 10).await.unwrap();
    assert_eq!((batch.deleted, batch.kept), (2, 1));
    // An action that is still to be carried out is work as well.
    store
        .finish_attempt(decided(&run, NOW, Priority::High))
        .await
        .unwrap();
    assert_eq!(retention::sweep(&store, NOW + DAY_MS).await.unwrap(), 0);
    let action = store
        .claim_due_actions(NOW + DAY_MS, NOW, 1)
        .await
        .unwrap()
        .remove(0);
    store.finish_actions(opened(action, NOW)).await.unwrap();
    assert_eq!(retention::sweep(&store, NOW + DAY_MS).await.unwrap(), 1);
    assert_eq!(rows(&store).await, [0; 9]);
}

#[tokio::test]
async fn versions_are_kept_as_long_as_events() {
    let store = TestStore::new();
    for (id, at) in [("old", NOW), ("young", NOW + DAY_MS)] {
        let mut event = event("int", id, at);
        event.runs[0].ordering_key = Some(id.to_owned());
        event.runs[0].version = Some(Version::Integer(1));
        store.accept(event).await.unwrap();
    }
    assert_eq!(store.count("newest_version").await, 2);
    retention::sweep(&store, NOW + DAY_MS).await.unwrap();
    assert_eq!(store.count("newest_version").await, 1);
}

#[tokio::test]
async fn rows_are_not_numbered_twice_when_none_is_left() {
    let mut store = TestStore::new();
    for number in 0..3 {
        store
            .accept(event("int", &number.to_string(), NOW))
            .await
            .unwrap();
        work(&store).await;
    }
    assert_eq!(retention::sweep(&store, NOW + 1).await.unwrap(), 3);
    store.reopen();
    store.accept(event("int", "next", NOW)).await.unwrap();
    let seq: i64 = store
        .read(|db| Ok(db.query_row("SELECT seq FROM event", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(seq, 4);
}

#[tokio::test]
async fn rows_are_not_numbered_twice_when_only_an_old_one_is_left() {
    let mut store = TestStore::new();
    // Has work to do until the end.
    store.accept(event("int", "old", NOW)).await.unwrap();
    for number in 0..3 {
        store.accept(without_runs(number)).await.unwrap();
    }
    assert_eq!(retention::sweep(&store, NOW + 1).await.unwrap(), 3);
    store.reopen();
    work(&store).await;
    assert_eq!(retention::sweep(&store, NOW + 1).await.unwrap(), 1);
    store.reopen();
    store.accept(without_runs(4)).await.unwrap();
    let seq: i64 = store
        .read(|db| Ok(db.query_row("SELECT seq FROM event", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(seq, 5);
}

/// An event of 1 KB that nothing has to be done for.
fn without_runs(number: i32) -> NewEvent {
    NewEvent {
        runs: Vec::new(),
        body: vec![b'x'; 1_000].into(),
        ..event("int", &number.to_string(), NOW)
    }
}

#[tokio::test]
async fn a_batch_looks_at_no_more_than_it_is_told() {
    let store = TestStore::new();
    for number in 0..5 {
        store
            .accept(NewEvent {
                runs: Vec::new(),
                ..event("int", &number.to_string(), NOW)
            })
            .await
            .unwrap();
    }
    let first = store.delete_expired(NOW + 1, 0, 3).await.unwrap();
    let expected = Batch {
        deleted: 3,
        kept: 0,
        next: Some(3),
    };
    assert_eq!(first, expected);
    let rest = store.delete_expired(NOW + 1, 3, 3).await.unwrap();
    assert_eq!((rest.deleted, rest.next), (2, Some(5)));
    assert_eq!(
        store.delete_expired(NOW + 1, 5, 3).await.unwrap().next,
        None
    );
    // Nothing is old enough.
    store.accept(event("int", "young", NOW)).await.unwrap();
    assert_eq!(store.delete_expired(NOW, 0, 3).await.unwrap().deleted, 0);
}
