//! How an author reads an event.

use serde::Deserialize;

use crate::parse;
use crate::types::{Event, Failure};

impl Event {
    /// The body as JSON, as a type of the author's or as a `serde_json::Value`.
    ///
    /// A type with only the fields that are needed is quicker and smaller than a `Value`.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        self.json_at("")
    }

    /// The part of the JSON body that a JSON pointer names, through objects only.
    ///
    /// ```
    /// # let event = triage_plugin::testing::event("x.y", &serde_json::json!({"data": {"issue": {"title": "Down"}}}));
    /// #[derive(serde::Deserialize)]
    /// struct Issue {
    ///     title: String,
    /// }
    /// let issue: Issue = event.json_at("/data/issue")?;
    /// assert_eq!(issue.title, "Down");
    /// # Ok::<(), triage_plugin::Failure>(())
    /// ```
    pub fn json_at<'a, T: Deserialize<'a>>(&'a self, pointer: &str) -> Result<T, Failure> {
        parse::part(&self.body, pointer)
            .and_then(|part| parse::json(part, pointer))
            .map_err(|error| Failure::InvalidPayload(format!("body: {error}")))
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(it, _)| it == name)?;
        Some(value)
    }
}
