//! Destinations: where actions go.
//!
//! Called by `resolve`. Whether a policy may use one is its grants' business.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use toml::Value;
use url::Url;

use super::problem::Problems;
use super::raw::RawDestination;
use super::resolve::Surroundings;
use super::{secrets, values};
use crate::egress;
use crate::model::integration::{Destination, WebhookDestination};
use crate::model::policy::RetryPolicy;

/// How long a request to a webhook may take, in milliseconds.
const TIMEOUT_MS: u64 = 15_000;
const TIMEOUT_MS_LEAST: u64 = 100;
const TIMEOUT_MS_MOST: u64 = egress::TIMEOUT_MAX.as_millis() as u64;
/// The most attempts that can be asked for.
const ATTEMPTS_CEILING: u32 = 100;
/// The longest `retry_for` in milliseconds: a week.
const RETRY_FOR_MS_CEILING: i64 = 7 * 86_400_000;

pub(super) fn resolve(
    raw: BTreeMap<String, RawDestination>,
    egress_allow: &[IpNet],
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, Destination> {
    let mut destinations = BTreeMap::new();
    for (name, raw) in raw {
        let setting = format!("destinations.{name}");
        problems.take(&setting, values::name(&name));
        let destination = destination(&setting, raw, egress_allow, around, problems);
        destinations.extend(destination.map(|it| (name, it)));
    }
    destinations
}

/// The retry settings that policies and webhook destinations share.
pub(super) fn retry(
    setting: &str,
    attempts_max: Option<i64>,
    retry_for: Option<String>,
    problems: &mut Problems,
) -> RetryPolicy {
    let default = RetryPolicy::default();
    let attempts_setting = format!("{setting}.attempts_max");
    let attempts = 1..=ATTEMPTS_CEILING;
    let elapsed_ms = retry_for.and_then(|text| {
        let elapsed_ms = values::duration_ms(&text, RETRY_FOR_MS_CEILING);
        problems.take(format!("{setting}.retry_for"), elapsed_ms)
    });
    RetryPolicy {
        attempts_max: values::bounded(
            problems,
            &attempts_setting,
            attempts_max,
            attempts,
            default.attempts_max,
        ),
        elapsed_ms_max: elapsed_ms.unwrap_or(default.elapsed_ms_max),
        base_ms: default.base_ms,
    }
}

fn destination(
    setting: &str,
    raw: RawDestination,
    egress_allow: &[IpNet],
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Destination> {
    let kind_setting = format!("{setting}.kind");
    let kind = problems.required(&kind_setting, raw.kind.clone(), "`ticket` or `webhook`")?;
    match kind.as_str() {
        "ticket" => ticket(setting, &raw, problems),
        "webhook" => webhook(setting, raw, egress_allow, around, problems),
        "github-issue" | "slack" => {
            let message = "is not supported by this version: use `webhook` or `ticket`";
            problems.add(kind_setting, format!("`{kind}` {message}"));
            None
        }
        _ => {
            problems.add(
                kind_setting,
                format!("`{kind}` is no kind of destination: `ticket` or `webhook`"),
            );
            None
        }
    }
}

fn ticket(setting: &str, raw: &RawDestination, problems: &mut Problems) -> Option<Destination> {
    let given = [
        ("url", raw.url.is_some()),
        ("secret", raw.secret.is_some()),
        ("timeout_ms", raw.timeout_ms.is_some()),
        ("attempts_max", raw.attempts_max.is_some()),
        ("retry_for", raw.retry_for.is_some()),
    ];
    for (name, _) in given.iter().filter(|(_, given)| *given) {
        problems.add(
            format!("{setting}.{name}"),
            "a `ticket` destination has none: take it out",
        );
    }
    Some(Destination::Ticket)
}

fn webhook(
    setting: &str,
    raw: RawDestination,
    egress_allow: &[IpNet],
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Destination> {
    let at = |name: &str| format!("{setting}.{name}");
    let url = url(&at("url"), raw.url, egress_allow, problems);
    let secret = secrets::signing(&at("secret"), raw.secret, around, problems);
    let bounds = TIMEOUT_MS_LEAST..=TIMEOUT_MS_MOST;
    let timeout_ms = values::bounded(
        problems,
        &at("timeout_ms"),
        raw.timeout_ms,
        bounds,
        TIMEOUT_MS,
    );
    let retry = retry(setting, raw.attempts_max, raw.retry_for, problems);
    let timeout = Duration::from_millis(timeout_ms);
    Some(Destination::Webhook(WebhookDestination {
        url: url?,
        secret: secret?,
        timeout,
        retry,
    }))
}

fn url(
    setting: &str,
    value: Option<Value>,
    egress_allow: &[IpNet],
    problems: &mut Problems,
) -> Option<Url> {
    let value = problems.required(
        setting,
        value,
        "as `url = \"https://oncall.example.com/hook\"`",
    )?;
    let url = value
        .as_str()
        .ok_or_else(|| "must be a text in quotes".to_owned())
        .and_then(values::http_url)
        .and_then(|url| {
            egress::check_url(&url, egress_allow).map_err(|error| error.to_string())?;
            Ok(url)
        });
    problems.take(setting, url)
}
