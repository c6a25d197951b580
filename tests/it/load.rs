//! Thousands of deliveries of all sources on many connections: every answer is true afterwards, by the
//! API, by the command line and in the database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_tests::delivery::ticketed;
use triage_tests::host::deliver_to;
use triage_tests::senders::{Senders, Went, number};
use triage_tests::{Host, config};

/// Requests, if nobody says how many.
const REQUESTS: usize = 5_000;
const CONNECTIONS: usize = 32;
/// How often a request repeats one that was sent before.
const REPEATS: f64 = 0.3;
/// How often a request is one that nobody signed.
const FORGED: f64 = 0.05;
/// How many of the kept events are also looked at by the command line, which is a process each.
const BY_COMMAND: usize = 10;

/// What was sent and answered, in numbers.
#[derive(Default)]
struct Sent {
    all: AtomicUsize,
    kept: AtomicUsize,
    duplicates: AtomicUsize,
    forged: AtomicUsize,
}

fn send(address: SocketAddr, senders: &Senders, sent: &Sent, requests: usize, mut random: StdRng) {
    while sent.all.fetch_add(1, Ordering::SeqCst) < requests {
        if random.random_bool(FORGED) {
            let number = sent.forged.fetch_add(1, Ordering::SeqCst);
            let source = &Source::BUILT_IN[number % Source::BUILT_IN.len()];
            let mut forged = ticketed(source, &format!("forged-{number}"));
            forged.body.push(b' ');
            deliver_to(address, &forged).unwrap().expect(401);
            continue;
        }
        let went = match random.random_bool(REPEATS) {
            true => senders.send_old(address, &mut random),
            false => senders.send_new(address),
        };
        match went {
            Went::Kept(answer) if answer["duplicate"] == true => &sent.duplicates,
            Went::Kept(_) => &sent.kept,
            other => panic!("{other:?}"),
        }
        .fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn every_answer_under_load_is_true_afterwards() {
    let seed = number("TRIAGE_LOAD_SEED").unwrap_or_else(rand::random);
    let requests =
        number("TRIAGE_LOAD_REQUESTS").map_or(REQUESTS, |it| usize::try_from(it).unwrap());
    eprintln!("TRIAGE_LOAD_SEED={seed} TRIAGE_LOAD_REQUESTS={requests}");
    let mut random = StdRng::seed_from_u64(seed);
    let host = Host::start(&config::desk());
    let (senders, sent) = (Senders::new("load"), Sent::default());
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let random = StdRng::seed_from_u64(random.random());
            scope.spawn(|| send(host.address(), &senders, &sent, requests, random));
        }
    });
    senders.check_end(&host, 0);
    let [kept, duplicates, forged] =
        [&sent.kept, &sent.duplicates, &sent.forged].map(|it| it.load(Ordering::SeqCst));
    assert_eq!(kept + duplicates + forged, requests);
    assert_eq!(kept, senders.sent());
    assert!(0 < duplicates && 0 < forged);

    check_lists(&host, &senders, duplicates);
    check_rejections(&host, forged);
    for (number, (delivery, answer)) in senders.kept().iter().enumerate() {
        let event_id = answer["event_id"].as_str().unwrap();
        let payload = host.get(&format!("/v1/events/{event_id}/payload"));
        assert!(payload.expect(200).body == delivery.body, "{number}");
        if number % (kept / BY_COMMAND) == 0 {
            let shown = host.folder.triage(&["event", "payload", event_id]);
            assert!(shown.expect(0).stdout == delivery.body, "{number}");
        }
    }
}

/// Every event is listed once, with the number of its repeats.
fn check_lists(host: &Host, senders: &Senders, duplicates: usize) {
    let listed: BTreeMap<String, Value> = host
        .list("/v1/events")
        .into_iter()
        .map(|it| (it["event_id"].as_str().unwrap().to_owned(), it))
        .collect();
    assert_eq!(listed.len(), senders.sent());
    let counted: u64 = listed
        .values()
        .map(|it| it["duplicate_count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, duplicates as u64);
    for (_, answer) in senders.kept() {
        let event = &listed[answer["event_id"].as_str().unwrap()];
        assert_eq!(event["run_ids"], answer["run_ids"]);
    }
    assert_eq!(
        host.list("/v1/runs").len() as u64,
        host.database().count("SELECT count(*) FROM run")
    );
}

/// Every forgery is counted, also those that were not worth a place in the list.
fn check_rejections(host: &Host, forged: usize) {
    let counts = host.json("/v1/rejections/counts");
    let counts = counts["items"].as_array().unwrap();
    assert!(
        counts
            .iter()
            .all(|it| it["cause"] == json!("signature_mismatch"))
    );
    let counted: u64 = counts.iter().map(|it| it["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, forged as u64);
}
