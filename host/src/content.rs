//! What a body says once its `Content-Encoding` is undone (RFC 9110, 8.4). Pure.
//!
//! Called by `http::ingest` once the signature has been checked, which is made over the bytes as they
//! came, and by `worker` for what plugins get. What is kept is never changed. The only door to flate2.

use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;

use crate::model::event::Headers;

/// The most that any body may inflate to, in bytes.
///
/// The largest body that can be sent without compression may be as large as well, so nothing that is
/// behind this module gets more than it would otherwise.
pub const INFLATED_BYTES_CEILING: usize = 32 << 20;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952), also called x-gzip.
    Gzip,
    /// In a way that is not undone: another one, or several.
    Other,
}

/// A body that is not what its encoding says, or is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be inflated, or is too large then")]
pub struct Unreadable;

impl Encoding {
    /// What the headers say.
    pub fn of(headers: &Headers) -> Self {
        let mut found = Self::Identity;
        let values = headers
            .0
            .iter()
            .filter(|(name, _)| name == "content-encoding");
        for coding in values
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
        {
            if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
                continue;
            }
            let is_gzip = ["gzip", "x-gzip"]
                .iter()
                .any(|it| coding.eq_ignore_ascii_case(it));
            found = match (found, is_gzip) {
                (Self::Identity, true) => Self::Gzip,
                _ => Self::Other,
            };
        }
        found
    }
}

/// Inflates a gzip body of any number of members, to at most so many bytes.
///
/// Never takes more memory than that, whatever the body says. What is cut off, followed by anything
/// else, or does not fit its checksum is not read in part.
pub fn inflate(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    let mut inflated = Vec::new();
    // One more than allowed, so that a larger body is noticed and not cut.
    let mut reader = MultiGzDecoder::new(body).take(bytes_max as u64 + 1);
    reader.read_to_end(&mut inflated).map_err(|_| Unreadable)?;
    match inflated.len() <= bytes_max {
        true => Ok(inflated),
        false => Err(Unreadable),
    }
}

/// Headers and body of a kept event as a plugin gets them, where they are not those that are kept.
///
/// `None` where the body is not encoded, and where the host could not read it when it came
/// (`{source}.unparsable`): then a plugin gets what came. The event alone decides that, not a
/// configuration that may have changed since.
pub fn for_plugin(headers: &Headers, body: &[u8], event_type: &str) -> Option<(Headers, Vec<u8>)> {
    if Encoding::of(headers) != Encoding::Gzip || event_type.ends_with(".unparsable") {
        return None;
    }
    let inflated = inflate(body, INFLATED_BYTES_CEILING).ok()?;
    // They speak of the body that came.
    let still_true = |name: &str| !["content-encoding", "content-length"].contains(&name);
    let headers = headers.0.iter().filter(|(name, _)| still_true(name));
    Some((Headers(headers.cloned().collect()), inflated))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// A body as a sender compresses it.
    pub fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(values: &[&str]) -> Headers {
        let name = || "content-encoding".to_owned();
        Headers(values.iter().map(|it| (name(), (*it).to_owned())).collect())
    }

    #[test]
    fn the_encoding_is_what_all_headers_together_say() {
        for (values, encoding) in [
            (&[][..], Encoding::Identity),
            (&[""], Encoding::Identity),
            (&["identity"], Encoding::Identity),
            (&["gzip"], Encoding::Gzip),
            (&["X-GZIP"], Encoding::Gzip),
            (&[" gzip , identity"], Encoding::Gzip),
            (&["gzip, gzip"], Encoding::Other),
            (&["gzip", "gzip"], Encoding::Other),
            (&["br"], Encoding::Other),
            (&["deflate, gzip"], Encoding::Other),
            (&["gzip, br"], Encoding::Other),
            (&["zstd"], Encoding::Other),
        ] {
            assert_eq!(Encoding::of(&headers(values)), encoding, "{values:?}");
        }
    }

    #[test]
    fn members_one_after_another_are_one_body() {
        let body = [gzip(b"{\"a\""), gzip(b""), gzip(b":1}")].concat();
        assert_eq!(inflate(&body, 100).unwrap(), b"{\"a\":1}");
    }

    #[test]
    fn a_bomb_is_given_up_at_the_limit() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100_000);
        for limit in [0, 1, 1 << 20, INFLATED_BYTES_CEILING, (64 << 20) - 1] {
            assert_eq!(inflate(&bomb, limit), Err(Unreadable), "{limit}");
        }
        assert_eq!(inflate(&bomb, 64 << 20).unwrap().len(), 64 << 20);
        let members = gzip(&[b' '; 1_000]).repeat(1_000);
        assert_eq!(inflate(&members, 999_999), Err(Unreadable));
        assert_eq!(inflate(&members, 1_000_000).unwrap().len(), 1_000_000);
    }

    #[test]
    fn what_is_not_gzip_from_begin_to_end_is_unreadable() {
        let whole = gzip(b"{\"action\":\"opened\"}");
        for cut in 0..whole.len() {
            assert_eq!(inflate(&whole[..cut], 100), Err(Unreadable), "{cut}");
        }
        for garbage in [&b"\0"[..], b"{}", b"\x1f\x8b"] {
            let body = [&whole, garbage].concat();
            assert_eq!(inflate(&body, 100), Err(Unreadable), "{garbage:?}");
        }
        let mut changed = whole;
        let checksum = changed.len() - 8;
        changed[checksum] ^= 1;
        assert_eq!(inflate(&changed, 100), Err(Unreadable));
        assert_eq!(inflate(b"{\"action\":\"opened\"}", 100), Err(Unreadable));
    }

    #[test]
    fn a_plugin_gets_what_a_body_says() {
        let mut headers = headers(&["gzip"]);
        headers
            .0
            .push(("content-length".to_owned(), "7".to_owned()));
        headers.0.push(("x-event".to_owned(), "push".to_owned()));
        let body = gzip(b"{}");
        let (told, content) = for_plugin(&headers, &body, "github.push").unwrap();
        assert_eq!(content, b"{}");
        assert_eq!(told.0, [("x-event".to_owned(), "push".to_owned())]);
        assert_eq!(for_plugin(&headers, &body, "github.unparsable"), None);
        assert_eq!(for_plugin(&headers, b"{}", "github.push"), None);
        assert_eq!(for_plugin(&Headers::default(), &body, "github.push"), None);
    }

    proptest! {
        #[test]
        fn whatever_was_compressed_comes_back(plain in prop::collection::vec(any::<u8>(), 0..2_000), room in 0usize..100) {
            let body = gzip(&plain);
            prop_assert_eq!(inflate(&body, plain.len() + room).unwrap(), &plain[..]);
            if let Some(less) = plain.len().checked_sub(room + 1) {
                prop_assert_eq!(inflate(&body, less), Err(Unreadable));
            }
        }

        #[test]
        fn no_bytes_inflate_to_more_than_allowed(body in prop::collection::vec(any::<u8>(), 0..300), max in 0usize..1_000) {
            let body = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &body].concat();
            prop_assert!(inflate(&body, max).is_err() || inflate(&body, max).unwrap().len() <= max);
        }
    }
}
