use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use insta::assert_snapshot;

use super::*;
use crate::model::action::ActionEvent;
use crate::model::decision::{Priority, Ticket};
use crate::model::event::Headers;
use crate::model::id::ActionId;

const NOW: TimestampMs = 1_731_705_300_500;
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn action(attempt: u32) -> ClaimedAction {
    ClaimedAction {
        id: ActionId::from_bytes([3; 16]),
        seq: 7,
        name: "page".to_owned(),
        destination: "oncall".to_owned(),
        idempotency_key: "72d3162e-cc78:incidents:page".to_owned(),
        content: ActionContent::Webhook {
            payload: r#"{"z":1.0, "a":[1e2,"ü"]}"#.to_owned(),
        },
        attempt,
        first_attempt_at: 1_731_705_121_100,
        decided_at: 1_731_705_121_042,
        run_id: RunId::from_bytes([2; 16]),
        policy: "incidents".to_owned(),
        classification: Classification {
            priority: Priority::High,
            category: "regression".to_owned(),
            labels: vec!["checkout".to_owned()],
            confidence_percent: 90,
            reason: "seen again after it was resolved".to_owned(),
        },
        event: ActionEvent {
            id: EventId::from_bytes([1; 16]),
            tenant: "acme".to_owned(),
            integration_id: "github-main".to_owned(),
            source: "github".to_owned(),
            event_type: "github.issues.opened".to_owned(),
            idempotency_key: "72d3162e-cc78".to_owned(),
            received_at: 1_731_705_121_000,
            occurred_at: Some(1_731_705_120_000),
        },
    }
}

fn body_text(action: &ClaimedAction) -> String {
    String::from_utf8(body(action)).unwrap()
}

fn header(action: &ClaimedAction, now: TimestampMs, name: &str) -> String {
    let headers = headers(action, &Secret::new(SECRET), &body(action), now).unwrap();
    headers.into_iter().find(|(key, _)| key == name).unwrap().1
}

fn response(status: u16, body: &[u8], headers: &[(&str, &str)]) -> Response {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Response {
        status,
        headers: Headers(headers.collect()),
        body: Bytes::copy_from_slice(body),
        truncated: false,
        retry_after_ms: None,
    }
}

