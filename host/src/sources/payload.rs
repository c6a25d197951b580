//! What the payloads share: JSON objects, form fields, names and keys that are fit to keep.
//!
//! Called by each source once the signature has been checked. Which fields a
//! provider documents stands in that provider's file.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::EventIdentity;
use super::mac::sha256_hex;
use crate::model::time::{TimestampMs, parse_rfc3339};

/// The longest event name, without the source.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest idempotency key.
pub const KEY_BYTES_MAX: usize = 256;

/// A string that is borrowed where it holds no escapes, also inside an `Option`.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A value that is only looked at if it has the expected form: a time must not decide what an event is.
pub type Raw<'a> = &'a RawValue;

/// The wanted members of a JSON object.
///
/// All of the text must be JSON: members that are skipped are checked too, without
/// recursion, so that deep nesting costs no stack.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    // Serde would also fill a struct from an array.
    text.trim_ascii_start()
        .starts_with('{')
        .then(|| serde_json::from_str(text).ok())?
}

/// The body as text. Checked as a whole, because serde_json skips over strings unread.
pub fn text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok()
}

/// Whether the body is a JSON object rather than a form.
///
/// Told by the bytes, which are signed, and not by `content-type`, which is not. A
/// form never begins with a brace: it would be percent-encoded.
pub fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// The first field of this name in a form (`application/x-www-form-urlencoded`).
pub fn form_field<'a>(body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    url::form_urlencoded::parse(body)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// A JSON number of seconds since 1970.
pub fn seconds(raw: Raw<'_>) -> Option<TimestampMs> {
    raw.get().parse::<i64>().ok()?.checked_mul(1000)
}

/// A JSON string that holds an RFC 3339 time.
pub fn rfc3339(raw: Raw<'_>) -> Option<TimestampMs> {
    parse_rfc3339(raw.get().trim_matches('"'))
}

/// An event with this name, unless the name is not fit to keep.
///
/// Without an id, or with one that is not fit to keep, the body's hash is the key.
pub fn event(
    source: impl Display,
    name: &str,
    id: Option<&str>,
    body: &[u8],
) -> Option<EventIdentity> {
    is_name(name).then(|| EventIdentity {
        event_type: format!("{source}.{name}"),
        idempotency_key: id
            .filter(|it| is_key(it))
            .map_or_else(|| sha256_hex(&[body]), str::to_owned),
        content_key: None,
        ordering_key: None,
        occurred_at: None,
    })
}

/// A verified delivery that is not what its provider documents: kept all the same.
pub fn unparsable(source: impl Display, body: &[u8]) -> EventIdentity {
    EventIdentity {
        event_type: format!("{source}.unparsable"),
        idempotency_key: sha256_hex(&[body]),
        content_key: None,
        ordering_key: None,
        occurred_at: None,
    }
}

/// Names come from senders and end up in lists, patterns and metrics.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"_.:-".contains(&it))
}

/// Whether a key that a sender chose is fit to keep.
pub fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control)
}
