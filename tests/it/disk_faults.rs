//! A disk that fills up, that cannot flush, that takes less than it is given: what was answered with
//! 200 is there, once; what was not is answered with 503; and when the disk is well again, so is the host.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use triage_host::model::source::Source;
use triage_tests::delivery::ticketed;
use triage_tests::faults::{Disk, Fault};
use triage_tests::senders::{Senders, number};
use triage_tests::wait::wait_within;
use triage_tests::{Delivery, Folder, Host, config, database, wait_until};

const CLIENTS: usize = 4;
/// Answers that are waited for while the disk is broken, and once it is whole again.
const ANSWERS: usize = 3 * CLIENTS;
/// How many deliveries of earlier rounds are sent once more.
const REPEATED: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// What SQLite writes to its log for one page of 8 KiB: a header of 24 bytes, and the page
/// (<https://sqlite.org/fileformat2.html#walformat>).
const FRAME_BYTES: u64 = 24 + 8192;
/// The log's own header.
const LOG_HEADER_BYTES: u64 = 32;
/// Where the disk fills up if nobody says how many random places to try, in bytes from then on.
const FULL_AFTER: [u64; 7] = [
    0,
    1,
    LOG_HEADER_BYTES,
    LOG_HEADER_BYTES + 24,
    FRAME_BYTES - 1,
    3 * FRAME_BYTES + 24,
    20 * FRAME_BYTES + 4096,
];
/// The furthest random place: behind a checkpoint, which comes after 500 pages.
const FULL_AFTER_MAX: u64 = 1_500 * FRAME_BYTES;
/// Events in a full store: more than the host keeps keys of in memory, so that each commit also
/// writes older keys.
const OLD_EVENTS: u64 = 135_000;

/// A host on a disk that can break, with senders.
struct Bench {
    host: Host,
    disk: Disk,
    senders: Senders,
    random: StdRng,
    /// Events that no sender knows of.
    others: usize,
}

impl Bench {
    fn start(folder: Folder, name: &str, others: usize) -> Self {
        let seed = number("TRIAGE_FAULT_SEED").unwrap_or_else(rand::random);
        eprintln!("{name}: TRIAGE_FAULT_SEED={seed}");
        let disk = Disk::under(&folder);
        let mut host = Host::stopped_in(folder);
        host.allow_errors();
        host.environment = disk.environment();
        host.restart();
        Self {
            host,
            disk,
            senders: Senders::new(name),
            random: StdRng::seed_from_u64(seed),
            others,
        }
    }

    fn new(name: &str) -> Self {
        Self::start(folder(), name, 0)
    }

    /// Places at which the disk fills up.
    fn places(&mut self) -> Vec<u64> {
        match number("TRIAGE_FAULT_ROUNDS") {
            None => FULL_AFTER.to_vec(),
            Some(rounds) => (0..rounds)
                .map(|_| self.random.random_range(0..FULL_AFTER_MAX))
                .collect(),
        }
    }

    /// Breaks the disk under load, waits until that shows, does something, and mends it again.
    fn break_under_load(&mut self, fault: Fault, act: impl FnOnce(&mut Host)) {
        let Self {
            host,
            disk,
            senders,
            random,
            ..
        } = self;
        senders.while_sending(host.address(), CLIENTS, random, || {
            let answered = senders.answered();
            wait_for("answers", answered + 1, || senders.answered());
            let (failures, refused) = (disk.failures().len(), senders.refused());
            disk.set(fault);
            wait_for("failures", failures + 1, || disk.failures().len());
            wait_for("refusals", refused + ANSWERS, || senders.refused());
            act(host);
            disk.set(Fault::Sound);
        });
    }

    /// The host is well again by itself, and nothing is missing.
    fn check_recovered(&mut self) {
        let Self {
            host,
            senders,
            random,
            ..
        } = self;
        let answered = senders.answered();
        senders.while_sending(host.address(), CLIENTS, random, || {
            wait_for("answers", answered + ANSWERS, || senders.answered());
        });
        host.request("GET", "/readyz", &[], "").expect(200);
        senders.check_answered(host);
        senders.send_again(host, random, REPEATED);
    }

    fn check_end(&mut self) {
        self.senders.check_end(&self.host, self.others);
        self.host.stop();
        self.host.restart();
        self.senders.check_end(&self.host, self.others);
        self.senders
            .send_again(&self.host, &mut self.random, REPEATED);
    }
}

fn folder() -> Folder {
    Folder::new(&(config::integrations() + &config::desk()))
}

