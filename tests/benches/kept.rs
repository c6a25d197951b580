//! Ingest into a store that already holds millions of events, against an empty one.
//!
//! The large store is made once and used by later runs; it grows by what they send. A part of
//! the deliveries repeats kept events of every age: each must be answered with that event, and
//! each new one as new. The start until the first acknowledgement and the memory that the kept
//! events cost are measured with it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

mod common;

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use triage_host::clock::Clock;
use triage_host::model::source::Source;

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, github_issues, mixed};
use common::floors::{self, Floor};
use common::host::{Host, count, folder};
use common::kept::{BODY_BYTES, Kept};
use common::load::{Answered, Load, Sender};
use common::process::{Cost, Snapshot, resident_mib};
use common::report::{Bound, Report};
use common::server::Server;
use common::statistics::median;

/// Events in the large store.
const EVENTS: u64 = 5_000_000;
const EVENTS_QUICK: u64 = 1_000_000;
/// One delivery of so many is a repeat, where there are repeats.
const REPEAT_EVERY: u64 = 20;
/// Events sent before memory is looked at: enough to fill the caches of either store.
const FIXED_LOAD: u64 = 100_000;
/// Requests of different runs have different numbers: each begins at this, times the second.
const NUMBERS_PER_SECOND: u64 = 1_000_000;
/// Kept events must not become too old while the bench measures.
const RETENTION: &str = "[retention]\nevents = \"3650d\"\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Bare,
    Log,
    Empty,
    Kept,
}

impl Target {
    const ALL: [Self; 4] = [Self::Bare, Self::Log, Self::Empty, Self::Kept];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare handler",
            Self::Log => "raw log",
            Self::Empty => "empty store",
            Self::Kept => "kept store",
        }
    }
}

/// Load of one kind on one server in one round.
struct Stretch {
    target: Target,
    repeats: bool,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    cpu_us: f64,
    cost: Cost,
}

impl Stretch {
    fn new(target: Target, repeats: bool, answered: &Answered, cost: Cost) -> Self {
        Self {
            target,
            repeats,
            per_second: answered.per_second(),
            p50_ms: answered.latencies.within_ms(0.5),
            p99_ms: answered.latencies.within_ms(0.99),
            max_ms: answered.latencies.max_ms(),
            cpu_us: cost.cpu_seconds * 1e6 / answered.count as f64,
            cost,
        }
    }

    fn line(&self) -> String {
        let name = name(self.target, self.repeats);
        let (rate, cpu_us) = (self.per_second, self.cpu_us);
        let (p50, p99, max) = (self.p50_ms, self.p99_ms, self.max_ms);
        let disturbed = if self.cost.is_disturbed() {
            "  disturbed"
        } else {
            ""
        };
        format!(
            "{name:<24} {rate:>8.0} acks/s  p50 {p50:>6.2}  p99 {p99:>6.2}  max {max:>6.1} ms  \
             {cpu_us:>6.1} µs CPU each{disturbed}"
        )
    }
}

fn name(target: Target, repeats: bool) -> String {
    let with = if repeats { ", repeats" } else { "" };
    format!("{}{with}", target.name())
}

/// What a start on a store took.
struct Start {
    target: Target,
    /// Events in the store before.
    held: u64,
    /// From starting the process to the first 200.
    first_ack_ms: f64,
    /// Resident after that and the fixed load.
    resident_mib: f64,
}

#[derive(Default)]
struct Measured {
    stretches: Vec<Stretch>,
    starts: Vec<Start>,
    repeats: u64,
}

/// New deliveries and, where there are numbers to repeat, repeats among them.
struct Deliveries<'a> {
    requests: Requests,
    new: u64,
    sent: u64,
    repeatable: Range<u64>,
    repeats: u64,
    kept: Option<&'a Kept>,
}

impl<'a> Deliveries<'a> {
    fn new() -> Result<Self> {
        let second = Clock::System.now().unsigned_abs() / 1_000;
        Ok(Self {
            requests: Requests::github(&Host::path(&Source::Github), &github_issues(BODY_BYTES)?)?,
            new: second * NUMBERS_PER_SECOND,
            sent: second,
            repeatable: 0..0,
            repeats: 0,
            kept: None,
        })
    }

    /// From now on one of so many deliveries repeats one of these, whose ids are known where they are kept.
    fn repeat(&mut self, numbers: Range<u64>, kept: Option<&'a Kept>) {
        (self.repeatable, self.kept) = (numbers, kept);
    }
}

impl Sender for Deliveries<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> u64 {
        self.sent += 1;
        if !self.repeatable.is_empty() && self.sent.is_multiple_of(REPEAT_EVERY) {
            self.repeats += 1;
            let length = self.repeatable.end - self.repeatable.start;
            self.requests
                .seek(self.repeatable.start + mixed(self.sent) % length);
        } else {
            self.requests.seek(self.new);
            self.new += 1;
        }
        self.requests.next(out)
    }

    fn expects(&self, number: u64, body: &[u8]) -> bool {
        if self.repeatable.contains(&number) {
            Host::is_repeat(body, self.kept.map(|it| it.event_id(number)))
        } else {
            Host::is_new(body)
        }
    }
}

