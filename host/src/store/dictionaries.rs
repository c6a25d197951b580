//! What the contents of an integration have in common: new ones are packed behind it.
//!
//! Deliveries to one integration are alike: names of members, addresses, all that a sender says each
//! time. lz4 knows only what stood before, so the end of an earlier content is put there as its
//! dictionary (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>). A dictionary belongs to
//! one integration: no content depends on another tenant's. It is used for a bounded number of rows and
//! for a day at most, and goes after the last event that may need it.
//!
//! Asked by the writer thread only, and part of its transactions: a dictionary counts once it is committed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, named_params};

use super::StoreError;
use super::content::{self, Content};
use crate::model::event::NewEvent;
use crate::model::time::TimestampMs;

/// Bytes of a dictionary. A row with so many fits on a page, and making it ready takes 1 to 2 µs.
const BYTES_MAX: usize = 8_000;
/// Dictionaries in use at most, 2 MiB. Contents of further integrations are packed by themselves.
const IN_USE_MAX: usize = if cfg!(test) { 3 } else { 256 };
/// Rows of events after which a dictionary is not used any more.
const ROWS_MAX: i64 = if cfg!(test) { 40 } else { 16_384 };
/// How long a dictionary is used, so that what it holds of an event does not outlive that by much.
const USED_FOR_MS: i64 = 24 * 3_600_000;
/// Contents that are packed behind a dictionary before it gives way to another because it does not help: contents
/// that nothing helps cost 125 bytes each for that.
const USES_MIN: u32 = if cfg!(test) { 8 } else { 64 };
/// Dictionaries that are deleted at once at most: more than the events of a batch, each of which may have brought one.
const DELETED_MAX: usize = 32;

const INSERT: &str =
    "INSERT INTO content_dictionary (event_seq, content) VALUES (:event_seq, :content)";

const END: &str = "UPDATE content_dictionary SET end_seq = :end_seq WHERE event_seq = :event_seq AND end_seq IS NULL";

const END_ALL: &str = "
UPDATE content_dictionary SET end_seq = :next_event
 WHERE :next_event - :rows < event_seq AND end_seq IS NULL";

const DELETE_OUTDATED: &str = "
DELETE FROM content_dictionary
 WHERE event_seq IN (SELECT event_seq
                       FROM (SELECT event_seq, end_seq FROM content_dictionary WHERE 0 < event_seq ORDER BY event_seq LIMIT :limit)
                      WHERE min(event_seq + :rows, coalesce(end_seq, event_seq + :rows))
                            <= coalesce((SELECT min(seq) FROM event), :next_event))";

/// The end of an earlier content.
#[derive(Clone)]
pub(super) struct Dictionary {
    /// The row of the event that brought it, by which it is kept.
    pub(super) event_seq: i64,
    /// When that event came.
    pub(super) made_at: TimestampMs,
    /// Whose it is: an integration's id can become another tenant's.
    pub(super) tenant: String,
    pub(super) bytes: Vec<u8>,
    /// Contents that were packed behind it. One that was rolled back may count as well.
    pub(super) uses: u32,
}

/// The dictionaries in use, and what the open transaction did to them.
#[derive(Default)]
pub(super) struct Dictionaries(Mutex<InUse>);

#[derive(Default)]
struct InUse {
    by_integration: HashMap<String, Dictionary>,
    // What the open transaction replaced, with what was there before.
    replaced: Vec<(String, Option<Dictionary>)>,
}

impl Dictionaries {
    /// None in use yet. Those of the process before are not used any more.
    pub(super) fn load(db: &Connection, next_event: i64) -> rusqlite::Result<Self> {
        let params = named_params! { ":next_event": next_event, ":rows": ROWS_MAX };
        db.execute(END_ALL, params)?;
        Ok(Self::default())
    }

