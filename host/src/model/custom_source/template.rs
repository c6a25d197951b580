//! Templates: text with places in braces, as `{header:X-Event}.{body:/action}`.

use std::str::FromStr;

use crate::model::pointer::{JsonPointer, NotAPointer};

/// The longest template in bytes.
const BYTES_MAX: usize = 512;
/// The most parts of one template.
const PARTS_MAX: usize = 16;

/// Where in a delivery a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `{header:NAME}`: a header; the name in lower case.
    Header(String),
    /// `{body:/pointer}`: a text, number or boolean in the JSON body.
    Body(JsonPointer),
    /// `{signature:KEY}`: what follows `KEY=` in the list in the signature's header.
    Pair(String),
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Stands as it is.
    Text(String),
    /// Stands for what is found there.
    Place(Place),
}

/// Text made from a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A part of a [`SignedText`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedPart {
    /// Stands as it is.
    Text(String),
    /// `{timestamp}`: the source's timestamp, as received.
    Timestamp,
    /// `{header:NAME}`: a header, as received; the name in lower case.
    Header(String),
    /// `{body}`: the body, as received.
    Body,
}

/// The text that a signature is made of: holds the body once, and nothing that could be read in two ways.
///
/// Without that a forger could move a border: `{header:id}{body}` signs the same text for the
/// id `1` and the body `23` as for `12` and `3`. So two values never touch, except a
/// timestamp and the body, whose border `sources` checks; and a value before a literal text
/// never holds the first character of that text (after the body: the last), which
/// `sources` checks as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedText(Vec<SignedPart>);

/// The text is not a template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {cause}")]
pub struct BadTemplate {
    text: String,
    cause: String,
}

/// A template in pieces, the places not yet understood.
enum Piece<'a> {
    Text(&'a str),
    Place(&'a str),
}

impl Template {
    /// In order; at least one.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The places in it.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().filter_map(|it| match it {
            Part::Place(place) => Some(place),
            Part::Text(_) => None,
        })
    }
}

impl SignedText {
    /// In order; one of them is the body.
    pub fn parts(&self) -> &[SignedPart] {
        &self.0
    }

    /// Whether the timestamp is signed.
    pub fn holds_timestamp(&self) -> bool {
        self.0.contains(&SignedPart::Timestamp)
    }
}

impl Default for SignedText {
    /// The body alone.
    fn default() -> Self {
        Self(vec![SignedPart::Body])
    }
}

impl FromStr for Place {
    type Err = BadTemplate;

    /// One place and nothing else, as `{header:X-Time}`.
    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let template: Template = text.parse()?;
        match <[Part; 1]>::try_from(template.0) {
            Ok([Part::Place(place)]) => Ok(place),
            _ => Err(bad(text, "must be one place, as `{header:X-Time}`")),
        }
    }
}

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        for piece in pieces(text)? {
            parts.push(match piece {
                Piece::Text(text) => Part::Text(text.to_owned()),
                Piece::Place(name) => Part::Place(place(name).map_err(|cause| bad(text, cause))?),
            });
        }
        if !parts.iter().any(|it| matches!(it, Part::Place(_))) {
            return Err(bad(
                text,
                "names no place, as `{header:NAME}` or `{body:/pointer}`",
            ));
        }
        Ok(Self(parts))
    }
}

impl FromStr for SignedText {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        for piece in pieces(text)? {
            parts.push(match piece {
                Piece::Text(text) => SignedPart::Text(text.to_owned()),
                Piece::Place("body") => SignedPart::Body,
                Piece::Place("timestamp") => SignedPart::Timestamp,
                Piece::Place(name) => match place(name) {
                    Ok(Place::Header(name)) => SignedPart::Header(name),
                    _ => return Err(bad(text, SIGNED_PLACES)),
                },
            });
        }
        if parts.iter().filter(|it| **it == SignedPart::Body).count() != 1 {
            return Err(bad(
                text,
                "must hold `{body}` once: a body that is not signed could be exchanged",
            ));
        }
        if parts.array_windows().any(|[one, next]| touch(one, next)) {
            return Err(bad(
                text,
                "two values touch: nobody could tell where the one ends, put text between them",
            ));
        }
        Ok(Self(parts))
    }
}

