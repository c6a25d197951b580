use super::*;
use crate::lifecycle::{ActionTransition, Transition};
use crate::model::action::{Delivered, NewAction, Receipt};
use crate::model::decision::{ActionContent, Classification, Decision, Plan, Priority, Ticket};
use crate::model::event::{Headers, NewEvent};
use crate::model::id::{ActionId, EventId};
use crate::model::outcome::{Breach, Broken, Outcome};
use crate::model::run::{Completion, Evaluation, LogLine, NewRun};
use crate::store::actions::FinishedAction;
use crate::store::runs::FinishedAttempt;

const EVENT: &str = "evt_00000000000000000000000000000001";
const BODY: &[u8] = b"{\"title\":\"\x1b[2Jdown\"}\xff";

fn event(number: u8, policies: &[&str]) -> NewEvent {
    let mut id = [0; 16];
    id[15] = number;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    NewEvent {
        id: EventId::from_bytes(id),
        tenant: "acme".to_owned(),
        integration_id: "github-main".to_owned(),
        source: "github".to_owned(),
        event_type: "github.issues.opened".to_owned(),
        idempotency_key: format!("delivery-{number}"),
        content_key: None,
        received_at: NOW - 5_000,
        occurred_at: Some(NOW - 6_000),
        headers: Headers(vec![
            header("x-github-event", "issues"),
            header("x-hub-signature-256", "sha256=0123456789abcdef"),
        ]),
        body: BODY.to_vec().into(),
        runs: policies
            .iter()
            .map(|it| NewRun {
                policy: (*it).to_owned(),
                ..NewRun::default()
            })
            .collect(),
    }
}

fn evaluation(outcome: Outcome) -> Evaluation {
    Evaluation {
        outcome,
        classifier_digest: Some("aa".repeat(32)),
        triager_digest: Some("bb".repeat(32)),
        log: vec![LogLine {
            level: "info".to_owned(),
            message: "looked \u{1b}[31mat it".to_owned(),
            fields: vec![("number".to_owned(), "7".to_owned())],
        }],
        cpu_us: 420,
        memory_bytes: 1 << 20,
    }
}

fn decision() -> Decision {
    Decision {
        classification: Classification {
            priority: Priority::High,
            category: "outage".to_owned(),
            labels: vec!["eu".to_owned(), "checkout".to_owned()],
            confidence_percent: 90,
            reason: "customers cannot pay".to_owned(),
        },
        plan: Some(Plan {
            summary: "open a ticket and tell on-call".to_owned(),
            actions: Vec::new(),
        }),
    }
}

fn action(number: u8, name: &str, destination: &str, content: ActionContent) -> NewAction {
    NewAction {
        id: ActionId::from_bytes([number; 16]),
        name: name.to_owned(),
        destination: destination.to_owned(),
        idempotency_key: format!("delivery-1:incidents:{name}"),
        content,
    }
}

fn actions() -> Vec<NewAction> {
    let ticket = Ticket {
        title: "Checkout is down".to_owned(),
        body: "First line\nSecond \u{1b}[2Jline".to_owned(),
        labels: vec!["eu".to_owned()],
        assignee: Some("robin".to_owned()),
        group_key: None,
    };
    let payload = "{\"page\":true}".to_owned();
    vec![
        action(1, "open", "desk", ActionContent::Ticket(ticket)),
        action(2, "page", "oncall", ActionContent::Webhook { payload }),
    ]
}

