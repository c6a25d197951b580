//! What is sent, and what may not be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::EgressError;

/// Length of a URL. Servers commonly stop at 8 KiB (RFC 9110, 4.1 asks for 8,000 or more).
const URL_BYTES_MAX: usize = 8 * 1024;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// All names and values of a request together; servers commonly take 8 to 16 KiB.
const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// Body of a request: room for the largest event in base64 with its envelope.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Headers that the client itself sets, or that speak to the next hop only (RFC 9110, 7.6.1).
///
/// Set by a caller, they could make one request look like two (RFC 9112, 11.2) or ask an
/// allowed address for a host that was not granted.
const RESERVED_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a request asks for. Deliberately absent: `CONNECT` and `TRACE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RFC 9110, 9 and RFC 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// The text is no method that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("method is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
pub struct BadMethod;

impl FromStr for Method {
    type Err = BadMethod;

    fn from_str(text: &str) -> Result<Self, BadMethod> {
        match text {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            "POST" => Ok(Self::Post),
            "PUT" => Ok(Self::Put),
            "PATCH" => Ok(Self::Patch),
            "DELETE" => Ok(Self::Delete),
            "OPTIONS" => Ok(Self::Options),
            _ => Err(BadMethod),
        }
    }
}

impl Method {
    fn to_client_method(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Head => reqwest::Method::HEAD,
            Self::Post => reqwest::Method::POST,
            Self::Put => reqwest::Method::PUT,
            Self::Patch => reqwest::Method::PATCH,
            Self::Delete => reqwest::Method::DELETE,
            Self::Options => reqwest::Method::OPTIONS,
        }
    }
}

/// One request. Its debug output shows neither path nor header values nor body.
#[derive(Clone)]
pub struct Request {
    /// What it asks for.
    pub method: Method,
    /// Absolute, `http` or `https`, without user name and password.
    pub url: Url,
    /// Names and values, besides those that the client sets itself.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
    /// For the whole exchange; bounded by [`super::TIMEOUT_MAX`].
    pub timeout: Duration,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl Request {
    /// Checks everything but the URL's address and turns into the client's type.
    pub(super) fn into_client_request(self) -> Result<reqwest::Request, EgressError> {
        let limits = [
            ("url", self.url.as_str().len(), URL_BYTES_MAX, "bytes"),
            ("request", self.headers.len(), HEADERS_MAX, "headers"),
            (
                "headers",
                headers_bytes(&self.headers),
                HEADERS_BYTES_MAX,
                "bytes",
            ),
            ("body", self.body.len(), BODY_BYTES_MAX, "bytes"),
        ];
        for (what, size, size_max, unit) in limits {
            if size_max < size {
                return Err(EgressError::InvalidRequest(format!(
                    "{what} has {size} {unit}, at most {size_max} are sent"
                )));
            }
        }
        let mut request = reqwest::Request::new(self.method.to_client_method(), self.url);
        for (name, value) in &self.headers {
            let (name, value) = header(name, value)?;
            request.headers_mut().append(name, value);
        }
        if !self.body.is_empty() {
            *request.body_mut() = Some(self.body.into());
        }
        Ok(request)
    }
}

fn headers_bytes(headers: &[(String, String)]) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

/// A header that cannot be read as anything else (RFC 9110, 5.1 and 5.5).
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), EgressError> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        let text = format!("`{}` is no header name", name.escape_debug());
        return Err(EgressError::InvalidRequest(text));
    };
    if RESERVED_HEADERS.contains(&parsed.as_str()) {
        return Err(EgressError::InvalidRequest(format!(
            "header `{parsed}` cannot be set"
        )));
    }
    // Beyond ASCII each reader decodes differently. The value is not shown: it may be a token.
    let is_text = value
        .bytes()
        .all(|it| it == b'\t' || it == b' ' || it.is_ascii_graphic());
    let Some(mut value) = HeaderValue::from_str(value).ok().filter(|_| is_text) else {
        let text = format!("value of header `{parsed}` is not visible ASCII");
        return Err(EgressError::InvalidRequest(text));
    };
    value.set_sensitive(true);
    Ok((parsed, value))
}
