//! Which keys were seen: an exact index that is written in order.
//!
//! A unique index on random keys rewrites a random page for every event, which halves the
//! rate of ingest and grows with the store. Here a new event's key hashes are columns of its
//! row, which is appended. Keys whose row is newer than their bucket's watermark are also in
//! memory; when memory is full, one bucket (the keys that share a first byte) is merged into
//! `event_key` at once, so that many keys land on each page, and its watermark moves in the
//! same transaction. A key was seen if it is in memory or in `event_key`.
//!
//! Nothing but the event's row has to survive a crash: at the start the rows above the lowest
//! watermark are read back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, named_params};

use super::keys::KeyHash;
use crate::model::time::TimestampMs;

/// One for each value of a hash's first byte.
const BUCKETS: usize = 256;
/// Keys in memory before one bucket is merged. About 8 MiB, however many events are kept.
pub(super) const KEYS_IN_MEMORY_MAX: usize = 131_072;

const FIND: &str = "SELECT event_seq, valid_until FROM event_key WHERE hash = :hash";

// A content key that ran out is taken over by the newer event.
const MERGE: &str = "
INSERT INTO event_key (hash, event_seq, valid_until)
VALUES (:hash, :event_seq, :valid_until)
    ON CONFLICT (hash) DO UPDATE SET event_seq = excluded.event_seq, valid_until = excluded.valid_until";

const MOVE_WATERMARK: &str = "
INSERT INTO event_key_bucket (bucket, merged_seq) VALUES (:bucket, :merged_seq)
    ON CONFLICT (bucket) DO UPDATE SET merged_seq = excluded.merged_seq";

const WATERMARKS: &str = "SELECT bucket, merged_seq FROM event_key_bucket";

const NEWEST: &str = "SELECT coalesce(max(seq), 0) FROM event";

const ROWS_ABOVE: &str = "
SELECT seq, id_hash, content_hash, content_until FROM event WHERE :seq < seq ORDER BY seq";

const NOT_MERGED: &str = "
SELECT seq, id_hash
  FROM event
 WHERE seq > (SELECT CASE count(*) WHEN 256 THEN min(merged_seq) ELSE 0 END FROM event_key_bucket)";

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    event_seq: i64,
    valid_until: Option<TimestampMs>,
}

impl Entry {
    fn counts_at(&self, now: TimestampMs) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }
}

/// Only the writer thread asks, so nobody waits here.
pub(super) fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys in memory, and what the open transaction did to them.
pub(super) struct Seen {
    buckets: Vec<HashMap<KeyHash, Entry>>,
    keys_max: usize,
    next_bucket: usize,
    // What the open transaction put in, with what stood there before.
    inserted: Vec<(KeyHash, Option<Entry>)>,
    // The bucket that the open transaction merged.
    merged: Option<usize>,
}

impl Seen {
    /// Reads back the keys that are not in `event_key` yet.
    pub(super) fn load(connection: &Connection, keys_max: usize) -> rusqlite::Result<Self> {
        let mut watermarks = vec![0_i64; BUCKETS];
        let mut statement = connection.prepare(WATERMARKS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(watermark) = watermarks.get_mut(row.get::<_, usize>("bucket")?) {
                *watermark = row.get("merged_seq")?;
            }
        }
        let mut seen = Self {
            buckets: vec![HashMap::new(); BUCKETS],
            keys_max,
            next_bucket: 0,
            inserted: Vec::new(),
            merged: None,
        };
        let lowest = watermarks.iter().min().copied().unwrap_or(0);
        let mut statement = connection.prepare(ROWS_ABOVE)?;
        let mut rows = statement.query(named_params! { ":seq": lowest })?;
        while let Some(row) = rows.next()? {
            let event_seq = row.get("seq")?;
            let id = Some((row.get("id_hash")?, None));
            let content = row
                .get::<_, Option<KeyHash>>("content_hash")?
                .map(|hash| row.get("content_until").map(|until| (hash, until)))
                .transpose()?;
            for (hash, valid_until) in [id, content].into_iter().flatten() {
                if watermarks
                    .get(bucket_of(&hash))
                    .is_some_and(|it| *it < event_seq)
                {
                    seen.put(
                        hash,
                        Entry {
                            event_seq,
                            valid_until,
                        },
                    );
                }
            }
        }
        Ok(seen)
    }

