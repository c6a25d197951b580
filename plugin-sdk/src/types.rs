//! The contract's types, with constructors where most fields have an obvious value.

use serde::Serialize;

use crate::bindings::policy_plugin::exports::triage::policy::plugin;
use crate::bindings::policy_plugin::triage::policy::types;

pub use plugin::PluginInfo;
pub use types::{
    Action, ActionContent, Classification, Custom, Event, Failure, Message, Plan, Priority,
    RetryRequest, Ticket, TimestampMs, Webhook,
};

impl PluginInfo {
    /// A plugin that declares no triggers, labels, categories or settings.
    pub fn new(name: &str, version: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            triggers: Vec::new(),
            labels: Vec::new(),
            categories: Vec::new(),
            settings_schema: None,
        }
    }
}

impl Classification {
    /// A certain answer without labels.
    pub fn new(priority: Priority, category: &str, reason: &str) -> Self {
        Self {
            priority,
            category: category.to_owned(),
            labels: Vec::new(),
            confidence_percent: 100,
            reason: reason.to_owned(),
        }
    }

    /// Ends the run: nothing happens.
    pub fn ignore(category: &str, reason: &str) -> Self {
        Self::new(Priority::Ignore, category, reason)
    }
}

impl Ticket {
    /// A ticket without labels, assignee or group.
    pub fn new(title: &str, body: &str) -> Self {
        Self {
            title: title.to_owned(),
            body: body.to_owned(),
            labels: Vec::new(),
            assignee: None,
            group_key: None,
        }
    }
}

impl Action {
    /// Opens a ticket at a destination of kind `ticket`.
    pub fn ticket(name: &str, destination: &str, ticket: Ticket) -> Self {
        Self::new(name, destination, ActionContent::Ticket(ticket))
    }

    /// Sends a payload to a destination of kind `webhook`. Fails where the payload is no JSON, as a map with keys
    /// that are not text.
    pub fn webhook<T: Serialize>(
        name: &str,
        destination: &str,
        payload: &T,
    ) -> Result<Self, Failure> {
        let payload = serde_json::to_string(payload)
            .map_err(|error| Failure::Permanent(format!("payload of `{name}`: {error}")))?;
        Ok(Self::new(
            name,
            destination,
            ActionContent::Webhook(Webhook { payload }),
        ))
    }

    /// Sends a message to a destination for people.
    pub fn message(name: &str, destination: &str, message: Message) -> Self {
        Self::new(name, destination, ActionContent::Message(message))
    }

    fn new(name: &str, destination: &str, content: ActionContent) -> Self {
        Self {
            name: name.to_owned(),
            destination: destination.to_owned(),
            content,
        }
    }
}
