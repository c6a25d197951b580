//! What a policy decided: a classification and the actions it asked for.
//!
//! The host's own types; the plugin contract's turn into them in `sandbox::convert`.

use serde::{Deserialize, Serialize};

/// How much an event matters, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The run ends here.
    Ignore,
    /// Worth keeping in view.
    Low,
    /// Somebody should look, in their own time.
    Normal,
    /// Somebody should look today.
    High,
    /// Somebody should look now.
    Critical,
}

impl Priority {
    /// The word used in JSON, pages and plugins.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What kind of event it is and how much it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classification {
    /// How much it matters.
    pub priority: Priority,
    /// A short machine name.
    pub category: String,
    /// Short machine words for filters.
    pub labels: Vec<String>,
    /// How sure the plugin is, 0 to 100.
    pub confidence_percent: u8,
    /// One or two sentences for a person.
    pub reason: String,
}

impl Classification {
    /// What a triager is told where the policy has no classifier.
    pub fn unclassified() -> Self {
        Self {
            priority: Priority::Normal,
            category: "unclassified".to_owned(),
            labels: Vec::new(),
            confidence_percent: 0,
            reason: "the policy has no classifier".to_owned(),
        }
    }
}

/// What should happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One sentence for a person.
    pub summary: String,
    /// Requested side effects.
    pub actions: Vec<PlannedAction>,
}

/// One requested side effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedAction {
    /// Unique within the plan.
    pub name: String,
    /// The destination's name in the configuration.
    pub destination: String,
    /// What it carries.
    pub content: ActionContent,
}

/// What an action carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ActionContent {
    /// For the built-in ticket desk.
    Ticket(Ticket),
    /// For a webhook destination.
    Webhook {
        /// JSON text that the plugin asked to send.
        payload: String,
    },
    /// For people.
    Message {
        /// One line.
        title: String,
        /// The message.
        text: String,
        /// What to thread by.
        thread_key: Option<String>,
    },
    /// For kinds of destination that the contract does not know.
    Other {
        /// The kind, as the destination names it.
        of: String,
        /// JSON text.
        content: String,
    },
}

impl ActionContent {
    /// The kind of destination that can take it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ticket(_) => "ticket",
            Self::Webhook { .. } => "webhook",
            Self::Message { .. } => "message",
            Self::Other { .. } => "other",
        }
    }
}

/// A ticket to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// Short machine words.
    pub labels: Vec<String>,
    /// Who should take it.
    pub assignee: Option<String>,
    /// Tickets with one group belong together.
    pub group_key: Option<String>,
}

/// A policy's whole answer for one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The classifier's answer.
    pub classification: Classification,
    /// The triager's answer; `None` where it was not asked.
    pub plan: Option<Plan>,
}
