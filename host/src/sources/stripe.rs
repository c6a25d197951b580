//! Stripe's events.
//!
//! Source: <https://docs.stripe.com/webhooks#verify-manually>. The secret signs as it
//! stands, `whsec_` included. Fetching the object of a thin event is not done here.

use std::borrow::Cow;

use serde::Deserialize;

use super::payload::{self, Raw};
use super::{Delivery, EventIdentity, Outgoing, Rejection, mac};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::model::time::TimestampMs;

const SIGNATURE: &str = "stripe-signature";

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
    #[serde(borrow)]
    created: Option<Raw<'a>>,
}

/// Checks `t=…,v1=…[,v1=…]` over `{t}.{body}`.
pub fn verify(secrets: &[Secret], delivery: Delivery<'_>) -> Result<usize, Rejection> {
    let header = delivery
        .headers
        .get(SIGNATURE)
        .ok_or_else(|| Rejection::missing(SIGNATURE))?;
    let (timestamp, signed_at) =
        timestamp(header).ok_or_else(|| Rejection::malformed(SIGNATURE))?;

    let parts: [&[u8]; 3] = [timestamp.as_bytes(), b".", delivery.body];
    let index = secrets
        .iter()
        .position(|it| mac::matches(it.expose().as_bytes(), &parts, signatures(header)))
        .ok_or(Rejection::SignatureMismatch)?;
    mac::check_window(signed_at, delivery.received_at)?;
    Ok(index)
}

/// The name is the body's `type`, the key its `id`.
pub fn identify(delivery: Delivery<'_>, content: &[u8]) -> EventIdentity {
    documented(delivery, content)
        .unwrap_or_else(|| payload::unparsable(&Source::Stripe, delivery.body))
}

/// Makes the one header. The delivery's id stands in the body.
pub fn sign(secret: &Secret, outgoing: Outgoing<'_>) -> Vec<(String, String)> {
    let timestamp = mac::encode_seconds(outgoing.now);
    let parts: [&[u8]; 3] = [timestamp.as_bytes(), b".", outgoing.body];
    let signature = hex::encode(mac::hmac(secret.expose().as_bytes(), &parts));
    vec![(
        SIGNATURE.to_owned(),
        format!("t={timestamp},v1={signature}"),
    )]
}

fn documented(delivery: Delivery<'_>, content: &[u8]) -> Option<EventIdentity> {
    let head: Head<'_> = payload::object(payload::text(content)?)?;
    let event = payload::event(&Source::Stripe, &head.name, Some(&head.id), delivery.body)?;
    // Seconds in a snapshot event, RFC 3339 in a thin one.
    let occurred_at = head
        .created
        .and_then(|it| payload::seconds(it).or_else(|| payload::rfc3339(it)));
    Some(EventIdentity {
        occurred_at,
        ..event
    })
}

/// The one `t` of a header in which every part is a pair.
fn timestamp(header: &str) -> Option<(&str, TimestampMs)> {
    let mut timestamp = None;
    for pair in header.split(',') {
        if let ("t", value) = pair.split_once('=')?
            && timestamp.replace(value).is_some()
        {
            return None;
        }
    }
    let timestamp = timestamp?;
    Some((timestamp, mac::decode_seconds(timestamp)?))
}

/// Several while a secret is rolled. Other schemes do not count: `v0` is made for tests.
fn signatures(header: &str) -> impl Iterator<Item = mac::Sum> {
    header
        .split(',')
        .filter_map(|it| mac::decode_hex(it.strip_prefix("v1=")?))
}
