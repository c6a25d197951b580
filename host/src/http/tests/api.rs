//! The API: who may ask, what lists show, whose data is whose.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::{NOW, SECRET, TestHost, sample};
use crate::model::source::Source;
use crate::store::access::Role;

const ROUTES: [&str; 11] = [
    "/v1/events",
    "/v1/events/evt_00000000000000000000000000000000",
    "/v1/events/evt_00000000000000000000000000000000/payload",
    "/v1/runs",
    "/v1/runs/run_00000000000000000000000000000000",
    "/v1/runs/run_00000000000000000000000000000000/trace",
    "/v1/tickets",
    "/v1/tickets/tkt_00000000000000000000000000000000",
    "/v1/rejections",
    "/v1/rejections/counts",
    "/v1/login-links",
];

async fn ids(host: &TestHost, token: &str, path: &str) -> (Vec<String>, Option<String>) {
    let page = host.get(token, path).await.check(200).json();
    let name = if path.starts_with("/v1/runs") {
        "run_id"
    } else {
        "event_id"
    };
    let ids = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it[name].as_str().unwrap().to_owned());
    (
        ids.collect(),
        page["next_cursor"].as_str().map(str::to_owned),
    )
}

/// Delivers GitHub events `0..count`, a minute apart; their ids, oldest first.
async fn deliver_many(host: &TestHost, count: usize) -> Vec<String> {
    let mut event_ids = Vec::new();
    for number in 0..count {
        let json = host
            .deliver(Source::Github, &number.to_string())
            .await
            .check(200)
            .json();
        event_ids.push(json["event_id"].as_str().unwrap().to_owned());
        host.advance(60_000);
    }
    event_ids
}

