//! How long acknowledgements take while somebody makes it hard: 200 slow clients, guests that
//! compute for ever in every worker, retention that deletes, and all of it at once.
//!
//! Every phase has a fresh process and a copy of the same store, and gets deliveries at the same
//! modest rate. An attack that had no effect ends the bench: it must be seen that clients were
//! cut off, guests ended at their limit, and events deleted all the time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use triage_host::clock::Clock;
use triage_host::model::source::Source;
use triage_tests::binary;
use triage_tests::guest::{LOOP, classifier};

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, github_issues};
use common::flood::Flood;
use common::floors;
use common::host::{DATABASE, Host, count, folder};
use common::kept::{BODY_BYTES, Times, fill};
use common::load::Load;
use common::process::{Cost, Snapshot};
use common::report::{Bound, Report};
use common::slow::SlowClients;
use common::statistics::{Latencies, median};

/// Measured deliveries per second.
const PACE: f64 = 1_000.0;
/// Clients that send a byte now and then.
const SLOW_CLIENTS: usize = 200;
/// The integration whose events end in a loop, and its events per second.
const SPINNING: &str = "spinning";
const SPINNING_PACE: f64 = 200.0;
/// How long each of them computes.
const SPIN_MS: u32 = 100;
/// Retention deletes no more events in a second: batches of 16 with pauses of at least 1 ms.
const DELETED_PER_SECOND_MAX: f64 = 16_000.0;
/// Longer than slow clients take to settle.
const SETTLE: Duration = Duration::from_secs(20);
/// An attack that has no effect for this long has none.
const PATIENCE: Duration = Duration::from_secs(60);
/// Age of the events that are there at the start.
const OLD_MS: i64 = 10 * 24 * 3_600_000;

const SPUN: &str = "SELECT count(*) FROM attempt WHERE class = 'cpu_limit'";
/// Events are deleted in the order of their rows.
const DELETED: &str = "SELECT coalesce(min(seq), 1) - 1 FROM event";
const SPINS_LEFT: &str = "SELECT count(*) FROM run WHERE state IN ('queued', 'running')";
const OLD_LEFT: &str = "SELECT count(*) FROM event WHERE seq <= ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Quiet,
    SlowClients,
    Spinning,
    Retention,
    All,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Quiet,
        Self::SlowClients,
        Self::Spinning,
        Self::Retention,
        Self::All,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::SlowClients => "200 slow clients",
            Self::Spinning => "spinning guests",
            Self::Retention => "retention deletes",
            Self::All => "all three",
        }
    }

    fn has(self, attack: Self) -> bool {
        self == attack || self == Self::All
    }
}

/// What the attacks did up to one moment, or between two.
#[derive(Clone, Copy, Default)]
struct Effects {
    heads: u64,
    bodies: u64,
    spun: u64,
    deleted: u64,
}

impl Effects {
    fn since(self, before: Self) -> Self {
        Self {
            heads: self.heads - before.heads,
            bodies: self.bodies - before.bodies,
            spun: self.spun - before.spun,
            deleted: self.deleted - before.deleted,
        }
    }

    /// Whether each attack of the phase had an effect.
    fn shows(self, phase: Phase) -> bool {
        let missing = [
            (Phase::SlowClients, self.heads.min(self.bodies)),
            (Phase::Spinning, self.spun),
            (Phase::Retention, self.deleted),
        ];
        !missing.iter().any(|it| phase.has(it.0) && it.1 == 0)
    }

    fn line(self) -> String {
        format!(
            "cut off in a head {}, in a body {}; guests ended at their limit {}; events deleted {}",
            self.heads, self.bodies, self.spun, self.deleted
        )
    }
}

/// One phase of one round.
struct Sample {
    phase: Phase,
    latencies: Latencies,
    effects: Effects,
    cost: Cost,
}

impl Sample {
    fn p99_ms(&self) -> f64 {
        self.latencies.within_ms(0.99)
    }

    /// What the threads that run guests took, in cores.
    fn workers(&self) -> f64 {
        let threads = self.cost.threads.iter();
        threads.filter(|it| it.0 == "worker").map(|it| it.1).sum()
    }

