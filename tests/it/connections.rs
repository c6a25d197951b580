//! Connections on which nothing comes: they cost little, end by themselves, and keep nobody out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use triage_tests::{Delivery, Host};

/// More than the host serves at the same time.
const MANY: usize = 600;
/// The host gives a request's head 10 s.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);

/// A connection on which the beginning of a request was sent.
fn silent_after(address: SocketAddr, beginning: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(beginning.as_bytes()).unwrap();
    stream
}

/// Waits until the host ends a connection.
#[track_caller]
fn wait_for_end(mut stream: TcpStream) {
    stream.set_read_timeout(Some(HEAD_PATIENCE)).unwrap();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let host = Host::start("");
    let beginnings = [
        "",
        "POST /v1/webhooks/github/git",
        "GET /healthz HTTP/1.1\r\nHost: test\r\nX-Slow: ",
    ];
    let kept = "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    let silent: Vec<_> = beginnings
        .iter()
        .chain([&kept])
        .map(|it| silent_after(host.address(), it))
        .collect();
    silent.into_iter().for_each(wait_for_end);
}

#[test]
fn silent_connections_keep_nobody_out() {
    let host = Host::start("");
    let silent: Vec<_> = (0..MANY)
        .map(|_| silent_after(host.address(), "POST /"))
        .collect();
    host.accept(&Delivery::incident("beside-the-silent"));
    drop(silent);
}

#[test]
fn a_stop_ends_connections_on_which_nothing_comes() {
    let mut host = Host::start("");
    let silent = [
        silent_after(host.address(), ""),
        silent_after(host.address(), "POST /v1/webhooks/gi"),
    ];
    let began = Instant::now();
    host.stop();
    assert!(
        began.elapsed() < HEAD_PATIENCE,
        "it took {:?}",
        began.elapsed()
    );
    drop(silent);
}
