//! Folders of events with the decisions they must lead to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use similar::TextDiff;

use super::decision::{Decision, result_json};
use super::{NOW, TestHost, decide, event};
use crate::types::{Event, Failure, TimestampMs};
use crate::{Policy, parse};

/// What a case's file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    source: String,
    event_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Text is the body itself; anything else is its JSON.
    body: Value,
    #[serde(default = "no_settings")]
    settings: Value,
    #[serde(default = "default_now")]
    now: TimestampMs,
}

fn no_settings() -> Value {
    Value::Object(serde_json::Map::new())
}

fn default_now() -> TimestampMs {
    NOW
}

/// Runs a policy on every case of a folder, as `fixtures`, and panics with a diff where a decision is another.
///
/// A case is a file `NAME.json` with `source`, `event_type`, `body` (JSON, or a string with the exact text), and where
/// needed `headers`, `settings` and `now` (milliseconds); what it must lead to is in `NAME.expected.json`. With
/// `TRIAGE_FIXTURES=update` in the environment the expected files are written instead: read the change before you
/// commit it. Categories and labels must be among those that the policy declares, where it declares any.
pub fn check_fixtures<P: Policy>(folder: impl AsRef<Path>) {
    let info = TestHost::new().run(P::describe);
    check_fixtures_with(folder, |event| {
        let decision = decide::<P>(event)?;
        let category = &decision.classification.category;
        assert!(
            info.categories.is_empty() || info.categories.contains(category),
            "category `{category}` is not declared"
        );
        for label in &decision.classification.labels {
            assert!(
                info.labels.is_empty() || info.labels.contains(label),
                "label `{label}` is not declared"
            );
        }
        Ok(decision)
    });
}

/// Like [`check_fixtures`], for a plugin that is only a classifier or a triager.
pub fn check_fixtures_with(
    folder: impl AsRef<Path>,
    decide: impl Fn(&Event) -> Result<Decision, Failure>,
) {
    let folder = folder.as_ref();
    let update = std::env::var("TRIAGE_FIXTURES").is_ok_and(|it| it == "update");
    let cases = cases(folder);
    assert!(!cases.is_empty(), "no fixtures in {}", folder.display());
    let problems: Vec<String> = cases
        .iter()
        .filter_map(|case| check(case, update, &decide))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn check(
    case: &Path,
    update: bool,
    decide: impl Fn(&Event) -> Result<Decision, Failure>,
) -> Option<String> {
    let expected_path = case.with_extension("expected.json");
    let fixture: Fixture = parse::json(&read(case), "").unwrap_or_else(|error| fail(case, &error));
    let host = TestHost::new()
        .settings(fixture.settings.clone())
        .now(fixture.now);
    let result = host.run(|| decide(&fixture.event()));
    let decided = format!("{:#}\n", result_json(&result));
    if update {
        fs::write(&expected_path, decided).unwrap_or_else(|error| fail(&expected_path, &error));
        return None;
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    if expected == decided {
        return None;
    }
    let diff = TextDiff::from_lines(&expected, &decided)
        .unified_diff()
        .header("expected", "decided")
        .to_string();
    Some(format!(
        "{} (accept with TRIAGE_FIXTURES=update)\n{diff}",
        expected_path.display()
    ))
}

impl Fixture {
    fn event(&self) -> Event {
        let event = event(&self.event_type, &self.body);
        Event {
            source: self.source.clone(),
            received_at: self.now,
            headers: self.headers.clone().into_iter().collect(),
            body: match &self.body {
                Value::String(text) => text.clone().into_bytes(),
                _ => event.body,
            },
            ..event
        }
    }
}

/// The files of a folder that are cases, by name; an expected file without its case is an error.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| fail(folder, &error));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap_or_else(|error| fail(folder, &error)).path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    paths.sort();
    let (expected, cases): (Vec<_>, Vec<_>) = paths
        .into_iter()
        .partition(|path| path.to_string_lossy().ends_with(".expected.json"));
    for path in expected {
        let case = path.with_extension("").with_extension("json");
        if !cases.contains(&case) {
            fail(&path, &"there is no case of this name");
        }
    }
    cases
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| fail(path, &error))
}

#[expect(clippy::panic, reason = "a broken fixture fails the test that runs it")]
fn fail(path: &Path, problem: &dyn std::fmt::Display) -> ! {
    panic!("{}: {problem}", path.display())
}
