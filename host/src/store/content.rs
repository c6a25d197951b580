//! Headers and body of an event as one compressed blob, exact to the byte.
//!
//! Before compression: the length of the headers' part, the headers (the length of each name
//! and value before it), the body. Lengths are 32-bit numbers, the lowest byte first.

use std::cell::RefCell;

use lz4_flex::block::{self, CompressTable, get_maximum_output_size};

use crate::model::event::Headers;

use super::StoreError;

/// Smaller contents are kept as they are: there is nothing to win.
const COMPRESS_BYTES_MIN: usize = 256;
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
}

/// What a thread uses again and again: making it costs as much as compressing.
struct Packer {
    table: CompressTable,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

thread_local! {
    static PACKER: RefCell<Packer> = RefCell::new(Packer {
        table: CompressTable::small(),
        raw: Vec::new(),
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

/// Compresses what shrinks.
pub(super) fn pack(headers: &Headers, body: &[u8]) -> Content {
    let headers_bytes = length(headers);
    if 4 + headers_bytes + body.len() <= SCRATCH_BYTES_MAX {
        PACKER.with_borrow_mut(|it| it.pack(headers, headers_bytes, body))
    } else {
        let mut packer = Packer {
            table: CompressTable::large(),
            raw: Vec::new(),
            packed: Vec::new(),
        };
        packer.pack(headers, headers_bytes, body)
    }
}

impl Packer {
    fn pack(&mut self, headers: &Headers, headers_bytes: usize, body: &[u8]) -> Content {
        let raw = &mut self.raw;
        raw.clear();
        put_length(raw, headers_bytes);
        for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            put_length(raw, text.len());
            raw.extend_from_slice(text.as_bytes());
        }
        raw.extend_from_slice(body);
        self.packed.resize(get_maximum_output_size(raw.len()), 0);
        let packed = match block::compress_into_with_table(raw, &mut self.packed, &mut self.table) {
            Ok(length) if COMPRESS_BYTES_MIN <= raw.len() => self.packed.get(..length),
            _ => None,
        };
        match packed {
            Some(packed) if 4 + packed.len() < raw.len() => {
                let mut bytes = Vec::with_capacity(4 + packed.len());
                put_length(&mut bytes, raw.len());
                bytes.extend_from_slice(packed);
                Content {
                    encoding: "lz4",
                    bytes,
                }
            }
            _ => Content {
                encoding: "raw",
                bytes: raw.clone(),
            },
        }
    }
}

/// Gives back what [`pack`] was given.
pub(super) fn unpack(encoding: &str, bytes: &[u8]) -> Result<(Headers, bytes::Bytes), StoreError> {
    let malformed = || StoreError::Malformed("event content");
    let raw = match encoding {
        "lz4" => {
            let (bytes_raw, packed) = block::uncompressed_size(bytes).map_err(|_| malformed())?;
            if CONTENT_BYTES_MAX < bytes_raw {
                return Err(malformed());
            }
            lz4_flex::decompress(packed, bytes_raw).map_err(|_| malformed())?
        }
        _ => bytes.to_vec(),
    };
    let raw = bytes::Bytes::from(raw);
    let mut rest = &*raw;
    let mut headers_part = take(&mut rest).ok_or_else(malformed)?;
    let body = raw.slice_ref(rest);
    let mut headers = Vec::new();
    while !headers_part.is_empty() {
        let mut text = || {
            let text = take(&mut headers_part)?;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        headers.push(text().zip(text()).ok_or_else(malformed)?);
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

    proptest! {
        #[test]
        fn content_comes_back_exactly(
            headers in proptest::collection::vec(("[a-z-]{1,20}", ".{0,40}"), 0..10),
            body in prop_oneof![
                9 => proptest::collection::vec(any::<u8>(), 0..2000),
                1 => proptest::collection::vec(0..4_u8, 60_000..70_000),
            ],
        ) {
            let headers = Headers(headers);
            let content = pack(&headers, &body);
            let (headers_back, body_back) = unpack(content.encoding, &content.bytes).unwrap();
            prop_assert_eq!(headers, headers_back);
            prop_assert_eq!(body, body_back.to_vec());
        }

        #[test]
        fn damaged_content_is_an_error_or_other_content(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack("raw", &bytes);
            let _ = unpack("lz4", &bytes);
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
        let content = pack(&Headers::default(), &b"{\"a\":1}".repeat(300));
        assert_eq!(content.encoding, "lz4");
        assert!(content.bytes.len() < 300);
    }
}