/// A site with one event that was handled on the second attempt, one that is waiting and one
/// that no policy wanted.
fn history() -> tempfile::TempDir {
    let site = site();
    let store = Store::open(&site.path().join("triage.db")).unwrap();
    wait_for(async {
        store.accept(event(1, &["incidents"])).await.unwrap();
        store.accept(event(1, &["incidents"])).await.unwrap();
        let breach = Outcome::Broken(Broken {
            plugin: "desk".to_owned(),
            digest: "d1".to_owned(),
            breach: Breach::CpuLimit { limit_ms: 50 },
        });
        let again = Transition::RetryAt {
            at: NOW - 3_000,
            breach: true,
            host_error: false,
        };
        attempt(&store, NOW - 4_000, breach, again, Vec::new()).await;
        let decided = Outcome::Decided(Box::new(decision()));
        attempt(
            &store,
            NOW - 3_000,
            decided,
            Transition::Complete(Completion::Acted),
            actions(),
        )
        .await;
        act(&store).await;
        store.accept(event(2, &["incidents"])).await.unwrap();
        store.accept(event(3, &[])).await.unwrap();
    })
    .unwrap();
    site
}

async fn attempt(
    store: &Store,
    at: i64,
    outcome: Outcome,
    transition: Transition,
    actions: Vec<NewAction>,
) {
    let claimed = store
        .claim_due_runs(at, at + 10_000, 1)
        .await
        .unwrap()
        .remove(0);
    let finished = FinishedAttempt {
        run_seq: claimed.seq,
        event_seq: claimed.event.seq,
        conduct: crate::store::strikes::Conduct::default(),
        tenant: claimed.event.tenant,
        in_order: false,
        attempt: claimed.attempt,
        started_at: at,
        finished_at: at + 12,
        evaluation: evaluation(outcome),
        transition,
        routed: None,
        actions,
    };
    store.finish_attempt(Arc::new(finished)).await.unwrap();
}

/// Opens the ticket; the page is not answered yet.
async fn act(store: &Store) {
    let claimed = store.claim_due_actions(NOW - 2_000, NOW, 10).await.unwrap();
    let finished = claimed.into_iter().map(|action| {
        let (delivered, transition) = if action.destination == "desk" {
            (
                Delivered::Done(Receipt::Ticket),
                ActionTransition::Delivered(Receipt::Ticket),
            )
        } else {
            let error = "answered 503".to_owned();
            let failed = Delivered::Failed {
                error,
                status: Some(503),
                retry_after_ms: None,
            };
            (failed, ActionTransition::RetryAt(NOW + 1_000))
        };
        FinishedAction {
            action,
            started_at: NOW - 2_000,
            finished_at: NOW - 1_990,
            delivered,
            transition,
        }
    });
    store
        .finish_actions(Arc::new(finished.collect()))
        .await
        .unwrap();
}

/// The text with zeros in ids that the store chose by chance.
fn stable(text: &str) -> String {
    let mut stable = String::new();
    let mut rest = text;
    while let Some(at) = ["run_01", "tkt_01"]
        .iter()
        .filter_map(|it| rest.find(it))
        .min()
    {
        stable.push_str(&rest[..at + 4]);
        stable.push_str(&"0".repeat(32));
        rest = &rest[at + 36..];
    }
    stable + rest
}

fn first_id(site: &Path, list: &str, name: &str) -> String {
    let page: serde_json::Value = serde_json::from_str(&triage(site, list).good()).unwrap();
    page["items"][0][name].as_str().unwrap().to_owned()
}

