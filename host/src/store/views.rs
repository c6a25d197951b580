//! What lists and pages show of events and runs: plain data that serialises to the API's JSON.
//!
//! Called by `http` and the command line. Lists go from the newest to the oldest and
//! read no more rows than a page needs; a filter without an index reads at most
//! [`ROWS_WALKED_MAX`] rows for a page, and the page's cursor tells where to go on.

mod events;
mod runs;

use std::fmt;

use rusqlite::{Connection, ToSql};
use serde::{Serialize, Serializer};

use super::StoreError;
use crate::model::time::{TimestampMs, rfc3339};

pub use events::{DecisionBrief, EventFilter, EventState, EventView, UnknownEventState};
pub use runs::{
    ActionAttemptView, ActionView, AttemptView, ReceiptView, RunDetail, RunFilter, RunState,
    RunView, UnknownRunState,
};

pub(super) use events::{event_of_run, find_event};
pub(super) use runs::find_run;

/// The longest page.
pub const LIMIT_MAX: u32 = 200;
/// A page's length where the caller does not say.
pub const LIMIT_DEFAULT: u32 = 50;
/// Rows that are looked at for one page: a rare match must not cost a walk through everything.
pub const ROWS_WALKED_MAX: usize = 2_000;

/// A point in time that serialises as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub TimestampMs);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.0))
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why there is no such page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPage {
    /// The cursor is not one of ours.
    #[error("cursor: use `next_cursor` of the page before, unchanged")]
    Cursor,
    /// The limit is out of bounds.
    #[error("limit: a number from 1 to {LIMIT_MAX}")]
    Limit,
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    before: i64,
    limit: u32,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            before: i64::MAX,
            limit: LIMIT_DEFAULT,
        }
    }
}

impl PageRequest {
    /// The page behind a cursor; the newest where there is none.
    pub fn new(cursor: Option<&str>, limit: Option<u32>) -> Result<Self, BadPage> {
        let before = cursor.map_or(Ok(i64::MAX), decode_cursor)?;
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(BadPage::Limit);
        }
        Ok(Self { before, limit })
    }

    /// The same page, of rows with a smaller `seq` than this one too.
    fn below(self, before: i64) -> Self {
        Self {
            before: self.before.min(before),
            ..self
        }
    }

    /// Collects the page. `rows` gives `seq`s newest first by its `:before` and `:limit`;
    /// `load` turns each into an item, or into nothing where a filter leaves it out.
    pub(super) fn walk<T>(
        self,
        db: &Connection,
        rows: &str,
        params: &[(&str, &dyn ToSql)],
        mut load: impl FnMut(i64) -> Result<Option<T>, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let limit = self.limit as usize;
        let (mut items, mut before, mut walked) = (Vec::new(), self.before, 0);
        loop {
            // One more than a page, to see whether another follows.
            let seqs = seqs(db, rows, params, before, limit + 1)?;
            let last_batch = seqs.len() <= limit;
            for seq in seqs {
                if items.len() == limit || walked == ROWS_WALKED_MAX {
                    return Ok(Page {
                        items,
                        next_cursor: Some(encode_cursor(before)),
                    });
                }
                (before, walked) = (seq, walked + 1);
                items.extend(readable(seq, load(seq))?);
            }
            if last_batch {
                return Ok(Page {
                    items,
                    next_cursor: None,
                });
            }
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page begins, if there may be one. A page can be short, even empty, and
    /// have another behind it.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page with every item turned into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(turn).collect(),
            next_cursor: self.next_cursor,
        }
    }

    fn one(item: Option<T>) -> Self {
        Self {
            items: item.into_iter().collect(),
            next_cursor: None,
        }
    }
}

fn seqs(
    db: &Connection,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
    before: i64,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let paging: [(&str, &dyn ToSql); 2] = [(":before", &before), (":limit", &limit)];
    let params: Vec<_> = params.iter().copied().chain(paging).collect();
    let mut statement = db.prepare_cached(sql)?;
    let seqs = statement.query_map(params.as_slice(), |row| row.get("seq"))?;
    Ok(seqs.collect::<rusqlite::Result<_>>()?)
}

/// A malformed row is left out of a list, and said so: it must not hide the others.
fn readable<T>(seq: i64, loaded: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match loaded {
        Err(StoreError::Malformed(what)) => {
            tracing::error!(seq, what, "a row is malformed and left out of a list");
            Ok(None)
        }
        other => other,
    }
}

// A cursor is text without a meaning for the caller, so that what it stands for can change.
fn encode_cursor(before: i64) -> String {
    format!("c{before:x}")
}

fn decode_cursor(text: &str) -> Result<i64, BadPage> {
    let hex = text
        .strip_prefix('c')
        .filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
    hex.and_then(|it| i64::from_str_radix(it, 16).ok())
        .ok_or(BadPage::Cursor)
}
