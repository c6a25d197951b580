//! Claims runs, has them evaluated, and has the result written.
//!
//! Started by `app`. It meets `http` only in the store and in a wake-up. What an
//! attempt's outcome leads to is decided in `lifecycle`, what a plugin may ask for
//! in `check`.

mod attempt;
mod attempts;
pub mod check;
mod load;
mod route;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use self::attempts::Attempts;
use self::load::Took;
use crate::clock::Clock;
use crate::fail_point::{self, Point};
use crate::fairness::{Notices, Plan};
use crate::lifecycle::strikes;
use crate::live::{Live, Setup};
use crate::model::outcome::Outcome;
use crate::model::policy::WALL_MS_MAX;
use crate::model::queue::{Lane, Share};
use crate::model::run::ClaimedRun;
use crate::model::strike::{PluginVersion, StrikeRecord};
use crate::sandbox::Sandbox;
use crate::store::Store;
use crate::store::runs::FinishedAttempt;

/// Lanes of the queue that are looked at at once; where there are more, the next look goes on behind them.
const LANES_LOOKED_AT_MAX: usize = 1_024;
/// Claiming costs a transaction, so a busy worker waits until this many attempts ended…
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
    wakes: Wakes,
}

/// Wake-ups that may be lost. Cheap to clone.
#[derive(Clone, Default)]
pub struct Wakes {
    /// For the worker: a run is queued.
    pub runs: Arc<Notify>,
    /// For `actions`: an action is pending.
    pub actions: Arc<Notify>,
    /// For `deployments`: a version was quarantined.
    pub plugins: Arc<Notify>,
}

impl Worker {
    /// A worker that runs plugins on `guests`.
    pub fn new(
        live: Arc<Live>,
        store: Store,
        sandbox: Sandbox,
        guests: Handle,
        clock: Clock,
        wakes: Wakes,
    ) -> Self {
        Self(Arc::new(Shared {
            live,
            store,
            sandbox,
            guests,
            clock,
            wakes,
        }))
    }

