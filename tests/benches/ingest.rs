//! Durable acknowledgements: how many, how quickly, and against what they could cost at least.
//!
//! Four servers take turns, each with a fresh process and an empty store: a bare HTTP
//! handler, one that appends to a log with group flushes, and the host without and with a
//! policy. Every answer must be a 200 for a new event, and every acknowledged event must be in
//! the database afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

mod common;

use anyhow::{Context, Result, ensure};
use triage_host::model::source::Source;

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, github_issues};
use common::floors::{self, Floor};
use common::host::{Host, count, folder};
use common::load::{Check, Load};
use common::process::{Cost, Snapshot};
use common::report::{Bound, Report};
use common::server::Server;
use common::statistics::median;

/// Bytes of a body.
const BODY_BYTES: usize = 2_048;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Bare,
    Log,
    Host,
    HostWithPolicy,
}

impl Target {
    const ALL: [Self; 4] = [Self::Bare, Self::Log, Self::Host, Self::HostWithPolicy];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare handler",
            Self::Log => "raw log",
            Self::Host => "triage, no policy",
            Self::HostWithPolicy => "triage, one policy",
        }
    }
}

/// One server under one number of connections in one round.
struct Sample {
    target: Target,
    connections: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    cpu_us: f64,
    cost: Cost,
}

impl Sample {
    fn line(&self) -> String {
        let (name, connections) = (self.target.name(), self.connections);
        let (rate, cpu_us, memory) = (self.per_second, self.cpu_us, self.cost.peak_mib);
        let (p50, p99, max) = (self.p50_ms, self.p99_ms, self.max_ms);
        let disturbed = if self.cost.is_disturbed() {
            "  disturbed"
        } else {
            ""
        };
        format!(
            "{connections:>4} connections  {name:<18} {rate:>8.0} acks/s  p50 {p50:>6.2}  p99 {p99:>6.2}  \
             max {max:>6.1} ms  {cpu_us:>6.1} µs CPU each  {memory:>4.0} MiB{disturbed}",
        )
    }
}

fn main() -> Result<()> {
    if floors::serve_if_asked()? {
        return Ok(());
    }
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let mut samples = Vec::new();
    for round in 1..=arguments.rounds {
        for connections in arguments.connections.iter().copied() {
            for target in Target::ALL {
                let sample = measure(target, connections, &arguments)
                    .with_context(|| format!("{} with {connections} connections", target.name()))?;
                println!("round {round}  {}", sample.line());
                samples.push(sample);
            }
        }
    }
    report(&arguments, &samples).print();
    Ok(())
}

fn measure(target: Target, connections: usize, arguments: &Arguments) -> Result<Sample> {
    let triggers = match target {
        Target::Bare => return measure_floor(target, Floor::Bare, connections, arguments),
        Target::Log => return measure_floor(target, Floor::Log, connections, arguments),
        Target::Host => None,
        Target::HostWithPolicy => Some("github.issues.*"),
    };
    let host = Host::start(&Source::Github, triggers)?;
    let (sample, acknowledged) = load(target, &host.server, connections, Host::is_new, arguments)?;
    let database = host.database()?;
    let kept = count(&database, "SELECT count(*) FROM event")?;
    ensure!(
        kept == acknowledged,
        "{acknowledged} acknowledged, {kept} kept"
    );
    if target == Target::HostWithPolicy {
        let runs = count(&database, "SELECT count(*) FROM run")?;
        ensure!(
            runs == acknowledged,
            "{acknowledged} acknowledged, {runs} runs"
        );
    }
    host.server.stop()?;
    Ok(sample)
}

fn measure_floor(
    target: Target,
    floor: Floor,
    connections: usize,
    arguments: &Arguments,
) -> Result<Sample> {
    let folder = folder()?;
    let server = floor.start(folder.path())?;
    Ok(load(target, &server, connections, |_| true, arguments)?.0)
}

