//! Who sent it, what is it called, which key does it have.
//!
//! Called by `http::ingest` with the request's headers and exact body bytes. One
//! pure file per built-in source, and `custom` for those that are data. Nothing here
//! keeps anything or reads a clock, and no payload is parsed before its signature has been
//! checked.

mod custom;
mod github;
mod json;
mod mac;
mod payload;
pub mod samples;
mod sentry;
mod slack;
mod standard;
mod stripe;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::model::custom_source::Scheme;
use crate::model::event::{ContentKey, Headers};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::model::time::TimestampMs;

/// How far a signed timestamp may be from now, in milliseconds, past and future.
///
/// Stripe, Slack and all Standard Webhooks libraries use 300 s.
pub const TIMESTAMP_TOLERANCE_MS: i64 = 300_000;

/// What stands in a kept header for a shared secret.
const REDACTED: &str = "[secret]";

/// One delivery as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Names in lower case.
    pub headers: &'a Headers,
    /// Exactly the bytes received.
    pub body: &'a [u8],
    /// When it was received.
    pub received_at: TimestampMs,
}

/// A delivery whose signature has been checked. Only [`verify`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    source: &'a Source,
    delivery: Delivery<'a>,
    secret_index: usize,
}

impl Verified<'_> {
    /// Which of the integration's secrets matched.
    pub fn secret_index(&self) -> usize {
        self.secret_index
    }
}

/// Why a delivery is not believed. The sender only learns `invalid_signature`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A header that the scheme needs is not there.
    #[error("header `{0}` is missing")]
    MissingHeader(Cow<'static, str>),
    /// A header is there but is not what the scheme documents.
    #[error("header `{0}` is malformed")]
    MalformedHeader(Cow<'static, str>),
    /// The signed timestamp is too old.
    #[error("the signed timestamp is too far in the past")]
    TimestampTooOld,
    /// The signed timestamp is in the future.
    #[error("the signed timestamp is too far in the future")]
    TimestampInFuture,
    /// No live secret makes this signature.
    #[error("no live secret makes this signature")]
    SignatureMismatch,
}

impl Rejection {
    fn missing(name: impl Into<Cow<'static, str>>) -> Self {
        Self::MissingHeader(name.into())
    }

    fn malformed(name: impl Into<Cow<'static, str>>) -> Self {
        Self::MalformedHeader(name.into())
    }

    /// The cause as a stable name, for lists and metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::MissingHeader(_) => "missing_header",
            Self::MalformedHeader(_) => "malformed_header",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::SignatureMismatch => "signature_mismatch",
        }
    }

    /// The name of the header that is the cause, where one is.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::MissingHeader(name) | Self::MalformedHeader(name) => Some(name),
            Self::TimestampTooOld | Self::TimestampInFuture | Self::SignatureMismatch => None,
        }
    }
}

/// A secret that cannot be used with its source's scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSecret(pub String);

/// What a verified delivery is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An event to be kept.
    Event(EventIdentity),
    /// Slack's `url_verification`: answered with this challenge, not kept.
    Challenge(String),
}

/// How an event is called and recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventIdentity {
    /// `{source}.{event}`; `{source}.unparsable` where the provider's documents do not fit.
    pub event_type: String,
    /// The sender's stable id; SHA-256 of the body in hexadecimal where there is none.
    pub idempotency_key: String,
    /// See [`ContentKey`].
    pub content_key: Option<ContentKey>,
    /// What must be worked on in order, where the source says where to find it.
    pub ordering_key: Option<String>,
    /// When it happened at the sender, where the payload says so.
    pub occurred_at: Option<TimestampMs>,
}

/// What [`sign`] makes a delivery for.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The event's name without the source, as `issues.opened`.
    pub event: &'a str,
    /// The delivery's id, where the scheme has one.
    pub id: &'a str,
    /// The body to sign.
    pub body: &'a [u8],
    /// The time of signing.
    pub now: TimestampMs,
}

