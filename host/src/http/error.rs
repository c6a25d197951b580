//! What a caller is told when something is not as it should be.
//!
//! Two readers, two messages: the caller gets a stable code and a sentence that
//! helps, the operator's log gets the whole chain of causes, once, here.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::deployments::{self, Refused};
use crate::integrations::Problem;
use crate::store::StoreError;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub enum ApiError {
    /// There is nothing here, or nothing that the caller may see.
    NotFound,
    /// The path is right, the method is not.
    MethodNotAllowed,
    /// The request says something that it must not.
    BadRequest(String),
    /// It is not known who asks.
    Unauthorized,
    /// It is known who asks, and that is not enough.
    Forbidden(&'static str),
    /// A delivery is not believed. One answer for every cause: a forger learns nothing.
    InvalidSignature,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body ended before its announced end.
    BodyCutOff,
    /// The body is larger than this many bytes.
    PayloadTooLarge(usize),
    /// Too many headers, or too long ones.
    HeadersTooLarge,
    /// The integration's rate limit is used up; one more is taken in so many seconds.
    RateLimited {
        /// At least 1.
        retry_after_s: i64,
    },
    /// The path with its query is longer than this many bytes.
    UriTooLong(usize),
    /// More requests are under way than the host takes on.
    TooManyRequests,
    /// What is there does not allow it: a stable code, and a sentence.
    Conflict(&'static str, String),
    /// A component cannot be used as what it was given for.
    InvalidPlugin(String),
    /// Something beside the store does not work: a sentence.
    Unavailable(String),
    /// Secrets cannot be sealed or opened.
    MasterKey(String),
    /// The store did not do what it was asked.
    Store(StoreError),
}

/// The body of every error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    /// Status, stable code, and a sentence for the caller.
    pub fn parts(&self) -> (StatusCode, &'static str, String) {
        let fixed = |status, code, message: &str| (status, code, message.to_owned());
        match self {
            Self::NotFound => fixed(StatusCode::NOT_FOUND, "not_found", "no such resource"),
            Self::MethodNotAllowed => fixed(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path takes another method",
            ),
            Self::BadRequest(message) => fixed(StatusCode::BAD_REQUEST, "bad_request", message),
            Self::Unauthorized => fixed(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send a valid token as `Authorization: Bearer …`",
            ),
            Self::Forbidden(message) => fixed(StatusCode::FORBIDDEN, "forbidden", message),
            Self::InvalidSignature => fixed(
                StatusCode::UNAUTHORIZED,
                "invalid_signature",
                "the signature is missing, does not match the body, or is outside the time window",
            ),
            Self::BodyTooSlow => fixed(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "the body did not arrive in time",
            ),
            Self::BodyCutOff => fixed(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the body ended early",
            ),
            Self::PayloadTooLarge(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                format!("the body is larger than {limit} bytes, the limit here"),
            ),
            Self::HeadersTooLarge => fixed(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "the request has too many headers, or too long ones",
            ),
            Self::RateLimited { retry_after_s } => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                format!(
                    "more deliveries than this integration's rate limit allows: \
                     nothing was kept, try again in {retry_after_s} s"
                ),
            ),
            Self::UriTooLong(limit) => (
                StatusCode::URI_TOO_LONG,
                "uri_too_long",
                format!("the path and its query are longer than {limit} bytes, the limit here"),
            ),
            Self::Conflict(code, message) => fixed(StatusCode::CONFLICT, code, message),
            Self::InvalidPlugin(it) => {
                fixed(StatusCode::UNPROCESSABLE_ENTITY, "invalid_plugin", it)
            }
            Self::Unavailable(it) => fixed(StatusCode::SERVICE_UNAVAILABLE, "unavailable", it),
            Self::MasterKey(it) => fixed(StatusCode::SERVICE_UNAVAILABLE, "master_key", it),
            Self::TooManyRequests => fixed(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "nothing was kept: try again in a second",
            ),
            Self::Store(error) => of_store(error),
        }
    }

    /// The name under which a refused delivery is listed and counted; `None` where it is not.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::HeadersTooLarge => Some("headers_too_large"),
            Self::PayloadTooLarge(_) => Some("body_too_large"),
            Self::BodyTooSlow => Some("body_too_slow"),
            Self::BodyCutOff => Some("body_cut_off"),
            Self::RateLimited { .. } => Some("rate_limited"),
            Self::Store(StoreError::QueueFull(_)) => Some("queue_full"),
            // Of an `InvalidSignature`, `sources` knows the cause.
            Self::InvalidSignature
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::BadRequest(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::UriTooLong(_)
            | Self::TooManyRequests
            | Self::Conflict(..)
            | Self::InvalidPlugin(_)
            | Self::Unavailable(_)
            | Self::MasterKey(_)
            | Self::Store(_) => None,
        }
    }

    /// Tells the operator what the caller is not told.
    pub fn log(&self) {
        match self {
            // Load and not a fault: it is counted, and one line for each refusal would be load as well.
            Self::Store(error @ (StoreError::Busy | StoreError::QueueFull(_))) => {
                tracing::debug!(error = %error, "refused")
            }
            Self::Store(error) => tracing::error!(error = chain(error), "request failed"),
            Self::MasterKey(error) | Self::Unavailable(error) => {
                tracing::error!(error, "request failed");
            }
            _ => (),
        }
    }

    /// Headers that tell a program what to do.
    pub fn advice(&self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::RateLimited { retry_after_s } => {
                Some((header::RETRY_AFTER, HeaderValue::from(*retry_after_s)))
            }
            Self::TooManyRequests | Self::Store(StoreError::Busy) => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("1")))
            }
            Self::Store(_) => Some((header::RETRY_AFTER, HeaderValue::from_static("5"))),
            _ => None,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let code = problem.code();
        let message = problem.to_string();
        match problem {
            Problem::NotFound => Self::NotFound,
            Problem::Invalid(message) => Self::BadRequest(message),
            Problem::MasterKey(_) => Self::MasterKey(message),
            Problem::Store(error) => Self::Store(error),
            Problem::InFile(_)
            | Problem::Taken(_)
            | Problem::TooMany(_)
            | Problem::LastSecret(..) => Self::Conflict(code, message),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let message = chain(&refused);
        match refused {
            Refused::NoPlugin(_) => Self::NotFound,
            Refused::NotAVersion(_) | Refused::NoVersion(..) | Refused::Ambiguous(..) => {
                Self::BadRequest(message)
            }
            Refused::NothingBefore(_) => Self::Conflict("no_version_before", message),
            Refused::NotKept(..) => Self::Conflict("not_kept", message),
            Refused::NotNow(..) | Refused::Shelf(..) | Refused::CutOff(_) => {
                Self::Unavailable(message)
            }
            Refused::Invalid { .. } | Refused::Unfit(..) => Self::InvalidPlugin(message),
            Refused::Store(error) => Self::Store(error),
        }
    }
}

impl From<deployments::Problem> for ApiError {
    fn from(problem: deployments::Problem) -> Self {
        match problem {
            deployments::Problem::Store(error) => Self::Store(error),
            problem @ (deployments::Problem::Plugins(_) | deployments::Problem::Egress(_)) => {
                Self::Unavailable(problem.to_string())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let (status, code, message) = self.parts();
        let mut response = (
            status,
            Json(ErrorBody {
                code,
                message: &message,
            }),
        )
            .into_response();
        if let Some((name, value)) = self.advice() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Status, stable code, and a sentence for the caller.
fn of_store(error: &StoreError) -> (StatusCode, &'static str, String) {
    match error {
        StoreError::Busy => ApiError::TooManyRequests.parts(),
        StoreError::QueueFull(at) => (
            StatusCode::TOO_MANY_REQUESTS,
            "queue_full",
            format!("{at}: nothing was kept, try again in some seconds"),
        ),
        StoreError::Unavailable(_) | StoreError::Malformed(_) | StoreError::Closed => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the store does not answer; nothing was kept: try again in a few seconds".to_owned(),
        ),
    }
}

/// Answers every path that is not there.
pub async fn not_found() -> ApiError {
    ApiError::NotFound
}

/// Answers every method that a path does not take.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
