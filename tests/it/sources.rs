//! Senders that are data: shipped declarations, and one of the configuration's own.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use triage_host::config::ready_sources;
use triage_host::model::source::Source;
use triage_host::sources::samples;
use triage_tests::delivery::{event_of, sample_body};
use triage_tests::{Delivery, Folder, Host, config};

/// The shipped sources.
fn shipped() -> Vec<Source> {
    let custom = |it: &Source| matches!(it, Source::Custom(_));
    ready_sources().into_values().filter(custom).collect()
}

fn delivery(source: &Source, id: &str) -> Delivery {
    Delivery::sample(source, event_of(source), id)
}

/// The same delivery with one header's value changed.
fn with(mut delivery: Delivery, name: &str, value: &str) -> Delivery {
    for (_, it) in delivery.headers.iter_mut().filter(|(it, _)| it == name) {
        value.clone_into(it);
    }
    delivery
}

fn proof(source: &Source) -> &str {
    match source {
        Source::Custom(custom) => &custom.signature.header,
        _ => unreachable!("declared sources only"),
    }
}

fn event(host: &Host, answer: &Value) -> Value {
    host.json(&format!(
        "/v1/events/{}",
        answer["event_id"].as_str().unwrap()
    ))
}

#[test]
fn a_delivery_of_every_shipped_source_is_kept_once_and_named() {
    let host = Host::start("");
    for source in shipped() {
        let first = delivery(&source, "first-1");
        let answer = host.accept(&first);
        assert_eq!(answer["duplicate"], false, "{source}");
        let repeat = host.accept(&first);
        assert_eq!(
            (&repeat["event_id"], &repeat["duplicate"]),
            (&answer["event_id"], &json!(true)),
            "{source}"
        );
        let kept = event(&host, &answer);
        assert_eq!(kept["source"], source.as_str());
        assert_eq!(
            kept["event_type"],
            format!("{source}.{}", event_of(&source))
        );
        let key = kept["idempotency_key"].as_str().unwrap();
        assert!(key.ends_with("first-1"), "{source}: {key}");
        assert_eq!(kept["duplicate_count"], 1, "{source}");
    }
    assert_eq!(host.list("/v1/events").len(), shipped().len());
}

