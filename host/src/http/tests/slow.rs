//! Bodies that come in pieces, late, or not at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::Request;
use bytes::Bytes;
use hyper::body::Frame;

use super::{BODY_BYTES_MAX, NOW, SECRET, TestHost, sample};
use crate::model::source::Source;

/// A body in pieces. One that stalls never ends.
struct Pieces {
    left: VecDeque<Bytes>,
    stalls: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.stalls => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn pieces(body: &str, size: usize, stalls: bool) -> Body {
    let left = body
        .as_bytes()
        .chunks(size)
        .map(Bytes::copy_from_slice)
        .collect();
    Body::new(Pieces { left, stalls })
}

fn delivery(host: &TestHost, body: &str, size: usize, stalls: bool) -> Request<Body> {
    let mut request = host.signed(Source::Github, "d1", SECRET, body);
    *request.body_mut() = pieces(body, size, stalls);
    request
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    for size in [1, 7, 1000, 100_000] {
        let host = TestHost::start();
        let body = sample(Source::Github, "d1", NOW);
        let answer = host
            .send(delivery(&host, &body, size, false))
            .await
            .check(200);
        let event_id = answer.json()["event_id"].as_str().unwrap().parse().unwrap();
        let (_, kept) = host
            .state
            .store
            .payload(None, event_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept, body);
    }
}

#[tokio::test]
async fn pieces_that_get_too_large_together_are_refused() {
    let host = TestHost::start();
    let body = " ".repeat(BODY_BYTES_MAX + 1);
    // It would stall: the answer must not wait for the rest.
    host.send(delivery(&host, &body, 1000, true))
        .await
        .check_error(413, "payload_too_large");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let host = TestHost::start();
    let body = sample(Source::Github, "d1", NOW);
    host.send(delivery(&host, &body, 100, true))
        .await
        .check_error(408, "request_timeout");
    host.deliver(Source::Github, "d1").await.check(200);
}

#[tokio::test]
async fn an_unknown_integration_is_told_before_its_body_comes() {
    let host = TestHost::start();
    let request = Request::post("/v1/webhooks/github/nobody")
        .body(pieces("", 1, true))
        .unwrap();
    host.send(request).await.check_error(404, "not_found");
}
