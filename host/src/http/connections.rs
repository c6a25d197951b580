//! Connections: a bounded number, each given up when nothing comes, ended in order.
//!
//! Called by `app` with the router. axum's own server bounds neither the connections nor
//! the time that a request's head may take, so that silent ones would pile up. Bodies have
//! a limit of their own, in `body`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt as _;

/// Connections served at the same time; more wait in the system's queue.
///
/// Below the 1,024 open files that many systems allow a process, with room for the database
/// and for outgoing requests.
const CONNECTIONS_MAX: usize = 512;
/// How long the head of a request may take, also that of the next one on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the system could not give a connection, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// One of the [`CONNECTIONS_MAX`] places.
type Place = Option<OwnedSemaphorePermit>;

/// Serves until `stopped` becomes true, then ends each connection after the answer that is under way.
pub async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let (stream, remote, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop(&mut stopped) => break,
        };
        connections.spawn(converse(
            stream,
            remote,
            router.clone(),
            stopped.clone(),
            place,
        ));
        while connections.try_join_next().is_some() {}
    }
    // New ones are refused at once instead of waiting for nobody.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection with its place, which is given back when it is dropped.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, SocketAddr, Place) {
    // There is always one some time: nobody closes the semaphore.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => return (stream, remote, place),
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request after another, until either side has enough.
async fn converse(
    stream: TcpStream,
    remote: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    _place: Place,
) {
    // An answer is written as a whole; only fails on a connection that is gone.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| answer(request, remote, router.clone()));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
}

async fn answer(
    mut request: Request<Incoming>,
    remote: SocketAddr,
    router: Router,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(remote));
    router.oneshot(request).await
}

/// Waits until it is time to stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Whoever could say so is gone: that is an end as well.
    let _ = stopped.wait_for(|it| *it).await;
}