#[test]
fn a_delivery_of_a_shipped_source_that_is_not_believed_leaves_its_cause_only() {
    let host = Host::start("");
    let mut causes = Vec::new();
    for source in shipped() {
        let good = delivery(&source, "forged-1");
        host.deliver(&good.clone().without(proof(&source)))
            .expect(401);
        causes.push((source.to_string(), "missing_header"));
        let other = config::RECEIVER_SECRET;
        let secret = triage_host::model::secret::Secret::new(other);
        let now = triage_tests::delivery::now();
        let forged = Delivery::signed(
            &source,
            event_of(&source),
            "forged-1",
            good.body.clone(),
            &secret,
            now,
        );
        host.deliver(&forged).expect(401);
        causes.push((source.to_string(), "signature_mismatch"));
        // The token signs nothing.
        if source.as_str() != "gitlab" {
            let mut altered = good.clone();
            altered.body.push(b' ');
            host.deliver(&altered).expect(401);
            causes.push((source.to_string(), "signature_mismatch"));
        }
    }
    for (source, name) in [
        ("linear", "issue.create"),
        ("zendesk", "zen.event-type.ticket.created"),
    ] {
        let source = &ready_sources()[source];
        let old = triage_tests::delivery::now() - 400_000;
        let template = samples::find(source.as_str(), name).unwrap().template;
        let body = samples::fill(template, "stale-1", old);
        let stale = Delivery::signed(source, name, "stale-1", body, &config::secret(source), old);
        host.deliver(&stale).expect(401);
        causes.push((source.to_string(), "timestamp_too_old"));
    }
    let listed = host.list("/v1/rejections");
    let listed: Vec<_> = listed
        .iter()
        .rev()
        .map(|it| {
            (
                it["source"].as_str().unwrap().to_owned(),
                it["cause"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(listed, causes);
    assert!(host.list("/v1/events").is_empty());
}

#[test]
fn what_a_shipped_provider_does_not_document_is_kept_as_unparsable() {
    let host = Host::start("");
    for source in shipped() {
        let body = format!("[\"{source}\"]");
        let nameless = Delivery::new(&source, event_of(&source), "odd-1", body.clone());
        let nameless = nameless
            .without("x-shopify-topic")
            .without("x-gitlab-event");
        let kept = event(&host, &host.accept(&nameless));
        assert_eq!(kept["event_type"], format!("{source}.unparsable"));
        assert_eq!(kept["idempotency_key"], hex::encode(Sha256::digest(&body)));
    }
}

#[test]
fn a_caught_delivery_is_no_new_event_under_another_id() {
    let host = Host::start("");
    for (source, header) in [
        ("shopify", "x-shopify-webhook-id"),
        ("linear", "linear-delivery"),
        ("zendesk", "x-zendesk-webhook-invocation-id"),
    ] {
        let caught = delivery(&ready_sources()[source], "caught-1");
        let first = host.accept(&caught);
        let again = host.accept(&with(caught.clone(), header, "another"));
        assert_eq!(again["event_id"], first["event_id"], "{source}");
        let nameless = host.accept(&caught.without(header));
        assert_eq!(nameless["event_id"], first["event_id"], "{source}");
    }
}

#[test]
fn a_caught_delivery_is_no_new_event_under_another_name() {
    let host = Host::start("");
    for (source, event_name, header, other) in [
        (
            Source::Github,
            "issues.opened",
            "x-github-event",
            "issue_comment",
        ),
        (Source::Github, "push", "x-github-event", "star"),
        (
            Source::Sentry,
            "issue.created",
            "sentry-hook-resource",
            "error",
        ),
    ] {
        let id = format!("named-{}", event_name.replace('.', "-"));
        let body = sample_body(&source, event_name, &id);
        let caught = Delivery::new(&source, event_name, &id, body.clone());
        let first = host.accept(&caught);
        let renamed = with(
            Delivery::new(&source, event_name, "another", body),
            header,
            other,
        );
        assert_eq!(
            host.accept(&renamed)["event_id"],
            first["event_id"],
            "{source}"
        );
    }
    // Also where the first was never seen here.
    let body = sample_body(Source::Github, "issues.opened", "unseen-1");
    let renamed = Delivery::new(Source::Github, "release.published", "unseen-1", body);
    let kept = event(&host, &host.accept(&renamed));
    assert_eq!(kept["event_type"], "github.unparsable");
}

#[test]
fn forms_are_read_as_what_they_hold() {
    let host = Host::start("");
    let json = sample_body(Source::Github, "issues.opened", "form-1");
    let encoded: String = json.bytes().map(|it| format!("%{it:02X}")).collect();
    let form = format!("payload={encoded}");
    let kept = event(
        &host,
        &host.accept(&Delivery::new(
            Source::Github,
            "issues.opened",
            "form-1",
            form,
        )),
    );
    assert_eq!(kept["event_type"], "github.issues.opened");
    let command = "command=%2Fincident&text=now&trigger_id=1.2.form";
    let kept = event(
        &host,
        &host.accept(&Delivery::new(Source::Slack, "", "", command)),
    );
    assert_eq!(
        (&kept["event_type"], &kept["idempotency_key"]),
        (&json!("slack.command"), &json!("1.2.form"))
    );
}

#[test]
fn slack_signs_its_retries_anew_and_they_are_repeats() {
    let host = Host::start("");
    let body = sample_body(Source::Slack, "app_mention", "retry-1");
    let (secret, now) = (config::secret(Source::Slack), triage_tests::delivery::now());
    let at = |now| Delivery::signed(Source::Slack, "app_mention", "", body.clone(), &secret, now);
    let first = host.accept(&at(now - 60_000));
    let retry = host.accept(&at(now));
    assert_eq!(
        (&retry["event_id"], &retry["duplicate"]),
        (&first["event_id"], &json!(true))
    );
}

#[test]
fn a_token_is_neither_kept_nor_shown() {
    let host = Host::start("");
    let source = &ready_sources()["gitlab"];
    let kept = event(&host, &host.accept(&delivery(source, "token-1")));
    let secret = config::secret(source);
    assert!(!kept.to_string().contains(secret.expose()), "{kept}");
    let database = std::fs::read(host.folder.path("triage.db-wal")).unwrap();
    let secret = secret.expose().as_bytes();
    assert!(!database.windows(secret.len()).any(|it| it == secret));
}

#[test]
fn a_source_of_the_configurations_own_is_signed_sent_and_kept() {
    let folder = Folder::new(
        r#"
        [sources.acme]
        signature = { header = "X-Acme-Signature", algorithm = "hmac-sha256", encoding = "hex", prefix = "v1=", separator = ",", signed = "{timestamp}.{header:X-Acme-Id}.{body}" }
        timestamp = { from = "{signature:t}", unit = "seconds" }
        event_type = "{body:/type}"
        idempotency_key = "{header:X-Acme-Id}"
        ordering_key = "{body:/object/id}"
        [[integration]]
        id = "acme-main"
        source = "acme"
        secrets = ["file:acme"]
        "#,
    );
    folder.write("acme", "acme's secret\n");
    folder.write("body", r#"{"type":"order/paid","object":{"id":"o-1"}}"#);
    let host = Host::start_in(folder);
    let body = host.folder.path("body").display().to_string();
    let send = |more: &[&str]| {
        let server = host.url("");
        let arguments = [
            "--json", "send", "acme", "--file", &body, "--id", "acme-1", "--url", &server,
        ];
        host.folder.triage(&[&arguments[..], more].concat())
    };
    let answer = send(&[]).expect(0).json()["answer"].clone();
    let kept = event(&host, &answer);
    assert_eq!(
        (&kept["event_type"], &kept["idempotency_key"]),
        (&json!("acme.order.paid"), &json!("acme-1"))
    );
    assert_eq!(send(&[]).expect(0).json()["answer"]["duplicate"], true);
    send(&["--forge"]).expect(1);
}
