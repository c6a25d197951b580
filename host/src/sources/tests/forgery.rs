//! Who is not believed, and the cause that is recorded.

use proptest::prelude::*;

use super::*;

const BODY: &[u8] = br#"{"type":"a.b"}"#;

/// The header of each source that holds the signature, and what stands before it.
fn signature_header(source: &Source) -> (&'static str, &'static str) {
    match source {
        Source::Custom(_) => unreachable!("declared sources have tests of their own"),
        Source::Standard => ("webhook-signature", "v1,"),
        Source::Sentry => ("sentry-hook-signature", ""),
        Source::Stripe => ("stripe-signature", "v1="),
        Source::Github => ("x-hub-signature-256", "sha256="),
        Source::Slack => ("x-slack-signature", "v0="),
    }
}

fn timed() -> impl Iterator<Item = Source> {
    [Source::Standard, Source::Stripe, Source::Slack].into_iter()
}

/// Checks a good delivery in which one header has another value.
#[track_caller]
fn check_header(source: impl Borrow<Source>, name: &str, value: &str, expected: Rejection) {
    let source = source.borrow();
    let mut headers = signed(source, "a.b", "msg_1", BODY);
    let (_, text) = headers.0.iter_mut().find(|(it, _)| it == name).unwrap();
    *text = value.to_owned();
    assert_eq!(
        outcome(source, &[SECRET], &headers, BODY, NOW),
        Err(expected),
        "{source} {name}: {value:?}"
    );
}

#[test]
fn a_window_is_inclusive_on_both_sides() {
    for source in timed() {
        let headers = signed(&source, "a.b", "msg_1", BODY);
        let at = |offset| outcome(&source, &[SECRET], &headers, BODY, NOW + offset);
        assert_eq!(at(300_000), Ok(0), "{source}");
        assert_eq!(at(300_001), Err(Rejection::TimestampTooOld), "{source}");
        assert_eq!(at(301_000), Err(Rejection::TimestampTooOld), "{source}");
        assert_eq!(at(-300_000), Ok(0), "{source}");
        assert_eq!(at(-300_001), Err(Rejection::TimestampInFuture), "{source}");
        assert_eq!(at(-301_000), Err(Rejection::TimestampInFuture), "{source}");
    }
}

#[test]
fn a_scheme_that_signs_no_time_has_no_window() {
    for source in [Source::Github, Source::Sentry] {
        let headers = signed(&source, "a.b", "msg_1", BODY);
        assert_eq!(
            outcome(&source, &[SECRET], &headers, BODY, NOW + 86_400_000),
            Ok(0)
        );
    }
}

#[test]
fn a_forger_does_not_learn_about_clocks() {
    for source in timed() {
        let headers = signed(&source, "a.b", "msg_1", BODY);
        let refused = outcome(&source, &[OTHER_SECRET], &headers, BODY, NOW + 301_000);
        assert_eq!(refused, Err(Rejection::SignatureMismatch), "{source}");
    }
}

#[test]
fn every_live_secret_counts_and_the_one_that_matched_is_named() {
    for source in &Source::BUILT_IN {
        let headers = signed(source, "a.b", "msg_1", BODY);
        let with = |texts: &[&str]| outcome(source, texts, &headers, BODY, NOW);
        assert_eq!(with(&[SECRET, OTHER_SECRET]), Ok(0), "{source}");
        assert_eq!(with(&[OTHER_SECRET, SECRET]), Ok(1), "{source}");
        assert_eq!(with(&["", "?", SECRET]), Ok(2), "{source}");
        assert_eq!(
            with(&[OTHER_SECRET]),
            Err(Rejection::SignatureMismatch),
            "{source}"
        );
        assert_eq!(with(&[]), Err(Rejection::SignatureMismatch), "{source}");
    }
}

#[test]
fn the_empty_secret_signs_nothing() {
    for source in [
        Source::Sentry,
        Source::Stripe,
        Source::Github,
        Source::Slack,
    ] {
        let outgoing = Outgoing {
            event: "a.b",
            id: "msg_1",
            body: BODY,
            now: NOW,
        };
        let headers = Headers(sign(&source, &Secret::new(""), outgoing).unwrap());
        assert_eq!(
            outcome(&source, &[""], &headers, BODY, NOW),
            Err(Rejection::SignatureMismatch),
            "{source}"
        );
    }
}

