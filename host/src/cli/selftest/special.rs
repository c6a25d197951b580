//! What takes more than a file and an event: a redirect, a changed cache, a swap, a crash.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::cases::Special;
use super::guest::Guest;
use super::probe::{Probed, judged};
use super::server::{Server, at};
use super::site::{Site, integration_of};

/// Sleeps for half a second before it answers.
const SLEEPER: Guest = Guest::wasi(
    r#"
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#,
    "(call $block (call $after (i64.const 500000000)))",
);
/// Makes 16 letters of random bytes, logs them, traps if this is the first attempt (which stands at 100 of the
/// event), and gives them as its reason otherwise.
const GAMBLER: Guest = Guest::wasi(
    r#"
    (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
    (import "triage:policy/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))"#,
    "(local $i i32)
    (call $random (i64.const 16) (i32.const 3000))
    (loop
        (i32.store8
            (i32.add (i32.const 3100) (local.get $i))
            (i32.add (i32.const 97) (i32.and (i32.const 15)
                (i32.load8_u (i32.add (i32.load (i32.const 3000)) (local.get $i))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 16))))
    (call $log (i32.const 1) (i32.const 3100) (i32.const 16) (i32.const 0) (i32.const 0))
    (if (i32.eq (i32.load offset=100 (local.get $event)) (i32.const 1)) (then unreachable))
    (i32.store (i32.const 1052) (i32.const 3100)) (i32.store (i32.const 1056) (i32.const 16))",
);
/// Runs that are under way, or wait, when the server is killed.
const KILLED_RUNS: usize = 10;
/// Where compiled plugins are kept, beside the database.
const ARTEFACTS: &str = "triage.db.artefacts";
/// Artefacts of which a byte is changed, and as many that get another's content.
const CHANGED: usize = 4;
/// How long a request may take to come.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);
/// The most of a request that is read.
const REQUEST_BYTES_MAX: usize = 64 << 10;

impl Special {
    /// The plugin that it needs at the start; none where it needs one that asks for a webhook.
    pub(super) fn guest(self) -> Option<Guest> {
        match self {
            Self::Redirected => None,
            Self::Tampered => Some(Guest::that("")),
            Self::Differing => Some(GAMBLER),
            Self::Swapped | Self::Killed => Some(SLEEPER),
        }
    }

    /// Attempts that a run has.
    pub(super) fn attempts_max(self) -> usize {
        match self {
            Self::Differing | Self::Killed => 2,
            Self::Redirected | Self::Tampered | Self::Swapped => 1,
        }
    }

    /// Whether the server is started again by it.
    pub(super) fn restarts(self) -> bool {
        matches!(self, Self::Tampered | Self::Killed)
    }
}

/// What needs no restart.
pub(super) async fn tried(
    name: &'static str,
    special: Special,
    site: &Site,
    server: &Server,
) -> anyhow::Result<Probed> {
    match special {
        Special::Redirected => redirected(name, site, server).await,
        Special::Differing => differing(name, server).await,
        Special::Swapped => swapped(name, site, server).await,
        Special::Tampered | Special::Killed => anyhow::bail!("{special:?} needs a restart"),
    }
}

/// What ends the server and starts it again.
pub(super) async fn restarted(
    name: &'static str,
    special: Special,
    server: &mut Server,
) -> anyhow::Result<Probed> {
    match special {
        Special::Tampered => tampered(name, server).await,
        Special::Killed => killed(name, server).await,
        _ => anyhow::bail!("{special:?} needs no restart"),
    }
}

/// Answers a webhook with a redirect to an address that is not open. Nobody may come there.
async fn redirected(name: &'static str, site: &Site, server: &Server) -> anyhow::Result<Probed> {
    let open = TcpListener::from_std(site.open.try_clone()?)?;
    let location = format!("http://{}/", site.closed.local_addr()?);
    let event = format!("{name}.event");
    let run_id = server.deliver(&integration_of(29), &event, name).await?;
    let answered = tokio::time::timeout(REQUEST_PATIENCE, redirect(&open, &location));
    answered.await.context("no request came")??;
    let run = server.finished(&run_id).await?;
    let action = at(&run, "/actions/0");
    let has_come = site.closed.accept().is_ok();
    let reason = at(action, "/dead_reason").as_str().unwrap_or_default();
    let is_kept = !has_come && at(action, "/state") == "dead" && reason.contains("302");
    Ok(Probed {
        name,
        expected: "not_followed",
        seen: if is_kept { "not_followed" } else { "followed" }.to_owned(),
        contained: is_kept,
        detail: format!("a request came there: {has_come}; {action}"),
    })
}

async fn redirect(open: &TcpListener, location: &str) -> anyhow::Result<()> {
    let (mut stream, _) = open.accept().await?;
    let mut request = Vec::new();
    while request.len() < REQUEST_BYTES_MAX && !request.ends_with(b"}") {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// A plugin that draws its answer by lot draws the same in the second attempt, and decides once.
async fn differing(name: &'static str, server: &Server) -> anyhow::Result<Probed> {
    let event = format!("{name}.event");
    let mut drawn = Vec::new();
    let mut is_kept = true;
    for number in 0..2 {
        let id = format!("{name}-{number}");
        let run_id = server.deliver(&integration_of(30), &event, &id).await?;
        let run = server.finished(&run_id).await?;
        let attempts = at(&run, "/attempts");
        let reason = at(&run, "/decision/classification/reason").clone();
        is_kept &= at(attempts, "/0/class") == "trap"
            && at(attempts, "/1/class") == "decided"
            && at(attempts, "/2").is_null()
            && reason.as_str().is_some_and(|it| it.len() == 16)
            && *at(attempts, "/0/log/0/message") == reason
            && *at(attempts, "/1/log/0/message") == reason;
        drawn.push(reason);
    }
    Ok(Probed {
        name,
        expected: "decided",
        seen: if is_kept { "decided" } else { "differs" }.to_owned(),
        // The two runs are two draws, or it would not have been tried.
        contained: is_kept && drawn.first() != drawn.last(),
        detail: format!("{drawn:?}"),
    })
}

/// Replaces the plugin's file by one that traps, while a run is in it, and then removes it: the version that was
/// loaded last stays in force.
async fn swapped(name: &'static str, site: &Site, server: &Server) -> anyhow::Result<Probed> {
    let event = format!("{name}.event");
    let tenant = integration_of(30);
    let run_id = server.deliver(&tenant, &event, "swapped-before").await?;
    while at(&server.get(&format!("/v1/runs/{run_id}")).await?, "/state") == "queued" {
        tokio::task::yield_now().await;
    }
    let file = format!("{name}.wasm");
    let other = Guest::that("unreachable").component()?;
    server.folder.write(&file, &other)?;
    server
        .reconfigure(&site.config, |it| at(it, "/outcome") == "applied")
        .await?;
    let before = server.finished(&run_id).await?;
    fs::remove_file(server.folder.path(&file))?;
    server
        .reconfigure(&site.config, |it| at(it, "/outcome") == "refused")
        .await?;
    let run_id = server.deliver(&tenant, &event, "swapped-after").await?;
    let after = server.finished(&run_id).await?;
    // The server is to be started again.
    server.folder.write(&file, &other)?;
    let digest = |run: &Value| at(run, "/attempts/0/classifier_digest").clone();
    let is_another = digest(&before) != digest(&after);
    let (before, after) = (
        judged(name, "decided", &before),
        judged(name, "trap", &after),
    );
    let is_kept = before.contained && after.contained && is_another;
    Ok(Probed {
        name,
        expected: "decided",
        seen: if is_kept { "decided" } else { "mixed" }.to_owned(),
        contained: is_kept,
        detail: format!("before: {}; after: {}", before.detail, after.detail),
    })
}

/// Changes some artefacts and gives others the content of their neighbours. The next start compiles these again.
async fn tampered(name: &'static str, server: &mut Server) -> anyhow::Result<Probed> {
    let folder = fs::read_dir(server.folder.path(ARTEFACTS))?;
    let paths: Result<Vec<PathBuf>, _> = folder.map(|it| it.map(|it| it.path())).collect();
    let mut paths = paths?;
    paths.sort();
    let (damaged, others) = paths.split_at(CHANGED.min(paths.len()));
    let (foreign, _) = others.split_at(CHANGED.min(others.len()));
    for path in damaged {
        let mut bytes = fs::read(path)?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        fs::write(path, bytes)?;
    }
    let contents: Result<Vec<Vec<u8>>, _> = foreign.iter().map(fs::read).collect();
    for (path, bytes) in foreign.iter().zip(contents?.iter().cycle().skip(1)) {
        fs::write(path, bytes)?;
    }
    server.kill_and_restart()?;
    let log = fs::read_to_string(server.folder.path("serve.log"))?;
    let distrusted = log.matches("in the cache is not loaded").count();
    let event = format!("{name}.event");
    let run_id = server.deliver(&integration_of(27), &event, name).await?;
    let run = server.finished(&run_id).await?;
    let is_good = distrusted == 2 * CHANGED && at(&run, "/state") == "completed";
    Ok(Probed {
        name,
        expected: "recompiled",
        seen: if is_good { "recompiled" } else { "loaded" }.to_owned(),
        contained: is_good,
        detail: format!(
            "{distrusted} of {} were not loaded; the run is {}",
            2 * CHANGED,
            at(&run, "/state")
        ),
    })
}

/// Kills the server while runs are under way. Each is decided once, after the restart.
async fn killed(name: &'static str, server: &mut Server) -> anyhow::Result<Probed> {
    let mut runs = Vec::new();
    for number in 0..KILLED_RUNS {
        let id = format!("{name}-{number}");
        let event = format!("{name}.event");
        runs.push(server.deliver(&integration_of(30), &event, &id).await?);
    }
    server.kill_and_restart()?;
    let mut decided = 0;
    let mut last = Value::Null;
    for run_id in &runs {
        let run = server.finished(run_id).await?;
        let attempts = at(&run, "/attempts").as_array().into_iter().flatten();
        let decisions = attempts.filter(|it| at(it, "/class") == "decided").count();
        let is_decided = at(&run, "/state") == "completed" && decisions == 1;
        decided += usize::from(is_decided);
        if !is_decided {
            last = run;
        }
    }
    let is_kept = decided == KILLED_RUNS;
    Ok(Probed {
        name,
        expected: "decided",
        seen: if is_kept { "decided" } else { "lost" }.to_owned(),
        contained: is_kept,
        detail: format!("{decided} of {KILLED_RUNS} were decided once {last}"),
    })
}
