//! What a declaration can say.
//!
//! The vectors were made with Python, as those of the shipped declarations.

use super::*;

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
