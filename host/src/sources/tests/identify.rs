//! What a verified delivery is called and by which key a repeat is known.

use super::*;

const GITHUB_ISSUES: Pairs<'_> = &[
    ("x-github-event", "issues"),
    ("x-github-delivery", "guid-1"),
];
const SENTRY_ISSUE: Pairs<'_> = &[("sentry-hook-resource", "issue"), ("request-id", "req-1")];
const STANDARD: Pairs<'_> = &[
    ("webhook-id", "msg_1"),
    ("webhook-timestamp", "1731705000"),
    ("webhook-signature", "v1,"),
];

/// What stands for the SHA-256 of the body in expectations.
const HASH: &str = "(hash)";

#[track_caller]
fn check(source: Source, pairs: Pairs<'_>, body: &str, event_type: &str, key: &str) {
    let event = event(source, pairs, body.as_bytes());
    let hash = mac::sha256_hex(&[body.as_bytes()]);
    let actual_key = if event.idempotency_key == hash {
        HASH
    } else {
        &event.idempotency_key
    };
    assert_eq!(
        (&*event.event_type, actual_key),
        (event_type, key),
        "{body}"
    );
}

#[track_caller]
fn check_time(source: Source, pairs: Pairs<'_>, body: &str, expected: Option<TimestampMs>) {
    let event = event(&source, pairs, body.as_bytes());
    assert_eq!(event.occurred_at, expected, "{body}");
    // A time of another form does not make the event another one.
    assert_ne!(event.event_type, format!("{source}.unparsable"), "{body}");
}

