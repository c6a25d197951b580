//! What the signature schemes share: HMAC, constant-time comparison, encodings, the time window.
//!
//! Called by each source. It knows no header and no provider.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{Rejection, TIMESTAMP_TOLERANCE_MS};
use crate::model::custom_source::{Algorithm, TimeUnit};
use crate::model::time::{TimestampMs, parse_rfc3339};

/// An HMAC-SHA256 or a SHA-256.
pub type Sum = [u8; 32];

/// HMAC-SHA256 (RFC 2104, FIPS 180-4) of the parts, one after another.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Sum {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length (RFC 2104, section 3)");
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Secrets are in use without padding and with stray last bits; the reference libraries of
/// Standard Webhooks take both.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Signatures come padded or not.
const SIGNATURE_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// HMAC with a hash of choice over the parts, one after another.
pub fn hmac_with(algorithm: Algorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha1 => sum::<Hmac<Sha1>>(key, parts),
        Algorithm::Sha256 => sum::<Hmac<Sha256>>(key, parts),
        Algorithm::Sha512 => sum::<Hmac<Sha512>>(key, parts),
    }
}

fn sum<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length (RFC 2104, section 3)");
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Compares in a time that tells neither where two texts differ nor how long the secret one is.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

/// Compares two sums in constant time.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Bytes in base64, padded.
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a secret in base64.
pub fn decode_secret_base64(text: &str) -> Option<Vec<u8>> {
    SECRET_BASE64.decode(text).ok()
}

/// The bytes of a signature in base64.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    SIGNATURE_BASE64.decode(text).ok()
}

/// Whether the key makes one of the signatures. An empty key, which anyone knows, makes none.
pub fn matches(key: &[u8], parts: &[&[u8]], mut signatures: impl Iterator<Item = Sum>) -> bool {
    let sum = hmac(key, parts);
    !key.is_empty() && signatures.any(|it| sum.ct_eq(&it).into())
}

/// A signature in hexadecimal, lower case as all providers write it.
pub fn decode_hex(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let lower = !text.bytes().any(|it| it.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut sum).is_ok()).then_some(sum)
}

/// SHA-256 of the parts, one after another, in hexadecimal.
pub fn sha256_hex(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// A timestamp as the schemes sign it: seconds since 1970, digits only.
pub fn decode_seconds(text: &str) -> Option<TimestampMs> {
    // `parse` would also take a sign.
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    text.parse::<i64>()
        .ok()
        .filter(|_| digits)?
        .checked_mul(1000)
}

/// A timestamp in a unit, in a form that no other text can be taken for.
pub fn decode_time(text: &str, unit: TimeUnit) -> Option<TimestampMs> {
    match unit {
        TimeUnit::Seconds => decode_seconds(text),
        TimeUnit::Milliseconds => Some(decode_seconds(text)? / 1000),
        TimeUnit::Rfc3339 => parse_rfc3339(text).filter(|_| ends_itself(text)),
    }
}

/// Whether a text is a date, a time and `Z` or an offset of hours and minutes: such a text is
/// neither the beginning nor the end of another such text.
fn ends_itself(text: &str) -> bool {
    const START: &[u8] = b"0000-00-00T00:00:00";
    let fits = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(it, form)| match form {
                b'0' => it.is_ascii_digit(),
                form => it == form,
            })
    };
    let Some((start, rest)) = text.as_bytes().split_at_checked(START.len()) else {
        return false;
    };
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|it| it.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| 0 < digits)
        }
        None => Some(rest),
    };
    fits(start, START)
        && rest.is_some_and(|it| it == b"Z" || fits(it, b"+00:00") || fits(it, b"-00:00"))
}

/// The seconds that a scheme signs for this time.
pub fn encode_seconds(at: TimestampMs) -> String {
    at.div_euclid(1000).to_string()
}

/// Checks a signed timestamp. Comes after the signature, so that a forger learns nothing about clocks.
pub fn check_window(signed_at: TimestampMs, received_at: TimestampMs) -> Result<(), Rejection> {
    check_tolerance(signed_at, received_at, TIMESTAMP_TOLERANCE_MS)
}

/// Checks a signed timestamp against a tolerance of the source's own, in milliseconds.
pub fn check_tolerance(
    signed_at: TimestampMs,
    received_at: TimestampMs,
    tolerance_ms: i64,
) -> Result<(), Rejection> {
    match received_at.saturating_sub(signed_at) {
        age if age > tolerance_ms => Err(Rejection::TimestampTooOld),
        age if age < -tolerance_ms => Err(Rejection::TimestampInFuture),
        _ => Ok(()),
    }
}
