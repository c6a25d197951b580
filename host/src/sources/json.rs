//! Looking one value up in JSON text, without building the document.
//!
//! Called by `custom` once the signature has been checked.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::payload::{Raw, Text};
use crate::model::pointer::JsonPointer;

/// The text is not a JSON object, or a member on the way is there twice.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnObject;

/// The text, number or boolean at a place of a JSON object; numbers as they are written.
///
/// `None` where there is nothing, `null`, an object or a list. All of the text must be JSON,
/// as for [`super::payload::object`].
pub fn find<'a>(text: &'a str, pointer: &JsonPointer) -> Result<Option<Cow<'a, str>>, NotAnObject> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(NotAnObject);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Find(&pointer.steps())
        .deserialize(&mut deserializer)
        .map_err(|_| NotAnObject)?;
    deserializer.end().map_err(|_| NotAnObject)?;
    Ok(found)
}

/// The steps that are still to go.
struct Find<'p>(&'p [Cow<'p, str>]);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if !self.0.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let raw = Raw::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'"') => {
                let text: Text<'de> = serde_json::from_str(raw).map_err(D::Error::custom)?;
                Ok(Some(text.0))
            }
            Some(b'{' | b'[' | b'n') | None => Ok(None),
            Some(_) => Ok(Some(Cow::Borrowed(raw))),
        }
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut seen) = (None, false);
        while let Some(Text(name)) = map.next_key()? {
            match self.0.split_first() {
                Some((step, rest)) if *step == name => {
                    // What a plugin's parser takes could be the other one.
                    if std::mem::replace(&mut seen, true) {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                    found = map.next_value_seed(Find(rest))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.split_first().and_then(|(step, rest)| {
            // RFC 6901, section 4: digits without leading zeros.
            let index: usize = step.parse().ok()?;
            (index.to_string() == *step).then_some((index, rest))
        });
        for index in 0.. {
            match wanted {
                Some((at, rest)) if at == index => {
                    let Some(found) = list.next_element_seed(Find(rest))? else {
                        break;
                    };
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(found);
                }
                _ if list.next_element::<IgnoredAny>()?.is_none() => break,
                _ => (),
            }
        }
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(text: &'a str, pointer: &str) -> Result<Option<Cow<'a, str>>, NotAnObject> {
        find(text, &pointer.parse().unwrap())
    }

    #[test]
    fn texts_numbers_and_booleans_are_found() {
        let text = r#" {"a": {"b~/": ["x", {"c": "\u00e9"}]}, "n": 820982911946154508.10, "t": true, "e": ""} "#;
        for (pointer, expected) in [
            ("/a/b~0~1/0", "x"),
            ("/a/b~0~1/1/c", "é"),
            ("/n", "820982911946154508.10"),
            ("/t", "true"),
            ("/e", ""),
        ] {
            assert_eq!(at(text, pointer), Ok(Some(expected.into())), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_there_or_no_single_value_is_nothing() {
        let text = r#"{"a": {"b": [1, 2]}, "z": null, "s": "text", "n": 1, "f": -0.5, "t": false}"#;
        for pointer in [
            "/b", "/a", "/a/b", "/a/b/2", "/a/b/00", "/a/b/-", "/a/b/x", "/a/c", "/z", "/z/a",
            "/s/a", "/n/a", "/f/a", "/t/a",
        ] {
            assert_eq!(at(text, pointer), Ok(None), "{pointer}");
        }
    }

    #[test]
    fn broken_text_is_an_error_wherever_it_breaks() {
        for text in [
            "",
            "[]",
            "null",
            "\"a\"",
            "{",
            "{\"a\":1}}",
            "{\"a\":1,}",
            "{\"a\":1,\"b\":tru}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert_eq!(at(text, "/a"), Err(NotAnObject), "{text}");
        }
    }

    #[test]
    fn what_is_skipped_may_be_deep() {
        let text = format!(
            "{{\"x\":{}{},\"a\":1}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(at(&text, "/a"), Ok(Some("1".into())));
    }
}
