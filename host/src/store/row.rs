//! Reading columns as the host's own types.

use rusqlite::{Row, RowIndex};
use std::str::FromStr;

use super::StoreError;
use crate::model::id::{ActionId, EventId, RunId, SecretId, TicketId, TokenId};

/// An id that the database keeps as 16 bytes.
pub(super) trait StoredId: Sized {
    /// The id of these bytes.
    fn from_stored(bytes: [u8; 16]) -> Self;
}

macro_rules! stored_ids {
    ($($name:ident)*) => {
        $(impl StoredId for $name {
            fn from_stored(bytes: [u8; 16]) -> Self {
                Self::from_bytes(bytes)
            }
        })*
    };
}
stored_ids!(EventId RunId ActionId TicketId TokenId SecretId);

/// Reads an id column.
pub(super) fn id<T: StoredId>(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<T> {
    row.get::<_, [u8; 16]>(column).map(T::from_stored)
}

/// Reads a text column whose type has a fixed set of words.
pub(super) fn word<T: FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Malformed(what))
}

/// Reads a column of JSON text.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    text: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Malformed(what))
}

/// JSON text of a value of ours, which has no map with keys that are not text.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Malformed("value to keep"))
}
