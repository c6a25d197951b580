//! Rejections: the newest ones, and never instead of an event.

use super::{NOW, TestStore, event, poll};
use crate::store::Store;
use crate::store::rejections::{REJECTIONS_MAX, REJECTIONS_WAITING_MAX, Rejected};
use crate::store::views::PageRequest;

fn rejected(number: i64, tenant: &str) -> Rejected {
    Rejected {
        at: NOW + number,
        tenant: tenant.to_owned(),
        integration_id: "int".to_owned(),
        source: "github".to_owned(),
        cause: "signature_mismatch",
        header: None,
        remote: "192.0.2.1".to_owned(),
        body_bytes: 3,
        body_sha256: Some([7; 32]),
    }
}

#[tokio::test]
async fn the_newest_are_kept() {
    let store = TestStore::new();
    store.reject(rejected(0, "acme")).await;
    store
        .execute("UPDATE sqlite_sequence SET seq = 9999 WHERE name = 'rejection'")
        .await
        .unwrap();
    store.reject(rejected(1, "acme")).await;
    assert_eq!(store.count("rejection").await, 2);
    store.reject(rejected(2, "acme")).await;
    assert_eq!(
        store.count("rejection").await,
        2,
        "the one that is {REJECTIONS_MAX} older is gone"
    );
    let page = store
        .list_rejections(None, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(
        page.items
            .iter()
            .map(|it| it.at.0 - NOW)
            .collect::<Vec<_>>(),
        [2, 1]
    );
}

#[tokio::test]
async fn they_are_listed_by_tenant_and_page() {
    let store = TestStore::new();
    for number in 0..10 {
        store
            .reject(rejected(
                number,
                if number % 2 == 0 { "acme" } else { "globex" },
            ))
            .await;
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(cursor.as_deref(), Some(2)).unwrap();
        let page = store
            .list_rejections(Some("acme".to_owned()), page)
            .await
            .unwrap();
        seen.extend(page.items.iter().map(|it| it.at.0 - NOW));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [8, 6, 4, 2, 0]);
}

#[tokio::test]
async fn few_wait_and_the_others_are_counted() {
    let store = TestStore::new();
    let stall = store.stall_writer();
    let mut waiting: Vec<super::Waiting<()>> = Vec::new();
    for number in 0..100 {
        let store = store.store.clone().unwrap();
        let mut reject: super::Waiting<()> = Box::pin(async move {
            store.reject(rejected(number, "acme")).await;
            Ok(())
        });
        if poll(&mut reject).is_pending() {
            waiting.push(reject);
        }
    }
    assert_eq!(waiting.len(), REJECTIONS_WAITING_MAX);
    assert_eq!(
        store.rejections_dropped(),
        100 - REJECTIONS_WAITING_MAX as u64
    );
    // Callers that go away do not make room while their writes wait.
    waiting.clear();
    store.reject(rejected(101, "acme")).await;
    assert_eq!(
        store.rejections_dropped(),
        101 - REJECTIONS_WAITING_MAX as u64
    );
    drop(stall);
    store.accept(event("int", "a", NOW)).await.unwrap();
    assert_eq!(
        store.count("rejection").await,
        REJECTIONS_WAITING_MAX as i64
    );
    store.reject(rejected(102, "acme")).await;
    assert_eq!(
        store.count("rejection").await,
        REJECTIONS_WAITING_MAX as i64 + 1
    );
}

#[tokio::test]
async fn a_rejection_that_cannot_be_written_is_counted() {
    let store = TestStore::new();
    store.break_writes(true).await;
    store.reject(rejected(1, "acme")).await;
    assert_eq!(store.rejections_dropped(), 1);
    assert_eq!(
        counts(&store, None).await,
        ["acme int signature_mismatch 1"]
    );
    assert_eq!(store.count("rejection_count").await, 0);
    store.break_writes(false).await;
    store.reject(rejected(2, "acme")).await;
    assert_eq!(written(&store).await, ["acme int signature_mismatch 2"]);
}

/// As lines of words.
async fn counts(store: &Store, tenant: Option<&str>) -> Vec<String> {
    let counts = store.count_rejections(tenant.map(str::to_owned)).await;
    let line = |it: &crate::store::rejections::RejectionCount| {
        let (key, count) = (&it.key, it.count);
        format!(
            "{} {} {} {count}",
            key.tenant, key.integration_id, key.cause
        )
    };
    counts.unwrap().iter().map(line).collect()
}

/// What another process reads.
async fn written(store: &TestStore) -> Vec<String> {
    counts(&Store::open_to_read(&store.path).unwrap(), None).await
}

#[tokio::test]
async fn they_are_counted_by_integration_and_cause() {
    let store = TestStore::new();
    for number in 0..3 {
        store.reject(rejected(number, "acme")).await;
    }
    store.reject(rejected(3, "globex")).await;
    let other_cause = Rejected {
        cause: "body_too_large",
        body_sha256: None,
        ..rejected(4, "acme")
    };
    store.reject(other_cause).await;
    let all = [
        "acme int body_too_large 1",
        "acme int signature_mismatch 3",
        "globex int signature_mismatch 1",
    ];
    assert_eq!(counts(&store, None).await, all);
    assert_eq!(written(&store).await, all);
    assert_eq!(counts(&store, Some("acme")).await, all[..2]);
    assert_eq!(counts(&store, Some("globex")).await, all[2..]);
    assert!(counts(&store, Some("nobody")).await.is_empty());
}

#[tokio::test]
async fn those_that_are_not_listed_are_counted_by_the_next_write() {
    let store = TestStore::new();
    let stall = store.stall_writer();
    let mut waiting: Vec<super::Waiting<()>> = Vec::new();
    for number in 0..100 {
        let store = store.store.clone().unwrap();
        let mut reject: super::Waiting<()> = Box::pin(async move {
            store.reject(rejected(number, "acme")).await;
            Ok(())
        });
        if poll(&mut reject).is_pending() {
            waiting.push(reject);
        }
    }
    // Half of those who wait hang up, so that nobody learns how their writes ended.
    waiting.truncate(REJECTIONS_WAITING_MAX / 2);
    assert_eq!(
        counts(&store, None).await,
        ["acme int signature_mismatch 100"]
    );
    drop(stall);
    for reject in waiting {
        reject.await.unwrap();
    }
    assert_eq!(written(&store).await, ["acme int signature_mismatch 100"]);
}

#[tokio::test]
async fn counting_goes_on_after_a_restart() {
    let mut store = TestStore::new();
    store.reject(rejected(0, "acme")).await;
    let stall = store.stall_writer();
    let _full = store.fill_queue();
    store.reject(rejected(1, "acme")).await;
    drop((stall, _full));
    assert_eq!(written(&store).await, ["acme int signature_mismatch 1"]);
    store.write_rejection_counts().await.unwrap();
    assert_eq!(written(&store).await, ["acme int signature_mismatch 2"]);
    store.reopen();
    store.reject(rejected(2, "acme")).await;
    assert_eq!(written(&store).await, ["acme int signature_mismatch 3"]);
}
