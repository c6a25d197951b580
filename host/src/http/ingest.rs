//! Takes a delivery in: who is it for, is it believed, is it on disk, answer.
//!
//! Nothing of a request is read before its integration is known, nothing is parsed
//! before its signature was checked, and no 200 is sent before the commit.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::HttpState;
use super::body;
use super::error::ApiError;
use super::remote;
use crate::config::Config;
use crate::content::{Encoding, inflate};
use crate::fail_point::{self, Point};
use crate::model::event::{Accepted, Headers, NewEvent};
use crate::model::id::{EventId, RunId};
use crate::model::integration::Integration;
use crate::model::time::TimestampMs;
use crate::routing;
use crate::sources::{self, Delivery, EventIdentity, Identity, Rejection};
use crate::store::rejections::Rejected;

/// The answer to a delivery that is on disk.
#[derive(Serialize)]
struct Acknowledgement {
    accepted: bool,
    duplicate: bool,
    event_id: EventId,
    run_id: Option<RunId>,
    run_ids: Vec<RunId>,
    trace_url: String,
}

/// The answer to Slack's question whether we hold the secret.
#[derive(Serialize)]
struct Challenge {
    challenge: String,
}

/// One delivery, read and not yet believed.
struct Received {
    headers: Headers,
    body: Bytes,
    at: TimestampMs,
}

/// A delivery that is not taken in, with what is written down about it.
struct Refusal {
    error: ApiError,
    /// Why, as a stable name; `None` where nothing is written down.
    cause: Option<&'static str>,
    header: Option<String>,
    body_bytes: u64,
    body_sha256: Option<[u8; 32]>,
}

/// Takes one delivery in.
pub async fn ingest(
    State(state): State<HttpState>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let Path((source, integration_id)) = path.map_err(|_| ApiError::NotFound)?;
    let setup = state.live.current();
    let config = &setup.config;
    let integration =
        find_integration(config, &source, &integration_id).ok_or(ApiError::NotFound)?;
    fail_point::reach(Point::HeadRead);
    let (parts, body) = request.into_parts();
    match take_in(&state, config, integration, &parts.headers, body).await {
        Ok(response) => Ok(response),
        Err(refusal) => {
            let now = state.clock.now();
            if let Some(rejected) = rejected(now, config, integration, &parts, &refusal) {
                state.store.reject(rejected).await;
            }
            Err(refusal.error)
        }
    }
}

async fn take_in(
    state: &HttpState,
    config: &Config,
    integration: &Integration,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let announced = body::announced(headers).unwrap_or(0);
    let body_bytes_max = integration.body_bytes_max;
    let received = Received {
        headers: body::headers(headers).map_err(|error| Refusal::unread(error, announced))?,
        body: body::read(headers, body, body_bytes_max)
            .await
            .map_err(|unread| Refusal::unread(unread.error, unread.bytes))?,
        at: state.clock.now(),
    };
    fail_point::reach(Point::BodyRead);
    let delivery = Delivery {
        headers: &received.headers,
        body: &received.body,
        received_at: received.at,
    };
    let live = integration.secrets.at(received.at);
    let verified = sources::verify(&integration.source, live, delivery)
        .map_err(|rejection| Refusal::forged(rejection, &received.body))?;
    if let Some(secret_id) = integration.secrets.id(verified.secret_index()) {
        state.store.note_secret_use(secret_id, received.at);
    }
    // Counted only now, so that a forger cannot use up what the sender may send.
    take_rate(state, integration, received.at)
        .map_err(|error| Refusal::read(error, &received.body))?;
    fail_point::reach(Point::Verified);
    let content = content(integration, &received).await;
    let identity = match &content {
        Some(content) => sources::identify(&verified, content),
        None => sources::identify_unreadable(&verified),
    }
    .map_err(|rejection| Refusal::forged(rejection, &received.body))?;
    match identity {
        Identity::Event(identity) => {
            let content = content.unwrap_or_default();
            let body = received.body.clone();
            let queued_runs = config.tenant(&integration.tenant).queued_runs;
            let event = new_event(config, integration, received, &content, identity);
            let accepted = accept(state, event, queued_runs)
                .await
                .map_err(|error| match error.cause() {
                    Some(_) => Refusal::read(error, &body),
                    None => Refusal::unlisted(error),
                })?;
            fail_point::reach(Point::AnswerReady);
            Ok(Json(acknowledgement(state, accepted)).into_response())
        }
        Identity::Challenge(challenge) => Ok(Json(Challenge { challenge }).into_response()),
    }
}

impl Refusal {
    /// The body was not read to its end.
    fn unread(error: ApiError, body_bytes: u64) -> Self {
        Self {
            cause: error.cause(),
            error,
            header: None,
            body_bytes,
            body_sha256: None,
        }
    }

    /// The body was read.
    fn read(error: ApiError, body: &[u8]) -> Self {
        Self {
            body_sha256: Some(Sha256::digest(body).into()),
            ..Self::unread(error, body.len() as u64)
        }
    }

