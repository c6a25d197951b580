//! Claims runs, has them evaluated, and has the result written.
//!
//! Started by `app`. It meets `http` only in the store and in a wake-up. What an
//! attempt's outcome leads to is decided in `lifecycle`, what a plugin may ask for
//! in `check`.

mod attempt;
pub mod check;
mod route;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::fail_point::{self, Point};
use crate::live::Live;
use crate::model::policy::WALL_MS_MAX;
use crate::model::run::ClaimedRun;
use crate::sandbox::{INSTANCES_MAX, Sandbox};
use crate::store::Store;
use crate::store::runs::FinishedAttempt;

/// Runs that are being evaluated or written at the same time; each may need a guest's slot.
const RUNS_IN_FLIGHT_MAX: usize = INSTANCES_MAX as usize;
/// Claiming costs a transaction, so a busy worker waits until this many can be claimed at once…
const RUNS_CLAIMED_MIN: usize = 32;
/// … but no longer than this, in milliseconds.
const CLAIM_WAIT_MS: u64 = 5;
/// How often the queue is looked at without a wake-up, in milliseconds.
const POLL_MS: u64 = 1_000;
/// How long a claim lasts, in milliseconds: longer than two stages at the largest wall limit,
/// so that no run is evaluated twice at once.
pub const LEASE_MS: i64 = 900_000;
/// How often lost leases are looked for, in milliseconds.
const RESCUE_EVERY_MS: u64 = 30_000;
/// How long a result is offered to a store that does not take it, in milliseconds, before the
/// run is left to its lease.
const COMMIT_FOR_MS: u64 = 60_000;
/// The pause between two offers, in milliseconds.
const COMMIT_RETRY_MS: u64 = 200;

const _: () = assert!(
    2 * WALL_MS_MAX + COMMIT_FOR_MS < LEASE_MS as u64,
    "a lease must outlive an attempt"
);

/// Everything that an attempt needs. Cheap to clone.
#[derive(Clone)]
pub struct Worker(Arc<Shared>);

struct Shared {
    live: Arc<Live>,
    store: Store,
    sandbox: Sandbox,
    guests: Handle,
    clock: Clock,
    runs_wake: Arc<Notify>,
    actions_wake: Arc<Notify>,
}

impl Worker {
    /// A worker that runs plugins on `guests`, is woken by `runs_wake` and wakes `actions_wake`.
    pub fn new(
        live: Arc<Live>,
        store: Store,
        sandbox: Sandbox,
        guests: Handle,
        clock: Clock,
        runs_wake: Arc<Notify>,
        actions_wake: Arc<Notify>,
    ) -> Self {
        Self(Arc::new(Shared {
            live,
            store,
            sandbox,
            guests,
            clock,
            runs_wake,
            actions_wake,
        }))
    }

