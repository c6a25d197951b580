//! The attempts that are under way, each counted for its policy and tenant until it ends.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use super::load::{LaneLimits, Load, Took};
use crate::fairness::Plan;
use crate::live::Setup;
use crate::model::policy::Limits;
use crate::model::queue::{Lane, QueuedLane};
use crate::model::time::TimestampMs;

/// Tasks with what is known of them.
pub(super) struct Attempts {
    tasks: JoinSet<Took>,
    lanes: HashMap<Id, Lane>,
    load: Load,
    began: Instant,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            lanes: HashMap::new(),
            load: Load::default(),
            began: Instant::now(),
        }
    }

    /// What may be claimed now of what is queued.
    pub(super) fn plan(&self, queued: Vec<QueuedLane>, setup: &Setup, now: TimestampMs) -> Plan {
        let limits = |lane: &Lane| {
            let policy = setup.config.policy_of(&lane.tenant, &lane.policy);
            let limits = policy.map_or_else(Limits::default, |it| it.limits);
            LaneLimits {
                concurrency: limits.concurrency,
                cpu_us: limits.cpu_ms.saturating_mul(1_000),
                tenant: setup.config.tenant(&lane.tenant),
            }
        };
        self.load.plan(queued, limits, now, self.now_us())
    }

    /// Whether no more can be started.
    pub(super) fn is_full(&self) -> bool {
        self.load.is_full()
    }

    /// Starts one.
    pub(super) fn start(
        &mut self,
        lane: Lane,
        attempt: impl Future<Output = Took> + Send + 'static,
    ) {
        self.load.began(&lane);
        let task = self.tasks.spawn(attempt);
        self.lanes.insert(task.id(), lane);
    }

    /// Waits until one ends, and a little longer for others where there are many: each claim costs
    /// a transaction. Never ends where none is under way.
    pub(super) async fn some_end(&mut self, setup: &Setup, enough: usize, wait: Duration) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        self.count(ended, setup);
        let deadline = Instant::now() + wait;
        let mut ends = 1;
        while ends < enough && enough < self.load.under_way() {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.count(ended, setup),
                () = sleep(deadline.saturating_duration_since(Instant::now())) => return,
            }
            ends += 1;
        }
    }

    /// Takes note of those that ended.
    pub(super) fn reap(&mut self, setup: &Setup) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.count(ended, setup);
        }
    }

    /// Waits until all of them ended.
    pub(super) async fn finish(mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            log_panic(ended);
        }
    }

    fn count(&mut self, ended: Result<(Id, Took), JoinError>, setup: &Setup) {
        let (id, took) = log_panic(ended);
        if let Some(lane) = self.lanes.remove(&id) {
            let limits = setup.config.tenant(&lane.tenant);
            self.load.ended(&lane, took, limits, self.now_us());
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A panic of ours is logged; the run's lease rescues it.
fn log_panic(ended: Result<(Id, Took), JoinError>) -> (Id, Took) {
    ended.unwrap_or_else(|error| {
        tracing::error!(error = %error, "an attempt was cut off");
        (error.id(), Took::default())
    })
}
