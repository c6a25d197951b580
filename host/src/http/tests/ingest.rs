//! Every row of the table that says how a delivery is answered.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use super::{Answer, BODY_BYTES_MAX, NOW, OLD_SECRET, SECRET, TestHost, event, sample};
use crate::model::source::Source;
use crate::store::access::Role;

/// Sources whose scheme signs a time.
const TIMED: [Source; 3] = [Source::Standard, Source::Stripe, Source::Slack];

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

async fn kept(host: &TestHost) -> usize {
    let token = host.token(None, Role::Viewer).await;
    let events = host.get(&token, "/v1/events").await.json();
    events["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_new_event_is_acknowledged_with_its_runs() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        let json = host.deliver(source, "d1").await.check(200).json();
        let run_ids = json["run_ids"].as_array().unwrap();
        let wanted = if *source == Source::Github { 2 } else { 1 };
        assert_eq!(run_ids.len(), wanted, "{source}");
        let expected = json!({
            "accepted": true,
            "duplicate": false,
            "event_id": json["event_id"],
            "run_id": run_ids[0],
            "run_ids": run_ids,
            "trace_url": format!("https://hooks.example.com/runs/{}", run_ids[0].as_str().unwrap()),
        });
        assert_eq!(json, expected, "{source}");
        assert!(json["event_id"].as_str().unwrap().starts_with("evt_"));
        assert!(run_ids[0].as_str().unwrap().starts_with("run_"));

        let token = host.token(Some("acme"), Role::Viewer).await;
        let events = host.get(&token, "/v1/events").await.json();
        assert_eq!(
            events["items"][0]["event_type"],
            format!("{source}.{}", event(source))
        );
    }
}

#[tokio::test]
async fn a_repeat_gets_the_same_ids() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        let mut first = host.deliver(source, "d1").await.check(200).json();
        host.advance(10_000);
        // Signed anew, as senders do; the body stays what it was.
        let repeat = host.signed(source, "d1", SECRET, &sample(source, "d1", NOW));
        let second = host.send(repeat).await.check(200).json();
        first["duplicate"] = json!(true);
        assert_eq!(second, first, "{source}");
        assert_eq!(kept(&host).await, 1, "{source}");
        let token = host.token(None, Role::Viewer).await;
        let events = host.get(&token, "/v1/events").await.json();
        assert_eq!(events["items"][0]["duplicate_count"], 1, "{source}");
    }
}

#[tokio::test]
async fn an_event_that_no_policy_wants_is_kept() {
    let host = TestHost::start();
    let body = r#"{"type":"contact.created","timestamp":"2026-11-21T08:00:00Z","data":{}}"#;
    let json = host
        .send(host.signed(Source::Standard, "d1", SECRET, body))
        .await
        .check(200)
        .json();
    assert_eq!(json["run_id"], json!(null));
    assert_eq!(json["run_ids"], json!([]));
    let event_id = json["event_id"].as_str().unwrap();
    assert_eq!(
        json["trace_url"],
        format!("https://hooks.example.com/events/{event_id}")
    );

    let token = host.token(Some("acme"), Role::Viewer).await;
    let event = host
        .get(&token, &format!("/v1/events/{event_id}"))
        .await
        .check(200)
        .json();
    assert_eq!(event["routed"], false);
    assert_eq!(event["trace_url"], json["trace_url"]);
}

#[tokio::test]
async fn any_live_secret_may_sign() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        let body = sample(source, "d1", NOW);
        host.send(host.signed(source, "d1", OLD_SECRET, &body))
            .await
            .check(200);
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_only_written_down() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        let body = sample(source, "d1", NOW);
        let forged = host.signed(source, "d1", "whsec_d3Jvbmc=", &body);
        host.send(forged)
            .await
            .check_error(401, "invalid_signature");

        let mut changed = host.signed(source, "d2", SECRET, &body);
        *changed.body_mut() = Body::from(body.replace('a', "b"));
        host.send(changed)
            .await
            .check_error(401, "invalid_signature");

        assert_eq!(kept(&host).await, 0, "{source}");
        let token = host.token(Some("acme"), Role::Viewer).await;
        let rejections = host.get(&token, "/v1/rejections").await.check(200).json();
        let rejections = rejections["items"].as_array().unwrap();
        assert_eq!(rejections.len(), 2, "{source}");
        for rejection in rejections {
            assert_eq!(rejection["cause"], "signature_mismatch", "{source}");
            assert_eq!(rejection["integration_id"], format!("acme-{source}"));
            assert_eq!(rejection["remote"], "unknown");
        }
    }
}

