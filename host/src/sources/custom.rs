//! Sources that are data: verified, named and signed as their declaration says.
//!
//! Called like the files of the built-in sources. The declarations of some providers are
//! shipped (`host/sources/*.toml`), others stand in the configuration; see `docs/SOURCES.md`.

mod reader;
mod signed;

use self::reader::{Reader, clean_name};
use self::signed::{get, malformed_timestamp, signatures, signed_text, timestamp};
use super::json::NotAnObject;
use super::{BadSecret, Delivery, EventIdentity, Outgoing, Rejection, mac, payload};
use crate::model::custom_source::{
    CustomSource, Encoding, Place, Scheme, SecretEncoding, SignedPart, Template, TimeUnit,
};
use crate::model::event::{ContentKey, Headers};
use crate::model::secret::Secret;
use crate::model::time::{TimestampMs, rfc3339};

/// Refuses a secret that is not written as the source says, that is empty, or that no header can hold.
pub fn check_secret(source: &CustomSource, secret: &Secret) -> Result<(), BadSecret> {
    key(source, secret)?;
    let in_header = secret.expose().bytes().all(|it| it.is_ascii_graphic());
    if source.signature.scheme == Scheme::Token && !in_header {
        let message = "the secret is sent as a header: printable ASCII without spaces only";
        return Err(BadSecret(message.to_owned()));
    }
    Ok(())
}

/// Checks the token, or the signatures of the signed text; then the time, unless it stands in the body.
pub fn verify(
    source: &CustomSource,
    secrets: &[Secret],
    delivery: Delivery<'_>,
) -> Result<usize, Rejection> {
    let signature = &source.signature;
    let header = get(delivery.headers, &signature.header)?;
    let timestamp = timestamp(source, delivery.headers)?;
    let index = match &signature.scheme {
        Scheme::Token => {
            let token = header
                .strip_prefix(&signature.prefix)
                .ok_or_else(|| Rejection::malformed(signature.header.clone()))?;
            let matches = |secret: &Secret| {
                key(source, secret).is_ok_and(|key| mac::equal(&key, token.as_bytes()))
            };
            secrets.iter().position(matches)
        }
        Scheme::Hmac(rule) => {
            let signatures = signatures(rule, &signature.prefix, header);
            if signatures.is_empty() {
                return Err(Rejection::malformed(signature.header.clone()));
            }
            let parts = signed_text(source, rule, timestamp, delivery)?;
            let matches = |secret: &Secret| {
                key(source, secret).is_ok_and(|key| {
                    let sum = mac::hmac_with(rule.algorithm, &key, &parts);
                    signatures.iter().any(|it| mac::same(&sum, it))
                })
            };
            secrets.iter().position(matches)
        }
    };
    let index = index.ok_or(Rejection::SignatureMismatch)?;
    if let (Some(rule), Some(timestamp)) = (&source.timestamp, timestamp) {
        let signed_at = mac::decode_time(timestamp, rule.time.unit)
            .ok_or_else(|| malformed_timestamp(source))?;
        mac::check_tolerance(signed_at, delivery.received_at, rule.tolerance_ms)?;
    }
    Ok(index)
}

/// Name and keys, from where the declaration says.
pub fn identify(
    source: &CustomSource,
    delivery: Delivery<'_>,
    content: &[u8],
) -> Result<EventIdentity, Rejection> {
    let reader = Reader::new(source, delivery.headers, content);
    let event = match in_time(&reader, delivery.received_at)? {
        true => documented(&reader, delivery.body),
        false => None,
    };
    let event = event.unwrap_or_else(|| payload::unparsable(&source.name, delivery.body));
    Ok(EventIdentity {
        content_key: content_key(source, delivery)?,
        ..event
    })
}

/// Makes the headers that a receiver reads. What it finds in the body must stand there already.
pub fn sign(
    source: &CustomSource,
    secret: &Secret,
    outgoing: Outgoing<'_>,
) -> Result<Vec<(String, String)>, BadSecret> {
    check_secret(source, secret)?;
    let mut headers = Headers::default();
    let mut set = |name: &str, value: String| {
        if headers.get(name).is_none() {
            headers.0.push((name.to_owned(), value));
        }
    };
    let times = source.timestamp.iter().map(|it| &it.time);
    for time in times.chain(&source.occurred_at) {
        if let Place::Header(name) = &time.place {
            set(name, encode_time(outgoing.now, time.unit));
        }
    }
    for (name, value) in event_headers(source, outgoing.event) {
        set(name, value.to_owned());
    }
    let signed = source.hmac().map_or(&[][..], |it| it.signed.parts());
    let signed = signed.iter().filter_map(|it| match it {
        SignedPart::Header(name) => Some(name),
        _ => None,
    });
    let keys = source.idempotency_key.first();
    for name in signed.chain(keys.into_iter().flat_map(header_names)) {
        set(name, outgoing.id.to_owned());
    }
    let signature = signature(source, secret, &headers, outgoing)?;
    headers.0.push((source.signature.header.clone(), signature));
    Ok(headers.0)
}

