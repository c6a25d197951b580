//! Sources that are declared: those that are shipped with the host, and those of the file.
//!
//! Called by `resolve` before the integrations, which name them. What a template may say is
//! `model::custom_source`'s; whether the parts of a declaration fit each other is decided here.

mod fit;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use toml::{Table, Value};

use super::problem::Problems;
use super::raw::{RawSignature, RawSource, RawTime};
use super::{raw, values};
use crate::model::custom_source::{
    Algorithm, CustomSource, Encoding, HmacRule, Place, Scheme, SecretEncoding, Signature,
    SignedText, Template, TimeRule, TimeUnit, TimestampRule, header_name,
};
use crate::model::source::Source;

/// One file for each provider; the comment in it names the provider's document.
const SHIPPED: [&str; 6] = [
    include_str!("../../sources/gitlab.toml"),
    include_str!("../../sources/intercom.toml"),
    include_str!("../../sources/linear.toml"),
    include_str!("../../sources/pagerduty.toml"),
    include_str!("../../sources/shopify.toml"),
    include_str!("../../sources/zendesk.toml"),
];

/// The most templates that are tried for one text.
const TEMPLATES_MAX: usize = 4;
/// How far a timestamp may be from now, where a declaration does not say.
const TOLERANCE_MS: i64 = 300_000;
/// The largest `tolerance`.
const TOLERANCE_MS_MOST: i64 = 86_400_000;
/// How long the same signed text counts as a repeat, where the key is not signed: as for GitHub.
const CONTENT_WINDOW_MS: i64 = 3_600_000;
/// The largest `content_window`.
const CONTENT_WINDOW_MS_MOST: i64 = 30 * 86_400_000;
/// The longest `prefix`, `separator` or `form_field` in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// Every source that is usable without a declaration, by name.
pub fn ready() -> BTreeMap<String, Source> {
    let built_in = Source::BUILT_IN
        .into_iter()
        .map(|it| (it.as_str().to_owned(), it));
    // A shipped file has no problems, which a test holds.
    built_in.chain(shipped(&mut Problems::default())).collect()
}

/// The shipped declarations, by name.
pub(super) fn shipped(problems: &mut Problems) -> Vec<(String, Source)> {
    let mut sources = Vec::new();
    for text in SHIPPED {
        let file = problems.take("sources", toml::from_str::<Table>(text));
        for (name, raw) in raw::named(&mut file.unwrap_or_default(), "sources", problems) {
            let source = source(&name, raw, problems);
            sources.extend(source.map(|it| (name, Source::Custom(Arc::new(it)))));
        }
    }
    sources
}

/// Every source that an integration of this file may name. A shipped one gives way to one of the file.
pub(super) fn resolve(
    raw: BTreeMap<String, RawSource>,
    problems: &mut Problems,
) -> BTreeMap<String, Source> {
    let mut sources = ready();
    for (name, raw) in raw {
        let setting = format!("sources.{name}");
        let is_name = problems.take(&setting, values::name(&name)).is_some();
        if Source::BUILT_IN.iter().any(|it| it.as_str() == name) {
            problems.add(&setting, "is built in: give yours another name");
            continue;
        }
        sources.remove(&name);
        let source = source(&name, raw, problems).filter(|_| is_name);
        sources.extend(source.map(|it| (name, Source::Custom(Arc::new(it)))));
    }
    sources
}

fn source(name: &str, raw: RawSource, problems: &mut Problems) -> Option<CustomSource> {
    let at = |field: &str| format!("sources.{name}.{field}");
    let signature = signature(&at("signature"), raw.signature, problems);
    let timestamp = timestamp(&at("timestamp"), raw.timestamp, problems);
    let event_type = problems.required(
        &at("event_type"),
        raw.event_type,
        "as `event_type = \"{header:X-Event}\"` or `\"{body:/type}\"`",
    );
    let event_type = templates(&at("event_type"), event_type, problems);
    let idempotency_key = templates(&at("idempotency_key"), raw.idempotency_key, problems);
    let ordering_key = templates(&at("ordering_key"), raw.ordering_key, problems);
    let occurred_at = occurred_at(&at("occurred_at"), raw.occurred_at, problems);
    let secret_encoding = match raw.secret_encoding.as_deref() {
        None | Some("text") => SecretEncoding::Text,
        Some("base64") => SecretEncoding::Base64,
        Some("hex") => SecretEncoding::Hex,
        // Not shown: it may be a secret that somebody put here.
        Some(_) => {
            problems.add(at("secret_encoding"), "must be `text`, `base64` or `hex`");
            SecretEncoding::Text
        }
    };
    let form_field = raw
        .form_field
        .and_then(|text| problems.take(at("form_field"), short(text)));
    let content_window_ms = raw.content_window.and_then(|text| {
        let window = values::duration_ms(&text, CONTENT_WINDOW_MS_MOST);
        problems.take(at("content_window"), window)
    });
    let mut source = CustomSource {
        name: name.to_owned(),
        signature: signature?,
        secret_encoding,
        timestamp,
        event_type,
        idempotency_key,
        ordering_key,
        occurred_at,
        form_field,
        content_window_ms,
    };
    check(&source, problems);
    source.content_window_ms = content_window_ms.or_else(|| guard_ms(&source));
    Some(source)
}

