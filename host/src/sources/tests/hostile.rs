//! Signed bodies that are made to break a parser. All are kept, none is believed further.

use super::*;

/// Every source with the headers it takes its name and its id from.
const SOURCES: [(Source, Pairs<'_>); 5] = [
    (
        Source::Standard,
        &[
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1"),
            ("webhook-signature", "v1,"),
            ("webhook-event", "a"),
        ],
    ),
    (
        Source::Sentry,
        &[("sentry-hook-resource", "issue"), ("request-id", "req-1")],
    ),
    (Source::Stripe, &[]),
    (
        Source::Github,
        &[
            ("x-github-event", "issues"),
            ("x-github-delivery", "guid-1"),
        ],
    ),
    (Source::Slack, &[]),
];

/// A body that fits every source, with one more member at its end.
fn fitting(member: &[u8]) -> Vec<u8> {
    let head = br#"{"type":"event_callback","id":"i","action":"opened","event":{"type":"a"},"event_id":"Ev1","issue":{},"data":{"issue":{}},"x":"#;
    [head, member, b"}"].concat()
}

#[track_caller]
fn check_refused(body: &[u8]) {
    for (source, pairs) in SOURCES {
        check_unparsable(source, pairs, body);
    }
}

#[track_caller]
fn check_accepted(body: &[u8]) {
    for (source, pairs) in &SOURCES {
        assert_ne!(
            event(source, pairs, body).event_type,
            format!("{source}.unparsable")
        );
    }
}

#[test]
fn bodies_that_are_not_json_objects_are_unparsable() {
    check_accepted(&fitting(b"0"));
    let broken: [&[u8]; 12] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"null",
        b"[]",
        b"\"text\"",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{}",
        b"\0",
        b"{'a':1}",
    ];
    for body in broken {
        check_refused(body);
    }
}

#[test]
fn json_is_checked_to_its_end_also_where_nobody_looks() {
    let broken: [&[u8]; 12] = [
        b"\"\xff\"",
        b"\"\xc3\x28\"",
        b"\"\xed\xa0\x80\"",
        b"\"a\nb\"",
        b"\"\\q\"",
        b"tru",
        b"01",
        b"1.",
        b"NaN",
        b"[1,]",
        b"{\"a\":1,}",
        b"1,",
    ];
    for member in broken {
        check_refused(&fitting(member));
    }
}

#[test]
fn huge_numbers_are_json() {
    check_accepted(&fitting(b"1e999999999"));
    check_accepted(&fitting("9".repeat(10_000).as_bytes()));
}

#[test]
fn deep_nesting_costs_no_stack() {
    let deep = |open: &str, close: &str| {
        [open.repeat(200_000), "1".to_owned(), close.repeat(200_000)].concat()
    };
    check_accepted(&fitting(deep("[", "]").as_bytes()));
    check_accepted(&fitting(deep(r#"{"a":"#, "}").as_bytes()));
    check_refused(deep("[", "]").as_bytes());
    check_refused(&fitting(deep("[", "").as_bytes()));
}

#[test]
fn a_member_that_stands_twice_is_not_documented() {
    check_unparsable(
        Source::Stripe,
        &[],
        br#"{"id":"evt_1","id":"evt_2","type":"a"}"#,
    );
    check_unparsable(
        Source::Stripe,
        &[],
        br#"{"id":"evt_1","type":"a","type":"b"}"#,
    );
    check_unparsable(
        Source::Github,
        SOURCES[3].1,
        br#"{"action":"opened","action":"closed"}"#,
    );
    let body = br#"{"type":"event_callback","event":{"type":"a","type":"b"},"event_id":"Ev1"}"#;
    check_unparsable(Source::Slack, &[], body);
}

#[test]
fn forms_with_broken_escapes_or_many_fields_do_no_harm() {
    let fields = "a=b&".repeat(50_000);
    for body in [
        "payload=%",
        "payload=%zz",
        "payload=%ff%fe",
        "command",
        "&&&===",
        &fields,
    ] {
        for source in [Source::Github, Source::Slack] {
            event(source, &[], body.as_bytes());
        }
    }
    let deep = format!("payload={}", "%7B%22a%22%3A".repeat(50_000));
    check_unparsable(Source::Slack, &[], deep.as_bytes());
}