    /// Packs the content of a new event, whose row this is.
    pub(super) fn pack(
        &self,
        tx: &Connection,
        event_seq: i64,
        event: &NewEvent,
    ) -> Result<Content, StoreError> {
        let raw = content::lay_out(&event.headers, &event.body);
        if !content::is_worth_packing(&raw) {
            return Ok(content::pack(&raw, None));
        }
        let mut in_use = self.lock();
        let now = event.received_at;
        let has_room = in_use.has_room(&event.integration_id, event_seq, now);
        let last = in_use
            .by_integration
            .get_mut(&event.integration_id)
            .filter(|it| it.tenant == event.tenant);
        let young = last.as_deref().filter(|it| is_young(it, event_seq, now));
        let packed = content::pack(&raw, young);
        let is_helped = 3 * packed.bytes.len() < raw.len();
        let stays = young.is_some_and(|it| is_helped || it.uses < USES_MIN);
        if stays || !has_room {
            last.into_iter().for_each(|it| it.uses += 1);
            return Ok(packed);
        }
        let joined = [last.map_or(&[][..], |it| &it.bytes), &raw].concat();
        let dictionary = Dictionary {
            event_seq,
            made_at: now,
            tenant: event.tenant.clone(),
            uses: 1,
            bytes: joined
                .split_at(joined.len().saturating_sub(BYTES_MAX))
                .1
                .to_vec(),
        };
        tx.prepare_cached(INSERT)?.execute(named_params! {
            ":event_seq": dictionary.event_seq,
            ":content": dictionary.bytes,
        })?;
        let packed = content::pack(&raw, Some(&dictionary));
        if IN_USE_MAX <= in_use.by_integration.len() {
            in_use.end(tx, event_seq, |it| !is_young(it, event_seq, now))?;
        }
        let id = &event.integration_id;
        if let Some(last) = in_use.by_integration.get(id) {
            end(tx, last, event_seq)?;
        }
        let last = in_use.by_integration.insert(id.clone(), dictionary);
        in_use.replaced.push((id.clone(), last));
        Ok(packed)
    }

    /// Deletes dictionaries that no kept event can need, a few at a time. Those that were made of an event from
    /// before this time are not used any more.
    pub(super) fn delete_outdated(
        &self,
        tx: &Connection,
        before: TimestampMs,
        next_event: i64,
    ) -> rusqlite::Result<usize> {
        self.lock().end(tx, next_event, |it| it.made_at < before)?;
        tx.prepare_cached(DELETE_OUTDATED)?.execute(named_params! {
            ":rows": ROWS_MAX,
            ":limit": DELETED_MAX,
            ":next_event": next_event,
        })
    }

    /// Keeps what the transaction did: it was committed.
    pub(super) fn committed(&self) {
        self.lock().replaced.clear();
    }

    /// Forgets what the transaction did: it was rolled back.
    pub(super) fn rolled_back(&self) {
        let InUse {
            by_integration,
            replaced,
        } = &mut *self.lock();
        while let Some((integration_id, before)) = replaced.pop() {
            match before {
                Some(dictionary) => by_integration.insert(integration_id, dictionary),
                None => by_integration.remove(&integration_id),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    /// Whether this integration may have a new one.
    fn has_room(&self, integration_id: &str, event_seq: i64, now: TimestampMs) -> bool {
        let others = self
            .by_integration
            .iter()
            .filter(|(id, it)| *id != integration_id && is_young(it, event_seq, now));
        self.by_integration.len() < IN_USE_MAX || others.count() < IN_USE_MAX
    }

    /// Uses some no more, from this row on.
    fn end(
        &mut self,
        tx: &Connection,
        end_seq: i64,
        which: impl Fn(&Dictionary) -> bool,
    ) -> rusqlite::Result<()> {
        for (id, dictionary) in self.by_integration.extract_if(|_, it| which(it)) {
            end(tx, &dictionary, end_seq)?;
            self.replaced.push((id, Some(dictionary)));
        }
        Ok(())
    }
}

fn end(tx: &Connection, dictionary: &Dictionary, end_seq: i64) -> rusqlite::Result<()> {
    let params = named_params! { ":event_seq": dictionary.event_seq, ":end_seq": end_seq };
    tx.prepare_cached(END)?.execute(params).map(drop)
}

fn is_young(dictionary: &Dictionary, event_seq: i64, now: TimestampMs) -> bool {
    event_seq - dictionary.event_seq < ROWS_MAX && now - dictionary.made_at < USED_FOR_MS
}
