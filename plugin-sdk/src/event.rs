//! How an author reads an event.

use serde::de::DeserializeOwned;

use crate::parse;
use crate::types::{Event, Failure};

impl Event {
    /// The body as JSON, as a type of the author's or as a `serde_json::Value`.
    ///
    /// A type with only the fields that are needed is quicker and smaller than a `Value`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        parse::json(&self.body).map_err(|error| Failure::InvalidPayload(format!("body: {error}")))
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(it, _)| it == name)?;
        Some(value)
    }
}
