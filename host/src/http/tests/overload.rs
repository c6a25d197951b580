//! When the store cannot keep up, or cannot keep anything: no 200 without a commit.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::{NOW, SECRET, TestHost, sample};
use crate::model::source::Source;
use crate::store::access::Role;

/// Whether a wake-up is waiting for a worker.
async fn woken(host: &TestHost) -> bool {
    tokio::select! {
        biased;
        () = host.state.runs_wake.notified() => true,
        () = std::future::ready(()) => false,
    }
}

#[tokio::test]
async fn a_worker_is_woken_for_new_runs_only() {
    let host = TestHost::start();
    host.deliver(Source::Github, "d1").await.check(200);
    assert!(woken(&host).await);
    host.deliver(Source::Github, "d1").await.check(200);
    assert!(!woken(&host).await, "a repeat queues nothing");
    let unwanted = host.signed(
        Source::Standard,
        "d2",
        SECRET,
        r#"{"type":"contact.created","data":{}}"#,
    );
    host.send(unwanted).await.check(200);
    assert!(!woken(&host).await, "no policy wants it");
}

#[tokio::test]
async fn a_sender_that_hangs_up_loses_neither_event_nor_wake_up() {
    let host = TestHost::start();
    let stall = host.state.store.stall_writer();
    let mut sending = Box::pin(host.deliver(Source::Github, "d1"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(sending.as_mut().poll(&mut context), Poll::Pending));
    // The task that keeps the event has to be started before the sender goes away.
    tokio::task::yield_now().await;
    drop(sending);
    drop(stall);
    host.state.runs_wake.notified().await;
    let again = host.deliver(Source::Github, "d1").await.check(200).json();
    assert_eq!(again["duplicate"], true);
}

#[tokio::test]
async fn a_full_queue_is_told_apart_from_a_failure() {
    let host = TestHost::start();
    let stall = host.state.store.stall_writer();
    let waiting = host.state.store.fill_queue();
    let answer = host
        .deliver(Source::Github, "d1")
        .await
        .check_error(429, "too_many_requests");
    assert_eq!(answer.header("retry-after"), "1");
    drop((stall, waiting));
    loop {
        // What filled the queue is being worked off.
        let answer = host.deliver(Source::Github, "d1").await;
        if answer.status != 429 {
            assert_eq!(
                answer.check(200).json()["duplicate"],
                false,
                "the refused one was not kept"
            );
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_a_commit_there_is_no_200() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        host.state.store.break_writes(true).await;
        let answer = host
            .deliver(source, "d1")
            .await
            .check_error(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "5");
        host.state.store.break_writes(false).await;
        assert_eq!(
            host.deliver(source, "d1").await.check(200).json()["duplicate"],
            false,
            "{source}"
        );
    }
}

#[tokio::test]
async fn the_store_is_not_ready_when_it_does_not_answer() {
    let host = TestHost::start();
    host.get("", "/healthz").await.check(200);
    host.get("", "/readyz").await.check(200);
    let stall = host.state.store.stall_writer();
    let waiting = host.state.store.fill_queue();
    host.get("", "/healthz").await.check(200);
    host.get("", "/readyz")
        .await
        .check_error(429, "too_many_requests");
    drop((stall, waiting));
}

#[tokio::test]
async fn a_flood_of_forgeries_leaves_room_for_events() {
    let host = std::sync::Arc::new(TestHost::start());
    let stall = host.state.store.stall_writer();
    let mut forgeries = tokio::task::JoinSet::new();
    for number in 0..5_000 {
        let host = host.clone();
        forgeries.spawn(async move {
            let body = sample(Source::Github, "d1", NOW);
            let forged = host.signed(Source::Github, &number.to_string(), "whsec_d3Jvbmc=", &body);
            host.send(forged)
                .await
                .check_error(401, "invalid_signature");
        });
    }
    // Most are answered although nothing is written: they do not wait for a place.
    while host.state.store.rejections_dropped() < 4_900 {
        forgeries.join_next().await.unwrap().unwrap();
    }
    let event = tokio::spawn({
        let host = host.clone();
        async move { host.deliver(Source::Github, "real").await.check(200) }
    });
    tokio::task::yield_now().await;
    drop(stall);
    event.await.unwrap();
    forgeries.join_all().await;
    let token = host.token(None, Role::Viewer).await;
    let rejections = host.get(&token, "/v1/rejections?limit=200").await.json();
    assert!(!rejections["items"].as_array().unwrap().is_empty());
}
