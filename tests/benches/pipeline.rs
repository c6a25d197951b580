//! From the POST to the committed decision with its actions: how many, how quickly.
//!
//! The real binary with the incident desk gets Sentry issues, each of which gives a ticket.
//! First at saturation, until the last run is over; then at a modest fixed rate, for the time
//! that a single event takes. A run that is not completed with its action ends the bench.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use triage_host::clock::Clock;
use triage_host::model::source::Source;
use triage_host::model::time::TimestampMs;

use common::arguments::{Arguments, CONNECTIONS};
use common::bodies::{Requests, id_text, sentry_issues};
use common::floors::{self, Floor};
use common::host::{Host, count, folder};
use common::load::{Load, Sent};
use common::process::{Cost, Snapshot};
use common::report::{Bound, Report};
use common::statistics::{Latencies, median};

/// Bytes of a body.
const BODY_BYTES: usize = 2_048;
/// Events per second of the paced part.
const PACE: f64 = 200.0;
/// How long the work that is left after the last POST may take.
const PATIENCE: Duration = Duration::from_secs(300);

const ENDS: &str = "
SELECT event.idempotency_key, run.finished_at, action.finished_at
  FROM event
  JOIN run    ON run.event_seq = event.seq
  JOIN action ON action.run_seq = run.seq";

/// One round at saturation.
struct Saturated {
    floor_per_second: f64,
    acks_per_second: f64,
    /// Runs completed while POSTs still came in, each second.
    beside_per_second: f64,
    decisions_per_second: f64,
    tickets_per_second: f64,
    cpu_us: f64,
    cost: Cost,
}

/// The paced part.
struct Paced {
    acks: Latencies,
    decisions: Latencies,
    tickets: Latencies,
}

fn main() -> Result<()> {
    if floors::serve_if_asked()? {
        return Ok(());
    }
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let mut rounds = Vec::new();
    for round in 1..=arguments.rounds {
        let saturated = saturate(&arguments)?;
        println!(
            "round {round}: floor {:.0}/s, acks {:.0}/s, decisions {:.0}/s ({:.0}/s beside the POSTs), tickets {:.0}/s, {:.0} µs CPU each",
            saturated.floor_per_second,
            saturated.acks_per_second,
            saturated.decisions_per_second,
            saturated.beside_per_second,
            saturated.tickets_per_second,
            saturated.cpu_us,
        );
        rounds.push(saturated);
    }
    let paced = pace(&arguments)?;
    report(&rounds, &paced).print();
    Ok(())
}

fn saturate(arguments: &Arguments) -> Result<Saturated> {
    let floor_per_second = floor(arguments)?;
    let host = Host::start(&Source::Sentry, Some("sentry.issue.created"))?;
    let mut requests = requests()?;
    let mut load = Load::connect(host.server.address, CONNECTIONS, Host::is_new)?;
    let warm_up = load.saturate(&mut requests, arguments.warm_up())?.count;
    host.wait_until_idle(PATIENCE)?;

    let database = host.database()?;
    let completed = |what: &str| {
        count(
            &database,
            &format!("SELECT count(*) FROM run WHERE outcome = 'acted' {what}"),
        )
    };
    let before = Snapshot::take(host.server.pid())?;
    let began = Clock::System.now();
    let acked = load.saturate(&mut requests, arguments.round)?;
    let posted = Clock::System.now();
    host.wait_until_idle(PATIENCE)?;
    let cost = before.until_now(host.server.pid())?;
    let done = completed("")?
        .checked_sub(warm_up)
        .context("runs of the warm-up are missing")?;
    ensure!(
        done == acked.count,
        "{} acknowledged, {done} completed with an action",
        acked.count
    );
    let tickets = count(
        &database,
        "SELECT count(*) FROM action WHERE state = 'delivered'",
    )?;
    ensure!(
        tickets == done + warm_up,
        "{} decided, {tickets} tickets",
        done + warm_up
    );

    let beside = completed(&format!("AND finished_at BETWEEN {began} AND {posted}"))?;
    let last = |table: &str| count(&database, &format!("SELECT max(finished_at) FROM {table}"));
    let per_second =
        |until: u64| Ok::<_, anyhow::Error>(done as f64 / seconds(began, i64::try_from(until)?));
    let saturated = Saturated {
        floor_per_second,
        acks_per_second: acked.per_second(),
        beside_per_second: beside as f64 / seconds(began, posted),
        decisions_per_second: per_second(last("run")?)?,
        tickets_per_second: per_second(last("action")?)?,
        cpu_us: cost.cpu_seconds * 1e6 / done as f64,
        cost,
    };
    drop(database);
    host.server.stop()?;
    Ok(saturated)
}

