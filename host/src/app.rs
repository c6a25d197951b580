//! Builds everything, starts the loops, serves, and stops in order.
//!
//! What runs on which threads is said in `runtimes`.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::actions::Actions;
use crate::clock::Clock;
use crate::config::{Config, ConfigFile};
use crate::deployments::{Deployments, Problem};
use crate::http;
use crate::integrations;
use crate::live::{Live, Setup, SetupError};
use crate::reload::{Fixed, Known, Reloader};
use crate::retention;
use crate::runtimes::Runtimes;
use crate::store::Store;
use crate::worker::{Wakes, Worker};

/// How long open requests may take once the host is asked to stop.
const DRAIN_REQUESTS: Duration = Duration::from_secs(10);
/// How long claimed runs and actions may take after that; what is left over is resumed at the next start.
const DRAIN_WORK: Duration = Duration::from_secs(20);
/// How long threads may take to end after that, when they are not waited for any more.
const SHUT_DOWN: Duration = Duration::from_secs(1);
/// Serves until the process is told to stop (SIGTERM or Ctrl-C). Says on `out` where it listens.
///
/// Told a second time, it does not wait for what is under way. Whatever was acknowledged is on
/// disk by then, and taken up at the next start.
///
/// # Errors
/// When a plugin, the database or the address cannot be used.
pub fn run(
    file: ConfigFile<'_>,
    config: Config,
    known: Known,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let clock = Clock::System;
    let fixed = Fixed::of(&config);
    let store = Store::open(&config.database)?;
    let runtimes = Runtimes::start()?;
    let ([http, ..], work) = (&runtimes.http, &runtimes.work);
    let key = http.block_on(store.artefact_key())?;
    let deployments = Deployments::new(&config, store.clone(), &key)?;
    let mut setup = Setup::load(config, &deployments.sandbox, None)?;

    let listener = http
        .block_on(TcpListener::bind(setup.config.listen))
        .with_context(|| format!("server.listen: cannot listen on {}", setup.config.listen))?;
    let address = listener.local_addr()?;
    setup.config.listens_on(address);
    let scheme = setup.config.scheme();
    let joined = http.block_on(join_store(&mut setup, &deployments, &clock))?;
    let live = Arc::new(Live::new(setup, known.digest.clone(), clock.now()));
    http.block_on(resume(&store, &clock))?;

    let loops = Loops::start(&runtimes, &live, &deployments, joined, &clock);
    let state = Arc::new(http::Shared {
        live: live.clone(),
        store: store.clone(),
        clock: clock.clone(),
        runs_wake: loops.runs_wake.clone(),
        rates: Arc::default(),
        deployments: deployments.clone(),
    });
    let http_live = live.clone();
    let reloader = Reloader {
        file,
        live,
        store: store.clone(),
        deployments,
        clock,
        fixed,
        address,
        known,
    };
    // Before anybody is told: whoever reads the address may ask to stop at once.
    let (hangup, mut stopping) = http.block_on(async { listen_to_signals() })?;
    writeln!(out, "listening on {scheme}://{address}")?;
    out.flush()?;

    let mut serving = JoinSet::new();
    let server = http::serve(
        listener,
        http::router(state),
        http_live,
        runtimes.http.each_ref().map(|it| it.handle().clone()),
        stopping.told.clone(),
    );
    serving.spawn_on(server, http.handle());
    work.block_on(async {
        tokio::select! {
            () = reloader.run(hangup, stopping.told.clone()) => Ok(()),
            Some(ended) = serving.join_next() => ended.context("the server ended by itself"),
        }
    })?;
    work.block_on(stopping.finish(serving, &store, loops));
    stopping.shut_down(runtimes);
    tracing::info!("stopped");
    Ok(())
}

/// How far the store had got when it was joined with the file.
#[derive(Clone, Copy)]
struct Joined {
    integrations: u64,
    plugins: u64,
}

