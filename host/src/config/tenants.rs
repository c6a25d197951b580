//! Tenants: what each may take of what all of them share.
//!
//! Called by `resolve`. A tenant need not be declared: without a section it has the defaults.

use std::collections::BTreeMap;

use super::problem::Problems;
use super::raw::RawTenant;
use super::values;
use crate::model::tenant::TenantLimits;

/// As many as there are slots for guests.
const CONCURRENCY_MOST: usize = 256;
const QUEUED_RUNS_MOST: u64 = 100_000_000;
/// A minute of 1 000 processors.
const CPU_MS_PER_MINUTE_MOST: u64 = 60_000_000;
const ACTIONS_PER_MINUTE_MOST: u64 = 1_000_000;

pub(super) fn resolve(
    raw: BTreeMap<String, RawTenant>,
    problems: &mut Problems,
) -> BTreeMap<String, TenantLimits> {
    let mut tenants = BTreeMap::new();
    for (name, raw) in raw {
        let setting = format!("tenants.{name}");
        problems.take(&setting, values::name(&name));
        tenants.insert(name, limits(&setting, &raw, problems));
    }
    tenants
}

fn limits(setting: &str, raw: &RawTenant, problems: &mut Problems) -> TenantLimits {
    let default = TenantLimits::default();
    let at = |name: &str| format!("{setting}.{name}");
    let concurrency = values::bounded(
        problems,
        &at("concurrency"),
        raw.concurrency,
        1..=CONCURRENCY_MOST,
        default.concurrency,
    );
    let queued_runs = values::bounded(
        problems,
        &at("queued_runs"),
        raw.queued_runs,
        1..=QUEUED_RUNS_MOST,
        default.queued_runs,
    );
    let mut each_minute = |name: &str, value: Option<i64>, most: u64| {
        let value = value?;
        problems.take(at(name), values::within(value, 1..=most))
    };
    TenantLimits {
        concurrency,
        queued_runs,
        cpu_ms_per_minute: each_minute(
            "cpu_ms_per_minute",
            raw.cpu_ms_per_minute,
            CPU_MS_PER_MINUTE_MOST,
        ),
        actions_per_minute: each_minute(
            "actions_per_minute",
            raw.actions_per_minute,
            ACTIONS_PER_MINUTE_MOST,
        ),
    }
}