/// What does not fit together.
fn check(source: &CustomSource, problems: &mut Problems) {
    let at = |field: &str| format!("sources.{}.{field}", source.name);
    fit::signature_apart(source, problems);
    let time_place = source.timestamp.as_ref().map(|it| &it.time.place);
    let Some(rule) = source.hmac() else {
        if source.content_window_ms.is_some() {
            problems.add(at("content_window"), NOTHING_SIGNED);
        }
        if source.secret_encoding != SecretEncoding::Text {
            let message = "the token is compared as it stands: take this setting out";
            problems.add(at("secret_encoding"), message);
        }
        no_pairs(source, "`token` has no list of pairs", problems);
        return;
    };
    if rule.signed.holds_timestamp() {
        match time_place {
            None => problems.add(
                at("signature.signed"),
                "holds `{timestamp}`: say in `timestamp` where it is",
            ),
            Some(Place::Body(_)) => problems.add(
                at("signature.signed"),
                "holds `{timestamp}`, which stands in the body: `{body}` signs it already",
            ),
            Some(_) => (),
        }
    }
    match &rule.separator {
        None => no_pairs(
            source,
            "a pair is one of a list: say what separates it in `signature.separator`",
            problems,
        ),
        Some(separator) => fit::list(source, separator, problems),
    }
    let tolerance_ms = source.timestamp.as_ref().map_or(0, |it| it.tolerance_ms);
    if source
        .content_window_ms
        .is_some_and(|it| it < 2 * tolerance_ms)
    {
        problems.add(
            at("content_window"),
            "is shorter than twice the tolerance: what somebody caught could be sent again in between",
        );
    }
}

const NOTHING_SIGNED: &str = "`token` signs nothing: take this setting out";

fn no_pairs(source: &CustomSource, cause: &str, problems: &mut Problems) {
    for (field, _) in fit::places(source).filter(|(_, it)| matches!(it, Place::Pair(_))) {
        problems.add(format!("sources.{}.{field}", source.name), cause);
    }
}

/// Whoever holds one signed delivery could send it again under other keys, where these are not signed.
fn guard_ms(source: &CustomSource) -> Option<i64> {
    source.hmac()?;
    let mut places = source.idempotency_key.iter().flat_map(Template::places);
    let tolerance_ms = source.timestamp.as_ref().map_or(0, |it| it.tolerance_ms);
    places
        .any(|it| !source.signs(it))
        .then_some(CONTENT_WINDOW_MS.max(2 * tolerance_ms))
}

