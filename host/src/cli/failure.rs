//! Why a command did not do what it was asked, as stderr shows it.
//!
//! Made by every command. One line for each problem, causes behind colons; with
//! `--json` one object with a stable code.

use std::io::{self, ErrorKind, Write};

use serde_json::json;

use super::output::clean;
use crate::config::ConfigError;
use crate::integrations::Problem;
use crate::live::SetupError;
use crate::registry::PluginProblems;
use crate::store::StoreError;

/// The longest line in characters.
const LINE_CHARS_MAX: usize = 2_000;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line does not fit the program.
    Arguments(clap::Error),
    /// The command line fits, but what it says cannot be meant.
    Usage(String),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The configured plugins cannot be used.
    Plugins(PluginProblems),
    /// Integrations are not what a command needs, or were not changed.
    Integrations(Problem),
    /// There is no such thing.
    NotFound(String),
    /// The server did not take a delivery.
    Refused(u16),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// The code that a script can rely on.
    fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) | Self::Usage(_) => "usage",
            Self::Config(_) => "invalid_config",
            Self::Plugins(_) => "invalid_plugin",
            Self::NotFound(_) => "not_found",
            Self::Integrations(problem) => problem.code(),
            Self::Refused(_) => "refused",
            Self::Other(_) => "failed",
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Arguments(_) | Self::Usage(_) => 2,
            Self::Config(_)
            | Self::Plugins(_)
            | Self::Integrations(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::Other(_) => 1,
        }
    }

    /// Whether nobody reads the output any more.
    pub(super) fn is_closed_pipe(&self) -> bool {
        let Self::Other(error) = self else {
            return false;
        };
        error
            .chain()
            .filter_map(|it| it.downcast_ref::<io::Error>())
            .any(|it| it.kind() == ErrorKind::BrokenPipe)
    }

    pub(super) fn write(&self, json: bool, stderr: &mut dyn Write) -> io::Result<()> {
        let lines = self.lines();
        if json {
            let error = json!({ "code": self.code(), "message": lines.join("\n") });
            return writeln!(stderr, "{error}");
        }
        if let Self::Arguments(error) = self {
            // It says `error:` itself and shows how the command is used.
            return write!(stderr, "{}", error.render());
        }
        lines
            .iter()
            .try_for_each(|line| writeln!(stderr, "error: {line}"))
    }

    /// A line for each problem.
    fn lines(&self) -> Vec<String> {
        let lines = match self {
            Self::Arguments(error) => {
                let text = error.render().to_string();
                let first = text.lines().next().unwrap_or_default();
                vec![first.strip_prefix("error: ").unwrap_or(first).to_owned()]
            }
            Self::Usage(text) | Self::NotFound(text) => vec![text.clone()],
            Self::Config(ConfigError::Invalid { problems, .. }) => {
                problems.iter().map(ToString::to_string).collect()
            }
            Self::Config(error) => vec![chain(error)],
            Self::Integrations(problem) => vec![chain(problem)],
            Self::Plugins(PluginProblems(problems)) => problems.clone(),
            Self::Refused(status) => vec![format!("the server answered {status}")],
            Self::Other(error) => vec![format!("{error:#}")],
        };
        lines.iter().map(|it| clean(it, LINE_CHARS_MAX)).collect()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<PluginProblems> for Failure {
    fn from(problems: PluginProblems) -> Self {
        Self::Plugins(problems)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Integrations(problem)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        // `serve` loads plugins too, behind an interface that tells no kinds of errors apart.
        match error.downcast::<SetupError>() {
            Ok(SetupError::Plugins(problems)) => Self::Plugins(problems),
            Ok(error @ SetupError::Egress(_)) => Self::Other(error.into()),
            Err(error) => match error.downcast::<Problem>() {
                Ok(problem) => Self::Integrations(problem),
                Err(error) => Self::Other(error),
            },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}