    /// Works until `shutdown` becomes true, then finishes what it has claimed.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut attempts = Attempts::new();
        let mut notices = Notices::default();
        let mut rescued_at = Instant::now();
        let mut after = None;
        while !*shutdown.borrow() {
            if Duration::from_millis(RESCUE_EVERY_MS) <= rescued_at.elapsed() {
                rescued_at = Instant::now();
                self.rescue().await;
            }
            // Register for wake-ups before looking, so that none is missed.
            let mut woken = std::pin::pin!(self.0.wakes.runs.notified());
            woken.as_mut().enable();
            let setup = self.0.live.current();
            attempts.reap(&setup);
            let is_full = attempts.is_full();
            let mut pause_ms = POLL_MS;
            // A full worker does not look, and later goes on where it was: lanes far behind get their turn.
            if !is_full {
                let plan = self.look(&attempts, &setup, &mut after).await;
                self.tell(&plan, &mut notices);
                if !plan.shares.is_empty() {
                    self.start(plan.shares, &mut attempts).await;
                    continue;
                }
                if after.is_some() {
                    continue;
                }
                pause_ms = plan.next_ms.unwrap_or(POLL_MS).clamp(1, POLL_MS);
            }
            let claim_wait = Duration::from_millis(CLAIM_WAIT_MS);
            tokio::select! {
                () = woken, if !is_full => (),
                () = sleep(Duration::from_millis(pause_ms)) => (),
                () = attempts.some_end(&setup, RUNS_CLAIMED_MIN, claim_wait) => (),
                _ = shutdown.changed() => (),
            }
        }
        attempts.finish().await;
    }

    /// What may be claimed of the lanes behind `after`, which becomes the last of them if there are more.
    async fn look(&self, attempts: &Attempts, setup: &Setup, after: &mut Option<Lane>) -> Plan {
        let looked = self.0.store.queued_lanes(after.take(), LANES_LOOKED_AT_MAX);
        let queued = match looked.await {
            Ok(queued) => queued,
            Err(error) => {
                error.log("cannot look for queued runs");
                sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
                Vec::new()
            }
        };
        let is_full = queued.len() == LANES_LOOKED_AT_MAX;
        *after = queued.last().filter(|_| is_full).map(|it| it.lane.clone());
        attempts.plan(queued, setup, self.0.clock.now())
    }

    fn tell(&self, plan: &Plan, notices: &mut Notices) {
        let now = self.0.clock.now();
        for at in plan.held.iter().filter(|it| notices.is_due(it, now)) {
            tracing::info!(tenant.id = at.tenant, "runs wait: {at}");
        }
    }

    /// Claims so many runs, and starts an attempt of each.
    async fn start(&self, shares: Vec<Share>, attempts: &mut Attempts) {
        let now = self.0.clock.now();
        let claimed = match self.0.store.claim_runs(now, now + LEASE_MS, shares).await {
            Ok(claimed) => claimed,
            Err(error) => {
                error.log("cannot claim runs");
                sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
                Vec::new()
            }
        };
        if !claimed.is_empty() {
            fail_point::reach(Point::RunsClaimed);
        }
        for run in claimed {
            let lane = Lane {
                tenant: run.event.tenant.clone(),
                policy: run.policy.clone(),
            };
            let worker = self.clone();
            attempts.start(lane, async move { worker.attempt(run).await });
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

    async fn attempt(&self, run: ClaimedRun) -> Took {
        let places = self.0.live.current().places(&run.policy);
        let permit = match places {
            Some(places) => places.acquire_owned().await.ok(),
            None => None,
        };
        // Taken after the wait, so that a run which waited long sees no old settings.
        let setup = self.0.live.current();
        let started_at = self.0.clock.now();
        let began = Instant::now();
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
                return Took::default();
            }
        };
        drop(permit);
        let took = Took {
            cpu_us: decided.evaluation.cpu_us,
            place_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        fail_point::reach(Point::RunEvaluated);
        let finished_at = self.0.clock.now();
        let conduct = settle::conduct(&setup, &run, &decided.evaluation);
        let other_versions = match (&decided.evaluation.outcome, conduct.asked.last()) {
            (Outcome::Broken(_), Some(version)) => self.other_versions(&run, version).await,
            _ => 0,
        };
        let jitter = rand::random();
        let settled = settle::settle(&setup, &run, decided, other_versions, finished_at, jitter);
        let last_asked = conduct.asked.last().cloned();
        let tenant = run.event.tenant.clone();
        let finished = FinishedAttempt {
            run_seq: run.seq,
            event_seq: run.event.seq,
            tenant: run.event.tenant,
            in_order: run.ordering_key.is_some(),
            attempt: run.attempt,
            started_at,
            finished_at,
            evaluation: settled.evaluation,
            transition: settled.transition,
            routed: settled.routed,
            actions: settled.actions,
            conduct,
        };
        if let Some((record, version)) = self.commit(finished).await.zip(last_asked)
            && let Some(reason) = strikes::quarantine(&setup.config.strikes, record)
        {
            self.quarantine(tenant, version, reason).await;
        }
        took
    }

    /// How many other versions of a plugin broke a rule on a run's event.
    async fn other_versions(&self, run: &ClaimedRun, version: &PluginVersion) -> u32 {
        let (tenant, event_seq) = (run.event.tenant.clone(), run.event.seq);
        let store = &self.0.store;
        let found = store.other_versions_broken(tenant, event_seq, version.clone());
        found.await.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "cannot look for other versions that an event broke");
            0
        })
    }

    /// Takes a version out of use. What cannot be written now is found again at its next strike.
    async fn quarantine(&self, tenant: String, version: PluginVersion, reason: String) {
        let PluginVersion { plugin, digest } = version.clone();
        let (store, now) = (&self.0.store, self.0.clock.now());
        match store
            .quarantine(tenant.clone(), version, reason.clone(), now)
            .await
        {
            Ok(true) => {
                tracing::warn!(
                    tenant,
                    plugin,
                    digest,
                    reason,
                    "a version of a plugin is quarantined"
                );
                self.0.wakes.plugins.notify_one();
            }
            Ok(false) => (),
            Err(error) => {
                tracing::error!(plugin, digest, error = %error, "cannot quarantine a version of a plugin");
            }
        }
    }

    /// Gives what is counted of the plugin that broke a rule, if one did.
    async fn commit(&self, finished: FinishedAttempt) -> Option<StrikeRecord> {
        let has_actions = !finished.actions.is_empty();
        let in_order = finished.in_order;
        let run_seq = finished.run_seq;
        let finished = Arc::new(finished);
        let began = Instant::now();
        let record = loop {
            match self.0.store.finish_attempt(finished.clone()).await {
                Ok(record) => break record,
                Err(error) => {
                    tracing::error!(run.seq = run_seq, error = %error, "cannot write the result of an attempt");
                }
            }
            if Duration::from_millis(COMMIT_FOR_MS) < began.elapsed() {
                return None;
            }
            sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
        };
        fail_point::reach(Point::RunFinished);
        if has_actions {
            self.0.wakes.actions.notify_one();
        }
        if in_order {
            self.0.wakes.runs.notify_one();
        }
        record
    }
}
