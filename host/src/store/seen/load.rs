//! What a start reads: the filters of all blocks, and the keys that are in none yet.

use rusqlite::{Connection, Row, named_params};

use crate::store::StoreError;
use crate::store::keys::KeyHash;

use super::filter::{Filter, Filters, NO_KEYS};
use super::{BLOCKS_TOGETHER, BUCKETS, Bucket, Seen, bucket_of, bucket_of_block, slice_of};

// Retention writes down the newest row that it deletes where it leaves none after it.
const LAST_EVENT: &str = "
SELECT max(coalesce((SELECT max(seq) FROM event), 0),
           coalesce((SELECT max(event_seq_max) FROM event_key_filter), 0),
           coalesce((SELECT max(event_seq) FROM content_dictionary), 0),
           coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_event_seq'), 0))";

const SPAN: &str =
    "SELECT min(id) AS first, max(id) AS last, count(*) AS rows FROM event_key_filter";

const LOAD_FILTERS: &str =
    "SELECT id, event_seq_max, name_seq_max, filters FROM event_key_filter ORDER BY id";

const LOAD_EVENTS: &str =
    "SELECT seq, id_hash, content_hash FROM event WHERE :seq < seq ORDER BY seq";

const LOAD_NAMES: &str =
    "SELECT seq, hash, event_seq FROM event_name WHERE :seq < seq ORDER BY seq";

const MALFORMED: StoreError = StoreError::Malformed("filter of keys");

/// The newest rows whose keys of one bucket are in a block.
#[derive(Clone, Copy, Default)]
struct Watermarks {
    event_seq: i64,
    name_seq: i64,
}

/// The filters of eight slices, on their way into memory: slice after slice, bucket after bucket.
struct Octet {
    number: i64,
    filters: Vec<Filter>,
}

impl Octet {
    fn new(number: i64) -> Self {
        Self {
            number,
            filters: vec![NO_KEYS; 8 * BUCKETS],
        }
    }

    /// Takes in the filters of blocks that were written together.
    fn put(&mut self, id: i64, filters: &[Filter]) {
        let first = usize::try_from(id.rem_euclid(8 * BUCKETS as i64)).unwrap_or(0);
        let places = self.filters.iter_mut().skip(first);
        places.zip(filters).for_each(|(to, from)| *to = *from);
    }

    fn add_to(&self, all: &mut Filters) {
        for bucket in 0..BUCKETS {
            let of_slice = |it| self.filters.get(it * BUCKETS + bucket).unwrap_or(&NO_KEYS);
            all.add_eight(8 * self.number, bucket, std::array::from_fn(of_slice));
        }
    }
}

impl Seen {
    /// Reads the filters, and the keys that are in no block yet.
    pub(in crate::store) fn load(
        connection: &Connection,
        keys_max: usize,
    ) -> Result<Self, StoreError> {
        let mut seen = Self {
            buckets: vec![Bucket::default(); BUCKETS],
            filters: Filters::of_slices(0, -1),
            keys_max,
            next_event: 1,
            first_event: 1,
            next_block: 0,
            inserted: Vec::new(),
            written: Vec::new(),
            forgotten: None,
        };
        let watermarks = seen.load_filters(connection)?;
        seen.load_keys(connection, &watermarks)?;
        let last: i64 = connection.query_row(LAST_EVENT, [], |row| row.get(0))?;
        seen.next_event = last.checked_add(1).ok_or(MALFORMED)?;
        seen.first_event = seen.next_event;
        tracing::debug!(
            keys = seen.keys_in_memory(),
            filter_bytes = seen.filters.bytes(),
            "the keys of kept events are loaded"
        );
        Ok(seen)
    }

    fn load_filters(&mut self, connection: &Connection) -> Result<Vec<Watermarks>, StoreError> {
        let mut watermarks = vec![Watermarks::default(); BUCKETS / BLOCKS_TOGETHER];
        let Some((first, last)) = connection.query_row(SPAN, [], span)?? else {
            return Ok(watermarks);
        };
        self.filters = Filters::of_slices(slice_of(first), slice_of(last));
        self.next_block = last + BLOCKS_TOGETHER as i64;
        let mut octet = Octet::new(slice_of(first) >> 3);
        let mut statement = connection.prepare(LOAD_FILTERS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get("id")?;
            if slice_of(id) >> 3 != octet.number {
                octet.add_to(&mut self.filters);
                octet = Octet::new(slice_of(id) >> 3);
            }
            let filters = row.get_ref("filters")?.as_blob().map_err(|_| MALFORMED)?;
            match filters.as_chunks() {
                (filters, []) if filters.len() == BLOCKS_TOGETHER => octet.put(id, filters),
                _ => return Err(MALFORMED),
            }
            if let Some(it) = watermarks.get_mut(bucket_of_block(id) / BLOCKS_TOGETHER) {
                it.event_seq = row.get("event_seq_max")?;
                it.name_seq = row.get("name_seq_max")?;
            }
        }
        octet.add_to(&mut self.filters);
        Ok(watermarks)
    }

    fn load_keys(
        &mut self,
        connection: &Connection,
        watermarks: &[Watermarks],
    ) -> Result<(), StoreError> {
        let lowest = |of: fn(&Watermarks) -> i64| watermarks.iter().map(of).min().unwrap_or(0);
        let of = |hash: &KeyHash| {
            let found = watermarks.get(bucket_of(hash) / BLOCKS_TOGETHER);
            found.copied().unwrap_or_default()
        };

        let mut statement = connection.prepare(LOAD_EVENTS)?;
        let mut rows = statement.query(named_params! { ":seq": lowest(|it| it.event_seq) })?;
        while let Some(row) = rows.next()? {
            let seq = row.get("seq")?;
            let hashes = [
                row.get::<_, Option<KeyHash>>("id_hash")?,
                row.get("content_hash")?,
            ];
            for hash in hashes.into_iter().flatten() {
                if of(&hash).event_seq < seq {
                    self.put(hash, seq);
                }
            }
        }
        let mut statement = connection.prepare(LOAD_NAMES)?;
        let mut rows = statement.query(named_params! { ":seq": lowest(|it| it.name_seq) })?;
        while let Some(row) = rows.next()? {
            let hash = row.get("hash")?;
            if of(&hash).name_seq < row.get("seq")? {
                self.put(hash, row.get("event_seq")?);
            }
        }
        Ok(())
    }
}

/// The first and the last row of filters, where there is one. None is missing between them: what
/// a damaged file says of the last one is not given the memory.
fn span(row: &Row<'_>) -> rusqlite::Result<Result<Option<(i64, i64)>, StoreError>> {
    let (first, last): (Option<i64>, Option<i64>) = (row.get("first")?, row.get("last")?);
    let Some((first, last)) = first.zip(last) else {
        return Ok(Ok(None));
    };
    let together = BLOCKS_TOGETHER as i64;
    let rows = last.checked_sub(first).map(|it| it / together + 1);
    let is_whole = 0 <= first && first % together == 0 && last % together == 0;
    let fits = is_whole && rows == Some(row.get("rows")?) && last < i64::MAX - together;
    Ok(fits.then_some(Some((first, last))).ok_or(MALFORMED))
}
