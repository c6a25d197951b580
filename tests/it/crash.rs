//! `kill -9` at random moments under load: what was answered is there, once, and is finished.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use triage_tests::senders::{Senders, number};
use triage_tests::wait::wait_within;
use triage_tests::{Host, Receiver, config};

const ROUNDS: usize = 10;
const CLIENTS: usize = 4;
/// How long a host lives after its first answer, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 20..400;
/// How many deliveries of earlier rounds are sent once more after the restart.
const REPEATED: usize = 10;
/// A first answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps a host busy until it is killed.
fn load(senders: &Senders, host: &mut Host, random: &mut StdRng) {
    let life = Duration::from_millis(random.random_range(LIFE_MS));
    let before = senders.answered();
    senders.while_sending(host.address(), CLIENTS, random, || {
        wait_within(PATIENCE, "the first answer", || match senders.answered() {
            count if before < count => Ok(()),
            count => Err(format!("{count} answered")),
        });
        let end = Instant::now() + life;
        while Instant::now() < end {
            std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
        }
        host.kill();
    });
}

/// Each webhook came at least once; one that came again was the same.
fn check_webhooks(host: &Host, receiver: &Receiver) {
    let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for request in receiver.received() {
        let key = request.header("idempotency-key").to_owned();
        let first = bodies
            .entry(key.clone())
            .or_insert_with(|| request.body.clone());
        assert!(*first == request.body, "two webhooks of {key} differ");
    }
    let delivered =
        "SELECT count(*) FROM action WHERE destination = 'oncall' AND state = 'delivered'";
    assert_eq!(host.database().count(delivered), bodies.len() as u64);
    assert!(!bodies.is_empty());
}

#[test]
fn nothing_that_was_answered_is_lost_or_done_twice_when_the_host_is_killed() {
    let seed = number("TRIAGE_CRASH_SEED").unwrap_or_else(rand::random);
    let rounds = number("TRIAGE_CRASH_ROUNDS").map_or(ROUNDS, |it| usize::try_from(it).unwrap());
    eprintln!("TRIAGE_CRASH_SEED={seed} TRIAGE_CRASH_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let receiver = Receiver::start(&[]);
    let sections = config::desk_and_webhook(&receiver.url(), "");
    let mut host = Host::start(&format!("[egress]\nallow = [\"127.0.0.1\"]\n{sections}"));
    let senders = Senders::new("crash");
    for _ in 0..rounds {
        load(&senders, &mut host, &mut random);
        host.restart();
        senders.check_answered(&host);
        senders.send_again(&host, &mut random, REPEATED);
    }
    senders.check_end(&host, 0);
    assert_eq!(senders.refused(), 0);
    check_webhooks(&host, &receiver);
    eprintln!("{} deliveries survived {rounds} kills", senders.sent());
}
