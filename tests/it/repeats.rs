//! One event per key, for ever, however often and however fast it is sent.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use triage_tests::{Delivery, Host, config};

const SENDERS: usize = 50;

/// Sends one delivery from many threads at once.
fn send_at_once(host: &Host, delivery: &Delivery) -> Vec<Value> {
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| scope.spawn(|| host.accept(delivery)))
            .collect();
        senders.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

fn ids(answers: &[Value]) -> BTreeSet<String> {
    answers
        .iter()
        .map(|it| format!("{} {} {}", it["event_id"], it["run_ids"], it["trace_url"]))
        .collect()
}

#[test]
fn fifty_deliveries_at_once_are_one_event_also_after_a_kill() {
    let mut host = Host::start(&config::desk());
    let delivery = Delivery::incident("at-once-1");
    let answers = send_at_once(&host, &delivery);
    assert_eq!(ids(&answers).len(), 1, "{answers:?}");
    assert_eq!(
        answers
            .iter()
            .filter(|it| it["duplicate"] == json!(false))
            .count(),
        1
    );
    let run = host.finished(&answers[0]);
    assert_eq!(
        (&run["state"], &run["outcome"]),
        (&json!("completed"), &json!("acted"))
    );

    host.kill();
    host.restart();
    let again = send_at_once(&host, &delivery);
    assert!(
        again.iter().all(|it| it["duplicate"] == json!(true)),
        "{again:?}"
    );
    assert!(again.iter().all(
        |it| it["event_id"] == answers[0]["event_id"] && it["run_ids"] == answers[0]["run_ids"]
    ));

    let events = host.list("/v1/events");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["duplicate_count"], 2 * SENDERS - 1);
    assert_eq!(host.list("/v1/runs").len(), 1);
    assert_eq!(host.list("/v1/tickets").len(), 1);
    host.database().check();
}
