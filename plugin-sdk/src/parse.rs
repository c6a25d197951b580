//! Reading JSON, with messages that say where it is not as expected.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::host;
use crate::types::Failure;

/// The policy's settings; what is wrong with them is a permanent failure.
pub fn settings<T: DeserializeOwned>() -> Result<T, Failure> {
    json(host::settings::get().as_bytes())
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
            Some(_) => format!("body: at `{pointer}`: {error}"),
            None => format!("body: at `{pointer}`: missing"),
        })
    })
}

/// Parses JSON; an error names the place as a JSON pointer.
pub(crate) fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match error
        .inner()
        .classify()
    {
        Category::Data => format!("at `{}`: {}", pointer(error.path()), what(error.inner())),
        Category::Syntax | Category::Eof | Category::Io => format!("not JSON: {}", error.inner()),
    })?;
    deserializer
        .end()
        .map_err(|error| format!("not JSON: {error}"))?;
    Ok(value)
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        pointer.push_str(&match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => "?".to_owned(),
        });
    }
    pointer
}

/// The error without its line and column: the place is named already, and bodies are one long line.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}
