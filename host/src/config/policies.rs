//! Policies: which events, which plugins, what they may use and consume.
//!
//! Called by `resolve` with the names that the rest of the file declares. Whether a
//! plugin can classify or triage shows when `registry` loads it.

use std::collections::{BTreeMap, BTreeSet};

use toml::Table;

use super::problem::Problems;
use super::raw::{RawGrants, RawLimits, RawModel, RawPolicy};
use super::{destinations, on_failure, order, raw, resolve, values};
use crate::model::policy::{
    Grants, Limits, MEMORY_MB_MAX, Policy, TABLE_ELEMENTS_MAX, WALL_MS_MAX,
};
use crate::model::trigger::Trigger;

/// The most policies of one tenant: a delivery can queue a run for each.
const POLICIES_PER_TENANT_MAX: usize = 64;
/// The longest `settings` in bytes of JSON: each attempt can read them.
const SETTINGS_BYTES_MAX: usize = 64 << 10;

const CPU_MS_MOST: u64 = 60_000;
const CONCURRENCY_MOST: usize = 256;
const HOST_CALL_KB_MOST: u64 = 16 << 10;
const LOG_KB_MOST: u64 = 1 << 10;
const ACTIONS_MOST: usize = 256;
const LABELS_MOST: usize = 256;
const TEXT_KB_MOST: usize = 1 << 10;
const HANDLES_MOST: usize = 16_384;
const TOKENS_PER_DAY_MOST: u64 = 1_000_000_000_000;

const _: () = assert!(
    CPU_MS_MOST <= WALL_MS_MAX,
    "computing is a part of the time that passes"
);

/// What policies can refer to.
pub(super) struct Names {
    pub sources: BTreeSet<String>,
    pub plugins: BTreeSet<String>,
    pub destinations: BTreeSet<String>,
}

pub(super) fn resolve(
    raw: Vec<(String, RawPolicy)>,
    names: &Names,
    problems: &mut Problems,
) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut taken = BTreeSet::new();
    let mut of_tenants: BTreeMap<String, usize> = BTreeMap::new();
    for (setting, raw) in raw {
        if raw
            .name
            .as_ref()
            .is_some_and(|name| !taken.insert(name.clone()))
        {
            problems.add(&setting, "declared twice: each needs a `name` of its own");
        }
        if let Some(policy) = policy(&setting, raw, names, problems) {
            *of_tenants.entry(policy.tenant.clone()).or_default() += 1;
            policies.push(policy);
        }
    }
    for (tenant, count) in of_tenants
        .iter()
        .filter(|(_, count)| POLICIES_PER_TENANT_MAX < **count)
    {
        let message = format!("tenant `{tenant}` has {count}: at most {POLICIES_PER_TENANT_MAX}");
        problems.add("policy", message);
    }
    policies
}

fn policy(setting: &str, raw: RawPolicy, names: &Names, problems: &mut Problems) -> Option<Policy> {
    let at = |name: &str| format!("{setting}.{name}");
    let name = problems.required(&at("name"), raw.name, "as `incidents`");
    let name = name.and_then(|name| problems.take(at("name"), values::name(&name).map(|()| name)));
    let tenant = resolve::tenant(setting, raw.tenant, problems);
    let triggers = triggers(&at("triggers"), raw.triggers, names, problems);
    let classifier = plugin(&at("classifier"), raw.classifier, names, problems);
    let triager = plugin(&at("triager"), raw.triager, names, problems);
    let unreadable = problems.has(&at("classifier")) || problems.has(&at("triager"));
    if classifier.is_none() && triager.is_none() && !unreadable {
        problems.add(
            setting,
            "a `classifier`, a `triager` or both are needed: name a plugin",
        );
    }
    let has_ordering_key = raw.ordering_key.is_some();
    let ordering_key = order::ordering_key(&at("ordering_key"), raw.ordering_key, problems);
    let late = order::late(&at("late"), raw.late, problems);
    let stale = order::stale(&at("stale"), raw.stale, has_ordering_key, problems);
    let settings = settings(&at("settings"), raw.settings, problems);
    let grants = grants(
        &at("grants"),
        raw.grants.unwrap_or_default(),
        names,
        problems,
    );
    let limits = limits(&at("limits"), raw.limits.unwrap_or_default(), problems);
    let retry = destinations::retry(setting, raw.attempts_max, raw.retry_for, problems);
    let on_failure = on_failure::resolve(
        setting,
        raw.on_failure.as_deref(),
        raw.default_route,
        &grants,
        problems,
    );
    Some(Policy {
        name: name?,
        tenant,
        triggers,
        classifier,
        triager,
        ordering_key,
        late,
        stale,
        settings,
        grants,
        limits,
        retry,
        on_failure,
    })
}

fn triggers(
    setting: &str,
    raw: Option<Vec<String>>,
    names: &Names,
    problems: &mut Problems,
) -> Vec<Trigger> {
    let hint = "as `triggers = [\"github.issues.*\"]`";
    let Some(raw) = problems.required(setting, raw, hint) else {
        return Vec::new();
    };
    if raw.is_empty() {
        problems.add(setting, format!("at least one is needed, {hint}"));
    }
    let mut triggers = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        triggers.extend(problems.take(format!("{setting}[{index}]"), trigger(text, names)));
    }
    triggers
}

