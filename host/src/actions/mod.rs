//! Carries out what decisions asked for: claim, perform per kind, record.
//!
//! Started by `app`. Whether an action was allowed was checked before it was
//! written; what its outcome leads to is decided in `lifecycle`.

pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::egress::{Egress, Method, Request, TIMEOUT_MAX};
use crate::fail_point::{self, Point};
use crate::lifecycle::{self, Attempt};
use crate::live::{Live, Setup};
use crate::model::action::{ClaimedAction, Delivered, Receipt};
use crate::model::integration::{Destination, WebhookDestination};
use crate::model::policy::RetryPolicy;
use crate::store::Store;
use crate::store::actions::FinishedAction;

/// Requests under way at the same time, and so actions that are claimed at once: each may need one.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
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
        while !*shutdown.borrow() {
            // Register for wake-ups before looking, so that none is missed.
            let mut woken = std::pin::pin!(self.0.wake.notified());
            woken.as_mut().enable();
            let free = REQUESTS_IN_FLIGHT_MAX.saturating_sub(requests.len());
            let claimed = if free == 0 {
                Vec::new()
            } else {
                self.claim(free).await
            };
            let started = claimed.len();
            if 0 < started {
                fail_point::reach(Point::ActionsClaimed);
            }
            self.start(claimed, &mut requests).await;
            while let Some(ended) = requests.try_join_next() {
                log_panic(ended);
            }
            if started == 0 {
                tokio::select! {
                    () = woken, if 0 < free => (),
                    () = sleep(self.until_next_due().await), if 0 < free => (),
                    Some(ended) = requests.join_next() => log_panic(ended),
                    _ = shutdown.changed() => (),
                }
            }
        }
        while let Some(ended) = requests.join_next().await {
            log_panic(ended);
        }
    }

    /// Performs what needs no network at once and together; starts the rest.
    async fn start(&self, claimed: Vec<ClaimedAction>, requests: &mut JoinSet<()>) {
        let setup = self.0.live.current();
        let mut at_once = Vec::new();
        for action in claimed {
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

    async fn claim(&self, limit: usize) -> Vec<ClaimedAction> {
        let now = self.0.clock.now();
        match self
            .0
            .store
            .claim_due_actions(now, now + LEASE_MS, limit)
            .await
        {
            Ok(claimed) => claimed,
            Err(error) => {
                error.log("cannot claim actions");
                sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
                Vec::new()
            }
        }
    }

    async fn until_next_due(&self) -> Duration {
        let next = self.0.store.next_action_due().await.ok().flatten();
        let wait_ms = next.map_or(POLL_MS, |at| {
            u64::try_from(at - self.0.clock.now()).unwrap_or(0)
        });
        Duration::from_millis(wait_ms.clamp(1, POLL_MS))
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
