//! JSON pointers (RFC 6901): where a value stands in a payload.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A pointer as `/issue/id`; the empty one is the whole document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonPointer(String);

/// The text is no JSON pointer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a JSON pointer, as `/issue/id`: it begins with `/`, and `~` is written `~0`, `/` within a name `~1`"
)]
pub struct NotAPointer(pub String);

impl JsonPointer {
    /// The names or indices on the way, unescaped; none for the whole document.
    pub fn steps(&self) -> Vec<Cow<'_, str>> {
        // The order matters: `~01` is `~1` (RFC 6901, section 4).
        let unescaped = |step: &'_ str| step.replace("~1", "/").replace("~0", "~");
        let steps = self.0.split('/').skip(1);
        steps
            .map(|it| match it.contains('~') {
                true => Cow::Owned(unescaped(it)),
                false => Cow::Borrowed(it),
            })
            .collect()
    }

    /// The value there, if there is one.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        document.pointer(&self.0)
    }

    /// The string, number or boolean there, as text.
    pub fn text(&self, document: &Value) -> Option<String> {
        match self.find(document)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl FromStr for JsonPointer {
    type Err = NotAPointer;

    fn from_str(text: &str) -> Result<Self, NotAPointer> {
        let escapes_are_whole = text
            .split('~')
            .skip(1)
            .all(|it| it.starts_with('0') || it.starts_with('1'));
        if (text.is_empty() || text.starts_with('/')) && escapes_are_whole {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAPointer(text.to_owned()))
        }
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_find_what_the_rfc_says() {
        // RFC 6901, section 5.
        let document = json!({ "foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, "deep": { "on": true, "null": null } });
        for (pointer, text) in [
            ("/foo/0", Some("bar")),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/m~0n", Some("8")),
            ("/deep/on", Some("true")),
            ("/deep/null", None),
            ("/foo", None),
            ("", None),
            ("/nowhere", None),
        ] {
            let pointer: JsonPointer = pointer.parse().unwrap();
            assert_eq!(pointer.text(&document).as_deref(), text, "{pointer}");
        }
    }

    #[test]
    fn steps_are_unescaped() {
        let pointer: JsonPointer = "/a~1b/m~0n/~01/0/".parse().unwrap();
        assert_eq!(pointer.steps(), ["a/b", "m~n", "~1", "0", ""]);
        assert!("".parse::<JsonPointer>().unwrap().steps().is_empty());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["issue/id", "#/issue", "/a~2", "/a~", "$.issue"] {
            assert!(text.parse::<JsonPointer>().is_err(), "{text}");
        }
    }
}
