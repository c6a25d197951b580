//! The signed text, and what stands in the header that proves it.

use super::super::{Delivery, Rejection, mac};
use crate::model::custom_source::{
    Algorithm, CustomSource, Encoding, HmacRule, Place, SignedPart, TimeUnit,
};
use crate::model::event::Headers;

/// A header that must be there.
pub fn get<'a>(headers: &'a Headers, name: &str) -> Result<&'a str, Rejection> {
    headers
        .get(name)
        .ok_or_else(|| Rejection::missing(name.to_owned()))
}

/// The timestamp as received, unless it stands in the body.
pub fn timestamp<'a>(
    source: &CustomSource,
    headers: &'a Headers,
) -> Result<Option<&'a str>, Rejection> {
    match source.timestamp.as_ref().map(|it| &it.time.place) {
        Some(Place::Header(name)) => get(headers, name).map(Some),
        Some(Place::Pair(key)) => pair(source, headers, key)
            .map(Some)
            .ok_or_else(|| malformed_timestamp(source)),
        Some(Place::Body(_)) | None => Ok(None),
    }
}

/// The header that holds the timestamp is not what the source says.
pub fn malformed_timestamp(source: &CustomSource) -> Rejection {
    match source.timestamp.as_ref().map(|it| &it.time.place) {
        Some(Place::Header(name)) => Rejection::malformed(name.clone()),
        _ => Rejection::malformed(source.signature.header.clone()),
    }
}

/// The value of the one pair of this name in the signature's header.
pub fn pair<'a>(source: &CustomSource, headers: &'a Headers, key: &str) -> Option<&'a str> {
    let header = headers.get(&source.signature.header)?;
    let value = |it: &'a str| it.strip_prefix(key)?.strip_prefix('=');
    let mut values = items(source.hmac()?, header).into_iter().filter_map(value);
    values.next().filter(|_| values.next().is_none())
}

/// What stands between the separators.
fn items<'a>(rule: &HmacRule, header: &'a str) -> Vec<&'a str> {
    match &rule.separator {
        None => vec![header],
        Some(separator) => header.split(separator.as_str()).map(str::trim).collect(),
    }
}

/// The signatures in a header; what is anything else is skipped.
pub fn signatures(rule: &HmacRule, prefix: &str, header: &str) -> Vec<Vec<u8>> {
    let length = match rule.algorithm {
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 => 32,
        Algorithm::Sha512 => 64,
    };
    let decode = |text: &str| match rule.encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => mac::decode_base64(text),
    };
    items(rule, header)
        .into_iter()
        .filter_map(|it| decode(it.strip_prefix(prefix)?))
        .filter(|it| it.len() == length)
        .collect()
}

/// The parts of the signed text, if it can be read in one way only.
pub fn signed_text<'a>(
    source: &'a CustomSource,
    rule: &'a HmacRule,
    timestamp: Option<&'a str>,
    delivery: Delivery<'a>,
) -> Result<Vec<&'a [u8]>, Rejection> {
    let parts = rule.signed.parts();
    let body_at = parts.iter().position(|it| *it == SignedPart::Body);
    let mut values = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let (value, refusal) = match part {
            SignedPart::Text(text) => {
                values.push(text.as_bytes());
                continue;
            }
            SignedPart::Body => {
                values.push(delivery.body);
                continue;
            }
            SignedPart::Header(name) => (
                get(delivery.headers, name)?,
                Rejection::malformed(name.clone()),
            ),
            SignedPart::Timestamp => (timestamp.unwrap_or_default(), malformed_timestamp(source)),
        };
        // Read from the start up to the body, and from the end back to it.
        let before_body = body_at.is_some_and(|it| index < it);
        let neighbour = if before_body {
            parts.get(index + 1)
        } else {
            parts.get(index.wrapping_sub(1))
        };
        let unit = source
            .timestamp
            .as_ref()
            .filter(|_| *part == SignedPart::Timestamp)
            .map(|it| it.time.unit);
        let is_time = unit.is_none_or(|it| mac::decode_time(value, it).is_some());
        if value.is_empty() || !is_time || !ends(value, unit, neighbour, delivery.body, before_body)
        {
            return Err(refusal);
        }
        values.push(value.as_bytes());
    }
    Ok(values)
}

/// Whether it can be told where a value in a signed text ends (or begins, behind the body).
fn ends(
    value: &str,
    unit: Option<TimeUnit>,
    neighbour: Option<&SignedPart>,
    body: &[u8],
    before_body: bool,
) -> bool {
    let edge = |text: &[u8]| {
        if before_body {
            text.first().copied()
        } else {
            text.last().copied()
        }
    };
    match (unit, neighbour) {
        // Its form says where it ends.
        (Some(TimeUnit::Rfc3339), _) | (_, None) => true,
        (_, Some(SignedPart::Text(text))) => {
            edge(text.as_bytes()).is_some_and(|it| !value.as_bytes().contains(&it))
        }
        (_, Some(SignedPart::Body)) => edge(body).is_none_or(|it| !it.is_ascii_digit()),
        (_, Some(SignedPart::Timestamp | SignedPart::Header(_))) => false,
    }
}
