//! What goes out: signed, under one key, tried again or given up as the receiver answers.

use serde_json::{Value, json};
use triage_tests::receiver::{Received, Reply};
use triage_tests::wait::wait_until;
use triage_tests::{Delivery, Folder, Host, Receiver, config};

const ALLOW: &str = "[egress]\nallow = [\"127.0.0.1\"]\n";

/// A host whose incident desk tells this receiver; `lines` go into the destination.
fn start(receiver: &Receiver, lines: &str) -> Host {
    Host::start(&format!(
        "{ALLOW}{}",
        config::desk_and_webhook(&receiver.url(), lines)
    ))
}

/// The run's action of this name, once all are over.
#[track_caller]
fn action(run: &Value, name: &str) -> Value {
    let actions = run["actions"].as_array().unwrap();
    actions
        .iter()
        .find(|it| it["name"] == name)
        .unwrap_or_else(|| panic!("no action {name}: {run}"))
        .clone()
}

fn statuses(action: &Value) -> Vec<Value> {
    action["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].clone())
        .collect()
}

fn check_body(request: &Received, run: &Value, event: &Value) {
    let body = request.json();
    assert_eq!(body["type"], "standard.incident.triggered");
    assert_eq!(
        (&body["data"]["policy"], &body["data"]["action"]),
        (&json!("incidents"), &json!("page"))
    );
    assert_eq!(body["data"]["run_id"], run["run_id"]);
    assert_eq!(
        body["data"]["classification"],
        run["decision"]["classification"]
    );
    assert_eq!(body["data"]["payload"]["title"], "Incident hook-1");
    let told = &body["data"]["event"];
    for (theirs, ours) in [
        ("id", "event_id"),
        ("type", "event_type"),
        ("source", "source"),
        ("integration_id", "integration_id"),
        ("idempotency_key", "idempotency_key"),
        ("occurred_at", "occurred_at"),
    ] {
        assert_eq!(told[theirs], event[ours], "{theirs}");
    }
}

#[test]
fn a_webhook_is_the_same_at_every_attempt_but_for_its_time() {
    let slow_down = Reply {
        status: 429,
        retry_after: Some("1"),
    };
    let receiver = Receiver::start(&[Reply::status(500), slow_down]);
    let host = start(&receiver, "");
    let run = host.finished(&host.accept(&Delivery::incident("hook-1")));
    let event = host.json(&format!("/v1/events/{}", run["event_id"].as_str().unwrap()));

    let requests = receiver.wait_for(3);
    assert_eq!(
        requests.iter().map(|it| it.status).collect::<Vec<_>>(),
        [500, 429, 200]
    );
    check_body(&requests[0], &run, &event);
    for request in &requests {
        assert_eq!(request.body, requests[0].body);
        assert_eq!(
            request.header("webhook-id"),
            requests[0].header("webhook-id")
        );
        assert_eq!(request.header("idempotency-key"), "hook-1:incidents:page");
        assert_eq!(request.header("content-type"), "application/json");
    }
    assert!(!requests[0].header("webhook-id").contains('.'));
    assert!(
        requests[1].signed_at < requests[2].signed_at,
        "signed once: {requests:?}"
    );
    let spans: Vec<Vec<&str>> = requests
        .iter()
        .map(|it| it.header("traceparent").split('-').collect())
        .collect();
    assert!(
        spans.iter().all(|it| it[1] == spans[0][1]) && spans[0][2] != spans[1][2],
        "{spans:?}"
    );

    let page = action(&run, "page");
    assert_eq!(
        (&page["state"], statuses(&page)),
        (
            &json!("delivered"),
            vec![json!(500), json!(429), json!(200)]
        )
    );
    assert_eq!(page["idempotency_key"], "hook-1:incidents:page");
    assert_eq!(
        (&page["receipt"]["status"], &page["receipt"]["body"]),
        (&json!(200), &json!("seen"))
    );
    assert_eq!(event["state"], "delivered");
}

/// How many of one tenant may be under way; some of the 64 places are kept for others.
const REQUESTS_IN_FLIGHT_MAX: usize = 48;

#[test]
fn requests_under_way_are_bounded_although_more_are_due() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let url = format!("http://{}/hook", silent.local_addr().unwrap());
    let destination = config::desk_and_webhook(&url, "timeout_ms = 30_000\n");
    let mut host = Host::start(&format!("{ALLOW}{destination}"));
    for number in 0..(2 * REQUESTS_IN_FLIGHT_MAX) {
        host.accept(&Delivery::incident(&format!("flood-{number}")));
    }
    wait_until("every decision", || {
        match host.list("/v1/runs?state=completed").len() {
            all if all == 2 * REQUESTS_IN_FLIGHT_MAX => Ok(()),
            some => Err(format!("{some} are decided")),
        }
    });
    // After the start all of them are due at once.
    host.kill();
    while silent.accept().is_ok() {}
    host.restart();
    let mut under_way = Vec::new();
    wait_until("as many requests as there may be", || {
        while let Ok((connection, _)) = silent.accept() {
            under_way.push(connection);
        }
        match under_way.len() {
            REQUESTS_IN_FLIGHT_MAX.. => Ok(()),
            few => Err(format!("{few} came in")),
        }
    });
    while let Ok((connection, _)) = silent.accept() {
        under_way.push(connection);
    }
    assert_eq!(under_way.len(), REQUESTS_IN_FLIGHT_MAX);
}

