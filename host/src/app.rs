//! Builds everything, starts the loops, serves, and stops in order.
//!
//! Ingest and API have a runtime of their own: threads that spin in guests cannot
//! hold up an acknowledgement.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::actions::Actions;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::{self, HttpState};
use crate::live::{Live, Setup};
use crate::retention;
use crate::sandbox::Sandbox;
use crate::store::Store;
use crate::worker::Worker;

/// How long open requests may take once the host is asked to stop.
const DRAIN_REQUESTS: Duration = Duration::from_secs(10);
/// How long claimed runs and actions may take after that; what is left over is resumed at the next start.
const DRAIN_WORK: Duration = Duration::from_secs(20);
/// Threads that serve HTTP.
const HTTP_THREADS: usize = 2;

/// Serves until the process is told to stop (SIGTERM or Ctrl-C). Says on `out` where it listens.
///
/// # Errors
/// When a plugin, the database or the address cannot be used.
pub fn run(config: Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let clock = Clock::System;
    let sandbox = Sandbox::new()?;
    let mut setup = Setup::load(config, &sandbox, None)?;
    let store = Store::open(&setup.config.database)?;
    let http_runtime = runtime("http", HTTP_THREADS)?;
    let work_runtime = runtime(
        "worker",
        std::thread::available_parallelism().map_or(2, usize::from),
    )?;

    let listener = http_runtime
        .block_on(TcpListener::bind(setup.config.listen))
        .with_context(|| format!("server.listen: cannot listen on {}", setup.config.listen))?;
    let address = listener.local_addr()?;
    tell_port(&mut setup.config, address);
    let live = Arc::new(Live::new(setup));
    http_runtime.block_on(resume(&store, &clock))?;

    let (runs_wake, actions_wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stop_work, work_stopped) = watch::channel(false);
    let worker = Worker::new(
        live.clone(),
        store.clone(),
        sandbox,
        clock.clone(),
        runs_wake.clone(),
        actions_wake.clone(),
    );
    let actions = Actions::new(live.clone(), store.clone(), clock.clone(), actions_wake);
    let tidying = work_runtime.spawn(retention::run(
        store.clone(),
        live.clone(),
        clock.clone(),
        work_stopped.clone(),
    ));
    let working = work_runtime.spawn(worker.run(work_stopped.clone()));
    let acting = work_runtime.spawn(actions.run(work_stopped));

    let state = HttpState {
        live,
        store: store.clone(),
        clock,
        runs_wake,
        rates: Arc::default(),
    };
    // Before anybody is told: whoever reads the address may ask to stop at once.
    let terminated = http_runtime.block_on(async { signal(SignalKind::terminate()) })?;
    writeln!(out, "listening on http://{address}")?;
    out.flush()?;
    http_runtime.block_on(serve(listener, state, terminated))?;
    if let Err(error) = http_runtime.block_on(store.write_rejection_counts()) {
        tracing::warn!(error = %error, "some rejections are not counted");
    }
    tracing::info!("stopping: no new requests; finishing what was claimed");
    // Only fails when both loops are gone already.
    let _ = stop_work.send(true);
    let drained = work_runtime.block_on(async {
        timeout(DRAIN_WORK, async { tokio::join!(working, acting, tidying) }).await
    });
    if drained.is_err() {
        tracing::warn!("some runs did not end in time; they are resumed at the next start");
    }
    http_runtime.shutdown_timeout(Duration::from_secs(1));
    work_runtime.shutdown_timeout(Duration::from_secs(1));
    tracing::info!("stopped");
    Ok(())
}

/// Where the file leaves the port to the system, the addresses that the host tells name the real one.
fn tell_port(config: &mut Config, address: SocketAddr) {
    if config.public_url.port() == Some(0) {
        // Only fails for URLs without a host, which have no port either.
        let _ = config.public_url.set_port(Some(address.port()));
    }
    config.listen = address;
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .with_context(|| format!("cannot start the {name} threads"))
}

/// Takes up what an earlier process left: this one holds the database's lock, so every claim is lost.
async fn resume(store: &Store, clock: &Clock) -> anyhow::Result<()> {
    let now = clock.now();
    let runs = store.rescue_runs(now, i64::MAX).await?;
    let actions = store.release_actions(now).await?;
    if 0 < runs + actions {
        tracing::info!(
            runs,
            actions,
            "work that the last process did not finish is queued again"
        );
    }
    Ok(())
}

async fn serve(
    listener: TcpListener,
    state: HttpState,
    mut terminated: Signal,
) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut server = std::pin::pin!(http::serve(listener, http::router(state), stopped));
    tokio::select! {
        () = &mut server => return Ok(()),
        _ = terminated.recv() => (),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let _ = stop.send(true);
    if timeout(DRAIN_REQUESTS, server).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}
