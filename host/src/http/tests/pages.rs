//! Pages: what they show, and what they never let through.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;

use super::{Answer, SECRET, TestHost};
use crate::lifecycle::{ActionTransition, Transition};
use crate::model::action::{Delivered, NewAction, Receipt};
use crate::model::decision::{
    ActionContent, Classification, Decision, Plan, PlannedAction, Priority, Ticket,
};
use crate::model::id::ActionId;
use crate::model::outcome::Outcome;
use crate::model::run::{Completion, Evaluation, LogLine};
use crate::model::source::Source;
use crate::store::access::Role;
use crate::store::actions::FinishedAction;
use crate::store::runs::FinishedAttempt;
use crate::store::strikes::Conduct;

const HOSTILE: &str = r#"<script>alert("x")</script>'"><img src=x onerror=alert(1)>"#;

fn decision() -> Decision {
    let ticket = Ticket {
        title: format!("title {HOSTILE}"),
        body: format!("body {HOSTILE}"),
        labels: vec![format!("label {HOSTILE}")],
        assignee: Some(format!("assignee {HOSTILE}")),
        group_key: None,
    };
    let action = PlannedAction {
        name: "open".to_owned(),
        destination: "desk".to_owned(),
        content: ActionContent::Ticket(ticket),
    };
    Decision {
        classification: Classification {
            priority: Priority::Critical,
            category: format!("category {HOSTILE}"),
            labels: vec![format!("word {HOSTILE}")],
            confidence_percent: 93,
            reason: format!("reason {HOSTILE}"),
        },
        plan: Some(Plan {
            summary: format!("summary {HOSTILE}"),
            actions: vec![action],
        }),
    }
}

/// Does what worker and actions do: decides every queued run, opens every ticket.
async fn work_off(host: &TestHost) {
    let (store, now) = (&host.state.store, host.now());
    for run in store.claim_due_runs(now, now + 10_000, 10).await.unwrap() {
        let decision = decision();
        let actions = decision
            .plan
            .iter()
            .flat_map(|it| &it.actions)
            .map(|it| NewAction {
                id: ActionId::new(now),
                name: it.name.clone(),
                destination: it.destination.clone(),
                idempotency_key: format!(
                    "{}:{}:{}",
                    run.event.idempotency_key, run.policy, it.name
                ),
                content: it.content.clone(),
            });
        let finished = FinishedAttempt {
            run_seq: run.seq,
            event_seq: run.event.seq,
            conduct: Conduct::default(),
            tenant: run.event.tenant.clone(),
            in_order: false,
            attempt: run.attempt,
            started_at: now,
            finished_at: now + 12,
            transition: Transition::Complete(Completion::Acted),
            routed: None,
            actions: actions.collect(),
            evaluation: Evaluation {
                outcome: Outcome::Decided(decision.clone().into()),
                classifier_digest: Some("c".repeat(64)),
                triager_digest: None,
                log: vec![LogLine {
                    level: format!("info {HOSTILE}"),
                    message: format!("message {HOSTILE}"),
                    fields: vec![("key".to_owned(), HOSTILE.to_owned())],
                }],
                cpu_us: 420,
                memory_bytes: 1 << 20,
            },
        };
        store.finish_attempt(Arc::new(finished)).await.unwrap();
    }
    for action in store
        .claim_due_actions(now + 12, now + 10_000, 10)
        .await
        .unwrap()
    {
        let finished = FinishedAction {
            action,
            started_at: now + 20,
            finished_at: now + 21,
            delivered: Delivered::Done(Receipt::Ticket),
            transition: ActionTransition::Delivered(Receipt::Ticket),
        };
        store
            .finish_actions(Arc::new(vec![finished]))
            .await
            .unwrap();
    }
}

