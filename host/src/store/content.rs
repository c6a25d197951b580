//! Headers and body of an event as one compressed blob, exact to the byte.

use crate::model::event::Headers;

use super::StoreError;

/// Smaller contents are kept as they are: there is nothing to win.
const COMPRESS_BYTES_MIN: usize = 256;
/// No event is larger: the largest body that can be configured, and its headers. A damaged row
/// that claims more is not given the memory.
const CONTENT_BYTES_MAX: usize = 64 << 20;

/// An event's headers and body, ready to be written.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) encoding: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Packs before the writer thread gets it, so that compression costs no write time.
pub(super) fn pack(headers: &Headers, body: &[u8]) -> Content {
    // Headers are plain strings: they always serialise.
    let headers = serde_json::to_vec(headers).unwrap_or_else(|_| b"[]".to_vec());
    let mut raw = Vec::with_capacity(4 + headers.len() + body.len());
    raw.extend_from_slice(
        &u32::try_from(headers.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    raw.extend_from_slice(&headers);
    raw.extend_from_slice(body);
    if raw.len() < COMPRESS_BYTES_MIN {
        return Content {
            encoding: "raw",
            bytes: raw,
        };
    }
    let packed = lz4_flex::compress_prepend_size(&raw);
    if raw.len() <= packed.len() {
        return Content {
            encoding: "raw",
            bytes: raw,
        };
    }
    Content {
        encoding: "lz4",
        bytes: packed,
    }
}

/// Gives back what [`pack`] was given.
pub(super) fn unpack(encoding: &str, bytes: &[u8]) -> Result<(Headers, bytes::Bytes), StoreError> {
    let malformed = || StoreError::Malformed("event content");
    let raw = match encoding {
        "lz4" => {
            let (bytes_raw, block) =
                lz4_flex::block::uncompressed_size(bytes).map_err(|_| malformed())?;
            if CONTENT_BYTES_MAX < bytes_raw {
                return Err(malformed());
            }
            lz4_flex::decompress(block, bytes_raw).map_err(|_| malformed())?
        }
        _ => bytes.to_vec(),
    };
    let raw = bytes::Bytes::from(raw);
    let (length, rest) = raw.split_first_chunk::<4>().ok_or_else(malformed)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| malformed())?;
    let headers = rest.get(..length).ok_or_else(malformed)?;
    let headers = serde_json::from_slice(headers).map_err(|_| malformed())?;
    Ok((headers, raw.slice(4 + length..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn content_comes_back_exactly(
            headers in proptest::collection::vec(("[a-z-]{1,20}", ".{0,40}"), 0..10),
            body in proptest::collection::vec(any::<u8>(), 0..2000),
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
    fn repetitive_content_shrinks() {
        let content = pack(&Headers::default(), &b"{\"a\":1}".repeat(300));
        assert_eq!(content.encoding, "lz4");
        assert!(content.bytes.len() < 300);
    }
}
