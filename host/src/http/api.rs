//! The API: lists and objects as JSON, for whoever has a token.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::HttpState;
use super::auth::Caller;
use super::error::ApiError;
use crate::model::id::RunId;
use crate::model::time::{TimestampMs, parse_rfc3339};
use crate::store::access::Role;
use crate::store::rejections::{RejectionCount, RejectionView};
use crate::store::tickets::TicketView;
use crate::store::trace::RunTrace;
use crate::store::views::{
    At, EventFilter, EventView, Page, PageRequest, RunDetail, RunFilter, RunView,
};

/// How long a login link works, in milliseconds.
const LOGIN_LINK_MS: i64 = 600_000;

type Answer<T> = Result<Json<T>, ApiError>;
/// A query that may not be what the route takes.
pub type Asked<T> = Result<Query<T>, QueryRejection>;
/// The variable part of a path, which may not even be text.
pub type InPath = Result<Path<String>, PathRejection>;

/// An object together with where a person can see it.
#[derive(Serialize)]
pub struct Traced<T> {
    #[serde(flatten)]
    item: T,
    trace_url: String,
}

/// A page of a list.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Filters and page of a list of events.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    integration: Option<String>,
    r#type: Option<String>,
    state: Option<String>,
    since: Option<String>,
    until: Option<String>,
    idempotency_key: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Filters and page of a list of runs.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    policy: Option<String>,
    state: Option<String>,
    event_id: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// A link that logs a browser in, once.
#[derive(Serialize)]
pub struct LoginLink {
    url: String,
    expires_at: At,
}

/// All there are: integrations are few, and so are causes.
#[derive(Serialize)]
pub struct Counts {
    items: Vec<RejectionCount>,
}

/// `GET /v1/events`
pub async fn list_events(
    caller: Caller,
    State(state): State<HttpState>,
    query: Asked<EventQuery>,
) -> Answer<Page<Traced<EventView>>> {
    let query = asked(query)?;
    let page = page(query.cursor.as_deref(), query.limit)?;
    let events = state
        .store
        .list_events(caller.tenant(), query.filter()?, page)
        .await?;
    Ok(Json(events.map(|it| traced_event(&state, it))))
}

