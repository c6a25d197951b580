//! How long acknowledgements and decisions take while the version of the plugin that decides is
//! swapped a hundred times.
//!
//! Two phases take turns, each with a fresh process and store, and the same modest rate of deliveries.
//! Each swap must succeed, and each delivery must be decided.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_tests::{binary, http};

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, sentry_issues};
use common::decisions::decisions;
use common::host::{Host, folder};
use common::kept::BODY_BYTES;
use common::load::Load;
use common::report::{Bound, Report};
use common::statistics::{Latencies, median};

/// Measured deliveries per second.
const PACE: f64 = 500.0;
const SWAPS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

struct Sample {
    acks: Latencies,
    decisions: Latencies,
}

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let (mut still, mut swapped) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        for (name, samples, swaps) in [("still", &mut still, 0), ("swaps", &mut swapped, SWAPS)] {
            let sample = measure(&arguments, swaps)?;
            println!(
                "round {round}  {name}  ack p99 {:>6.2}  decision p99 {:>6.1} ms",
                sample.acks.within_ms(0.99),
                sample.decisions.within_ms(0.99),
            );
            samples.push(sample);
        }
    }
    report(&still, &swapped).print();
    Ok(())
}

fn measure(arguments: &Arguments, swaps: u32) -> Result<Sample> {
    let own = folder()?;
    let component = fs::read(binary::component("incident-desk"))?;
    fs::write(own.path().join("incidents.wasm"), &component)?;
    let other = own.path().join("other.wasm");
    // A custom section without a content: the same code under another digest.
    fs::write(&other, [&component[..], b"\0\x06\x05other"].concat())?;
    let lines = "[plugins.incidents]\npath = \"incidents.wasm\"\n[destinations.desk]\nkind = \"ticket\"\n\
         [[policy]]\nname = \"incidents\"\ntriggers = [\"sentry.*\"]\nclassifier = \"incidents\"\n\
         triager = \"incidents\"\n[policy.grants]\ndestinations = [\"desk\"]\n";
    let source = Source::Sentry;
    let host = Host::start_in(own.path(), &source, lines)?;
    let cli = |arguments: &[&str]| -> Result<Value> {
        let mut command = Command::new(binary::triage());
        command.arg("--json").args(arguments);
        let output = command.current_dir(own.path()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let token = text(
        &cli(&["token", "create", "bench", "--role", "admin"])?,
        "token",
    )?;
    let pushed = cli(&["plugin", "push", "other.wasm", "--name", "incidents"])?;
    let versions = [text(&pushed, "digest")?, "file".to_owned()];

    let path = Host::path(&source);
    let mut requests = Requests::sentry(&path, &sentry_issues(BODY_BYTES)?)?;
    let mut load = Load::connect(host.server.address, CONNECTIONS, Host::is_new)?;
    load.pace(&mut requests, PACE, arguments.warm_up())?;
    let url = format!(
        "http://{}/v1/plugins/incidents/activate",
        host.server.address
    );
    let (answered, sent) = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swap(&url, &token, &versions, swaps, arguments.round));
        let answered = load.pace(&mut requests, PACE, arguments.round)?;
        swapping.join().unwrap()?;
        Ok::<_, anyhow::Error>(answered)
    })?;
    host.wait_until_idle(PATIENCE)?;
    let decisions = decisions(&host.database()?, &sent)?;
    host.server.stop()?;
    Ok(Sample {
        acks: answered.latencies,
        decisions,
    })
}

/// Activates one version after the other, spread over `time`.
fn swap(url: &str, token: &str, versions: &[String], swaps: u32, time: Duration) -> Result<()> {
    let start = Instant::now();
    for (number, version) in (1..=swaps).zip(versions.iter().cycle()) {
        let bearer = ("authorization".to_owned(), format!("Bearer {token}"));
        let body = json!({ "version": version }).to_string().into_bytes();
        let answer = http::send("POST", url, &[bearer], body).map_err(anyhow::Error::msg)?;
        ensure!(answer.status == 200, "swap {number}: {answer:?}");
        let due = start + time * number / (swaps + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn text(value: &Value, member: &str) -> Result<String> {
    let text = value.get(member).and_then(Value::as_str);
    Ok(text
        .with_context(|| format!("no {member} in {value}"))?
        .to_owned())
}

fn report(still: &[Sample], swapped: &[Sample]) -> Report {
    let mut report = Report::new("swap");
    let acks = |it: &Sample| it.acks.within_ms(0.99);
    let decisions = |it: &Sample| it.decisions.within_ms(0.99);
    compare(&mut report, "acks", still, swapped, acks);
    compare(&mut report, "decisions", still, swapped, decisions);
    report
}

fn compare(
    report: &mut Report,
    what: &str,
    still: &[Sample],
    swapped: &[Sample],
    p99: impl Fn(&Sample) -> f64,
) {
    for (name, samples) in [("still", still), ("swaps", swapped)] {
        let p99 = median(samples.iter().map(&p99));
        report.add(format!("{what}, {name}, p99"), p99, "ms");
    }
    let ratios = still
        .iter()
        .zip(swapped)
        .map(|(one, other)| p99(other) / p99(one));
    report.judge(
        format!("{what} during {SWAPS} swaps, p99 against none"),
        median(ratios),
        "× still",
        Bound::AtMost(1.5),
        Bound::AtMost(1.1),
    );
}
