//! In which slices a key may be, asked without reading any of them.
//!
//! A Bloom filter (Bloom, CACM 13(7), 1970) for each block, kept bit-sliced: the bits of all
//! slices at one position lie side by side, so that a handful of memory accesses answers for
//! every slice at once, however many there are. A filter only ever spares a look-up.

use crate::store::keys::KeyHash;

use super::{BUCKET_BITS, BUCKETS, bucket_of};

/// Positions of one block's filter: 32 for each of the keys that a block holds when memory is full.
const POSITIONS: usize = 1 << POSITION_BITS;
const POSITION_BITS: usize = 13;
/// Positions that a key sets. With 32 bits a key, one block in 170,000 is asked in vain.
const PROBES: usize = 8;
/// One block's filter as it is kept.
pub(super) type Filter = [u8; POSITIONS / 8];
/// The filter of a block without keys.
pub(super) const NO_KEYS: Filter = [0; POSITIONS / 8];

const _: () = assert!(
    PROBES * POSITION_BITS <= 128 - BUCKET_BITS,
    "the positions are cut from a hash without the bits that are the bucket's"
);

/// The filters of all blocks.
pub(super) struct Filters {
    // The slice of the lowest bit, a multiple of 8.
    base: i64,
    buckets: Vec<Rows>,
}

/// One bucket's filters: for each position one bit for each slice.
#[derive(Clone, Default)]
struct Rows {
    // Bytes of a position.
    width: usize,
    bits: Vec<u8>,
}

impl Filters {
    /// No filters yet, with room for those of these slices: for none where the last stands before the first.
    pub(super) fn of_slices(first: i64, last: i64) -> Self {
        let base = first & !7;
        let mut rows = Rows::default();
        if first <= last {
            rows.widen(usize::try_from((last - base) / 8 + 1).unwrap_or(0));
        }
        Self {
            base,
            buckets: vec![rows; BUCKETS],
        }
    }

    /// Takes in the filter of one block.
    pub(super) fn add(&mut self, slice: i64, bucket: usize, filter: &Filter) {
        let Ok(offset) = usize::try_from(slice - self.base) else {
            return;
        };
        let Some(rows) = self.buckets.get_mut(bucket).filter(|_| *filter != NO_KEYS) else {
            return;
        };
        rows.widen(offset / 8 + 1);
        for (at, byte) in filter.iter().enumerate() {
            let mut rest = *byte;
            while rest != 0 {
                let position = 8 * at + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if let Some(cell) = rows.bits.get_mut(position * rows.width + offset / 8) {
                    *cell |= 1 << (offset % 8);
                }
            }
        }
    }

    /// Takes in the filters of one bucket in eight slices that share a byte of each position.
    pub(super) fn add_eight(&mut self, slice: i64, bucket: usize, filters: [&Filter; 8]) {
        let Ok(offset) = usize::try_from(slice - self.base) else {
            return;
        };
        let has_keys = filters.iter().any(|it| **it != NO_KEYS);
        let Some(rows) = self.buckets.get_mut(bucket).filter(|_| has_keys) else {
            return;
        };
        rows.widen(offset / 8 + 1);
        let width = rows.width;
        let cells = rows.bits.chunks_exact_mut(8 * width).enumerate();
        for (at, eight_positions) in cells {
            let bytes = filters.map(|it| it.get(at).copied().unwrap_or(0));
            let positions = eight_positions.chunks_exact_mut(width);
            for (position, bits) in positions.zip(transposed(bytes)) {
                if let Some(cell) = position.get_mut(offset / 8) {
                    *cell |= bits;
                }
            }
        }
    }

    /// Forgets the slices before this one, or somewhat fewer.
    pub(super) fn forget_before(&mut self, slice: i64) {
        let Ok(bytes) = usize::try_from((slice - self.base) / 8) else {
            return;
        };
        if 0 < bytes {
            self.buckets.iter_mut().for_each(|it| it.narrow(bytes));
            self.base = slice & !7;
        }
    }

    /// The slices whose block may hold this key, newest first.
    pub(super) fn candidates(&self, hash: &KeyHash) -> Vec<i64> {
        let mut slices = Vec::new();
        let Some(rows) = self.buckets.get(bucket_of(hash)) else {
            return slices;
        };
        // Up to 64 slices with each access.
        for at in (0..rows.width).step_by(8).rev() {
            let mut mask = u64::MAX;
            for position in positions(hash) {
                mask &= rows.at(position, at);
                if mask == 0 {
                    break;
                }
            }
            while mask != 0 {
                let bit = mask.ilog2();
                mask ^= 1 << bit;
                slices.push(self.base + 8 * i64::try_from(at).unwrap_or(0) + i64::from(bit));
            }
        }
        slices
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.iter().map(|it| it.bits.capacity()).sum()
    }
}

impl Rows {
    /// The bits of a position from this byte on, for as many as 64 slices.
    fn at(&self, position: usize, byte: usize) -> u64 {
        let bytes = (self.width - byte).min(8);
        let from = position * self.width + byte;
        let mut word = [0; 8];
        if let (Some(to), Some(from)) = (word.get_mut(..bytes), self.bits.get(from..from + bytes)) {
            to.copy_from_slice(from);
        }
        u64::from_le_bytes(word)
    }

