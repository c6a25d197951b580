//! Vectors of the shipped declarations.
//!
//! No provider publishes a vector that fits its present scheme, so these were made from the
//! documented schemes with Python: `hmac.new(secret, signed, "sha256").hexdigest()` or
//! `base64.b64encode(….digest())`, where `signed` is the body or what is said at the vector.

use super::*;

const SHOPIFY_BODY: &str = r#"{"id":820982911946154508}"#;
const LINEAR_BODY: &str = r#"{"action":"create","type":"Issue","webhookTimestamp":1731705121000}"#;
const PAGERDUTY_BODY: &str = r#"{"event":{"id":"01E1","event_type":"incident.triggered","occurred_at":"2024-11-15T21:12:01Z"}}"#;
const ZENDESK_BODY: &str = r#"{"type":"zen:event-type:ticket.created","id":"e1"}"#;
const INTERCOM_BODY: &str = r#"{"topic":"user.created","id":"notif_1","created_at":1731705121}"#;
const GITLAB_BODY: &str =
    r#"{"object_kind":"merge_request","object_attributes":{"action":"open"}}"#;

struct Vector {
    source: &'static str,
    secret: &'static str,
    headers: Pairs<'static>,
    body: &'static str,
    event_type: &'static str,
    key: &'static str,
    occurred_at: Option<TimestampMs>,
}

static VECTORS: [Vector; 6] = [
    Vector {
        source: "shopify",
        secret: "hush",
        headers: &[
            (
                "x-shopify-hmac-sha256",
                "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=",
            ),
            ("x-shopify-topic", "orders/create"),
            ("x-shopify-webhook-id", "b54557e4"),
            ("x-shopify-triggered-at", "2024-11-15T16:12:01-05:00"),
        ],
        body: SHOPIFY_BODY,
        event_type: "shopify.orders.create",
        key: "b54557e4",
        occurred_at: Some(NOW),
    },
    Vector {
        source: "linear",
        secret: "lin_wh_test",
        headers: &[
            (
                "linear-signature",
                "69212dce86a4c9053bb28707d6077ca5378c3c6216224994b4aab5dda3817af7",
            ),
            ("linear-delivery", "234d1a4e"),
        ],
        body: LINEAR_BODY,
        event_type: "linear.issue.create",
        key: "234d1a4e",
        occurred_at: None,
    },
    Vector {
        source: "pagerduty",
        secret: "pd-secret",
        headers: &[(
            "x-pagerduty-signature",
            // The first one is of the secret `pd-other`.
            "v1=b93852a1bee4b2b3df6a10c06fe47896f089e4c12daa1213e4108ed168aabec5,\
                 v1=96134a0a6c184d80527548828477fb858d8de9bfb3110f2e7435f6bf7c03a0f0",
        )],
        body: PAGERDUTY_BODY,
        event_type: "pagerduty.incident.triggered",
        key: "01E1",
        occurred_at: Some(NOW),
    },
    Vector {
        source: "zendesk",
        secret: "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==",
        // Signed: timestamp and body.
        headers: &[
            (
                "x-zendesk-webhook-signature",
                "ickmH16lUI+vWcT7FCUoakrCfQMzxBONDcxRRCsxXao=",
            ),
            (
                "x-zendesk-webhook-signature-timestamp",
                "2024-11-15T21:12:01Z",
            ),
            ("x-zendesk-webhook-invocation-id", "8350205582"),
        ],
        body: ZENDESK_BODY,
        event_type: "zendesk.zen.event-type.ticket.created",
        key: "8350205582",
        occurred_at: None,
    },
    Vector {
        source: "intercom",
        secret: "ic-secret",
        headers: &[(
            "x-hub-signature",
            "sha1=3e417dc6709acb8bdc08f1dcd8b18c685db370e2",
        )],
        body: INTERCOM_BODY,
        event_type: "intercom.user.created",
        key: "notif_1",
        occurred_at: Some(NOW),
    },
    Vector {
        source: "gitlab",
        secret: "shared-token",
        headers: &[
            ("x-gitlab-token", "shared-token"),
            ("x-gitlab-event", "Merge Request Hook"),
            ("idempotency-key", "f5e3ebd1"),
        ],
        body: GITLAB_BODY,
        event_type: "gitlab.merge_request.open",
        key: "f5e3ebd1",
        occurred_at: None,
    },
];

fn shipped(name: &str) -> Source {
    crate::config::ready_sources()[name].clone()
}

#[test]
fn shipped_vectors_are_accepted_and_named() {
    for vector in &VECTORS {
        let (source, body) = (shipped(vector.source), vector.body.as_bytes());
        let received = headers(vector.headers);
        for secrets in [vec![vector.secret], vec!["other", vector.secret]] {
            let index = outcome(&source, &secrets, &received, body, NOW);
            assert_eq!(index, Ok(secrets.len() - 1), "{source}");
        }
        let event = event(&source, vector.headers, body);
        assert_eq!(event.event_type, vector.event_type);
        assert_eq!(event.idempotency_key, vector.key);
        assert_eq!(event.occurred_at, vector.occurred_at, "{source}");
    }
}

