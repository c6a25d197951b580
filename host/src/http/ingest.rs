//! Takes a delivery in: who is it for, is it believed, is it on disk, answer.
//!
//! Nothing of a request is read before its integration is known, nothing is parsed
//! before its signature was checked, and no 200 is sent before the commit.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::HttpState;
use super::body;
use super::error::ApiError;
use crate::config::Config;
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
    let (parts, body) = request.into_parts();
    let headers = body::headers(&parts.headers)?;
    let body = body::read(&parts.headers, body, integration.body_bytes_max).await?;
    let received = Received {
        headers,
        body,
        at: state.clock.now(),
    };
    match identify(integration, &received) {
        Ok(Identity::Event(identity)) => {
            let event = new_event(config, integration, received, identity);
            let accepted = accept(&state, event).await?;
            Ok(Json(acknowledgement(&state, accepted)).into_response())
        }
        Ok(Identity::Challenge(challenge)) => Ok(Json(Challenge { challenge }).into_response()),
        Err(rejection) => {
            let remote = parts
                .extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|it| it.0);
            state
                .store
                .reject(rejected(integration, &received, rejection, remote))
                .await;
            Err(ApiError::InvalidSignature)
        }
    }
}

fn find_integration<'a>(config: &'a Config, source: &str, id: &str) -> Option<&'a Integration> {
    config
        .integrations
        .get(id)
        .filter(|it| it.source.as_str() == source)
}

fn identify(integration: &Integration, received: &Received) -> Result<Identity, Rejection> {
    let delivery = Delivery {
        headers: &received.headers,
        body: &received.body,
        received_at: received.at,
    };
    let verified = sources::verify(&integration.source, &integration.secrets, delivery)?;
    Ok(sources::identify(&verified, &received.body))
}

fn new_event(
    config: &Config,
    integration: &Integration,
    received: Received,
    identity: EventIdentity,
) -> NewEvent {
    let policies = config.policies_for(&integration.tenant, &identity.event_type);
    let arrival = routing::Arrival {
        body: &received.body,
        ordering_key: identity.ordering_key.as_deref(),
        occurred_at: identity.occurred_at,
        received_at: received.at,
    };
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
async fn accept(state: &HttpState, event: NewEvent) -> Result<Accepted, ApiError> {
    // The write goes on when this future is dropped, because the sender hung up; then nobody
    // is left to see its end, and the worker is told before it.
    let mut wake = WakeOnDrop(Some(&state.runs_wake));
    let accepted = state.store.accept(event).await;
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
    integration: &Integration,
    received: &Received,
    rejection: Rejection,
    remote: Option<SocketAddr>,
) -> Rejected {
    Rejected {
        at: received.at,
        tenant: integration.tenant.clone(),
        integration_id: integration.id.clone(),
        source: integration.source.as_str().to_owned(),
        cause: rejection.cause(),
        detail: rejection.to_string(),
        remote: remote.map_or_else(|| "unknown".to_owned(), |it| it.ip().to_string()),
        body_bytes: received.body.len(),
        body_sha256: Sha256::digest(&received.body).into(),
    }
}
