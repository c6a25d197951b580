//! Headers and body of an event as one compressed blob, exact to the byte.
//!
//! Before it is packed: the length of the headers' part, the headers (the length of each name
//! and value before it), the body. Lengths are 32-bit numbers, the lowest byte first.

use std::cell::RefCell;

use lz4_flex::block::{self, CompressTable, get_maximum_output_size};

use crate::model::event::Headers;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::StoreError;
use super::dictionaries::Dictionary;

const FIND: &str = "
SELECT encoding, content, dictionary AS dictionary_seq,
       (SELECT content FROM content_dictionary WHERE event_seq = event_content.dictionary) AS dictionary
  FROM event_content
 WHERE event_seq = :event_seq";

const MALFORMED: StoreError = StoreError::Malformed("event content");

/// Smaller contents are kept as they are: there is nothing to win.
const PACKED_BYTES_MIN: usize = 256;
/// Contents up to this size are packed in memory that a thread keeps.
const SCRATCH_BYTES_MAX: usize = 60 << 10;
/// Larger contents are not packed by the writer thread, where others would wait: about 20 µs.
const QUICK_BYTES_MAX: usize = 16 << 10;
/// No event is larger: the largest body that can be configured, and its headers. A damaged row
/// that claims more is not given the memory.
const CONTENT_BYTES_MAX: usize = 64 << 20;

/// An event's headers and body, ready to be written.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) encoding: &'static str,
    pub(super) bytes: Vec<u8>,
    /// The dictionary behind which it was packed.
    pub(super) dictionary: Option<i64>,
}

/// What a thread uses again and again: making it costs as much as packing.
struct Packer {
    table: CompressTable,
    packed: Vec<u8>,
}

thread_local! {
    static PACKER: RefCell<Packer> = RefCell::new(Packer {
        table: CompressTable::small(),
        packed: Vec::new(),
    });
}

/// Whether [`pack`] takes so long that others should not wait for it.
pub(super) fn takes_long(headers: &Headers, body: &[u8]) -> bool {
    QUICK_BYTES_MAX < length(headers) + body.len()
}

/// The length of the headers' part.
fn length(headers: &Headers) -> usize {
    let texts = headers.0.iter();
    texts
        .map(|(name, value)| 8 + name.len() + value.len())
        .sum()
}

/// Headers and body one after another.
pub(super) fn lay_out(headers: &Headers, body: &[u8]) -> Vec<u8> {
    let headers_bytes = length(headers);
    let mut raw = Vec::with_capacity(4 + headers_bytes + body.len());
    put_length(&mut raw, headers_bytes);
    for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
        put_length(&mut raw, text.len());
        raw.extend_from_slice(text.as_bytes());
    }
    raw.extend_from_slice(body);
    raw
}

/// Whether [`pack`] tries to make it smaller.
pub(super) fn is_worth_packing(raw: &[u8]) -> bool {
    PACKED_BYTES_MIN <= raw.len()
}

/// Packs what [`lay_out`] gave, if it shrinks: by itself or behind a dictionary.
pub(super) fn pack(raw: &[u8], dictionary: Option<&Dictionary>) -> Content {
    if raw.len() <= SCRATCH_BYTES_MAX {
        PACKER.with_borrow_mut(|it| it.pack(raw, dictionary))
    } else {
        let mut packer = Packer {
            table: CompressTable::large(),
            packed: Vec::new(),
        };
        packer.pack(raw, dictionary)
    }
}

impl Packer {
    fn pack(&mut self, raw: &[u8], dictionary: Option<&Dictionary>) -> Content {
        self.packed.resize(get_maximum_output_size(raw.len()), 0);
        let (packed, table) = (&mut self.packed, &mut self.table);
        let packed = match dictionary {
            _ if !is_worth_packing(raw) => None,
            Some(it) => block::compress_into_with_dict(raw, packed, &it.bytes).ok(),
            None => block::compress_into_with_table(raw, packed, table).ok(),
        };
        match packed.and_then(|length| self.packed.get(..length)) {
            Some(packed) if 4 + packed.len() < raw.len() => {
                let mut bytes = Vec::with_capacity(4 + packed.len());
                put_length(&mut bytes, raw.len());
                bytes.extend_from_slice(packed);
                Content {
                    encoding: "lz4",
                    bytes,
                    dictionary: dictionary.map(|it| it.event_seq),
                }
            }
            _ => Content {
                encoding: "raw",
                bytes: raw.to_vec(),
                dictionary: None,
            },
        }
    }
}

/// The content of a kept event.
pub(super) fn find(
    db: &Connection,
    event_seq: i64,
) -> Result<Option<(Headers, bytes::Bytes)>, StoreError> {
    db.prepare_cached(FIND)?
        .query_row(named_params! { ":event_seq": event_seq }, |row| {
            Ok(of_row(row))
        })
        .optional()?
        .transpose()
}

