//! `kill -9` at every step between a socket and a commit, and behind it: what was answered is there,
//! once, everything is finished, and nothing is done twice.
//!
//! Where the random kills of `crash.rs` seldom come, these come for certain: a point that is not
//! reached fails its test.

use std::os::unix::process::ExitStatusExt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use triage_host::fail_point::{Point, VARIABLE};
use triage_host::model::source::Source;
use triage_tests::senders::{Senders, number};
use triage_tests::{Delivery, Folder, Host, config, database, wait_until};

const CLIENTS: usize = 4;
/// How often each point is killed at, if nobody says so.
const ROUNDS: u64 = 1;
/// More than the host keeps keys of in memory.
const OLD_EVENTS: u64 = 135_000;
/// Events that bring at least one more block of keys out of memory.
const KEYS_OF_A_BLOCK: u64 = 1_000;
/// Longer than events are kept if nobody says so, in milliseconds.
const TOO_OLD_MS: i64 = 40 * 86_400_000;
/// What has a ticket opened by the one plugin that is loaded here.
const SOURCES: [Source; 4] = [
    Source::Standard,
    Source::Sentry,
    Source::Github,
    Source::Slack,
];

/// How often a point may be passed before, at most: it must be reached in one life of a host.
fn nth_max(point: Point) -> u64 {
    match point {
        Point::HeadRead | Point::BodyRead | Point::Verified | Point::AnswerReady => 40,
        Point::WriteQueued => 60,
        Point::GroupBegun | Point::GroupApplied | Point::GroupCommitted | Point::GroupTold => 20,
        Point::KeysWritten | Point::KeysCommitted => 1,
        Point::RunsClaimed | Point::ActionsClaimed => 4,
        Point::RunEvaluated | Point::RunFinished => 12,
        Point::ActionsPerformed | Point::ActionsFinished => 4,
        Point::OldEventsDeleted => 40,
        Point::BatchDeleted => 8,
    }
}

fn rounds() -> u64 {
    number("TRIAGE_CRASH_ROUNDS").unwrap_or(ROUNDS)
}

/// A host that is killed again and again.
struct Bench {
    host: Host,
    random: StdRng,
    /// Events of earlier senders.
    others: usize,
}

impl Bench {
    fn new() -> Self {
        let seed = number("TRIAGE_CRASH_SEED").unwrap_or_else(rand::random);
        eprintln!("TRIAGE_CRASH_SEED={seed}");
        let folder = Folder::new(&(config::integrations() + &config::incidents()));
        Self {
            host: Host::stopped_in(folder),
            random: StdRng::seed_from_u64(seed),
            others: 0,
        }
    }

    /// Fills the store, which has no other events yet.
    fn fill(&mut self, count: u64, age_ms: i64) {
        if self.others == 0 {
            self.host.restart();
            let first = Delivery::sample(Source::Standard, "contact.created", "first");
            self.host.accept(&first);
            self.host.stop();
            self.others = 1;
        }
        database::fill(&self.host.folder.path("triage.db"), count, age_ms);
        self.others += usize::try_from(count).unwrap();
    }

    /// Kills at each of these points, and looks what became of everything.
    fn kill_at_each(&mut self, points: &[Point]) {
        (0..rounds()).for_each(|round| self.kill_at_each_once(points, round));
    }

    fn kill_at_each_once(&mut self, points: &[Point], round: u64) {
        for point in points {
            let nth = self.random.random_range(1..=nth_max(*point));
            self.kill_at(*point, nth, &format!("{}-{round}", point.name()));
        }
    }

    fn kill_at(&mut self, point: Point, nth: u64, name: &str) {
        eprintln!("{VARIABLE}={}:{nth}", point.name());
        let senders = Senders::of(name, &SOURCES);
        let Self {
            host,
            random,
            others,
        } = self;
        host.environment = vec![(
            VARIABLE.to_owned(),
            format!("{}:{nth}", point.name()).into(),
        )];
        // It may be killed before it listens: what the last one left is resumed then.
        let status = match host.try_restart() {
            Err(_) => host.ended(),
            Ok(()) => {
                let mut status = None;
                senders.while_sending(host.address(), CLIENTS, random, || {
                    status = Some(host.ended());
                });
                status.unwrap()
            }
        };
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "{}:{nth}: {status}\n{}",
            point.name(),
            host.log()
        );
        host.environment.clear();
        host.restart();
        senders.check_answered(host);
        senders.repeat_all(host);
        senders.check_end(host, *others);
        *others += senders.sent();
        host.stop();
    }
}

#[test]
fn a_kill_between_the_socket_and_the_answer_loses_nothing_and_doubles_nothing() {
    Bench::new().kill_at_each(&[
        Point::HeadRead,
        Point::BodyRead,
        Point::Verified,
        Point::WriteQueued,
        Point::GroupBegun,
        Point::GroupApplied,
        Point::GroupCommitted,
        Point::GroupTold,
        Point::AnswerReady,
    ]);
}

#[test]
fn a_kill_between_a_claim_and_its_result_loses_nothing_and_doubles_nothing() {
    Bench::new().kill_at_each(&[
        Point::RunsClaimed,
        Point::RunEvaluated,
        Point::RunFinished,
        Point::ActionsClaimed,
        Point::ActionsPerformed,
        Point::ActionsFinished,
    ]);
}

#[test]
fn a_kill_while_old_keys_leave_memory_loses_nothing_and_doubles_nothing() {
    let mut bench = Bench::new();
    bench.fill(OLD_EVENTS, 0);
    for round in 0..rounds() {
        for point in [Point::KeysWritten, Point::KeysCommitted] {
            bench.fill(KEYS_OF_A_BLOCK, 0);
            bench.kill_at_each_once(&[point], round);
        }
    }
}

#[test]
fn a_kill_while_old_events_are_deleted_leaves_whole_events_and_the_rest_is_deleted() {
    for point in [Point::OldEventsDeleted, Point::BatchDeleted] {
        let mut bench = Bench::new();
        bench.fill(1_000, TOO_OLD_MS);
        let nth = bench.random.random_range(1..=nth_max(point));
        bench.host.environment = vec![(
            VARIABLE.to_owned(),
            format!("{}:{nth}", point.name()).into(),
        )];
        // It deletes as soon as it starts, and may come to that before it listens.
        let _ = bench.host.try_restart();
        assert_eq!(bench.host.ended().signal(), Some(Signal::KILL.as_raw()));
        bench.host.environment.clear();
        bench.host.database().check();
        bench.host.restart();
        wait_until("the end of old events", || {
            match bench.host.database().count("SELECT count(*) FROM event") {
                0 => Ok(()),
                left => Err(format!("{left} left")),
            }
        });
        bench.host.database().check();
        let first = Delivery::sample(Source::Standard, "contact.created", "first");
        assert_eq!(bench.host.accept(&first)["duplicate"], false);
    }
}

#[test]
fn every_point_is_killed_at() {
    // A new point does not compile without a number here, and must then stand in a test above.
    let tests = include_str!("kill_matrix.rs");
    for point in Point::ALL {
        let uses = tests.matches(&format!("Point::{point:?}")).count();
        assert!(2 <= uses, "no test kills at {point:?}");
    }
}

#[test]
fn a_host_does_not_start_with_a_point_that_there_is_not() {
    let mut host = Host::stopped_in(Folder::new(""));
    host.environment = vec![(VARIABLE.to_owned(), "nowhere:1".into())];
    assert_eq!(host.try_restart(), Err(String::new()));
    assert_eq!(host.ended().code(), Some(2));
}
