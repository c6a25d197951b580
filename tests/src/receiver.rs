//! A receiver of webhooks: records what comes in, proves its signature, answers as scripted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::task::JoinHandle;

use crate::config::RECEIVER_SECRET;
use crate::delivery::now;
use crate::http::{Headers, runtime};
use crate::wait::wait_until;

/// How old a signature may be, in seconds; what the libraries of Standard Webhooks take.
const TOLERANCE_S: i64 = 300;

/// What to answer to one request.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// A `Retry-After` header.
    pub retry_after: Option<&'static str>,
}

impl Reply {
    /// Only a status.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            retry_after: None,
        }
    }
}

/// One request that came in with a good signature.
#[derive(Clone, Debug)]
pub struct Received {
    /// Names in lower case.
    pub headers: Headers,
    /// As signed.
    pub body: Vec<u8>,
    /// The signed time in seconds.
    pub signed_at: i64,
    /// What was answered.
    pub status: u16,
}

impl Received {
    /// A header's value.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map_or_else(
            || panic!("no header {name} in {:?}", self.headers),
            |(_, value)| value,
        )
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Seen {
    script: VecDeque<Reply>,
    requests: Vec<Received>,
    unproven: Vec<String>,
}

/// A local webhook receiver. It stops, and checks that every signature was good, when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Answers with the script's replies, one after another, and then with 200.
    pub fn start(script: &[Reply]) -> Self {
        let seen = Seen {
            script: script.iter().copied().collect(),
            ..Seen::default()
        };
        let seen = Arc::new(Mutex::new(seen));
        let app = Router::new().fallback(receive).with_state(seen.clone());
        let listener = runtime()
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let serving = runtime().spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            seen,
            serving,
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The same by name: an address that shows only once the name is looked up.
    pub fn url_by_name(&self) -> String {
        format!("http://localhost:{}/hook", self.address.port())
    }

    /// What came in so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Waits until so many requests came in.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_until(&format!("{count} webhooks"), || {
            let received = self.received();
            if count <= received.len() {
                Ok(received)
            } else {
                Err(format!("{} came in", received.len()))
            }
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
        if !std::thread::panicking() {
            let unproven = &self.seen.lock().unwrap().unproven;
            assert!(
                unproven.is_empty(),
                "webhooks without a good signature: {unproven:?}"
            );
        }
    }
}

async fn receive(
    State(seen): State<Arc<Mutex<Seen>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect();
    let mut seen = seen.lock().unwrap();
    let reply = seen
        .script
        .pop_front()
        .unwrap_or_else(|| Reply::status(200));
    match signed_at(&headers, &body) {
        Ok(signed_at) => {
            seen.requests.push(Received {
                headers,
                body: body.to_vec(),
                signed_at,
                status: reply.status,
            });
        }
        Err(problem) => seen.unproven.push(format!("{problem} in {headers:?}")),
    }
    let mut response = (StatusCode::from_u16(reply.status).unwrap(), "seen").into_response();
    if let Some(value) = reply.retry_after {
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static(value));
    }
    response
}

/// Proves a request as the Standard Webhooks specification says, with no code of the host.
fn signed_at(headers: &Headers, body: &[u8]) -> Result<i64, String> {
    let get = |name: &str| {
        let found = headers.iter().find(|(it, _)| it == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| format!("no {name}"))
    };
    let (id, timestamp, signatures) = (
        get("webhook-id")?,
        get("webhook-timestamp")?,
        get("webhook-signature")?,
    );
    let signed_at: i64 = timestamp
        .parse()
        .map_err(|_| format!("timestamp {timestamp}"))?;
    if TOLERANCE_S < (now() / 1000 - signed_at).abs() {
        return Err(format!("timestamp {timestamp} is not now"));
    }
    let key = STANDARD
        .decode(RECEIVER_SECRET.trim_start_matches("whsec_"))
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    match signatures.split(' ').any(|it| it == expected) {
        true => Ok(signed_at),
        false => Err(format!("signature {signatures}, expected {expected}")),
    }
}
