//! A host behind a real socket, and clients that say exactly what a test wants said.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Answer, TestHost};

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first bytes of a client that knows that the server speaks HTTP/2, with empty settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Types of frames, RFC 9113, 6.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
/// Flags of frames.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A host that listens.
pub struct Listening {
    pub host: TestHost,
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Listening {
    pub async fn start() -> Self {
        Self::serve(TestHost::start()).await
    }

    pub async fn serve(host: TestHost) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = host.router.clone();
        let serving = tokio::spawn(crate::http::serve(
            listener,
            router,
            host.state.live.clone(),
            [Handle::current()],
            stopped,
        ));
        Self {
            host,
            address,
            stop,
            serving,
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(PATIENCE, self.serving).await.unwrap().unwrap();
    }

    /// A connection on which these bytes were sent.
    pub async fn say(&self, bytes: &[u8]) -> Wire {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        Wire(stream)
    }

    /// An HTTP/2 client of this host.
    pub async fn http2(&self) -> http2::SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// Sends a request over HTTP/2, which names scheme and authority.
pub async fn send(client: &mut http2::SendRequest<Body>, mut request: Request<Body>) -> Answer {
    let path = request.uri().path_and_query().unwrap().to_string();
    *request.uri_mut() = format!("http://test{path}").parse().unwrap();
    client.ready().await.unwrap();
    let response = client.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: to_bytes(Body::new(body), usize::MAX).await.unwrap(),
    }
}

/// A bare connection.
pub struct Wire(pub TcpStream);

impl Wire {
    pub async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Waits until the host has looked at all that was said so far in HTTP/2.
    pub async fn is_heard(&mut self) {
        const MARK: &[u8; 8] = b"is heard";
        self.say(&frame(PING, 0, 0, MARK)).await;
        let mut heard = Vec::new();
        while !heard.ends_with(MARK) {
            let byte = timeout(PATIENCE, self.0.read_u8()).await;
            heard.push(byte.expect("the host answers a ping").unwrap());
        }
    }

    /// Everything that comes until the host closes.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        if let Err(error) = ended.expect("the host closes the connection") {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        rest
    }

    /// The same as text.
    pub async fn text(self) -> String {
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }

    /// The same as HTTP/2 frames.
    pub async fn frames(self) -> Vec<Frame> {
        let rest = self.rest().await;
        let mut left = rest.as_slice();
        let mut frames = Vec::new();
        while let [a, b, c, kind, _, _, _, _, _, after @ ..] = left {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (payload, after) = after.split_at(length.min(after.len()));
            frames.push(Frame {
                kind: *kind,
                payload: payload.to_vec(),
            });
            left = after;
        }
        frames
    }
}

/// What the host says in HTTP/2.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Headers as HPACK literals without an index (RFC 7541, 6.2.2), each shorter than 127 bytes.
pub fn hpack(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |it: &str| [&[u8::try_from(it.len()).unwrap()], it.as_bytes()].concat();
    let literal = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    headers.iter().flat_map(literal).collect()
}

/// A request's headers, without the end of its body.
pub fn request(stream: u32, method: &str, path: &str, flags: u8) -> Vec<u8> {
    let headers = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", path),
    ];
    frame(HEADERS, flags, stream, &hpack(&headers))
}
