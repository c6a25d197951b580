//! From the delivery to the ticket: what the bundled plugins decide about the providers' samples.

use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_tests::delivery::{sample_body, ticketed};
use triage_tests::{Delivery, Host, config};

/// Delivers and gives the run, once it is over, with its one ticket, if it has one.
#[track_caller]
fn decided(host: &Host, delivery: &Delivery) -> (Value, Option<Value>) {
    let run = host.finished(&host.accept(delivery));
    let mut tickets = host.list("/v1/tickets");
    tickets.retain(|it| it["run_id"] == run["run_id"]);
    assert!(tickets.len() <= 1, "{tickets:?}");
    (run, tickets.pop())
}

/// A payout that failed where no money moves.
fn in_test_mode(id: &str) -> Delivery {
    let body = sample_body(Source::Stripe, "payout.failed", id)
        .replace("\"livemode\": true", "\"livemode\": false");
    Delivery::new(Source::Stripe, "payout.failed", id, body)
}

#[test]
fn what_matters_becomes_a_ticket_of_its_priority() {
    let host = Host::start(&config::desk());
    for (delivery, policy, priority, category) in [
        (Delivery::incident("p-1"), "incidents", "high", "incident"),
        (
            Delivery::sample(Source::Standard, "incident.opened", "p-2"),
            "incidents",
            "critical",
            "incident",
        ),
        (
            Delivery::sample(Source::Sentry, "issue.created", "p-3"),
            "incidents",
            "high",
            "error",
        ),
        (
            Delivery::sample(Source::Github, "issues.opened", "p-4"),
            "incidents",
            "normal",
            "issue",
        ),
        (
            Delivery::sample(Source::Slack, "app_mention", "p-5"),
            "incidents",
            "high",
            "report",
        ),
        (
            ticketed(Source::Stripe, "p-6"),
            "payments",
            "critical",
            "payout-failed",
        ),
    ] {
        let (run, ticket) = decided(&host, &delivery);
        let ticket = ticket.unwrap_or_else(|| panic!("no ticket: {run}"));
        let facts = |it: &Value| json!([it["policy"], it["priority"], it["category"]]);
        assert_eq!(
            facts(&run),
            json!([policy, priority, category]),
            "{}: {run}",
            delivery.path
        );
        assert_eq!(facts(&ticket), facts(&run));
        assert_eq!(
            (&run["outcome"], &run["attempt_count"]),
            (&json!("acted"), &json!(1))
        );
        assert!(!ticket["title"].as_str().unwrap().is_empty());
    }
}

#[test]
fn what_does_not_matter_is_decided_and_left_alone() {
    let host = Host::start(&config::desk());
    for delivery in [
        Delivery::sample(Source::Sentry, "issue.resolved", "i-1"),
        Delivery::standard("incident.resolved", "i-2", "Over"),
        in_test_mode("i-3"),
    ] {
        let (run, ticket) = decided(&host, &delivery);
        assert_eq!(
            (&run["state"], &run["outcome"]),
            (&json!("completed"), &json!("ignored")),
            "{run}"
        );
        assert_eq!((&run["actions"], ticket), (&json!([]), None));
        assert!(
            !run["decision"]["classification"]["reason"]
                .as_str()
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_payload_that_a_plugin_cannot_read_is_dead_with_the_reason() {
    let host = Host::start(&config::desk());
    let body = json!({ "type": "incident.triggered", "data": { "title": 7 } }).to_string();
    let (run, ticket) = decided(
        &host,
        &Delivery::new(Source::Standard, "incident.triggered", "d-1", body),
    );
    assert_eq!(
        (&run["state"], &run["attempt_count"], ticket),
        (&json!("dead"), &json!(1), None)
    );
    assert_eq!(run["attempts"][0]["class"], "invalid_payload");
    let reason = run["dead_reason"].as_str().unwrap();
    assert!(
        reason.contains("invalid payload") && reason.contains("title"),
        "{reason}"
    );
    let event = host.json(&format!("/v1/events/{}", run["event_id"].as_str().unwrap()));
    assert_eq!(event["state"], "failed");
    assert_eq!(host.list("/v1/runs?state=dead").len(), 1);
}

#[test]
fn an_event_gets_a_run_of_every_policy_that_wants_it_and_of_no_other_tenant() {
    let grant = "[policy.grants]\ndestinations = [\"desk\"]";
    let policy = |name: &str, tenant: &str| {
        config::policy(
            name,
            "incident-desk",
            r#"["*"]"#,
            &format!("tenant = \"{tenant}\"\n{grant}"),
        )
    };
    let plugin = config::plugin(
        "incident-desk",
        &triage_tests::binary::component("incident-desk"),
    );
    let desk = "[destinations.desk]\nkind = \"ticket\"\n";
    let host = Host::start(
        &[
            &plugin,
            desk,
            &policy("a", "default"),
            &policy("b", "default"),
            &policy("c", "other"),
        ]
        .concat(),
    );
    let answer = host.accept(&Delivery::incident("two-1"));
    let policies: Vec<_> = answer["run_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| host.finished_run(it.as_str().unwrap())["policy"].clone())
        .collect();
    assert_eq!(policies, ["a", "b"]);
    assert_eq!(host.list("/v1/tickets").len(), 2);
}

#[test]
fn a_plugin_that_asks_for_what_was_not_granted_is_refused() {
    let sections = config::desk()
        .replace("destinations = [\"desk\"]", "destinations = []")
        .replace(
            "triggers = [\"sentry.*\"",
            "on_failure = \"dead-letter\"\ntriggers = [\"sentry.*\"",
        );
    let host = Host::start(&sections);
    let (run, ticket) = decided(&host, &Delivery::incident("not-granted-1"));
    assert_eq!((&run["state"], ticket), (&json!("dead"), None));
    assert_eq!(run["attempts"][1]["class"], "answer_refused");
    let reason = run["dead_reason"].as_str().unwrap();
    assert!(
        reason.contains("is not granted destination `desk`"),
        "{reason}"
    );
}

#[test]
fn a_payload_of_every_byte_comes_back_as_it_was_sent() {
    let host = Host::start(&config::integration(
        "wide",
        Source::Github,
        "body_limit = \"8MiB\"",
    ));
    let bytes: Vec<u8> = (0..=255).cycle().take(5 << 20).collect();
    for (name, body) in [("empty", Vec::new()), ("all-bytes", bytes)] {
        let answer =
            host.accept(&Delivery::new(Source::Github, "push", name, body.clone()).to("wide"));
        let path = format!(
            "/v1/events/{}/payload",
            answer["event_id"].as_str().unwrap()
        );
        let payload = host.get(&path).expect(200);
        assert!(payload.body == body, "{name}: other bytes");
        assert_eq!(
            payload.header("content-type"),
            Some("application/octet-stream")
        );
    }
}