#[test]
fn a_receiver_that_refuses_ends_the_action_and_nothing_else() {
    for status in [400, 410, 302] {
        let receiver = Receiver::start(&[Reply::status(status)]);
        let host = start(&receiver, "");
        let run = host.finished(&host.accept(&Delivery::incident("refused-1")));
        let page = action(&run, "page");
        assert_eq!(
            (&page["state"], statuses(&page)),
            (&json!("dead"), vec![json!(status)]),
            "{page}"
        );
        assert!(
            page["dead_reason"]
                .as_str()
                .unwrap()
                .contains(&status.to_string()),
            "{page}"
        );
        assert_eq!(action(&run, "ticket")["state"], "delivered");
        assert_eq!(receiver.received().len(), 1);
        let event = host.json(&format!("/v1/events/{}", run["event_id"].as_str().unwrap()));
        assert_eq!(event["state"], "failed");
        assert_eq!(event["last_error"], page["dead_reason"]);
        let trace = host.json(&format!(
            "/v1/runs/{}/trace",
            run["run_id"].as_str().unwrap()
        ));
        let told = trace["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == "page")
            .unwrap();
        assert_eq!(
            (&told["state"], &told["receipt"]),
            (&json!("dead"), &Value::Null)
        );
    }
}

#[test]
fn a_receiver_that_stays_down_is_given_up_after_the_configured_attempts() {
    let receiver = Receiver::start(&[Reply::status(503), Reply::status(503), Reply::status(503)]);
    let host = start(&receiver, "attempts_max = 2");
    let page = action(
        &host.finished(&host.accept(&Delivery::incident("down-1"))),
        "page",
    );
    assert_eq!(
        (&page["state"], statuses(&page)),
        (&json!("dead"), vec![json!(503), json!(503)])
    );
    assert!(
        page["dead_reason"]
            .as_str()
            .unwrap()
            .ends_with("given up after 2 attempts"),
        "{page}"
    );
}

#[test]
fn a_receiver_that_cannot_be_reached_is_tried_again() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let sections = config::desk_and_webhook(&format!("http://{closed}/hook"), "attempts_max = 2");
    let host = Host::start(&format!("{ALLOW}{sections}"));
    let page = action(
        &host.finished(&host.accept(&Delivery::incident("closed-1"))),
        "page",
    );
    assert_eq!(
        (&page["state"], statuses(&page)),
        (&json!("dead"), vec![Value::Null, Value::Null])
    );
    assert!(
        page["attempts"][0]["error"]
            .as_str()
            .unwrap()
            .contains("unreachable"),
        "{page}"
    );
}

#[test]
fn an_address_inside_is_refused_where_its_name_is_looked_up() {
    let receiver = Receiver::start(&[]);
    let host = Host::start(&config::desk_and_webhook(&receiver.url_by_name(), ""));
    let page = action(
        &host.finished(&host.accept(&Delivery::incident("inside-1"))),
        "page",
    );
    assert_eq!(
        (&page["state"], &page["attempt_count"]),
        (&json!("dead"), &json!(1))
    );
    let reason = page["dead_reason"].as_str().unwrap();
    assert!(
        reason.contains("localhost")
            && reason.contains("loopback")
            && reason.contains("egress.allow"),
        "{reason}"
    );
    assert!(receiver.received().is_empty());
}

#[test]
fn an_address_inside_is_refused_in_the_configuration() {
    for url in [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest",
        "http://[::1]/",
        "http://2130706433/",
    ] {
        let folder = Folder::new(&config::desk_and_webhook(url, ""));
        folder
            .triage(&["serve"])
            .expect(1)
            .complains(&["destinations.oncall.url", "egress.allow"]);
    }
}

#[test]
fn actions_that_a_kill_cut_off_are_carried_out_under_the_same_key() {
    let receiver = Receiver::start(&[Reply {
        status: 503,
        retry_after: Some("2"),
    }]);
    let mut host = start(&receiver, "");
    let answer = host.accept(&Delivery::incident("cut-off-1"));
    let first = receiver.wait_for(1);
    host.kill();
    host.restart();
    let run = host.finished(&answer);
    assert_eq!(action(&run, "page")["state"], "delivered");
    let requests = receiver.received();
    assert!(1 < requests.len());
    assert!(requests.iter().all(|it| it.body == first[0].body));
    assert!(
        requests
            .iter()
            .all(|it| it.header("idempotency-key") == "cut-off-1:incidents:page")
    );
    assert_eq!(host.list("/v1/tickets").len(), 1);
    host.database().check();
}
