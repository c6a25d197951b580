//! What a source found in an event, and what follows from it: a classification, a plan.

use serde::Serialize;
use triage_plugin::{Action, Classification, Failure, Plan, Priority, Ticket};

use crate::settings::Settings;
use crate::urgency::Urgency;

/// Every category that this plugin answers with.
pub const CATEGORIES: [&str; 8] = [
    "alert",
    "error",
    "incident",
    "issue",
    "leaked-secret",
    "report",
    "unhandled",
    "vulnerability",
];

/// Every label that this plugin answers with.
pub const LABELS: [&str; 6] = [
    "github",
    "regression",
    "security",
    "sentry",
    "slack",
    "standard",
];

/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 160;
/// The longest fact, in characters.
const FACT_CHARS_MAX: usize = 300;
/// The longest quoted text, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// What an event turned out to be.
pub enum Finding {
    /// Nothing to do.
    Noise {
        category: &'static str,
        reason: String,
    },
    /// Something that people may have to act on.
    Incident(Incident),
}

/// Something that people may have to act on, whatever told of it.
pub struct Incident {
    pub category: &'static str,
    pub labels: Vec<&'static str>,
    pub urgency: Urgency,
    pub title: String,
    /// Names and values, for the ticket; a value that is empty is left out.
    pub facts: Vec<(&'static str, String)>,
    /// What people wrote, quoted in the ticket.
    pub text: String,
    pub url: Option<String>,
    /// What further events about the same thing have in common.
    pub group_key: String,
}

/// What a page carries beside what the host adds.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    priority: &'static str,
    reason: &'a str,
    url: Option<&'a str>,
    group_key: &'a str,
}

impl Finding {
    pub fn noise(category: &'static str, reason: impl Into<String>) -> Self {
        Self::Noise {
            category,
            reason: reason.into(),
        }
    }

    pub fn unhandled(event_type: &str) -> Self {
        Self::noise("unhandled", format!("`{event_type}` is not handled here"))
    }

    pub fn classification(self) -> Classification {
        match self {
            Self::Noise { category, reason } => Classification::ignore(category, &reason),
            Self::Incident(incident) => {
                let reason = incident.urgency.reasons.join("; ");
                Classification {
                    labels: crate::texts(&incident.labels),
                    ..Classification::new(incident.urgency.priority, incident.category, &reason)
                }
            }
        }
    }

    pub fn plan(
        self,
        classification: &Classification,
        settings: &Settings,
    ) -> Result<Plan, Failure> {
        let incident = match self {
            Self::Noise { reason, .. } => {
                return Ok(Plan {
                    summary: reason,
                    actions: Vec::new(),
                });
            }
            Self::Incident(incident) => incident,
        };
        let title = one_line(&incident.title, TITLE_CHARS_MAX);
        let url = incident.url.as_deref().filter(|it| is_web_url(it));
        let mut actions = Vec::new();
        if Priority::Normal <= classification.priority {
            let ticket = Ticket {
                labels: classification.labels.clone(),
                group_key: Some(incident.group_key.clone()),
                ..Ticket::new(&title, &incident.body(&classification.reason, url))
            };
            actions.push(Action::ticket("ticket", &settings.destination, ticket));
        }
        if let Some(destination) = &settings.webhook_destination
            && Priority::High <= classification.priority
        {
            let page = Page {
                title: &title,
                priority: match classification.priority {
                    Priority::Critical => "critical",
                    _ => "high",
                },
                reason: &classification.reason,
                url,
                group_key: &incident.group_key,
            };
            actions.push(Action::webhook("page", destination, &page)?);
        }
        Ok(Plan {
            summary: title,
            actions,
        })
    }
}

impl Incident {
    /// The ticket's text, in Markdown.
    fn body(&self, reason: &str, url: Option<&str>) -> String {
        let mut body = format!("{}\n", one_line(reason, FACT_CHARS_MAX));
        let facts: Vec<_> = self.facts.iter().filter(|(_, it)| !it.is_empty()).collect();
        if !facts.is_empty() {
            body.push('\n');
        }
        for (name, value) in facts {
            body.push_str(&format!(
                "- **{name}:** {}\n",
                one_line(value, FACT_CHARS_MAX)
            ));
        }
        let text = clip(self.text.trim(), TEXT_CHARS_MAX);
        if !text.is_empty() {
            body.push('\n');
        }
        for line in text.lines() {
            body.push_str(format!("> {line}").trim_end());
            body.push('\n');
        }
        if let Some(url) = url {
            body.push_str(&format!("\n<{url}>\n"));
        }
        body
    }
}

/// Text of strangers as one line: no control characters, no runs of white space.
fn one_line(text: &str, chars_max: usize) -> String {
    let words: Vec<&str> = text
        .split(|it: char| it.is_whitespace() || it.is_control())
        .filter(|it| !it.is_empty())
        .collect();
    clip(&words.join(" "), chars_max)
}

fn clip(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A link that may stand in a ticket: no other scheme, nothing that ends the brackets around it.
fn is_web_url(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && !url.contains(|it: char| it.is_whitespace() || it.is_control() || it == '<' || it == '>')
}