#[test]
fn stripe_and_standard_take_any_signature_with_any_secret() {
    for (source, separator) in [(Source::Stripe, ","), (Source::Standard, " ")] {
        let (name, prefix) = signature_header(&source);
        let mut headers = signed(&source, "a.b", "msg_1", BODY);
        let (_, value) = headers.0.iter_mut().find(|(it, _)| it == name).unwrap();
        let good = value.rfind(prefix).unwrap();
        let decoys = format!(
            "{prefix}AAAA{separator}{prefix}{}{separator}",
            "0".repeat(64)
        );
        value.insert_str(good, &decoys);
        assert_eq!(
            outcome(&source, &[OTHER_SECRET, SECRET], &headers, BODY, NOW),
            Ok(1),
            "{source}"
        );
    }
}

#[test]
fn a_missing_header_is_named() {
    for (source, name) in [
        (Source::Standard, "webhook-id"),
        (Source::Standard, "webhook-timestamp"),
        (Source::Standard, "webhook-signature"),
        (Source::Sentry, "sentry-hook-signature"),
        (Source::Stripe, "stripe-signature"),
        (Source::Github, "x-hub-signature-256"),
        (Source::Slack, "x-slack-request-timestamp"),
        (Source::Slack, "x-slack-signature"),
    ] {
        let mut headers = signed(&source, "a.b", "msg_1", BODY);
        headers.0.retain(|(it, _)| it != name);
        let refused = outcome(&source, &[SECRET], &headers, BODY, NOW);
        assert_eq!(refused, Err(Rejection::missing(name)));
    }
}

#[test]
fn a_malformed_signature_header_is_named() {
    for (source, values) in [
        (Source::Standard, vec!["", "v1", "abc="]),
        (Source::Sentry, vec!["", "abc", "sha256=00"]),
        (
            Source::Github,
            vec![
                "",
                "abc",
                "sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e",
                "sha256=",
                "sha256=zz",
            ],
        ),
        (Source::Slack, vec!["", "v0=", "v0=00", "v1=00"]),
        (
            Source::Stripe,
            vec![
                "",
                "v1=00",
                "t=",
                "t=1,v1",
                "t=1,t=1,v1=00",
                "t=1.5,v1=00",
                "t=-1,v1=00",
                "t=+1,v1=00",
            ],
        ),
    ] {
        let (name, _) = signature_header(&source);
        for value in values {
            check_header(&source, name, value, Rejection::malformed(name));
        }
    }
}

#[test]
fn signatures_in_upper_case_or_of_another_length_are_malformed() {
    for source in [Source::Sentry, Source::Github, Source::Slack] {
        let (name, prefix) = signature_header(&source);
        for digits in [
            "A".repeat(64),
            "a".repeat(62),
            "a".repeat(63),
            "a".repeat(66),
        ] {
            check_header(
                &source,
                name,
                &format!("{prefix}{digits}"),
                Rejection::malformed(name),
            );
        }
    }
}

#[test]
fn a_signature_of_an_unknown_scheme_never_counts() {
    let good = signed(Source::Stripe, "a.b", "", BODY)
        .get("stripe-signature")
        .unwrap()
        .to_owned();
    for value in [
        good.replace("v1=", "v0="),
        good.replace("v1=", "v2="),
        "t=1731705121".to_owned(),
    ] {
        check_header(
            Source::Stripe,
            "stripe-signature",
            &value,
            Rejection::SignatureMismatch,
        );
    }
}

#[test]
fn timestamps_are_integers() {
    for (source, name) in [
        (Source::Standard, "webhook-timestamp"),
        (Source::Slack, "x-slack-request-timestamp"),
    ] {
        let malformed = [
            "",
            "1731705121.0",
            "-1731705121",
            "+1731705121",
            " 1731705121",
            "1e9",
            "0x1",
            "99999999999999999999",
            "9223372036854775807",
            "١",
        ];
        for value in malformed {
            check_header(&source, name, value, Rejection::malformed(name));
        }
        check_header(&source, name, "1731705122", Rejection::SignatureMismatch);
    }
}

#[test]
fn standard_ids_hold_no_dot() {
    for id in ["", ".", "msg_1.1731705121"] {
        check_header(
            Source::Standard,
            "webhook-id",
            id,
            Rejection::malformed("webhook-id"),
        );
    }
    check_header(
        Source::Standard,
        "webhook-id",
        "msg_2",
        Rejection::SignatureMismatch,
    );
}

