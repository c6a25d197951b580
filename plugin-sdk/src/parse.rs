//! Reading JSON, with messages that say where it is not as expected.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor,
};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::host;
use crate::types::Failure;

/// The longest text of an error, in characters; it may hold a value of the sender's.
const ERROR_CHARS_MAX: usize = 200;

/// The policy's settings; what is wrong with them is a permanent failure.
pub fn settings<T: DeserializeOwned>() -> Result<T, Failure> {
    json(host::settings::get().as_bytes(), "")
        .map_err(|error| Failure::Permanent(format!("settings: {error}")))
}

/// The part of a JSON value that a JSON pointer names, as text, number, … or `Option` of these.
///
/// ```
/// let body = serde_json::json!({"issue": {"number": 7, "tags": ["ui"]}});
/// let number: u64 = triage_plugin::at(&body, "/issue/number")?;
/// let tag: &str = triage_plugin::at(&body, "/issue/tags/0")?;
/// let title: Option<&str> = triage_plugin::at(&body, "/issue/title")?;
/// assert_eq!((number, tag, title), (7, "ui", None));
/// # Ok::<(), triage_plugin::Failure>(())
/// ```
pub fn at<'a, T: Deserialize<'a>>(value: &'a Value, pointer: &str) -> Result<T, Failure> {
    let found = value.pointer(pointer);
    T::deserialize(found.unwrap_or(&Value::Null)).map_err(|error| {
        Failure::InvalidPayload(match found {
            Some(_) => format!("body: at `{pointer}`: {}", what(&error)),
            None => format!("body: at `{pointer}`: missing"),
        })
    })
}

/// Parses JSON that stands at `pointer` of something larger; an error names the place.
pub(crate) fn json<'a, T: Deserialize<'a>>(text: &'a [u8], pointer: &str) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| explain(text, pointer, &error))
}

/// The text of the member that a pointer names, through objects only.
pub(crate) fn part<'a>(text: &'a [u8], pointer: &str) -> Result<&'a [u8], String> {
    let mut part = text;
    let mut done = String::new();
    for name in pointer.split('/').skip(1) {
        let mut deserializer = serde_json::Deserializer::from_slice(part);
        let found = Member(name).deserialize(&mut deserializer).and_then(|it| {
            deserializer.end()?;
            Ok(it)
        });
        let found = found.map_err(|error| explain(part, &done, &error))?;
        done = format!("{done}/{name}");
        part = found.get().as_bytes();
    }
    Ok(part)
}

/// Finds one member of an object, and skips the others.
struct Member<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = &'de RawValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = &'de RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| A::Error::custom(format_args!("missing field `{}`", self.0)))
    }
}

/// Whether a key is this one.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

fn explain(text: &[u8], pointer: &str, error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data => {
            let place = place(read_until(text, error));
            match format!("{pointer}{place}").as_str() {
                "" => what(error),
                place => format!("at `{place}`: {}", what(error)),
            }
        }
        Category::Syntax | Category::Eof | Category::Io => format!("not JSON: {error}"),
    }
}

/// What was read before the error: its line and column, counted from 1, as a part of the text.
fn read_until<'a>(text: &'a [u8], error: &serde_json::Error) -> &'a [u8] {
    let lines_before = error.line().saturating_sub(1);
    let line_start: usize = text
        .split_inclusive(|it| *it == b'\n')
        .take(lines_before)
        .map(<[u8]>::len)
        .sum();
    text.get(..line_start + error.column()).unwrap_or(text)
}

