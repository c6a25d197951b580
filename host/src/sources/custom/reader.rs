//! What a declaration looks at in a verified delivery.

use std::borrow::Cow;

use super::super::json::{self, NotAnObject};
use super::super::{mac, payload};
use super::signed::pair;
use crate::model::custom_source::{CustomSource, Part, Place, Template, TimeRule, TimeUnit};
use crate::model::event::Headers;
use crate::model::time::{TimestampMs, parse_rfc3339};

/// What the declaration looks at.
pub struct Reader<'a> {
    pub source: &'a CustomSource,
    headers: &'a Headers,
    /// The JSON of the body, if it is there.
    json: Option<Cow<'a, str>>,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a CustomSource, headers: &'a Headers, content: &'a [u8]) -> Self {
        let json = match &source.form_field {
            Some(field) if !payload::is_object(content) => payload::form_field(content, field),
            _ => payload::text(content).map(Cow::Borrowed),
        };
        Self {
            source,
            headers,
            json,
        }
    }

    /// What stands in a place, unless it is empty.
    fn text(&self, place: &Place) -> Result<Option<Cow<'_, str>>, NotAnObject> {
        let text = match place {
            Place::Header(name) => self.headers.get(name).map(Cow::Borrowed),
            Place::Pair(key) => pair(self.source, self.headers, key).map(Cow::Borrowed),
            Place::Body(pointer) => json::find(self.json.as_deref().ok_or(NotAnObject)?, pointer)?,
        };
        Ok(text.filter(|it| !it.is_empty()))
    }

    /// The time in a place.
    pub fn time(&self, rule: &TimeRule) -> Result<Option<TimestampMs>, NotAnObject> {
        let text = self.text(&rule.place)?;
        // Nothing is told apart by this time, so that an RFC 3339 time may have any form.
        Ok(text.and_then(|it| match rule.unit {
            TimeUnit::Rfc3339 => parse_rfc3339(&it),
            unit => mac::decode_time(&it, unit),
        }))
    }

    /// The first template whose every place is there.
    pub fn first(&self, templates: &[Template]) -> Result<Option<String>, NotAnObject> {
        for template in templates {
            if let Some(text) = self.fill(template)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn fill(&self, template: &Template) -> Result<Option<String>, NotAnObject> {
        let mut filled = String::new();
        for part in template.parts() {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place(place) => match self.text(place)? {
                    Some(text) => filled.push_str(&text),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(filled))
    }
}

/// An event's name in lower case, `/` and `:` as dots, and anything else that names do not hold as `_`:
/// `orders/create` becomes `orders.create`, `Push Hook` becomes `push_hook`.
pub fn clean_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for char in text.trim().chars() {
        let char = match char {
            '/' | ':' => '.',
            it if it.is_ascii_alphanumeric() || "_.-".contains(it) => it.to_ascii_lowercase(),
            _ => '_',
        };
        // Triggers are words between single dots.
        let repeats = matches!(char, '.' | '_') && name.ends_with(char);
        if !repeats {
            name.push(char);
        }
    }
    name.trim_matches('.').to_owned()
}
