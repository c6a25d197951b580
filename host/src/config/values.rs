//! Single values: names, numbers with bounds, durations, sizes, addresses. Pure.
//!
//! Called by the files beside it, which know the setting's name.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use toml::Value;
use url::Url;

use super::problem::Problems;
use crate::model::rate::Rate;

/// The longest id or name in characters.
const NAME_CHARS_MAX: usize = 64;
/// The most deliveries in a period of a rate limit.
const RATE_MAX: u64 = 1_000_000;
/// The most known names in one message.
const NAMES_SHOWN_MAX: usize = 20;

/// Whether a text can stand in URLs, keys and file names as it is.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
}

pub(super) fn name(text: &str) -> Result<(), String> {
    if is_name(text) {
        return Ok(());
    }
    Err(format!(
        "`{text}` is not a name: 1 to {NAME_CHARS_MAX} letters, digits, `-` and `_`"
    ))
}

/// A number within bounds, or the default where the setting is left out or cannot be used.
pub(super) fn bounded<T>(
    problems: &mut Problems,
    setting: &str,
    value: Option<i64>,
    bounds: RangeInclusive<T>,
    default: T,
) -> T
where
    T: TryFrom<i64> + PartialOrd + Display + Copy,
{
    let Some(value) = value else { return default };
    problems
        .take(setting, within(value, bounds))
        .unwrap_or(default)
}

/// A number within bounds.
pub(super) fn within<T>(value: i64, bounds: RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let number = T::try_from(value).ok().filter(|it| bounds.contains(it));
    let (least, most) = (bounds.start(), bounds.end());
    number.ok_or_else(|| format!("{value} is not within {least} and {most}"))
}

/// Milliseconds of a text as `500ms`, `30s`, `5m`, `24h` or `7d`.
pub(super) fn duration_ms(text: &str, most_ms: i64) -> Result<i64, String> {
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let (number, unit) = split_unit(text);
    let unit_ms = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, ms)| *ms);
    let ms = number
        .zip(unit_ms)
        .and_then(|(number, ms)| i64::try_from(number).ok()?.checked_mul(ms));
    match ms {
        Some(ms) if 0 < ms && ms <= most_ms => Ok(ms),
        Some(_) => Err(format!(
            "`{text}` is not within 1ms and {}",
            short_duration(most_ms)
        )),
        None => Err(format!(
            "`{text}` is not a duration: as `500ms`, `30s`, `5m`, `24h` or `7d`"
        )),
    }
}

/// How many, and in how many milliseconds, of a text as `100/s` or `600/m`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let (number, unit) = split_unit(text);
    let period_ms = match unit {
        "/s" => Some(1_000),
        "/m" => Some(60_000),
        _ => None,
    };
    match number.zip(period_ms) {
        Some((number @ 1..=RATE_MAX, period_ms)) => Ok(Rate {
            deliveries: number as u32,
            period_ms,
        }),
        Some(_) => Err(format!("`{text}` is not within 1 and {RATE_MAX}")),
        None => Err(format!("`{text}` is not a rate: as `100/s` or `600/m`")),
    }
}

/// Bytes of a text as `512KiB` or `2MiB`.
pub(super) fn size_bytes(text: &str, most: usize) -> Result<usize, String> {
    let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)];
    let (number, unit) = split_unit(text);
    let unit_bytes = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, bytes)| *bytes);
    let bytes = number
        .zip(unit_bytes)
        .and_then(|(number, bytes)| usize::try_from(number).ok()?.checked_mul(bytes));
    match bytes {
        Some(bytes) if 0 < bytes && bytes <= most => Ok(bytes),
        Some(_) => Err(format!("`{text}` is not within 1B and {}MiB", most >> 20)),
        None => Err(format!("`{text}` is not a size: as `512KiB` or `2MiB`")),
    }
}

/// An http or https address without credentials. The address itself is never part of a
/// message: some hold a token.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is neither http nor https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in the URL is not supported: take it out".to_owned());
    }
    Ok(url)
}

/// A network as `10.20.0.0/16`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    text.parse::<IpAddr>()
        .map(IpNet::from)
        .map_err(|_| format!("`{text}` is neither a network, as `10.20.0.0/16`, nor an address"))
}

/// A host that a plugin may call: a DNS name or an address, with neither scheme nor path.
pub(super) fn host(text: &str) -> Result<String, String> {
    let parsed = Url::parse(&format!("https://{text}/"));
    match parsed
        .as_ref()
        .map(|it| (it.host_str(), it.port(), it.as_str().len()))
    {
        Ok((Some(host), None, length))
            if length == "https:///".len() + host.len() && !host.contains(['*', '%']) =>
        {
            Ok(host.to_owned())
        }
        _ => Err(format!("`{text}` is not a host name, as `api.example.com`")),
    }
}

/// JSON text of a table of settings, as a plugin gets it.
pub(super) fn json(table: toml::Table) -> Result<String, String> {
    to_json(Value::Table(table)).map(|it| it.to_string())
}

/// "known are `a`, `b`", for a name that leads nowhere.
pub(super) fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<String> = names.map(|it| format!("`{it}`")).collect();
    if names.is_empty() {
        return "none is declared".to_owned();
    }
    if NAMES_SHOWN_MAX < names.len() {
        names.truncate(NAMES_SHOWN_MAX);
        names.push("…".to_owned());
    }
    format!("known: {}", names.join(", "))
}

fn split_unit(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit)
}

fn short_duration(ms: i64) -> String {
    let days = ms / 86_400_000;
    if 0 < days {
        format!("{days}d")
    } else {
        format!("{}s", ms / 1_000)
    }
}

// The depth is bounded: the TOML parser refuses deeper nesting than this can take.
fn to_json(value: Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => serde_json::Number::from_f64(number)
            .ok_or_else(|| format!("{number} cannot be written as JSON"))?
            .into(),
        Value::Boolean(bool) => bool.into(),
        Value::Datetime(at) => at.to_string().into(),
        Value::Array(values) => values
            .into_iter()
            .map(to_json)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Value::Table(table) => {
            let fields = table
                .into_iter()
                .map(|(key, value)| Ok((key, to_json(value)?)));
            fields
                .collect::<Result<serde_json::Map<_, _>, String>>()?
                .into()
        }
    })
}