#[test]
fn standard_events_are_named_by_type_and_recognised_by_the_signed_id() {
    let check = |body, event_type, key| check(Source::Standard, STANDARD, body, event_type, key);
    check(
        r#"{"type":"incident.opened","data":{}}"#,
        "standard.incident.opened",
        "msg_1",
    );
    check(
        r#" {"data":{"type":"inner"},"type":"a"} "#,
        "standard.a",
        "msg_1",
    );
    check(r#"{"type":"a\u002eb"}"#, "standard.a.b", "msg_1");
    check(r#"{"data":{}}"#, "standard.unparsable", HASH);
    check(r#"{"type":5}"#, "standard.unparsable", HASH);
    check(r#"{"type":""}"#, "standard.unparsable", HASH);
}

#[test]
fn the_event_header_names_a_standard_event_only_where_the_body_does_not() {
    let pairs = [STANDARD, &[("webhook-event", "from.header")]].concat();
    let check = |body, event_type, key| check(Source::Standard, &pairs, body, event_type, key);
    check(r#"{"data":{}}"#, "standard.from.header", "msg_1");
    check(r#"{"type":null}"#, "standard.from.header", "msg_1");
    check(r#"{"type":"from.body"}"#, "standard.from.body", "msg_1");
    check(r#"{"type":5}"#, "standard.unparsable", HASH);
    check("not json", "standard.unparsable", HASH);
}

#[test]
fn standard_events_happened_when_the_body_says_or_else_when_they_were_signed() {
    let check = |body, expected| check_time(Source::Standard, STANDARD, body, Some(expected));
    check(
        r#"{"type":"a","timestamp":"2024-11-15T21:12:01.042Z"}"#,
        1_731_705_121_042,
    );
    check(
        r#"{"type":"a","timestamp":"2024-11-15T22:12:01+01:00"}"#,
        1_731_705_121_000,
    );
    check(r#"{"type":"a","timestamp":"yesterday"}"#, 1_731_705_000_000);
    check(r#"{"type":"a","timestamp":1731705121}"#, 1_731_705_000_000);
    check(r#"{"type":"a"}"#, 1_731_705_000_000);
}

#[test]
fn stripe_events_are_named_by_type_and_recognised_by_id() {
    let check = |body, event_type, key| check(Source::Stripe, &[], body, event_type, key);
    check(
        r#"{"id":"evt_1","type":"payout.failed"}"#,
        "stripe.payout.failed",
        "evt_1",
    );
    check(
        r#"{"id":"evt_2","object":"v2.core.event","type":"v2.core.a"}"#,
        "stripe.v2.core.a",
        "evt_2",
    );
    check(r#"{"type":"payout.failed"}"#, "stripe.unparsable", HASH);
    check(r#"{"id":"evt_1"}"#, "stripe.unparsable", HASH);
    check(
        r#"{"id":1,"type":"payout.failed"}"#,
        "stripe.unparsable",
        HASH,
    );
    check(
        r#"["evt_1","payout.failed",null]"#,
        "stripe.unparsable",
        HASH,
    );
}

#[test]
fn stripe_events_happened_when_they_were_created() {
    let check = |created: &str, expected| {
        let body = format!(r#"{{"id":"evt_1","type":"a","created":{created}}}"#);
        check_time(Source::Stripe, &[], &body, expected);
    };
    check("1731705121", Some(1_731_705_121_000));
    check(r#""2024-11-15T21:12:01.042Z""#, Some(1_731_705_121_042));
    check("null", None);
    check("1e400", None);
    check("9223372036854775807", None);
    check(r#"{"at":1}"#, None);
}

#[test]
fn github_events_are_named_by_header_and_action_and_recognised_by_the_delivery_id() {
    let check = |pairs, body, event_type, key| check(Source::Github, pairs, body, event_type, key);
    check(
        GITHUB_ISSUES,
        r#"{"action":"opened","issue":{}}"#,
        "github.issues.opened",
        "guid-1",
    );
    let ping = [("x-github-event", "ping"), ("x-github-delivery", "guid-2")];
    check(
        &ping,
        r#"{"zen":"Design for failure.","hook_id":1}"#,
        "github.ping",
        "guid-2",
    );
    check(
        GITHUB_ISSUES,
        "payload=%7B%22action%22%3A%22opened%22%2C%22issue%22%3A%7B%7D%7D",
        "github.issues.opened",
        "guid-1",
    );
    check(
        GITHUB_ISSUES,
        "payload=%7B%22action",
        "github.unparsable",
        HASH,
    );
    check(GITHUB_ISSUES, "other=%7B%7D", "github.unparsable", HASH);
    check(
        GITHUB_ISSUES,
        r#"{"action":7,"issue":{}}"#,
        "github.unparsable",
        HASH,
    );
    check(
        GITHUB_ISSUES,
        r#"{"action":"with spaces","issue":{}}"#,
        "github.unparsable",
        HASH,
    );
    let body = r#"{"issue":{}}"#;
    check(&GITHUB_ISSUES[..1], body, "github.unparsable", HASH);
    check(&GITHUB_ISSUES[1..], body, "github.unparsable", HASH);
}

#[test]
fn a_github_body_is_recognised_for_an_hour_under_any_delivery_id() {
    let signature = ("x-hub-signature-256", "sha256=signature-of-the-body");
    for pairs in [GITHUB_ISSUES, &[]] {
        let pairs = [pairs, &[signature]].concat();
        let key = event(Source::Github, &pairs, b"{}").content_key.unwrap();
        assert_eq!(key.key, signature.1);
        assert_eq!(key.window_ms, Some(3_600_000));
    }
}

#[test]
fn github_events_happened_when_their_subject_was_updated() {
    let timed = |event, body, expected| {
        let pairs = [("x-github-event", event), ("x-github-delivery", "guid-1")];
        check_time(Source::Github, &pairs, body, expected);
    };
    let check = |body, expected| timed("issues", body, expected);
    check(
        r#"{"issue":{"updated_at":"2024-11-15T21:12:01Z"}}"#,
        Some(NOW),
    );
    timed(
        "issue_comment",
        r#"{"issue":{"updated_at":"2020-01-01T00:00:00Z"},"comment":{"updated_at":"2024-11-15T21:12:01Z"}}"#,
        Some(NOW),
    );
    let twice =
        r#"{"issue":{"updated_at":"2020-01-01T00:00:00Z","updated_at":"2024-11-15T21:12:01Z"}}"#;
    check(twice, None);
    check(r#"{"issue":{"updated_at":null}}"#, None);
    check(r#"{"issue":{}}"#, None);
    check(r#"{"issue":5}"#, None);
    let push = r#"{"ref":"refs/heads/main","before":"0","after":"1","commits":[]}"#;
    timed("push", push, None);
}

#[test]
fn sentry_events_are_named_by_resource_and_action_and_have_two_keys() {
    let check = |pairs, body, event_type, key| check(Source::Sentry, pairs, body, event_type, key);
    let body = r#"{"action":"created","data":{"issue":{"id":"1"}}}"#;
    check(SENTRY_ISSUE, body, "sentry.issue.created", "req-1");
    check(SENTRY_ISSUE, r#"{"data":{}}"#, "sentry.unparsable", HASH);
    check(&SENTRY_ISSUE[..1], body, "sentry.unparsable", HASH);
    check(&SENTRY_ISSUE[1..], body, "sentry.unparsable", HASH);

    let key = event(Source::Sentry, SENTRY_ISSUE, body.as_bytes())
        .content_key
        .unwrap();
    assert_eq!(key.key, mac::sha256_hex(&[body.as_bytes()]));
    assert_eq!(key.window_ms, None);
}

#[test]
fn sentry_events_happened_when_the_occurrence_says() {
    let check = |resource, body, expected| {
        let pairs = [("sentry-hook-resource", resource), ("request-id", "req-1")];
        check_time(Source::Sentry, &pairs, body, expected);
    };
    check(
        "event_alert",
        r#"{"action":"triggered","data":{"event":{"datetime":"2024-11-15T21:12:01.000000Z"}}}"#,
        Some(NOW),
    );
    check(
        "error",
        r#"{"action":"created","data":{"error":{"datetime":"2024-11-15T21:12:01Z"}}}"#,
        Some(NOW),
    );
    check("issue", r#"{"action":"created","data":{"issue":{}}}"#, None);
    check(
        "error",
        r#"{"action":"created","data":{"error":"text"}}"#,
        None,
    );
    check("seer", r#"{"action":"created"}"#, None);
}

#[test]
fn slack_events_are_named_by_the_inner_type_and_recognised_by_event_id() {
    let check = |body, event_type, key| check(Source::Slack, &[], body, event_type, key);
    check(
        r#"{"type":"event_callback","event":{"type":"app_mention"},"event_id":"Ev1"}"#,
        "slack.app_mention",
        "Ev1",
    );
    check(
        r#"{"type":"event_callback","event":{"type":"app_mention"}}"#,
        "slack.unparsable",
        HASH,
    );
    check(
        r#"{"type":"event_callback","event_id":"Ev1"}"#,
        "slack.unparsable",
        HASH,
    );
    check(
        r#"{"type":"event_callback","event":{},"event_id":"Ev1"}"#,
        "slack.unparsable",
        HASH,
    );
    check(
        r#"{"type":"app_rate_limited","minute_rate_limited":1518467820}"#,
        "slack.app_rate_limited",
        HASH,
    );
    check(r#"{"type":"something_else"}"#, "slack.unparsable", HASH);
    check(
        r#"{"event":{"type":"app_mention"}}"#,
        "slack.unparsable",
        HASH,
    );
    check(r#"{"type":"url_verification"}"#, "slack.unparsable", HASH);
    let body = r#"{"type":"event_callback","event":{"type":"a"},"event_id":"Ev1","event_time":1731705121}"#;
    check_time(Source::Slack, &[], body, Some(NOW));
}

#[test]
fn slacks_challenge_is_found() {
    let body = br#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    assert_eq!(
        identity(Source::Slack, &[], body),
        Identity::Challenge("3eZbrw1aB".to_owned())
    );
}

#[test]
fn slack_forms_are_commands_or_interactions() {
    let check = |body, event_type, key| check(Source::Slack, &[], body, event_type, key);
    check(
        "command=%2Fincident&text=&trigger_id=1.2.a",
        "slack.command",
        "1.2.a",
    );
    check("command=%2Fincident&text=", "slack.command", HASH);
    check(
        "payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221.2.b%22%7D",
        "slack.block_actions",
        "1.2.b",
    );
    check(
        "payload=%7B%22type%22%3A%22view_closed%22%7D",
        "slack.view_closed",
        HASH,
    );
    check("payload=%7B%7D", "slack.unparsable", HASH);
    check("ssl_check=1", "slack.unparsable", HASH);
    check("", "slack.unparsable", HASH);
}

#[test]
fn names_are_short_and_of_few_characters() {
    let named = |name: &str| {
        let body = serde_json::json!({ "type": name, "id": "evt_1" }).to_string();
        event(Source::Stripe, &[], body.as_bytes()).event_type
    };
    for name in ["a", "A-b_c:d.e9", &"n".repeat(128)] {
        assert_eq!(named(name), format!("stripe.{name}"));
    }
    for name in [
        "",
        "a b",
        "a/b",
        "a*",
        "é",
        "a\n",
        "a\0",
        "<b>",
        "a\u{202e}",
        &"n".repeat(129),
    ] {
        assert_eq!(named(name), "stripe.unparsable", "{name:?}");
    }
}

#[test]
fn a_key_that_cannot_be_kept_gives_way_to_the_hash() {
    let check = |id: &str, fits: bool| {
        let body = serde_json::json!({ "type": "a", "id": id }).to_string();
        let key = if fits { id } else { HASH };
        check(Source::Stripe, &[], &body, "stripe.a", key);
    };
    check("evt_1", true);
    check("ключ 1", true);
    check(&"k".repeat(256), true);
    check(&"k".repeat(257), false);
    check("", false);
    check("evt\n1", false);
    check("evt\u{0}1", false);
    check("evt\u{85}1", false);
}
