//! Senders that remember what they were told, to compare it with what a host kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use triage_host::model::source::Source;

use crate::database::Kept;
use crate::delivery::ticketed;
use crate::host::deliver_to;
use crate::wait::wait_within;
use crate::{Delivery, Host};

/// All that was delivered, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many of the deliveries of [`Senders::keep_sending`] were sent before.
const REPEATS: f64 = 0.3;

/// A number that an environment variable gives, such as how often to repeat a test.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| {
        it.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {it}"))
    })
}

/// How a delivery went.
#[derive(Clone, Debug, PartialEq)]
pub enum Went {
    /// 200, with the answer.
    Kept(Value),
    /// 429 or 503, with a time to try again.
    Refused(u16),
    /// No whole answer.
    Broken(String),
}

/// What senders know: each delivery, and what it was answered, if it was.
pub struct Senders {
    name: String,
    sources: Vec<Source>,
    sent: AtomicUsize,
    made: Mutex<BTreeMap<usize, Delivery>>,
    answered: Mutex<BTreeMap<usize, Value>>,
    /// Sent and not known to be kept.
    open: Mutex<BTreeSet<usize>>,
    refused: AtomicUsize,
}

/// One in so many deliveries has no policy.
const UNROUTED: usize = 8;

fn wants_ticket(number: usize) -> bool {
    number % UNROUTED != UNROUTED - 1
}

fn event_id(answer: &Value) -> &str {
    answer["event_id"]
        .as_str()
        .unwrap()
        .trim_start_matches("evt_")
}

impl Senders {
    /// Senders whose deliveries have ids that begin with this name, of all sources.
    pub fn new(name: &str) -> Self {
        Self::of(name, &Source::BUILT_IN)
    }

    /// The same of some sources.
    pub fn of(name: &str, sources: &[Source]) -> Self {
        Self {
            name: name.to_owned(),
            sources: sources.to_vec(),
            sent: AtomicUsize::new(0),
            made: Mutex::default(),
            answered: Mutex::default(),
            open: Mutex::default(),
            refused: AtomicUsize::new(0),
        }
    }