    /// Works until `shutdown` becomes true, then finishes what it has claimed.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut attempts = JoinSet::new();
        let mut rescued_at = Instant::now();
        while !*shutdown.borrow() {
            if Duration::from_millis(RESCUE_EVERY_MS) <= rescued_at.elapsed() {
                rescued_at = Instant::now();
                self.rescue().await;
            }
            // Register for wake-ups before looking, so that none is missed.
            let mut woken = std::pin::pin!(self.0.runs_wake.notified());
            woken.as_mut().enable();
            let free = RUNS_IN_FLIGHT_MAX - attempts.len();
            if free < RUNS_CLAIMED_MIN {
                wait_for_one(&mut attempts).await;
                continue;
            }
            let claimed = self.claim(free).await;
            let started = claimed.len();
            if 0 < started {
                fail_point::reach(Point::RunsClaimed);
            }
            for run in claimed {
                let worker = self.clone();
                attempts.spawn(async move { worker.attempt(run).await });
            }
            while attempts.try_join_next().is_some_and(log_panic) {}
            if started == 0 {
                tokio::select! {
                    () = woken => (),
                    () = sleep(self.until_next_due().await) => (),
                    _ = shutdown.changed() => (),
                }
            }
        }
        while attempts.join_next().await.is_some_and(log_panic) {}
    }

    async fn claim(&self, limit: usize) -> Vec<ClaimedRun> {
        let now = self.0.clock.now();
        match self
            .0
            .store
            .claim_due_runs(now, now + LEASE_MS, limit)
            .await
        {
            Ok(claimed) => claimed,
            Err(error) => {
                error.log("cannot claim runs");
                sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
                Vec::new()
            }
        }
    }

    async fn rescue(&self) {
        let now = self.0.clock.now();
        match self.0.store.rescue_runs(now, now).await {
            Ok(0) => (),
            Ok(count) => tracing::warn!(count, "runs whose lease ran out are queued again"),
            Err(error) => error.log("cannot look for lost leases"),
        }
    }

    async fn until_next_due(&self) -> Duration {
        let next = self.0.store.next_run_due().await.ok().flatten();
        let wait_ms = next.map_or(POLL_MS, |at| {
            u64::try_from(at - self.0.clock.now()).unwrap_or(0)
        });
        Duration::from_millis(wait_ms.clamp(1, POLL_MS))
    }

    async fn attempt(&self, run: ClaimedRun) {
        let places = self.0.live.current().places(&run.policy);
        let permit = match places {
            Some(places) => places.acquire_owned().await.ok(),
            None => None,
        };
        // Taken after the wait, so that a run which waited long sees no old settings.
        let setup = self.0.live.current();
        let started_at = self.0.clock.now();
        let (shared, settings) = (self.0.clone(), setup.clone());
        // Only a guest computes on those threads, so that nobody waits for one that was interrupted.
        let evaluating = self.0.guests.spawn(async move {
            let decided = attempt::evaluate(&shared.sandbox, &settings, &run, started_at).await;
            (run, decided)
        });
        let (run, decided) = match evaluating.await {
            Ok(evaluated) => evaluated,
            Err(error) => {
                tracing::error!(error = %error, "an evaluation was cut off; its run's lease rescues it");
                return;
            }
        };
        drop(permit);
        fail_point::reach(Point::RunEvaluated);
        let finished_at = self.0.clock.now();
        let settled = settle::settle(&setup, &run, decided, finished_at, rand::random());
        self.commit(FinishedAttempt {
            run_seq: run.seq,
            tenant: run.event.tenant,
            in_order: run.ordering_key.is_some(),
            attempt: run.attempt,
            started_at,
            finished_at,
            evaluation: settled.evaluation,
            transition: settled.transition,
            routed: settled.routed,
            actions: settled.actions,
        })
        .await;
    }

    async fn commit(&self, finished: FinishedAttempt) {
        let has_actions = !finished.actions.is_empty();
        let in_order = finished.in_order;
        let run_seq = finished.run_seq;
        let finished = Arc::new(finished);
        let began = Instant::now();
        while let Err(error) = self.0.store.finish_attempt(finished.clone()).await {
            tracing::error!(run.seq = run_seq, error = %error, "cannot write the result of an attempt");
            if Duration::from_millis(COMMIT_FOR_MS) < began.elapsed() {
                return;
            }
            sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
        }
        fail_point::reach(Point::RunFinished);
        if has_actions {
            self.0.actions_wake.notify_one();
        }
        if in_order {
            self.0.runs_wake.notify_one();
        }
    }
}

/// Waits for the end of an attempt, for as long as a claim may wait.
async fn wait_for_one(attempts: &mut JoinSet<()>) {
    tokio::select! {
        Some(ended) = attempts.join_next() => { log_panic(ended); }
        () = sleep(Duration::from_millis(CLAIM_WAIT_MS)) => (),
    }
}

/// Says whether there was an end to look at; a panic of ours is logged, the run's lease rescues it.
fn log_panic(ended: Result<(), tokio::task::JoinError>) -> bool {
    if let Err(error) = ended {
        tracing::error!(error = %error, "an attempt was cut off");
    }
    true
}