    fn widen(&mut self, width: usize) {
        if self.width < width {
            let mut wider = vec![0; POSITIONS * width];
            if 0 < self.width {
                let pairs = wider
                    .chunks_exact_mut(width)
                    .zip(self.bits.chunks_exact(self.width));
                for (to, from) in pairs {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
            *self = Self { width, bits: wider };
        }
    }

    /// Drops the bits of the oldest slices.
    fn narrow(&mut self, bytes: usize) {
        let width = self.width.saturating_sub(bytes);
        let mut bits = Vec::with_capacity(POSITIONS * width);
        if 0 < width {
            for row in self.bits.chunks_exact(self.width) {
                bits.extend(row.iter().skip(bytes));
            }
        }
        *self = Self { width, bits };
    }
}

/// Bit `i` of byte `j` becomes bit `j` of byte `i` (Warren, Hacker's Delight, 7-3).
fn transposed(bytes: [u8; 8]) -> [u8; 8] {
    let mut bits = u64::from_le_bytes(bytes);
    for (distance, mask) in [
        (7, 0x00AA_00AA_00AA_00AA),
        (14, 0x0000_CCCC_0000_CCCC),
        (28, 0x0000_0000_F0F0_F0F0),
    ] {
        let swapped = (bits ^ bits >> distance) & mask;
        bits ^= swapped ^ swapped << distance;
    }
    bits.to_le_bytes()
}

/// The filter of one block, as it is kept.
pub(super) fn of_keys<'a>(keys: impl Iterator<Item = &'a KeyHash>) -> Filter {
    let mut filter = NO_KEYS;
    for position in keys.flat_map(positions) {
        if let Some(byte) = filter.get_mut(position / 8) {
            *byte |= 1 << (position % 8);
        }
    }
    filter
}

/// The positions of a key: independent pieces of its hash, which is as good as random.
fn positions(hash: &KeyHash) -> impl Iterator<Item = usize> {
    let bits = u128::from_be_bytes(*hash);
    (0..PROBES).map(move |probe| (bits >> (probe * POSITION_BITS)) as usize & (POSITIONS - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn hash(number: u64) -> KeyHash {
        let mut hash = [0; 16];
        for (part, salt) in hash.chunks_exact_mut(8).zip([1, 2]) {
            let mixed = (number + salt * 0x1_0000_0000).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            part.copy_from_slice(
                &(mixed ^ mixed >> 29)
                    .wrapping_mul(0xBF58_476D_1CE4_E5B9)
                    .to_be_bytes(),
            );
        }
        hash
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_slice_of_a_key_is_always_a_candidate(
            slices in proptest::collection::btree_map(0..40_i64, 1..60_u64, 1..8),
            first in 0..20_i64,
            forgotten in 0..40_i64,
        ) {
            let keys: BTreeMap<i64, Vec<KeyHash>> = slices
                .iter()
                .map(|(slice, count)| (first + slice, (0..*count).map(|it| hash(1000 * *slice as u64 + it)).collect()))
                .collect();
            let mut filters = Filters::of_slices(first, first);
            for (slice, keys) in &keys {
                for bucket in 0..BUCKETS {
                    let of_bucket: Vec<_> = keys.iter().filter(|it| bucket_of(it) == bucket).collect();
                    filters.add(*slice, bucket, &of_keys(of_bucket.into_iter()));
                }
            }
            filters.forget_before(first + forgotten);
            for (slice, keys) in keys.range(first + forgotten..) {
                for key in keys {
                    let found: BTreeSet<i64> = filters.candidates(key).into_iter().collect();
                    prop_assert!(found.contains(slice));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn eight_filters_together_are_what_they_are_one_after_another(
            numbers in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..50), 8),
            octet in 0..3_i64,
        ) {
            let key = |number: u32| {
                let mut key = hash(u64::from(number));
                key[..2].copy_from_slice(&[0x01, 0xC0]);
                key
            };
            let keys: Vec<Vec<KeyHash>> = numbers
                .iter()
                .map(|it| it.iter().map(|number| key(*number)).collect())
                .collect();
            let of_slices: Vec<_> = keys.iter().map(|it| of_keys(it.iter())).collect();
            let mut singly = Filters::of_slices(5, 6);
            let mut together = Filters::of_slices(5, 6);
            for (slice, filter) in (8 * octet..).zip(&of_slices) {
                singly.add(slice, 7, filter);
            }
            together.add_eight(8 * octet, 7, std::array::from_fn(|it| &of_slices[it]));
            prop_assert!(singly.buckets[7].bits == together.buckets[7].bits);
            for (slice, keys) in (8 * octet..).zip(&keys) {
                prop_assert!(keys.iter().all(|it| together.candidates(it).contains(&slice)));
            }
        }
    }

    #[test]
    fn few_blocks_are_asked_in_vain() {
        let keys: Vec<_> = (0..256_u64)
            .map(|it| {
                let mut key = hash(it);
                key[..2].copy_from_slice(&[0x01, 0xC0]);
                key
            })
            .collect();
        let mut filters = Filters::of_slices(0, 7);
        for slice in 0..8 {
            filters.add(slice, 7, &of_keys(keys.iter()));
        }
        let in_vain: usize = (10_000..110_000_u64)
            .map(|it| {
                let mut key = hash(it);
                key[..2].copy_from_slice(&[0x01, 0xC0]);
                filters.candidates(&key).len()
            })
            .sum();
        // Eight slices are asked 100,000 times; one in 170,000 is expected to be in vain: 5.
        assert!(in_vain < 20, "{in_vain} of 800,000");
    }
}
