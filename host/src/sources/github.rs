//! GitHub's repository, organisation and app webhooks.
//!
//! Source: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
//! Only the body is signed: neither a time nor the event's name nor the delivery's
//! id. The legacy SHA-1 signature is not accepted.

mod shape;

use std::borrow::Cow;

use self::shape::Head;
use super::payload;
use super::{Delivery, EventIdentity, Outgoing, Rejection, mac};
use crate::model::event::ContentKey;
use crate::model::secret::Secret;
use crate::model::source::Source;

/// How long the same signed body counts as a repeat, under whatever delivery id.
///
/// The delivery id is unsigned, so whoever holds one signed body can send it again
/// under new ids. Longer than a burst of such repeats, short enough that a body
/// without a time in it, as a ping's, may honestly come again.
const CONTENT_WINDOW_MS: i64 = 3_600_000;

const SIGNATURE: &str = "x-hub-signature-256";
const EVENT: &str = "x-github-event";
const DELIVERY: &str = "x-github-delivery";

/// Checks `sha256=…` over the body as received, form or JSON.
pub fn verify(secrets: &[Secret], delivery: Delivery<'_>) -> Result<usize, Rejection> {
    let header = delivery
        .headers
        .get(SIGNATURE)
        .ok_or_else(|| Rejection::missing(SIGNATURE))?;
    let signature = header
        .strip_prefix("sha256=")
        .and_then(mac::decode_hex)
        .ok_or_else(|| Rejection::malformed(SIGNATURE))?;
    secrets
        .iter()
        .position(|it| {
            mac::matches(
                it.expose().as_bytes(),
                &[delivery.body],
                [signature].into_iter(),
            )
        })
        .ok_or(Rejection::SignatureMismatch)
}

/// The name is the event header and the body's `action`, the key the delivery's id.
///
/// A name that the signed body does not fit is not believed: the event is kept as unparsable.
pub fn identify(delivery: Delivery<'_>, content: &[u8]) -> EventIdentity {
    let event = documented(delivery, content)
        .unwrap_or_else(|| payload::unparsable(&Source::Github, delivery.body));
    // The signature stands for the body that it was checked against: it is its keyed hash.
    let content_key = delivery.headers.get(SIGNATURE).map(|it| ContentKey {
        key: it.to_owned(),
        window_ms: Some(CONTENT_WINDOW_MS),
    });
    EventIdentity {
        content_key,
        ..event
    }
}

/// Makes the three headers that a receiver reads.
pub fn sign(secret: &Secret, outgoing: Outgoing<'_>) -> Vec<(String, String)> {
    let signature = hex::encode(mac::hmac(secret.expose().as_bytes(), &[outgoing.body]));
    // The action stands in the body.
    let event = outgoing
        .event
        .split_once('.')
        .map_or(outgoing.event, |(event, _)| event);
    vec![
        (EVENT.to_owned(), event.to_owned()),
        (DELIVERY.to_owned(), outgoing.id.to_owned()),
        (SIGNATURE.to_owned(), format!("sha256={signature}")),
    ]
}

fn documented<'a>(delivery: Delivery<'a>, content: &'a [u8]) -> Option<EventIdentity> {
    let event = delivery.headers.get(EVENT)?;
    let id = delivery.headers.get(DELIVERY)?;
    let json = if payload::is_object(content) {
        Cow::Borrowed(payload::text(content)?)
    } else {
        payload::form_field(content, "payload")?
    };
    let head: Head<'_> = payload::object(&json).filter(|it: &Head<'_>| it.fits(event))?;
    let name = match &head.action {
        Some(action) => Cow::Owned(format!("{event}.{}", action.0)),
        None => Cow::Borrowed(event),
    };
    let event = payload::event(&Source::Github, &name, Some(id), delivery.body)?;
    Some(EventIdentity {
        occurred_at: head.updated_at().and_then(payload::rfc3339),
        ..event
    })
}
