//! HTTP in and out: deliveries, the API, and pages for people.
//!
//! Called by `app`, which serves the router. Who sent a delivery is decided by
//! `sources`, what is kept by `store`; a handler takes, asks and answers. Nothing
//! here runs a policy: `worker` is told only that there is something to do.

mod api;
mod auth;
mod body;
mod config;
mod connections;
mod error;
mod health;
mod ingest;
mod integrations;
mod login;
mod pages;
mod plugins;
mod rate;
mod remote;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::deployments::{Deployments, PUSHED_BYTES_MAX};
use crate::live::Live;
use crate::model::id::{EventId, RunId};
use crate::store::Store;

pub use body::BODY_TIMEOUT;
pub use connections::serve;
pub use rate::Rates;

/// The largest body of a request that is not a delivery.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// What the handlers get, each time anew.
pub type HttpState = Arc<Shared>;

/// What the handlers share.
pub struct Shared {
    /// What the operator configured, as it is in force.
    pub live: Arc<Live>,
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Told when a run is queued.
    pub runs_wake: Arc<Notify>,
    /// What the integrations used of their rate limits. Outlives every configuration.
    pub rates: Arc<Rates>,
    /// Changes which versions of plugins run.
    pub deployments: Deployments,
}

impl Shared {
    /// How the outside reaches a path of this host.
    fn url(&self, path: &str) -> String {
        let setup = self.live.current();
        let public_url = setup.config.public_url.as_str();
        format!("{}{path}", public_url.trim_end_matches('/'))
    }

    /// Where a person sees what became of an event: its first run, or itself where it has none.
    fn trace_url(&self, event_id: EventId, run_ids: &[RunId]) -> String {
        match run_ids.first() {
            Some(run_id) => self.url(&format!("/runs/{run_id}")),
            None => self.url(&format!("/events/{event_id}")),
        }
    }
}

/// Every route.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route(
            "/v1/webhooks/{source}/{integration_id}",
            post(ingest::ingest),
        )
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/v1/events", get(api::list_events))
        .route("/v1/events/{id}", get(api::show_event))
        .route("/v1/events/{id}/payload", get(api::show_payload))
        .route("/v1/runs", get(api::list_runs))
        .route("/v1/runs/{id}", get(api::show_run))
        .route("/v1/runs/{id}/trace", get(api::show_trace))
        .route("/v1/tickets", get(api::list_tickets))
        .route("/v1/tickets/{id}", get(api::show_ticket))
        .route("/v1/rejections", get(api::list_rejections))
        .route("/v1/rejections/counts", get(api::count_rejections))
        .route("/v1/config", get(config::show_config))
        .route(
            "/v1/integrations",
            get(integrations::list).post(integrations::add),
        )
        .route(
            "/v1/integrations/{id}",
            get(integrations::show)
                .patch(integrations::change)
                .delete(integrations::remove),
        )
        .route(
            "/v1/integrations/{id}/rotate-secret",
            post(integrations::rotate_secret),
        )
        .route(
            "/v1/integrations/{id}/secrets/{secret_id}",
            delete(integrations::retire_secret),
        )
        .route("/v1/plugins", get(plugins::list))
        .route(
            "/v1/plugins/{name}/versions",
            get(plugins::list_versions)
                .post(plugins::push)
                .layer(DefaultBodyLimit::max(PUSHED_BYTES_MAX)),
        )
        .route("/v1/plugins/{name}/activate", post(plugins::activate))
        .route("/v1/plugins/{name}/rollback", post(plugins::roll_back))
        .route("/v1/plugins/{name}/release", post(plugins::release))
        .route("/v1/login-links", post(api::create_login_link))
        .route("/", get(pages::list_events))
        .route("/events/{id}", get(pages::show_event))
        .route("/runs/{id}", get(pages::show_run))
        .route("/login", get(login::form).post(login::log_in))
        .route("/login/{link}", get(login::link_form).post(login::use_link))
        .route("/logout", post(login::log_out))
        .route("/assets/triage.css", get(pages::stylesheet))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(state)
}
