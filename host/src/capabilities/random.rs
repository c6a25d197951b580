//! Randomness of a run: it looks random, and is the same whenever the run is tried again.

use sha2::{Digest, Sha256};

use crate::model::id::RunId;

/// Bytes of one request; a larger one ends the guest.
pub const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// Sets these bytes apart from any other use of SHA-256. A change of it, or of how the bytes
/// are made, makes reruns of old runs differ.
const DOMAIN: &[u8] = b"triage randomness 1\0";
const BLOCK_BYTES: usize = 32;
/// The block that the seed is made of; no stream comes this far.
const SEED_BLOCK: u64 = u64::MAX;

/// An endless row of bytes, made with SHA-256 from the run's id, the stage and a counter.
///
/// Not the attempt: what a guest asked other services in its first attempt, it asks again
/// with the same bytes in its second. Whoever knows the run's id can make them too, so they
/// are no material for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    run_id: RunId,
    stage: &'static str,
    block: [u8; BLOCK_BYTES],
    /// How many bytes of `block` were given.
    used: usize,
    blocks_made: u64,
}

impl Random {
    /// The bytes of one stage (`classify`, `triage`) of a run.
    pub fn of(run_id: RunId, stage: &'static str) -> Self {
        Self {
            run_id,
            stage,
            block: [0; BLOCK_BYTES],
            used: BLOCK_BYTES,
            blocks_made: 0,
        }
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            if self.used == BLOCK_BYTES {
                self.block = self.make_block(self.blocks_made);
                self.blocks_made += 1;
                self.used = 0;
            }
            let rest = self.block.get(self.used..).unwrap_or_default();
            let taken = rest.len().min(count - bytes.len());
            bytes.extend(rest.iter().take(taken));
            self.used += taken;
        }
        bytes
    }

    /// The next eight bytes as a number.
    pub fn number(&mut self) -> u64 {
        number(&self.bytes(size_of::<u64>()))
    }

    /// A seed for generators of the guest's own, always the same.
    pub fn seed(&self) -> (u64, u64) {
        let block = self.make_block(SEED_BLOCK);
        let (first, rest) = block.split_at(size_of::<u64>());
        (number(first), number(rest))
    }

    fn make_block(&self, index: u64) -> [u8; BLOCK_BYTES] {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        hash.update(self.run_id.to_string());
        hash.update(b"\0");
        hash.update(self.stage);
        hash.update(b"\0");
        hash.update(index.to_le_bytes());
        hash.finalize().into()
    }
}

/// The first eight bytes as a number, the least significant first.
fn number(bytes: &[u8]) -> u64 {
    let mut bytes = bytes.iter();
    u64::from_le_bytes(std::array::from_fn(|_| {
        bytes.next().copied().unwrap_or_default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(run: u8, stage: &'static str) -> Random {
        Random::of(RunId::from_bytes([run; 16]), stage)
    }

    #[test]
    fn the_same_run_and_stage_give_the_same_bytes_however_they_are_asked() {
        let whole = of(7, "classify").bytes(100);
        let mut random = of(7, "classify");
        let mut parts = random.bytes(1);
        parts.extend(random.bytes(0));
        parts.extend(random.bytes(70));
        parts.extend(random.number().to_le_bytes());
        parts.extend(random.bytes(21));
        assert_eq!(parts, whole);
        assert_eq!(of(7, "classify").seed(), random.seed());
    }

    #[test]
    fn another_run_or_stage_gives_other_bytes() {
        let bytes = of(7, "classify").bytes(32);
        assert_ne!(bytes, of(8, "classify").bytes(32));
        assert_ne!(bytes, of(7, "triage").bytes(32));
        assert_ne!(bytes, of(7, "classify").bytes(64)[32..]);
    }

    #[test]
    fn the_bytes_of_released_versions_do_not_change() {
        let hex = hex::encode(of(1, "classify").bytes(16));
        assert_eq!(hex, "3901d5ab5a4c02b3015a9ed5e8dbafb3");
    }
}