#[test]
fn shipped_vectors_with_anything_changed_are_refused() {
    for vector in &VECTORS {
        let (source, body) = (shipped(vector.source), vector.body.as_bytes());
        let received = headers(vector.headers);
        let refused = outcome(&source, &["other", ""], &received, body, NOW);
        assert_eq!(refused, Err(Rejection::SignatureMismatch), "{source}");
        if vector.source != "gitlab" {
            let altered = [body, b" "].concat();
            let refused = outcome(&source, &[vector.secret], &received, &altered, NOW);
            assert_eq!(refused, Err(Rejection::SignatureMismatch), "{source}");
        }
        let (name, value) = vector.headers[0];
        let without = headers(&vector.headers[1..]);
        let refused = outcome(&source, &[vector.secret], &without, body, NOW);
        assert_eq!(refused, Err(Rejection::missing(name)), "{source}");
        let mut other = received.clone();
        other.0[0].1 = format!("{value}0");
        assert!(
            outcome(&source, &[vector.secret], &other, body, NOW).is_err(),
            "{source}"
        );
    }
}

#[test]
fn a_signed_time_has_a_window_of_the_sources_own() {
    let zendesk = &VECTORS[3];
    let received = headers(zendesk.headers);
    let at = |offset| {
        outcome(
            shipped("zendesk"),
            &[zendesk.secret],
            &received,
            ZENDESK_BODY.as_bytes(),
            NOW + offset,
        )
    };
    assert_eq!(at(300_000), Ok(0));
    assert_eq!(at(300_001), Err(Rejection::TimestampTooOld));
    assert_eq!(at(-300_001), Err(Rejection::TimestampInFuture));

    // In the body, which is read once it is believed.
    let linear = &VECTORS[1];
    let received = headers(linear.headers);
    let source = shipped("linear");
    let identified = |body: &str, offset| {
        let delivery = Delivery {
            headers: &received,
            body: body.as_bytes(),
            received_at: NOW + offset,
        };
        identify(
            &Verified {
                source: &source,
                delivery,
                secret_index: 0,
            },
            body.as_bytes(),
        )
    };
    assert!(identified(LINEAR_BODY, 300_000).is_ok());
    assert_eq!(
        identified(LINEAR_BODY, 300_001),
        Err(Rejection::TimestampTooOld)
    );
    assert_eq!(
        identified(LINEAR_BODY, -300_001),
        Err(Rejection::TimestampInFuture)
    );
    for body in [
        r#"{"action":"create","type":"Issue"}"#,
        r#"{"action":"create","type":"Issue","webhookTimestamp":"now"}"#,
    ] {
        let Ok(Identity::Event(event)) = identified(body, 0) else {
            panic!("{body}")
        };
        assert_eq!(event.event_type, "linear.unparsable", "{body}");
    }
}

#[test]
fn what_a_provider_does_not_document_is_unparsable() {
    for vector in &VECTORS {
        let source = shipped(vector.source);
        let pairs: Vec<_> = vector
            .headers
            .iter()
            .copied()
            .filter(|(name, _)| !matches!(*name, "x-shopify-topic" | "x-gitlab-event"))
            .collect();
        check_unparsable(&source, &pairs, b"{}");
        check_unparsable(&source, &pairs, b"[]");
        check_unparsable(&source, &pairs, b"\xff");
    }
}

#[test]
fn without_an_id_the_body_is_the_key() {
    let pairs = [(
        "x-hub-signature",
        "sha1=3e417dc6709acb8bdc08f1dcd8b18c685db370e2",
    )];
    let body = br#"{"topic":"ping","id":null}"#;
    let event = event(shipped("intercom"), &pairs, body);
    assert_eq!(
        (&*event.event_type, event.idempotency_key),
        ("intercom.ping", mac::sha256_hex(&[body]))
    );
}

#[test]
fn a_caught_delivery_is_a_repeat_under_any_unsigned_id() {
    for vector in &VECTORS {
        let key = event(
            shipped(vector.source),
            vector.headers,
            vector.body.as_bytes(),
        )
        .content_key;
        let expected = match vector.source {
            "shopify" | "linear" => Some(mac::sha256_hex(&[vector.body.as_bytes()])),
            "zendesk" => Some(mac::sha256_hex(&[
                b"2024-11-15T21:12:01Z",
                vector.body.as_bytes(),
            ])),
            _ => None,
        };
        let expected = expected.map(|key| ContentKey {
            key,
            window_ms: Some(3_600_000),
        });
        assert_eq!(key, expected, "{}", vector.source);
    }
}

#[test]
fn what_a_declared_source_signs_it_believes() {
    for vector in &VECTORS {
        let source = shipped(vector.source);
        let event = vector.event_type.split_once('.').unwrap().1;
        let signed = signed(&source, event, "id-1", vector.body.as_bytes());
        assert_eq!(
            outcome(
                &source,
                &["other", SECRET],
                &signed,
                vector.body.as_bytes(),
                NOW
            ),
            Ok(1),
            "{source}"
        );
    }
    assert!(check_secret(&shipped("gitlab"), &Secret::new("two words")).is_err());
    assert!(check_secret(&shipped("shopify"), &Secret::new("")).is_err());
}

#[test]
fn a_token_is_not_kept() {
    let mut kept = headers(VECTORS[5].headers);
    redact(&shipped("gitlab"), &mut kept);
    assert_eq!(kept.get("x-gitlab-token"), Some("[secret]"));
    assert_eq!(kept.get("idempotency-key"), Some("f5e3ebd1"));
}