/// Adds what the store keeps to what the file declares.
async fn join_store(
    setup: &mut Setup,
    deployments: &Deployments,
    clock: &Clock,
) -> anyhow::Result<Joined> {
    let (store, now) = (&deployments.store, clock.now());
    let integrations = integrations::join(&mut setup.config, store, now).await?;
    integrations::remember_declared(&setup.config, store, now).await?;
    let plugins = match deployments.join(setup).await {
        // As it is said of the plugins in the files.
        Err(Problem::Plugins(problems)) => return Err(SetupError::Plugins(problems).into()),
        joined => joined?,
    };
    deployments.remember(setup, now).await;
    Ok(Joined {
        integrations,
        plugins,
    })
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

/// What works on events that were kept.
struct Loops {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    runs_wake: Arc<Notify>,
}

impl Loops {
    fn start(
        runtimes: &Runtimes,
        live: &Arc<Live>,
        deployments: &Deployments,
        joined: Joined,
        clock: &Clock,
    ) -> Self {
        let (store, sandbox) = (&deployments.store, &deployments.sandbox);
        let wakes = Wakes::default();
        let (stop, stopped) = watch::channel(false);
        let worker = Worker::new(
            live.clone(),
            store.clone(),
            sandbox.clone(),
            runtimes.guests.handle().clone(),
            clock.clone(),
            wakes.clone(),
        );
        let actions = Actions::new(live.clone(), store.clone(), clock.clone(), wakes.actions);
        let tidying = retention::run(store.clone(), live.clone(), clock.clone(), stopped.clone());
        let quarantines = deployments.clone().run(
            live.clone(),
            clock.clone(),
            joined.plugins,
            wakes.plugins,
            stopped.clone(),
        );
        let watching = integrations::run(
            store.clone(),
            live.clone(),
            clock.clone(),
            joined.integrations,
            stopped.clone(),
        );
        let (mut tasks, work) = (JoinSet::new(), &runtimes.work);
        tasks.spawn_on(quarantines, work.handle());
        tasks.spawn_on(watching, work.handle());
        tasks.spawn_on(worker.run(stopped.clone()), work.handle());
        tasks.spawn_on(actions.run(stopped), work.handle());
        tasks.spawn_on(tidying, work.handle());
        Self {
            tasks,
            stop,
            runs_wake: wakes.runs,
        }
    }
}

/// How the process is told to stop.
struct Stopping {
    /// Becomes true at the first signal.
    told: watch::Receiver<bool>,
    /// Becomes true at the second one.
    told_twice: watch::Receiver<bool>,
}

/// Listens to the signals that mean something here: SIGHUP, and those that end the process.
///
/// Must be called on a runtime that goes on.
fn listen_to_signals() -> std::io::Result<(Signal, Stopping)> {
    let hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = watch::channel(false);
    let (tell_twice, told_twice) = watch::channel(false);
    // Ends with its runtime.
    tokio::spawn(async move {
        for tell in [tell, tell_twice] {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            tell.send_replace(true);
        }
    });
    Ok((hangup, Stopping { told, told_twice }))
}

impl Stopping {
    /// Waits for the end of what was begun: first the requests, then what they and others left to do.
    async fn finish(&mut self, mut serving: JoinSet<()>, store: &Store, mut loops: Loops) {
        tracing::info!("stopping: no new requests; finishing what was claimed");
        let served = async { while serving.join_next().await.is_some() {} };
        if !self.wait(served, DRAIN_REQUESTS).await {
            tracing::warn!("some requests did not end in time");
            serving.abort_all();
        }
        if let Err(error) = store.write_rejection_counts().await {
            tracing::warn!(error = %error, "some rejections are not counted");
        }
        // Only fails when all loops are gone already.
        let _ = loops.stop.send(true);
        let worked = async { while loops.tasks.join_next().await.is_some() {} };
        if !self.wait(worked, DRAIN_WORK).await {
            tracing::warn!("some runs did not end in time; they are resumed at the next start");
        }
    }

    /// Whether something ends within a bound, and before somebody is in a hurry.
    async fn wait(&mut self, work: impl Future, bound: Duration) -> bool {
        tokio::select! {
            biased;
            _ = work => true,
            _ = self.told_twice.wait_for(|it| *it) => false,
            () = sleep(bound) => false,
        }
    }

    fn shut_down(&self, runtimes: Runtimes) {
        for runtime in runtimes
            .http
            .into_iter()
            .chain([runtimes.work, runtimes.guests])
        {
            if *self.told_twice.borrow() {
                runtime.shutdown_background();
            } else {
                runtime.shutdown_timeout(SHUT_DOWN);
            }
        }
    }
}