/// The value of the header that proves the sender; the other headers are there.
fn signature(
    source: &CustomSource,
    secret: &Secret,
    headers: &Headers,
    outgoing: Outgoing<'_>,
) -> Result<String, BadSecret> {
    let prefix = &source.signature.prefix;
    let rule = match &source.signature.scheme {
        Scheme::Token => return Ok(format!("{prefix}{}", secret.expose())),
        Scheme::Hmac(rule) => rule,
    };
    let time = source
        .timestamp
        .as_ref()
        .map(|it| (&it.time.place, encode_time(outgoing.now, it.time.unit)));
    let delivery = Delivery {
        headers,
        body: outgoing.body,
        received_at: outgoing.now,
    };
    let timestamp = time.as_ref().map(|(_, text)| text.as_str());
    let parts = signed_text(source, rule, timestamp, delivery)
        .map_err(|error| BadSecret(format!("this cannot be signed without doubt: {error}")))?;
    let sum = mac::hmac_with(rule.algorithm, &key(source, secret)?, &parts);
    let signature = match rule.encoding {
        Encoding::Hex => hex::encode(sum),
        Encoding::Base64 => mac::encode_base64(&sum),
    };
    Ok(match (time, &rule.separator) {
        (Some((Place::Pair(key), time)), Some(separator)) => {
            format!("{key}={time}{separator}{prefix}{signature}")
        }
        _ => format!("{prefix}{signature}"),
    })
}

/// The headers that the event's name is read from: the whole name, or its words one by one.
fn event_headers<'a>(
    source: &'a CustomSource,
    event: &'a str,
) -> impl Iterator<Item = (&'a String, &'a str)> {
    let template = source.event_type.first();
    let parts = template.map_or(&[][..], Template::parts);
    let places = template.into_iter().flat_map(Template::places).enumerate();
    places.filter_map(move |(index, place)| match place {
        Place::Header(name) if parts.len() == 1 => Some((name, event)),
        Place::Header(name) => Some((name, event.split('.').nth(index)?)),
        Place::Body(_) | Place::Pair(_) => None,
    })
}

fn header_names(template: &Template) -> impl Iterator<Item = &String> {
    template.places().filter_map(|it| match it {
        Place::Header(name) => Some(name),
        Place::Body(_) | Place::Pair(_) => None,
    })
}

fn documented(reader: &Reader<'_>, body: &[u8]) -> Option<EventIdentity> {
    let source = reader.source;
    let name = clean_name(&reader.first(&source.event_type).ok()??);
    let key = reader.first(&source.idempotency_key).ok()?;
    let event = payload::event(&source.name, &name, key.as_deref(), body)?;
    let ordering_key = reader.first(&source.ordering_key).ok()?;
    let occurred_at = match &source.occurred_at {
        Some(rule) => reader.time(rule).ok()?,
        None => None,
    };
    Some(EventIdentity {
        ordering_key: ordering_key.filter(|it| payload::is_key(it)),
        occurred_at,
        ..event
    })
}

/// Whether a time of sending in the body is there, as declared. Where it is not, nothing tells
/// an old delivery, so that it is not taken for what it says it is.
fn in_time(reader: &Reader<'_>, received_at: TimestampMs) -> Result<bool, Rejection> {
    let Some(rule) = &reader.source.timestamp else {
        return Ok(true);
    };
    if !matches!(rule.time.place, Place::Body(_)) {
        return Ok(true);
    }
    match reader.time(&rule.time) {
        Ok(Some(at)) => mac::check_tolerance(at, received_at, rule.tolerance_ms).map(|()| true),
        Ok(None) | Err(NotAnObject) => Ok(false),
    }
}

/// The hash of the signed text: the same for a captured delivery that is sent again with other
/// unsigned headers, another one for the next delivery where the scheme signs its time.
fn content_key(
    source: &CustomSource,
    delivery: Delivery<'_>,
) -> Result<Option<ContentKey>, Rejection> {
    let (Some(rule), Some(window_ms)) = (source.hmac(), source.content_window_ms) else {
        return Ok(None);
    };
    let timestamp = timestamp(source, delivery.headers)?;
    let parts = signed_text(source, rule, timestamp, delivery)?;
    Ok(Some(ContentKey {
        key: mac::sha256_hex(&parts),
        window_ms: Some(window_ms),
    }))
}

/// The bytes that sign.
fn key(source: &CustomSource, secret: &Secret) -> Result<Vec<u8>, BadSecret> {
    let text = secret.expose();
    let (key, form) = match source.secret_encoding {
        SecretEncoding::Text => (Some(text.as_bytes().to_vec()), "text"),
        SecretEncoding::Base64 => (mac::decode_secret_base64(text), "base64"),
        SecretEncoding::Hex => (hex::decode(text).ok(), "hexadecimal"),
    };
    match key {
        Some(key) if key.is_empty() => Err(BadSecret("the secret is empty".to_owned())),
        Some(key) => Ok(key),
        None => Err(BadSecret(format!(
            "the secret is not {form}, as source `{}` has it",
            source.name
        ))),
    }
}

fn encode_time(at: TimestampMs, unit: TimeUnit) -> String {
    match unit {
        TimeUnit::Seconds => mac::encode_seconds(at),
        TimeUnit::Milliseconds => at.to_string(),
        TimeUnit::Rfc3339 => rfc3339(at),
    }
}
