//! What the signature schemes share: HMAC-SHA256, constant-time comparison, the time window.
//!
//! Called by each source. It knows no header and no provider.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Rejection, TIMESTAMP_TOLERANCE_MS};
use crate::model::time::TimestampMs;

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

/// The seconds that a scheme signs for this time.
pub fn encode_seconds(at: TimestampMs) -> String {
    at.div_euclid(1000).to_string()
}

/// Checks a signed timestamp. Comes after the signature, so that a forger learns nothing about clocks.
pub fn check_window(signed_at: TimestampMs, received_at: TimestampMs) -> Result<(), Rejection> {
    match received_at.saturating_sub(signed_at) {
        age if age > TIMESTAMP_TOLERANCE_MS => Err(Rejection::TimestampTooOld),
        age if age < -TIMESTAMP_TOLERANCE_MS => Err(Rejection::TimestampInFuture),
        _ => Ok(()),
    }
}
