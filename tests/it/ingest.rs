//! Deliveries that are believed, beside the rows of `ingest_table.rs`: repeats under other ids, several
//! secrets, requests that break off.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_tests::delivery::sample_body;
use triage_tests::http::raw;
use triage_tests::wait::wait_until;
use triage_tests::{Delivery, Folder, Host, config};

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
    let deliveries: Vec<_> = (0..20)
        .map(|it| Delivery::incident(&format!("not-written-{it}")))
        .collect();
    // All of them wait for the lock together, and not one after another.
    std::thread::scope(|scope| {
        for delivery in &deliveries {
            scope.spawn(|| {
                let refused = host.deliver(delivery).expect(503);
                assert!(refused.header("retry-after").is_some(), "{refused:?}");
            });
        }
    });
    host.request("GET", "/readyz", &[], "").expect(503);
    host.request("GET", "/healthz", &[], "").expect(200);
    other.execute_batch("ROLLBACK").unwrap();
    for delivery in &deliveries {
        assert_eq!(host.accept(delivery)["duplicate"], false);
    }
    assert_eq!(host.list("/v1/events").len(), deliveries.len());
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
