//! `triage selftest`: thirty things that a stranger's plugin can try, on this machine, against a
//! server of its own.
//!
//! The server is this program, started in a folder that is removed again, on a free port of this
//! machine only. Nothing else of the machine is touched, and no configuration is read.

mod cases;
mod guest;
mod neighbour;
mod probe;
mod refused;
mod report;
mod server;
mod site;
mod special;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;

use self::cases::Case;
use self::probe::Probed;
use self::report::{CaseReport, Memory, Neighbour, Report};
use self::server::Server;
use self::site::Site;
use super::failure::Failure;
use super::output::Output;
use super::{Context, wait_for};

/// How long memory may take to be given back.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether it was.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let is_watched = !output.is_json() && std::io::stderr().is_terminal();
    let report = wait_for(async {
        tokio::select! {
            // First, so that the signals are caught before anything is started.
            biased;
            error = stopped() => Err(error),
            report = tested(context, is_watched) => report,
        }
    })??;
    report::show(&report, output)?;
    output.raw().flush()?;
    match report.verdict() {
        None => Ok(()),
        Some(problem) => Err(anyhow!(problem).into()),
    }
}

/// Waits for a wish to end, so that what was started and written is taken away all the same.
async fn stopped() -> anyhow::Error {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    match signals {
        Err(error) => error.into(),
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
            anyhow!("stopped before all cases were tried")
        }
    }
}

/// Shows how far it is, where a person watches.
struct Progress(bool);

impl Progress {
    fn show(&self, what: &str) {
        if self.0 {
            // Nobody is left to be told that it could not be written.
            let _ = write!(std::io::stderr(), "\r\x1b[K{what}");
        }
    }
}

async fn tested(context: &Context<'_>, is_watched: bool) -> anyhow::Result<Report> {
    let began = Instant::now();
    let progress = Progress(is_watched);
    progress.show("making plugins and starting a server");
    let folder = server::Folder::new()?;
    let site = Site::new(&folder)?;
    // Time to see that it was stopped meanwhile; here and after the start nothing else waits.
    yield_now().await;
    let mut server = Server::start(folder, &site.config, context.clock.clone())?;
    yield_now().await;
    progress.show("the neighbour alone");
    let alone = neighbour::alone(&server).await?;
    let before_bytes = server.resident_bytes();
    let mut cases = Vec::new();
    for case in cases::all() {
        progress.show(&format!("{:>2} of 30: {}", case.number, case.name));
        cases.push(tried(case, &site, &mut server).await?);
    }
    let memory = settled(before_bytes, &server).await;
    // At last, as a new process begins with other memory.
    for (case, report) in cases::all().zip(&mut cases) {
        progress.show(&format!("{:>2} of 30: {}", case.number, case.name));
        restarted(case, report, &mut server).await?;
    }
    progress.show("");
    let neighbour = Neighbour::new(alone, &cases);
    Ok(Report {
        contained: cases.iter().filter(|it| it.contained).count(),
        of: cases.len(),
        cases,
        memory,
        neighbour,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// What of a case needs no restart, with the neighbour's events going on beside it.
async fn tried(
    case: &'static Case,
    site: &Site,
    server: &mut Server,
) -> anyhow::Result<CaseReport> {
    let began = Instant::now();
    let mut neighbour_ms = Vec::new();
    let work = async {
        let mut probes = probe::of(case, site, server).await?;
        for (name, special) in case.specials().filter(|(_, it)| !it.restarts()) {
            probes.push(special::tried(name, special, site, server).await?);
        }
        Ok(probes)
    };
    let probes = neighbour::while_going_on(server, &mut neighbour_ms, work).await;
    let probes = probes.unwrap_or_else(|error| vec![Probed::failed(case.name, &error)]);
    let mut report = CaseReport {
        number: case.number,
        name: case.name,
        held_by: case.held_by,
        contained: false,
        alive: true,
        ms: 0,
        memory_bytes: server.resident_bytes(),
        neighbour_ms,
        probes,
    };
    judge(&mut report, began, server).await?;
    Ok(report)
}

/// What of a case needs a restart.
async fn restarted(
    case: &'static Case,
    report: &mut CaseReport,
    server: &mut Server,
) -> anyhow::Result<()> {
    for (name, special) in case.specials().filter(|(_, it)| it.restarts()) {
        let began = Instant::now();
        let probed = special::restarted(name, special, server).await;
        let probed = probed.unwrap_or_else(|error| Probed::failed(name, &error));
        report.probes.push(probed);
        judge(report, began, server).await?;
    }
    Ok(())
}

/// Whether the host lives and all went as it must. A host that died is replaced, for the other cases.
async fn judge(report: &mut CaseReport, began: Instant, server: &mut Server) -> anyhow::Result<()> {
    report.alive &= server.is_alive().await;
    report.contained = report.alive && report.probes.iter().all(|it| it.contained);
    report.ms += probe::ms_since(began);
    if !report.alive {
        server.kill_and_restart()?;
    }
    Ok(())
}

/// The memory once it was given back, or is not.
async fn settled(before_bytes: Option<u64>, server: &Server) -> Memory {
    let began = Instant::now();
    loop {
        let memory = Memory::new(before_bytes, server.resident_bytes());
        if memory.kept || MEMORY_PATIENCE < began.elapsed() {
            return memory;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
