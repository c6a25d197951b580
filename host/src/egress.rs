//! The only door to outgoing HTTP.
//!
//! Called by `actions` (webhooks) and `capabilities` (requests of plugins, models). One
//! request goes out and one answer comes back: no redirects, proxies, cookies,
//! decompression or retries. Every address is checked before a connection is made, see
//! `address`. Which hosts a policy was granted is decided before, in `capabilities`.

mod address;
mod request;
mod resolver;
mod retry_after;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use url::{Host, Url};

use self::address::Refused;
pub use self::request::{BadMethod, Method, Request};
use self::resolver::{CheckedResolver, Lookup};
use crate::model::event::Headers;
use crate::model::time::TimestampMs;

/// The longest that a request may take, from the name's lookup to the end of the answer.
///
/// What receivers of webhooks are given in common practice (15 to 30 s).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How long a connection may take to come about, lookup and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of an answer's body is kept; the rest is not read.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Headers of an answer; one with more is an error. 100 is what common servers allow.
const RESPONSE_HEADERS_MAX: usize = 100;

/// How long an unused connection is kept, shorter than the 60 s at which many servers close it.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Unused connections kept for each host; enough for a burst of actions to one destination.
const IDLE_CONNECTIONS_PER_HOST_MAX: usize = 8;

/// Length of a text about a failed connection: parts of it come from the other side.
const DETAIL_CHARS_MAX: usize = 300;

const USER_AGENT: &str = concat!("triage/", env!("CARGO_PKG_VERSION"));

const _: () = assert!(
    CONNECT_TIMEOUT.as_millis() < TIMEOUT_MAX.as_millis(),
    "a connection must leave time for its request"
);

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Headers,
    /// At most [`RESPONSE_BYTES_MAX`], as sent.
    pub body: Bytes,
    /// Whether there was more body.
    pub truncated: bool,
    /// What a `Retry-After` header asks for, in milliseconds from the time of sending.
    pub retry_after_ms: Option<i64>,
}

/// Why there is no answer. Texts name hosts, never paths, queries, header values or bodies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The host is or resolves to an address that is not open.
    #[error("address of `{host}` is refused: {reason}; `egress.allow` can open it")]
    RefusedAddress {
        /// The host as the URL names it.
        host: String,
        /// Which range it is in.
        reason: &'static str,
    },
    /// The request makes no sense.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No answer from the other side.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The HTTP client cannot be built. Only [`Egress::new`] says so.
    #[error("http client cannot be set up: {0}")]
    Setup(String),
}

impl From<Refused> for EgressError {
    fn from(Refused { host, reason }: Refused) -> Self {
        Self::RefusedAddress { host, reason }
    }
}

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    allow: Arc<[IpNet]>,
    has_roots: bool,
}

impl Egress {
    /// A door that opens the networks of `allow` besides the public internet.
    ///
    /// Connections belong to the value, so another `allow` means another value.
    pub fn new(allow: Vec<IpNet>) -> Result<Self, EgressError> {
        Self::with_lookup(allow, Arc::new(resolver::system_lookup))
    }

    fn with_lookup(allow: Vec<IpNet>, lookup: Arc<Lookup>) -> Result<Self, EgressError> {
        // An error means that the process has a provider, from an earlier call or its own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allow: Arc<[IpNet]> = allow.into();
        let resolver = Arc::new(CheckedResolver::new(Arc::clone(&allow), lookup));
        let (client, has_roots) = match client_builder(Arc::clone(&resolver)).build() {
            Ok(client) => (client, true),
            // A minimal container has no root certificates; plain HTTP works without.
            Err(error) => {
                tracing::warn!(error = detail(&error), "https is off: no root certificates");
                let builder = client_builder(resolver).tls_certs_only([]);
                (
                    builder
                        .build()
                        .map_err(|it| EgressError::Setup(detail(&it)))?,
                    false,
                )
            }
        };
        Ok(Self {
            client,
            allow,
            has_roots,
        })
    }

