//! HTTP/1.1 and HTTP/2 on one port: what both answer, and connections that are given up.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::wire::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Listening, PREFACE, RST_STREAM, SETTINGS,
    frame, hpack, request, send,
};
use super::{BODY_BYTES_MAX, NOW, SECRET, sample};
use crate::model::source::Source;
use crate::store::access::Role;

const PATH: &str = "/v1/webhooks/github/acme-github";

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// The causes that were counted, and how often.
async fn causes(listening: &Listening) -> Vec<(String, u64)> {
    let counts = listening.host.state.store.count_rejections(None).await;
    let cause = |it: crate::store::rejections::RejectionCount| (it.key.cause, it.count);
    counts.unwrap().into_iter().map(cause).collect()
}

#[tokio::test]
async fn both_protocols_are_served_on_one_port() {
    let listening = Listening::start().await;
    let head = b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let answer = listening.say(head).await.text().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let mut client = listening.http2().await;
    send(&mut client, get("/healthz")).await.check(200);
    let delivery = || listening.host.delivery(Source::Github, "d1");
    let first = send(&mut client, delivery()).await.check(200).json();
    assert_eq!(first["duplicate"], false);
    let repeat = send(&mut client, delivery()).await.check(200).json();
    assert_eq!(repeat["event_id"], first["event_id"]);
}

#[tokio::test]
async fn many_deliveries_share_an_http2_connection() {
    let listening = Listening::start().await;
    let client = listening.http2().await;
    let mut deliveries = JoinSet::new();
    for number in 0..150 {
        let mut client = client.clone();
        let delivery = listening
            .host
            .delivery(Source::Github, &format!("d{number}"));
        deliveries.spawn(async move { send(&mut client, delivery).await.check(200).json() });
    }
    let answers = deliveries.join_all().await;
    assert!(answers.iter().all(|it| it["duplicate"] == false));
}

#[tokio::test]
async fn the_limits_of_http2_are_told_to_the_client() {
    let listening = Listening::start().await;
    let wire = listening.say(PREFACE).await;
    let frames = wire.frames().await;
    assert_eq!(frames[0].kind, SETTINGS);
    let settings = frames[0].payload.chunks(6).map(|it| {
        let value = u32::from_be_bytes([it[2], it[3], it[4], it[5]]);
        (u16::from_be_bytes([it[0], it[1]]), value)
    });
    // SETTINGS_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_HEADER_LIST_SIZE.
    for expected in [(3, 100), (4, 512 << 10), (6, 64 << 10)] {
        assert!(settings.clone().any(|it| it == expected), "{expected:?}");
    }
}

