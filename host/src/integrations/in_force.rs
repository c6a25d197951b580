//! Puts what the store keeps in force while the host runs, and writes down which secrets are used.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Problem, join, remember_declared};
use crate::clock::Clock;
use crate::live::{Live, Setup};
use crate::model::time::TimestampMs;
use crate::store::{Store, StoreError};

/// How often the store is asked whether another process changed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is written down which secrets were used.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Puts the store's integrations and secrets in force, as they are now. Says how far it had got.
///
/// # Errors
/// When they cannot be read. What was in force stays so.
pub async fn refresh(live: &Live, store: &Store, now: TimestampMs) -> Result<u64, Problem> {
    // Whoever changes what is in force reads it first: one after the other.
    let _alone = live.change().await;
    let current = live.current();
    let mut config = current.config.clone();
    let revision = join(&mut config, store, now).await?;
    let setup = Setup::assemble(config, current.registry.clone(), Some(&current));
    live.refresh(setup.map_err(|it| Problem::Invalid(it.to_string()))?);
    Ok(revision)
}

/// Notices what other processes change in the store, until told to stop.
///
/// `revision` is what is in force at the start.
pub async fn run(
    store: Store,
    live: std::sync::Arc<Live>,
    clock: Clock,
    mut revision: u64,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written_at = Instant::now();
    let mut failing = false;
    while !*stopped.borrow() {
        tokio::select! {
            _ = ticks.tick() => (),
            _ = stopped.changed() => continue,
        }
        match look(&store, &live, &clock, revision).await {
            Ok(found) => (revision, failing) = (found, false),
            Err(problem) => {
                // It is tried again every second, and said once.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%problem, "changed integrations are not in force");
                }
            }
        }
        if WRITE_EVERY <= written_at.elapsed() {
            written_at = Instant::now();
            report(write(&store, clock.now()).await);
        }
    }
    report(store.write_secret_uses().await);
}

async fn look(store: &Store, live: &Live, clock: &Clock, revision: u64) -> Result<u64, Problem> {
    if store.integration_revision().await? == revision {
        return Ok(revision);
    }
    let revision = refresh(live, store, clock.now()).await?;
    remember_declared(&live.current().config, store, clock.now()).await?;
    tracing::info!(revision, "integrations of the store are in force");
    Ok(revision)
}

async fn write(store: &Store, now: TimestampMs) -> Result<(), StoreError> {
    store.write_secret_uses().await?;
    store.retire_ended_secrets(now).await
}

fn report(written: Result<(), StoreError>) {
    if let Err(error) = written {
        tracing::warn!(%error, "when secrets were used is not written down; it is tried again");
    }
}
