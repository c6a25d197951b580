//! Which keys were seen: an exact index that is only ever appended to.
//!
//! A unique index on random keys rewrites a random page for every event, which halves the
//! rate of ingest and grows with the store. Here a new event's key hashes are columns of its
//! row, which is appended. The keys of the newest events are also in memory, in 1,024 buckets by
//! their first bits. When memory is full, the next 32 buckets are written as sorted blocks,
//! each a row that is appended, with their watermarks; 1,024 blocks make a slice. A key was
//! seen if it is in memory or in a block; `filter` tells which blocks are worth reading.
//!
//! Nothing but the event's row has to survive a crash: at the start the filters are read, and
//! the rows above the lowest watermark. What a key leads to is always checked against the
//! event's row: an event that is gone, or a content key that ran out, does not count.

mod block;
mod filter;
mod load;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, named_params};

use super::StoreError;
use super::keys::KeyHash;
use crate::fail_point::{self, Point};
use crate::model::time::TimestampMs;
use filter::{Filter, Filters};

/// One for each value of a hash's first bits. So many that the block of a full one fits on a page: a repeat
/// that is not in memory costs one read for it, from wherever on the disk it is.
const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: usize = 10;
/// Blocks that are written together, with one row of filters: at the start a row far from the next costs
/// a read of the disk, however short it is.
const BLOCKS_TOGETHER: usize = 32;
/// Keys in memory before buckets are written: 13 MB, half of which is room in hash tables, however many events are kept.
pub(super) const KEYS_IN_MEMORY_MAX: usize = 131_072;

const INSERT_BLOCK: &str = "INSERT INTO event_key_block (id, entries) VALUES (:id, :entries)";

const INSERT_FILTERS: &str = "
INSERT INTO event_key_filter (id, event_seq_max, name_seq_max, filters)
VALUES (:id, :event_seq_max, :name_seq_max, :filters)";

const INSERT_NAME: &str = "INSERT INTO event_name (hash, event_seq) VALUES (:hash, :event_seq)";

const NEWEST: &str = "
SELECT coalesce((SELECT max(seq) FROM event), 0)      AS event_seq,
       coalesce((SELECT max(seq) FROM event_name), 0) AS name_seq";

const LOAD_EVENT: &str = "SELECT id_hash, content_hash, content_until FROM event WHERE seq = :seq";

const BLOCKS: &str = "SELECT min(id) AS first, max(id) AS last FROM event_key_filter";

const FIND_NAMES: &str = "SELECT event_seq FROM event_name WHERE hash = :hash";

const WATERMARK: &str = "
SELECT event_seq_max FROM event_key_filter WHERE id <= :last AND id % 1024 = :bucket ORDER BY id DESC LIMIT 1";

const EVENTS_ABOVE: &str = "SELECT seq, id_hash FROM event WHERE :seq < seq";

const OUTDATED: &str = "
SELECT id FROM (SELECT id, event_seq_max FROM event_key_filter ORDER BY id LIMIT :limit)
 WHERE event_seq_max < (SELECT coalesce(min(seq), 0) FROM event)";

const DELETE_BLOCKS: &str = "DELETE FROM event_key_block WHERE id BETWEEN :first AND :last";
const DELETE_FILTERS: &str = "DELETE FROM event_key_filter WHERE id = :id";

/// Only the writer thread asks, so nobody waits here.
pub(super) fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys in memory, the filters of all others, and what the open transaction did to them.
pub(super) struct Seen {
    buckets: Vec<Bucket>,
    filters: Filters,
    keys_max: usize,
    // The row of the next event, and of the first one of the open transaction. Rows are counted
    // here because SQLite would write its own count (AUTOINCREMENT) with every event.
    next_event: i64,
    first_event: i64,
    // The block that is written next: 1,024 times its slice, and its bucket.
    next_block: i64,
    // What the open transaction put in, with what stood there before.
    inserted: Vec<(KeyHash, Option<i64>)>,
    // The blocks that the open transaction wrote, with their filters.
    written: Vec<(i64, Filter)>,
    // The open transaction deleted every block before this slice.
    forgotten: Option<i64>,
}

/// The keys of one bucket, each with its event's row.
type Bucket = HashMap<KeyHash, i64, BuildHasherDefault<LastBytes>>;

/// A hash of what is a keyed hash already, which nobody can choose: its last bytes.
#[derive(Clone, Copy, Default)]
struct LastBytes(u64);

