//! Logging a browser in: with a token, or with a link that works once.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::HttpState;
use super::api::{self, Asked, InPath};
use super::auth::{self, COOKIE};
use super::error::ApiError;
use super::pages::{self, PageError};
use crate::model::secret::Secret;
use crate::store::access::SESSION_MS;

const WRONG_TOKEN: &str = "This token is not known. Was it copied as a whole?";
const USED_LINK: &str =
    "This link was used before, or its time is over. Ask for another, or log in with a token.";

/// Where to go after logging in.
#[derive(Deserialize)]
pub struct Next {
    #[serde(default)]
    next: String,
}

/// The login form's fields.
#[derive(Deserialize)]
pub struct LoginForm {
    token: String,
    #[serde(default)]
    next: String,
}

/// Asks for a token.
pub async fn form(query: Asked<Next>) -> Response {
    let next = query.map_or_else(|_| String::new(), |Query(it)| it.next);
    pages::login(StatusCode::OK, local(&next), None)
}

/// Turns a token into a session.
pub async fn log_in(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(form) = form.map_err(|error| ApiError::BadRequest(error.body_text()))?;
    refuse_cross_site(&headers)?;
    let next = local(&form.next);
    match state
        .store
        .find_token(&Secret::new(form.token.trim()))
        .await?
    {
        Some(access) => {
            let session = state
                .store
                .create_session(access.token_id, state.clock.now())
                .await?;
            Ok(logged_in(&state, &session, next))
        }
        None => Ok(pages::login(
            StatusCode::UNAUTHORIZED,
            next,
            Some(WRONG_TOKEN),
        )),
    }
}

/// Offers to use a login link.
///
/// Opening the link does not use it up: chat programs and mail scanners open links before
/// people do. And a browser sends the new cookie along only when our own page made the request.
pub async fn link_form(path: InPath) -> Result<Response, PageError> {
    let link: String = api::parse(path)?;
    Ok(pages::login_link(&link))
}

/// Turns a login link into a session.
pub async fn use_link(
    State(state): State<HttpState>,
    headers: HeaderMap,
    path: InPath,
) -> Result<Response, PageError> {
    let link: String = api::parse(path)?;
    refuse_cross_site(&headers)?;
    match state
        .store
        .use_login_link(&Secret::new(link), state.clock.now())
        .await?
    {
        Some(session) => Ok(logged_in(&state, &session, "/")),
        None => Ok(pages::login(StatusCode::UNAUTHORIZED, "/", Some(USED_LINK))),
    }
}

/// Ends the session.
pub async fn log_out(
    State(state): State<HttpState>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    refuse_cross_site(&headers)?;
    if let Some(session) = auth::session(&headers) {
        state.store.end_session(&session).await?;
    }
    Ok(with_cookie(&state, "", 0, "/login"))
}

fn logged_in(state: &HttpState, session: &Secret, next: &str) -> Response {
    with_cookie(state, session.expose(), SESSION_MS / 1000, next)
}

fn with_cookie(state: &HttpState, value: &str, seconds: i64, next: &str) -> Response {
    let secure = if state.live.current().config.public_url.scheme() == "https" {
        "; Secure"
    } else {
        ""
    };
    let cookie =
        format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut response = Redirect::to(next).into_response();
    // A session is base64url text: always a header value.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Another site must not log a browser in or out: its user would see somebody else's data as their own.
fn refuse_cross_site(headers: &HeaderMap) -> Result<(), PageError> {
    match auth::is_cross_site(headers) {
        true => Err(ApiError::Forbidden("this form was sent from another site").into()),
        false => Ok(()),
    }
}

/// A path on this host. Whatever a browser could take for another host becomes the first page.
fn local(next: &str) -> &str {
    let plain = next.bytes().all(|it| it.is_ascii_graphic() && it != b'\\');
    if plain && next.starts_with('/') && !next.starts_with("//") {
        next
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_paths_are_followed() {
        for next in ["/", "/runs/run_1?x=1", "/events?next=//a"] {
            assert_eq!(local(next), next);
        }
        for next in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "runs",
            "/a\tb",
            "/a\r\nb: c",
            "/ü",
        ] {
            assert_eq!(local(next), "/", "{next:?}");
        }
    }
}