#[tokio::test]
async fn a_connection_on_which_no_request_comes_is_closed() {
    let listening = Listening::start().await;
    let unfinished = request(1, "GET", "/healthz", END_STREAM);
    for beginning in [
        &b""[..],
        b"PRI * HT",
        b"POST /v1/webhooks/gi",
        b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Slow: ",
        &PREFACE[..24],
        PREFACE,
        &[PREFACE, &unfinished].concat(),
    ] {
        let rest = listening.say(beginning).await.rest().await;
        let answered = rest.windows(4).any(|it| it == b"HTTP");
        assert!(!answered, "{:?}", String::from_utf8_lossy(&rest));
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let listening = Listening::start().await;
    for beginning in [
        &b"GET /healthz HTTP/1.1\r\nX-Slow: "[..],
        b"PRI * HTTP/2.0\r\n",
    ] {
        let mut wire = listening.say(beginning).await;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        // The byte is in neither a header nor a preface the last one.
        while wire.0.write_all(b"a").await.is_ok() {
            tick.tick().await;
        }
    }
}

#[tokio::test]
async fn an_idle_connection_is_ended_in_order() {
    let listening = Listening::start().await;
    let kept = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    let answer = listening.say(kept).await.text().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let asked = request(1, "GET", "/healthz", END_STREAM | END_HEADERS);
    let wire = listening.say(&[PREFACE, &asked].concat()).await;
    let frames = wire.frames().await;
    assert!(frames.iter().any(|it| it.kind == HEADERS), "{frames:?}");
    let goaway = frames.iter().find(|it| it.kind == GOAWAY).unwrap();
    assert_eq!(goaway.payload[4..8], [0; 4], "NO_ERROR");
}

#[tokio::test]
async fn an_answer_that_is_not_read_holds_no_place_for_ever() {
    let listening = Listening::start().await;
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing may be sent in a stream.
    let window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let asked = request(1, "GET", "/login", END_STREAM | END_HEADERS);
    let wire = listening.say(&[PREFACE, &window, &asked].concat()).await;
    let frames = wire.frames().await;
    assert!(frames.iter().any(|it| it.kind == HEADERS), "{frames:?}");
    let data: Vec<_> = frames.iter().filter(|it| it.kind == DATA).collect();
    assert!(data.iter().all(|it| it.payload.is_empty()), "{data:?}");

    // The answers to these are more than the system's buffers hold.
    let many = "GET /login HTTP/1.1\r\nHost: test\r\n\r\n".repeat(20_000);
    let mut wire = listening.say(b"").await;
    let written = wire.0.write_all(many.as_bytes()).await;
    if written.is_ok() {
        wire.rest().await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered() {
    let listening = Listening::start().await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nonly");
    let answer = listening.say(head.as_bytes()).await.text().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let begun = request(1, "POST", PATH, END_HEADERS);
    let part = frame(DATA, 0, 1, b"only");
    let wire = listening.say(&[PREFACE, &begun, &part].concat()).await;
    let frames = wire.frames().await;
    let body = frames.iter().find(|it| it.kind == DATA).unwrap();
    let body = String::from_utf8_lossy(&body.payload);
    assert!(body.contains("request_timeout"), "{body}");
    assert_eq!(causes(&listening).await, [("body_too_slow".to_owned(), 2)]);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_counted() {
    let listening = Listening::start().await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nonly");
    let mut wire = listening.say(head.as_bytes()).await;
    wire.0.shutdown().await.unwrap();
    wire.rest().await;

    let begun = request(1, "POST", PATH, END_HEADERS);
    let part = frame(DATA, 0, 1, b"only");
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let mut wire = listening.say(&[PREFACE, &begun, &part].concat()).await;
    wire.is_heard().await;
    wire.say(&reset).await;
    wire.rest().await;
    assert_eq!(causes(&listening).await, [("body_cut_off".to_owned(), 2)]);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_its_end() {
    let listening = Listening::start().await;
    let body = " ".repeat(BODY_BYTES_MAX + 1);
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("{head}{:x}\r\n{body}\r\n", body.len());
    let answer = listening.say(chunk.as_bytes()).await.text().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let begun = request(1, "POST", PATH, END_HEADERS);
    let parts = [&body[..BODY_BYTES_MAX], " "].map(|it| frame(DATA, 0, 1, it.as_bytes()));
    let bytes = [PREFACE, &begun, &parts.concat()].concat();
    let frames = listening.say(&bytes).await.frames().await;
    let data = frames.iter().filter(|it| it.kind == DATA);
    let body: Vec<u8> = data.flat_map(|it| it.payload.clone()).collect();
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("payload_too_large"), "{body}");
    assert_eq!(causes(&listening).await, [("body_too_large".to_owned(), 2)]);
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together_in_both_protocols() {
    let listening = Listening::start().await;
    let body = sample(Source::Github, "d1", NOW);
    let mut head = format!("POST {PATH} HTTP/1.1\r\nConnection: close\r\nHost: test\r\n");
    for (name, value) in listening
        .host
        .signature(Source::Github, "d1", SECRET, &body)
    {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    for piece in body.as_bytes().chunks(100) {
        head.push_str(&format!("{:x}\r\n", piece.len()));
        head.push_str(std::str::from_utf8(piece).unwrap());
        head.push_str("\r\n");
    }
    head.push_str("0\r\n\r\n");
    let answer = listening.say(head.as_bytes()).await.text().await;
    assert!(answer.contains("\"duplicate\":false"), "{answer}");

    let headers = listening
        .host
        .signature(Source::Github, "d1", SECRET, &body);
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", "test"),
    ];
    fields.extend(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let mut bytes = [PREFACE, &frame(HEADERS, END_HEADERS, 1, &hpack(&fields))].concat();
    for piece in body.as_bytes().chunks(100) {
        bytes.extend(frame(DATA, 0, 1, piece));
    }
    bytes.extend(frame(DATA, END_STREAM, 1, b""));
    let frames = listening.say(&bytes).await.frames().await;
    let data = frames.iter().find(|it| it.kind == DATA).unwrap();
    let answer = String::from_utf8_lossy(&data.payload);
    assert!(answer.contains("\"duplicate\":true"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let listening = Listening::start().await;
    let long_uri = format!("/{}", "a".repeat(9_000));
    let head = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")
    };
    let many: String = (0..150).map(|it| format!("x-{it}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(70_000));
    for (head, status) in [
        (head(&long_uri, ""), "414"),
        (head("/healthz", &many), "431"),
        (head("/healthz", &long), "431"),
    ] {
        let answer = listening.say(head.as_bytes()).await.text().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }

    let mut client = listening.http2().await;
    send(&mut client, get(&long_uri))
        .await
        .check_error(414, "uri_too_long");
    let mut many = listening.host.delivery(Source::Github, "d1");
    for number in 0..150 {
        let name = axum::http::HeaderName::try_from(format!("x-{number}")).unwrap();
        many.headers_mut().insert(name, "1".parse().unwrap());
    }
    send(&mut client, many)
        .await
        .check_error(431, "headers_too_large");
    let mut long = get("/healthz");
    for number in 0..3 {
        let name = axum::http::HeaderName::try_from(format!("x-{number}")).unwrap();
        let value = "a".repeat(30_000).parse().unwrap();
        long.headers_mut().insert(name, value);
    }
    send(&mut client, long).await.check(431);
    send(&mut client, get("/healthz")).await.check(200);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_given_up_ends_the_connection() {
    let listening = Listening::start().await;
    let mut wire = listening.say(PREFACE).await;
    let mut flood = Vec::new();
    for number in 0..1_000 {
        let stream = 2 * number + 1;
        flood.extend(request(stream, "POST", PATH, END_HEADERS));
        flood.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    // The host may close before all of it is written.
    let _ = wire.0.write_all(&flood).await;
    let frames = wire.frames().await;
    let goaway = frames.iter().find(|it| it.kind == GOAWAY);
    // A connection that is reset takes with it what the host said last.
    if let Some(goaway) = goaway {
        assert_eq!(goaway.payload[4..8], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");
    }
    assert!(frames.iter().filter(|it| it.kind == HEADERS).count() < 1_000);
    let mut client = listening.http2().await;
    send(&mut client, get("/healthz")).await.check(200);
}

#[tokio::test]
async fn a_stop_ends_every_connection() {
    let listening = Listening::start().await;
    let mut client = listening.http2().await;
    send(&mut client, get("/healthz")).await.check(200);
    let token = listening.host.token(None, Role::Viewer).await;
    let asked = get("/v1/events");
    let (mut parts, body) = asked.into_parts();
    let authorization = format!("Bearer {token}").parse().unwrap();
    parts.headers.insert("authorization", authorization);
    send(&mut client, Request::from_parts(parts, body))
        .await
        .check(200);
    let silent = [
        listening.say(b"").await,
        listening.say(b"POST /v1").await,
        listening.say(PREFACE).await,
    ];
    listening.stop().await;
    for wire in silent {
        wire.rest().await;
    }
}
