//! Bodies with a `Content-Encoding`: signed as they came, read as they inflate, kept as they came.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use super::{INFLATED_BYTES_MAX, NOW, SECRET, TestHost, event, sample};
use crate::content::tests::gzip;
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::sources::{self, Outgoing};
use crate::store::access::Role;

/// These bytes, signed as they are, under an encoding.
fn encoded(source: &Source, id: &str, encoding: &str, body: Vec<u8>) -> Request<Body> {
    let outgoing = Outgoing {
        event: event(source),
        id,
        body: &body,
        now: NOW,
    };
    let secret = Secret::new(SECRET);
    let mut request = Request::post(format!("/v1/webhooks/{source}/acme-{source}"));
    for (name, value) in sources::sign(source, &secret, outgoing).unwrap() {
        request = request.header(name, value);
    }
    let request = request.header("content-encoding", encoding);
    request.body(Body::from(body)).unwrap()
}

/// The event that is kept, and its payload.
async fn kept(host: &TestHost) -> (Value, bytes::Bytes) {
    let token = host.token(Some("acme"), Role::Viewer).await;
    let event = host.get(&token, "/v1/events").await.json()["items"][0].clone();
    let path = format!("/v1/events/{}/payload", event["event_id"].as_str().unwrap());
    (event, host.get(&token, &path).await.check(200).body)
}

#[tokio::test]
async fn a_gzip_body_is_read_inflated_and_kept_as_it_came() {
    for source in Source::BUILT_IN {
        for encoding in ["gzip", "x-gzip"] {
            let host = TestHost::start();
            let body = gzip(sample(&source, "d1", NOW).as_bytes());
            let delivery = encoded(&source, "d1", encoding, body.clone());
            let answer = host.send(delivery).await.check(200).json();
            assert!(answer["run_id"].is_string(), "{source}");
            let (event_kept, payload) = kept(&host).await;
            let event_type = format!("{source}.{}", event(&source));
            assert_eq!(event_kept["event_type"], event_type);
            assert_eq!(payload, body, "{source}");
        }
    }
}

#[tokio::test]
async fn the_signature_is_that_of_the_bytes_received() {
    let host = TestHost::start();
    let plain = sample(Source::Github, "d1", NOW);
    let mut delivery = host.signed(Source::Github, "d1", SECRET, &plain);
    let encoding = "gzip".parse().unwrap();
    delivery.headers_mut().insert("content-encoding", encoding);
    *delivery.body_mut() = Body::from(gzip(plain.as_bytes()));
    host.send(delivery)
        .await
        .check_error(401, "invalid_signature");
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_as_unparsable() {
    let plain = sample(Source::Github, "d1", NOW).into_bytes();
    let whole = gzip(&plain);
    let bomb = gzip(&vec![b' '; INFLATED_BYTES_MAX + 1]);
    for (encoding, body) in [
        ("gzip", plain.clone()),
        ("gzip", whole[..whole.len() - 1].to_vec()),
        ("gzip", [&whole[..], b"{}"].concat()),
        ("gzip", bomb),
        ("gzip, gzip", gzip(&whole)),
        ("br", plain.clone()),
        ("deflate", plain.clone()),
        ("zstd", plain),
    ] {
        let host = TestHost::start();
        let delivery = encoded(&Source::Github, "d1", encoding, body.clone());
        host.send(delivery).await.check(200);
        let (event, payload) = kept(&host).await;
        assert_eq!(event["event_type"], "github.unparsable", "{encoding}");
        assert_eq!(event["idempotency_key"].as_str().unwrap().len(), 64);
        assert_eq!(payload, body, "{encoding}");
    }
}

#[tokio::test]
async fn a_body_at_the_inflated_limit_is_read() {
    let host = TestHost::start();
    let plain = sample(Source::Github, "d1", NOW);
    let padded = format!("{plain:<INFLATED_BYTES_MAX$}");
    let delivery = encoded(&Source::Github, "d1", "gzip", gzip(padded.as_bytes()));
    host.send(delivery).await.check(200);
    assert_eq!(kept(&host).await.0["event_type"], "github.issues.opened");
}

#[tokio::test]
async fn members_one_after_another_are_one_body() {
    let host = TestHost::start();
    let plain = sample(Source::Github, "d1", NOW);
    let (one, two) = plain.as_bytes().split_at(100);
    let body = [gzip(one), gzip(two)].concat();
    let delivery = encoded(&Source::Github, "d1", "gzip", body);
    host.send(delivery).await.check(200);
    assert_eq!(kept(&host).await.0["event_type"], "github.issues.opened");
}

#[tokio::test]
async fn a_slack_challenge_is_answered_compressed_too() {
    let host = TestHost::start();
    let body = gzip(br#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#);
    let delivery = encoded(&Source::Slack, "", "gzip", body);
    let answer = host.send(delivery).await.check(200).json();
    assert_eq!(answer["challenge"], "3eZbrw1aB");
}
