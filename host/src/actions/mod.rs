//! Carries out what decisions asked for: claim, perform per kind, record.
//!
//! Started by `app`. Whether an action was allowed was checked before it was
//! written; what its outcome leads to is decided in `lifecycle`.

mod load;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::load::{Load, UNDER_WAY_MAX};
use crate::clock::Clock;
use crate::egress::{Egress, Method, Request, TIMEOUT_MAX};
use crate::fail_point::{self, Point};
use crate::fairness::{Notices, Plan};
use crate::lifecycle::{self, Attempt};
use crate::live::{Live, Setup};
use crate::model::action::{ClaimedAction, Delivered, Receipt};
use crate::model::integration::{Destination, WebhookDestination};
use crate::model::policy::RetryPolicy;
use crate::model::queue::Share;
use crate::store::Store;
use crate::store::actions::FinishedAction;

/// How often the queue is looked at without a wake-up, in milliseconds.
const POLL_MS: u64 = 1_000;
/// How long a claim lasts, in milliseconds: longer than a request and its recording.
const LEASE_MS: i64 = 180_000;
/// How long a result is offered to a store that does not take it, in milliseconds. An action
/// that happened but could not be recorded is done again, under the same key.
const COMMIT_FOR_MS: u64 = 60_000;
/// The pause between two offers, in milliseconds.
const COMMIT_RETRY_MS: u64 = 200;

const _: () = assert!(
    TIMEOUT_MAX.as_millis() + (COMMIT_FOR_MS as u128) < LEASE_MS as u128,
    "a lease must outlive a request, or it is sent twice at once"
);

/// Everything that carrying out needs. Cheap to clone.
#[derive(Clone)]
pub struct Actions(Arc<Shared>);

struct Shared {
    live: Arc<Live>,
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
}

impl Actions {
    /// Carries out actions when woken by `wake`.
    pub fn new(live: Arc<Live>, store: Store, clock: Clock, wake: Arc<Notify>) -> Self {
        Self(Arc::new(Shared {
            live,
            store,
            clock,
            wake,
        }))
    }

