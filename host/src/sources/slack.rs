//! Slack: Events API, slash commands and interactions.
//!
//! Sources: <https://docs.slack.dev/authentication/verifying-requests-from-slack> and
//! <https://docs.slack.dev/apis/events-api/>. Answering a challenge is left to `http`.

use serde::Deserialize;

use super::payload::{self, Raw, Text};
use super::{Delivery, EventIdentity, Identity, Outgoing, Rejection, mac};
use crate::model::secret::Secret;
use crate::model::source::Source;

const SIGNATURE: &str = "x-slack-signature";
const TIMESTAMP: &str = "x-slack-request-timestamp";

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    name: Text<'a>,
    #[serde(borrow)]
    challenge: Option<Text<'a>>,
    #[serde(borrow)]
    event: Option<Inner<'a>>,
    #[serde(borrow)]
    event_id: Option<Text<'a>>,
    #[serde(borrow)]
    event_time: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, rename = "type")]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct Interaction<'a> {
    #[serde(borrow, rename = "type")]
    name: Text<'a>,
    #[serde(borrow)]
    trigger_id: Option<Text<'a>>,
}

/// Checks `v0=…` over `v0:{timestamp}:{body}`.
pub fn verify(secrets: &[Secret], delivery: Delivery<'_>) -> Result<usize, Rejection> {
    let get = |name| {
        delivery
            .headers
            .get(name)
            .ok_or_else(|| Rejection::missing(name))
    };
    let (header, timestamp) = (get(SIGNATURE)?, get(TIMESTAMP)?);
    let signature = header
        .strip_prefix("v0=")
        .and_then(mac::decode_hex)
        .ok_or_else(|| Rejection::malformed(SIGNATURE))?;
    let signed_at =
        mac::decode_seconds(timestamp).ok_or_else(|| Rejection::malformed(TIMESTAMP))?;

    let parts: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", delivery.body];
    let index = secrets
        .iter()
        .position(|it| mac::matches(it.expose().as_bytes(), &parts, [signature].into_iter()))
        .ok_or(Rejection::SignatureMismatch)?;
    mac::check_window(signed_at, delivery.received_at)?;
    Ok(index)
}

/// Names an event, a command or an interaction, or finds the challenge.
pub fn identify(delivery: Delivery<'_>, content: &[u8]) -> Identity {
    let documented = if payload::is_object(content) {
        from_json(delivery.body, content)
    } else {
        from_form(delivery.body, content).map(Identity::Event)
    };
    documented
        .unwrap_or_else(|| Identity::Event(payload::unparsable(&Source::Slack, delivery.body)))
}

/// Makes the two headers. The delivery's id stands in the body.
pub fn sign(secret: &Secret, outgoing: Outgoing<'_>) -> Vec<(String, String)> {
    let timestamp = mac::encode_seconds(outgoing.now);
    let parts: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", outgoing.body];
    let signature = hex::encode(mac::hmac(secret.expose().as_bytes(), &parts));
    vec![
        (TIMESTAMP.to_owned(), timestamp),
        (SIGNATURE.to_owned(), format!("v0={signature}")),
    ]
}

fn from_json(body: &[u8], content: &[u8]) -> Option<Identity> {
    let head: Head<'_> = payload::object(payload::text(content)?)?;
    let event = match &*head.name.0 {
        "url_verification" => return Some(Identity::Challenge(head.challenge?.0.into_owned())),
        "event_callback" => payload::event(
            &Source::Slack,
            &head.event?.name.0,
            Some(&head.event_id?.0),
            body,
        )?,
        name @ "app_rate_limited" => payload::event(&Source::Slack, name, None, body)?,
        _ => return None,
    };
    Some(Identity::Event(EventIdentity {
        occurred_at: head.event_time.and_then(payload::seconds),
        ..event
    }))
}

/// A slash command, or an interaction with its JSON in `payload`. Slack sends neither twice.
fn from_form(body: &[u8], content: &[u8]) -> Option<EventIdentity> {
    if payload::form_field(content, "command").is_some() {
        let trigger_id = payload::form_field(content, "trigger_id");
        return payload::event(&Source::Slack, "command", trigger_id.as_deref(), body);
    }
    let json = payload::form_field(content, "payload")?;
    let interaction: Interaction<'_> = payload::object(&json)?;
    let trigger_id = interaction.trigger_id.as_ref().map(|it| &*it.0);
    payload::event(&Source::Slack, &interaction.name.0, trigger_id, body)
}
