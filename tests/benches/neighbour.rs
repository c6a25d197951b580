//! How long one tenant's events take from the POST to the decision while another tenant makes it
//! hard: it floods with plugins that compute for ever, or has 100,000 runs of such plugins queued.
//!
//! Every phase has a fresh process and a store of its own, and gets the quiet tenant's deliveries at
//! the same modest rate. Guests of the other tenant must be seen to be stopped at their limit all
//! the time, and the queue must not be empty at the end, or the bench fails.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;
use triage_host::clock::Clock;
use triage_host::model::event::{Headers, NewEvent};
use triage_host::model::id::EventId;
use triage_host::model::run::NewRun;
use triage_host::model::source::Source;
use triage_host::store::Store;
use triage_tests::binary;
use triage_tests::guest::{LOOP, classifier};

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, sentry_issues};
use common::decisions::decisions;
use common::flood::Flood;
use common::floors;
use common::host::{DATABASE, Host, count, folder};
use common::kept::BODY_BYTES;
use common::load::Load;
use common::process::{Cost, Snapshot};
use common::report::{Bound, Report};
use common::statistics::{Latencies, median};

/// The quiet tenant's events per second.
const PACE: f64 = 100.0;
/// The other tenant, its integration and its policy.
const NOISY: &str = "noisy";
/// Its events per second while it floods.
const NOISY_PACE: f64 = 200.0;
/// How long each of its runs computes, in milliseconds.
const SPIN_MS: u32 = 100;
/// Its runs that are queued at the start of the last phase; a tenth for a quick look.
const QUEUED: u64 = 100_000;
/// Runs that are queued at the same time while the store is made.
const UNDER_WAY: u64 = 256;
/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

const SPUN: &str = "SELECT count(*) FROM attempt WHERE class = 'cpu_limit'";
const NOISE_LEFT: &str = "SELECT count(*) FROM run WHERE tenant = 'noisy' AND state = 'queued'";
const QUIET_LEFT: &str =
    "SELECT count(*) FROM run WHERE tenant = 'default' AND state IN ('queued', 'running')";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Alone,
    Flood,
    Queue,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Alone, Self::Flood, Self::Queue];

    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Flood => "beside a flood of spinning plugins",
            Self::Queue => "beside a queue of spinning plugins",
        }
    }
}

/// One phase of one round.
struct Sample {
    phase: Phase,
    acks: Latencies,
    decisions: Latencies,
    spun: u64,
    left: u64,
    cost: Cost,
}

impl Sample {
    fn p99_ms(&self) -> f64 {
        self.decisions.within_ms(0.99)
    }

