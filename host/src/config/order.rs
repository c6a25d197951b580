//! A policy's rules about order and time: `ordering_key`, `late` and `stale`.

use toml::{Table, Value};

use super::problem::Problems;
use super::raw::{self, RawLate, RawStale};
use super::values;
use crate::model::pointer::JsonPointer;
use crate::model::policy::{LateRule, LateThen, StaleRule, StaleThen};

/// The longest `late.after` in milliseconds: a year.
const LATE_AFTER_MS_CEILING: i64 = 365 * 86_400_000;

/// Where a payload names the thing whose events are handled one after another.
pub(super) fn ordering_key(
    setting: &str,
    text: Option<String>,
    problems: &mut Problems,
) -> Option<JsonPointer> {
    problems.take(setting, text?.parse::<JsonPointer>())
}

/// When an event is late, and what then.
pub(super) fn late(
    setting: &str,
    value: Option<Value>,
    problems: &mut Problems,
) -> Option<LateRule> {
    let example = "as `{ after = \"1h\", then = \"flag\" }`";
    let raw: RawLate = raw::section(
        setting,
        table(setting, value?, example, problems)?,
        problems,
    );
    let at = |name: &str| format!("{setting}.{name}");
    let after = problems.required(&at("after"), raw.after, "as `1h`");
    let after_ms = after.and_then(|text| {
        let after_ms = values::duration_ms(&text, LATE_AFTER_MS_CEILING);
        problems.take(at("after"), after_ms)
    });
    let then = problems.required(&at("then"), raw.then, "`flag`, `process` or `drop`");
    let then = then.and_then(|text| {
        let then = match text.as_str() {
            "flag" => Ok(LateThen::Flag),
            "process" => Ok(LateThen::Process),
            "drop" => Ok(LateThen::Drop),
            other => Err(format!("`{other}` is none of `flag`, `process` and `drop`")),
        };
        problems.take(at("then"), then)
    });
    Some(LateRule {
        after_ms: after_ms?,
        then: then?,
    })
}

/// How new an event's news are, and what becomes of old ones.
pub(super) fn stale(
    setting: &str,
    value: Option<Value>,
    has_ordering_key: bool,
    problems: &mut Problems,
) -> Option<StaleRule> {
    let example = "as `{ version = \"/issue/updated_at\", then = \"drop\" }`";
    let raw: RawStale = raw::section(
        setting,
        table(setting, value?, example, problems)?,
        problems,
    );
    let at = |name: &str| format!("{setting}.{name}");
    let version = problems.required(&at("version"), raw.version, "as `/issue/updated_at`");
    let version =
        version.and_then(|text| problems.take(at("version"), text.parse::<JsonPointer>()));
    let then = problems.required(&at("then"), raw.then, "`drop`");
    let then = then.and_then(|text| {
        let then = match text.as_str() {
            "drop" => Ok(StaleThen::Drop),
            other => Err(format!("`{other}` is not `drop`")),
        };
        problems.take(at("then"), then)
    });
    if !has_ordering_key {
        problems.add(
            setting,
            "versions are compared within one `ordering_key`: set that, too",
        );
    }
    Some(StaleRule {
        version: version?,
        then: then?,
    })
}

fn table(setting: &str, value: Value, example: &str, problems: &mut Problems) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => {
            problems.add(setting, format!("must be a table, {example}"));
            None
        }
    }
}