/// A folder whose database holds many events from earlier.
fn old_folder() -> Folder {
    let mut host = Host::start_in(folder());
    host.accept(&Delivery::sample(
        Source::Standard,
        "contact.created",
        "old",
    ));
    host.stop();
    database::fill(&host.folder.path("triage.db"), OLD_EVENTS - 1, 0);
    host.into_folder()
}

#[track_caller]
fn wait_for(what: &str, count: usize, look: impl Fn() -> usize) {
    wait_within(PATIENCE, &format!("{count} {what}"), || match look() {
        seen if count <= seen => Ok(()),
        seen => Err(format!("{seen}")),
    });
}

/// While nothing can be written: it lives, it shows what it has, and it tells forgers from senders.
fn check_half_alive(host: &Host) {
    host.request("GET", "/healthz", &[], "").expect(200);
    let events = host.json("/v1/events?limit=5");
    assert!(!events["items"].as_array().unwrap().is_empty());
    let forged = ticketed(Source::Github, "forged").without("x-hub-signature-256");
    host.deliver(&forged).expect(401);
    let refused = host
        .deliver(&Delivery::incident("while-broken"))
        .expect(503);
    assert_eq!(refused.json()["code"], "unavailable");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

#[test]
fn a_full_disk_loses_nothing_and_ingest_goes_on_when_there_is_space() {
    let mut bench = Bench::new("full");
    for after_bytes in bench.places() {
        eprintln!("full after {after_bytes} bytes");
        bench.break_under_load(Fault::Full { after_bytes }, |host| check_half_alive(host));
        bench.check_recovered();
    }
    bench.check_end();
}

#[test]
fn a_kill_on_a_full_disk_loses_nothing() {
    let mut bench = Bench::new("full-and-killed");
    for after_bytes in bench.places() {
        eprintln!("full after {after_bytes} bytes");
        bench.break_under_load(Fault::Full { after_bytes }, Host::kill);
        bench.host.restart();
        bench.check_recovered();
    }
    bench.check_end();
}

#[test]
fn a_disk_that_fills_up_while_old_keys_are_written_loses_nothing() {
    let mut bench = Bench::start(old_folder(), "full-of-keys", OLD_EVENTS as usize);
    for after_bytes in bench.places() {
        eprintln!("full after {after_bytes} bytes");
        bench.break_under_load(Fault::Full { after_bytes }, |host| check_half_alive(host));
        bench.check_recovered();
    }
    bench.check_end();
}

#[test]
fn a_database_that_cannot_grow_holds_up_nobody_while_its_log_can() {
    let mut bench = Bench::new("no-checkpoint");
    let Bench {
        host,
        disk,
        senders,
        random,
        ..
    } = &mut bench;
    disk.set_for(".db", Fault::Full { after_bytes: 0 });
    let mut large = 0;
    senders.while_sending(host.address(), CLIENTS, random, || {
        large = accept_until(host, disk, "write triage.db");
        let answered = senders.answered();
        wait_for("answers", answered + ANSWERS, || senders.answered());
    });
    assert_eq!(bench.senders.refused(), 0);
    bench.host.kill();
    bench.host.restart();
    bench.senders.check_answered(&bench.host);
    bench.disk.set(Fault::Sound);
    bench.others = large;
    bench.check_recovered();
    bench.check_end();
}

#[test]
fn a_database_that_could_not_be_flushed_is_made_whole_from_its_log() {
    let mut bench = Bench::new("no-database-flush");
    let Bench {
        host,
        disk,
        senders,
        random,
        ..
    } = &mut bench;
    disk.set_for(
        ".db",
        Fault::NoFlush {
            after: 0,
            times: Some(1),
        },
    );
    let mut large = 0;
    senders.while_sending(host.address(), CLIENTS, random, || {
        large = accept_until(host, disk, "fdatasync triage.db");
    });
    assert_eq!(bench.senders.refused(), 0);
    bench.host.stop();
    let log = bench.host.folder.path("triage.db-wal");
    assert!(log.exists(), "only the log is known to hold everything");
    bench.host.restart();
    bench.senders.check_answered(&bench.host);
    bench.others = large;
    bench.check_recovered();
    bench.check_end();
}

/// Sends deliveries large enough for the log to be moved after a few of them; says how many it took.
fn accept_until(host: &Host, disk: &Disk, failure: &str) -> usize {
    let mut large = 0;
    wait_within(PATIENCE, failure, || {
        large += 1;
        host.accept(&large_delivery(large));
        match disk.failures().iter().any(|it| it == failure) {
            true => Ok(()),
            false => Err(format!("none after {large}")),
        }
    });
    large
}

/// Half a megabyte that does not get smaller when it is packed.
fn large_delivery(number: usize) -> Delivery {
    let mut random = StdRng::seed_from_u64(number as u64);
    let noise: String = (0..500_000)
        .map(|_| char::from(random.random_range(b'0'..=b'z')))
        .filter(|it| it.is_ascii_alphanumeric())
        .collect();
    let body = format!("{{\"type\":\"contact.created\",\"data\":\"{noise}\"}}");
    Delivery::new(
        Source::Standard,
        "contact.created",
        &format!("large-{number}"),
        body,
    )
}

#[test]
fn a_disk_that_cannot_flush_gets_no_200() {
    let mut bench = Bench::new("no-flush");
    bench.break_under_load(
        Fault::NoFlush {
            after: 0,
            times: None,
        },
        |host| check_half_alive(host),
    );
    bench.check_recovered();
    bench.break_under_load(
        Fault::NoFlush {
            after: 3,
            times: None,
        },
        Host::kill,
    );
    bench.host.restart();
    bench.check_recovered();
    bench.check_end();
}

#[test]
fn a_flush_that_fails_once_loses_nothing_wherever_it_is() {
    let mut bench = Bench::new("one-flush");
    let rounds = number("TRIAGE_FAULT_ROUNDS").unwrap_or(10);
    for after in 0..rounds {
        let Bench {
            host,
            disk,
            senders,
            random,
            ..
        } = &mut bench;
        let failures = disk.failures().len();
        senders.while_sending(host.address(), CLIENTS, random, || {
            disk.set(Fault::NoFlush {
                after,
                times: Some(1),
            });
            wait_for("failures", failures + 1, || disk.failures().len());
        });
        bench.check_recovered();
    }
    bench.check_end();
}

#[test]
fn writes_that_are_cut_short_are_finished() {
    let mut bench = Bench::new("short");
    for bytes in [1000, 4096] {
        let Bench {
            host,
            disk,
            senders,
            random,
            ..
        } = &mut bench;
        let (answered, cut) = (senders.answered(), disk.failures().len());
        disk.set(Fault::ShortWrites { bytes });
        senders.while_sending(host.address(), CLIENTS, random, || {
            wait_for("answers", answered + ANSWERS, || senders.answered());
        });
        assert_eq!(disk.failures().get(cut).unwrap(), "short triage.db-wal");
    }
    assert_eq!(bench.senders.refused(), 0);
    bench.check_recovered();
    bench.check_end();
}

#[test]
fn a_host_that_cannot_write_is_not_ready_although_nobody_sends_anything() {
    let bench = Bench::new("not-ready");
    let ready = || bench.host.request("GET", "/readyz", &[], "");
    for fault in [
        Fault::Full { after_bytes: 0 },
        Fault::NoFlush {
            after: 0,
            times: None,
        },
    ] {
        ready().expect(200);
        bench.disk.set(fault);
        // A commit of the last second counts as well.
        wait_until("it is not ready", || match ready() {
            answer if answer.status == 503 => {
                assert_eq!(answer.json()["code"], "unavailable");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                Ok(())
            }
            answer => Err(answer.text()),
        });
        ready().expect(503);
        bench.host.request("GET", "/healthz", &[], "").expect(200);
        bench.disk.set(Fault::Sound);
        ready().expect(200);
    }
}

#[test]
fn a_host_does_not_start_on_a_full_disk_and_does_when_there_is_space() {
    let mut bench = Bench::new("full-at-start");
    let before = Delivery::sample(Source::Standard, "contact.created", "before");
    let answered = bench.host.accept(&before);
    for kill in [false, true] {
        if kill {
            bench.host.kill();
        } else {
            bench.host.stop();
        }
        bench.disk.set(Fault::Full { after_bytes: 0 });
        let log_bytes = bench.host.log().len();
        assert_eq!(bench.host.try_restart(), Err(String::new()));
        assert_eq!(bench.host.ended().code(), Some(1));
        wait_until("the complaint", || {
            let said = bench.host.log().split_off(log_bytes);
            let parts = [
                "error: cannot write beside triage.db",
                "No space left on device",
                "server.database",
            ];
            match parts.iter().all(|it| said.contains(it)) {
                true => Ok(()),
                false => Err(said),
            }
        });
        assert!(!bench.host.folder.path("triage.db.probe").exists());
        bench.disk.set(Fault::Sound);
        bench.host.restart();
        let repeat = bench.host.accept(&before);
        assert_eq!(
            (&repeat["event_id"], &repeat["duplicate"]),
            (&answered["event_id"], &true.into())
        );
    }
    bench.others = 1;
    bench.check_recovered();
    bench.check_end();
}
