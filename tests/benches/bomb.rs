//! Plugins that are made to be hard to compile: how soon each is refused, and how long
//! acknowledgements take meanwhile.
//!
//! Two phases take turns, each with a fresh process: quiet, and with a new configuration that
//! names a bomb as soon as the one before was refused. Deliveries come at the same rate in both.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use triage_host::model::source::Source;
use triage_tests::{binary, bombs};

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, github_issues};
use common::host::{Host, folder};
use common::kept::BODY_BYTES;
use common::load::Load;
use common::report::{Bound, Report};
use common::statistics::{Latencies, median};

/// Measured deliveries per second.
const PACE: f64 = 1_000.0;
/// What the log says of each refusal.
const REFUSED: &str = "the new configuration is refused";
/// A refusal that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(60);

struct Sample {
    latencies: Latencies,
    /// How long each bomb took from the signal to the refusal.
    refusals: Vec<Duration>,
}

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let (mut quiet, mut bombed) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        for (name, samples, is_bombed) in
            [("quiet", &mut quiet, false), ("bombs", &mut bombed, true)]
        {
            let sample = measure(&arguments, is_bombed)?;
            println!(
                "round {round}  {name:<6} p50 {:>6.2}  p99 {:>6.2} ms  {} refused",
                sample.latencies.within_ms(0.5),
                sample.latencies.within_ms(0.99),
                sample.refusals.len(),
            );
            samples.push(sample);
        }
    }
    report(&quiet, &bombed).print();
    Ok(())
}

fn measure(arguments: &Arguments, is_bombed: bool) -> Result<Sample> {
    let own = folder()?;
    let text = own.path().join("bomb.wat");
    // Takes 20 s of computing, in less than 1 MiB.
    fs::write(&text, bombs::loads(3, 35_000))?;
    binary::build(&text, &own.path().join("bomb.wasm"));
    rustix::fs::sync();
    let source = Source::Github;
    let host = Host::start_in(own.path(), &source, "")?;
    let path = Host::path(&source);
    let mut requests = Requests::github(&path, &github_issues(BODY_BYTES)?)?;
    let mut load = Load::connect(host.server.address, CONNECTIONS, Host::is_new)?;
    load.pace(&mut requests, PACE, arguments.warm_up())?;
    let sample = if is_bombed {
        under_bombs(&host, &own, &mut load, &mut requests, arguments.round)?
    } else {
        Sample {
            latencies: load.pace(&mut requests, PACE, arguments.round)?.0.latencies,
            refusals: Vec::new(),
        }
    };
    host.server.stop()?;
    // Deleting a store disturbs the disk: not while another is measured.
    drop(own);
    rustix::fs::sync();
    Ok(sample)
}

/// Sends deliveries until bombs were tried for `time`, at least one to its end.
fn under_bombs(
    host: &Host,
    own: &TempDir,
    load: &mut Load,
    requests: &mut Requests,
    time: Duration,
) -> Result<Sample> {
    let is_over = AtomicBool::new(false);
    let (mut micros, is_over) = (Latencies::default(), &is_over);
    let refusals = std::thread::scope(|scope| {
        let bombs = scope.spawn(move || {
            let refusals = throw(host, own.path(), time);
            is_over.store(true, Ordering::Relaxed);
            refusals
        });
        while !is_over.load(Ordering::Relaxed) {
            let part = load.pace(requests, PACE, Duration::from_millis(500))?;
            micros.append(part.0.latencies);
        }
        bombs.join().unwrap()
    })?;
    Ok(Sample {
        latencies: micros,
        refusals,
    })
}

/// Names a bomb in the configuration, again and again; gives how long each took to be refused.
fn throw(host: &Host, folder: &Path, time: Duration) -> Result<Vec<Duration>> {
    let path = folder.join("triage.toml");
    let plain = fs::read_to_string(&path)?;
    let pid = Pid::from_raw(i32::try_from(host.server.pid())?).context("no process")?;
    let (start, mut refusals) = (Instant::now(), Vec::new());
    while refusals.is_empty() || start.elapsed() < time {
        // A configuration that differs from the one before, with the same bomb.
        let number = refusals.len();
        let bomb = format!("{plain}# {number}\n[plugins.bomb]\npath = \"bomb.wasm\"\n");
        fs::write(&path, bomb)?;
        kill_process(pid, Signal::HUP)?;
        let began = Instant::now();
        while host.server.log()?.matches(REFUSED).count() == number {
            ensure!(began.elapsed() < PATIENCE, "a bomb was not refused");
            std::thread::sleep(Duration::from_millis(5));
        }
        refusals.push(began.elapsed());
    }
    Ok(refusals)
}

fn report(quiet: &[Sample], bombed: &[Sample]) -> Report {
    let mut report = Report::new("bomb");
    for (name, samples) in [("quiet", quiet), ("bombs", bombed)] {
        for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
            let values = samples.iter().map(|it| it.latencies.within_ms(share));
            report.add(format!("acks, {name}, {what}"), median(values), "ms");
        }
    }
    let slowest = bombed.iter().flat_map(|it| &it.refusals).max();
    report.judge(
        "a bomb is refused within",
        slowest.map_or(f64::INFINITY, Duration::as_secs_f64),
        "s",
        Bound::AtMost(10.0),
        Bound::AtMost(5.0),
    );
    let p99 = |it: &Sample| it.latencies.within_ms(0.99);
    let ratios = quiet
        .iter()
        .zip(bombed)
        .map(|(one, other)| p99(other) / p99(one));
    report.judge(
        format!("acks at {PACE}/s beside bombs, p99 against quiet"),
        median(ratios),
        "× quiet",
        Bound::AtMost(2.0),
        Bound::AtMost(1.2),
    );
    report
}
