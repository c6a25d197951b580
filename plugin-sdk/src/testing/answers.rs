//! The test host's side of what a plugin may call, with the signatures of the generated bindings.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Answers, Kept};
use crate::types::TimestampMs;

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<Answers>>>> = const { RefCell::new(None) };
}

/// Runs code of a plugin with these answers.
pub(super) fn with<T>(answers: &Rc<RefCell<Answers>>, code: impl FnOnce() -> T) -> T {
    /// Puts back what was there before, also where the code panics.
    struct Restore(Option<Rc<RefCell<Answers>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(Some(answers.clone())));
    code()
}

#[expect(
    clippy::expect_used,
    reason = "outside a test host there is nobody to answer"
)]
fn current<T>(answer: impl FnOnce(&mut Answers) -> T) -> T {
    let answers = CURRENT
        .with_borrow(Clone::clone)
        .expect("a plugin that calls its host runs inside `TestHost::run`");
    answer(&mut answers.borrow_mut())
}

pub(crate) mod log {
    use super::super::LogLine;
    use crate::bindings::policy_plugin::triage::policy::log::Level;

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let line = LogLine::new(level, message, fields);
        super::current(|it| it.logs.push(line));
    }
}

pub(crate) mod settings {
    pub(crate) fn get() -> String {
        super::current(|it| it.settings.to_string())
    }
}

pub(crate) mod clock {
    use crate::types::TimestampMs;

    /// The time of this attempt.
    pub fn now() -> TimestampMs {
        super::current(|it| it.now)
    }
}

pub(crate) mod http {
    use crate::http::{HttpError, Request, Response};

    /// Sends one request and waits for its response. Redirects are not followed.
    pub fn send(request: &Request) -> Result<Response, HttpError> {
        let answer = super::current(|it| it.http.clone());
        answer(request.clone())
    }
}

pub(crate) mod model {
    use crate::model::{Completion, ModelError, Prompt};

    /// Asks once. Its tokens count against the policy's budget.
    pub fn complete(prompt: &Prompt) -> Result<Completion, ModelError> {
        let answer = super::current(|it| it.model.clone());
        answer(prompt.clone())
    }
}

pub(crate) mod state {
    use super::{current, expires_at, live};
    use crate::state::{Entry, StateError};
    use crate::testing::Kept;

    /// The value under a key, if there is one that has not expired.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(current(|it| live(it.state.values.get(key), it.now)))
    }

    /// Writes a value, for `ttl_ms` milliseconds or for good.
    pub fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StateError> {
        current(|it| {
            let kept = Kept {
                value: value.to_vec(),
                expires_at: expires_at(it.now, ttl_ms),
            };
            it.state.values.insert(key.to_owned(), kept);
        });
        Ok(())
    }

    /// Removes a key; one that is not there is no error.
    pub fn delete(key: &str) -> Result<(), StateError> {
        current(|it| {
            it.state.values.remove(key);
            it.state.counters.remove(key);
            it.state.histories.remove(key);
        });
        Ok(())
    }

    /// Adds to a counter, which starts at 0, and gives its new value as this run sees it.
    pub fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, StateError> {
        Ok(current(|it| {
            let before = live(it.state.counters.get(key), it.now).unwrap_or_default();
            let value = before.saturating_add(by);
            let kept = Kept {
                value,
                expires_at: expires_at(it.now, ttl_ms),
            };
            it.state.counters.insert(key.to_owned(), kept);
            value
        }))
    }

    /// Adds to the rolling history under a key; the oldest beyond `keep` go.
    pub fn append(
        key: &str,
        value: &[u8],
        keep: u32,
        ttl_ms: Option<u64>,
    ) -> Result<(), StateError> {
        current(|it| {
            let mut entries = live(it.state.histories.get(key), it.now).unwrap_or_default();
            entries.insert(
                0,
                Entry {
                    value: value.to_vec(),
                    written_at: it.now,
                },
            );
            entries.truncate(keep as usize);
            let kept = Kept {
                value: entries,
                expires_at: expires_at(it.now, ttl_ms),
            };
            it.state.histories.insert(key.to_owned(), kept);
        });
        Ok(())
    }

    /// The newest entries of a history first.
    pub fn recent(key: &str, limit: u32) -> Result<Vec<Entry>, StateError> {
        let mut entries =
            current(|it| live(it.state.histories.get(key), it.now)).unwrap_or_default();
        entries.truncate(limit as usize);
        Ok(entries)
    }
}

fn expires_at(now: TimestampMs, ttl_ms: Option<u64>) -> Option<TimestampMs> {
    ttl_ms.map(|ttl_ms| now.saturating_add(ttl_ms))
}

fn live<T: Clone>(kept: Option<&Kept<T>>, now: TimestampMs) -> Option<T> {
    kept.filter(|it| it.expires_at.is_none_or(|at| now < at))
        .map(|it| it.value.clone())
}
