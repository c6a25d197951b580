//! What the file says, before anything in it is checked against anything else.
//!
//! Called by `Config::load` with the parsed TOML. Unknown settings and values of
//! the wrong type become problems here, all of them; what values mean is `resolve`'s.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::problem::Problems;

/// The sections of the file; each list entry with the name of its setting.
#[derive(Debug)]
pub(super) struct RawConfig {
    pub server: RawServer,
    pub retention: RawRetention,
    pub quarantine: RawQuarantine,
    pub egress: RawEgress,
    pub tenants: BTreeMap<String, RawTenant>,
    pub sources: BTreeMap<String, RawSource>,
    pub integrations: Vec<(String, RawIntegration)>,
    pub plugins: BTreeMap<String, RawPlugin>,
    pub destinations: BTreeMap<String, RawDestination>,
    pub policies: Vec<(String, RawPolicy)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    pub listen: Option<String>,
    pub public_url: Option<String>,
    pub database: Option<String>,
    pub trusted_proxies: Option<Vec<String>>,
    // Not typed further, as in `RawIntegration`.
    pub master_key: Option<Value>,
    pub compile_seconds: Option<i64>,
    pub tls: Option<Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub certificate: Option<String>,
    pub key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetention {
    pub events: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuarantine {
    pub strikes: Option<i64>,
    pub within: Option<String>,
    pub share_percent: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEgress {
    pub allow: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTenant {
    pub concurrency: Option<i64>,
    pub queued_runs: Option<i64>,
    pub cpu_ms_per_minute: Option<i64>,
    pub actions_per_minute: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    pub signature: Option<Table>,
    pub secret_encoding: Option<String>,
    pub timestamp: Option<Table>,
    pub event_type: Option<Value>,
    pub idempotency_key: Option<Value>,
    pub ordering_key: Option<Value>,
    pub occurred_at: Option<Table>,
    pub form_field: Option<String>,
    pub content_window: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSignature {
    pub header: Option<String>,
    pub algorithm: Option<String>,
    pub encoding: Option<String>,
    pub prefix: Option<String>,
    pub separator: Option<String>,
    pub signed: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTime {
    pub from: Option<String>,
    pub unit: Option<String>,
    pub tolerance: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIntegration {
    pub id: Option<String>,
    pub tenant: Option<String>,
    pub source: Option<String>,
    // Not typed further: the message about a wrong type would show the value.
    pub secrets: Option<Value>,
    pub body_limit: Option<String>,
    pub inflated_limit: Option<String>,
    pub rate_limit: Option<String>,
    pub burst: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlugin {
    pub path: Option<String>,
    pub digest: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDestination {
    pub kind: Option<String>,
    // Not typed further, as in `RawIntegration`: a URL may hold a token.
    pub url: Option<Value>,
    pub secret: Option<Value>,
    pub timeout_ms: Option<i64>,
    pub attempts_max: Option<i64>,
    pub retry_for: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub name: Option<String>,
    pub tenant: Option<String>,
    pub triggers: Option<Vec<String>>,
    pub classifier: Option<String>,
    pub triager: Option<String>,
    pub ordering_key: Option<String>,
    pub late: Option<Value>,
    pub stale: Option<Value>,
    pub on_failure: Option<String>,
    pub default_route: Option<Table>,
    pub attempts_max: Option<i64>,
    pub retry_for: Option<String>,
    pub settings: Option<Table>,
    pub grants: Option<Table>,
    pub limits: Option<Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDefaultRoute {
    pub destination: Option<String>,
    pub title: Option<String>,
    pub priority: Option<String>,
    pub category: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLate {
    pub after: Option<String>,
    pub then: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStale {
    pub version: Option<String>,
    pub then: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrants {
    pub state: Option<bool>,
    pub http: Option<Vec<String>>,
    pub model: Option<Table>,
    pub destinations: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    pub provider: Option<String>,
    pub tokens_per_day: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub cpu_ms: Option<i64>,
    pub wall_ms: Option<i64>,
    pub memory_mb: Option<i64>,
    pub concurrency: Option<i64>,
    pub table_elements: Option<i64>,
    pub handles: Option<i64>,
    pub host_call_kb: Option<i64>,
    pub log_kb: Option<i64>,
    pub actions_max: Option<i64>,
    pub labels_max: Option<i64>,
    pub text_kb: Option<i64>,
}

/// Sorts the file's sections out.
pub(super) fn read(mut file: Table, problems: &mut Problems) -> RawConfig {
    let config = RawConfig {
        server: single(&mut file, "server", problems),
        retention: single(&mut file, "retention", problems),
        quarantine: single(&mut file, "quarantine", problems),
        egress: single(&mut file, "egress", problems),
        tenants: named(&mut file, "tenants", problems),
        sources: named(&mut file, "sources", problems),
        integrations: list(&mut file, "integration", "id", problems),
        plugins: named(&mut file, "plugins", problems),
        destinations: named(&mut file, "destinations", problems),
        policies: list(&mut file, "policy", "name", problems),
    };
    for unknown in file.keys() {
        problems.add(
            unknown,
            "unknown section: expected [server], [retention], [quarantine], [egress], [tenants.NAME], [sources.NAME], [[integration]], \
             [plugins.NAME], [destinations.NAME] or [[policy]]",
        );
    }
    config
}

/// Reads one table. Each setting is tried by itself, so that one that cannot be read hides
/// neither the others nor their problems.
pub(super) fn section<T>(name: &str, table: Table, problems: &mut Problems) -> T
where
    T: DeserializeOwned + Default,
{
    let mut readable = Table::new();
    for (key, value) in table {
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        match alone.try_into::<T>() {
            Ok(_) => drop(readable.insert(key, value)),
            Err(error) => problems.add(format!("{name}.{key}"), error.message()),
        }
    }
    problems.take(name, readable.try_into()).unwrap_or_default()
}

fn single<T>(file: &mut Table, name: &str, problems: &mut Problems) -> T
where
    T: DeserializeOwned + Default,
{
    match file.remove(name) {
        None => T::default(),
        Some(Value::Table(table)) => section(name, table, problems),
        Some(_) => {
            problems.add(name, format!("must be a section: write [{name}]"));
            T::default()
        }
    }
}

/// Sections of the form `[plugins.NAME]`.
pub(super) fn named<T>(file: &mut Table, name: &str, problems: &mut Problems) -> BTreeMap<String, T>
where
    T: DeserializeOwned + Default,
{
    let mut found = BTreeMap::new();
    match file.remove(name) {
        None => (),
        Some(Value::Table(tables)) => {
            for (key, value) in tables {
                let setting = format!("{name}.{key}");
                let Value::Table(table) = value else {
                    problems.add(&setting, format!("must be a section: write [{name}.NAME]"));
                    continue;
                };
                found.insert(key, section(&setting, table, problems));
            }
        }
        Some(_) => problems.add(name, format!("must be sections: write [{name}.NAME]")),
    }
    found
}

/// Sections of the form `[[policy]]`, called by the setting `key`, or by number where it is missing.
fn list<T>(file: &mut Table, name: &str, key: &str, problems: &mut Problems) -> Vec<(String, T)>
where
    T: DeserializeOwned + Default,
{
    let tables = match file.remove(name) {
        None => return Vec::new(),
        Some(Value::Array(tables)) => tables,
        Some(_) => {
            problems.add(
                name,
                format!("must be a list of sections: write [[{name}]]"),
            );
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (index, value) in tables.into_iter().enumerate() {
        let Value::Table(table) = value else {
            problems.add(
                format!("{name}[{index}]"),
                format!("must be a section: write [[{name}]]"),
            );
            continue;
        };
        let setting = match table.get(key).and_then(Value::as_str) {
            Some(it) if super::values::is_name(it) => format!("{name}.{it}"),
            _ => format!("{name}[{index}]"),
        };
        let read = section(&setting, table, problems);
        found.push((setting, read));
    }
    found
}