fn trigger(text: &str, names: &Names) -> Result<Trigger, String> {
    let trigger = text.parse::<Trigger>().map_err(|error| error.to_string())?;
    let first = text.split('.').next().unwrap_or_default();
    // Without a source in front it would never match anything.
    if first != "*" && !names.sources.contains(first) {
        let known = values::known(names.sources.iter());
        return Err(format!(
            "trigger `{text}`: unknown source `{first}` ({known}, or `*` for all of them)"
        ));
    }
    Ok(trigger)
}

fn plugin(
    setting: &str,
    name: Option<String>,
    names: &Names,
    problems: &mut Problems,
) -> Option<String> {
    let name = name?;
    if !names.plugins.contains(&name) {
        let known = values::known(names.plugins.iter());
        problems.add(
            setting,
            format!("no plugin `{name}`: declare [plugins.{name}] ({known})"),
        );
    }
    Some(name)
}

fn settings(setting: &str, table: Option<Table>, problems: &mut Problems) -> String {
    let json = values::json(table.unwrap_or_default()).and_then(|json| {
        if SETTINGS_BYTES_MAX < json.len() {
            return Err(format!(
                "{} bytes of JSON: at most {SETTINGS_BYTES_MAX}",
                json.len()
            ));
        }
        Ok(json)
    });
    problems.take(setting, json).unwrap_or_default()
}

fn grants(setting: &str, table: Table, names: &Names, problems: &mut Problems) -> Grants {
    let raw: RawGrants = raw::section(setting, table, problems);
    let mut http = Vec::new();
    for (index, text) in raw.http.unwrap_or_default().iter().enumerate() {
        http.extend(problems.take(format!("{setting}.http[{index}]"), values::host(text)));
    }
    let destinations = raw.destinations.unwrap_or_default();
    for (index, name) in destinations.iter().enumerate() {
        if !names.destinations.contains(name) {
            let known = values::known(names.destinations.iter());
            let message =
                format!("no destination `{name}`: declare [destinations.{name}] ({known})");
            problems.add(format!("{setting}.destinations[{index}]"), message);
        }
    }
    Grants {
        state: raw.state.unwrap_or(false),
        http,
        model: raw
            .model
            .is_some_and(|table| model(&format!("{setting}.model"), table, problems)),
        destinations: destinations.into_iter().collect(),
    }
}

fn model(setting: &str, table: Table, problems: &mut Problems) -> bool {
    let raw: RawModel = raw::section(setting, table, problems);
    let provider_setting = format!("{setting}.provider");
    let provider = problems.required(
        &provider_setting,
        raw.provider,
        "the model's provider, as `claude`",
    );
    if let Some(provider) = provider {
        problems.take(provider_setting, values::name(&provider));
    }
    let bounds = 1..=TOKENS_PER_DAY_MOST;
    values::bounded(
        problems,
        &format!("{setting}.tokens_per_day"),
        raw.tokens_per_day,
        bounds,
        1,
    );
    true
}

fn limits(setting: &str, table: Table, problems: &mut Problems) -> Limits {
    let raw: RawLimits = raw::section(setting, table, problems);
    let default = Limits::default();
    let (kib, mib) = (1 << 10, 1 << 20);
    let mut read = |name: &str, value: Option<i64>, most: u64, default: u64| {
        let setting = format!("{setting}.{name}");
        values::bounded(problems, &setting, value, 1..=most, default)
    };
    let cpu_ms = read("cpu_ms", raw.cpu_ms, CPU_MS_MOST, default.cpu_ms);
    let wall_ms = read("wall_ms", raw.wall_ms, WALL_MS_MAX, default.wall_ms);
    let memory_mb = default.memory_bytes / mib;
    let memory_mb = read("memory_mb", raw.memory_mb, MEMORY_MB_MAX, memory_mb);
    let call_kb = default.host_call_bytes / kib;
    let call_kb = read("host_call_kb", raw.host_call_kb, HOST_CALL_KB_MOST, call_kb);
    let log_kb = read("log_kb", raw.log_kb, LOG_KB_MOST, default.log_bytes / kib);

    let mut count = |name: &str, value: Option<i64>, most: usize, default: usize| {
        let setting = format!("{setting}.{name}");
        values::bounded(problems, &setting, value, 1..=most, default)
    };
    let (elements, most) = (default.table_elements, TABLE_ELEMENTS_MAX);
    let table_elements = count("table_elements", raw.table_elements, most, elements);
    let handles = count("handles", raw.handles, HANDLES_MOST, default.handles);
    let actions = count(
        "actions_max",
        raw.actions_max,
        ACTIONS_MOST,
        default.actions,
    );
    let labels = count("labels_max", raw.labels_max, LABELS_MOST, default.labels);
    let text_kb = default.text_bytes >> 10;
    let text_kb = count("text_kb", raw.text_kb, TEXT_KB_MOST, text_kb);
    let together = default.concurrency;
    let concurrency = count("concurrency", raw.concurrency, CONCURRENCY_MOST, together);
    if wall_ms < cpu_ms {
        let message = format!("{wall_ms} is less than cpu_ms, which is {cpu_ms}");
        problems.add(format!("{setting}.wall_ms"), message);
    }
    Limits {
        cpu_ms,
        wall_ms,
        memory_bytes: memory_mb * mib,
        table_elements,
        handles,
        host_call_bytes: call_kb * kib,
        log_bytes: log_kb * kib,
        actions,
        labels,
        text_bytes: text_kb << 10,
        concurrency,
    }
}