/// Checks a secret's form when the configuration is read, not at the first delivery.
pub fn check_secret(source: &Source, secret: &Secret) -> Result<(), BadSecret> {
    match source {
        Source::Standard => standard::check_secret(secret),
        Source::Sentry | Source::Stripe | Source::Github | Source::Slack => {
            if secret.expose().is_empty() {
                return Err(BadSecret("the secret is empty".to_owned()));
            }
            Ok(())
        }
        Source::Custom(custom) => custom::check_secret(custom, secret),
    }
}

/// Proves who sent a delivery, with any of the integration's live secrets.
pub fn verify<'a>(
    source: &'a Source,
    secrets: &[Secret],
    delivery: Delivery<'a>,
) -> Result<Verified<'a>, Rejection> {
    let secret_index = match source {
        Source::Standard => standard::verify(secrets, delivery),
        Source::Sentry => sentry::verify(secrets, delivery),
        Source::Stripe => stripe::verify(secrets, delivery),
        Source::Github => github::verify(secrets, delivery),
        Source::Slack => slack::verify(secrets, delivery),
        Source::Custom(custom) => custom::verify(custom, secrets, delivery),
    }?;
    Ok(Verified {
        source,
        delivery,
        secret_index,
    })
}

/// Names a verified delivery and finds its idempotency key.
///
/// `content` is the body to read: the one received, or what it inflates to. Keys made
/// from content are made from the body received, which is what was signed.
///
/// # Errors
/// Where the time of sending stands in the body, it is checked here, and may be too far from now.
pub fn identify(verified: &Verified<'_>, content: &[u8]) -> Result<Identity, Rejection> {
    let delivery = verified.delivery;
    Ok(match verified.source {
        Source::Standard => Identity::Event(standard::identify(delivery, content)),
        Source::Sentry => Identity::Event(sentry::identify(delivery, content)),
        Source::Stripe => Identity::Event(stripe::identify(delivery, content)),
        Source::Github => Identity::Event(github::identify(delivery, content)),
        Source::Slack => slack::identify(delivery, content),
        Source::Custom(custom) => Identity::Event(custom::identify(custom, delivery, content)?),
    })
}

/// Names a verified delivery whose content cannot be read, as one that is not what its provider documents.
///
/// # Errors
/// As those of [`identify`]: what cannot be read has no time of sending either.
pub fn identify_unreadable(verified: &Verified<'_>) -> Result<Identity, Rejection> {
    let delivery = verified.delivery;
    let content_key = match verified.source {
        Source::Custom(custom) => custom::identify(custom, delivery, b"")?.content_key,
        _ => None,
    };
    Ok(Identity::Event(EventIdentity {
        content_key,
        ..payload::unparsable(verified.source.as_str(), delivery.body)
    }))
}

/// Signs a body as the provider does: the headers of the request, without `content-type`.
pub fn sign(
    source: &Source,
    secret: &Secret,
    outgoing: Outgoing<'_>,
) -> Result<Vec<(String, String)>, BadSecret> {
    match source {
        Source::Standard => standard::sign(secret, outgoing),
        Source::Sentry => Ok(sentry::sign(secret, outgoing)),
        Source::Stripe => Ok(stripe::sign(secret, outgoing)),
        Source::Github => Ok(github::sign(secret, outgoing)),
        Source::Slack => Ok(slack::sign(secret, outgoing)),
        Source::Custom(custom) => custom::sign(custom, secret, outgoing),
    }
}

/// Takes a secret that is itself a header out of headers that are to be kept.
pub fn redact(source: &Source, headers: &mut Headers) {
    let Source::Custom(custom) = source else {
        return;
    };
    if custom.signature.scheme == Scheme::Token {
        for (_, value) in headers
            .0
            .iter_mut()
            .filter(|(name, _)| *name == custom.signature.header)
        {
            REDACTED.clone_into(value);
        }
    }
}
