//! What becomes of a run whose plugins break rules: `on_failure` and `default_route`.

use toml::Table;

use super::problem::Problems;
use super::raw::{self, RawDefaultRoute};
use super::values;
use crate::model::decision::Priority;
use crate::model::policy::{DefaultRoute, Grants, OnFailure};

/// The longest `title` in bytes.
const TITLE_BYTES_MAX: usize = 200;
const TITLE: &str = "An event could not be triaged";
const CATEGORY: &str = "untriaged";

/// The setting of a policy. A route is checked also where it is not taken.
pub(super) fn resolve(
    policy: &str,
    text: Option<&str>,
    route: Option<Table>,
    grants: &Grants,
    problems: &mut Problems,
) -> OnFailure {
    let at = |name: &str| format!("{policy}.{name}");
    let is_declared = route.is_some();
    let route = route.and_then(|it| default_route(&at("default_route"), it, grants, problems));
    match (text, route) {
        (None | Some("retry"), _) => OnFailure::Retry,
        (Some("dead-letter"), _) => OnFailure::DeadLetter,
        (Some("default-route"), Some(route)) => OnFailure::DefaultRoute(route),
        (Some("default-route"), None) => {
            if !is_declared {
                let message =
                    "missing: `default-route` needs a destination, as `{ destination = \"desk\" }`";
                problems.add(at("default_route"), message);
            }
            OnFailure::default()
        }
        (Some(other), _) => {
            let message =
                format!("`{other}` is none of `retry`, `default-route` and `dead-letter`");
            problems.add(at("on_failure"), message);
            OnFailure::default()
        }
    }
}

fn default_route(
    setting: &str,
    table: Table,
    grants: &Grants,
    problems: &mut Problems,
) -> Option<DefaultRoute> {
    let at = |name: &str| format!("{setting}.{name}");
    let raw: RawDefaultRoute = raw::section(setting, table, problems);
    let hint = "one of the policy's `grants.destinations`, as `desk`";
    let destination = problems.required(&at("destination"), raw.destination, hint);
    if let Some(name) = &destination
        && !grants.destinations.contains(name)
    {
        let message =
            format!("`{name}` is not granted: add it to the policy's `grants.destinations`");
        problems.add(at("destination"), message);
    }
    let title = raw.title.map_or_else(|| Ok(TITLE.to_owned()), title);
    let title = problems.take(at("title"), title);
    let priority = raw
        .priority
        .map_or(Ok(Priority::Normal), |it| priority(&it));
    let priority = problems.take(at("priority"), priority);
    let category = raw.category.unwrap_or_else(|| CATEGORY.to_owned());
    problems.take(at("category"), values::name(&category));
    Some(DefaultRoute {
        destination: destination?,
        title: title?,
        priority: priority?,
        category,
    })
}

fn title(text: String) -> Result<String, String> {
    let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
    match is_line && text.len() <= TITLE_BYTES_MAX {
        true => Ok(text),
        false => Err(format!("must be one line of 1 to {TITLE_BYTES_MAX} bytes")),
    }
}

fn priority(text: &str) -> Result<Priority, String> {
    [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Critical,
    ]
    .into_iter()
    .find(|it| it.as_str() == text)
    .ok_or_else(|| format!("`{text}` is none of `low`, `normal`, `high` and `critical`"))
}
