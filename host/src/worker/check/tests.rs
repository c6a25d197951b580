use proptest::prelude::*;
use url::Url;

use super::*;
use crate::model::decision::{Priority, Ticket};
use crate::model::event::Headers;
use crate::model::id::{EventId, RunId};
use crate::model::integration::WebhookDestination;
use crate::model::policy::{Grants, Limits, RetryPolicy};
use crate::model::run::ClaimedEvent;
use crate::model::secret::Secret;

fn policy() -> Policy {
    let destinations = ["desk", "oncall", "gone"].map(str::to_owned).into();
    Policy {
        triager: Some("p".to_owned()),
        grants: Grants {
            destinations,
            ..Grants::default()
        },
        limits: Limits {
            actions: 3,
            labels: 32,
            text_bytes: 11,
            ..Limits::default()
        },
        ..Policy::named("incidents", "acme")
    }
}

fn destinations() -> BTreeMap<String, Destination> {
    let oncall = WebhookDestination {
        url: Url::parse("https://oncall.example.com/hook").unwrap(),
        secret: Secret::new("whsec_x"),
        timeout: std::time::Duration::from_secs(10),
        retry: RetryPolicy::default(),
    };
    BTreeMap::from([
        ("desk".to_owned(), Destination::Ticket),
        ("oncall".to_owned(), Destination::Webhook(oncall)),
        ("others".to_owned(), Destination::Ticket),
    ])
}

fn run() -> ClaimedRun {
    ClaimedRun {
        id: RunId::new(0),
        seq: 1,
        policy: "incidents".to_owned(),
        ordering_key: None,
        late: false,
        attempt: 1,
        host_errors: 0,
        breaches: 0,
        first_attempt_at: 0,
        event: ClaimedEvent {
            id: EventId::new(0),
            seq: 1,
            tenant: "acme".to_owned(),
            integration_id: "i".to_owned(),
            source: "stripe".to_owned(),
            event_type: "stripe.charge.failed".to_owned(),
            idempotency_key: "evt_1".to_owned(),
            received_at: 0,
            occurred_at: None,
            headers: Headers::default(),
            body: bytes::Bytes::new(),
        },
    }
}

fn ticket(name: &str, destination: &str, title: &str) -> PlannedAction {
    let ticket = Ticket {
        title: title.to_owned(),
        body: String::new(),
        labels: Vec::new(),
        assignee: None,
        group_key: None,
    };
    PlannedAction {
        name: name.to_owned(),
        destination: destination.to_owned(),
        content: ActionContent::Ticket(ticket),
    }
}

fn webhook(name: &str, payload: &str) -> PlannedAction {
    PlannedAction {
        name: name.to_owned(),
        destination: "oncall".to_owned(),
        content: ActionContent::Webhook {
            payload: payload.to_owned(),
        },
    }
}

fn checked(actions: Vec<PlannedAction>) -> Result<Vec<NewAction>, Breach> {
    let answer = Plan {
        summary: "s".to_owned(),
        actions,
    };
    plan(&policy(), &destinations(), &run(), &answer, 0)
}

#[track_caller]
fn refused(actions: Vec<PlannedAction>, expected: &str) {
    let breach = checked(actions).unwrap_err();
    assert_eq!(breach.to_string(), expected);
}

#[test]
fn a_granted_plan_becomes_actions_with_their_keys() {
    let actions = checked(vec![
        ticket("ticket", "desk", "t"),
        webhook("page", "{\"a\":1}"),
    ])
    .unwrap();
    let keys: Vec<_> = actions
        .iter()
        .map(|it| it.idempotency_key.as_str())
        .collect();
    assert_eq!(keys, ["evt_1:incidents:ticket", "evt_1:incidents:page"]);
}

#[test]
fn a_destination_that_was_not_granted_is_refused() {
    let expected =
        "answer refused: action `t`: policy `incidents` is not granted destination `others`";
    refused(vec![ticket("t", "others", "t")], expected);
}