const SIGNED_PLACES: &str = "a signed text is made of `{body}`, `{timestamp}` and `{header:NAME}`";

/// Whether the border between two parts cannot be found again.
fn touch(one: &SignedPart, next: &SignedPart) -> bool {
    use SignedPart::{Body, Text, Timestamp};
    !matches!(
        (one, next),
        (Text(_), _) | (_, Text(_)) | (Timestamp, Body) | (Body, Timestamp)
    )
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BadTemplate> {
    if text.is_empty() || BYTES_MAX < text.len() {
        return Err(bad(text, format!("must be 1 to {BYTES_MAX} bytes long")));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, place) = rest
            .split_once('{')
            .map_or((rest, None), |(before, after)| {
                (before, Some(after.split_once('}')))
            });
        if before.contains('}') {
            return Err(bad(text, "a `}` without a `{` before it"));
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        rest = match place {
            None => "",
            Some(Some((name, after))) if !name.contains('{') => {
                pieces.push(Piece::Place(name));
                after
            }
            Some(_) => return Err(bad(text, "a `{` without a `}` after it")),
        };
    }
    if PARTS_MAX < pieces.len() {
        return Err(bad(text, format!("has more than {PARTS_MAX} parts")));
    }
    Ok(pieces)
}

fn place(name: &str) -> Result<Place, String> {
    match name.split_once(':') {
        Some(("header", name)) => header_name(name).map(Place::Header),
        Some(("body", pointer)) if !pointer.is_empty() => pointer
            .parse()
            .map(Place::Body)
            .map_err(|error: NotAPointer| error.to_string()),
        Some(("signature", key)) if is_pair_name(key) => Ok(Place::Pair(key.to_owned())),
        _ => Err(format!(
            "`{{{name}}}` is none of `{{header:NAME}}`, `{{body:/pointer}}` and `{{signature:KEY}}`"
        )),
    }
}

/// Printable ASCII without spaces and `=`, which ends it.
fn is_pair_name(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|it| it.is_ascii_graphic() && it != b'=')
}

/// A header's name (RFC 9110, section 5.1) in lower case.
///
/// # Errors
/// Why it is none.
pub fn header_name(text: &str) -> Result<String, String> {
    let is_token = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    if (1..=128).contains(&text.len()) && text.bytes().all(is_token) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("`{text}` is not the name of a header"))
}

fn bad(text: &str, cause: impl Into<String>) -> BadTemplate {
    BadTemplate {
        text: text.to_owned(),
        cause: cause.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_places() {
        let template: Template = "a{header:X-Id}:{body:/b/0}".parse().unwrap();
        assert_eq!(
            template.parts(),
            [
                Part::Text("a".to_owned()),
                Part::Place(Place::Header("x-id".to_owned())),
                Part::Text(":".to_owned()),
                Part::Place(Place::Body("/b/0".parse().unwrap())),
            ]
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let many = "{header:a}".repeat(17);
        for text in [
            "",
            "text",
            "{body:}",
            "{body:/a~2}",
            "{",
            "}",
            "{}",
            "{body}",
            "{header:}",
            "{header:a b}",
            "{body:id}",
            "{signature:}",
            "{signature: t}",
            "{signature:t=}",
            "{other:x}",
            "a}{header:x}",
            "{header:{x}}",
            &many,
            &"x".repeat(513),
        ] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_signed_text_holds_the_body_once() {
        assert_eq!("{body}".parse(), Ok(SignedText::default()));
        for text in ["{timestamp}", "{body}.{body}", "{header:X-Id}", "x"] {
            assert!(text.parse::<SignedText>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_in_a_signed_text_do_not_touch() {
        for text in [
            "{header:a}{body}",
            "{body}{header:a}",
            "{header:a}{header:b}.{body}",
            "{timestamp}{header:a}.{body}",
            "{timestamp}{timestamp}.{body}",
        ] {
            assert!(text.parse::<SignedText>().is_err(), "{text}");
        }
        for text in [
            "{timestamp}{body}",
            "{body}{timestamp}",
            "v0:{timestamp}:{body}",
            "{header:id}.{timestamp}.{body}",
        ] {
            assert!(text.parse::<SignedText>().is_ok(), "{text}");
        }
    }
}