#[tokio::test]
async fn nothing_is_answered_without_a_token() {
    let host = TestHost::start();
    for path in ROUTES {
        let method = if path == "/v1/login-links" {
            "POST"
        } else {
            "GET"
        };
        for authorization in [
            None,
            Some("Bearer triage_wrong"),
            Some("Basic dXNlcjpwYXNz"),
            Some("Bearer"),
            Some(""),
        ] {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = host.send(request.body(Body::empty()).unwrap()).await;
            let answer = answer.check_error(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
        }
    }
}

#[tokio::test]
async fn any_role_reads() {
    let host = TestHost::start();
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let token = host.token(Some("acme"), role).await;
        for path in ROUTES.iter().filter(|it| !it.ends_with("login-links")) {
            let answer = host.get(&token, path).await;
            if path.contains("_0") {
                answer.check_error(404, "not_found")
            } else {
                answer.check(200)
            };
        }
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    let host = TestHost::start();
    let token = host.token(None, Role::Admin).await;
    host.get(&token, "/v1/events").await.check(200);
    let id = host.state.store.list_tokens(None).await.unwrap()[0].token_id;
    assert!(host.state.store.revoke_token(id).await.unwrap());
    host.get(&token, "/v1/events")
        .await
        .check_error(401, "unauthorized");
}

#[tokio::test]
async fn a_wrong_token_is_not_made_up_for_by_a_session() {
    let host = TestHost::start();
    let session = host.session(None).await;
    host.visit(&session, "/v1/events").await.check(200);
    let request = Request::get("/v1/events")
        .header("cookie", session)
        .header("authorization", "Bearer triage_wrong");
    host.send(request.body(Body::empty()).unwrap())
        .await
        .check_error(401, "unauthorized");
}

#[tokio::test]
async fn an_events_fields_are_those_of_the_contract() {
    let host = TestHost::start();
    let ack = host.deliver(Source::Github, "d1").await.json();
    let token = host.token(Some("acme"), Role::Viewer).await;
    let path = format!("/v1/events/{}", ack["event_id"].as_str().unwrap());
    let event = host.get(&token, &path).await.check(200).json();
    let expected = json!({
        "event_id": ack["event_id"],
        "tenant": "acme",
        "integration_id": "acme-github",
        "source": "github",
        "event_type": "github.issues.opened",
        "idempotency_key": "d1",
        "received_at": "2026-11-21T08:00:00.000Z",
        "occurred_at": "2026-11-21T08:00:00.000Z",
        "body_bytes": sample(Source::Github, "d1", NOW).len(),
        "state": "pending",
        "attempt_count": 0,
        "last_attempt_at": null,
        "last_error": null,
        "next_retry_at": null,
        "duplicate_count": 0,
        "last_duplicate_at": null,
        "run_ids": ack["run_ids"],
        "routed": true,
        "decision": null,
        "trace_url": ack["trace_url"],
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn the_payload_is_exact_and_never_a_page() {
    let host = TestHost::start();
    let body = "{\"b\":1,  \"a\":\"<script>alert(1)</script>\"}\r\n";
    let ack = host
        .send(host.signed(Source::Github, "d1", SECRET, body))
        .await
        .check(200)
        .json();
    let token = host.token(Some("acme"), Role::Viewer).await;
    let path = format!("/v1/events/{}/payload", ack["event_id"].as_str().unwrap());
    let answer = host.get(&token, &path).await.check(200);
    assert_eq!(answer.body, body);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(
        answer
            .header("content-disposition")
            .starts_with("attachment")
    );
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repeat() {
    let host = TestHost::start();
    let mut expected = deliver_many(&host, 7).await;
    expected.reverse();
    let token = host.token(Some("acme"), Role::Viewer).await;
    for limit in 1..=8 {
        let (mut seen, mut pages) = (Vec::new(), 0);
        let mut path = format!("/v1/events?limit={limit}");
        loop {
            let (page, cursor) = ids(&host, &token, &path).await;
            assert!(page.len() <= limit);
            seen.extend(page);
            pages += 1;
            let Some(cursor) = cursor else { break };
            path = format!("/v1/events?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, expected, "limit {limit}");
        assert_eq!(pages, 7_usize.div_ceil(limit), "limit {limit}");
    }
}

#[tokio::test]
async fn an_event_that_comes_in_meanwhile_does_not_shift_pages() {
    let host = TestHost::start();
    let event_ids = deliver_many(&host, 4).await;
    let token = host.token(None, Role::Viewer).await;
    let (first, cursor) = ids(&host, &token, "/v1/events?limit=2").await;
    host.deliver(Source::Github, "late").await.check(200);
    let (second, _) = ids(
        &host,
        &token,
        &format!("/v1/events?limit=2&cursor={}", cursor.unwrap()),
    )
    .await;
    assert_eq!(first, [event_ids[3].clone(), event_ids[2].clone()]);
    assert_eq!(second, [event_ids[1].clone(), event_ids[0].clone()]);
}

#[tokio::test]
async fn events_are_filtered() {
    let host = TestHost::start();
    let github = deliver_many(&host, 3).await;
    let json = host.deliver(Source::Stripe, "s1").await.check(200).json();
    let stripe = json["event_id"].as_str().unwrap().to_owned();
    let token = host.token(Some("acme"), Role::Viewer).await;
    for (filter, expected) in [
        (
            "integration=acme-github",
            vec![&github[2], &github[1], &github[0]],
        ),
        ("integration=acme-stripe", vec![&stripe]),
        ("integration=globex-github", vec![]),
        (
            "type=github.issues.opened",
            vec![&github[2], &github[1], &github[0]],
        ),
        ("type=stripe.*", vec![&stripe]),
        ("type=github.push", vec![]),
        (
            "state=pending",
            vec![&stripe, &github[2], &github[1], &github[0]],
        ),
        ("state=failed", vec![]),
        ("idempotency_key=1", vec![&github[1]]),
        (
            "idempotency_key=1&integration=acme-github",
            vec![&github[1]],
        ),
        ("idempotency_key=1&integration=acme-stripe", vec![]),
        ("idempotency_key=unknown", vec![]),
        (
            "since=2026-11-21T08:01:00Z",
            vec![&stripe, &github[2], &github[1]],
        ),
        ("until=2026-11-21T08:01:00Z", vec![&github[0]]),
        (
            "since=2026-11-21T08:01:00Z&until=2026-11-21T08:03:00Z",
            vec![&github[2], &github[1]],
        ),
        ("since=2027-01-01T00:00:00Z", vec![]),
        ("until=2020-01-01T00:00:00Z", vec![]),
        (
            "type=&state=",
            vec![&stripe, &github[2], &github[1], &github[0]],
        ),
    ] {
        let (found, cursor) = ids(&host, &token, &format!("/v1/events?{filter}")).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
        assert_eq!(cursor, None, "{filter}");
    }
}

#[tokio::test]
async fn a_wrong_filter_is_named() {
    let host = TestHost::start();
    let token = host.token(None, Role::Viewer).await;
    for (query, name) in [
        ("events?state=open", "state"),
        ("events?since=yesterday", "since"),
        ("events?type=a..b", "type"),
        ("events?limit=0", "limit"),
        ("events?limit=201", "limit"),
        ("events?limit=many", "limit"),
        ("events?cursor=7", "cursor"),
        ("events?cursor=c%2B7", "cursor"),
        ("events?colour=red", "colour"),
        ("runs?state=open", "state"),
        ("runs?event_id=run_1", "event_id"),
        ("tickets?limit=-1", "limit"),
        ("rejections?cursor=x", "cursor"),
    ] {
        let answer = host
            .get(&token, &format!("/v1/{query}"))
            .await
            .check_error(400, "bad_request");
        assert!(answer.text().contains(name), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn runs_are_listed_filtered_and_shown() {
    let host = TestHost::start();
    let ack = host.deliver(Source::Github, "d1").await.json();
    host.deliver(Source::Stripe, "s1").await.check(200);
    let token = host.token(Some("acme"), Role::Viewer).await;
    let (incidents, audit) = (
        ack["run_ids"][0].as_str().unwrap(),
        ack["run_ids"][1].as_str().unwrap(),
    );
    let event_id = ack["event_id"].as_str().unwrap();
    let (all, _) = ids(&host, &token, "/v1/runs").await;
    assert_eq!(all.len(), 3);
    assert_eq!(
        ids(&host, &token, "/v1/runs?policy=incidents").await.0,
        [incidents]
    );
    assert_eq!(
        ids(&host, &token, &format!("/v1/runs?event_id={event_id}"))
            .await
            .0,
        [audit, incidents]
    );
    assert_eq!(
        ids(&host, &token, "/v1/runs?state=queued&limit=1")
            .await
            .0
            .len(),
        1
    );
    assert!(ids(&host, &token, "/v1/runs?state=dead").await.0.is_empty());

    let run = host
        .get(&token, &format!("/v1/runs/{incidents}"))
        .await
        .check(200)
        .json();
    assert_eq!(run["state"], "queued");
    assert_eq!(run["policy"], "incidents");
    assert_eq!(run["attempts"], json!([]));
    assert_eq!(run["decision"], json!(null));
    let trace = host
        .get(&token, &format!("/v1/runs/{incidents}/trace"))
        .await
        .check(200)
        .json();
    let kinds: Vec<_> = trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["delivery", "verification"]);
    assert_eq!(trace["event"]["event_id"], ack["event_id"]);
}

#[tokio::test]
async fn a_trace_does_not_show_what_proves_the_sender() {
    let host = TestHost::start();
    let mut delivery = host.delivery(Source::Github, "d1");
    delivery
        .headers_mut()
        .insert("authorization", "Bearer abcdefghijklmnop".parse().unwrap());
    let signature = delivery.headers()["x-hub-signature-256"]
        .to_str()
        .unwrap()
        .to_owned();
    let ack = host.send(delivery).await.check(200).json();
    let token = host.token(None, Role::Admin).await;
    let path = format!("/v1/runs/{}/trace", ack["run_id"].as_str().unwrap());
    let answer = host.get(&token, &path).await.check(200);
    assert!(!answer.text().contains(&signature[7..]));
    assert!(!answer.text().contains("abcdefghij"));
    assert!(answer.text().contains(&format!("{}…", &signature[..8])));
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let host = TestHost::start();
    let ack = host.deliver(Source::Github, "d1").await.check(200).json();
    host.send(host.signed(Source::Github, "d2", "whsec_d3Jvbmc=", "{}"))
        .await
        .check(401);
    let stranger = host.token(Some("globex"), Role::Admin).await;
    let owner = host.token(Some("acme"), Role::Viewer).await;
    let (event_id, run_id) = (
        ack["event_id"].as_str().unwrap(),
        ack["run_id"].as_str().unwrap(),
    );
    for path in [
        format!("/v1/events/{event_id}"),
        format!("/v1/events/{event_id}/payload"),
        format!("/v1/runs/{run_id}"),
        format!("/v1/runs/{run_id}/trace"),
    ] {
        host.get(&owner, &path).await.check(200);
        let hidden = host
            .get(&stranger, &path)
            .await
            .check_error(404, "not_found");
        let absent = path.replace(event_id, "evt_00000000000000000000000000000000");
        let absent = absent.replace(run_id, "run_00000000000000000000000000000000");
        assert_eq!(hidden.body, host.get(&stranger, &absent).await.body);
    }
    for path in [
        "/v1/events".to_owned(),
        "/v1/events?integration=acme-github".to_owned(),
        "/v1/events?idempotency_key=d1".to_owned(),
        "/v1/runs".to_owned(),
        "/v1/runs?policy=incidents".to_owned(),
        format!("/v1/runs?event_id={event_id}"),
        "/v1/rejections".to_owned(),
        "/v1/tickets".to_owned(),
    ] {
        let list = host.get(&stranger, &path).await.check(200).json();
        assert_eq!(list["items"], json!([]), "{path}");
        if path != "/v1/tickets" {
            let list = host.get(&owner, &path).await.check(200).json();
            assert_ne!(list["items"], json!([]), "{path}");
        }
    }
    for path in [format!("/events/{event_id}"), format!("/runs/{run_id}")] {
        host.visit(&host.session(Some("globex")).await, &path)
            .await
            .check(404);
        host.visit(&host.session(Some("acme")).await, &path)
            .await
            .check(200);
    }
}

#[tokio::test]
async fn an_id_of_another_kind_names_nothing() {
    let host = TestHost::start();
    let ack = host.deliver(Source::Github, "d1").await.json();
    let token = host.token(None, Role::Viewer).await;
    let event_id = ack["event_id"].as_str().unwrap();
    for path in [
        format!("/v1/runs/{event_id}"),
        "/v1/events/1".to_owned(),
        "/v1/tickets/%00".to_owned(),
        "/v1/events/%ff".to_owned(),
        "/v1/runs/%ff/trace".to_owned(),
    ] {
        host.get(&token, &path).await.check_error(404, "not_found");
    }
}
