//! What must not be shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A secret. Only [`Secret::expose`] shows it; debug output and logs do not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that computes with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The key with which the store seals secrets. Has no text form.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; Self::BYTES]);

impl MasterKey {
    /// Its length.
    pub const BYTES: usize = 32;

    /// Wraps a key's bytes.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The key that a file or variable holds as base64 or hexadecimal digits.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
        bytes.try_into().map(Self).ok()
    }

    /// The bytes, for the one place that computes with them.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_is_32_bytes_in_base64_or_hexadecimal() {
        let key = MasterKey::new([0xab; 32]);
        let hex = "ab".repeat(32);
        let base64 = STANDARD.encode([0xab; 32]);
        for text in [&hex, &hex.to_uppercase(), &base64] {
            assert_eq!(MasterKey::from_text(text).as_ref(), Some(&key), "{text}");
        }
        for text in [
            "",
            "ab",
            &hex[2..],
            &format!("{hex}ab"),
            &base64[4..],
            "a key",
        ] {
            assert_eq!(MasterKey::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn debug_output_shows_neither_secret_nor_key() {
        let shown = format!("{:?} {:?}", Secret::new("s3cret"), MasterKey::new([7; 32]));
        assert_eq!(shown, "Secret(…) MasterKey(…)");
    }
}
