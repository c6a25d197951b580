//! Tries what a case says, and judges how it ended.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::cases::{Case, Kind};
use super::server::{Server, at};
use super::site::{Site, integration_of};

/// Bytes of log lines that a run may have: `log_kb` of any probe, and the line that counts the others.
const LOG_BYTES_MAX: usize = 65 << 10;

/// One thing that was tried, and how it ended.
#[derive(Serialize)]
pub(super) struct Probed {
    pub name: &'static str,
    pub expected: &'static str,
    pub seen: String,
    pub contained: bool,
    /// What was said about it.
    pub detail: String,
}

impl Probed {
    /// One of which it cannot be told how it ended.
    pub(super) fn failed(name: &'static str, error: &anyhow::Error) -> Self {
        Self {
            name,
            expected: "an end",
            seen: "none".to_owned(),
            contained: false,
            detail: format!("{error:#}"),
        }
    }
}

/// All that a case tries, but for what `special` does.
pub(super) async fn of(
    case: &'static Case,
    site: &Site,
    server: &Server,
) -> anyhow::Result<Vec<Probed>> {
    let mut probed = refused_files(case, site, server).await?;
    probed.extend(refused_addresses(case, site, server).await?);
    probed.extend(runs(case, server).await?);
    Ok(probed)
}

/// Delivers all events of the case at once, and waits for all that they lead to.
async fn runs(case: &'static Case, server: &Server) -> anyhow::Result<Vec<Probed>> {
    let mut delivered = Vec::new();
    for probe in case.probes {
        let events = match probe.kind {
            Kind::Run { events, .. } => events,
            Kind::Webhook { .. } => 1,
            Kind::Refused { .. } | Kind::Url { .. } | Kind::Special(_) => 0,
        };
        for number in 0..events {
            let id = format!("{}-{number}", probe.name);
            let event = format!("{}.event", probe.name);
            let integration_id = integration_of(case.number);
            let run_id = server.deliver(&integration_id, &event, &id).await?;
            delivered.push((probe, run_id));
        }
    }
    let mut all = Vec::new();
    for (probe, run_id) in delivered {
        let run = server.finished(&run_id).await?;
        let probed = match probe.kind {
            Kind::Run { class, .. } => judged(probe.name, class, &run),
            _ => judged_action(probe.name, &run),
        };
        all.push(probed);
    }
    Ok(all)
}

/// Whether a run ended as it must, and its error names the plugin.
pub(super) fn judged(name: &'static str, expected: &'static str, run: &Value) -> Probed {
    let attempt = at(run, "/attempts/0");
    let class = at(attempt, "/class").as_str().unwrap_or("no attempt");
    let error = at(attempt, "/error").as_str().unwrap_or_default();
    let is_named = expected == "decided" || error.contains(&format!("plugin `{name}` (version "));
    let log: Vec<&str> = at(attempt, "/log")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| at(it, "/message").as_str())
        .collect();
    let is_harmless = log.iter().all(|it| !it.contains(['\u{1b}', '\r']));
    let is_bounded = log.iter().map(|it| it.len()).sum::<usize>() <= LOG_BYTES_MAX;
    let detail = match (is_harmless, is_bounded) {
        (false, _) => "its log has control characters".to_owned(),
        (_, false) => "its log is over its limit".to_owned(),
        _ if error.is_empty() => at(run, "/state").to_string(),
        _ => error.to_owned(),
    };
    Probed {
        name,
        expected,
        seen: class.to_owned(),
        contained: class == expected && is_named && is_harmless && is_bounded,
        detail,
    }
}

/// Whether the one action of a run was refused for its address.
fn judged_action(name: &'static str, run: &Value) -> Probed {
    let action = at(run, "/actions/0");
    let reason = at(action, "/dead_reason").as_str().unwrap_or_default();
    let is_refused = at(action, "/state") == "dead" && reason.contains("is refused");
    Probed {
        name,
        expected: "refused",
        seen: match is_refused {
            true => "refused".to_owned(),
            false => at(action, "/state").to_string(),
        },
        contained: is_refused,
        detail: if reason.is_empty() {
            run.to_string()
        } else {
            reason.to_owned()
        },
    }
}

/// Configures the files that must not be loaded, all of the case at once.
async fn refused_files(
    case: &'static Case,
    site: &Site,
    server: &Server,
) -> anyhow::Result<Vec<Probed>> {
    let files: Vec<_> = case
        .probes
        .iter()
        .filter_map(|it| match it.kind {
            Kind::Refused { says, .. } => Some((it.name, format!("plugins.{}:", it.name), says)),
            _ => None,
        })
        .collect();
    let config = site.config_with_plugins(files.iter().map(|it| it.0));
    refused(&files, &config, site, server).await
}

/// Configures the destinations that must not be used, all of the case at once.
async fn refused_addresses(
    case: &'static Case,
    site: &Site,
    server: &Server,
) -> anyhow::Result<Vec<Probed>> {
    let urls: Vec<_> = case
        .probes
        .iter()
        .filter_map(|it| match it.kind {
            Kind::Url { url } => Some((it.name, url)),
            _ => None,
        })
        .collect();
    let config = site.config_with_destinations(urls.iter().copied());
    let settings: Vec<_> = urls
        .iter()
        .map(|(name, _)| (*name, format!("destinations.{name}.url:"), "is refused"))
        .collect();
    refused(&settings, &config, site, server).await
}

/// Applies a configuration of which these settings must be refused with these words, and the good one again.
async fn refused(
    settings: &[(&'static str, String, &'static str)],
    config: &str,
    site: &Site,
    server: &Server,
) -> anyhow::Result<Vec<Probed>> {
    let Some((_, first, _)) = settings.first() else {
        return Ok(Vec::new());
    };
    let is_it = |reload: &Value| {
        at(reload, "/outcome") == "applied"
            || at(reload, "/problems").to_string().contains(first.as_str())
    };
    let reload = server.reconfigure(config, is_it).await?;
    let problems: Vec<&str> = at(&reload, "/problems")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let judged = settings.iter().map(|(name, setting, says)| {
        let problem = problems.iter().find_map(|it| it.strip_prefix(setting));
        // The file's name says what it is as well.
        let file = format!("{name}.wasm: ");
        let reason = problem.map(|it| it.trim_start().trim_start_matches(&file));
        Probed {
            name,
            expected: "refused",
            seen: reason.map_or("loaded", |_| "refused").to_owned(),
            contained: reason.is_some_and(|it| it.contains(says)),
            detail: reason.unwrap_or_default().to_owned(),
        }
    });
    let judged = judged.collect();
    // Back to what is in force, so that the next case's problems are its own.
    server
        .reconfigure(&site.config, |it| at(it, "/outcome") == "unchanged")
        .await?;
    Ok(judged)
}

pub(super) fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
