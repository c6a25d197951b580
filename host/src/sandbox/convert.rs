//! Where the contract's types and the host's own meet. No other file sees both.

use super::bindings::triage::policy::types;
use crate::model::decision::{
    ActionContent, Classification, Plan, PlannedAction, Priority, Ticket,
};
use crate::model::outcome::Refusal;
use crate::model::run::ClaimedRun;
use crate::model::time::TimestampMs;

/// The pairs that [`event`] borrows.
pub(super) fn headers(run: &ClaimedRun) -> Vec<(&str, &str)> {
    run.event
        .headers
        .0
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// What a plugin is told about a run's event.
pub(super) fn event<'a>(
    run: &'a ClaimedRun,
    names: &'a Names,
    headers: &'a [(&'a str, &'a str)],
) -> types::Event<'a> {
    let event = &run.event;
    types::Event {
        id: &names.event_id,
        run_id: &names.run_id,
        tenant: &event.tenant,
        integration_id: &event.integration_id,
        source: &event.source,
        event_type: &event.event_type,
        idempotency_key: &event.idempotency_key,
        ordering_key: run.ordering_key.as_deref(),
        received_at: timestamp(event.received_at),
        occurred_at: event.occurred_at.map(timestamp),
        late: run.late,
        attempt: run.attempt,
        content_type: event.headers.get("content-type"),
        headers,
        body: &event.body,
    }
}

/// The ids as text, for [`event`] to borrow.
pub(super) struct Names {
    event_id: String,
    run_id: String,
}

impl Names {
    pub(super) fn of(run: &ClaimedRun) -> Self {
        Self {
            event_id: run.event.id.to_string(),
            run_id: run.id.to_string(),
        }
    }
}

/// The labels that [`classification_param`] borrows.
pub(super) fn labels(classification: &Classification) -> Vec<&str> {
    classification.labels.iter().map(String::as_str).collect()
}

/// A classification on its way to a triager.
pub(super) fn classification_param<'a>(
    classification: &'a Classification,
    labels: &'a [&'a str],
) -> types::ClassificationParam<'a> {
    types::ClassificationParam {
        priority: match classification.priority {
            Priority::Ignore => types::Priority::Ignore,
            Priority::Low => types::Priority::Low,
            Priority::Normal => types::Priority::Normal,
            Priority::High => types::Priority::High,
            Priority::Critical => types::Priority::Critical,
        },
        category: &classification.category,
        labels,
        confidence_percent: classification.confidence_percent,
        reason: &classification.reason,
    }
}

/// A classifier's answer.
pub(super) fn classification(answer: types::ClassificationResult) -> Classification {
    Classification {
        priority: match answer.priority {
            types::Priority::Ignore => Priority::Ignore,
            types::Priority::Low => Priority::Low,
            types::Priority::Normal => Priority::Normal,
            types::Priority::High => Priority::High,
            types::Priority::Critical => Priority::Critical,
        },
        category: answer.category,
        labels: answer.labels,
        confidence_percent: answer.confidence_percent,
        reason: answer.reason,
    }
}

/// A triager's answer.
pub(super) fn plan(answer: types::Plan) -> Plan {
    let actions = answer.actions.into_iter().map(|action| PlannedAction {
        name: action.name,
        destination: action.destination,
        content: content(action.content),
    });
    Plan {
        summary: answer.summary,
        actions: actions.collect(),
    }
}

fn content(content: types::ActionContent) -> ActionContent {
    match content {
        types::ActionContent::Ticket(ticket) => ActionContent::Ticket(Ticket {
            title: ticket.title,
            body: ticket.body,
            labels: ticket.labels,
            assignee: ticket.assignee,
            group_key: ticket.group_key,
        }),
        types::ActionContent::Webhook(webhook) => ActionContent::Webhook {
            payload: webhook.payload,
        },
        types::ActionContent::Message(message) => ActionContent::Message {
            title: message.title,
            text: message.text,
            thread_key: message.thread_key,
        },
        types::ActionContent::Other(custom) => ActionContent::Other {
            of: custom.kind,
            content: custom.content,
        },
    }
}

/// A plugin's answer that it cannot.
pub(super) fn refusal(failure: types::Failure) -> Refusal {
    match failure {
        types::Failure::InvalidPayload(text) => Refusal::InvalidPayload(text),
        types::Failure::Retry(retry) => Refusal::Retry {
            reason: retry.reason,
            after_ms: retry.after_ms,
        },
        types::Failure::Permanent(text) => Refusal::Permanent(text),
        types::Failure::Other(text) => Refusal::Other(text),
    }
}

fn timestamp(at: TimestampMs) -> u64 {
    u64::try_from(at).unwrap_or(0)
}
