//! Sources that are data: how their deliveries are signed, and where what the host needs is found.
//!
//! Declared in the configuration (`config::sources`), read by `sources::custom`. What a
//! template may say is decided here; whether its parts fit each other is `config`'s.

mod template;

pub use self::template::{BadTemplate, Part, Place, SignedPart, SignedText, Template, header_name};

/// A declared kind of sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomSource {
    /// The name used in URLs, configuration and event types.
    pub name: String,
    /// What proves the sender.
    pub signature: Signature,
    /// How the secret's bytes are written.
    pub secret_encoding: SecretEncoding,
    /// When it was sent, and how far that may be from now.
    pub timestamp: Option<TimestampRule>,
    /// What the event is called: the first of these whose every place is there.
    pub event_type: Vec<Template>,
    /// What makes the idempotency key: the first of these whose every place is there.
    pub idempotency_key: Vec<Template>,
    /// What makes the ordering key: the first of these whose every place is there.
    pub ordering_key: Vec<Template>,
    /// When it happened at the sender.
    pub occurred_at: Option<TimeRule>,
    /// The field that holds the JSON where the body is a form.
    pub form_field: Option<String>,
    /// How long the same signed text counts as a repeat, whatever its key, in milliseconds.
    pub content_window_ms: Option<i64>,
}

/// A header that proves who sent a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name, in lower case.
    pub header: String,
    /// What stands before each signature, or before the token.
    pub prefix: String,
    /// What it proves.
    pub scheme: Scheme,
}

/// How a header proves who sent a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The header is the shared secret itself. Nothing of the delivery is signed.
    Token,
    /// The header is an HMAC (RFC 2104).
    Hmac(HmacRule),
}

/// How a delivery is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacRule {
    /// The hash under it.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What stands between several signatures, or other pairs, in one header.
    pub separator: Option<String>,
    /// What is signed.
    pub signed: SignedText,
}

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA1: old, but not broken as an HMAC.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

/// How bytes are written in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, upper or lower case.
    Hex,
    /// Base64 (RFC 4648, section 4), padded or not.
    Base64,
}

/// How the bytes of a secret are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretEncoding {
    /// As they are.
    #[default]
    Text,
    /// Base64 (RFC 4648, section 4), padded or not.
    Base64,
    /// Hexadecimal.
    Hex,
}

/// A time of sending that is checked against the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampRule {
    /// Where it is and how it is written.
    pub time: TimeRule,
    /// How far it may be from now, past and future, in milliseconds.
    pub tolerance_ms: i64,
}

/// Where a time is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRule {
    /// Where.
    pub place: Place,
    /// How it is written.
    pub unit: TimeUnit,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since 1970, digits only.
    Seconds,
    /// Milliseconds since 1970, digits only.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

impl CustomSource {
    /// The rule of its HMAC, where it has one.
    pub fn hmac(&self) -> Option<&HmacRule> {
        match &self.signature.scheme {
            Scheme::Hmac(rule) => Some(rule),
            Scheme::Token => None,
        }
    }

    /// Whether a header is needed to tell what an event is called.
    pub fn names_event_in_header(&self) -> bool {
        let first = self.event_type.first();
        first.is_some_and(|it| it.places().any(|it| matches!(it, Place::Header(_))))
    }

    /// Whether what stands in this place is covered by the signature.
    pub fn signs(&self, place: &Place) -> bool {
        let Some(rule) = self.hmac() else {
            return false;
        };
        let is_timestamp = self
            .timestamp
            .as_ref()
            .is_some_and(|it| it.time.place == *place);
        rule.signed.parts().iter().any(|part| match (part, place) {
            (SignedPart::Body, Place::Body(_)) => true,
            (SignedPart::Header(signed), Place::Header(name)) => signed == name,
            (SignedPart::Timestamp, _) => is_timestamp,
            _ => false,
        })
    }
}
