//! Sentry's integration platform.
//!
//! Source: <https://docs.sentry.io/organization/integrations/integration-platform/webhooks/>.
//! Only the body is signed, so the timestamp header is no evidence and there is no window.
//! The documented example signs re-serialised JSON; here the bytes count.

use std::borrow::Cow;

use serde::Deserialize;

use super::payload::{self, Raw};
use super::{Delivery, EventIdentity, Outgoing, Rejection, mac};
use crate::model::event::ContentKey;
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::model::time::TimestampMs;

const SIGNATURE: &str = "sentry-hook-signature";
const TIMESTAMP: &str = "sentry-hook-timestamp";
const RESOURCE: &str = "sentry-hook-resource";
const REQUEST_ID: &str = "request-id";

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Default, Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    event: Option<Raw<'a>>,
    #[serde(borrow)]
    error: Option<Raw<'a>>,
    #[serde(borrow)]
    installation: Option<Raw<'a>>,
    #[serde(borrow)]
    issue: Option<Raw<'a>>,
    #[serde(borrow)]
    metric_alert: Option<Raw<'a>>,
}

impl Data<'_> {
    /// Whether a body with these members can be of this resource.
    ///
    /// The resource comes in a header that is not signed. One that is not known here may have
    /// any members, unless they are those of one that is.
    fn fits(&self, resource: &str) -> bool {
        let members = [
            ("event_alert", self.event),
            ("error", self.error),
            ("installation", self.installation),
            ("issue", self.issue),
            ("metric_alert", self.metric_alert),
        ];
        match members.iter().find(|(name, _)| *name == resource) {
            Some((_, member)) => member.is_some(),
            None => members.iter().all(|(_, member)| member.is_none()),
        }
    }
}

#[derive(Deserialize)]
struct Occurrence<'a> {
    #[serde(borrow)]
    datetime: Option<Raw<'a>>,
}

/// Checks the bare hexadecimal signature of the body.
pub fn verify(secrets: &[Secret], delivery: Delivery<'_>) -> Result<usize, Rejection> {
    let header = delivery
        .headers
        .get(SIGNATURE)
        .ok_or_else(|| Rejection::missing(SIGNATURE))?;
    let signature = mac::decode_hex(header).ok_or_else(|| Rejection::malformed(SIGNATURE))?;
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

/// The name is the resource header and the body's `action`, the key `Request-ID`.
///
/// A resource that the signed body does not fit is not believed: the event is kept as unparsable.
pub fn identify(delivery: Delivery<'_>, content: &[u8]) -> EventIdentity {
    let event = documented(delivery, content)
        .unwrap_or_else(|| payload::unparsable(&Source::Sentry, delivery.body));
    EventIdentity {
        // Sentry makes a new `Request-ID` when it tries again, so the content must tell the repeat.
        // Not with the resource, which is not signed either.
        content_key: Some(ContentKey {
            key: mac::sha256_hex(&[delivery.body]),
            window_ms: None,
        }),
        ..event
    }
}

/// Makes the four headers that a receiver reads.
pub fn sign(secret: &Secret, outgoing: Outgoing<'_>) -> Vec<(String, String)> {
    // The action stands in the body.
    let resource = outgoing
        .event
        .split_once('.')
        .map_or(outgoing.event, |(resource, _)| resource);
    vec![
        (RESOURCE.to_owned(), resource.to_owned()),
        (REQUEST_ID.to_owned(), outgoing.id.to_owned()),
        (TIMESTAMP.to_owned(), mac::encode_seconds(outgoing.now)),
        (
            SIGNATURE.to_owned(),
            hex::encode(mac::hmac(secret.expose().as_bytes(), &[outgoing.body])),
        ),
    ]
}

fn documented(delivery: Delivery<'_>, content: &[u8]) -> Option<EventIdentity> {
    let resource = delivery.headers.get(RESOURCE)?;
    let id = delivery.headers.get(REQUEST_ID)?;
    let head: Head<'_> = payload::object(payload::text(content)?)?;
    let data = head.data.unwrap_or_default();
    if !data.fits(resource) {
        return None;
    }
    let name = format!("{resource}.{}", head.action);
    let event = payload::event(&Source::Sentry, &name, Some(id), delivery.body)?;
    Some(EventIdentity {
        occurred_at: data.event.or(data.error).and_then(happened_at),
        ..event
    })
}

fn happened_at(occurrence: Raw<'_>) -> Option<TimestampMs> {
    let occurrence: Occurrence<'_> = payload::object(occurrence.get())?;
    payload::rfc3339(occurrence.datetime?)
}