#[test]
fn a_destination_that_does_not_exist_is_refused() {
    refused(
        vec![ticket("t", "gone", "t")],
        "answer refused: action `t`: there is no destination `gone`",
    );
}

#[test]
fn content_of_another_kind_than_the_destinations_is_refused() {
    let expected = "answer refused: action `t`: destination `oncall` takes a webhook, not a ticket";
    refused(vec![ticket("t", "oncall", "t")], expected);
}

#[test]
fn two_actions_of_one_name_are_refused() {
    refused(
        vec![ticket("t", "desk", "a"), ticket("t", "desk", "b")],
        "answer refused: two actions are named `t`",
    );
}

#[test]
fn a_name_that_could_break_a_key_is_refused() {
    let expected = "answer refused: action name \"a:b\": must be a word without white space, control characters or `:`";
    refused(vec![ticket("a:b", "desk", "t")], expected);
}

#[test]
fn more_actions_than_the_limit_are_refused() {
    let actions = (0..4)
        .map(|it| ticket(&format!("t{it}"), "desk", "t"))
        .collect();
    let expected = "answer limit: the plan has 4 actions, the most is 3; the policy's limits.actions_max can allow more";
    refused(actions, expected);
}

#[test]
fn a_text_over_the_limit_is_refused() {
    let long = format!("{:?}", "x".repeat(10));
    let expected = "answer limit: action `page`: payload has 12 bytes, the most is 11; the policy's limits.text_kb can allow more";
    refused(vec![webhook("page", &long)], expected);
}

#[test]
fn a_ticket_without_a_title_is_refused() {
    refused(
        vec![ticket("t", "desk", " ")],
        "answer refused: action `t`: the ticket has no title",
    );
}

#[test]
fn a_payload_that_is_not_json_is_refused() {
    let expected =
        "answer refused: action `page`: the payload is not JSON: expected value at line 1 column 1";
    refused(vec![webhook("page", "hello")], expected);
}

#[test]
fn content_of_an_unknown_kind_is_refused() {
    let action = PlannedAction {
        name: "x".to_owned(),
        destination: "desk".to_owned(),
        content: ActionContent::Other {
            of: "fax".to_owned(),
            content: "{}".to_owned(),
        },
    };
    refused(
        vec![action],
        "answer refused: action `x`: destination `desk` takes a ticket, not a other",
    );
}

#[test]
fn a_classification_is_checked_field_by_field() {
    let good = Classification {
        priority: Priority::High,
        category: "payment-dispute".to_owned(),
        labels: vec!["x".to_owned()],
        confidence_percent: 100,
        reason: "r".to_owned(),
    };
    let limits = policy().limits;
    assert_eq!(classification(&limits, &good), Ok(()));
    let with = |change: fn(&mut Classification)| {
        let mut bad = good.clone();
        change(&mut bad);
        classification(&limits, &bad).unwrap_err().to_string()
    };
    assert_eq!(
        with(|it| it.confidence_percent = 101),
        "answer refused: confidence-percent is 101, the most is 100"
    );
    assert_eq!(
        with(|it| it.labels = vec![String::new(); 33]),
        "answer limit: the list has 33 labels, the most is 32; the policy's limits.labels_max can allow more"
    );
    assert!(
        with(|it| it.category = "two words".to_owned())
            .starts_with("answer refused: category \"two words\"")
    );
    assert_eq!(
        with(|it| it.reason = "x".repeat(4_001)),
        "answer limit: reason has 4001 bytes, the most is 4000"
    );
}

proptest! {
    #[test]
    fn no_action_escapes_the_grants(names in proptest::collection::vec(("[a-z]{1,3}", "(desk|oncall|others|gone|x)"), 0..6)) {
        let actions = names.iter().map(|(name, destination)| ticket(name, destination, "t")).collect();
        if let Ok(actions) = checked(actions) {
            prop_assert!(actions.iter().all(|it| it.destination == "desk"));
            prop_assert!(actions.len() <= policy().limits.actions);
        }
    }
}
