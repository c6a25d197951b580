//! Stopping in order, and not starting twice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use triage_tests::host::deliver_to;
use triage_tests::receiver::Reply;
use triage_tests::{Delivery, Host, Receiver, config, wait_until};

const CLIENTS: usize = 4;
/// Deliveries that are answered before the host is told to stop.
const ANSWERED_BEFORE: usize = 100;

#[test]
fn a_stop_under_load_loses_nothing_that_was_answered() {
    let mut host = Host::start(&config::desk());
    let (address, over, next) = (host.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let answered: Mutex<Vec<Value>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if let Ok(answer) =
                        deliver_to(address, &Delivery::incident(&format!("stop-{number}")))
                    {
                        answered.lock().unwrap().push(answer.expect(200).json());
                    }
                }
            });
        }
        wait_until("enough answers", || match answered.lock().unwrap().len() {
            count if ANSWERED_BEFORE <= count => Ok(()),
            count => Err(format!("{count} answers")),
        });
        host.stop();
        over.store(true, Ordering::SeqCst);
    });
    let database = host.database();
    assert_eq!(
        database.count("SELECT count(*) FROM run WHERE state = 'running'"),
        0
    );
    let kept = database.events();
    let answered = answered.into_inner().unwrap();
    for answer in &answered {
        let event_id = answer["event_id"]
            .as_str()
            .unwrap()
            .trim_start_matches("evt_");
        assert!(
            kept.values().any(|it| it.event_id == event_id),
            "answered and gone: {answer}"
        );
    }
    host.restart();
    host.wait_until_idle();
    let database = host.database();
    database.check();
    assert_eq!(
        database.count("SELECT count(*) FROM ticket"),
        kept.len() as u64
    );
    assert_eq!(
        database.count("SELECT count(*) FROM run WHERE state <> 'completed'"),
        0
    );
}

#[test]
fn a_stop_right_after_the_start_is_in_order() {
    for _ in 0..5 {
        Host::start("").stop();
    }
}

#[test]
fn a_stop_does_not_wait_for_what_is_to_be_tried_later() {
    let receiver = Receiver::start(&[Reply {
        status: 503,
        retry_after: Some("120"),
    }]);
    let sections = config::desk_and_webhook(&receiver.url(), "");
    let mut host = Host::start(&format!("[egress]\nallow = [\"127.0.0.1\"]\n{sections}"));
    let answer = host.accept(&Delivery::incident("later-1"));
    receiver.wait_for(1);
    let path = format!("/v1/events/{}", answer["event_id"].as_str().unwrap());
    wait_until("the retry to be planned", || {
        let event = host.json(&path);
        if event["next_retry_at"].is_string() {
            Ok(())
        } else {
            Err(event.to_string())
        }
    });
    let began = std::time::Instant::now();
    host.stop();
    assert!(
        began.elapsed().as_secs() < 10,
        "it took {:?}",
        began.elapsed()
    );
    host.restart();
    assert_eq!(host.json(&path)["state"], "pending");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_second_host_on_the_same_database_is_refused() {
    let mut host = Host::start("");
    host.folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["triage.db is served by another triage process"]);
    host.accept(&Delivery::incident("first-host-lives"));
    host.kill();
    // A lock that outlives its process would keep an operator out.
    host.restart();
}
