//! Problems with settings, collected so that all of them are shown at once.
//!
//! Filled while the file is read and resolved. What a problem says is written
//! where it is found; here it only gets a form that a terminal can show.

use std::fmt::{self, Display, Write as _};

/// The longest message in characters; a longer one is cut.
const MESSAGE_CHARS_MAX: usize = 600;

/// One setting that cannot be used: its name as in the file, the cause and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As `policy.incidents.triggers[1]`.
    pub setting: String,
    /// One line.
    pub message: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.message)
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, setting: impl Display, message: impl Display) {
        let mut setting = printable(&setting.to_string());
        if setting.is_empty() {
            // TOML allows it as a name, and no message could show it otherwise.
            "\"\"".clone_into(&mut setting);
        }
        let message = printable(&message.to_string());
        self.0.push(Problem { setting, message });
    }

    /// The value of a setting that must be there.
    ///
    /// Where the setting is there but could not be read, that is already known and
    /// "missing" would be wrong.
    pub(super) fn required<T>(&mut self, setting: &str, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() && !self.has(setting) {
            self.add(setting, format!("missing: {hint}"));
        }
        value
    }

    /// The good half of a result; the other one becomes a problem.
    pub(super) fn take<T>(
        &mut self,
        setting: impl Display,
        result: Result<T, impl Display>,
    ) -> Option<T> {
        result.map_err(|error| self.add(setting, error)).ok()
    }

    /// Whether this very setting has a problem.
    pub(super) fn has(&self, setting: &str) -> bool {
        self.0.iter().any(|it| it.setting == setting)
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.0
    }
}

pub(super) fn joined(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("; ")
}

/// One line of bounded length that cannot move the cursor of a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut line = String::new();
    for (index, char) in text.chars().enumerate() {
        if index == MESSAGE_CHARS_MAX {
            line.push('…');
            break;
        }
        if char.is_control() {
            // Writing to a `String` cannot fail.
            let _ = write!(line, "{}", char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}