#[track_caller]
fn check_safe(answer: &Answer) {
    let csp = answer.header("content-security-policy");
    assert!(
        csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"),
        "{csp}"
    );
    assert!(
        !csp.contains("script-src") && !csp.contains("unsafe"),
        "{csp}"
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let text = answer.text();
    for forbidden in [
        "<script",
        "<img",
        "onerror=alert(1)>",
        " style=",
        "javascript:",
    ] {
        assert!(!text.contains(forbidden), "{forbidden} in {text}");
    }
}

#[tokio::test]
async fn nothing_hostile_gets_into_a_page_unescaped() {
    let host = TestHost::start();
    let body = format!(
        "{{\"action\":\"opened\",\"title\":{}}}",
        serde_json::json!(HOSTILE)
    );
    let mut delivery = host.signed(Source::Github, "d1", SECRET, &body);
    delivery
        .headers_mut()
        .insert("x-custom", HOSTILE.parse().unwrap());
    let ack = host.send(delivery).await.check(200).json();
    work_off(&host).await;
    let session = host.session(Some("acme")).await;
    let (event_id, run_id) = (
        ack["event_id"].as_str().unwrap(),
        ack["run_id"].as_str().unwrap(),
    );
    for path in [
        "/".to_owned(),
        format!("/events/{event_id}"),
        format!("/runs/{run_id}"),
    ] {
        let page = host.visit(&session, &path).await.check(200);
        check_safe(&page);
        assert!(page.text().contains("summary &lt;script&gt;"), "{path}");
    }
    let page = host.visit(&session, &format!("/runs/{run_id}")).await;
    for part in [
        "title", "body", "label", "assignee", "category", "word", "reason", "message",
    ] {
        assert!(
            page.text().contains(&format!("{part} &lt;script&gt;")),
            "{part}"
        );
    }
}

#[tokio::test]
async fn filters_and_the_login_form_do_not_echo_markup() {
    let host = TestHost::start();
    let session = host.session(None).await;
    let hostile = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let page = host
        .visit(&session, &format!("/?idempotency_key={hostile}"))
        .await
        .check(200);
    check_safe(&page);
    check_safe(
        &host
            .visit(&session, &format!("/?state={hostile}"))
            .await
            .check(400),
    );
    check_safe(
        &host
            .visit(&session, &format!("/runs/{hostile}"))
            .await
            .check(404),
    );
    check_safe(
        &host
            .visit("", &format!("/login?next=/{hostile}"))
            .await
            .check(200),
    );
    check_safe(
        &host
            .visit("", &format!("/login/{hostile}"))
            .await
            .check(200),
    );
    check_safe(&host.visit(&session, "/runs/%ff").await.check(404));
    check_safe(&host.visit("", "/login/%ff").await.check(404));
    check_safe(&host.visit("", "/login?next=%ff&next=b").await.check(200));
}

#[tokio::test]
async fn a_run_page_tells_the_whole_story() {
    let host = TestHost::start();
    let ack = host.deliver(Source::Github, "d1").await.json();
    let session = host.session(Some("acme")).await;
    let path = format!("/runs/{}", ack["run_id"].as_str().unwrap());
    let waiting = host.visit(&session, &path).await.check(200);
    assert!(
        waiting.text().contains("http-equiv=\"refresh\""),
        "it is about to change"
    );

    work_off(&host).await;
    let page = host.visit(&session, &path).await.check(200);
    let text = page.text();
    for part in [
        "github.issues.opened",
        "<span class=\"badge critical\">critical</span>",
        "<section class=\"verdict critical\">",
        "Panic when the basket holds more than 255 items",
        "&quot;action&quot;: &quot;opened&quot;",
        "exact bytes",
        "Attempt 1",
        "420 µs",
        "Receipt",
        "tkt_",
        "d1:incidents:open",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("http-equiv"), "nothing more happens");
    let token = host.token(None, Role::Viewer).await;
    let trace = host
        .get(&token, &format!("/v1{path}/trace"))
        .await
        .check(200)
        .json();
    let kinds: Vec<_> = trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["delivery", "verification", "attempt", "decision", "action"]
    );
    let tickets = host.get(&token, "/v1/tickets").await.check(200).json();
    let id = trace["steps"][4]["receipt"]["ticket_id"].as_str().unwrap();
    let listed = tickets["items"].as_array().unwrap();
    assert!(
        listed
            .iter()
            .any(|it| it["ticket_id"] == id && it["priority"] == "critical")
    );
    let ticket = host
        .get(&token, &format!("/v1/tickets/{id}"))
        .await
        .check(200)
        .json();
    assert_eq!(ticket["run_id"], ack["run_id"]);
    let stranger = host.token(Some("globex"), Role::Viewer).await;
    host.get(&stranger, &format!("/v1/tickets/{id}"))
        .await
        .check_error(404, "not_found");
}

