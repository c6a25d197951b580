//! One event per key, for ever, under any concurrency.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{NOW, TestStore, event, with_content_key};
use crate::model::event::Accepted;
use crate::store::views::{EventFilter, PageRequest};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_one_event_for_each_integration_and_key(
        deliveries in proptest::collection::vec((0..3_usize, 0..4_usize, 0..50_i64, any::<bool>()), 1..40),
    ) {
        block_on(async {
            let mut store = TestStore::new();
            let mut first: HashMap<(usize, usize), Accepted> = HashMap::new();
            let mut repeats = 0;
            for (number, (integration, key, later_ms, reopens)) in deliveries.iter().enumerate() {
                let now = NOW + number as i64 * 100 + later_ms;
                let accepted = store.accept(event(&format!("int-{integration}"), &format!("key-{key}"), now)).await.unwrap();
                match first.get(&(*integration, *key)) {
                    None => {
                        prop_assert!(!accepted.duplicate);
                        first.insert((*integration, *key), accepted);
                    }
                    Some(kept) => {
                        repeats += 1;
                        prop_assert!(accepted.duplicate);
                        prop_assert_eq!(accepted.event_id, kept.event_id);
                        prop_assert_eq!(&accepted.run_ids, &kept.run_ids);
                    }
                }
                if *reopens && number % 7 == 0 {
                    store.reopen();
                }
            }
            prop_assert_eq!(store.count("event").await, first.len() as i64);
            prop_assert_eq!(store.count("run").await, first.len() as i64);
            let page = PageRequest::new(None, Some(200)).unwrap();
            let events = store.list_events(None, EventFilter::default(), page).await.unwrap().items;
            prop_assert_eq!(events.iter().map(|it| it.duplicate_count).sum::<u64>(), repeats);
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_deliveries_of_one_key_get_the_same_ids() {
    let store = TestStore::new();
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..200 {
        let store = store.store.clone().unwrap();
        accepts.spawn(async move {
            store
                .accept(event("int", &format!("key-{}", number % 4), NOW))
                .await
                .unwrap()
        });
    }
    let mut by_event: HashMap<_, Vec<Accepted>> = HashMap::new();
    for accepted in accepts.join_all().await {
        by_event
            .entry(accepted.event_id)
            .or_default()
            .push(accepted);
    }
    assert_eq!(by_event.len(), 4);
    for accepted in by_event.values() {
        assert_eq!(accepted.len(), 50);
        assert_eq!(accepted.iter().filter(|it| !it.duplicate).count(), 1);
        assert!(accepted.iter().all(|it| it.run_ids == accepted[0].run_ids));
    }
    assert_eq!(store.count("run").await, 4);
}

#[tokio::test]
async fn the_same_content_under_another_id_finds_the_first_event() {
    let store = TestStore::new();
    let first = store
        .accept(with_content_key(event("int", "a", NOW), "content", None))
        .await
        .unwrap();
    let later = NOW + 365 * 86_400_000;
    let second = store
        .accept(with_content_key(event("int", "b", later), "content", None))
        .await
        .unwrap();
    assert!(second.duplicate);
    assert_eq!(
        (second.event_id, &second.run_ids),
        (first.event_id, &first.run_ids)
    );
    // The second id names the first event from now on, whatever it carries.
    let third = store
        .accept(with_content_key(
            event("int", "b", later + 1),
            "changed",
            None,
        ))
        .await
        .unwrap();
    assert!(third.duplicate);
    assert_eq!(third.event_id, first.event_id);
    // Content of another integration is not compared.
    let other = store
        .accept(with_content_key(
            event("other", "c", later),
            "content",
            None,
        ))
        .await
        .unwrap();
    assert!(!other.duplicate);
}

#[tokio::test]
async fn a_content_key_with_a_window_runs_out() {
    let store = TestStore::new();
    let deliver = async |id: &str, at: i64| {
        store
            .accept(with_content_key(
                event("int", id, at),
                "content",
                Some(1_000),
            ))
            .await
            .unwrap()
    };
    let first = deliver("a", NOW).await;
    assert!(deliver("b", NOW + 999).await.duplicate);
    let second = deliver("c", NOW + 1_000).await;
    assert!(!second.duplicate);
    // The content names the newer event now, for a window of its own; the ids keep theirs.
    let third = deliver("d", NOW + 1_999).await;
    assert_eq!((third.duplicate, third.event_id), (true, second.event_id));
    assert_eq!(deliver("b", NOW + 900_000).await.event_id, first.event_id);
}

#[tokio::test]
async fn an_id_and_a_content_of_the_same_text_are_two_keys() {
    let store = TestStore::new();
    store
        .accept(with_content_key(event("int", "a", NOW), "b", None))
        .await
        .unwrap();
    assert!(
        !store
            .accept(event("int", "b", NOW))
            .await
            .unwrap()
            .duplicate
    );
    assert!(
        !store
            .accept(event("in", "tb", NOW))
            .await
            .unwrap()
            .duplicate
    );
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let mut store = TestStore::new();
    let first = store.accept(event("int", "a", NOW)).await.unwrap();
    store.accept(event("int", "a", NOW + 1)).await.unwrap();
    let before = store.event(None, first.event_id).await.unwrap().unwrap();
    let payload = store.payload(None, first.event_id).await.unwrap().unwrap();
    store.reopen();
    assert_eq!(
        store.event(None, first.event_id).await.unwrap().unwrap(),
        before
    );
    assert_eq!(
        store.payload(None, first.event_id).await.unwrap().unwrap(),
        payload
    );
    assert_eq!(before.duplicate_count, 1);
    assert_eq!(before.run_ids, first.run_ids);
    let again = store.accept(event("int", "a", NOW + 2)).await.unwrap();
    assert_eq!((again.duplicate, again.event_id), (true, first.event_id));
}

#[tokio::test]
async fn an_event_is_found_by_each_of_its_keys() {
    let store = TestStore::new();
    let first = store
        .accept(with_content_key(event("int", "a", NOW), "content", None))
        .await
        .unwrap();
    store
        .accept(with_content_key(event("int", "b", NOW), "content", None))
        .await
        .unwrap();
    for key in ["a", "b"] {
        let filter = EventFilter {
            idempotency_key: Some(key.to_owned()),
            ..EventFilter::default()
        };
        let found = store
            .list_events(Some("acme".to_owned()), filter, PageRequest::default())
            .await
            .unwrap();
        assert_eq!(
            found.items.iter().map(|it| it.event_id).collect::<Vec<_>>(),
            [first.event_id]
        );
    }
}

#[tokio::test]
async fn an_integration_given_to_another_tenant_answers_nothing_of_the_first() {
    let store = TestStore::new();
    let of = |tenant: &str, key: &str| {
        let mut event = with_content_key(event("main", key, NOW), "content", None);
        event.tenant = tenant.to_owned();
        event.runs[0].ordering_key = Some("same".to_owned());
        event
    };
    let first = store.accept(of("first", "1")).await.unwrap();
    let second = store.accept(of("second", "1")).await.unwrap();
    assert!(!second.duplicate);
    assert_ne!(first.event_id, second.event_id);
    for (tenant, kept) in [("first", &first), ("second", &second)] {
        for key in ["1", "other"] {
            let repeat = store.accept(of(tenant, key)).await.unwrap();
            assert!(repeat.duplicate);
            assert_eq!(
                (repeat.event_id, &repeat.run_ids),
                (kept.event_id, &kept.run_ids)
            );
        }
    }
    let claimed = store.claim_due_runs(NOW, NOW + 1, 9).await.unwrap();
    assert_eq!(
        claimed.len(),
        2,
        "neither waits for its turn behind the other"
    );

    let filter = |integration_id: Option<&str>| EventFilter {
        idempotency_key: Some("1".to_owned()),
        integration_id: integration_id.map(str::to_owned),
        ..EventFilter::default()
    };
    for integration_id in [None, Some("main")] {
        for (tenant, found) in [
            (Some("first"), vec![first.event_id]),
            (Some("second"), vec![second.event_id]),
            (None, vec![second.event_id, first.event_id]),
        ] {
            let tenant = tenant.map(str::to_owned);
            let page = PageRequest::default();
            let events = store
                .list_events(tenant, filter(integration_id), page)
                .await
                .unwrap();
            let ids: Vec<_> = events.items.iter().map(|it| it.event_id).collect();
            assert_eq!(ids, found);
        }
    }
}