impl Hasher for LastBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Seen {
    /// The event that a key stands for, if it still counts.
    pub(super) fn find(
        &self,
        tx: &Connection,
        hash: &KeyHash,
        now: TimestampMs,
    ) -> Result<Option<i64>, StoreError> {
        let bucket = bucket_of(hash);
        let in_memory = self
            .buckets
            .get(bucket)
            .and_then(|it| it.get(hash))
            .copied();
        if let Some(event_seq) = in_memory
            && counts(tx, event_seq, hash, now)?
        {
            return Ok(Some(event_seq));
        }
        for slice in self.filters.candidates(hash) {
            if let Some(event_seq) = block::find(tx, block_id(slice, bucket), hash)?
                && counts(tx, event_seq, hash, now)?
            {
                return Ok(Some(event_seq));
            }
        }
        Ok(None)
    }

    /// The row that the next new event will have.
    pub(super) fn peek_event(&self) -> i64 {
        self.next_event
    }

    /// The row of a new event: none that was ever committed has this number.
    pub(super) fn next_event(&mut self) -> i64 {
        let next = self.next_event;
        self.next_event += 1;
        next
    }

    /// Remembers a key that stands in the row of this event, written in the open transaction.
    pub(super) fn insert(&mut self, hash: KeyHash, event_seq: i64) {
        let before = self.put(hash, event_seq);
        self.inserted.push((hash, before));
    }

    /// Gives a key to an event whose row does not hold it.
    pub(super) fn add_name(
        &mut self,
        tx: &Connection,
        hash: KeyHash,
        event_seq: i64,
    ) -> Result<(), StoreError> {
        tx.prepare_cached(INSERT_NAME)?
            .execute(named_params! { ":hash": hash, ":event_seq": event_seq })?;
        self.insert(hash, event_seq);
        Ok(())
    }

    /// Writes buckets down in the open transaction while memory is full.
    pub(super) fn before_commit(&mut self, tx: &Connection) -> Result<(), StoreError> {
        let mut left = self.keys_in_memory();
        while self.keys_max < left && self.written.len() < BUCKETS {
            left -= self.write_blocks(tx)?;
        }
        Ok(())
    }

    /// Writes the next buckets down; says how many keys they hold.
    fn write_blocks(&mut self, tx: &Connection) -> Result<usize, StoreError> {
        let first = self.next_block + i64::try_from(self.written.len()).unwrap_or(0);
        let mut keys = 0;
        let mut filters = Vec::with_capacity(BLOCKS_TOGETHER);
        for id in first..first + BLOCKS_TOGETHER as i64 {
            let bucket = self.buckets.get(bucket_of_block(id));
            let mut entries: Vec<(KeyHash, i64)> = bucket
                .into_iter()
                .flatten()
                .map(|(hash, event_seq)| (*hash, *event_seq))
                .collect();
            entries.sort_unstable();
            tx.prepare_cached(INSERT_BLOCK)?
                .execute(named_params! { ":id": id, ":entries": block::pack(&entries) })?;
            filters.push(filter::of_keys(entries.iter().map(|it| &it.0)));
            keys += entries.len();
        }
        let (event_seq, name_seq): (i64, i64) = tx
            .prepare_cached(NEWEST)?
            .query_row([], |row| Ok((row.get("event_seq")?, row.get("name_seq")?)))?;
        tx.prepare_cached(INSERT_FILTERS)?.execute(named_params! {
            ":id": first,
            ":event_seq_max": event_seq,
            ":name_seq_max": name_seq,
            ":filters": filters.as_flattened(),
        })?;
        self.written.extend((first..).zip(filters));
        fail_point::reach(Point::KeysWritten);
        Ok(keys)
    }

