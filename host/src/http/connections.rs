//! Connections: a bounded number, each given up when nothing comes, ended in order.
//!
//! Called by `app` with the router. axum's own server bounds neither the connections nor
//! the time that a request's head may take, so that silent ones would pile up. HTTP/1.1 and
//! HTTP/2 (with prior knowledge, RFC 9113, 3.3) share a port: the first bytes tell which it
//! is. Bodies have a limit of their own, in `body`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Version;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::error::ApiError;
use crate::live::Live;

/// Connections served at the same time; more wait in the system's queue.
///
/// Below the 1,024 open files that many systems allow a process, with room for the database
/// and for outgoing requests.
const CONNECTIONS_MAX: usize = 512;
/// How long the head of a request may take, also that of the next one on a kept HTTP/1.1
/// connection. Tests do not wait that long.
const HEAD_TIMEOUT: Duration = if cfg!(test) {
    Duration::from_millis(300)
} else {
    Duration::from_secs(10)
};
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = HEAD_TIMEOUT;
/// How long a connection may be without a request under way. A request is over when its answer
/// is made: an answer that nobody reads holds no place for longer than that.
pub const IDLE_TIMEOUT: Duration = if cfg!(test) {
    Duration::from_millis(600)
} else {
    Duration::from_secs(60)
};
/// How long the other side may take to agree to an orderly end.
const CLOSE_TIMEOUT: Duration = if cfg!(test) {
    Duration::from_millis(300)
} else {
    Duration::from_secs(5)
};
/// The pause after the system could not give a connection, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The largest head of a request in bytes; `body` is stricter about a delivery's.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The longest path with its query in bytes.
const URI_BYTES_MAX: usize = 8 << 10;
/// Requests under way on one HTTP/2 connection. RFC 9113, 6.5.2 advises against fewer.
const STREAMS_MAX: u32 = 100;
/// Requests under way on all HTTP/2 connections together; one more is refused at once.
///
/// Beside one for each of the other connections, so that HTTP/2 takes no memory for bodies, and no
/// place, that HTTP/1.1 could not take as well.
const STREAMS_TOGETHER_MAX: usize = CONNECTIONS_MAX;
/// Bytes of one request's body that may come before they are read.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// The same for all requests of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of answers that may wait for one HTTP/2 stream to take them.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Requests that the client gave up before they were looked at (CVE-2023-44487, "rapid reset").
const RESETS_WAITING_MAX: usize = 20;
/// Requests that broke a rule of HTTP/2, until the connection ends (CVE-2025-8671).
const RESETS_OWN_MAX: usize = 64;

/// One of the [`CONNECTIONS_MAX`] places.
type Place = Option<OwnedSemaphorePermit>;

/// What all connections share.
#[derive(Clone)]
struct Server {
    router: Router,
    /// Asked for the certificate of each new connection, so that a new one counts from then on.
    live: Arc<Live>,
    /// Of [`STREAMS_TOGETHER_MAX`].
    streams: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

/// Serves until `stopped` becomes true, then ends each connection after the answers that are under way.
///
/// Connections go to the runtimes in turns, and stay there.
pub async fn serve<const N: usize>(
    listener: TcpListener,
    router: Router,
    live: Arc<Live>,
    runtimes: [Handle; N],
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let server = Server {
        router,
        live,
        streams: Arc::new(Semaphore::new(STREAMS_TOGETHER_MAX)),
        stopped: stopped.clone(),
    };
    let mut connections = JoinSet::new();
    for runtime in runtimes.iter().cycle() {
        let (stream, remote, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop(&mut stopped) => break,
        };
        connections.spawn_on(greet(stream, remote, server.clone(), place), runtime);
        while connections.try_join_next().is_some() {}
    }
    // New ones are refused at once instead of waiting for nobody.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection with its place, which is given back when it is dropped.
///
/// Of no runtime yet: whoever serves it registers it with its own.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (std::net::TcpStream, SocketAddr, Place) {
    // There is always one some time: nobody closes the semaphore.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, remote)| Ok((stream.into_std()?, remote))) {
            Ok((stream, remote)) => return (stream, remote, place),
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Makes a connection secret where it is to be, then answers on it.
async fn greet(stream: std::net::TcpStream, remote: SocketAddr, server: Server, _place: Place) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(error = %error, "cannot serve a connection"),
    };
    // An answer is written as a whole; only fails on a connection that is gone.
    let _ = stream.set_nodelay(true);
    let Some(tls) = server.live.current().config.tls.clone() else {
        return converse(stream, remote, server).await;
    };
    let mut stopped = server.stopped.clone();
    let handshake = TlsAcceptor::from(tls.server).accept(stream);
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, handshake) => shaken,
        () = stop(&mut stopped) => return,
    };
    match shaken {
        Ok(Ok(stream)) => converse(stream, remote, server).await,
        Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Answers requests until either side has enough.
async fn converse<S>(stream: S, remote: SocketAddr, server: Server)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = StreamTasks::default();
    let requests = Requests::new();
    let counted = requests.clone();
    let (router, streams) = (server.router, server.streams);
    let service = service_fn(move |request| {
        let begun = UnderWay::new(counted.clone());
        answer(request, remote, router.clone(), streams.clone(), begun)
    });
    let builder = builder(tasks.clone());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopped = server.stopped;
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async {
            tokio::select! {
                () = stop(&mut stopped) => (),
                () = requests.idle(HEAD_TIMEOUT, IDLE_TIMEOUT) => (),
            }
        } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = requests.idle(CLOSE_TIMEOUT, CLOSE_TIMEOUT) => Ok(()),
            }
        }
    };
    tasks.abort();
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
}

