//! What a plugin's answer must look like, and what its policy lets it ask for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::action::NewAction;
use crate::model::decision::{ActionContent, Classification, Plan, PlannedAction};
use crate::model::id::ActionId;
use crate::model::integration::Destination;
use crate::model::policy::Policy;
use crate::model::run::ClaimedRun;
use crate::model::time::TimestampMs;

/// Bytes of a category, label, action name, assignee or key.
pub const WORD_BYTES_MAX: usize = 200;
/// Bytes of a reason, summary or title.
pub const SENTENCE_BYTES_MAX: usize = 4_000;
/// Bytes of a ticket's body, a message or a webhook's payload.
pub const TEXT_BYTES_MAX: usize = 256 << 10;
/// Labels of one classification or ticket.
pub const LABELS_MAX: usize = 32;

/// Checks a classifier's answer; the error says what is wrong with it.
pub fn classification(answer: &Classification) -> Result<(), String> {
    if 100 < answer.confidence_percent {
        return Err(format!(
            "confidence-percent is {}, the most is 100",
            answer.confidence_percent
        ));
    }
    name("category", &answer.category)?;
    labels(&answer.labels)?;
    text("reason", &answer.reason, SENTENCE_BYTES_MAX)
}

/// Checks a triager's answer against the policy's grants and makes its actions.
pub fn plan(
    policy: &Policy,
    destinations: &BTreeMap<String, Destination>,
    run: &ClaimedRun,
    plan: &Plan,
    now: TimestampMs,
) -> Result<Vec<NewAction>, String> {
    text("summary", &plan.summary, SENTENCE_BYTES_MAX)?;
    if policy.limits.actions < plan.actions.len() {
        return Err(format!(
            "{} actions, the most is {}",
            plan.actions.len(),
            policy.limits.actions
        ));
    }
    let mut names = BTreeSet::new();
    for action in &plan.actions {
        name("action name", &action.name)?;
        if !names.insert(&action.name) {
            return Err(format!("two actions are named `{}`", action.name));
        }
        granted(policy, destinations, action)?;
        content(&action.content)
            .map_err(|refused| format!("action `{}`: {refused}", action.name))?;
    }
    let new_action = |action: &PlannedAction| NewAction {
        id: ActionId::new(now),
        name: action.name.clone(),
        destination: action.destination.clone(),
        idempotency_key: format!(
            "{}:{}:{}",
            run.event.idempotency_key, policy.name, action.name
        ),
        content: action.content.clone(),
    };
    Ok(plan.actions.iter().map(new_action).collect())
}

fn granted(
    policy: &Policy,
    destinations: &BTreeMap<String, Destination>,
    action: &PlannedAction,
) -> Result<(), String> {
    let refuse = |why: String| Err(format!("action `{}`: {why}", action.name));
    if !policy.grants.destinations.contains(&action.destination) {
        return refuse(format!(
            "policy `{}` is not granted destination `{}`",
            policy.name, action.destination
        ));
    }
    let Some(destination) = destinations.get(&action.destination) else {
        return refuse(format!("there is no destination `{}`", action.destination));
    };
    if destination.kind() != action.content.kind() {
        let (wanted, got) = (destination.kind(), action.content.kind());
        return refuse(format!(
            "destination `{}` takes a {wanted}, not a {got}",
            action.destination
        ));
    }
    Ok(())
}

fn content(content: &ActionContent) -> Result<(), String> {
    match content {
        ActionContent::Ticket(ticket) => {
            if ticket.title.trim().is_empty() {
                return Err("the ticket has no title".to_owned());
            }
            text("title", &ticket.title, SENTENCE_BYTES_MAX)?;
            text("body", &ticket.body, TEXT_BYTES_MAX)?;
            labels(&ticket.labels)?;
            text(
                "assignee",
                ticket.assignee.as_deref().unwrap_or_default(),
                WORD_BYTES_MAX,
            )?;
            text(
                "group-key",
                ticket.group_key.as_deref().unwrap_or_default(),
                WORD_BYTES_MAX,
            )
        }
        ActionContent::Webhook { payload } => {
            text("payload", payload, TEXT_BYTES_MAX)?;
            serde_json::from_str::<serde::de::IgnoredAny>(payload)
                .map(|_| ())
                .map_err(|error| format!("the payload is not JSON: {error}"))
        }
        ActionContent::Message {
            title,
            text: message,
            thread_key,
        } => {
            text("title", title, SENTENCE_BYTES_MAX)?;
            text("text", message, TEXT_BYTES_MAX)?;
            text(
                "thread-key",
                thread_key.as_deref().unwrap_or_default(),
                WORD_BYTES_MAX,
            )
        }
        ActionContent::Other { of, .. } => Err(format!("content of kind `{of}` is not known")),
    }
}

fn labels(labels: &[String]) -> Result<(), String> {
    if LABELS_MAX < labels.len() {
        return Err(format!("{} labels, the most is {LABELS_MAX}", labels.len()));
    }
    labels
        .iter()
        .try_for_each(|it| text("label", it, WORD_BYTES_MAX))
}

/// A machine name: not empty, no white space, nothing that could break a key.
fn name(what: &str, value: &str) -> Result<(), String> {
    text(what, value, WORD_BYTES_MAX)?;
    if value.is_empty()
        || value
            .chars()
            .any(|it| it.is_whitespace() || it.is_control() || it == ':')
    {
        return Err(format!(
            "{what} {value:?}: must be a word without white space, control characters or `:`"
        ));
    }
    Ok(())
}

fn text(what: &str, value: &str, bytes_max: usize) -> Result<(), String> {
    if bytes_max < value.len() {
        return Err(format!(
            "{what} has {} bytes, the most is {bytes_max}",
            value.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
