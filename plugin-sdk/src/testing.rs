//! A host for tests: runs a plugin's code natively, and answers what it calls.
//!
//! ```
//! # use triage_plugin::{Classification, Classifier, Event, Failure, Priority, log};
//! # struct Deploys;
//! # impl Classifier for Deploys {
//! #     fn classify(event: &Event) -> Result<Classification, Failure> {
//! #         log::info("seen", &[]);
//! #         Ok(Classification::new(Priority::Low, "deploy", "seen"))
//! #     }
//! # }
//! use triage_plugin::testing::{TestHost, event};
//!
//! let host = TestHost::new().settings(serde_json::json!({"quiet": true}));
//! let event = event("standard.deploy", &serde_json::json!({"service": "shop"}));
//! let classification = host.run(|| Deploys::classify(&event)).unwrap();
//! assert_eq!(classification.priority, Priority::Low);
//! assert_eq!(host.logs()[0].message, "seen");
//! ```
//!
//! Folders of fixtures are in [`check_fixtures`].

pub(crate) mod answers;
mod decision;
mod fixtures;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::Policy;
use crate::bindings::policy_plugin::triage::policy::log::Level;
use crate::http::{HttpError, Request, Response};
use crate::model::{Completion, ModelError, Prompt};
use crate::state::Entry;
use crate::types::{Event, Failure, TimestampMs};

pub use decision::{Decision, decide};
pub use fixtures::{check_fixtures, check_fixtures_with};

/// The time in a test that sets none: 2026-01-01T00:00:00Z.
pub const NOW: TimestampMs = 1_767_225_600_000;

/// An event with a JSON body, received [`NOW`]; other fields by struct update.
///
/// ```
/// # use triage_plugin::{Event, testing::event};
/// let late = Event { late: true, ..event("github.issues.opened", &serde_json::json!({})) };
/// assert_eq!(late.source, "github");
/// ```
pub fn event(event_type: &str, body: &Value) -> Event {
    Event {
        id: "evt_test".to_owned(),
        run_id: "run_test".to_owned(),
        tenant: "test".to_owned(),
        integration_id: "test".to_owned(),
        source: event_type.split('.').next().unwrap_or_default().to_owned(),
        event_type: event_type.to_owned(),
        idempotency_key: "test".to_owned(),
        ordering_key: None,
        received_at: NOW,
        occurred_at: None,
        late: false,
        attempt: 1,
        content_type: Some("application/json".to_owned()),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
    }
}

/// One line of the run's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The message.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

impl LogLine {
    fn new(level: Level, message: &str, fields: &[(String, String)]) -> Self {
        Self {
            level: match level {
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            },
            message: message.to_owned(),
            fields: fields.to_vec(),
        }
    }
}

/// Answers what plugins call. State and logs stay from run to run.
pub struct TestHost(Rc<RefCell<Answers>>);

type HttpAnswer = Rc<dyn Fn(Request) -> Result<Response, HttpError>>;
type ModelAnswer = Rc<dyn Fn(Prompt) -> Result<Completion, ModelError>>;

/// What the test host knows.
struct Answers {
    settings: Value,
    now: TimestampMs,
    logs: Vec<LogLine>,
    state: State,
    http: HttpAnswer,
    model: ModelAnswer,
}

/// What a policy remembers: per key, until when, `None` for good.
#[derive(Clone, Default)]
struct State {
    values: BTreeMap<String, Kept<Vec<u8>>>,
    counters: BTreeMap<String, Kept<i64>>,
    histories: BTreeMap<String, Kept<Vec<Entry>>>,
}

#[derive(Clone)]
struct Kept<T> {
    value: T,
    expires_at: Option<TimestampMs>,
}

impl TestHost {
    /// No settings, the time [`NOW`], no state; `http` and `model` refuse.
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Answers {
            settings: json!({}),
            now: NOW,
            logs: Vec::new(),
            state: State::default(),
            http: Rc::new(|request| Err(HttpError::NotGranted(request.url))),
            model: Rc::new(|_| Err(ModelError::NotGranted("the test sets no model".to_owned()))),
        })))
    }

    /// The policy's settings.
    pub fn settings(self, settings: Value) -> Self {
        self.0.borrow_mut().settings = settings;
        self
    }

    /// The time of the runs.
    pub fn now(self, now: TimestampMs) -> Self {
        self.0.borrow_mut().now = now;
        self
    }

    /// Answers HTTP requests.
    pub fn on_http(
        self,
        answer: impl Fn(Request) -> Result<Response, HttpError> + 'static,
    ) -> Self {
        self.0.borrow_mut().http = Rc::new(answer);
        self
    }

    /// Answers prompts.
    pub fn on_model(
        self,
        answer: impl Fn(Prompt) -> Result<Completion, ModelError> + 'static,
    ) -> Self {
        self.0.borrow_mut().model = Rc::new(answer);
        self
    }

    /// Runs any code of a plugin with this host.
    pub fn run<T>(&self, code: impl FnOnce() -> T) -> T {
        answers::with(&self.0, code)
    }

    /// Runs a policy as a host does: classify, stop at `ignore`, triage. A failure drops what the run wrote to state.
    pub fn decide<P: Policy>(&self, event: &Event) -> Result<Decision, Failure> {
        let state = self.0.borrow().state.clone();
        let result = self.run(|| decide::<P>(event));
        if result.is_err() {
            self.0.borrow_mut().state = state;
        }
        result
    }

    /// The lines logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.0.borrow().logs.clone()
    }
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}