/// Gives the sample, and how many requests were acknowledged with those of the warm-up.
fn load(
    target: Target,
    server: &Server,
    connections: usize,
    check: Check,
    arguments: &Arguments,
) -> Result<(Sample, u64)> {
    let mut requests = Requests::github(&Host::path(&Source::Github), &github_issues(BODY_BYTES)?)?;
    let mut load = Load::connect(server.address, connections, check)?;
    let warm_up = load.saturate(&mut requests, arguments.warm_up())?;
    let before = Snapshot::take(server.pid())?;
    let answered = load.saturate(&mut requests, arguments.round)?;
    let cost = before.until_now(server.pid())?;
    let sample = Sample {
        target,
        connections,
        per_second: answered.per_second(),
        p50_ms: answered.latencies.within_ms(0.5),
        p99_ms: answered.latencies.within_ms(0.99),
        max_ms: answered.latencies.max_ms(),
        cpu_us: cost.cpu_seconds * 1e6 / answered.count as f64,
        cost,
    };
    Ok((sample, warm_up.count + answered.count))
}

fn report(arguments: &Arguments, samples: &[Sample]) -> Report {
    let mut report = Report::new("ingest");
    for connections in arguments.connections.iter().copied() {
        for target in Target::ALL {
            let all =
                |value: fn(&Sample) -> f64| median(of(samples, target, connections).map(value));
            let name = |what: &str| format!("{}, {connections} connections, {what}", target.name());
            report.add(name("acks"), all(|it| it.per_second), "/s");
            report.add(name("p50"), all(|it| it.p50_ms), "ms");
            report.add(name("p99"), all(|it| it.p99_ms), "ms");
            report.add(name("max"), all(|it| it.max_ms), "ms");
            report.add(name("CPU"), all(|it| it.cpu_us), "µs/ack");
            report.add(name("peak memory"), all(|it| it.cost.peak_mib), "MiB");
        }
    }
    for connections in arguments.connections.iter().copied() {
        for target in [Target::Host, Target::HostWithPolicy] {
            let rate = ratio(samples, target, Target::Bare, connections, |it| {
                it.per_second
            });
            let p99 = ratio(samples, target, Target::Log, connections, |it| it.p99_ms);
            let rate_name = format!(
                "{}, {connections} connections, acks against bare",
                target.name()
            );
            let p99_name = format!(
                "{}, {connections} connections, p99 against raw log",
                target.name()
            );
            if connections == CONNECTIONS && target == Target::Host {
                report.judge(
                    rate_name,
                    rate,
                    "× floor",
                    Bound::AtLeast(0.30),
                    Bound::AtLeast(0.48),
                );
                report.judge(
                    p99_name,
                    p99,
                    "× log",
                    Bound::AtMost(10.0),
                    Bound::AtMost(3.0),
                );
            } else {
                report.add(rate_name, rate, "× floor");
                report.add(p99_name, p99, "× log");
            }
        }
    }
    for target in Target::ALL {
        if let Some(last) = of(samples, target, CONNECTIONS).last() {
            let what = format!("{}, {CONNECTIONS} connections", target.name());
            report.limit(what, last.cost.shares());
        }
    }
    let disturbed = samples.iter().filter(|it| it.cost.is_disturbed()).count();
    if 0 < disturbed {
        let text = format!(
            "{disturbed} of {} measurements shared the machine with other work",
            samples.len()
        );
        report.limit("disturbed", text);
    }
    report
}

fn of(
    samples: &[Sample],
    target: Target,
    connections: usize,
) -> impl DoubleEndedIterator<Item = &Sample> {
    samples
        .iter()
        .filter(move |it| it.target == target && it.connections == connections)
}

/// The median of the rounds' ratios: what disturbs a round disturbs both sides of its ratio.
fn ratio(
    samples: &[Sample],
    target: Target,
    to: Target,
    connections: usize,
    value: fn(&Sample) -> f64,
) -> f64 {
    let pairs = of(samples, target, connections).zip(of(samples, to, connections));
    median(pairs.map(|(one, other)| value(one) / value(other)))
}