/// `GET /v1/events/{id}`
pub async fn show_event(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Answer<Traced<EventView>> {
    let event = state
        .store
        .event(caller.tenant(), parse(path)?)
        .await?
        .ok_or(ApiError::NotFound)?;
    Ok(Json(traced_event(&state, event)))
}

/// `GET /v1/events/{id}/payload`: exactly the bytes that were signed.
pub async fn show_payload(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Result<Response, ApiError> {
    let found = state.store.payload(caller.tenant(), parse(path)?).await?;
    let (_, body) = found.ok_or(ApiError::NotFound)?;
    let mut response = body.into_response();
    // A sender chooses these bytes: no browser may take them for a page of ours.
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"payload\"",
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// `GET /v1/runs`
pub async fn list_runs(
    caller: Caller,
    State(state): State<HttpState>,
    query: Asked<RunQuery>,
) -> Answer<Page<Traced<RunView>>> {
    let query = asked(query)?;
    let page = page(query.cursor.as_deref(), query.limit)?;
    let runs = state
        .store
        .list_runs(caller.tenant(), query.filter()?, page)
        .await?;
    Ok(Json(runs.map(|it| traced_run(&state, it.run_id, it))))
}

/// `GET /v1/runs/{id}`
pub async fn show_run(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Answer<Traced<RunDetail>> {
    let run = state
        .store
        .run(caller.tenant(), parse(path)?)
        .await?
        .ok_or(ApiError::NotFound)?;
    Ok(Json(traced_run(&state, run.run.run_id, run)))
}

/// `GET /v1/runs/{id}/trace`
pub async fn show_trace(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Answer<Traced<RunTrace>> {
    let trace = state
        .store
        .run_trace(caller.tenant(), parse(path)?)
        .await?
        .ok_or(ApiError::NotFound)?;
    Ok(Json(traced_run(&state, trace.run.run_id, trace)))
}

/// `GET /v1/tickets`
pub async fn list_tickets(
    caller: Caller,
    State(state): State<HttpState>,
    query: Asked<PageQuery>,
) -> Answer<Page<Traced<TicketView>>> {
    let query = asked(query)?;
    let tickets = state
        .store
        .list_tickets(caller.tenant(), page(query.cursor.as_deref(), query.limit)?)
        .await?;
    Ok(Json(tickets.map(|it| traced_run(&state, it.run_id, it))))
}

/// `GET /v1/tickets/{id}`
pub async fn show_ticket(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Answer<Traced<TicketView>> {
    let ticket = state
        .store
        .ticket(caller.tenant(), parse(path)?)
        .await?
        .ok_or(ApiError::NotFound)?;
    Ok(Json(traced_run(&state, ticket.run_id, ticket)))
}

/// `GET /v1/rejections`
pub async fn list_rejections(
    caller: Caller,
    State(state): State<HttpState>,
    query: Asked<PageQuery>,
) -> Answer<Page<RejectionView>> {
    let query = asked(query)?;
    let page = page(query.cursor.as_deref(), query.limit)?;
    Ok(Json(
        state.store.list_rejections(caller.tenant(), page).await?,
    ))
}

/// `GET /v1/rejections/counts`: a row for each integration and cause.
pub async fn count_rejections(caller: Caller, State(state): State<HttpState>) -> Answer<Counts> {
    let items = state.store.count_rejections(caller.tenant()).await?;
    Ok(Json(Counts { items }))
}

/// `POST /v1/login-links`: lets a browser in with the rights of the caller's token.
pub async fn create_login_link(
    caller: Caller,
    State(state): State<HttpState>,
) -> Answer<LoginLink> {
    caller.require(Role::Admin)?;
    let now = state.clock.now();
    let link = state
        .store
        .create_login_link(caller.0.token_id, now, LOGIN_LINK_MS)
        .await?;
    Ok(Json(LoginLink {
        url: state.url(&format!("/login/{}", link.expose())),
        expires_at: At(now + LOGIN_LINK_MS),
    }))
}

impl EventQuery {
    /// The filter; an empty field, as a form sends it, is none.
    pub fn filter(&self) -> Result<EventFilter, ApiError> {
        Ok(EventFilter {
            integration_id: given(&self.integration).map(str::to_owned),
            event_type: parsed("type", &self.r#type)?,
            state: parsed("state", &self.state)?,
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
            idempotency_key: given(&self.idempotency_key).map(str::to_owned),
        })
    }

    /// The page.
    pub fn page(&self) -> Result<PageRequest, ApiError> {
        page(self.cursor.as_deref(), self.limit)
    }

    /// A filter's text by its name, to fill a form in again.
    pub fn text(&self, name: &str) -> &str {
        let field = match name {
            "integration" => &self.integration,
            "type" => &self.r#type,
            "state" => &self.state,
            "since" => &self.since,
            "until" => &self.until,
            _ => &self.idempotency_key,
        };
        given(field).unwrap_or_default()
    }
}

impl RunQuery {
    fn filter(&self) -> Result<RunFilter, ApiError> {
        Ok(RunFilter {
            policy: given(&self.policy).map(str::to_owned),
            state: parsed("state", &self.state)?,
            event_id: parsed("event_id", &self.event_id)?,
        })
    }
}

/// What the query says, or what is wrong with it.
pub fn asked<T>(query: Asked<T>) -> Result<T, ApiError> {
    query
        .map(|Query(it)| it)
        .map_err(|error| ApiError::BadRequest(error.body_text()))
}

/// An id of a path. What is not an id of this kind names nothing.
pub fn parse<T: std::str::FromStr>(path: InPath) -> Result<T, ApiError> {
    let Path(id) = path.map_err(|_| ApiError::NotFound)?;
    id.parse().map_err(|_| ApiError::NotFound)
}

fn page(cursor: Option<&str>, limit: Option<u32>) -> Result<PageRequest, ApiError> {
    PageRequest::new(cursor.filter(|it| !it.is_empty()), limit)
        .map_err(|error| ApiError::BadRequest(error.to_string()))
}

fn given(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|it| !it.is_empty())
}

fn parsed<T>(name: &str, field: &Option<String>) -> Result<Option<T>, ApiError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let parsed = given(field).map(|it| it.parse()).transpose();
    parsed.map_err(|error: T::Err| ApiError::BadRequest(format!("{name}: {error}")))
}

fn time(name: &str, field: &Option<String>) -> Result<Option<TimestampMs>, ApiError> {
    let wrong = || {
        ApiError::BadRequest(format!(
            "{name}: not a time as 2026-01-31T08:30:00Z (RFC 3339)"
        ))
    };
    given(field)
        .map(|it| parse_rfc3339(it).ok_or_else(wrong))
        .transpose()
}

fn traced_event(state: &HttpState, item: EventView) -> Traced<EventView> {
    Traced {
        trace_url: state.trace_url(item.event_id, &item.run_ids),
        item,
    }
}

fn traced_run<T>(state: &HttpState, run_id: RunId, item: T) -> Traced<T> {
    Traced {
        trace_url: state.url(&format!("/runs/{run_id}")),
        item,
    }
}
