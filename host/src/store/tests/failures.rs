//! Writes that fail change nothing, and nothing but themselves.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::{NOW, TestStore, event, poll};
use crate::model::event::Accepted;
use crate::store::StoreError;

#[tokio::test]
async fn a_write_that_fails_does_not_affect_those_that_share_its_commit() {
    let store = TestStore::new();
    // All of these wait for one commit.
    let stall = store.stall_writer();
    let mut accepts: Vec<super::Waiting<Accepted>> = (0..20)
        .map(|number| {
            let store = store.store.clone().unwrap();
            let accept = async move { store.accept(event("int", &number.to_string(), NOW)).await };
            Box::pin(accept) as super::Waiting<Accepted>
        })
        .collect();
    for accept in &mut accepts[..10] {
        assert!(poll(accept).is_pending());
    }
    let poisoned = store.store.clone().unwrap();
    let mut poisoned: super::Waiting<()> = Box::pin(async move {
        // Writes something first: that must not stay either.
        poisoned
            .execute(
                "INSERT INTO meta VALUES ('poison', x'00'); INSERT INTO event (seq) VALUES (1)",
            )
            .await
    });
    assert!(poll(&mut poisoned).is_pending());
    for accept in &mut accepts[10..] {
        assert!(poll(accept).is_pending());
    }
    drop(stall);
    assert!(matches!(poisoned.await, Err(StoreError::Unavailable(_))));
    for accept in accepts {
        assert!(!accept.await.unwrap().duplicate);
    }
    assert_eq!(store.count("event").await, 20);
    assert_eq!(store.count("meta WHERE name = 'poison'").await, 0);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_changes_nothing() {
    let mut store = TestStore::new();
    let mut kept = Vec::new();
    store.execute("PRAGMA max_page_count = 80").await.unwrap();
    let refused = loop {
        let key = kept.len().to_string();
        let mut new = event("int", &key, NOW);
        new.body = rand::random_iter::<u8>()
            .take(20_000)
            .collect::<Vec<_>>()
            .into();
        match store.accept(new).await {
            Ok(accepted) => kept.push(accepted.event_id),
            Err(error) => break error,
        }
        assert!(kept.len() < 1_000, "the limit takes effect");
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(!kept.is_empty());
    assert_eq!(store.count("event").await, kept.len() as i64);
    assert_eq!(store.count("run").await, kept.len() as i64);
    // Repeats of what is kept are still known, also after a restart without the limit.
    store.reopen();
    assert!(
        store
            .accept(event("int", "0", NOW))
            .await
            .unwrap()
            .duplicate
    );
    assert!(
        !store
            .accept(event("int", &kept.len().to_string(), NOW))
            .await
            .unwrap()
            .duplicate
    );
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_recovers() {
    let store = TestStore::new();
    let stall = store.stall_writer();
    let waiting = store.fill_queue();
    assert_eq!(waiting.len(), crate::store::writer::WRITES_WAITING_MAX);
    assert!(matches!(
        store.accept(event("int", "a", NOW)).await,
        Err(StoreError::Busy)
    ));
    drop(stall);
    while let Err(error) = store.accept(event("int", "a", NOW)).await {
        assert!(matches!(error, StoreError::Busy));
        tokio::task::yield_now().await;
    }
    drop(waiting);
    assert_eq!(store.count("event").await, 1);
}

/// What a log keeps of this error.
fn logged(error: &StoreError) -> String {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Kept(writer.clone()))
        .finish();
    tracing::subscriber::with_default(subscriber, || error.log("cannot claim runs"));
    let kept = kept.lock().unwrap();
    String::from_utf8_lossy(&kept).into_owned()
}

struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_busy_store_is_no_error_in_the_log_and_one_that_does_not_answer_is() {
    let store = TestStore::new();
    let stall = store.stall_writer();
    let waiting = store.fill_queue();
    let busy = store.claim_runs(NOW, NOW + 1, Vec::new()).await;
    let said = logged(&busy.unwrap_err());
    assert!(
        said.contains("DEBUG") && said.contains("cannot claim runs"),
        "{said}"
    );
    drop(stall);
    for write in waiting {
        write.await.unwrap();
    }
    let failed = store.execute("not SQL").await.unwrap_err();
    let said = logged(&failed);
    assert!(
        said.contains("ERROR") && said.contains("does not answer"),
        "{said}"
    );
}

#[tokio::test]
async fn a_write_stands_although_nobody_waits_for_it() {
    let store = TestStore::new();
    let stall = store.stall_writer();
    let writing = store.store.clone().unwrap();
    let mut accept: super::Waiting<_> =
        Box::pin(async move { writing.accept(event("int", "a", NOW)).await });
    assert!(poll(&mut accept).is_pending());
    drop((accept, stall));
    assert!(
        store
            .accept(event("int", "a", NOW))
            .await
            .unwrap()
            .duplicate
    );
}

#[tokio::test]
async fn closing_finishes_what_waits() {
    let mut store = TestStore::new();
    let stall = store.stall_writer();
    let writing = store.store.clone().unwrap();
    let mut accept: super::Waiting<_> =
        Box::pin(async move { writing.accept(event("int", "a", NOW)).await });
    assert!(poll(&mut accept).is_pending());
    drop((accept, stall));
    store.reopen();
    assert_eq!(store.count("event").await, 1);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let store = TestStore::new();
    let written = store
        .read(|db| Ok(db.execute("DELETE FROM event", [])?))
        .await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_malformed_row_does_not_hide_the_others() {
    let store = TestStore::new();
    for key in ["a", "b"] {
        store.accept(event("int", key, NOW)).await.unwrap();
    }
    store
        .execute(
            "UPDATE run SET state = 'completed', run_after = NULL, finished_at = 1, outcome = 'noted', decision = '?'
              WHERE seq = 1",
        )
        .await
        .unwrap();
    let page = crate::store::views::PageRequest::default();
    let events = store
        .list_events(None, Default::default(), page)
        .await
        .unwrap();
    assert_eq!(
        events
            .items
            .iter()
            .map(|it| it.idempotency_key.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(
        store
            .list_runs(None, Default::default(), page)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}
