//! The edge of ingest: what strangers can learn, and how much one may ask at once.

use std::io::Write as _;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use triage_host::model::source::Source;
use triage_tests::http::{raw, runtime};
use triage_tests::{Delivery, Folder, Host, config, wait_until};

const KNOWN: &str = "/v1/webhooks/github/github-main";
const UNKNOWN: [&str; 3] = [
    "/v1/webhooks/github/github-mine",
    "/v1/webhooks/slacky/github-main",
    "/v1/webhooks/stripe/github-main",
];
/// As long as those are.
const NOWHERE: &str = "/v1/nowhere/github/github-mainn";

/// An HTTP/2 connection with prior knowledge.
async fn http2(host: &Host) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(host.address()).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    client
}

async fn post(
    client: &mut http2::SendRequest<Body>,
    path: &str,
    headers: &[(String, String)],
    body: Body,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::post(format!("http://test{path}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    client.ready().await.unwrap();
    let answer = client.send_request(request.body(body).unwrap());
    let (parts, body) = answer.await.unwrap().into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
    (parts.status, parts.headers, body.to_vec())
}

#[test]
fn an_unknown_integration_is_answered_byte_for_byte_as_any_unknown_path() {
    let host = Host::start("");
    let without_date = |answer: String| -> String {
        let lines = answer.split_inclusive("\r\n");
        lines.filter(|it| !it.starts_with("date:")).collect()
    };
    for rest in [
        "\r\n",
        "Content-Length: 2\r\n\r\n{}",
        "Content-Length: 2000000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let answer = |path: &str| {
            let request = format!("POST {path} HTTP/1.1\r\nHost: test\r\n{rest}");
            without_date(raw(host.address(), request.as_bytes()))
        };
        let elsewhere = answer(NOWHERE);
        assert!(
            elsewhere.starts_with("HTTP/1.1 404 Not Found\r\n"),
            "{elsewhere}"
        );
        for path in UNKNOWN {
            assert_eq!(answer(path), elsewhere, "{path} {rest}");
        }
    }
    // What "100 Continue" would have told: that the body is read.
    let request = format!(
        "POST {KNOWN} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    );
    let known = raw(host.address(), request.as_bytes());
    assert!(known.starts_with("HTTP/1.1 100 Continue\r\n"), "{known}");
}

#[test]
fn an_unknown_integration_is_answered_the_same_over_http2() {
    let host = Host::start("");
    runtime().block_on(async {
        let mut client = http2(&host).await;
        for body in ["", "{}", &" ".repeat(2_000_000)] {
            let mut answers = Vec::new();
            for path in UNKNOWN.into_iter().chain([NOWHERE]) {
                let body = Body::from(body.to_owned());
                let (status, mut headers, body) = post(&mut client, path, &[], body).await;
                headers.remove("date");
                answers.push((status, headers, body));
            }
            assert_eq!(answers[3].0, 404);
            assert!(answers.iter().all(|it| *it == answers[3]), "{answers:?}");
        }
    });
}

#[test]
fn deliveries_over_http2_are_kept_as_those_over_http1() {
    let host = Host::start(&config::desk());
    for source in Source::BUILT_IN {
        let delivery = triage_tests::delivery::ticketed(source.clone(), "h2-1");
        let path = format!("/v1/webhooks/{}", delivery.path);
        let (status, _, body) = runtime().block_on(async {
            let mut client = http2(&host).await;
            let body = Body::from(delivery.body.clone());
            post(&mut client, &path, &delivery.headers, body).await
        });
        assert_eq!(status, 200, "{source}");
        let first: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let repeat = host.accept(&delivery);
        assert_eq!(
            (&repeat["event_id"], &repeat["duplicate"]),
            (&first["event_id"], &json!(true))
        );
    }
    host.wait_until_idle();
}

#[test]
fn http2_takes_no_more_requests_than_the_host_has_places_for() {
    const TOGETHER: usize = 512;
    let host = Host::start("");
    runtime().block_on(async {
        let mut refused = JoinSet::new();
        let mut clients = Vec::new();
        for number in 0..TOGETHER + 60 {
            if number % 100 == 0 {
                clients.push(http2(&host).await);
            }
            let mut client = clients.last().unwrap().clone();
            refused.spawn(async move {
                let headers = [("content-length".to_owned(), "10".to_owned())];
                // It never comes.
                let body = Body::new(Never);
                post(&mut client, KNOWN, &headers, body).await
            });
        }
        let mut at_once = 0;
        let mut given_up = 0;
        while let Some(answer) = refused.join_next().await {
            let (status, headers, body) = answer.unwrap();
            match status.as_u16() {
                429 => {
                    assert_eq!(headers["retry-after"], "1");
                    assert_eq!(given_up, 0, "it was told at once");
                    at_once += 1;
                }
                408 => given_up += 1,
                other => panic!("{other} {}", String::from_utf8_lossy(&body)),
            }
            if at_once == 60 && given_up == 0 {
                // HTTP/1.1 has places of its own.
                tokio::task::block_in_place(|| host.get("/v1/events").expect(200));
            }
        }
        assert_eq!((at_once, given_up), (60, TOGETHER));
    });
    host.accept(&Delivery::incident("after"));
}

/// A body that does not come.
struct Never;

impl axum::body::HttpBody for Never {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[test]
fn a_rate_limit_and_the_refusals_it_causes_are_seen_from_outside() {
    let host = Host::start(&config::integration(
        "limited",
        Source::Github,
        "rate_limit = \"1/m\"\nburst = 2",
    ));
    let push = |id: &str| Delivery::sample(Source::Github, "push", id).to("limited");
    host.accept(&push("one"));
    host.accept(&push("two"));
    let refused = host.deliver(&push("three")).expect(429);
    assert_eq!(refused.json()["code"], "rate_limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    host.deliver(&push("four").without("x-hub-signature-256"))
        .expect(401);

    let counts = host.json("/v1/rejections/counts");
    let row = |cause: &str| json!({"tenant": "default", "integration_id": "limited", "cause": cause, "count": 1});
    assert_eq!(
        counts["items"],
        json!([row("missing_header"), row("rate_limited")])
    );
    // The command reads the database, which is written behind the answer.
    wait_until("the counts in the database", || {
        let told = host.folder.triage(&["--json", "rejection", "counts"]);
        let told = told.expect(0).json();
        if told == counts {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    let table = host.folder.triage(&["rejection", "list"]).expect(0).text();
    assert!(
        table.contains("rate_limited") && table.contains("x-hub-signature-256"),
        "{table}"
    );
}

#[test]
fn a_plugin_gets_what_a_compressed_body_says() {
    let host = Host::start(&config::desk());
    let gzip = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let (source, event) = (Source::Standard, "incident.opened");
    let compressed = |id: &str, encoding: &str, body: Vec<u8>| {
        let mut delivery = Delivery::new(source.clone(), event, id, body);
        let header = ("content-encoding".to_owned(), encoding.to_owned());
        delivery.headers.push(header);
        delivery
    };
    let plain = triage_tests::delivery::sample_body(source.clone(), event, "gzip-1");
    let body = gzip(plain.as_ref());
    let delivery = compressed("gzip-1", "gzip", body.clone());
    let answer = host.accept(&delivery);
    assert_eq!(host.finished(&answer)["state"], "completed");
    assert_eq!(host.list("/v1/tickets").len(), 1);
    let event_id = answer["event_id"].as_str().unwrap();
    let payload = host.get(&format!("/v1/events/{event_id}/payload"));
    assert_eq!(payload.expect(200).body, body);
    assert_eq!(host.accept(&delivery)["duplicate"], true);

    let bomb = compressed("gzip-2", "gzip", gzip(&vec![b' '; 9 << 20]));
    let answer = host.accept(&bomb);
    let event_id = answer["event_id"].as_str().unwrap();
    let kept = host.json(&format!("/v1/events/{event_id}"));
    assert_eq!(kept["event_type"], "standard.unparsable");
}

/// Whether a client that trusts nothing else takes the host's certificate.
fn is_trusted(host: &Host, certificate: &str) -> bool {
    let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let url = format!("https://localhost:{}/healthz", host.address().port());
    runtime().block_on(async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([trusted]);
        let answer = client.build().unwrap().get(url).send().await;
        answer.is_ok_and(|it| it.status() == 200)
    })
}

#[test]
fn a_host_with_a_certificate_speaks_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let section = "[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let mut folder = Folder::new(&config::integrations());
    folder.configure(&format!("{section}{}", config::integrations()));
    folder.write("cert.pem", made.cert.pem());
    folder.write("key.pem", made.signing_key.serialize_pem());
    folder.triage(&["check"]).expect(0);
    let host = Host::start_in(folder);
    assert!(host.url("/").starts_with("https://"));
    let answer = host.accept(&Delivery::incident("tls-1"));
    let trace_url = answer["trace_url"].as_str().unwrap();
    assert!(trace_url.starts_with("https://127.0.0.1:"), "{trace_url}");
    let plain = raw(
        host.address(),
        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert!(!plain.contains("HTTP"), "{plain}");

    let renewed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    assert!(is_trusted(&host, &made.cert.pem()) && !is_trusted(&host, &renewed.cert.pem()));
    host.folder
        .write("key.pem", renewed.signing_key.serialize_pem());
    host.folder.write("cert.pem", renewed.cert.pem());
    wait_until("the new certificate", || {
        let trusted = is_trusted(&host, &renewed.cert.pem());
        if trusted { Ok(()) } else { Err(host.log()) }
    });
    let revision = host.json("/v1/config");
    assert_eq!(
        revision["last_reload"]["changes"],
        serde_json::json!(["settings: 1 changed (server.tls)"])
    );
    drop(host);

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder = Folder::new(&format!("{section}{}", config::integrations()));
    folder.write("cert.pem", made.cert.pem());
    folder.write("key.pem", other.signing_key.serialize_pem());
    let refused = folder.triage(&["serve"]).expect(1);
    refused.complains(&["server.tls.key", "does not belong"]);
    folder.triage(&["rejection", "counts"]).expect(0);
}