    /// The event that a key stands for, if it still counts.
    pub(super) fn find(
        &self,
        tx: &Connection,
        hash: &KeyHash,
        now: TimestampMs,
    ) -> rusqlite::Result<Option<i64>> {
        let in_memory = self
            .buckets
            .get(bucket_of(hash))
            .and_then(|it| it.get(hash))
            .copied();
        let entry = match in_memory {
            Some(entry) => Some(entry),
            None => tx
                .prepare_cached(FIND)?
                .query_row(named_params! { ":hash": hash }, |row| {
                    Ok(Entry {
                        event_seq: row.get("event_seq")?,
                        valid_until: row.get("valid_until")?,
                    })
                })
                .optional()?,
        };
        Ok(entry.filter(|it| it.counts_at(now)).map(|it| it.event_seq))
    }

    /// Remembers a key that stands in the row of this event, written in the open transaction.
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        event_seq: i64,
        valid_until: Option<TimestampMs>,
    ) {
        let before = self.put(
            hash,
            Entry {
                event_seq,
                valid_until,
            },
        );
        self.inserted.push((hash, before));
    }

    /// Gives a key to an event whose row does not hold it: written to `event_key` at once.
    pub(super) fn add_name(
        tx: &Connection,
        hash: &KeyHash,
        event_seq: i64,
    ) -> rusqlite::Result<()> {
        merge(
            tx,
            hash,
            Entry {
                event_seq,
                valid_until: None,
            },
        )
    }

    /// Merges one bucket in the open transaction when memory is full.
    pub(super) fn before_commit(&mut self, tx: &Connection) -> rusqlite::Result<()> {
        if self.keys_in_memory() <= self.keys_max {
            return Ok(());
        }
        let bucket = self.next_bucket;
        let Some(entries) = self.buckets.get(bucket) else {
            return Ok(());
        };
        let mut sorted: Vec<_> = entries.iter().collect();
        // In the index's order, so that neighbours are written together.
        sorted.sort_unstable_by_key(|(hash, _)| **hash);
        for (hash, entry) in sorted {
            merge(tx, hash, *entry)?;
        }
        let merged_seq: i64 = tx.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?;
        tx.prepare_cached(MOVE_WATERMARK)?
            .execute(named_params! { ":bucket": bucket, ":merged_seq": merged_seq })?;
        self.merged = Some(bucket);
        Ok(())
    }

    /// How many keys are in memory.
    pub(super) fn keys_in_memory(&self) -> usize {
        self.buckets.iter().map(HashMap::len).sum()
    }

    /// Keeps what the transaction did: it was committed.
    pub(super) fn committed(&mut self) {
        self.inserted.clear();
        if let Some(bucket) = self.merged.take() {
            if let Some(entries) = self.buckets.get_mut(bucket) {
                entries.clear();
            }
            self.next_bucket = (bucket + 1) % BUCKETS;
        }
    }

    /// Forgets what the transaction did: it was rolled back.
    pub(super) fn rolled_back(&mut self) {
        self.merged = None;
        while let Some((hash, before)) = self.inserted.pop() {
            let Some(bucket) = self.buckets.get_mut(bucket_of(&hash)) else {
                continue;
            };
            match before {
                Some(entry) => bucket.insert(hash, entry),
                None => bucket.remove(&hash),
            };
        }
    }

    fn put(&mut self, hash: KeyHash, entry: Entry) -> Option<Entry> {
        self.buckets
            .get_mut(bucket_of(&hash))
            .and_then(|it| it.insert(hash, entry))
    }
}

/// The events whose `id` keys these are, for readers, who do not see the memory: they look through
/// the rows above the lowest watermark instead, of which there are about twice as many as keys in memory.
pub(super) fn find_by_reading(
    db: &Connection,
    hashes: &HashSet<KeyHash>,
) -> rusqlite::Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    let mut merged = db.prepare_cached(FIND)?;
    for hash in hashes {
        let seq = merged.query_row(named_params! { ":hash": hash }, |row| {
            row.get::<_, i64>("event_seq")
        });
        found.extend(seq.optional()?);
    }
    let mut statement = db.prepare_cached(NOT_MERGED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if hashes.contains(&row.get::<_, KeyHash>("id_hash")?) {
            found.insert(row.get("seq")?);
        }
    }
    Ok(found)
}

fn merge(tx: &Connection, hash: &KeyHash, entry: Entry) -> rusqlite::Result<()> {
    tx.prepare_cached(MERGE)?.execute(named_params! {
        ":hash": hash,
        ":event_seq": entry.event_seq,
        ":valid_until": entry.valid_until,
    })?;
    Ok(())
}

fn bucket_of(hash: &KeyHash) -> usize {
    usize::from(hash.first().copied().unwrap_or(0))
}
