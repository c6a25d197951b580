//! A whole decision, and the JSON that fixtures and the host write it in.

use serde_json::{Value, json};

use crate::Policy;
use crate::types::{
    Action, ActionContent, Classification, Event, Failure, Plan, Priority, RetryRequest,
};

/// A policy's whole answer for one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The classifier's answer.
    pub classification: Classification,
    /// The triager's answer; `None` where it was not asked.
    pub plan: Option<Plan>,
}

/// Asks a policy as a host does: classify, stop at `ignore`, triage.
pub fn decide<P: Policy>(event: &Event) -> Result<Decision, Failure> {
    let classification = P::classify(event)?;
    let plan = match classification.priority {
        Priority::Ignore => None,
        _ => Some(P::triage(event, &classification)?),
    };
    Ok(Decision {
        classification,
        plan,
    })
}

/// A result as a fixture's expected file holds it.
pub(super) fn result_json(result: &Result<Decision, Failure>) -> Value {
    match result {
        Ok(decision) => json!({
            "classification": classification_json(&decision.classification),
            "plan": decision.plan.as_ref().map(plan_json),
        }),
        Err(failure) => json!({ "failure": failure_json(failure) }),
    }
}

fn classification_json(classification: &Classification) -> Value {
    json!({
        "priority": match classification.priority {
            Priority::Ignore => "ignore",
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        },
        "category": classification.category,
        "labels": classification.labels,
        "confidence_percent": classification.confidence_percent,
        "reason": classification.reason,
    })
}

fn plan_json(plan: &Plan) -> Value {
    let actions: Vec<Value> = plan.actions.iter().map(action_json).collect();
    json!({ "summary": plan.summary, "actions": actions })
}

fn action_json(action: &Action) -> Value {
    let content = match &action.content {
        ActionContent::Ticket(ticket) => json!({
            "kind": "ticket",
            "title": ticket.title,
            "body": ticket.body,
            "labels": ticket.labels,
            "assignee": ticket.assignee,
            "group_key": ticket.group_key,
        }),
        ActionContent::Webhook(webhook) => json!({
            "kind": "webhook",
            "payload": json_or_text(&webhook.payload),
        }),
        ActionContent::Message(message) => json!({
            "kind": "message",
            "title": message.title,
            "text": message.text,
            "thread_key": message.thread_key,
        }),
        ActionContent::Other(custom) => json!({
            "kind": custom.kind,
            "content": json_or_text(&custom.content),
        }),
    };
    json!({ "name": action.name, "destination": action.destination, "content": content })
}

fn failure_json(failure: &Failure) -> Value {
    match failure {
        Failure::InvalidPayload(message) => json!({"kind": "invalid_payload", "message": message}),
        Failure::Retry(RetryRequest { reason, after_ms }) => {
            json!({"kind": "retry", "message": reason, "after_ms": after_ms})
        }
        Failure::Permanent(message) => json!({"kind": "permanent", "message": message}),
        Failure::Other(message) => json!({"kind": "failed", "message": message}),
    }
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
