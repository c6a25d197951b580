//! Who asks: a program with a token, or a browser with a session.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::HttpState;
use super::error::ApiError;
use super::pages;
use crate::model::secret::Secret;
use crate::store::access::{Access, Role};

/// The session's cookie.
pub const COOKIE: &str = "triage_session";
/// Longer secrets are not ours; they are not looked for.
const SECRET_BYTES_MAX: usize = 256;

/// Somebody who may ask the API.
pub struct Caller(pub Access);

impl Caller {
    /// The tenant whose data may be seen; every tenant's where `None`.
    pub fn tenant(&self) -> Option<String> {
        self.0.tenant.clone()
    }

    /// Refuses whoever may do less than this role.
    pub fn require(&self, role: Role) -> Result<(), ApiError> {
        match self.0.role < role {
            true => Err(ApiError::Forbidden("this token's role does not allow it")),
            false => Ok(()),
        }
    }
}

impl FromRequestParts<HttpState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, ApiError> {
        find(&parts.headers, state)
            .await?
            .map(Self)
            .ok_or(ApiError::Unauthorized)
    }
}

/// Somebody who may see pages.
pub struct Visitor(pub Access);

impl Visitor {
    /// The tenant whose data may be seen; every tenant's where `None`.
    pub fn tenant(&self) -> Option<String> {
        self.0.tenant.clone()
    }
}

impl FromRequestParts<HttpState> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Response> {
        let found = find(&parts.headers, state)
            .await
            .map_err(|error| pages::error_page(&error))?;
        found.map(Self).ok_or_else(|| log_in_first(parts))
    }
}

/// The secret of the session that a browser holds.
pub fn session(headers: &HeaderMap) -> Option<Secret> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(';'))
        .filter_map(|it| it.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
        .filter(|it| it.len() <= SECRET_BYTES_MAX)
        .map(Secret::new)
}

/// Whether another site made the browser send this.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|it| it == "cross-site")
}

async fn find(headers: &HeaderMap, state: &HttpState) -> Result<Option<Access>, ApiError> {
    // A token that is sent but wrong is not made up for by a session.
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let token = authorization.to_str().ok().and_then(bearer);
        return match token {
            Some(token) => Ok(state.store.find_token(&token).await?),
            None => Ok(None),
        };
    }
    match session(headers) {
        Some(session) => Ok(state
            .store
            .find_session(&session, state.clock.now())
            .await?),
        None => Ok(None),
    }
}

fn bearer(authorization: &str) -> Option<Secret> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= SECRET_BYTES_MAX)
        .then(|| Secret::new(token))
}

fn log_in_first(parts: &Parts) -> Response {
    // A link in a chat or mail is opened without the cookie, which is sent for requests of our
    // own pages only. So the browser is asked to load the page again, now from our own page.
    if is_cross_site(&parts.headers) {
        return pages::load_again();
    }
    let wanted = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    Redirect::to(&format!(
        "/login?next={}",
        utf8_percent_encode(wanted, NON_ALPHANUMERIC)
    ))
    .into_response()
}
