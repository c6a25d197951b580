//! The client: requests over loopback, as a provider's or a person's program sends them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

/// Longer than any answer takes, the one to a body that does not come included.
const TIMEOUT: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // An error means that the process has a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        // A kept connection would be tried again by the client when the host is killed.
        .pool_max_idle_per_host(0)
        // Hosts that speak TLS have certificates that nobody else signed; `it/tls.rs` looks at those.
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap()
});

/// Names and values.
pub type Headers = Vec<(String, String)>;

/// Runs network code of the harness; tests themselves are plain functions.
pub fn runtime() -> &'static Runtime {
    &RUNTIME
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
    }

    /// Everything but the time.
    pub fn without_date(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// Sends one request on a connection of its own; `Err` where no whole answer comes back.
pub fn send(
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Result<Answer, String> {
    let mut request = CLIENT.request(method.parse().unwrap(), url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    runtime().block_on(async {
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect();
        let body = answer
            .bytes()
            .await
            .map_err(|error| format!("{error:?}"))?
            .to_vec();
        Ok(Answer {
            status,
            headers,
            body,
        })
    })
}

/// Writes bytes that no client would, and reads what comes back until the host closes or falls silent.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // A reset after the answer is an end like any other.
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
        if is_whole(&answer) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the head is there and as much body as it announces.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let announced = head.lines().find_map(|it| {
        it.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    announced.is_some_and(|it| it <= body.len())
}