fn floor(arguments: &Arguments) -> Result<f64> {
    let folder = folder()?;
    let server = Floor::Bare.start(folder.path())?;
    let mut load = Load::connect(server.address, CONNECTIONS, |_| true)?;
    let mut requests = requests()?;
    load.saturate(&mut requests, arguments.warm_up())?;
    Ok(load.saturate(&mut requests, arguments.round)?.per_second())
}

fn pace(arguments: &Arguments) -> Result<Paced> {
    let host = Host::start(&Source::Sentry, Some("sentry.issue.created"))?;
    let mut requests = requests()?;
    let mut load = Load::connect(host.server.address, CONNECTIONS, Host::is_new)?;
    load.pace(&mut requests, PACE, arguments.warm_up())?;
    let (answered, sent) = load.pace(&mut requests, PACE, arguments.round)?;
    host.wait_until_idle(PATIENCE)?;
    let (decisions, tickets) = ends(&host, &sent)?;
    host.server.stop()?;
    Ok(Paced {
        acks: answered.latencies,
        decisions,
        tickets,
    })
}

/// How long each event took from its POST to its decision and to its ticket.
fn ends(host: &Host, sent: &[Sent]) -> Result<(Latencies, Latencies)> {
    let database = host.database()?;
    let mut statement = database.prepare(ENDS)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let ends: HashMap<String, (TimestampMs, TimestampMs)> = rows.collect::<Result<_, _>>()?;
    let (mut decided, mut ticketed) = (Vec::new(), Vec::new());
    for Sent { number, at } in sent {
        let (decision, ticket) = ends
            .get(&id_text(*number))
            .context("an event without a decision")?;
        decided.push(micros(*at, *decision)?);
        ticketed.push(micros(*at, *ticket)?);
    }
    Ok((Latencies::new(decided), Latencies::new(ticketed)))
}

fn requests() -> Result<Requests> {
    Requests::sentry(&Host::path(&Source::Sentry), &sentry_issues(BODY_BYTES)?)
}

fn seconds(from: TimestampMs, until: TimestampMs) -> f64 {
    (until - from) as f64 / 1_000.0
}

fn micros(from: TimestampMs, until: TimestampMs) -> Result<u32> {
    Ok(u32::try_from((until - from).max(0) * 1_000)?)
}

fn report(rounds: &[Saturated], paced: &Paced) -> Report {
    let mut report = Report::new("pipeline");
    let all = |value: fn(&Saturated) -> f64| median(rounds.iter().map(value));
    report.add("bare handler", all(|it| it.floor_per_second), "/s");
    report.add(
        "acks while POSTs come in",
        all(|it| it.acks_per_second),
        "/s",
    );
    report.add(
        "decisions while POSTs come in",
        all(|it| it.beside_per_second),
        "/s",
    );
    report.add(
        "decisions, first POST to last decision",
        all(|it| it.decisions_per_second),
        "/s",
    );
    report.add(
        "tickets, first POST to last ticket",
        all(|it| it.tickets_per_second),
        "/s",
    );
    report.add("CPU, POST to ticket", all(|it| it.cpu_us), "µs/event");
    report.judge(
        "decisions against bare",
        all(|it| it.decisions_per_second / it.floor_per_second),
        "× floor",
        Bound::AtLeast(0.20),
        Bound::AtLeast(0.30),
    );
    // Times in the database are whole milliseconds, taken just before their commit.
    for (what, latencies) in [
        ("ack", &paced.acks),
        ("decision", &paced.decisions),
        ("ticket", &paced.tickets),
    ] {
        report.add(
            format!("POST to {what} at {PACE}/s, p50"),
            latencies.within_ms(0.5),
            "ms",
        );
        report.add(
            format!("POST to {what} at {PACE}/s, p99"),
            latencies.within_ms(0.99),
            "ms",
        );
        report.add(
            format!("POST to {what} at {PACE}/s, max"),
            latencies.max_ms(),
            "ms",
        );
    }
    if let Some(last) = rounds.last() {
        report.limit("from the first POST to the last ticket", last.cost.shares());
    }
    if rounds.iter().any(|it| it.cost.is_disturbed()) {
        report.limit("disturbed", "the machine was shared with other work");
    }
    report
}