#[tokio::test]
async fn an_event_without_a_policy_has_a_page() {
    let host = TestHost::start();
    let body = r#"{"type":"contact.created","data":{"n":12345678901234567890}}"#;
    let ack = host
        .send(host.signed(Source::Standard, "d1", SECRET, body))
        .await
        .check(200)
        .json();
    let session = host.session(None).await;
    let path = ack["trace_url"]
        .as_str()
        .unwrap()
        .strip_prefix("https://hooks.example.com")
        .unwrap()
        .to_owned();
    let page = host.visit(&session, &path).await.check(200);
    assert!(page.text().contains("no policy"));
    assert!(page.text().contains("&quot;n&quot;: 12345678901234567890"));
}

#[tokio::test]
async fn payloads_of_any_kind_are_shown_or_linked() {
    let host = TestHost::start();
    let session = host.session(None).await;
    for (number, (body, part)) in [
        ("command=%2Ftriage", "command=%2Ftriage"),
        ("", "0 B"),
        ("\u{202e}rtl", "rtl"),
        ("{\"a\":", "{&quot;a&quot;:"),
    ]
    .into_iter()
    .enumerate()
    {
        let delivery = host.signed(Source::Slack, &number.to_string(), SECRET, body);
        let ack = host.send(delivery).await.check(200).json();
        let page = host
            .visit(
                &session,
                &format!("/events/{}", ack["event_id"].as_str().unwrap()),
            )
            .await
            .check(200);
        assert!(page.text().contains(part), "{part}");
    }
}

#[tokio::test]
async fn the_list_leads_to_older_events_with_its_filters() {
    let host = TestHost::start();
    for number in 0..52 {
        host.deliver(Source::Github, &number.to_string())
            .await
            .check(200);
    }
    let session = host.session(None).await;
    let page = host.visit(&session, "/?type=github.*").await.check(200);
    let text = page.text();
    assert_eq!(text.matches("<tr>").count(), 51, "a head and fifty events");
    let href = text
        .split("<p class=\"more\"><a href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(href.contains("type=github%2E%2A"));
    let older = host
        .visit(&session, &href.replace("&amp;", "&"))
        .await
        .check(200);
    assert_eq!(older.text().matches("<tr>").count(), 3);
    assert!(!older.text().contains("Older events"));
}

#[tokio::test]
async fn the_stylesheet_is_served_to_everybody() {
    let host = TestHost::start();
    let css = host.visit("", "/assets/triage.css").await.check(200);
    assert_eq!(css.header("content-type"), "text/css; charset=utf-8");
    assert!(css.text().contains("prefers-color-scheme: dark"));
}

#[tokio::test]
async fn a_page_says_when_the_store_does_not_answer() {
    let host = TestHost::start();
    host.state.store.break_writes(true).await;
    let token = host.token(None, Role::Viewer).await;
    let form = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
    let page = host
        .send(form.body(Body::from(format!("token={token}"))).unwrap())
        .await
        .check(503);
    check_safe(&page);
    assert_eq!(page.header("retry-after"), "5");
}