    /// Deletes blocks all of whose events are gone, for at most so many rows of filters; says how many rows.
    pub(super) fn delete_outdated(
        &mut self,
        tx: &Connection,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let outdated: Vec<i64> = tx
            .prepare_cached(OUTDATED)?
            .query_map(named_params! { ":limit": limit }, |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in &outdated {
            let last = id + BLOCKS_TOGETHER as i64 - 1;
            tx.prepare_cached(DELETE_BLOCKS)?
                .execute(named_params! { ":first": id, ":last": last })?;
            tx.prepare_cached(DELETE_FILTERS)?
                .execute(named_params! { ":id": id })?;
        }
        // The slice of the last one may have blocks that are still needed.
        self.forgotten = outdated.last().map(|id| slice_of(*id));
        Ok(outdated.len())
    }

    /// How many keys are in memory.
    pub(super) fn keys_in_memory(&self) -> usize {
        self.buckets.iter().map(Bucket::len).sum()
    }

    /// Keeps what the transaction did: it was committed.
    pub(super) fn committed(&mut self) {
        self.first_event = self.next_event;
        self.inserted.clear();
        for (id, filter) in self.written.drain(..) {
            fail_point::reach(Point::KeysCommitted);
            self.filters.add(slice_of(id), bucket_of_block(id), &filter);
            if let Some(keys) = self.buckets.get_mut(bucket_of_block(id)) {
                keys.clear();
            }
            self.next_block = id + 1;
        }
        if let Some(slice) = self.forgotten.take() {
            self.filters.forget_before(slice);
        }
    }

    /// Forgets what the transaction did: it was rolled back.
    pub(super) fn rolled_back(&mut self) {
        self.next_event = self.first_event;
        self.written.clear();
        self.forgotten = None;
        while let Some((hash, before)) = self.inserted.pop() {
            let Some(bucket) = self.buckets.get_mut(bucket_of(&hash)) else {
                continue;
            };
            match before {
                Some(event_seq) => bucket.insert(hash, event_seq),
                None => bucket.remove(&hash),
            };
        }
    }

    fn put(&mut self, hash: KeyHash, event_seq: i64) -> Option<i64> {
        self.buckets
            .get_mut(bucket_of(&hash))
            .and_then(|it| it.insert(hash, event_seq))
    }
}

/// Whether a key still stands for this event.
fn counts(
    tx: &Connection,
    event_seq: i64,
    hash: &KeyHash,
    now: TimestampMs,
) -> Result<bool, StoreError> {
    let counts = tx
        .prepare_cached(LOAD_EVENT)?
        .query_row(named_params! { ":seq": event_seq }, |row| {
            let content: Option<KeyHash> = row.get("content_hash")?;
            let until: Option<TimestampMs> = row.get("content_until")?;
            // Its id, and what `add_name` gave it, count as long as the event is kept.
            let is_content =
                content.as_ref() == Some(hash) && row.get::<_, KeyHash>("id_hash")? != *hash;
            Ok(!is_content || until.is_none_or(|until| now < until))
        })
        .optional()?;
    Ok(counts.unwrap_or(false))
}

/// The events whose `id` keys these are, for readers, who see neither memory nor filters: they
/// look into a block of every slice, and through the rows above the bucket's watermark.
pub(super) fn find_by_reading(
    db: &Connection,
    hashes: &HashSet<KeyHash>,
) -> Result<BTreeSet<i64>, StoreError> {
    let blocks: Option<(i64, i64)> = db.prepare_cached(BLOCKS)?.query_row([], |row| {
        Ok(row.get::<_, Option<i64>>("first")?.zip(row.get("last")?))
    })?;
    let mut found = BTreeSet::new();
    let mut lowest = i64::MAX;
    for hash in hashes {
        let names = db
            .prepare_cached(FIND_NAMES)?
            .query_map(named_params! { ":hash": hash }, |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        found.extend(names);
        let Some((first, last)) = blocks else {
            lowest = 0;
            continue;
        };
        for slice in slice_of(first)..=slice_of(last) {
            found.extend(block::find(db, block_id(slice, bucket_of(hash)), hash)?);
        }
        let watermark = db
            .prepare_cached(WATERMARK)?
            .query_row(
                named_params! { ":last": last, ":bucket": first_together(bucket_of(hash)) },
                |row| row.get(0),
            )
            .optional()?;
        lowest = lowest.min(watermark.unwrap_or(0));
    }
    let mut statement = db.prepare_cached(EVENTS_ABOVE)?;
    let mut rows = statement.query(named_params! { ":seq": lowest })?;
    while let Some(row) = rows.next()? {
        if hashes.contains(&row.get::<_, KeyHash>("id_hash")?) {
            found.insert(row.get("seq")?);
        }
    }
    Ok(found)
}

fn bucket_of(hash: &KeyHash) -> usize {
    let [first, second, ..] = *hash;
    usize::from(u16::from_be_bytes([first, second])) >> (16 - BUCKET_BITS)
}

/// The first of the buckets that are written together with this one.
fn first_together(bucket: usize) -> usize {
    bucket / BLOCKS_TOGETHER * BLOCKS_TOGETHER
}

fn block_id(slice: i64, bucket: usize) -> i64 {
    slice * BUCKETS as i64 + i64::try_from(bucket).unwrap_or(0)
}

fn slice_of(block: i64) -> i64 {
    block.div_euclid(BUCKETS as i64)
}

fn bucket_of_block(block: i64) -> usize {
    usize::try_from(block.rem_euclid(BUCKETS as i64)).unwrap_or(0)
}