    /// How many different deliveries were sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many of them were answered with 200.
    pub fn answered(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// How many answers said to try again later.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Sends one that was never sent.
    pub fn send_new(&self, address: SocketAddr) -> Went {
        self.send(address, self.sent.fetch_add(1, Ordering::SeqCst))
    }

    /// Sends one of those that were sent before; a new one where there is none.
    pub fn send_old(&self, address: SocketAddr, random: &mut StdRng) -> Went {
        match self.sent() {
            0 => self.send_new(address),
            sent => self.send(address, random.random_range(0..sent)),
        }
    }

    /// Sends the delivery of this number, and checks that the answer fits to an earlier one.
    pub fn send(&self, address: SocketAddr, number: usize) -> Went {
        // Repeats are made of the same bytes: some samples hold the time.
        let mut made = self.made.lock().unwrap();
        let entry = made.entry(number);
        let delivery = entry.or_insert_with(|| self.delivery(number)).clone();
        drop(made);
        let known = self.answered.lock().unwrap().get(&number).cloned();
        if known.is_none() {
            self.open.lock().unwrap().insert(number);
        }
        let answer = match deliver_to(address, &delivery) {
            Ok(answer) => answer,
            Err(error) => return Went::Broken(error),
        };
        if [429, 503].contains(&answer.status) {
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{answer:?}");
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Went::Refused(answer.status);
        }
        let answer = answer.expect(200).json();
        if let Some(first) = known {
            assert_eq!(
                (&answer["event_id"], &answer["run_ids"]),
                (&first["event_id"], &first["run_ids"]),
                "{number}"
            );
            assert_eq!(answer["duplicate"], true, "{number} was answered before");
        }
        self.open.lock().unwrap().remove(&number);
        let mut answered = self.answered.lock().unwrap();
        answered.entry(number).or_insert_with(|| answer.clone());
        Went::Kept(answer)
    }

    /// New deliveries, and now and then an old one, until `over` or until the host is gone.
    pub fn keep_sending(&self, address: SocketAddr, mut random: StdRng, over: &AtomicBool) {
        while !over.load(Ordering::SeqCst) {
            let went = match random.random_bool(REPEATS) {
                true => self.send_old(address, &mut random),
                false => self.send_new(address),
            };
            if let Went::Broken(_) = went {
                return;
            }
        }
    }

    /// So many clients keep sending while `act` is done.
    pub fn while_sending(
        &self,
        address: SocketAddr,
        clients: usize,
        random: &mut StdRng,
        act: impl FnOnce(),
    ) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..clients {
                let random = StdRng::seed_from_u64(random.random());
                scope.spawn(|| self.keep_sending(address, random, &over));
            }
            // Also when `act` panics, or the clients would go on for ever.
            let _over = SetOnDrop(&over);
            act();
        });
    }

    /// Everything that was answered is in the database under the ids that were told.
    pub fn check_answered(&self, host: &Host) {
        let kept = kept(host);
        for (number, answer) in self.answered.lock().unwrap().iter() {
            let event = kept
                .get(event_id(answer))
                .unwrap_or_else(|| panic!("{number} was answered and is gone: {answer}"));
            let run_ids = answer["run_ids"].as_array().unwrap().iter();
            let run_ids: Vec<&str> = run_ids
                .map(|it| it.as_str().unwrap().trim_start_matches("run_"))
                .collect();
            assert_eq!(event.run_ids, run_ids, "{number}");
        }
    }

    /// What was not answered is sent again, as a provider does, and so many others.
    pub fn send_again(&self, host: &Host, random: &mut StdRng, others: usize) {
        let open = self.open.lock().unwrap().clone();
        for number in open {
            self.must_be_kept(self.send(host.address(), number));
        }
        for _ in 0..others {
            self.must_be_kept(self.send_old(host.address(), random));
        }
        assert!(self.open.lock().unwrap().is_empty());
    }

    /// The delivery of this number. Each has an id and a body of its own.
    fn delivery(&self, number: usize) -> Delivery {
        let id = format!("{}-{number}", self.name);
        match wants_ticket(number) {
            true => ticketed(self.sources[number % self.sources.len()].clone(), &id),
            false => Delivery::sample(Source::Standard, "contact.created", &id),
        }
    }

    /// Everything that was answered is sent again, and is the same event.
    pub fn repeat_all(&self, host: &Host) {
        for number in 0..self.sent() {
            self.must_be_kept(self.send(host.address(), number));
        }
        assert!(self.open.lock().unwrap().is_empty());
    }

    fn must_be_kept(&self, went: Went) {
        assert!(matches!(went, Went::Kept(_)), "{}: {went:?}", self.name);
    }

    /// Waits for the end of all work. Then: one event for each delivery, one ticket for each that
    /// should have one, nothing left over, and a sound file. `others` are events of somebody else.
    pub fn check_end(&self, host: &Host, others: usize) {
        let database = host.database();
        wait_within(PATIENCE, "the end of all work", || {
            match database.unfinished() {
                0 => Ok(()),
                left => Err(format!("{left} runs and actions left")),
            }
        });
        database.check();
        let answered = self.answered.lock().unwrap();
        assert_eq!(answered.len(), self.sent());
        let by_id = kept(host);
        assert_eq!(by_id.len(), self.sent() + others);
        for (number, answer) in answered.iter() {
            let event = &by_id[event_id(answer)];
            let expected = usize::from(wants_ticket(*number));
            assert_eq!(
                (event.run_ids.len(), event.tickets),
                (expected, expected as u64),
                "{number}"
            );
        }
        assert_eq!(
            database.count("SELECT count(*) FROM run WHERE state <> 'completed'"),
            0
        );
    }

    /// The answers and the bytes of everything that was kept, in the order in which they were made.
    pub fn kept(&self) -> Vec<(Delivery, Value)> {
        let made = self.made.lock().unwrap();
        let answered = self.answered.lock().unwrap();
        let kept = answered.iter();
        kept.map(|(number, answer)| (made[number].clone(), answer.clone()))
            .collect()
    }
}

/// Becomes true at the end of a scope, also of one that panics: threads that look at it end then.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Every event by its id.
fn kept(host: &Host) -> BTreeMap<String, Kept> {
    let events = host.database().events().into_values();
    events.map(|it| (it.event_id.clone(), it)).collect()
}