#[test]
fn the_body_says_what_was_decided_about_which_event() {
    assert_snapshot!(body_text(&action(1)), @r#"{"type":"github.issues.opened","timestamp":"2024-11-15T21:12:01.042Z","data":{"event":{"id":"evt_01010101010101010101010101010101","type":"github.issues.opened","source":"github","integration_id":"github-main","idempotency_key":"72d3162e-cc78","occurred_at":"2024-11-15T21:12:00.000Z"},"run_id":"run_02020202020202020202020202020202","policy":"incidents","action":"page","classification":{"priority":"high","category":"regression","labels":["checkout"],"confidence_percent":90,"reason":"seen again after it was resolved"},"payload":{"z":1.0, "a":[1e2,"ü"]}}}"#);
}

#[test]
fn an_unknown_time_of_occurrence_is_null() {
    let mut action = action(1);
    action.event.occurred_at = None;
    assert!(body_text(&action).contains(r#""occurred_at":null}"#));
}

#[test]
fn a_payload_that_is_no_json_is_sent_as_a_string() {
    let mut action = action(1);
    action.content = ActionContent::Webhook {
        payload: r#"} say "hi""#.to_owned(),
    };
    assert!(body_text(&action).ends_with(r#""payload":"} say \"hi\""}}"#));
}

#[test]
fn other_content_is_sent_as_its_json() {
    let mut action = action(1);
    action.content = ActionContent::Message {
        title: "Checkout fails".to_owned(),
        text: "again".to_owned(),
        thread_key: None,
    };
    let expected = r#""payload":{"kind":"message","title":"Checkout fails","text":"again","thread_key":null}}}"#;
    assert!(body_text(&action).ends_with(expected));
    action.content = ActionContent::Ticket(Ticket {
        title: "Checkout fails".to_owned(),
        body: String::new(),
        labels: Vec::new(),
        assignee: None,
        group_key: None,
    });
    assert!(body_text(&action).contains(r#""payload":{"kind":"ticket","title":"Checkout fails""#));
}

#[test]
fn the_signature_is_that_of_standard_webhooks() {
    let action = action(1);
    let signed = [
        header(&action, NOW, "webhook-id").as_bytes(),
        header(&action, NOW, "webhook-timestamp").as_bytes(),
        &body(&action),
    ]
    .join(&b'.');
    let key = STANDARD
        .decode(SECRET.trim_start_matches("whsec_"))
        .unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key)
        .unwrap()
        .chain_update(signed);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(&action, NOW, "webhook-signature"), expected);
    assert_eq!(header(&action, NOW, "webhook-timestamp"), "1731705300");
    assert_eq!(header(&action, NOW, "content-type"), "application/json");
}

#[test]
fn a_secret_that_cannot_sign_is_an_error() {
    assert!(headers(&action(1), &Secret::new("whsec_"), b"{}", NOW).is_err());
}

#[test]
fn a_later_attempt_is_the_same_message_signed_anew() {
    let (first, fifth, later) = (action(1), action(5), NOW + 60_000);
    assert_eq!(body(&first), body(&fifth));
    for name in ["webhook-id", "idempotency-key"] {
        assert_eq!(
            header(&first, NOW, name),
            header(&fifth, later, name),
            "{name}"
        );
    }
    for name in ["webhook-timestamp", "webhook-signature", "traceparent"] {
        assert_ne!(
            header(&first, NOW, name),
            header(&fifth, later, name),
            "{name}"
        );
    }
}

#[test]
fn the_webhook_id_names_integration_and_key() {
    // By `printf 'github-main\0KEY' | sha256sum`, with the key of `action`.
    let expected = "msg_b53348b378444d8b2f9261ff46831eac";
    assert_eq!(header(&action(1), NOW, "webhook-id"), expected);
    let mut other = action(1);
    other.event.integration_id = "github-other".to_owned();
    assert_ne!(header(&other, NOW, "webhook-id"), expected);
}

#[test]
fn an_idempotency_key_fits_a_header() {
    let key_of = |key: &str| {
        let mut action = action(1);
        action.idempotency_key = key.to_owned();
        header(&action, NOW, "idempotency-key")
    };
    assert_eq!(key_of("a/b:c%20:d"), "a/b:c%20:d");
    assert_eq!(key_of("a b\n:ü%"), "a%20b%0A:%C3%BC%25");
    assert_eq!(key_of(&"k".repeat(255)), "k".repeat(255));
    assert!(key_of(&"k".repeat(256)).starts_with("msg_"));
    assert!(key_of(&"ü".repeat(100)).starts_with("msg_"));
}

#[test]
fn the_event_is_the_trace_and_each_attempt_a_span() {
    let traceparent = header(&action(1), NOW, "traceparent");
    let parts: Vec<&str> = traceparent.split('-').collect();
    assert_eq!(
        (parts[0], parts[1], parts[3]),
        ("00", "01".repeat(16).as_str(), "01")
    );
    assert!(parts[2].len() == 16 && parts[2].bytes().all(|it| it.is_ascii_hexdigit()));
    assert_eq!(traceparent, header(&action(1), NOW + 1, "traceparent"));
}

#[test]
fn a_2xx_is_a_receipt() {
    let headers = [("request-id", "second"), ("x-request-id", "req-1")];
    assert_eq!(
        outcome(Ok(response(202, b"{\"id\":\r\n 4}\0\x1b[2J", &headers))),
        Delivered::Done(Receipt::Http {
            status: 202,
            body: "{\"id\":   4}[2J".to_owned(),
            request_id: Some("req-1".to_owned()),
        })
    );
}

#[test]
fn a_receipt_keeps_the_beginning_of_the_body() {
    let kept = |sent: &[u8]| match outcome(Ok(response(200, sent, &[]))) {
        Delivered::Done(Receipt::Http {
            body,
            request_id: None,
            ..
        }) => body,
        other => panic!("{other:?}"),
    };
    assert_eq!(kept(&[b'a'; 4000]), "a".repeat(1024));
    // Byte 1024 falls inside the last letter.
    assert_eq!(
        kept(format!("{}ü", "a".repeat(1023)).as_bytes()),
        "a".repeat(1023)
    );
    assert!(kept(&[0xff; 4000]).len() <= 1024);
}

#[track_caller]
fn check_retry(status: u16, expected: bool) {
    let mut answer = response(status, b"no", &[]);
    answer.retry_after_ms = Some(2_000);
    match outcome(Ok(answer)) {
        Delivered::Failed {
            error,
            status: kept,
            retry_after_ms,
        } if expected => {
            assert_eq!(error, format!("the destination answered {status}: no"));
            assert_eq!((kept, retry_after_ms), (Some(status), Some(2_000)));
        }
        Delivered::Refused { status: kept, .. } if !expected => assert_eq!(kept, Some(status)),
        other => panic!("{status}: {other:?}"),
    }
}

#[test]
fn overload_and_server_errors_are_tried_again() {
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        check_retry(status, true);
    }
}

#[test]
fn redirects_and_other_client_errors_are_permanent() {
    for status in [
        300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 410, 413, 422, 600, 999,
    ] {
        check_retry(status, false);
    }
    assert_eq!(
        outcome(Ok(response(302, b"", &[]))),
        Delivered::Refused {
            error: "the destination answered 302, which is not followed".to_owned(),
            status: Some(302),
        }
    );
}

#[test]
fn without_an_answer_the_cause_decides() {
    for error in [
        EgressError::Timeout,
        EgressError::Unreachable("connection refused".to_owned()),
    ] {
        let expected = Delivered::Failed {
            error: error.to_string(),
            status: None,
            retry_after_ms: None,
        };
        assert_eq!(outcome(Err(error)), expected);
    }
    let address = EgressError::RefusedAddress {
        host: "a.test".to_owned(),
        reason: "private",
    };
    for error in [address, EgressError::InvalidRequest("no host".to_owned())] {
        let expected = Delivered::Refused {
            error: error.to_string(),
            status: None,
        };
        assert_eq!(outcome(Err(error)), expected);
    }
}
