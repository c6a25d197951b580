//! The only door to encryption: secrets as they stand in the database.
//!
//! Called by `integrations`, which has the master key. XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) with a random nonce of 24 bytes for each secret; the
//! associated data says whose secret it is, so that a row which was moved to another
//! integration cannot be opened.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::id::SecretId;
use crate::model::secret::{MasterKey, Secret};

/// Bytes of a nonce, which stands before the ciphertext.
const NONCE_BYTES: usize = 24;
/// What the cipher's key and the check are made for, so that neither tells the other.
const SEALING: &[u8] = b"triage: sealed secrets, 1";
const CHECK: &[u8] = b"triage: check of the master key, 1";

/// Tells master keys apart without telling anything about them.
pub type KeyCheck = [u8; 32];

/// Whose secret it is. All of it is bound to the sealed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Owner of the integration.
    pub tenant: &'a str,
    /// The integration that it signs for.
    pub integration_id: &'a str,
    /// The secret.
    pub secret_id: SecretId,
}

/// The sealed bytes are not what this master key once made for this owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its sealed bytes were changed or moved: retire it and add a new one")]
pub struct Unreadable;

/// Seals secrets, and opens them.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    check: KeyCheck,
}

impl Sealer {
    /// Seals with this key.
    pub fn new(key: &MasterKey) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&derived(key, SEALING).into()),
            check: derived(key, CHECK),
        }
    }

    /// What the database keeps to recognise the key.
    pub fn check(&self) -> KeyCheck {
        self.check
    }

    /// Nonce and ciphertext.
    ///
    /// # Errors
    /// For a secret of more than 256 GiB.
    pub fn seal(&self, owner: Owner<'_>, secret: &Secret) -> Result<Vec<u8>, Unreadable> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &associated(owner),
        };
        let ciphertext = self.cipher.encrypt(XNonce::from_slice(&nonce), payload);
        Ok([&nonce[..], &ciphertext.map_err(|_| Unreadable)?].concat())
    }

    /// The secret, if these bytes were made with this key for this owner.
    ///
    /// # Errors
    /// When they were not.
    pub fn open(&self, owner: Owner<'_>, sealed: &[u8]) -> Result<Secret, Unreadable> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or(Unreadable)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated(owner),
        };
        let opened = self
            .cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| Unreadable)?;
        let text = String::from_utf8(opened).map_err(|_| Unreadable)?;
        Ok(Secret::new(text))
    }
}

/// A key of its own for each purpose: one step of HKDF (RFC 5869), whose input is random already.
fn derived(key: &MasterKey, purpose: &[u8]) -> [u8; 32] {
    // HMAC (RFC 2104) fills a shorter key up with zeros. Done here, so that nothing can fail.
    let mut block = [0; 64];
    let filled = block.iter_mut().zip(key.expose());
    filled.for_each(|(to, from)| *to = *from);
    let mac = Hmac::<Sha256>::new(&block.into()).chain_update(purpose);
    mac.finalize().into_bytes().into()
}

fn associated(owner: Owner<'_>) -> Vec<u8> {
    let mut data = Vec::new();
    for part in [owner.tenant, owner.integration_id] {
        // The length before each part: no two owners give the same bytes.
        data.extend((part.len() as u64).to_le_bytes());
        data.extend(part.as_bytes());
    }
    data.extend(owner.secret_id.to_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'_> = Owner {
        tenant: "acme",
        integration_id: "github-main",
        secret_id: SecretId::from_bytes([7; 16]),
    };

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&MasterKey::new([byte; 32]))
    }

    #[test]
    fn a_sealed_secret_opens_for_its_owner_only() {
        let (sealer, secret) = (sealer(1), Secret::new("the signing secret"));
        let sealed = sealer.seal(OWNER, &secret).unwrap();
        assert_eq!(sealer.open(OWNER, &sealed), Ok(secret));
        for other in [
            Owner {
                tenant: "globex",
                ..OWNER
            },
            Owner {
                integration_id: "github-other",
                ..OWNER
            },
            Owner {
                // The same letters, divided otherwise.
                tenant: "acmegithub",
                integration_id: "-main",
                ..OWNER
            },
            Owner {
                secret_id: SecretId::from_bytes([8; 16]),
                ..OWNER
            },
        ] {
            assert_eq!(sealer.open(other, &sealed), Err(Unreadable), "{other:?}");
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let sealer = sealer(1);
        let sealed = sealer.seal(OWNER, &Secret::new("s")).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(OWNER, &changed), Err(Unreadable), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(sealer.open(OWNER, &sealed[..length]), Err(Unreadable));
        }
    }

    #[test]
    fn another_key_opens_nothing_and_is_recognised() {
        let sealed = sealer(1).seal(OWNER, &Secret::new("s")).unwrap();
        assert_eq!(sealer(2).open(OWNER, &sealed), Err(Unreadable));
        assert_ne!(sealer(1).check(), sealer(2).check());
        assert_eq!(sealer(1).check(), sealer(1).check());
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let sealer = sealer(1);
        let seal = || sealer.seal(OWNER, &Secret::new("s")).unwrap();
        assert_ne!(seal(), seal());
    }
}