/// Reads the columns `encoding`, `content`, `dictionary_seq` and `dictionary`.
pub(super) fn of_row(row: &Row<'_>) -> Result<(Headers, bytes::Bytes), StoreError> {
    let content = row.get_ref("content")?.as_blob().map_err(|_| MALFORMED)?;
    let dictionary = match row.get::<_, Option<i64>>("dictionary_seq")? {
        // One that is not there any more is not the same as none.
        Some(_) => row
            .get_ref("dictionary")?
            .as_blob()
            .map_err(|_| MALFORMED)?,
        None => &[],
    };
    match row.get_ref("encoding")?.as_str() {
        Ok("lz4") => unpack(content, dictionary),
        _ => read(content.to_vec()),
    }
}

/// Gives back what [`pack`] was given.
fn unpack(content: &[u8], dictionary: &[u8]) -> Result<(Headers, bytes::Bytes), StoreError> {
    let (raw_bytes, packed) = block::uncompressed_size(content).map_err(|_| MALFORMED)?;
    if CONTENT_BYTES_MAX < raw_bytes {
        return Err(MALFORMED);
    }
    read(block::decompress_with_dict(packed, raw_bytes, dictionary).map_err(|_| MALFORMED)?)
}

/// Takes apart what [`lay_out`] put together.
fn read(raw: Vec<u8>) -> Result<(Headers, bytes::Bytes), StoreError> {
    let raw = bytes::Bytes::from(raw);
    let mut rest = &*raw;
    let mut headers_part = take(&mut rest).ok_or(MALFORMED)?;
    let body = raw.slice_ref(rest);
    let mut headers = Vec::new();
    while !headers_part.is_empty() {
        let mut text = || {
            let text = take(&mut headers_part)?;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        headers.push(text().zip(text()).ok_or(MALFORMED)?);
    }
    Ok((Headers(headers), body))
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    // No content is as large as 4 GiB: see `CONTENT_BYTES_MAX`.
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// Takes a length and as many bytes from the front.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (taken, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A body, and a dictionary that is like it or not.
    fn body_and_dictionary() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
        let body = prop_oneof![
            9 => proptest::collection::vec(any::<u8>(), 0..2000),
            9 => "(\"[a-z]{1,8}\":[0-9]{1,5},){1,200}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(0..4_u8, 60_000..70_000),
        ];
        body.prop_flat_map(|body| {
            let part = proptest::collection::vec(any::<u8>(), 0..20);
            let alike = (0..=body.len(), part).prop_map({
                let body = body.clone();
                move |(cut, part)| [&body[cut..], &part, &body[..cut]].concat()
            });
            let dictionary = proptest::option::of(prop_oneof![
                3 => alike,
                1 => proptest::collection::vec(any::<u8>(), 0..9000),
            ]);
            (Just(body), dictionary)
        })
    }

    proptest! {
        #[test]
        fn content_comes_back_exactly(
            headers in proptest::collection::vec(("[a-z-]{1,20}", ".{0,40}"), 0..10),
            (body, dictionary) in body_and_dictionary(),
        ) {
            let headers = Headers(headers);
            let dictionary = dictionary.map(|bytes| Dictionary { event_seq: 7, tenant: String::new(), made_at: 0, bytes, uses: 0 });
            let content = pack(&lay_out(&headers, &body), dictionary.as_ref());
            let (headers_back, body_back) = match (content.encoding, content.dictionary) {
                ("raw", None) => read(content.bytes).unwrap(),
                ("lz4", None) => unpack(&content.bytes, &[]).unwrap(),
                ("lz4", Some(7)) => unpack(&content.bytes, &dictionary.unwrap().bytes).unwrap(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(headers, headers_back);
            prop_assert_eq!(body, body_back.to_vec());
        }

        #[test]
        fn damaged_content_is_an_error_or_other_content(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            dictionary in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(bytes.clone());
            let _ = unpack(&bytes, &dictionary);
        }
    }

    #[test]
    fn only_small_contents_are_packed_while_others_wait() {
        let headers = Headers(vec![("a".to_owned(), "b".to_owned())]);
        let fits = vec![0; QUICK_BYTES_MAX - length(&headers)];
        assert!(!takes_long(&headers, &fits));
        assert!(takes_long(&headers, &[&*fits, b"1"].concat()));
    }

    #[test]
    fn repetitive_content_shrinks() {
        let raw = lay_out(&Headers::default(), &b"{\"a\":1}".repeat(300));
        let content = pack(&raw, None);
        assert_eq!(content.encoding, "lz4");
        assert!(content.bytes.len() < 300);
    }
}