#[test]
fn the_two_families_of_standard_headers_do_not_mix() {
    let good = signed(Source::Standard, "", "msg_1", BODY);
    let (timestamp, signature) = (
        good.get("webhook-timestamp").unwrap(),
        good.get("webhook-signature").unwrap(),
    );
    let mixed = [
        ("webhook-id", "msg_1"),
        ("svix-timestamp", timestamp),
        ("webhook-signature", signature),
    ];
    assert_eq!(
        outcome(Source::Standard, &[SECRET], &headers(&mixed), BODY, NOW),
        Err(Rejection::missing("webhook-timestamp"))
    );

    // Where both families are there, the specification's counts.
    let wrong = [
        ("svix-id", "msg_2"),
        ("svix-timestamp", "1"),
        ("svix-signature", "v1,"),
    ];
    let both = Headers([good.0.clone(), headers(&wrong).0].concat());
    assert_eq!(
        outcome(Source::Standard, &[SECRET], &both, BODY, NOW),
        Ok(0)
    );

    // The unsigned id of the other family is not taken for the key.
    let svix = [
        ("webhook-id", "msg_forged"),
        ("svix-id", "msg_1"),
        ("svix-timestamp", timestamp),
        ("svix-signature", signature),
    ];
    assert_eq!(
        outcome(Source::Standard, &[SECRET], &headers(&svix), BODY, NOW),
        Ok(0)
    );
    assert_eq!(
        event(Source::Standard, &svix, BODY).idempotency_key,
        "msg_1"
    );
}

#[test]
fn stripe_signs_with_the_whole_secret_and_standard_with_its_decoded_bytes() {
    for source in [Source::Standard, Source::Stripe] {
        let headers = signed(&source, "", "msg_1", BODY);
        let bare = SECRET.trim_start_matches("whsec_");
        let expected = if source == Source::Standard {
            Ok(0)
        } else {
            Err(Rejection::SignatureMismatch)
        };
        assert_eq!(outcome(&source, &[bare], &headers, BODY, NOW), expected);
    }
}

#[test]
fn every_cause_has_its_name() {
    let causes = [
        Rejection::missing("x"),
        Rejection::malformed("x"),
        Rejection::TimestampTooOld,
        Rejection::TimestampInFuture,
        Rejection::SignatureMismatch,
    ]
    .map(|it| it.cause());
    assert_eq!(
        causes,
        [
            "missing_header",
            "malformed_header",
            "timestamp_too_old",
            "timestamp_in_future",
            "signature_mismatch"
        ]
    );
}

proptest! {
    #[test]
    fn what_we_sign_we_believe(
        source in proptest::sample::select(&Source::BUILT_IN),
        id in "[a-zA-Z0-9_-]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
        now in 0..4_102_444_800_000_i64,
    ) {
        let outgoing = Outgoing { event: "a.b", id: &id, body: &body, now };
        let headers = Headers(sign(&source, &Secret::new(SECRET), outgoing).unwrap());
        prop_assert_eq!(outcome(&source, &[OTHER_SECRET, SECRET], &headers, &body, now), Ok(1));
    }

    #[test]
    fn a_body_with_another_byte_is_refused(
        source in proptest::sample::select(&Source::BUILT_IN),
        mut body in proptest::collection::vec(any::<u8>(), 1..300),
        at in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let headers = signed(&source, "a.b", "msg_1", &body);
        let at = at.index(body.len());
        body[at] ^= flip;
        prop_assert_eq!(outcome(&source, &[SECRET], &headers, &body, NOW), Err(Rejection::SignatureMismatch));
    }

    #[test]
    fn a_signature_with_another_character_is_refused(
        source in proptest::sample::select(&Source::BUILT_IN),
        at in any::<proptest::sample::Index>(),
        character in "[ -~]",
    ) {
        let (name, _) = signature_header(&source);
        let mut headers = signed(&source, "a.b", "msg_1", BODY);
        let (_, value) = headers.0.iter_mut().find(|(it, _)| it == name).unwrap();
        let at = at.index(value.len());
        prop_assume!(value[at..=at] != character);
        value.replace_range(at..=at, &character);
        prop_assert!(outcome(&source, &[SECRET], &headers, BODY, NOW).is_err());
    }

    #[test]
    fn no_header_or_body_makes_it_panic(
        source in proptest::sample::select(&Source::BUILT_IN),
        value in "\\PC{0,80}|(t=[0-9]{0,20},)?(v[0-2][=,][0-9a-fA-F+/=]{0,70}[ ,]?){0,4}",
        timestamp in "[0-9]{0,20}|\\PC{0,5}",
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut headers = signed(&source, "a.b", "msg_1", &body);
        for (name, text) in &mut headers.0 {
            if name == signature_header(&source).0 {
                text.clone_from(&value);
            } else if name.ends_with("timestamp") {
                text.clone_from(&timestamp);
            }
        }
        prop_assert!(outcome(&source, &[SECRET], &headers, &body, NOW).is_err());
    }
}