    fn line(&self) -> String {
        let disturbed = if self.cost.is_disturbed() {
            "  disturbed"
        } else {
            ""
        };
        format!(
            "{:<18} p50 {:>6.2}  p99 {:>6.2}  max {:>6.1} ms  {}; workers {:.2} cores{disturbed}",
            self.phase.name(),
            self.latencies.within_ms(0.5),
            self.p99_ms(),
            self.latencies.max_ms(),
            self.effects.line(),
            self.workers(),
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
    let template = folder()?;
    let seconds = SETTLE + arguments.warm_up() + arguments.round;
    let needed = (seconds.as_secs_f64() * DELETED_PER_SECOND_MAX) as u64;
    let old = arguments.events.unwrap_or(needed);
    println!("making a store of {old} events that are old");
    let times = Times {
        until: Clock::System.now() - OLD_MS,
        over_ms: OLD_MS,
        count: old,
    };
    fill(&template.path().join(DATABASE), times)?;
    let mut samples = Vec::new();
    for round in 1..=arguments.rounds {
        for phase in Phase::ALL {
            let sample =
                measure(phase, template.path(), old, &arguments).with_context(|| phase.name())?;
            println!("round {round}  {}", sample.line());
            samples.push(sample);
        }
    }
    report(&samples).print();
    Ok(())
}

fn measure(phase: Phase, template: &Path, old: u64, arguments: &Arguments) -> Result<Sample> {
    let own = folder()?;
    fs::copy(template.join(DATABASE), own.path().join(DATABASE))?;
    let spinning = own.path().join("spinning.wat");
    fs::write(&spinning, classifier(LOOP))?;
    binary::build(&spinning, &spinning.with_extension("wasm"));
    // The copy is not to be written to the disk while the host flushes its own.
    rustix::fs::sync();
    let host = Host::start_in(own.path(), &Source::Github, &lines(phase))?;
    let address = host.server.address;
    let database = host.database()?;
    let path = Host::path(&Source::Github);

    let slow = phase
        .has(Phase::SlowClients)
        .then(|| SlowClients::start(address, &path, SLOW_CLIENTS));
    let mut flood = match phase.has(Phase::Spinning) {
        true => Some(Flood::start(address, SPINNING, SPINNING_PACE)?),
        false => None,
    };
    if let Some(slow) = &slow {
        slow.settle(SLOW_CLIENTS)?;
    }
    let effects = || effects(&database, slow.as_ref());
    wait_until(|| Ok(effects()?.shows(phase)))?;

    let mut requests = Requests::github(&path, &github_issues(BODY_BYTES)?)?;
    // Others than those of the events that are there.
    requests.seek(old);
    let mut load = Load::connect(address, CONNECTIONS, Host::is_new)?;
    load.pace(&mut requests, PACE, arguments.warm_up())?;
    let (before, snapshot) = (effects()?, Snapshot::take(host.server.pid())?);
    let (answered, _) = load.pace(&mut requests, PACE, arguments.round)?;
    let (cost, after) = (snapshot.until_now(host.server.pid())?, effects()?);
    let effects = after.since(before);
    ensure!(effects.shows(phase), "no attack: {}", effects.line());
    let left = count(&database, &format!("{OLD_LEFT}{old}"))?;
    ensure!(0 < left, "every old event was gone before the end");
    let left = count(&database, SPINS_LEFT)?;
    ensure!(
        !phase.has(Phase::Spinning) || 0 < left,
        "the workers had nothing left to do"
    );
    if let Some(flood) = &mut flood {
        flood.end()?;
    }
    drop((slow, database));
    host.server.stop()?;
    Ok(Sample {
        phase,
        latencies: answered.latencies,
        effects,
        cost,
    })
}

fn lines(phase: Phase) -> String {
    let days = if phase.has(Phase::Retention) {
        1
    } else {
        3_650
    };
    let integration = Host::integration(SPINNING, &Source::Sentry);
    // Spins to the end, however often it broke its limit before.
    format!(
        "[retention]\nevents = \"{days}d\"\n[quarantine]\nstrikes = 1000000\n{integration}\
         [plugins.spinning]\npath = \"spinning.wasm\"\n\
         [[policy]]\nname = \"spinning\"\ntriggers = [\"sentry.*\"]\nclassifier = \"spinning\"\n\
         on_failure = \"dead-letter\"\nattempts_max = 2\n\
         [policy.limits]\ncpu_ms = {SPIN_MS}\n"
    )
}

fn effects(database: &Connection, slow: Option<&SlowClients>) -> Result<Effects> {
    let slow = slow.map(SlowClients::counts);
    Ok(Effects {
        heads: slow.map_or(0, |it| it.heads),
        bodies: slow.map_or(0, |it| it.bodies),
        spun: count(database, SPUN)?,
        deleted: count(database, DELETED)?,
    })
}

fn wait_until(is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "no attack after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn report(samples: &[Sample]) -> Report {
    let mut report = Report::new("attack");
    let of = |phase: Phase| samples.iter().filter(move |it| it.phase == phase);
    for phase in Phase::ALL {
        let all = |share: f64| median(of(phase).map(|it| it.latencies.within_ms(share)));
        for (what, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            report.add(format!("{}, {what}", phase.name()), all(share), "ms");
        }
    }
    for phase in Phase::ALL.into_iter().skip(1) {
        let pairs = of(phase).zip(of(Phase::Quiet));
        report.judge(
            format!("{}, p99 at {PACE}/s against quiet", phase.name()),
            median(pairs.map(|(one, quiet)| one.p99_ms() / quiet.p99_ms())),
            "× quiet",
            Bound::AtMost(2.0),
            Bound::AtMost(1.3),
        );
    }
    for phase in Phase::ALL {
        if let Some(last) = of(phase).next_back() {
            report.limit(phase.name(), last.cost.shares());
            report.limit(format!("{}, meanwhile", phase.name()), last.effects.line());
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
