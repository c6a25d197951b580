//! What Stripe's event turned out to be, and what follows from it: a classification, a plan.

use serde::Serialize;
use triage_plugin::{Action, Classification, Failure, Plan, Priority, Ticket};

use crate::money::{Money, Size};
use crate::settings::Settings;

/// Every category that this plugin answers with.
pub const CATEGORIES: [&str; 6] = [
    "dispute",
    "fraud-warning",
    "payment-failed",
    "payout-failed",
    "subscription-ended",
    "unhandled",
];

/// Every label that this plugin answers with.
pub const LABELS: [&str; 4] = ["connect", "fraud", "stripe", "test-mode"];

/// The longest text of strangers in one line of a ticket, in characters.
const FACT_CHARS_MAX: usize = 300;

/// What an event turned out to be.
pub enum Finding {
    /// Nothing to do.
    Noise {
        category: &'static str,
        reason: String,
    },
    /// Something that people may have to act on.
    Case(Case),
}

/// Something that people may have to act on.
pub struct Case {
    pub category: &'static str,
    pub labels: Vec<&'static str>,
    pub urgency: Urgency,
    pub title: String,
    /// Names and values, for the ticket; a value that is empty is left out.
    pub facts: Vec<(&'static str, String)>,
    /// The place in Stripe's dashboard, as `invoices/in_…`.
    pub place: String,
    /// What further events about the same thing have in common: the id of a Stripe object.
    pub group_key: String,
}

/// A priority and why it is so.
pub struct Urgency {
    pub priority: Priority,
    pub reasons: Vec<String>,
}

/// What a page carries beside what the host adds.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    priority: &'static str,
    reason: &'a str,
    url: &'a str,
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
        Self::noise("unhandled", format!("`{event_type}` needs nobody"))
    }

    pub fn classification(self) -> Classification {
        match self {
            Self::Noise { category, reason } => Classification::ignore(category, &reason),
            Self::Case(case) => {
                let reason = case.urgency.reasons.join("; ");
                Classification {
                    labels: crate::texts(&case.labels),
                    ..Classification::new(case.urgency.priority, case.category, &reason)
                }
            }
        }
    }

    pub fn plan(
        self,
        classification: &Classification,
        settings: &Settings,
    ) -> Result<Plan, Failure> {
        let case = match self {
            Self::Noise { reason, .. } => {
                return Ok(Plan {
                    summary: reason,
                    actions: Vec::new(),
                });
            }
            Self::Case(case) => case,
        };
        let url = format!("https://dashboard.stripe.com/{}", case.place);
        let mut actions = Vec::new();
        if Priority::Normal <= classification.priority {
            let ticket = Ticket {
                labels: classification.labels.clone(),
                group_key: Some(format!("stripe:{}", case.group_key)),
                ..Ticket::new(&case.title, &case.body(&classification.reason, &url))
            };
            actions.push(Action::ticket("ticket", &settings.destination, ticket));
        }
        if let Some(destination) = &settings.webhook_destination
            && Priority::High <= classification.priority
        {
            let page = Page {
                title: &case.title,
                priority: match classification.priority {
                    Priority::Critical => "critical",
                    _ => "high",
                },
                reason: &classification.reason,
                url: &url,
                group_key: &format!("stripe:{}", case.group_key),
            };
            actions.push(Action::webhook("page", destination, &page)?);
        }
        Ok(Plan {
            summary: case.title,
            actions,
        })
    }
}

impl Case {
    /// The ticket's text, in Markdown.
    fn body(&self, reason: &str, url: &str) -> String {
        let mut body = format!("{}\n\n", one_line(reason));
        for (name, value) in self.facts.iter().filter(|(_, it)| !it.is_empty()) {
            body.push_str(&format!("- **{name}:** {}\n", one_line(value)));
        }
        body.push_str(&format!("\n<{url}>\n"));
        body
    }
}

impl Urgency {
    /// Where to start from.
    pub fn new(priority: Priority, reason: &str) -> Self {
        Self {
            priority,
            reasons: vec![reason.to_owned()],
        }
    }

    /// Up to two steps, as large as the amount is.
    pub fn raise_by_size(&mut self, money: &Money<'_>, settings: &Settings) {
        let steps = match money.size(settings.thresholds(money.currency)) {
            Size::Usual => return,
            Size::High => 1,
            Size::Critical => 2,
        };
        for _ in 0..steps {
            self.priority = match self.priority {
                Priority::Ignore => Priority::Low,
                Priority::Low => Priority::Normal,
                Priority::Normal => Priority::High,
                Priority::High | Priority::Critical => Priority::Critical,
            };
        }
        self.reasons.push(format!("{money} is a lot"));
    }
}

/// Text of strangers as one line: no control characters, no runs of white space.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|it: char| it.is_whitespace() || it.is_control())
        .filter(|it| !it.is_empty())
        .collect();
    words.join(" ").chars().take(FACT_CHARS_MAX).collect()
}