#[test]
fn events_are_listed_with_what_was_decided() {
    let site = history();
    assert_snapshot!(triage(site.path(), "event list").good(), @"
    EVENT                                 RECEIVED  TYPE                  INTEGRATION  STATE      DECISION
    evt_00000000000000000000000000000003  5s ago    github.issues.opened  github-main  delivered  no policy wanted it
    evt_00000000000000000000000000000002  5s ago    github.issues.opened  github-main  pending    -
    evt_00000000000000000000000000000001  5s ago    github.issues.opened  github-main  pending    high outage: open a ticket and tell on-call
    ");
    assert_snapshot!(triage(site.path(), "event list --state pending --limit 1").good(), @"
    EVENT                                 RECEIVED  TYPE                  INTEGRATION  STATE    DECISION
    evt_00000000000000000000000000000002  5s ago    github.issues.opened  github-main  pending  -

    more: --cursor c2
    ");
    assert_snapshot!(triage(site.path(), "event list --type stripe.*").good(), @"none");
    assert_snapshot!(triage(site.path(), "event list --key delivery-3 --since 1h --tenant acme").good(), @"
    EVENT                                 RECEIVED  TYPE                  INTEGRATION  STATE      DECISION
    evt_00000000000000000000000000000003  5s ago    github.issues.opened  github-main  delivered  no policy wanted it
    ");
    assert_snapshot!(triage(site.path(), "event list --until 1h").good(), @"none");
}

#[test]
fn a_list_goes_on_at_its_cursor() {
    let site = history();
    let page: serde_json::Value =
        serde_json::from_str(&triage(site.path(), "--json event list --limit 2").good()).unwrap();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = triage(site.path(), &format!("event list --cursor {cursor}")).good();
    assert!(rest.contains(EVENT) && rest.lines().count() == 2, "{rest}");
}

#[test]
fn an_event_is_shown_with_its_runs() {
    let site = history();
    assert_snapshot!(stable(&triage(site.path(), &format!("event show {EVENT}")).good()), @"
    event            evt_00000000000000000000000000000001
    type             github.issues.opened
    state            pending
    tenant           acme
    integration      github-main (github)
    idempotency key  delivery-1
    received         2025-12-31T23:59:55.000Z
    occurred         2025-12-31T23:59:54.000Z
    body             21 bytes: triage event payload evt_00000000000000000000000000000001
    sent again       1×, last 2025-12-31T23:59:55.000Z
    attempts         2
    last attempt     2025-12-31T23:59:58.010Z
    last error       answered 503
    next retry       2026-01-01T00:00:01.000Z
    decision         high outage: open a ticket and tell on-call

    RUN                                   QUEUED  POLICY     TYPE                  STATE             PRIORITY  SUMMARY
    run_00000000000000000000000000000000  5s ago  incidents  github.issues.opened  completed, acted  high      open a ticket and tell on-call
    ");
    let json: serde_json::Value =
        serde_json::from_str(&triage(site.path(), &format!("--json event show {EVENT}")).good())
            .unwrap();
    assert_eq!(json["event_id"], EVENT);
}

#[test]
fn a_payload_is_the_exact_bytes() {
    let site = history();
    let ran = triage(site.path(), &format!("event payload {EVENT}"));
    assert_eq!((ran.code, ran.stdout.as_slice()), (ExitCode::SUCCESS, BODY));
}

#[test]
fn runs_are_listed() {
    let site = history();
    assert_snapshot!(stable(&triage(site.path(), "run list").good()), @"
    RUN                                   QUEUED  POLICY     TYPE                  STATE             PRIORITY  SUMMARY
    run_00000000000000000000000000000000  5s ago  incidents  github.issues.opened  queued            -         -
    run_00000000000000000000000000000000  5s ago  incidents  github.issues.opened  completed, acted  high      open a ticket and tell on-call
    ");
    assert_snapshot!(stable(&triage(site.path(), "run list --state dead").good()), @"none");
}

#[test]
fn a_run_is_told_as_a_story() {
    let site = history();
    let id = first_id(
        site.path(),
        &format!("--json run list --event {EVENT}"),
        "run_id",
    );
    assert_snapshot!(stable(&triage(site.path(), &format!("run show {id}")).good()), @r#"
    run              run_00000000000000000000000000000000 completed, acted
    policy           incidents of tenant acme
    event            evt_00000000000000000000000000000001 github.issues.opened
    idempotency key  delivery-1
    queued           2025-12-31T23:59:55.000Z
    finished         2025-12-31T23:59:57.012Z

    2025-12-31T23:59:55.000Z  delivery
      21 bytes, SHA-256 6f233c59043aaeddb345394f5e295c2e52328dd464a164f72d8cc711dc775884
      x-github-event: issues
      x-hub-signature-256: sha256=0…
      sent again 1×, last 2025-12-31T23:59:55.000Z

    2025-12-31T23:59:55.000Z  verification
      a live secret of github-main signed it (github)

    2025-12-31T23:59:56.000Z  attempt 1
      cpu_limit in 12 ms, 420 µs of computing, 1024 KiB of memory
      classifier aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      triager bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
      error: plugin `desk` (version d1): cpu limit: computed for more than 50 ms; the policy's limits.cpu_ms can allow more
      log info  looked �[31mat it number=7

    2025-12-31T23:59:57.000Z  attempt 2
      decided in 12 ms, 420 µs of computing, 1024 KiB of memory
      classifier aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      triager bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
      log info  looked �[31mat it number=7

    2025-12-31T23:59:57.012Z  decision
      acted: high outage, 90 % sure
      labels: eu, checkout
      reason: customers cannot pay
      plan: open a ticket and tell on-call

    2025-12-31T23:59:57.012Z  action open
      ticket for desk: delivered
      act_01010101010101010101010101010101, idempotency key delivery-1:incidents:open
      title: Checkout is down
      attempt 1 at 2025-12-31T23:59:58.000Z
      receipt at 2025-12-31T23:59:58.010Z: tkt_00000000000000000000000000000000

    2025-12-31T23:59:57.012Z  action page
      webhook for oncall: pending
      act_02020202020202020202020202020202, idempotency key delivery-1:incidents:page
      payload: {"page":true}
      attempt 1 at 2025-12-31T23:59:58.000Z, status 503, answered 503
      next attempt at 2026-01-01T00:00:01.000Z
    "#);
    let json: serde_json::Value =
        serde_json::from_str(&triage(site.path(), &format!("--json run show {id}")).good())
            .unwrap();
    assert_eq!(json["steps"][0]["kind"], "delivery");
}

#[test]
fn tickets_are_listed_and_shown() {
    let site = history();
    assert_snapshot!(stable(&triage(site.path(), "ticket list").good()), @"
    TICKET                                OPENED  PRIORITY  CATEGORY  ASSIGNEE  TITLE
    tkt_00000000000000000000000000000000  1s ago  high      outage    robin     Checkout is down
    ");
    let id = first_id(site.path(), "--json ticket list", "ticket_id");
    assert_snapshot!(stable(&triage(site.path(), &format!("ticket show {id}")).good()), @"
    ticket           tkt_00000000000000000000000000000000
    title            Checkout is down
    opened           2025-12-31T23:59:58.010Z
    priority         high
    category         outage
    labels           eu
    assignee         robin
    tenant           acme
    asked for by     incidents, run_00000000000000000000000000000000
    event            evt_00000000000000000000000000000001

    First line
    Second �[2Jline
    ");
}

#[test]
fn what_is_not_there_is_named() {
    let site = site();
    let zeros = "0".repeat(32);
    for (command, id) in [
        ("event show", format!("evt_{zeros}")),
        ("event payload", format!("evt_{zeros}")),
        ("run show", format!("run_{zeros}")),
        ("ticket show", format!("tkt_{zeros}")),
    ] {
        let said = triage(site.path(), &format!("{command} {id}")).bad(1);
        let noun = command.split(' ').next().unwrap();
        assert_eq!(said, format!("error: no {noun} {id}\n"));
    }
}

#[test]
fn a_missing_database_is_named() {
    let folder = folder("");
    assert_snapshot!(triage(folder.path(), "event list").bad(1), @"error: there is no database at DIR/triage.db: run `triage init` first, or check `server.database`");
}

#[test]
fn reading_needs_no_secrets() {
    let site = history();
    let config = "[[integration]]\nid = \"a\"\nsource = \"github\"\nsecrets = [\"env:NOT_SET\"]";
    fs::write(site.path().join("triage.toml"), config).unwrap();
    triage(site.path(), "event list").good();
    triage(site.path(), "check").bad(1);
}