#[tokio::test]
async fn every_cause_has_the_same_answer() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        let path = format!("/v1/webhooks/{source}/acme-{source}");
        let body = sample(source, "d1", NOW);
        let missing = host
            .send(post(&path, body.clone()))
            .await
            .check_error(401, "invalid_signature");
        let forged = host
            .send(host.signed(source, "d1", "whsec_d3Jvbmc=", &body))
            .await;
        assert_eq!(missing.body, forged.body, "{source}");
        assert_eq!(missing.headers, forged.headers, "{source}");
    }
}

#[tokio::test]
async fn a_signature_outside_the_window_is_refused() {
    for source in &TIMED {
        for (moved_ms, status) in [
            (299_000, 200),
            (302_000, 401),
            (-299_000, 200),
            (-302_000, 401),
        ] {
            let host = TestHost::start();
            let delivery = host.delivery(source, "d1");
            host.advance(moved_ms);
            let answer = host.send(delivery).await;
            assert_eq!(answer.status, status, "{source} after {moved_ms} ms");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_answers_as_any_unknown_path() {
    let host = TestHost::start();
    let unknown = host
        .send(post("/v1/anything", "x"))
        .await
        .check_error(404, "not_found");
    assert_eq!(
        unknown.text(),
        r#"{"code":"not_found","message":"no such resource"}"#
    );
    for path in [
        "/v1/webhooks/github/nobody",
        "/v1/webhooks/nothing/acme-github",
        "/v1/webhooks/stripe/acme-github",
        "/v1/webhooks/github/acme-github/more",
        "/v1/webhooks/github/%ff",
        "/v1/webhooks/github",
    ] {
        let answer = host.send(post(path, "x".repeat(BODY_BYTES_MAX * 2))).await;
        assert_eq!(
            (answer.status, &answer.body),
            (unknown.status, &unknown.body),
            "{path}"
        );
        assert_eq!(answer.headers, unknown.headers, "{path}");
    }
    assert_eq!(kept(&host).await, 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        let path = format!("/v1/webhooks/{source}/acme-{source}");
        let announced = Request::post(&path)
            .header("content-length", BODY_BYTES_MAX + 1)
            .body(Body::empty())
            .unwrap();
        let answer = host
            .send(announced)
            .await
            .check_error(413, "payload_too_large");
        assert!(answer.text().contains(&BODY_BYTES_MAX.to_string()));
        let whole = post(&path, vec![b' '; BODY_BYTES_MAX + 1]);
        host.send(whole).await.check_error(413, "payload_too_large");
    }
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken() {
    let host = TestHost::start();
    let body = format!(
        "{:<width$}",
        r#"{"action":"opened"}"#,
        width = BODY_BYTES_MAX
    );
    host.send(host.signed(Source::Github, "d1", SECRET, &body))
        .await
        .check(200);
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let host = TestHost::start();
    let mut many = host.delivery(Source::Github, "d1");
    for number in 0..100 {
        let name = axum::http::HeaderName::try_from(format!("x-{number}")).unwrap();
        many.headers_mut().insert(name, "1".parse().unwrap());
    }
    host.send(many).await.check_error(431, "headers_too_large");
    let mut long = host.delivery(Source::Github, "d1");
    long.headers_mut()
        .insert("x-long", "a".repeat(33_000).parse().unwrap());
    host.send(long).await.check_error(431, "headers_too_large");
}

#[tokio::test]
async fn another_method_is_refused() {
    let host = TestHost::start();
    for (method, path) in [
        (Method::GET, "/v1/webhooks/github/acme-github"),
        (Method::PUT, "/v1/webhooks/github/nobody"),
        (Method::POST, "/v1/events"),
        (Method::DELETE, "/healthz"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        host.send(request)
            .await
            .check_error(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn slack_gets_its_challenge_back() {
    let host = TestHost::start();
    let body = r#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    let answer = host
        .send(host.signed(Source::Slack, "", SECRET, body))
        .await
        .check(200);
    assert_eq!(answer.json(), json!({ "challenge": "3eZbrw1aB" }));
    assert_eq!(kept(&host).await, 0);

    let forged = host.signed(Source::Slack, "", "whsec_d3Jvbmc=", body);
    host.send(forged)
        .await
        .check_error(401, "invalid_signature");
}

#[tokio::test]
async fn a_ping_of_github_is_an_event() {
    let host = TestHost::start();
    let mut ping = host.signed(
        Source::Github,
        "d1",
        SECRET,
        r#"{"zen":"Keep it simple","hook_id":1}"#,
    );
    ping.headers_mut()
        .insert("x-github-event", "ping".parse().unwrap());
    host.send(ping).await.check(200);
    let token = host.token(Some("acme"), Role::Viewer).await;
    let events = host.get(&token, "/v1/events?type=github.ping").await.json();
    assert_eq!(events["items"][0]["event_type"], "github.ping");
}

#[tokio::test]
async fn what_the_provider_does_not_document_is_kept_by_its_hash() {
    for source in &Source::BUILT_IN {
        let host = TestHost::start();
        host.send(host.signed(source, "d1", SECRET, "not json"))
            .await
            .check(200);
        let token = host.token(Some("acme"), Role::Viewer).await;
        let event = host.get(&token, "/v1/events").await.json()["items"][0].clone();
        assert_eq!(event["event_type"], format!("{source}.unparsable"));
        assert_eq!(
            event["idempotency_key"].as_str().unwrap().len(),
            64,
            "{source}"
        );
        let path = format!("/v1/events/{}/payload", event["event_id"].as_str().unwrap());
        assert_eq!(host.get(&token, &path).await.check(200).body, "not json");
    }
}

#[tokio::test]
async fn parallel_deliveries_of_one_event_keep_one() {
    let host = std::sync::Arc::new(TestHost::start());
    let mut deliveries = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let host = host.clone();
        deliveries.spawn(async move { host.deliver(Source::Github, "d1").await });
    }
    let answers: Vec<Answer> = deliveries.join_all().await;
    let first: Vec<_> = answers
        .iter()
        .filter(|it| it.json()["duplicate"] == false)
        .collect();
    assert_eq!(first.len(), 1);
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["event_id"], first[0].json()["event_id"]);
        assert_eq!(answer.json()["run_ids"], first[0].json()["run_ids"]);
    }
    let token = host.token(None, Role::Viewer).await;
    let events = host.get(&token, "/v1/events").await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(events["items"][0]["duplicate_count"], 49);
}

#[tokio::test]
async fn the_same_id_of_two_integrations_is_two_events() {
    let host = TestHost::start();
    let body = sample(Source::Github, "d1", NOW);
    let mut other = host.signed(Source::Github, "d1", SECRET, &body);
    *other.uri_mut() = "/v1/webhooks/github/globex-github".parse().unwrap();
    let first = host.deliver(Source::Github, "d1").await.check(200).json();
    let second = host.send(other).await.check(200).json();
    assert_eq!(second["duplicate"], false);
    assert_ne!(first["event_id"], second["event_id"]);
}

#[tokio::test]
async fn headers_are_kept_as_they_came() {
    let host = TestHost::start();
    let mut delivery = host.delivery(Source::Github, "d1");
    delivery
        .headers_mut()
        .insert("X-Custom", "ä".parse().unwrap());
    let event_id = host.send(delivery).await.check(200).json()["event_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let (headers, body) = host
        .state
        .store
        .payload(None, event_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(headers.get("x-custom"), Some("ä"));
    assert_eq!(headers.get("x-github-delivery"), Some("d1"));
    assert_eq!(body, sample(Source::Github, "d1", NOW));
}