    fn line(&self) -> String {
        let disturbed = if self.cost.is_disturbed() {
            "  disturbed"
        } else {
            ""
        };
        format!(
            "{:<35} decision p50 {:>6.1}  p99 {:>6.1}  max {:>6.1} ms; ack p99 {:>5.1} ms; spun {}, queued {}{disturbed}",
            self.phase.name(),
            self.decisions.within_ms(0.5),
            self.p99_ms(),
            self.decisions.max_ms(),
            self.acks.within_ms(0.99),
            self.spun,
            self.left,
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
        for phase in Phase::ALL {
            let sample = measure(phase, &arguments).with_context(|| phase.name())?;
            println!("round {round}  {}", sample.line());
            samples.push(sample);
        }
    }
    report(&samples).print();
    Ok(())
}

fn measure(phase: Phase, arguments: &Arguments) -> Result<Sample> {
    let own = folder()?;
    let spinning = own.path().join("spinning.wat");
    fs::write(&spinning, classifier(LOOP))?;
    binary::build(&spinning, &spinning.with_extension("wasm"));
    if phase == Phase::Queue {
        let queued = if arguments.quick { QUEUED / 10 } else { QUEUED };
        crowd(&own.path().join(DATABASE), queued)?;
    }
    // What was written is not to be flushed while the host flushes its own.
    rustix::fs::sync();
    let host = Host::start_in(own.path(), &Source::Sentry, &lines())?;
    let database = host.database()?;
    let mut flood = match phase {
        Phase::Flood => Some(Flood::start(host.server.address, NOISY, NOISY_PACE)?),
        Phase::Alone | Phase::Queue => None,
    };
    if phase != Phase::Alone {
        wait_until("no guest spins", || Ok(0 < count(&database, SPUN)?))?;
    }

    let path = Host::path(&Source::Sentry);
    let mut requests = Requests::sentry(&path, &sentry_issues(BODY_BYTES)?)?;
    let mut load = Load::connect(host.server.address, CONNECTIONS, Host::is_new)?;
    load.pace(&mut requests, PACE, arguments.warm_up())?;
    let (before, snapshot) = (count(&database, SPUN)?, Snapshot::take(host.server.pid())?);
    let (answered, sent) = load.pace(&mut requests, PACE, arguments.round)?;
    let cost = snapshot.until_now(host.server.pid())?;
    let spun = count(&database, SPUN)? - before;
    let left = count(&database, NOISE_LEFT)?;
    wait_until("runs of the quiet tenant are left", || {
        Ok(count(&database, QUIET_LEFT)? == 0)
    })?;
    ensure!(
        phase == Phase::Alone || (0 < spun && 0 < left),
        "no noise: {spun} spun, {left} queued"
    );
    if let Some(flood) = &mut flood {
        flood.end()?;
    }
    let decisions = decisions(&database, &sent)?;
    drop(database);
    host.server.stop()?;
    Ok(Sample {
        phase,
        acks: answered.latencies,
        decisions,
        spun,
        left,
        cost,
    })
}

fn lines() -> String {
    let component = binary::component("incident-desk");
    let noisy = Host::integration(NOISY, &Source::Sentry);
    format!(
        "[quarantine]\nstrikes = 1000000\n{noisy}tenant = \"{NOISY}\"\n\
         [plugins.incidents]\npath = {component:?}\n[plugins.spinning]\npath = \"spinning.wasm\"\n\
         [destinations.desk]\nkind = \"ticket\"\n\
         [[policy]]\nname = \"incidents\"\ntriggers = [\"sentry.*\"]\nclassifier = \"incidents\"\n\
         triager = \"incidents\"\n[policy.grants]\ndestinations = [\"desk\"]\n\
         [[policy]]\nname = \"{NOISY}\"\ntenant = \"{NOISY}\"\ntriggers = [\"sentry.*\"]\n\
         classifier = \"spinning\"\nattempts_max = 1\n[policy.limits]\ncpu_ms = {SPIN_MS}\n"
    )
}

/// Makes a database in which so many runs of the noisy tenant are queued.
fn crowd(database: &Path, queued: u64) -> Result<()> {
    Store::create(database)?;
    let store = Store::open(database)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let next = Arc::new(AtomicU64::new(0));
    let filled = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..UNDER_WAY {
            let (store, next) = (store.clone(), next.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if queued <= number {
                        return Ok::<_, anyhow::Error>(());
                    }
                    store.accept(noise(number)).await?;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    });
    // The last one to drop the store waits until it is closed.
    drop(runtime);
    drop(store);
    filled
}

fn noise(number: u64) -> NewEvent {
    let at = Clock::System.now() - 3_600_000;
    NewEvent {
        id: EventId::new(at),
        tenant: NOISY.to_owned(),
        integration_id: NOISY.to_owned(),
        source: Source::Sentry.as_str().to_owned(),
        event_type: "sentry.issue.created".to_owned(),
        idempotency_key: format!("queued-{number}"),
        content_key: None,
        received_at: at,
        occurred_at: None,
        headers: Headers::default(),
        body: Bytes::from(vec![b' '; BODY_BYTES]),
        runs: vec![NewRun {
            policy: NOISY.to_owned(),
            ..NewRun::default()
        }],
    }
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "{otherwise} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn report(samples: &[Sample]) -> Report {
    let mut report = Report::new("neighbour");
    let of = |phase: Phase| samples.iter().filter(move |it| it.phase == phase);
    // Times in the database are whole milliseconds, taken just before their commit.
    for phase in Phase::ALL {
        for (what, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let value = median(of(phase).map(|it| it.decisions.within_ms(share)));
            report.add(format!("{}, {what}", phase.name()), value, "ms");
        }
    }
    for phase in [Phase::Flood, Phase::Queue] {
        let pairs = of(phase).zip(of(Phase::Alone));
        report.judge(
            format!("{}, p99 against alone", phase.name()),
            median(pairs.map(|(one, alone)| one.p99_ms() / alone.p99_ms())),
            "× alone",
            Bound::AtMost(3.0),
            Bound::AtMost(1.5),
        );
    }
    for phase in Phase::ALL {
        if let Some(last) = of(phase).next_back() {
            report.limit(phase.name(), last.cost.shares());
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
