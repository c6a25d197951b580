//! Deliveries that are believed: what is answered, what is kept.

use std::io::Write;
use std::net::TcpStream;

use hex::encode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use triage_host::model::source::Source;
use triage_tests::delivery::{sample_body, ticketed};
use triage_tests::http::raw;
use triage_tests::wait::wait_until;
use triage_tests::{Delivery, Folder, Host, config};

/// What an answer to a kept delivery must look like.
#[track_caller]
fn check_acknowledgement(host: &Host, answer: &Value, duplicate: bool, runs: usize) {
    let (event_id, run_id) = (answer["event_id"].as_str().unwrap(), &answer["run_id"]);
    let run_ids = answer["run_ids"].as_array().unwrap();
    assert_eq!(
        (&answer["accepted"], &answer["duplicate"]),
        (&json!(true), &json!(duplicate))
    );
    assert!(event_id.starts_with("evt_"), "{answer}");
    assert_eq!(run_ids.len(), runs, "{answer}");
    assert_eq!(run_ids.first().unwrap_or(&Value::Null), run_id, "{answer}");
    let trace = run_id
        .as_str()
        .map_or_else(|| format!("/events/{event_id}"), |it| format!("/runs/{it}"));
    assert_eq!(answer["trace_url"], host.url(&trace));
}

#[track_caller]
fn check_payload(host: &Host, answer: &Value, body: &[u8]) {
    let event_id = answer["event_id"].as_str().unwrap();
    assert_eq!(
        host.get(&format!("/v1/events/{event_id}/payload"))
            .expect(200)
            .body,
        body
    );
}

#[test]
fn a_signed_delivery_of_every_source_is_kept_and_its_repeat_gets_the_same_answer() {
    let host = Host::start(&config::desk());
    for source in &Source::BUILT_IN {
        let delivery = ticketed(source, "first-1");
        let answer = host.accept(&delivery);
        check_acknowledgement(&host, &answer, false, 1);
        check_payload(&host, &answer, &delivery.body);
        let repeat = host.accept(&delivery);
        check_acknowledgement(&host, &repeat, true, 1);
        assert_eq!(
            (&repeat["event_id"], &repeat["run_ids"]),
            (&answer["event_id"], &answer["run_ids"])
        );

        let event = host.json(&format!(
            "/v1/events/{}",
            answer["event_id"].as_str().unwrap()
        ));
        assert_eq!(
            (&event["source"], &event["duplicate_count"]),
            (&json!(source.as_str()), &json!(1))
        );
        assert_eq!(event["integration_id"], format!("{source}-main"));
        assert!(
            event["idempotency_key"]
                .as_str()
                .unwrap()
                .ends_with("first-1"),
            "{event}"
        );
    }
    assert_eq!(host.list("/v1/events").len(), 5);
    host.wait_until_idle();
    assert_eq!(host.list("/v1/tickets").len(), 5);
}

#[test]
fn the_same_content_under_another_id_is_a_repeat_where_the_id_is_not_signed() {
    let host = Host::start("");
    for (source, event) in &[
        (Source::Sentry, "issue.created"),
        (Source::Github, "issues.opened"),
    ] {
        let body = sample_body(source, event, "content-1");
        let first = host.accept(&Delivery::new(source, event, "id-1", body.clone()));
        let second = host.accept(&Delivery::new(source, event, "id-2", body.clone()));
        assert_eq!(
            (&second["event_id"], &second["duplicate"]),
            (&first["event_id"], &json!(true)),
            "{source}"
        );
    }
    assert_eq!(host.list("/v1/events").len(), 2);
}

