//! Deliveries that are not believed: refused all in one way, with the cause in a list.

use serde_json::Value;
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_tests::delivery::{event_of, now, sample_body, ticketed};
use triage_tests::{Delivery, Host, config};

/// A form that every scheme takes.
const WRONG_SECRET: &str = "whsec_bm90IHRoZSBzZWNyZXQgb2YgYW55Ym9keSEh";
/// More than the 300 s that all schemes with a signed time take, in milliseconds.
const TOO_FAR_MS: i64 = 310_000;

/// The headers that a scheme cannot do without.
fn proofs(source: &Source) -> &'static [&'static str] {
    match source {
        Source::Custom(_) => unreachable!("see sources.rs"),
        Source::Standard => &["webhook-id", "webhook-timestamp", "webhook-signature"],
        Source::Sentry => &["sentry-hook-signature"],
        Source::Stripe => &["stripe-signature"],
        Source::Github => &["x-hub-signature-256"],
        Source::Slack => &["x-slack-signature", "x-slack-request-timestamp"],
    }
}

fn signs_time(source: &Source) -> bool {
    matches!(source, Source::Standard | Source::Stripe | Source::Slack)
}

/// A good delivery but for its secret and time.
fn signed(source: &Source, secret: &Secret, now: i64) -> Delivery {
    let event = event_of(source);
    let body = match source {
        Source::Standard => sample_body(source, "incident.opened", "forged"),
        _ => sample_body(source, event, "forged"),
    };
    Delivery::signed(source, event, "forged", body, secret, now)
}

/// Every way to be not believed, each with the cause that is listed.
fn forgeries(source: &Source) -> Vec<(Delivery, &'static str)> {
    let good = config::secret(source);
    let mut forgeries = vec![(
        signed(source, &Secret::new(WRONG_SECRET), now()),
        "signature_mismatch",
    )];
    forgeries.extend(
        proofs(source)
            .iter()
            .map(|it| (signed(source, &good, now()).without(it), "missing_header")),
    );
    let mut tampered = signed(source, &good, now());
    tampered.body.push(b' ');
    forgeries.push((tampered, "signature_mismatch"));
    let mut malformed = signed(source, &good, now());
    for (name, value) in &mut malformed.headers {
        if *name == *proofs(source).last().unwrap() || name == "x-slack-signature" {
            *value = "certainly".to_owned();
        }
    }
    forgeries.push((malformed, "malformed_header"));
    if signs_time(source) {
        forgeries.push((
            signed(source, &good, now() - TOO_FAR_MS),
            "timestamp_too_old",
        ));
        forgeries.push((
            signed(source, &good, now() + TOO_FAR_MS),
            "timestamp_in_future",
        ));
    }
    forgeries
}

#[test]
fn a_forged_delivery_of_any_source_is_refused_alike_and_listed_with_its_cause() {
    let host = Host::start(&config::desk());
    let mut expected = Vec::new();
    let mut answers = Vec::new();
    for source in &Source::BUILT_IN {
        for (delivery, cause) in forgeries(source) {
            answers.push(host.deliver(&delivery).expect(401).without_date());
            expected.push((format!("{source}-main"), cause.to_owned()));
        }
    }
    assert_eq!(answers[0].json()["code"], "invalid_signature");
    assert!(
        answers.iter().all(|it| *it == answers[0]),
        "a forger learns something: {answers:?}"
    );

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed = host.list("/v1/rejections");
    let causes: Vec<_> = listed
        .iter()
        .rev()
        .map(|it| (text(&it["integration_id"]), text(&it["cause"])))
        .collect();
    assert_eq!(causes, expected);
    assert!(
        listed.iter().all(|it| it["remote"] == "127.0.0.1"),
        "{listed:?}"
    );
    assert!(host.list("/v1/events").is_empty() && host.list("/v1/runs").is_empty());
}

#[test]
fn a_forged_repeat_of_a_kept_event_counts_for_nothing() {
    let host = Host::start("");
    for source in &Source::BUILT_IN {
        let delivery = ticketed(source, "kept-1");
        let answer = host.accept(&delivery);
        for proof in proofs(source) {
            host.deliver(&delivery.clone().without(proof)).expect(401);
        }
        let event = host.json(&format!(
            "/v1/events/{}",
            answer["event_id"].as_str().unwrap()
        ));
        assert_eq!(event["duplicate_count"], 0, "{source}");
    }
}

#[test]
fn the_secret_of_one_source_opens_no_other() {
    let host = Host::start("");
    for source in Source::BUILT_IN
        .iter()
        .filter(|it| **it != Source::Standard)
    {
        let secret = config::secret(Source::BUILT_IN.iter().find(|it| *it != source).unwrap());
        host.deliver(&signed(source, &secret, now())).expect(401);
    }
}