    /// Works until `shutdown` becomes true, then finishes what it has claimed.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut requests = JoinSet::new();
        let mut load = Load::default();
        let mut notices = Notices::default();
        let began = Instant::now();
        while !*shutdown.borrow() {
            // Register for wake-ups before looking, so that none is missed.
            let mut woken = std::pin::pin!(self.0.wake.notified());
            woken.as_mut().enable();
            let now_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            let plan = self.look(&load, now_us).await;
            let now = self.0.clock.now();
            for at in plan.held.iter().filter(|it| notices.is_due(it, now)) {
                tracing::info!(tenant.id = at.tenant, "actions wait: {at}");
            }
            let is_idle = plan.shares.is_empty();
            if !is_idle {
                let claimed = self.claim(plan.shares).await;
                if !claimed.is_empty() {
                    fail_point::reach(Point::ActionsClaimed);
                }
                self.start(claimed, &mut load, now_us, &mut requests).await;
            }
            while let Some(ended) = requests.try_join_next() {
                log_panic(ended);
            }
            if is_idle {
                let pause_ms = plan.next_ms.unwrap_or(POLL_MS).clamp(1, POLL_MS);
                let is_full = UNDER_WAY_MAX <= requests.len();
                tokio::select! {
                    () = woken, if !is_full => (),
                    () = sleep(Duration::from_millis(pause_ms)), if !is_full => (),
                    Some(ended) = requests.join_next() => log_panic(ended),
                    _ = shutdown.changed() => (),
                }
            }
        }
        while let Some(ended) = requests.join_next().await {
            log_panic(ended);
        }
    }

    async fn look(&self, load: &Load, now_us: u64) -> Plan {
        let queued = match self.0.store.queued_actions().await {
            Ok(queued) => queued,
            Err(error) => {
                error.log("cannot look for due actions");
                sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
                Vec::new()
            }
        };
        let setup = self.0.live.current();
        let limits = |tenant: &str| setup.config.tenant(tenant);
        load.plan(queued, limits, self.0.clock.now(), now_us)
    }

    /// Performs what needs no network at once and together; starts the rest.
    async fn start(
        &self,
        claimed: Vec<ClaimedAction>,
        load: &mut Load,
        now_us: u64,
        requests: &mut JoinSet<()>,
    ) {
        let setup = self.0.live.current();
        let mut at_once = Vec::new();
        for action in claimed {
            let limits = setup.config.tenant(&action.event.tenant);
            let under_way = load.begin(&action.event.tenant, limits, now_us);
            let started_at = self.0.clock.now();
            match setup.config.destinations.get(&action.destination) {
                Some(Destination::Ticket) => {
                    at_once.push(self.finished(
                        &setup,
                        action,
                        started_at,
                        Delivered::Done(Receipt::Ticket),
                    ));
                }
                Some(Destination::Webhook(destination)) => {
                    let (actions, setup) = (self.clone(), setup.clone());
                    let destination = destination.clone();
                    requests.spawn(async move {
                        let delivered =
                            send(&setup.egress, &action, &destination, started_at).await;
                        let finished = actions.finished(&setup, action, started_at, delivered);
                        actions.commit(vec![finished]).await;
                        drop(under_way);
                    });
                }
                None => {
                    let error = format!(
                        "destination `{}` is not configured any more",
                        action.destination
                    );
                    let delivered = Delivered::Failed {
                        error,
                        status: None,
                        retry_after_ms: None,
                    };
                    at_once.push(self.finished(&setup, action, started_at, delivered));
                }
            }
        }
        if !at_once.is_empty() {
            self.commit(at_once).await;
        }
    }

    fn finished(
        &self,
        setup: &Setup,
        action: ClaimedAction,
        started_at: i64,
        delivered: Delivered,
    ) -> FinishedAction {
        let finished_at = self.0.clock.now();
        let destination = setup.config.destinations.get(&action.destination);
        let retry = destination.map_or_else(RetryPolicy::default, Destination::retry);
        let attempt = Attempt {
            number: action.attempt,
            host_errors: 0,
            breaches: 0,
            other_versions: 0,
            first_at: action.first_attempt_at,
            now: finished_at,
            jitter: rand::random(),
        };
        let transition = lifecycle::after_action_attempt(&retry, attempt, &delivered);
        FinishedAction {
            action,
            started_at,
            finished_at,
            delivered,
            transition,
        }
    }

    async fn claim(&self, shares: Vec<Share>) -> Vec<ClaimedAction> {
        let now = self.0.clock.now();
        let store = &self.0.store;
        match store.claim_actions(now, now + LEASE_MS, shares).await {
            Ok(claimed) => claimed,
            Err(error) => {
                error.log("cannot claim actions");
                sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
                Vec::new()
            }
        }
    }

    async fn commit(&self, finished: Vec<FinishedAction>) {
        fail_point::reach(Point::ActionsPerformed);
        let finished = Arc::new(finished);
        let began = Instant::now();
        while let Err(error) = self.0.store.finish_actions(finished.clone()).await {
            tracing::error!(count = finished.len(), error = %error, "cannot write the results of actions");
            if Duration::from_millis(COMMIT_FOR_MS) < began.elapsed() {
                return;
            }
            sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
        }
        fail_point::reach(Point::ActionsFinished);
    }
}

async fn send(
    egress: &Egress,
    action: &ClaimedAction,
    destination: &WebhookDestination,
    now: i64,
) -> Delivered {
    let body = webhook::body(action);
    let headers = match webhook::headers(action, &destination.secret, &body, now) {
        Ok(headers) => headers,
        Err(error) => {
            return Delivered::Refused {
                error: error.to_string(),
                status: None,
            };
        }
    };
    let request = Request {
        method: Method::Post,
        url: destination.url.clone(),
        headers,
        body: Bytes::from(body),
        timeout: destination.timeout,
    };
    webhook::outcome(egress.send(request, now).await)
}

/// A panic of ours is logged; the action's lease brings it back.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "an action was cut off");
    }
}