fn main() -> Result<()> {
    if floors::serve_if_asked()? {
        return Ok(());
    }
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let usual = if arguments.quick {
        EVENTS_QUICK
    } else {
        EVENTS
    };
    let kept = Kept::find_or_build(arguments.events.unwrap_or(usual))?;
    let mut measured = Measured::default();
    let mut deliveries = Deliveries::new()?;
    for round in 1..=arguments.rounds {
        for target in Target::ALL {
            let from = measured.stretches.len();
            measure(target, &kept, &mut deliveries, &arguments, &mut measured)
                .with_context(|| target.name())?;
            for stretch in &measured.stretches[from..] {
                println!("round {round}  {}", stretch.line());
            }
            if let Some(start) = measured.starts.last().filter(|it| it.target == target) {
                println!(
                    "round {round}  {:<24} {:>8.0} ms to the first ack, {:.0} MiB after {FIXED_LOAD} events",
                    target.name(),
                    start.first_ack_ms,
                    start.resident_mib
                );
            }
        }
    }
    report(&measured).print();
    Ok(())
}

fn measure<'a>(
    target: Target,
    kept: &'a Kept,
    deliveries: &mut Deliveries<'a>,
    arguments: &Arguments,
    measured: &mut Measured,
) -> Result<()> {
    let own = folder()?;
    let floor = match target {
        Target::Bare => Floor::Bare,
        Target::Log => Floor::Log,
        Target::Empty => {
            let host = || Host::start_in(own.path(), &Source::Github, RETENTION);
            // Once before, so that the database is there.
            host()?.server.stop()?;
            return measure_host(target, host, None, deliveries, arguments, measured);
        }
        Target::Kept => {
            let host = || Host::start_in(&kept.folder, &Source::Github, RETENTION);
            return measure_host(target, host, Some(kept), deliveries, arguments, measured);
        }
    };
    let server = floor.start(own.path())?;
    let mut load = Load::connect(server.address, CONNECTIONS, |_| true)?;
    let mut requests = deliveries.requests.clone();
    load.saturate(&mut requests, arguments.warm_up())?;
    let stretch = stretch(
        target,
        false,
        &server,
        &mut load,
        &mut requests,
        arguments.round,
    )?;
    measured.stretches.push(stretch);
    Ok(())
}

fn measure_host<'a>(
    target: Target,
    start: impl Fn() -> Result<Host>,
    kept: Option<&'a Kept>,
    deliveries: &mut Deliveries<'a>,
    arguments: &Arguments,
    measured: &mut Measured,
) -> Result<()> {
    deliveries.repeat(0..0, None);
    let first = deliveries.new;
    let began = Instant::now();
    let host = start()?;
    Load::connect(host.server.address, 1, |_| true)?.send(deliveries, 1)?;
    let first_ack_ms = began.elapsed().as_secs_f64() * 1e3;
    let database = host.database()?;
    // Nothing is ever deleted here, so rows are counted by the newest one.
    let held = count(&database, "SELECT max(seq) - 1 FROM event")?;

    let mut load = Load::connect(host.server.address, CONNECTIONS, |_| true)?;
    load.send(deliveries, FIXED_LOAD)?;
    let resident_mib = resident_mib(host.server.pid())?;
    let start = Start {
        target,
        held,
        first_ack_ms,
        resident_mib,
    };
    measured.starts.push(start);
    let time = arguments.round;
    let stretches = &mut measured.stretches;
    stretches.push(stretch(
        target,
        false,
        &host.server,
        &mut load,
        deliveries,
        time,
    )?);

    deliveries.repeat(kept.map_or(first..deliveries.new, Kept::numbers), kept);
    let repeats = deliveries.repeats;
    load.saturate(deliveries, arguments.warm_up())?;
    stretches.push(stretch(
        target,
        true,
        &host.server,
        &mut load,
        deliveries,
        time,
    )?);
    let repeats = deliveries.repeats - repeats;
    ensure!(0 < repeats, "nothing was repeated");
    if target == Target::Kept {
        measured.repeats += repeats;
    }

    let new = deliveries.new - first;
    let written = count(
        &database,
        &format!("SELECT count(*) FROM event WHERE {held} < seq"),
    )?;
    ensure!(
        written == new,
        "{new} new events acknowledged, {written} kept"
    );
    drop(database);
    host.server.stop()
}

fn stretch(
    target: Target,
    repeats: bool,
    server: &Server,
    load: &mut Load,
    sender: &mut impl Sender,
    time: Duration,
) -> Result<Stretch> {
    let before = Snapshot::take(server.pid())?;
    let answered = load.saturate(sender, time)?;
    let cost = before.until_now(server.pid())?;
    Ok(Stretch::new(target, repeats, &answered, cost))
}

