//! `kill -9` at random moments under load: what was answered is there, once, and is finished.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use triage_host::model::source::Source;
use triage_tests::database::Kept;
use triage_tests::delivery::ticketed;
use triage_tests::host::deliver_to;
use triage_tests::wait::wait_within;
use triage_tests::{Delivery, Host, Receiver, config};

const ROUNDS: usize = 10;
const CLIENTS: usize = 4;
/// How long a host lives after its first answer, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 20..400;
/// How many answered deliveries of a round are sent once more after the restart.
const REPEATED: usize = 10;
/// All that was delivered, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| {
        it.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {it}"))
    })
}

/// What senders know: each delivery, and what it was answered, if it was.
#[derive(Default)]
struct Senders {
    sent: AtomicUsize,
    answered: Mutex<BTreeMap<usize, (Delivery, Value)>>,
    unanswered: Mutex<Vec<usize>>,
}

/// The delivery of this number. Each has an id and a body of its own; one in eight has no policy.
fn delivery(number: usize) -> Delivery {
    let id = format!("crash-{number}");
    match number % 8 {
        0 | 1 => ticketed(Source::Standard, &id),
        2 => ticketed(Source::Sentry, &id),
        3 => ticketed(Source::Stripe, &id),
        4 | 5 => ticketed(Source::Github, &id),
        6 => ticketed(Source::Slack, &id),
        _ => Delivery::sample(Source::Standard, "contact.created", &id),
    }
}

fn wants_ticket(number: usize) -> bool {
    number % 8 != 7
}

impl Senders {
    /// One client: new deliveries, and now and then an old one, until the host is gone.
    fn send(&self, address: SocketAddr, mut random: StdRng, over: &AtomicBool) {
        while !over.load(Ordering::SeqCst) {
            let sent = self.sent.load(Ordering::SeqCst);
            let number = match random.random_bool(0.3) && 0 < sent {
                true => random.random_range(0..sent),
                false => self.sent.fetch_add(1, Ordering::SeqCst),
            };
            self.send_one(address, number);
        }
    }

    fn send_one(&self, address: SocketAddr, number: usize) {
        // Repeats are made of the same bytes: some samples hold the time.
        let known = self.answered.lock().unwrap().get(&number).cloned();
        let delivery = known
            .as_ref()
            .map_or_else(|| delivery(number), |(delivery, _)| delivery.clone());
        let Ok(answer) = deliver_to(address, &delivery) else {
            self.unanswered.lock().unwrap().push(number);
            return;
        };
        let answer = answer.expect(200).json();
        if let Some((_, first)) = known {
            assert_eq!(
                (&answer["event_id"], &answer["run_ids"]),
                (&first["event_id"], &first["run_ids"]),
                "{number}"
            );
            assert_eq!(answer["duplicate"], true, "{number} was answered before");
        }
        self.answered
            .lock()
            .unwrap()
            .entry(number)
            .or_insert((delivery, answer));
    }

    /// Keeps a host busy until it is killed.
    fn load(&self, host: &mut Host, random: &mut StdRng) {
        let (address, over) = (host.address(), AtomicBool::new(false));
        let life = Duration::from_millis(random.random_range(LIFE_MS));
        let before = self.answered.lock().unwrap().len();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let random = StdRng::seed_from_u64(random.random());
                scope.spawn(|| self.send(address, random, &over));
            }
            wait_within(PATIENCE, "the first answer", || {
                match self.answered.lock().unwrap().len() {
                    count if before < count => Ok(()),
                    count => Err(format!("{count} answered")),
                }
            });
            let end = Instant::now() + life;
            while Instant::now() < end {
                std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
            }
            host.kill();
            over.store(true, Ordering::SeqCst);
        });
    }

    /// Everything that was answered is in the database under the ids that were told.
    fn check_answered(&self, host: &Host) {
        let kept: BTreeMap<String, Kept> = host
            .database()
            .events()
            .into_values()
            .map(|it| (it.event_id.clone(), it))
            .collect();
        for (number, (_, answer)) in self.answered.lock().unwrap().iter() {
            let event_id = answer["event_id"]
                .as_str()
                .unwrap()
                .trim_start_matches("evt_");
            let event = kept
                .get(event_id)
                .unwrap_or_else(|| panic!("{number} was answered and is gone: {answer}"));
            let run_ids = answer["run_ids"].as_array().unwrap().iter();
            let run_ids: Vec<&str> = run_ids
                .map(|it| it.as_str().unwrap().trim_start_matches("run_"))
                .collect();
            assert_eq!(event.run_ids, run_ids, "{number}");
        }
    }

    /// What was not answered is sent again, as a provider does; and some of the rest.
    fn send_again(&self, host: &Host, random: &mut StdRng) {
        let mut numbers = std::mem::take(&mut *self.unanswered.lock().unwrap());
        let sent = self.sent.load(Ordering::SeqCst);
        numbers.extend((0..REPEATED).map(|_| random.random_range(0..sent)));
        for number in numbers {
            self.send_one(host.address(), number);
        }
        assert!(self.unanswered.lock().unwrap().is_empty());
    }
}

/// One event for each delivery; one ticket for each that should have one; nothing left over.
fn check_end(host: &Host, senders: &Senders) {
    let database = host.database();
    wait_within(PATIENCE, "the end of all work", || {
        match database.unfinished() {
            0 => Ok(()),
            left => Err(format!("{left} runs and actions left")),
        }
    });
    database.check();
    let sent = senders.sent.load(Ordering::SeqCst);
    let answered = senders.answered.lock().unwrap();
    assert_eq!(answered.len(), sent);
    let by_id: BTreeMap<String, Kept> = database
        .events()
        .into_values()
        .map(|it| (it.event_id.clone(), it))
        .collect();
    assert_eq!(by_id.len(), sent);
    for (number, (_, answer)) in answered.iter() {
        let event = &by_id[answer["event_id"]
            .as_str()
            .unwrap()
            .trim_start_matches("evt_")];
        assert_eq!(
            (event.run_ids.len(), event.tickets),
            (
                usize::from(wants_ticket(*number)),
                u64::from(wants_ticket(*number))
            ),
            "{number}"
        );
    }
    assert_eq!(
        database.count("SELECT count(*) FROM run WHERE state <> 'completed'"),
        0
    );
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
    let senders = Senders::default();
    for _ in 0..rounds {
        senders.load(&mut host, &mut random);
        host.restart();
        senders.check_answered(&host);
        senders.send_again(&host, &mut random);
    }
    check_end(&host, &senders);
    check_webhooks(&host, &receiver);
    eprintln!(
        "{} deliveries survived {rounds} kills",
        senders.sent.load(Ordering::SeqCst)
    );
}
