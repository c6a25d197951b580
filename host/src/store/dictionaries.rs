//! What the contents of an integration have in common: new ones are packed behind it.
//!
//! Deliveries to one integration are alike: names of members, addresses, all that a sender says each
//! time. lz4 knows only what stood before, so the end of an earlier content is put there as its
//! dictionary (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>). A dictionary belongs to
//! one integration: no content depends on another tenant's. It is used for a bounded number of rows and
//! goes after the last event of these.
//!
//! Asked by the writer thread only, and part of its transactions: a dictionary counts once it is committed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, named_params};

use super::StoreError;
use super::content::{self, Content};
use crate::model::event::NewEvent;

/// Bytes of a dictionary. A row with so many fits on a page, and making it ready takes 1 to 2 µs.
const BYTES_MAX: usize = 8_000;
/// Dictionaries in use at most, 2 MiB. Contents of further integrations are packed by themselves.
const IN_USE_MAX: usize = if cfg!(test) { 3 } else { 256 };
/// Rows of events after which a dictionary is not used any more.
const ROWS_MAX: i64 = if cfg!(test) { 40 } else { 16_384 };
/// Contents that are packed behind a dictionary before it gives way to another because it does not help: contents
/// that nothing helps cost 125 bytes each for that.
const USES_MIN: u32 = if cfg!(test) { 8 } else { 64 };
/// Dictionaries that are deleted at once at most: more than the events of a batch, each of which may have brought one.
const DELETED_MAX: usize = 32;

const INSERT: &str =
    "INSERT INTO content_dictionary (event_seq, content) VALUES (:event_seq, :content)";

const DELETE_OUTDATED: &str = "
DELETE FROM content_dictionary
 WHERE event_seq IN (SELECT event_seq FROM content_dictionary
                      WHERE event_seq <= (SELECT min(seq) FROM event) - :rows
                      ORDER BY event_seq
                      LIMIT :limit)";

/// The end of an earlier content.
#[derive(Clone)]
pub(super) struct Dictionary {
    /// The row of the event that brought it, by which it is kept.
    pub(super) event_seq: i64,
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
    /// Packs the content of a new event, whose row this is.
    pub(super) fn pack(
        &self,
        tx: &Connection,
        event_seq: i64,
        event: &NewEvent,
    ) -> Result<Content, StoreError> {
        let raw = content::lay_out(&event.headers, &event.body);
        let mut in_use = self.lock();
        let has_room = in_use.has_room(&event.integration_id, event_seq);
        let last = in_use
            .by_integration
            .get_mut(&event.integration_id)
            .filter(|it| it.tenant == event.tenant);
        let young = last.as_deref().filter(|it| is_young(it, event_seq));
        let packed = content::pack(&raw, young);
        let is_helped = 3 * packed.bytes.len() < raw.len();
        let stays = young.is_some_and(|it| is_helped || it.uses < USES_MIN);
        if stays || !has_room || !content::is_worth_packing(&raw) {
            last.into_iter().for_each(|it| it.uses += 1);
            return Ok(packed);
        }
        let joined = [last.map_or(&[][..], |it| &it.bytes), &raw].concat();
        let dictionary = Dictionary {
            event_seq,
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
        in_use.replace(&event.integration_id, dictionary);
        Ok(packed)
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
    fn has_room(&self, integration_id: &str, event_seq: i64) -> bool {
        let others = self
            .by_integration
            .iter()
            .filter(|(id, it)| *id != integration_id && is_young(it, event_seq));
        self.by_integration.len() < IN_USE_MAX || others.count() < IN_USE_MAX
    }

    fn replace(&mut self, integration_id: &str, by: Dictionary) {
        if IN_USE_MAX <= self.by_integration.len() {
            self.by_integration
                .retain(|_, it| is_young(it, by.event_seq));
        }
        let before = self.by_integration.insert(integration_id.to_owned(), by);
        self.replaced.push((integration_id.to_owned(), before));
    }
}

fn is_young(dictionary: &Dictionary, event_seq: i64) -> bool {
    event_seq - dictionary.event_seq < ROWS_MAX
}

/// Deletes dictionaries that no kept event can need, a few at a time.
pub(super) fn delete_outdated(tx: &Connection) -> rusqlite::Result<usize> {
    tx.prepare_cached(DELETE_OUTDATED)?
        .execute(named_params! { ":rows": ROWS_MAX, ":limit": DELETED_MAX })
}