fn report(measured: &Measured) -> Report {
    let mut report = Report::new("kept");
    for (what, start) in [
        (
            "first",
            measured.starts.iter().find(|it| it.target == Target::Kept),
        ),
        (
            "last",
            measured.starts.iter().rfind(|it| it.target == Target::Kept),
        ),
    ] {
        let held = start.map_or(f64::NAN, |it| it.held as f64);
        report.add(format!("events in the kept store, {what} start"), held, "");
    }
    report.add(
        "repeats of kept events, each recognised",
        measured.repeats as f64,
        "",
    );
    for (target, repeats) in [
        (Target::Bare, false),
        (Target::Log, false),
        (Target::Empty, false),
        (Target::Kept, false),
        (Target::Empty, true),
        (Target::Kept, true),
    ] {
        let all = |value: fn(&Stretch) -> f64| median(of(measured, target, repeats).map(value));
        let name = |what: &str| format!("{}, {what}", name(target, repeats));
        report.add(name("acks"), all(|it| it.per_second), "/s");
        report.add(name("p50"), all(|it| it.p50_ms), "ms");
        report.add(name("p99"), all(|it| it.p99_ms), "ms");
        report.add(name("max"), all(|it| it.max_ms), "ms");
        report.add(name("CPU"), all(|it| it.cpu_us), "µs/ack");
    }
    judge_rates(measured, &mut report);
    judge_starts(measured, &mut report);
    for (target, repeats) in [
        (Target::Empty, false),
        (Target::Kept, false),
        (Target::Kept, true),
    ] {
        if let Some(last) = of(measured, target, repeats).last() {
            report.limit(name(target, repeats), last.cost.shares());
        }
    }
    let all = &measured.stretches;
    let disturbed = all.iter().filter(|it| it.cost.is_disturbed()).count();
    if 0 < disturbed {
        let text = format!(
            "{disturbed} of {} measurements shared the machine with other work",
            all.len()
        );
        report.limit("disturbed", text);
    }
    report
}

fn judge_rates(measured: &Measured, report: &mut Report) {
    for repeats in [false, true] {
        let against = |to: (Target, bool), value: fn(&Stretch) -> f64| {
            let of_kept = of(measured, Target::Kept, repeats);
            let pairs = of_kept.zip(of(measured, to.0, to.1));
            median(pairs.map(|(one, other)| value(one) / value(other)))
        };
        let name = |what: &str| format!("{}, {what}", name(Target::Kept, repeats));
        report.judge(
            name("acks against the empty store"),
            against((Target::Empty, repeats), |it| it.per_second),
            "× empty",
            Bound::AtLeast(0.8),
            Bound::AtLeast(0.95),
        );
        report.add(
            name("p99 against the empty store"),
            against((Target::Empty, repeats), |it| it.p99_ms),
            "× empty",
        );
        report.judge(
            name("acks against bare"),
            against((Target::Bare, false), |it| it.per_second),
            "× floor",
            Bound::AtLeast(0.30),
            Bound::AtLeast(0.48),
        );
        report.judge(
            name("p99 against raw log"),
            against((Target::Log, false), |it| it.p99_ms),
            "× log",
            Bound::AtMost(10.0),
            Bound::AtMost(3.0),
        );
    }
}

fn judge_starts(measured: &Measured, report: &mut Report) {
    let all = |target: Target, value: fn(&Start) -> f64| {
        let of_target = measured.starts.iter().filter(|it| it.target == target);
        median(of_target.map(value))
    };
    for target in [Target::Empty, Target::Kept] {
        report.add(
            format!("{}, resident after {FIXED_LOAD} events", target.name()),
            all(target, |it| it.resident_mib),
            "MiB",
        );
    }
    report.add(
        "empty store, start until the first ack",
        all(Target::Empty, |it| it.first_ack_ms) / 1e3,
        "s",
    );
    report.judge(
        "kept store, start until the first ack",
        all(Target::Kept, |it| it.first_ack_ms) / 1e3,
        "s",
        Bound::AtMost(2.0),
        Bound::AtMost(0.3),
    );
    let more = all(Target::Kept, |it| it.resident_mib) - all(Target::Empty, |it| it.resident_mib);
    let held = all(Target::Kept, |it| it.held as f64);
    report.judge(
        "memory for each million of kept events",
        more / (held / 1e6),
        "MiB",
        Bound::AtMost(16.0),
        Bound::AtMost(4.0),
    );
}

fn of(
    measured: &Measured,
    target: Target,
    repeats: bool,
) -> impl DoubleEndedIterator<Item = &Stretch> {
    measured
        .stretches
        .iter()
        .filter(move |it| it.target == target && it.repeats == repeats)
}
