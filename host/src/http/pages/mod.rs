//! Pages for people: what came in, what was decided, what was done about it.
//!
//! Everything that is shown may come from a stranger: `maud` escapes all of it, the
//! pages hold no script, and their policy allows none.

mod event;
mod events;
mod layout;
mod parts;
mod payload;
mod run;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::HttpState;
use super::api::{self, Asked, EventQuery, InPath};
use super::auth::Visitor;
use super::error::ApiError;
use crate::store::StoreError;

const STYLESHEET: &str = include_str!("../assets/triage.css");

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// An error that a person sees.
#[derive(Debug)]
pub struct PageError(ApiError);

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        error_page(&self.0)
    }
}

/// `GET /`: the newest events.
pub async fn list_events(
    visitor: Visitor,
    State(state): State<HttpState>,
    query: Asked<EventQuery>,
) -> Result<Response, PageError> {
    let query = api::asked(query)?;
    let events = state
        .store
        .list_events(visitor.tenant(), query.filter()?, query.page()?)
        .await?;
    Ok(page(
        StatusCode::OK,
        "Events",
        events::list(&events, &query),
    ))
}

/// `GET /events/{id}`: one event.
pub async fn show_event(
    visitor: Visitor,
    State(state): State<HttpState>,
    path: InPath,
) -> Result<Response, PageError> {
    let id = api::parse(path)?;
    let trace = state
        .store
        .event_trace(visitor.tenant(), id)
        .await?
        .ok_or(ApiError::NotFound)?;
    let (_, body) = state
        .store
        .payload(visitor.tenant(), id)
        .await?
        .ok_or(ApiError::NotFound)?;
    Ok(page(
        StatusCode::OK,
        &trace.event.event_type,
        event::show(&trace, &body),
    ))
}

/// `GET /runs/{id}`: the trace of one run.
pub async fn show_run(
    visitor: Visitor,
    State(state): State<HttpState>,
    path: InPath,
) -> Result<Response, PageError> {
    let id = api::parse(path)?;
    let trace = state
        .store
        .run_trace(visitor.tenant(), id)
        .await?
        .ok_or(ApiError::NotFound)?;
    let body = state
        .store
        .payload(visitor.tenant(), trace.event.event_id)
        .await?;
    let (_, body) = body.ok_or(StoreError::Malformed("run without its event"))?;
    let content = run::show(&trace, &body);
    let refresh = run::is_under_way(&trace).then_some(run::REFRESH_S);
    Ok(respond(
        StatusCode::OK,
        layout::page(&trace.event.event_type, refresh, content),
    ))
}

/// `GET /assets/triage.css`
pub async fn stylesheet() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, STYLESHEET).into_response()
}

/// The form that asks for a token.
pub fn login(status: StatusCode, next: &str, problem: Option<&str>) -> Response {
    respond(
        status,
        layout::outside("Log in", layout::login_form(next, problem)),
    )
}

/// The page that a login link opens.
pub fn login_link(link: &str) -> Response {
    respond(
        StatusCode::OK,
        layout::outside("Log in", layout::link_form(link)),
    )
}

/// Asks the browser to load the same page again, from our own page.
pub fn load_again() -> Response {
    respond(StatusCode::OK, layout::load_again())
}

/// What went wrong, for a person.
pub fn error_page(error: &ApiError) -> Response {
    error.log();
    let (status, _, message) = error.parts();
    let title = status.canonical_reason().unwrap_or("Error");
    let content = html! {
        h1 { (title) }
        p { (message) "." }
        p { a href="/" { "All events" } }
    };
    let mut response = page(status, title, content);
    if let Some((name, value)) = error.advice() {
        response.headers_mut().insert(name, value);
    }
    response
}

fn page(status: StatusCode, title: &str, content: Markup) -> Response {
    respond(status, layout::page(title, None, content))
}

/// The only way out for HTML, so that no page goes without these headers.
fn respond(status: StatusCode, markup: Markup) -> Response {
    let mut response = (status, markup.into_string()).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
