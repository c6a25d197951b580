//! The test host and the fixtures, as an author uses them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use serde_json::json;
use triage_plugin::http::{HttpError, Response};
use triage_plugin::testing::{NOW, TestHost, check_fixtures, check_fixtures_with, event};
use triage_plugin::{
    Action, Classification, Classifier, Event, Failure, Message, Plan, PluginInfo, Policy,
    Priority, at, clock, http, log, state,
};

/// Counts what it sees, and asks a service where `ask` is set.
struct Counter;

impl Policy for Counter {
    fn describe() -> PluginInfo {
        PluginInfo {
            categories: vec!["count".to_owned()],
            ..PluginInfo::new("counter", "1.0.0", "Counts.")
        }
    }

    fn classify(event: &Event) -> Result<Classification, Failure> {
        let body: serde_json::Value = event.json()?;
        let key: &str = at(&body, "/key")?;
        let count =
            state::increment(key, 1, Some(1_000)).map_err(|it| Failure::Other(it.to_string()))?;
        log::info("counted", &[("key", key)]);
        match at::<Option<bool>>(&body, "/fail")? {
            Some(true) => Err(Failure::Permanent("asked to fail".to_owned())),
            _ if count < 2 => Ok(Classification::ignore("count", "the first")),
            _ => Ok(Classification::new(
                Priority::Low,
                "count",
                &format!("{count} of {key}"),
            )),
        }
    }

    fn triage(event: &Event, classification: &Classification) -> Result<Plan, Failure> {
        let url: String = event.json_at("/ask")?;
        let request = http::Request {
            method: "GET".to_owned(),
            url,
            headers: Vec::new(),
            body: None,
            timeout_ms: None,
        };
        let answer = http::send(&request).map_err(|it| Failure::Other(it.to_string()))?;
        let message = Message {
            title: classification.reason.clone(),
            text: format!("{} at {}", answer.status, clock::now()),
            thread_key: None,
        };
        Ok(Plan {
            summary: "told".to_owned(),
            actions: vec![Action::message("tell", "chat", message)],
        })
    }
}

impl Classifier for Counter {
    fn classify(event: &Event) -> Result<Classification, Failure> {
        <Self as Policy>::classify(event)
    }
}

fn answering_host() -> TestHost {
    TestHost::new().on_http(|_| {
        Ok(Response {
            status: 204,
            headers: Vec::new(),
            body: Vec::new(),
        })
    })
}

#[test]
fn state_and_logs_stay_from_run_to_run() {
    let host = answering_host();
    let event = event(
        "standard.x",
        &json!({"key": "a", "ask": "https://example.com"}),
    );
    let first = host.decide::<Counter>(&event).unwrap();
    assert_eq!(first.plan, None);
    let second = host.decide::<Counter>(&event).unwrap();
    assert_eq!(second.classification.reason, "2 of a");
    assert_eq!(second.plan.unwrap().actions[0].name, "tell");
    assert_eq!(host.logs().len(), 2);
    assert_eq!(host.logs()[1].fields, [("key".to_owned(), "a".to_owned())]);
}

#[test]
fn state_expires() {
    let event = event(
        "standard.x",
        &json!({"key": "a", "ask": "https://example.com"}),
    );
    let host = answering_host();
    host.decide::<Counter>(&event).unwrap();
    let later = host.now(NOW + 1_000);
    assert_eq!(later.decide::<Counter>(&event).unwrap().plan, None);
}

#[test]
fn a_failure_drops_what_the_run_wrote() {
    let host = TestHost::new();
    let failing = event("standard.x", &json!({"key": "a", "fail": true}));
    host.decide::<Counter>(&failing).unwrap_err();
    let count = host.run(|| state::increment("a", 1, None)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn values_and_histories_are_kept() {
    TestHost::new().run(|| {
        state::set("key", b"value", None).unwrap();
        assert_eq!(
            state::get("key").unwrap().as_deref(),
            Some(b"value".as_slice())
        );
        state::delete("key").unwrap();
        assert_eq!(state::get("key").unwrap(), None);
        for value in [b"1", b"2", b"3"] {
            state::append("log", value, 2, None).unwrap();
        }
        let recent: Vec<_> = state::recent("log", 9)
            .unwrap()
            .into_iter()
            .map(|it| it.value)
            .collect();
        assert_eq!(recent, [b"3", b"2"]);
    });
}

#[test]
fn what_is_not_answered_is_not_granted() {
    let host = TestHost::new();
    let event = event(
        "standard.x",
        &json!({"key": "a", "ask": "https://example.com"}),
    );
    host.decide::<Counter>(&event).unwrap();
    let failure = host.decide::<Counter>(&event).unwrap_err();
    let expected = HttpError::NotGranted("https://example.com".to_owned());
    assert_eq!(failure, Failure::Other(expected.to_string()));
}

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What a check of these files says.
fn problem_of(files: &[(&str, &str)]) -> String {
    let folder = folder_with(files);
    let path = folder.path().to_owned();
    let payload = std::panic::catch_unwind(|| check_fixtures::<Counter>(&path)).unwrap_err();
    payload
        .downcast_ref::<String>()
        .unwrap()
        .replace(&format!("{}/", show(&path)), "")
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

const CASE: &str = r#"{"source": "standard", "event_type": "standard.x", "body": {"key": "a"}}"#;
const EXPECTED: &str = r#"{
  "classification": {
    "category": "count",
    "confidence_percent": 100,
    "labels": [],
    "priority": "ignore",
    "reason": "the first"
  },
  "plan": null
}
"#;

#[test]
fn a_case_with_its_expected_decision_passes() {
    let folder = folder_with(&[("a.json", CASE), ("a.expected.json", EXPECTED)]);
    check_fixtures::<Counter>(folder.path());
    check_fixtures_with(folder.path(), |event| {
        Ok(triage_plugin::testing::Decision {
            classification: <Counter as Classifier>::classify(event)?,
            plan: None,
        })
    });
}

#[test]
fn another_decision_is_shown_as_a_diff() {
    let other = EXPECTED.replace("the first", "another");
    let problem = problem_of(&[("a.json", CASE), ("a.expected.json", &other)]);
    assert!(
        problem.contains("-    \"reason\": \"another\""),
        "{problem}"
    );
    assert!(
        problem.contains("+    \"reason\": \"the first\""),
        "{problem}"
    );
    assert!(problem.contains("TRIAGE_FIXTURES=update"), "{problem}");
}

#[test]
fn a_case_without_an_expected_decision_fails() {
    assert!(problem_of(&[("a.json", CASE)]).contains("+    \"reason\": \"the first\""));
}

#[test]
fn an_expected_decision_without_a_case_fails() {
    let problem = problem_of(&[("a.json", CASE), ("b.expected.json", EXPECTED)]);
    assert_eq!(problem, "b.expected.json: there is no case of this name");
}

#[test]
fn a_folder_without_cases_fails() {
    assert!(problem_of(&[]).starts_with("no fixtures in "));
}

#[test]
fn a_misspelt_case_fails() {
    let problem = problem_of(&[("a.json", &CASE.replace("source", "sauce"))]);
    assert!(
        problem.starts_with("a.json: at `/sauce`: unknown field `sauce`"),
        "{problem}"
    );
}