/// The JSON pointer of the value in which well-formed JSON breaks off.
///
/// This runs after an error only. A deserializer that keeps track of its path costs every event twice the time, and
/// a plugin a quarter of its size.
fn place(text: &[u8]) -> String {
    enum Step {
        Key(String),
        Index(usize),
    }
    let mut path = Vec::new();
    let mut is_key = false;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' => path.push(Step::Key(String::new())),
            b'[' => path.push(Step::Index(0)),
            b'}' | b']' => drop(path.pop()),
            b'"' => {
                let string = rest_of_string(&mut bytes);
                if let (true, Some(Step::Key(key))) = (is_key, path.last_mut()) {
                    *key = string;
                }
            }
            b',' => {
                if let Some(Step::Index(index)) = path.last_mut() {
                    *index += 1;
                }
            }
            _ => (),
        }
        if !byte.is_ascii_whitespace() {
            is_key = byte == b'{' || (byte == b',' && matches!(path.last(), Some(Step::Key(_))));
        }
    }
    path.iter()
        .map(|step| match step {
            Step::Key(key) => format!("/{key}"),
            Step::Index(index) => format!("/{index}"),
        })
        .collect()
}

/// A string after its opening quote, with escapes as they are written.
fn rest_of_string(bytes: &mut impl Iterator<Item = u8>) -> String {
    let mut string = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => string.extend([Some(byte), bytes.next()].into_iter().flatten()),
            _ => string.push(byte),
        }
    }
    String::from_utf8_lossy(&string).into_owned()
}

/// The error without its line and column: the place is named already, and bodies are one long line.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(what, _)| what);
    what.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only errors are looked at")]
    struct Body {
        title: String,
        #[serde(default)]
        tags: Vec<(String, u8)>,
        #[serde(default)]
        by_name: BTreeMap<String, Vec<Body>>,
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(json::<Body>(text.as_bytes(), "").unwrap_err(), expected);
    }

    #[test]
    fn an_error_names_its_place() {
        check("{}", "missing field `title`");
        check("7", "invalid type: integer `7`, expected struct Body");
        check(
            r#"{"title": 7}"#,
            "at `/title`: invalid type: integer `7`, expected a string",
        );
        check(
            "{\"title\": \"{\",\n \"tags\": [[\"a,\", 1],\n [\"b\", 300]]}",
            "at `/tags/1/1`: invalid value: integer `300`, expected u8",
        );
        check(
            r#"{"title": "\"[", "by_name": {"a": [{"title": "x"}], "b, \"c\"": [{"title": "y"}, {}]}}"#,
            r#"at `/by_name/b, \"c\"/1`: missing field `title`"#,
        );
        check(
            r#"{"title": "x", "tittle": 1}"#,
            "at `/tittle`: unknown field `tittle`, expected one of `title`, `tags`, `by_name`",
        );
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none() {
        check("", "not JSON: EOF while parsing a value at line 1 column 0");
        check("{} x", "missing field `title`");
        check(
            r#"{"title": "x"} y"#,
            "not JSON: trailing characters at line 1 column 16",
        );
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = format!(r#"{{"title": "x", "tags": "{}"}}"#, "y".repeat(1_000));
        let error = json::<Body>(text.as_bytes(), "").unwrap_err();
        assert!(
            error.starts_with("at `/tags`: invalid type: string"),
            "{error}"
        );
        assert!(error.len() < 250, "{error}");
    }

    #[test]
    fn a_part_is_found_through_objects() {
        let text = br#"{"a": 1, "data": {"b": [2], "object": {"title": 3}}, "c": null}"#;
        assert_eq!(part(text, "").unwrap(), text);
        assert_eq!(part(text, "/data/object").unwrap(), br#"{"title": 3}"#);
        assert_eq!(
            part(text, "/data/b/0").unwrap_err(),
            "at `/data/b`: invalid type: sequence, expected an object with `0`"
        );
        assert_eq!(
            part(text, "/data/x").unwrap_err(),
            "at `/data`: missing field `x`"
        );
        assert_eq!(part(text, "/x").unwrap_err(), "missing field `x`");
        assert_eq!(
            part(b"{", "/x").unwrap_err(),
            "not JSON: EOF while parsing an object at line 1 column 1"
        );
    }
}
