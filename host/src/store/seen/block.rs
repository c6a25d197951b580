//! The keys of one bucket of one slice, sorted, in one row.

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::store::StoreError;
use crate::store::keys::KeyHash;

const HASH_BYTES: usize = 16;
/// A hash and the row of its event.
const ENTRY_BYTES: usize = HASH_BYTES + 8;

const LOAD: &str = "SELECT entries FROM event_key_block WHERE id = :id";

/// Sorted entries as they are kept.
pub(super) fn pack(entries: &[(KeyHash, i64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (hash, event_seq) in entries {
        bytes.extend_from_slice(hash);
        bytes.extend_from_slice(&event_seq.to_le_bytes());
    }
    bytes
}

/// The event that a key stands for in a block.
pub(super) fn find(db: &Connection, id: i64, hash: &KeyHash) -> Result<Option<i64>, StoreError> {
    let found = db
        .prepare_cached(LOAD)?
        .query_row(named_params! { ":id": id }, |row| {
            Ok(search(row.get_ref("entries")?.as_blob()?, hash))
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => Err(error),
    }
}

fn search(entries: &[u8], hash: &KeyHash) -> Result<Option<i64>, StoreError> {
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(StoreError::Malformed("block of keys"));
    }
    let found = entries.binary_search_by(|entry| entry.split_at(HASH_BYTES).0.cmp(hash));
    Ok(found
        .ok()
        .and_then(|at| entries.get(at)?.last_chunk())
        .map(|it| i64::from_le_bytes(*it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_block_is_found_and_no_other() {
        let entries: Vec<(KeyHash, i64)> =
            (0..50_u8).map(|it| ([2 * it; 16], i64::from(it))).collect();
        let packed = pack(&entries);
        for (hash, seq) in &entries {
            assert_eq!(search(&packed, hash).unwrap(), Some(*seq));
        }
        assert_eq!(search(&packed, &[1; 16]).unwrap(), None);
        assert_eq!(search(&[], &[1; 16]).unwrap(), None);
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        let mut packed = pack(&[([1; 16], 1)]);
        packed.pop();
        assert!(search(&packed, &[1; 16]).is_err());
    }
}
