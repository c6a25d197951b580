//! Declared sources: vectors of the shipped ones, and what a declaration can say.
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
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    event_type: &'static str,
    key: &'static str,
    occurred_at: Option<TimestampMs>,
}

fn vectors() -> [Vector; 6] {
    [
        Vector {
            source: "shopify",
            secret: "hush",
            headers: vec![
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
            headers: vec![
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
            headers: vec![(
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
            headers: vec![
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
            headers: vec![(
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
            headers: vec![
                ("x-gitlab-token", "shared-token"),
                ("x-gitlab-event", "Merge Request Hook"),
                ("idempotency-key", "f5e3ebd1"),
            ],
            body: GITLAB_BODY,
            event_type: "gitlab.merge_request.open",
            key: "f5e3ebd1",
            occurred_at: None,
        },
    ]
}

fn shipped(name: &str) -> Source {
    crate::config::ready_sources()[name].clone()
}

/// A source as a configuration declares it.
fn declared(lines: &str) -> Source {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("triage.toml");
    std::fs::write(&path, format!("[sources.acme]\n{lines}\n")).unwrap();
    let config = crate::config::Config::load(&path, &|_| None).unwrap();
    config.sources["acme"].clone()
}

fn hex_hmac(key: &str, parts: &[&[u8]]) -> String {
    hex::encode(mac::hmac(key.as_bytes(), parts))
}

#[test]
fn shipped_vectors_are_accepted_and_named() {
    for vector in vectors() {
        let (source, body) = (shipped(vector.source), vector.body.as_bytes());
        let received = headers(&vector.headers);
        for secrets in [vec![vector.secret], vec!["other", vector.secret]] {
            let index = outcome(&source, &secrets, &received, body, NOW);
            assert_eq!(index, Ok(secrets.len() - 1), "{source}");
        }
        let event = event(&source, &vector.headers, body);
        assert_eq!(event.event_type, vector.event_type);
        assert_eq!(event.idempotency_key, vector.key);
        assert_eq!(event.occurred_at, vector.occurred_at, "{source}");
    }
}

#[test]
fn shipped_vectors_with_anything_changed_are_refused() {
    for vector in vectors() {
        let (source, body) = (shipped(vector.source), vector.body.as_bytes());
        let received = headers(&vector.headers);
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

/// Zendesk's own example, from the time when body and timestamp were signed in the other order.
#[test]
fn zendesks_published_signature_belongs_to_another_order() {
    let lines = |signed: &str| {
        format!(
            "signature = {{ header = \"X-Zendesk-Webhook-Signature\", algorithm = \"hmac-sha256\", encoding = \"base64\", signed = \"{signed}\" }}\n\
             timestamp = {{ from = \"{{header:X-Zendesk-Webhook-Signature-Timestamp}}\", unit = \"rfc3339\" }}\n\
             event_type = \"{{body:/type}}\""
        )
    };
    let received = headers(&[
        (
            "x-zendesk-webhook-signature",
            "tRDSF7URY8BLCDlaBcQ7FHu051Zk+aAB0NKMP53teMw=",
        ),
        (
            "x-zendesk-webhook-signature-timestamp",
            "2021-07-25T10:00:00Z",
        ),
    ]);
    let at = 1_627_207_200_000;
    let secret = ["HRkRd4BeOAoUkfZr-mhauJT64rvBASlJRoIyPsd3zeA="];
    let check = |signed| {
        outcome(
            declared(&lines(signed)),
            &secret,
            &received,
            br#"{"say": "hello"}"#,
            at,
        )
    };
    assert_eq!(check("{body}{timestamp}"), Ok(0));
    assert_eq!(
        check("{timestamp}{body}"),
        Err(Rejection::SignatureMismatch)
    );
}

#[test]
fn a_signed_time_has_a_window_of_the_sources_own() {
    let zendesk = &vectors()[3];
    let received = headers(&zendesk.headers);
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
    let linear = &vectors()[1];
    let received = headers(&linear.headers);
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
    for vector in vectors() {
        let source = shipped(vector.source);
        let pairs: Vec<_> = vector
            .headers
            .into_iter()
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
    for vector in vectors() {
        let key = event(
            shipped(vector.source),
            &vector.headers,
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
fn pairs_in_one_header_are_read() {
    let source = declared(
        r#"signature = { header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex", prefix = "v1=", separator = ",", signed = "{timestamp}.{body}" }
        timestamp = { from = "{signature:t}", unit = "seconds", tolerance = "1m" }
        event_type = "{body:/type}""#,
    );
    let body = br#"{"type":"a"}"#;
    let good = "v1=04b1f47762fb9e107a3e0b69e8245a5af83e960f7f72bbe8d496d708f48de5c9";
    let check =
        |value: &str, at| outcome(&source, &["key"], &headers(&[("x-acme", value)]), body, at);
    let decoy = "v1=00";
    assert_eq!(check(&format!("t=1731705121,{good}"), NOW), Ok(0));
    assert_eq!(
        check(&format!("{decoy},v0=x, t=1731705121, {good}"), NOW),
        Ok(0)
    );
    assert_eq!(
        check(&format!("t=1731705121,{good}"), NOW + 60_001),
        Err(Rejection::TimestampTooOld)
    );
    for malformed in [
        good,
        "t=1731705121",
        "t=1731705121,v0=00",
        &format!("t=1,t=1731705121,{good}"),
        &format!("t=,{good}"),
    ] {
        assert_eq!(
            check(malformed, NOW),
            Err(Rejection::malformed("x-acme")),
            "{malformed}"
        );
    }
    assert_eq!(
        check(&format!("t=1731705122,{good}"), NOW),
        Err(Rejection::SignatureMismatch)
    );
}

#[test]
fn algorithms_encodings_and_secrets_are_as_declared() {
    let source = |encoding: &str| {
        declared(&format!(
            r#"signature = {{ header = "X-Acme", algorithm = "hmac-sha512", encoding = "{encoding}", signed = "v0:{{timestamp}}:{{header:X-Id}}:{{body}}" }}
            secret_encoding = "hex"
            timestamp = {{ from = "{{header:X-Time}}", unit = "seconds" }}
            event_type = "{{body:/type}}""#
        ))
    };
    let hex_text = "a128313850a978bd36bb741ade7791facd448f420195ebdad7c81a1a5268de3152b84de5571a35f90a1efed019640d7314136b106d7304db4a90e4c8c30341d1";
    let base64_text =
        "oSgxOFCpeL02u3Qa3neR+s1Ej0IBleva18gaGlJo3jFSuE3lVxo1+Qoe/tAZZA1zFBNrEG1zBNtKkOTIwwNB0Q==";
    let check = |encoding, signature: &str, id: &str| {
        let received = headers(&[
            ("x-acme", signature),
            ("x-time", "1731705121"),
            ("x-id", id),
        ]);
        outcome(
            source(encoding),
            &["zz", "000102feff"],
            &received,
            br#"{"type":"a"}"#,
            NOW,
        )
    };
    assert_eq!(check("hex", hex_text, "msg_1"), Ok(1));
    assert_eq!(check("hex", &hex_text.to_uppercase(), "msg_1"), Ok(1));
    assert_eq!(check("base64", base64_text, "msg_1"), Ok(1));
    assert_eq!(
        check("base64", base64_text.trim_end_matches('='), "msg_1"),
        Ok(1)
    );
    assert_eq!(
        check("hex", base64_text, "msg_1"),
        Err(Rejection::malformed("x-acme"))
    );
    assert_eq!(
        check("base64", &hex_text[..64], "msg_1"),
        Err(Rejection::malformed("x-acme"))
    );
    assert_eq!(
        check("hex", hex_text, "msg_2"),
        Err(Rejection::SignatureMismatch)
    );
    assert_eq!(
        check("hex", hex_text, "msg:1"),
        Err(Rejection::malformed("x-id"))
    );
    assert_eq!(
        check("hex", hex_text, ""),
        Err(Rejection::malformed("x-id"))
    );
}

/// The same bytes would be signed for another border between two values.
#[test]
fn a_border_in_the_signed_text_cannot_be_moved() {
    let source = |signed: &str| {
        declared(&format!(
            r#"signature = {{ header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex", signed = "{signed}" }}
            timestamp = {{ from = "{{header:X-Time}}", unit = "seconds", tolerance = "1d" }}
            event_type = "{{body:/type}}""#
        ))
    };
    let check = |signed: &str, time: &str, id: &str, body: &[u8]| {
        let text = signed
            .replace("{timestamp}", time)
            .replace("{header:X-Id}", id);
        let text = text.replace("{body}", std::str::from_utf8(body).unwrap());
        let signature = hex_hmac("key", &[text.as_bytes()]);
        let received = headers(&[("x-acme", &signature), ("x-time", time), ("x-id", id)]);
        outcome(source(signed), &["key"], &received, body, NOW)
    };
    let time = "1731705121";
    assert_eq!(check("{header:X-Id}.{body}", time, "a", b"b.c"), Ok(0));
    assert_eq!(
        check("{header:X-Id}.{body}", time, "a.b", b"c"),
        Err(Rejection::malformed("x-id"))
    );
    assert_eq!(check("{body}.{header:X-Id}", time, "a", b"b.c"), Ok(0));
    assert_eq!(
        check("{body}.{header:X-Id}", time, "a.b", b"c"),
        Err(Rejection::malformed("x-id"))
    );
    assert_eq!(check("{timestamp}{body}", time, "", b"{}"), Ok(0));
    assert_eq!(
        check("{timestamp}{body}", "173170512", "", b"1{}"),
        Err(Rejection::malformed("x-time"))
    );
    assert_eq!(
        check("{body}{timestamp}", time, "", b"{}1"),
        Err(Rejection::malformed("x-time"))
    );
}

#[test]
fn names_and_keys_come_from_the_first_template_that_can_be_filled() {
    let source = declared(
        r#"signature = { header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex" }
        event_type = ["{body:/type}.{body:/action}", "{header:X-Event}"]
        idempotency_key = ["{body:/id}", "{header:X-Id}"]
        ordering_key = "{body:/object/id}"
        occurred_at = { from = "{body:/at}", unit = "milliseconds" }
        form_field = "payload""#,
    );
    let check = |body: &str, name: &str, key: &str, ordering_key: Option<&str>| {
        let pairs = [("x-event", "Push  Hook/New"), ("x-id", "from-header")];
        let event = event(&source, &pairs, body.as_bytes());
        assert_eq!(event.event_type, name, "{body}");
        assert_eq!(event.idempotency_key, key, "{body}");
        assert_eq!(event.ordering_key.as_deref(), ordering_key, "{body}");
    };
    check(
        r#"{"type":"Issue","action":"create","id":7,"object":{"id":"o-1"}}"#,
        "acme.issue.create",
        "7",
        Some("o-1"),
    );
    check(
        r#"{"type":"Issue","id":"x"}"#,
        "acme.push_hook.new",
        "x",
        None,
    );
    check(
        r#"{"type":"Issue","id":""}"#,
        "acme.push_hook.new",
        "from-header",
        None,
    );
    check(
        "payload=%7B%22id%22%3A%22f%22%7D",
        "acme.push_hook.new",
        "f",
        None,
    );
    check(
        r#"{"type":"a..b:c/","action":" É ","id":1}"#,
        "acme.a.b.c._",
        "1",
        None,
    );
    let at = event(&source, &[("x-event", "e")], br#"{"at":1731705121000}"#).occurred_at;
    assert_eq!(at, Some(NOW));
}

#[test]
fn what_a_declared_source_signs_it_believes() {
    for vector in vectors() {
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
    let mut kept = headers(&vectors()[5].headers);
    redact(&shipped("gitlab"), &mut kept);
    assert_eq!(kept.get("x-gitlab-token"), Some("[secret]"));
    assert_eq!(kept.get("idempotency-key"), Some("f5e3ebd1"));
}