#[test]
fn what_is_signed_but_not_documented_is_kept_as_unparsable() {
    let host = Host::start(&config::desk());
    for source in &Source::BUILT_IN {
        let body = b"\xff\xfe neither JSON nor a form";
        let answer = host.accept(&Delivery::new(
            source,
            "incident.triggered",
            "garbage",
            *body,
        ));
        check_acknowledgement(
            &host,
            &answer,
            false,
            usize::from(*source == Source::Sentry || *source == Source::Stripe),
        );
        check_payload(&host, &answer, body);
        let event = host.json(&format!(
            "/v1/events/{}",
            answer["event_id"].as_str().unwrap()
        ));
        assert_eq!(event["event_type"], format!("{source}.unparsable"));
        assert_eq!(event["idempotency_key"], encode(Sha256::digest(body)));
    }
}

#[test]
fn an_event_that_no_policy_wants_is_kept_without_a_run() {
    let host = Host::start(&config::desk());
    let answer = host.accept(&Delivery::sample(
        Source::Standard,
        "contact.created",
        "unrouted-1",
    ));
    check_acknowledgement(&host, &answer, false, 0);
    let event = host.json(&format!(
        "/v1/events/{}",
        answer["event_id"].as_str().unwrap()
    ));
    assert_eq!(
        (&event["routed"], &event["run_ids"]),
        (&json!(false), &json!([]))
    );
}

#[test]
fn slack_gets_its_challenge_back_and_nothing_is_kept() {
    let host = Host::start("");
    let delivery = Delivery::sample(Source::Slack, "url_verification", "challenge-1");
    let challenge = serde_json::from_slice::<Value>(&delivery.body).unwrap()["challenge"].clone();
    assert_eq!(host.accept(&delivery), json!({ "challenge": challenge }));
    host.deliver(&delivery.without("x-slack-signature"))
        .expect(401);
    assert!(host.list("/v1/events").is_empty());
}

#[test]
fn the_ping_of_github_is_kept() {
    let host = Host::start("");
    let answer = host.accept(&Delivery::sample(Source::Github, "ping", "ping-1"));
    check_acknowledgement(&host, &answer, false, 0);
    assert_eq!(host.list("/v1/events")[0]["event_type"], "github.ping");
}

