//! Standard Webhooks 1.0.0, symmetric signatures (`v1`).
//!
//! Sources: the specification (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>)
//! and Svix's manual verification (<https://docs.svix.com/receiving/verifying-payloads/how-manual>),
//! whose older `svix-` headers are the same scheme. Asymmetric signatures (`v1a`) are not here.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::payload::{self, Raw, Text};
use super::{BadSecret, Delivery, EventIdentity, Outgoing, Rejection, mac};
use crate::model::event::Headers;
use crate::model::secret::Secret;
use crate::model::source::Source;

/// Names of the headers with the id, the timestamp and the signatures.
type Names = [&'static str; 3];
const NAMES: Names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const SVIX_NAMES: Names = ["svix-id", "svix-timestamp", "svix-signature"];

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<Raw<'a>>,
}

/// Refuses a secret that is not base64, with or without `whsec_`, or that is empty.
pub fn check_secret(secret: &Secret) -> Result<(), BadSecret> {
    key(secret).map(|_| ())
}

/// Checks the signatures of `{id}.{timestamp}.{body}`.
pub fn verify(secrets: &[Secret], delivery: Delivery<'_>) -> Result<usize, Rejection> {
    let names = names(delivery.headers);
    let [id, timestamp, signature] = names;
    let get = |name| {
        delivery
            .headers
            .get(name)
            .ok_or_else(|| Rejection::missing(name))
    };
    let (signatures, id_text, timestamp_text) = (get(signature)?, get(id)?, get(timestamp)?);
    // With a dot in the id, one signed text could be read as two deliveries.
    if id_text.is_empty() || id_text.contains('.') {
        return Err(Rejection::malformed(id));
    }
    let signed_at =
        mac::decode_seconds(timestamp_text).ok_or_else(|| Rejection::malformed(timestamp))?;
    if !signatures.contains(',') {
        return Err(Rejection::malformed(signature));
    }

    let parts: [&[u8]; 5] = [
        id_text.as_bytes(),
        b".",
        timestamp_text.as_bytes(),
        b".",
        delivery.body,
    ];
    let index = secrets
        .iter()
        .position(|it| key(it).is_ok_and(|key| mac::matches(&key, &parts, decode(signatures))))
        .ok_or(Rejection::SignatureMismatch)?;
    mac::check_window(signed_at, delivery.received_at)?;
    Ok(index)
}

/// The name is the body's `type`, the key the signed id.
pub fn identify(delivery: Delivery<'_>, content: &[u8]) -> EventIdentity {
    documented(delivery, content)
        .unwrap_or_else(|| payload::unparsable(&Source::Standard, delivery.body))
}

/// Makes the three headers. The id must not hold a dot.
pub fn sign(secret: &Secret, outgoing: Outgoing<'_>) -> Result<Vec<(String, String)>, BadSecret> {
    let timestamp = mac::encode_seconds(outgoing.now);
    let parts: [&[u8]; 5] = [
        outgoing.id.as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        outgoing.body,
    ];
    let signature = format!("v1,{}", STANDARD.encode(mac::hmac(&key(secret)?, &parts)));
    let values = [outgoing.id.to_owned(), timestamp, signature];
    Ok(NAMES.map(str::to_owned).into_iter().zip(values).collect())
}

fn documented(delivery: Delivery<'_>, content: &[u8]) -> Option<EventIdentity> {
    let [id, timestamp, _] = names(delivery.headers);
    let head: Head<'_> = payload::object(payload::text(content)?)?;
    // The specification puts the name in the body; some senders only set this unsigned header.
    let fallback = || delivery.headers.get("webhook-event").map(Cow::Borrowed);
    let name = head.name.map(|it| it.0).or_else(fallback)?;
    let event = payload::event(
        &Source::Standard,
        &name,
        delivery.headers.get(id),
        delivery.body,
    )?;
    let signed_at = || mac::decode_seconds(delivery.headers.get(timestamp)?);
    Some(EventIdentity {
        occurred_at: head.timestamp.and_then(payload::rfc3339).or_else(signed_at),
        ..event
    })
}

/// One family for all three headers, so that an unsigned header of the other never counts.
fn names(headers: &Headers) -> Names {
    let [.., signature] = NAMES;
    let [.., svix_signature] = SVIX_NAMES;
    match (headers.get(signature), headers.get(svix_signature)) {
        (None, Some(_)) => SVIX_NAMES,
        _ => NAMES,
    }
}

/// The `v1` signatures of a list as `v1,… v1a,… v2,…`; what is anything else is skipped.
fn decode(signatures: &str) -> impl Iterator<Item = mac::Sum> {
    signatures.split(' ').filter_map(|it| {
        STANDARD
            .decode(it.strip_prefix("v1,")?)
            .ok()?
            .try_into()
            .ok()
    })
}

/// The bytes that sign: unlike Stripe's, the secret is decoded first.
fn key(secret: &Secret) -> Result<Vec<u8>, BadSecret> {
    let text = secret.expose();
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    match mac::decode_secret_base64(text) {
        Some(key) if key.is_empty() => Err(BadSecret("the secret is empty".to_owned())),
        Some(key) => Ok(key),
        None => Err(BadSecret(
            "the secret is not `whsec_` and base64".to_owned(),
        )),
    }
}