    /// Sends one request; any answer is `Ok`, whatever its status.
    ///
    /// `now` is what a `Retry-After` date is counted from.
    pub async fn send(&self, request: Request, now: TimestampMs) -> Result<Response, EgressError> {
        check_url(&request.url, &self.allow)?;
        if request.url.scheme() == "https" && !self.has_roots {
            return Err(EgressError::Unreachable(
                "this machine has no root certificates".to_owned(),
            ));
        }
        let timeout = request.timeout.min(TIMEOUT_MAX);
        let exchange = self.exchange(request.into_client_request()?, now);
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(EgressError::Timeout))
    }

    async fn exchange(
        &self,
        request: reqwest::Request,
        now: TimestampMs,
    ) -> Result<Response, EgressError> {
        let mut answer = self.client.execute(request).await.map_err(classify)?;
        let headers = Headers(
            answer
                .headers()
                .iter()
                .map(|(name, value)| {
                    (
                        name.as_str().to_owned(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect(),
        );
        let retry_after_ms = headers
            .get("retry-after")
            .and_then(|it| retry_after::retry_after_ms(it, now));
        let (body, truncated) = read_body(&mut answer).await?;
        Ok(Response {
            status: answer.status().as_u16(),
            headers,
            body,
            truncated,
            retry_after_ms,
        })
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

/// Refuses a URL that can never be sent to, so that a configuration is told early.
///
/// A name is not looked up here: what it resolves to is checked at each connection.
pub fn check_url(url: &Url, allow: &[IpNet]) -> Result<(), EgressError> {
    let invalid = |text: String| Err(EgressError::InvalidRequest(text));
    if !matches!(url.scheme(), "http" | "https") {
        return invalid(format!(
            "scheme `{}` is neither http nor https",
            url.scheme()
        ));
    }
    // Names in a URL end up in logs and pages; a header is the place for credentials.
    if !url.username().is_empty() || url.password().is_some() {
        return invalid("the url holds a user name or password".to_owned());
    }
    // `Url` has turned forms as `0x7f.1` and `2130706433` into addresses. The client
    // connects to these without asking the resolver.
    let address = match url.host() {
        None => return invalid("the url names no host".to_owned()),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
    };
    address::refusal(address, allow).map_or(Ok(()), |reason| {
        Err(EgressError::RefusedAddress {
            host: address.to_string(),
            reason,
        })
    })
}

fn client_builder(resolver: Arc<CheckedResolver>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(resolver)
        .redirect(reqwest::redirect::Policy::none())
        // `lifecycle` counts attempts; one that nobody sees would not be counted.
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST_MAX)
        .http1_only()
        .http1_max_headers(RESPONSE_HEADERS_MAX)
}

/// The beginning of the body, and whether there was more.
///
/// A body that breaks off is an error: an answer that was not finished proves nothing.
async fn read_body(answer: &mut reqwest::Response) -> Result<(Bytes, bool), EgressError> {
    let mut body = BytesMut::new();
    while let Some(mut chunk) = answer.chunk().await.map_err(classify)? {
        let room = RESPONSE_BYTES_MAX.saturating_sub(body.len());
        let truncated = room < chunk.len();
        chunk.truncate(room);
        body.extend_from_slice(&chunk);
        if truncated {
            return Ok((body.freeze(), true));
        }
    }
    Ok((body.freeze(), false))
}

fn classify(error: reqwest::Error) -> EgressError {
    if let Some(refused) = causes(&error).find_map(|it| it.downcast_ref::<Refused>()) {
        return refused.clone().into();
    }
    if error.is_timeout() {
        return EgressError::Timeout;
    }
    if error.is_builder() {
        return EgressError::InvalidRequest(detail(&error.without_url()));
    }
    EgressError::Unreachable(detail(&error.without_url()))
}

/// The whole chain in one line. The caller has taken the URL out: queries hold secrets.
fn detail(error: &reqwest::Error) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    let text = texts.join(": ");
    text.chars()
        .filter(|it| !it.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |error| {
        (*error).source()
    })
}
