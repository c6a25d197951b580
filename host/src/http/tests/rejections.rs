//! What is written down about deliveries that are refused, and who may send how much.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use serde_json::{Value, json};

use super::{BODY_BYTES_MAX, NOW, SECRET, TestHost, sample};
use crate::model::rate::RateLimit;
use crate::model::source::Source;
use crate::store::access::Role;

const PATH: &str = "/v1/webhooks/github/acme-github";

/// Listed ones, oldest first.
async fn listed(host: &TestHost) -> Vec<Value> {
    let token = host.token(Some("acme"), Role::Viewer).await;
    let listed = host.get(&token, "/v1/rejections").await.check(200).json();
    let items = listed["items"].as_array().unwrap();
    items.iter().rev().cloned().collect()
}

async fn counts(host: &TestHost, tenant: Option<&str>) -> Value {
    let token = host.token(tenant, Role::Viewer).await;
    let counts = host.get(&token, "/v1/rejections/counts").await;
    counts.check(200).json()["items"].clone()
}

fn count(integration_id: &str, cause: &str, count: u64) -> Value {
    json!({"tenant": "acme", "integration_id": integration_id, "cause": cause, "count": count})
}

/// A host that takes `burst` deliveries of `acme-github` at once, and one each second.
fn limited(burst: u32) -> TestHost {
    TestHost::with(|config| {
        let integration = config.integrations.get_mut("acme-github").unwrap();
        integration.rate_limit = Some(RateLimit::new(1, 1_000, burst));
    })
}

#[tokio::test]
async fn each_refusal_is_listed_with_cause_size_and_digest() {
    let host = TestHost::start();
    let body = sample(Source::Github, "d1", NOW);
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body));

    let unsigned = Request::post(PATH).body(Body::from(body.clone())).unwrap();
    host.send(unsigned).await.check(401);
    let mut headers = host.delivery(Source::Github, "d1");
    let long = "a".repeat(33_000).parse().unwrap();
    headers.headers_mut().insert("x-long", long);
    host.send(headers).await.check(431);
    let announced = Request::post(PATH)
        .header("content-length", BODY_BYTES_MAX + 1)
        .body(Body::empty())
        .unwrap();
    host.send(announced).await.check(413);

    let listed = listed(&host).await;
    let expected = [
        (
            "missing_header",
            json!("x-hub-signature-256"),
            body.len(),
            json!(digest),
        ),
        ("headers_too_large", Value::Null, 0, Value::Null),
        (
            "body_too_large",
            Value::Null,
            BODY_BYTES_MAX + 1,
            Value::Null,
        ),
    ];
    assert_eq!(listed.len(), expected.len());
    for (rejection, (cause, header, bytes, digest)) in listed.iter().zip(expected) {
        let expected = json!({
            "at": "2026-11-21T08:00:00.000Z",
            "tenant": "acme",
            "integration_id": "acme-github",
            "source": "github",
            "cause": cause,
            "header": header,
            "remote": "unknown",
            "body_bytes": bytes,
            "body_sha256": digest,
        });
        assert_eq!(*rejection, expected);
    }
}

#[tokio::test]
async fn refusals_are_counted_for_their_tenant() {
    let host = TestHost::start();
    for number in 0..3 {
        let forged = host.signed(Source::Stripe, &number.to_string(), "whsec_d3Jvbmc=", "{}");
        host.send(forged).await.check(401);
    }
    let unsigned = Request::post(PATH).body(Body::empty()).unwrap();
    host.send(unsigned).await.check(401);
    let counted = json!([
        count("acme-github", "missing_header", 1),
        count("acme-stripe", "signature_mismatch", 3),
    ]);
    assert_eq!(counts(&host, Some("acme")).await, counted);
    assert_eq!(counts(&host, None).await, counted);
    assert_eq!(counts(&host, Some("globex")).await, json!([]));
}

#[tokio::test]
async fn a_proxy_is_believed_about_the_address_if_it_is_trusted() {
    let host = TestHost::start();
    for (peer, remote) in [
        ("10.1.2.3:5000", "198.51.100.9"),
        ("192.0.2.1:5000", "192.0.2.1"),
    ] {
        let mut request = Request::post(PATH)
            .header("x-forwarded-for", "127.0.0.1, 198.51.100.9")
            .body(Body::empty())
            .unwrap();
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        host.send(request).await.check(401);
        assert_eq!(listed(&host).await.last().unwrap()["remote"], remote);
    }
}

#[tokio::test]
async fn over_the_rate_limit_it_is_429_until_the_time_it_names() {
    let host = limited(2);
    host.deliver(Source::Github, "d1").await.check(200);
    host.deliver(Source::Github, "d2").await.check(200);
    host.advance(200);
    let refused = host.deliver(Source::Github, "d3").await;
    let refused = refused.check_error(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        counts(&host, Some("acme")).await,
        json!([count("acme-github", "rate_limited", 1)])
    );
    assert!(listed(&host).await[0]["body_sha256"].is_string());
    host.advance(800);
    let taken = host.deliver(Source::Github, "d3").await.check(200).json();
    assert_eq!(taken["duplicate"], false, "the refused one was not kept");
}

#[tokio::test]
async fn a_slow_rate_names_the_whole_wait() {
    let host = TestHost::with(|config| {
        let integration = config.integrations.get_mut("acme-github").unwrap();
        integration.rate_limit = Some(RateLimit::new(1, 60_000, 1));
    });
    host.deliver(Source::Github, "d1").await.check(200);
    host.advance(500);
    let refused = host.deliver(Source::Github, "d2").await.check(429);
    assert_eq!(refused.header("retry-after"), "60");
    host.advance(59_500);
    host.deliver(Source::Github, "d2").await.check(200);
}

#[tokio::test]
async fn repeats_count_and_other_integrations_do_not() {
    let host = limited(2);
    host.deliver(Source::Github, "d1").await.check(200);
    host.deliver(Source::Github, "d1").await.check(200);
    host.deliver(Source::Github, "d1")
        .await
        .check_error(429, "rate_limited");
    for number in 0..5 {
        host.deliver(Source::Slack, &format!("d{number}"))
            .await
            .check(200);
    }
}

#[tokio::test]
async fn a_forger_uses_nothing_up() {
    let host = limited(1);
    for number in 0..20 {
        let forged = host.signed(Source::Github, &number.to_string(), "whsec_d3Jvbmc=", "{}");
        host.send(forged)
            .await
            .check_error(401, "invalid_signature");
    }
    host.deliver(Source::Github, "d1").await.check(200);
    let body = sample(Source::Github, "d2", NOW);
    host.send(host.signed(Source::Github, "d2", SECRET, &body))
        .await
        .check_error(429, "rate_limited");
}
