//! A payload as a person reads it: JSON with its lines indented, other text as it is.
//!
//! Numbers, escapes and the order of members stay exactly as sent, so the text is
//! indented and not parsed and written anew.

use std::borrow::Cow;

use maud::{Markup, html};
use serde::de::IgnoredAny;

use super::parts;
use crate::model::id::EventId;

/// Bytes of a payload that a page shows.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// Bytes after indenting; deep nesting makes long lines of blanks.
const INDENTED_BYTES_MAX: usize = 256 << 10;
/// Deeper levels are indented no further.
const DEPTH_MAX: usize = 32;

/// The payload of an event, with a link to its exact bytes.
pub fn show(event_id: EventId, body: &[u8]) -> Markup {
    let link = html! { a href={ "/v1/events/" (event_id) "/payload" } { "exact bytes" } };
    let size = parts::bytes(body.len() as u64);
    html! {
        @match readable(body) {
            Readable::Whole(text) => { pre.payload { (text) } p.hint { (size) " · " (link) } }
            Readable::Beginning(text) => {
                pre.payload { (text) "…" }
                p.hint { "only the beginning of " (size) " · " (link) }
            }
            Readable::Binary => { p.hint { (size) " that are not text · " (link) } }
        }
    }
}

enum Readable<'a> {
    Whole(Cow<'a, str>),
    Beginning(Cow<'a, str>),
    Binary,
}

fn readable(body: &[u8]) -> Readable<'_> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Readable::Binary;
    };
    if let Some(beginning) = text
        .get(..text.floor_char_boundary(SHOWN_BYTES_MAX))
        .filter(|it| it.len() < text.len())
    {
        return Readable::Beginning(beginning.into());
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => match indented(text) {
            Some(indented) => Readable::Whole(indented.into()),
            None => Readable::Whole(text.into()),
        },
        Err(_) => Readable::Whole(text.into()),
    }
}

/// JSON with a line for each member; `None` where that gets too long.
fn indented(json: &str) -> Option<String> {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(DEPTH_MAX)));
    };
    while let Some(next) = rest.next() {
        if INDENTED_BYTES_MAX < out.len() {
            return None;
        }
        if in_string {
            out.push(next);
            in_string = escaped || next != '"';
            escaped = next == '\\' && !escaped;
            continue;
        }
        match next {
            '{' | '[' => {
                out.push(next);
                depth += 1;
                while rest.next_if(|it| it.is_ascii_whitespace()).is_some() {}
                if rest.peek().is_some_and(|it| !matches!(it, '}' | ']')) {
                    line(&mut out, depth);
                } else {
                    depth -= 1;
                    out.extend(rest.next());
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(next);
            }
            ',' => {
                out.push(next);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ if next.is_ascii_whitespace() => (),
            _ => {
                in_string = next == '"';
                out.push(next);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        assert_eq!(indented(json).unwrap(), expected);
    }

    #[test]
    fn members_get_lines_of_their_own() {
        check(
            r#"{"b":1,"a":[1,{"c":"x"}]}"#,
            "{\n  \"b\": 1,\n  \"a\": [\n    1,\n    {\n      \"c\": \"x\"\n    }\n  ]\n}",
        );
    }

    #[test]
    fn nothing_that_was_sent_is_changed() {
        check(
            r#"{"n":1.10e+2,"big":12345678901234567890123}"#,
            "{\n  \"n\": 1.10e+2,\n  \"big\": 12345678901234567890123\n}",
        );
        check(
            r#"["a{,:}[\"]\\",""]"#,
            "[\n  \"a{,:}[\\\"]\\\\\",\n  \"\"\n]",
        );
    }

    #[test]
    fn empty_ones_stay_in_line() {
        check(
            "{ \"a\" : [ ] , \"b\": { } }",
            "{\n  \"a\": [],\n  \"b\": {}\n}",
        );
        check(" null ", "null");
    }

    #[test]
    fn deep_nesting_is_not_blown_up() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert!(
            matches!(readable(deep.as_bytes()), Readable::Whole(text) if text.len() <= INDENTED_BYTES_MAX)
        );
    }

    proptest! {
        #[test]
        fn indenting_keeps_the_value(keys in proptest::collection::vec(".{0,10}", 0..8), numbers in proptest::collection::vec(any::<i64>(), 0..8)) {
            let value = serde_json::json!({ "keys": keys, "numbers": numbers, "nested": [{ "a": {} }, [], [[]]] });
            let back: serde_json::Value = serde_json::from_str(&indented(&value.to_string()).unwrap()).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