    /// It is not believed.
    fn forged(rejection: Rejection, body: &[u8]) -> Self {
        Self {
            cause: Some(rejection.cause()),
            header: rejection.header().map(str::to_owned),
            ..Self::read(ApiError::InvalidSignature, body)
        }
    }

    /// The host is at fault, which its log says.
    fn unlisted(error: ApiError) -> Self {
        Self {
            cause: None,
            ..Self::unread(error, 0)
        }
    }
}

fn find_integration<'a>(config: &'a Config, source: &str, id: &str) -> Option<&'a Integration> {
    config
        .integrations
        .get(id)
        .filter(|it| it.source.as_str() == source)
}

fn take_rate(
    state: &HttpState,
    integration: &Integration,
    now: TimestampMs,
) -> Result<(), ApiError> {
    let Some(limit) = integration.rate_limit else {
        return Ok(());
    };
    let taken = state
        .rates
        .take(&integration.tenant, &integration.id, limit, now);
    taken.map_err(|wait_ms| ApiError::RateLimited {
        retry_after_s: wait_ms.div_euclid(1_000) + i64::from(0 < wait_ms.rem_euclid(1_000)),
    })
}

/// What a verified body says; `None` where it cannot be read.
async fn content(integration: &Integration, received: &Received) -> Option<Bytes> {
    match Encoding::of(&received.headers) {
        Encoding::Identity => Some(received.body.clone()),
        Encoding::Other => None,
        Encoding::Gzip => {
            let (body, bytes_max) = (received.body.clone(), integration.inflated_bytes_max);
            // Not here, where it would hold up the acknowledgements of others.
            let inflating = tokio::task::spawn_blocking(move || inflate(&body, bytes_max));
            inflating.await.ok()?.ok().map(Bytes::from)
        }
    }
}

fn new_event(
    config: &Config,
    integration: &Integration,
    mut received: Received,
    content: &[u8],
    identity: EventIdentity,
) -> NewEvent {
    let policies = config.policies_for(&integration.tenant, &identity.event_type);
    let arrival = routing::Arrival {
        body: content,
        ordering_key: identity.ordering_key.as_deref(),
        occurred_at: identity.occurred_at,
        received_at: received.at,
    };
    sources::redact(&integration.source, &mut received.headers);
    NewEvent {
        id: EventId::new(received.at),
        tenant: integration.tenant.clone(),
        integration_id: integration.id.clone(),
        source: integration.source.as_str().to_owned(),
        runs: routing::runs(policies, arrival),
        event_type: identity.event_type,
        idempotency_key: identity.idempotency_key,
        content_key: identity.content_key,
        received_at: received.at,
        occurred_at: identity.occurred_at,
        headers: received.headers,
        body: received.body,
    }
}

/// Keeps the event and wakes a worker, also when the sender hangs up meanwhile.
async fn accept(
    state: &HttpState,
    event: NewEvent,
    queued_runs: u64,
) -> Result<Accepted, ApiError> {
    // The write goes on when this future is dropped, because the sender hung up; then nobody
    // is left to see its end, and the worker is told before it.
    let mut wake = WakeOnDrop(Some(&state.runs_wake));
    let accepted = state.store.accept_within(event, queued_runs).await;
    let queued = accepted
        .as_ref()
        .is_ok_and(|it| !it.duplicate && !it.run_ids.is_empty());
    if !queued {
        wake.0 = None;
    }
    Ok(accepted?)
}

/// Tells the worker that there may be something to do.
struct WakeOnDrop<'a>(Option<&'a Notify>);

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(wake) = self.0 {
            // Not `notify_waiters`, which is lost on a worker that is just about to wait.
            wake.notify_one();
        }
    }
}

fn acknowledgement(state: &HttpState, accepted: Accepted) -> Acknowledgement {
    Acknowledgement {
        accepted: true,
        duplicate: accepted.duplicate,
        event_id: accepted.event_id,
        run_id: accepted.run_ids.first().copied(),
        trace_url: state.trace_url(accepted.event_id, &accepted.run_ids),
        run_ids: accepted.run_ids,
    }
}

fn rejected(
    now: TimestampMs,
    config: &Config,
    integration: &Integration,
    request: &Parts,
    refusal: &Refusal,
) -> Option<Rejected> {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    let trusted = &config.trusted_proxies;
    let remote = peer.map(|it| remote::address(it.0.ip(), &request.headers, trusted));
    Some(Rejected {
        at: now,
        tenant: integration.tenant.clone(),
        integration_id: integration.id.clone(),
        source: integration.source.as_str().to_owned(),
        cause: refusal.cause?,
        header: refusal.header.clone(),
        remote: remote.map_or_else(|| "unknown".to_owned(), |it| it.to_string()),
        body_bytes: refusal.body_bytes,
        body_sha256: refusal.body_sha256,
    })
}