fn builder(tasks: StreamTasks) -> auto::Builder<StreamTasks> {
    let mut builder = auto::Builder::new(tasks);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_WAITING_MAX)
        .max_local_error_reset_streams(RESETS_OWN_MAX);
    builder
}

async fn answer(
    mut request: Request<Incoming>,
    remote: SocketAddr,
    router: Router,
    streams: Arc<Semaphore>,
    _under_way: UnderWay,
) -> Result<Response, Infallible> {
    // The path as it came: HTTP/2 has scheme and authority beside it.
    let path = request.uri().path_and_query();
    if path.is_some_and(|it| URI_BYTES_MAX < it.as_str().len()) {
        return Ok(ApiError::UriTooLong(URI_BYTES_MAX).into_response());
    }
    let place = match request.version() {
        Version::HTTP_2 => match streams.try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => return Ok(ApiError::TooManyRequests.into_response()),
        },
        // One for each connection, of which there are not too many.
        _ => None,
    };
    request.extensions_mut().insert(ConnectInfo(remote));
    let response = router.oneshot(request).await;
    drop(place);
    response
}

/// The requests of one connection. Counted without waking anybody: there are many of them.
struct Requests {
    opened: Instant,
    under_way: AtomicUsize,
    // Milliseconds after `opened` at which the last one began or ended; 0 before the first.
    changed_ms: AtomicU64,
}

impl Requests {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            under_way: AtomicUsize::new(0),
            changed_ms: AtomicU64::new(0),
        })
    }

    fn changed(&self) {
        let now_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.changed_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// Waits until none was under way for some time: for `first` until the first one came.
    async fn idle(&self, first: Duration, later: Duration) {
        let began = Instant::now();
        loop {
            let changed_ms = self.changed_ms.load(Ordering::Relaxed);
            let patience = if changed_ms == 0 { first } else { later };
            let quiet_since = began.max(self.opened + Duration::from_millis(changed_ms));
            if 0 < self.under_way.load(Ordering::Relaxed) {
                sleep(patience).await;
            } else if quiet_since.elapsed() < patience {
                sleep_until(quiet_since + patience).await;
            } else {
                return;
            }
        }
    }
}

/// Counts one request as under way while it lives.
struct UnderWay(Arc<Requests>);

impl UnderWay {
    fn new(requests: Arc<Requests>) -> Self {
        requests.under_way.fetch_add(1, Ordering::Relaxed);
        requests.changed();
        Self(requests)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.changed();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where an HTTP/2 connection answers its requests: tasks that end with it.
#[derive(Clone, Default)]
struct StreamTasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answering: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(answering);
    }
}

impl StreamTasks {
    /// Ends what is left. The tasks hold this set themselves, so it is not enough to drop it.
    fn abort(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }
}

/// Waits until it is time to stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Whoever could say so is gone: that is an end as well.
    let _ = stopped.wait_for(|it| *it).await;
}