#[test]
fn any_live_secret_signs_until_it_is_taken_out() {
    let both = r#"secrets = ["file:old", "file:new"]"#;
    let integration = |secrets: &str| {
        format!("[[integration]]\nid = \"github-main\"\nsource = \"github\"\n{secrets}\n")
    };
    let folder = Folder::new(&integration(both));
    folder.write("old", "the old secret\n");
    folder.write("new", "the new secret\n");
    let mut host = Host::start_in(folder);
    let signed = |secret: &str, id: &str| {
        let (secret, now) = (
            triage_host::model::secret::Secret::new(secret),
            triage_tests::delivery::now(),
        );
        Delivery::signed(
            Source::Github,
            "push",
            id,
            sample_body(Source::Github, "push", id),
            &secret,
            now,
        )
    };
    host.accept(&signed("the old secret", "rotation-1"));
    host.accept(&signed("the new secret", "rotation-2"));
    host.stop();
    host.folder
        .configure(&integration(r#"secrets = ["file:new"]"#));
    host.restart();
    host.deliver(&signed("the old secret", "rotation-3"))
        .expect(401);
    host.accept(&signed("the new secret", "rotation-4"));
}

#[test]
fn what_is_not_there_is_answered_the_same_everywhere() {
    let host = Host::start("");
    let post = |path: &str| {
        host.request("POST", path, &[], "{}")
            .expect(404)
            .without_date()
    };
    let elsewhere = post("/nowhere");
    assert_eq!(elsewhere.json()["code"], "not_found");
    for path in [
        "/v1/webhooks/github/nobody",
        "/v1/webhooks/gitlab/github-main",
        "/v1/webhooks/stripe/github-main",
        "/v1/webhooks/github/%ff",
        "/v1/webhooks/github/github-main/more",
        "/v1/webhooks/github",
        "/v1/webhooks/github/..%2fgithub-main",
    ] {
        assert_eq!(post(path), elsewhere, "{path}");
    }
}

#[test]
fn a_path_takes_its_own_method_only() {
    let host = Host::start("");
    for method in ["GET", "PUT", "DELETE"] {
        let known = host
            .request(method, "/v1/webhooks/github/github-main", &[], "")
            .expect(405)
            .without_date();
        let unknown = host
            .request(method, "/v1/webhooks/github/nobody", &[], "")
            .expect(405)
            .without_date();
        assert_eq!(known, unknown, "{method}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_however_it_is_sent() {
    let host = Host::start(&config::integration(
        "small",
        Source::Github,
        "body_limit = \"1KiB\"",
    ));
    let sized = |bytes: usize| {
        Delivery::new(
            Source::Github,
            "push",
            &format!("id-{bytes}"),
            vec![b'x'; bytes],
        )
        .to("small")
    };
    host.deliver(&sized(1025)).expect(413);
    let head = "POST /v1/webhooks/github/small HTTP/1.1\r\nHost: test\r\n";
    let announced = raw(
        host.address(),
        format!("{head}Content-Length: 1000000000\r\n\r\n").as_bytes(),
    );
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1025, "x".repeat(1025));
    let chunked = raw(
        host.address(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes(),
    );
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    assert!(host.list("/v1/events").is_empty());
    let rejections = host.list("/v1/rejections");
    let seen: Vec<_> = rejections
        .iter()
        .map(|it| (&it["cause"], &it["body_bytes"], &it["body_sha256"]))
        .collect();
    let cause = json!("body_too_large");
    assert_eq!(
        seen,
        [
            (&cause, &json!(1025), &Value::Null),
            (&cause, &json!(1_000_000_000), &Value::Null),
            (&cause, &json!(1025), &Value::Null),
        ]
    );
    host.accept(&sized(1024));
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let host = Host::start("");
    let head = "POST /v1/webhooks/github/github-main HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nonly this";
    let answer = raw(host.address(), head.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"),
        "{answer}"
    );
    let rejection = &host.list("/v1/rejections")[0];
    assert_eq!(
        (&rejection["cause"], &rejection["body_bytes"]),
        (&json!("body_too_slow"), &json!(100))
    );
    assert!(host.list("/v1/events").is_empty());
}

#[test]
fn a_delivery_that_breaks_off_is_not_kept() {
    let host = Host::start("");
    let delivery = Delivery::incident("broken-off");
    let mut head = format!(
        "POST /v1/webhooks/{} HTTP/1.1\r\nHost: test\r\n",
        delivery.path
    );
    for (name, value) in &delivery.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", delivery.body.len()));
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .write_all(&delivery.body[..delivery.body.len() - 1])
        .unwrap();
    drop(stream);
    wait_until("the rejection", || {
        let rejections = host.list("/v1/rejections");
        match rejections.first() {
            Some(it) if it["cause"] == "body_cut_off" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(host.accept(&delivery)["duplicate"], false);
}

#[test]
fn what_cannot_be_written_is_never_acknowledged() {
    let mut host = Host::start("");
    host.allow_errors();
    let other = rusqlite::Connection::open(host.folder.path("triage.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let delivery = Delivery::incident("not-written-1");
    let refused = host.deliver(&delivery).expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    host.request("GET", "/readyz", &[], "").expect(503);
    host.request("GET", "/healthz", &[], "").expect(200);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(host.accept(&delivery)["duplicate"], false);
    assert_eq!(host.list("/v1/events").len(), 1);
}

#[test]
fn too_many_headers_are_refused() {
    let host = Host::start("");
    let many: String = (0..150).map(|it| format!("x-{it}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "1".repeat(33 << 10));
    for headers in [many, long] {
        let head =
            "POST /v1/webhooks/github/github-main HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n";
        let answer = raw(host.address(), format!("{head}{headers}\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    host.accept(&Delivery::incident("after"));
}