fn signature(setting: &str, raw: Option<Table>, problems: &mut Problems) -> Option<Signature> {
    let hint = "as `{ header = \"X-Signature\", algorithm = \"hmac-sha256\", encoding = \"hex\" }`";
    let raw: RawSignature = raw::section(setting, problems.required(setting, raw, hint)?, problems);
    let at = |name: &str| format!("{setting}.{name}");
    let header = problems.required(&at("header"), raw.header, "as `X-Signature`");
    let header = header.and_then(|it| problems.take(at("header"), header_name(&it)));
    let prefix = match raw.prefix {
        Some(text) => problems.take(at("prefix"), short(text)),
        None => Some(String::new()),
    };
    let algorithms = "hmac-sha256, hmac-sha512, hmac-sha1 or token";
    let algorithm = problems.required(&at("algorithm"), raw.algorithm, algorithms)?;
    let algorithm = match algorithm.as_str() {
        "hmac-sha1" => Algorithm::Sha1,
        "hmac-sha256" => Algorithm::Sha256,
        "hmac-sha512" => Algorithm::Sha512,
        "token" => {
            for (name, value) in [
                ("encoding", &raw.encoding),
                ("separator", &raw.separator),
                ("signed", &raw.signed),
            ] {
                if value.is_some() {
                    problems.add(at(name), NOTHING_SIGNED);
                }
            }
            return Some(Signature {
                header: header?,
                prefix: prefix?,
                scheme: Scheme::Token,
            });
        }
        other => {
            let message = format!("`{other}` is not known: {algorithms}");
            problems.add(at("algorithm"), message);
            return None;
        }
    };
    let encoding = problems.required(&at("encoding"), raw.encoding, "hex or base64");
    let encoding = match encoding.as_deref() {
        Some("hex") => Some(Encoding::Hex),
        Some("base64") => Some(Encoding::Base64),
        Some(other) => {
            problems.add(
                at("encoding"),
                format!("`{other}` is neither hex nor base64"),
            );
            None
        }
        None => None,
    };
    let separator = raw
        .separator
        .and_then(|text| problems.take(at("separator"), short(text)));
    let signed = match raw.signed {
        Some(text) => problems.take(at("signed"), text.parse::<SignedText>()),
        None => Some(SignedText::default()),
    };
    let rule = HmacRule {
        algorithm,
        encoding: encoding?,
        separator,
        signed: signed?,
    };
    Some(Signature {
        header: header?,
        prefix: prefix?,
        scheme: Scheme::Hmac(rule),
    })
}

fn timestamp(setting: &str, raw: Option<Table>, problems: &mut Problems) -> Option<TimestampRule> {
    let mut raw: RawTime = raw::section(setting, raw?, problems);
    let tolerance_ms = match raw.tolerance.take() {
        None => Some(TOLERANCE_MS),
        Some(text) => {
            let tolerance = values::duration_ms(&text, TOLERANCE_MS_MOST);
            problems.take(format!("{setting}.tolerance"), tolerance)
        }
    };
    Some(TimestampRule {
        time: time(setting, raw, problems)?,
        tolerance_ms: tolerance_ms?,
    })
}

fn occurred_at(setting: &str, raw: Option<Table>, problems: &mut Problems) -> Option<TimeRule> {
    let raw: RawTime = raw::section(setting, raw?, problems);
    if raw.tolerance.is_some() {
        let message = "this time is not checked: only `timestamp` has a tolerance";
        problems.add(format!("{setting}.tolerance"), message);
    }
    time(setting, raw, problems)
}

fn time(setting: &str, raw: RawTime, problems: &mut Problems) -> Option<TimeRule> {
    let from = format!("{setting}.from");
    let hint = "as `{header:X-Time}` or `{body:/sent_at}`";
    let place = problems.required(&from, raw.from, hint);
    let place = place.and_then(|it| problems.take(&from, it.parse::<Place>()));
    let units = "seconds, milliseconds or rfc3339";
    let setting = format!("{setting}.unit");
    let unit = match problems.required(&setting, raw.unit, units)?.as_str() {
        "seconds" => TimeUnit::Seconds,
        "milliseconds" => TimeUnit::Milliseconds,
        "rfc3339" => TimeUnit::Rfc3339,
        other => {
            problems.add(&setting, format!("`{other}` is not known: {units}"));
            return None;
        }
    };
    Some(TimeRule {
        place: place?,
        unit,
    })
}

/// One template, or a list of them.
fn templates(setting: &str, value: Option<Value>, problems: &mut Problems) -> Vec<Template> {
    let values = match value {
        None => return Vec::new(),
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
    };
    if values.is_empty() || TEMPLATES_MAX < values.len() {
        let message = format!("must be a text, or a list of 1 to {TEMPLATES_MAX} of them");
        problems.add(setting, message);
    }
    let mut templates = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let setting = match values.len() {
            1 => setting.to_owned(),
            _ => format!("{setting}[{index}]"),
        };
        let Some(text) = value.as_str() else {
            problems.add(setting, "must be a text, as `{body:/id}`");
            continue;
        };
        templates.extend(problems.take(setting, Template::from_str(text)));
    }
    templates
}

/// A short text that a header can hold.
fn short(text: String) -> Result<String, String> {
    let fits = (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|it| matches!(it, b' '..=b'~'));
    if fits {
        return Ok(text);
    }
    Err(format!(
        "must be 1 to {TEXT_BYTES_MAX} printable ASCII characters"
    ))
}
