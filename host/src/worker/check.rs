//! What a plugin's answer must look like, and what its policy lets it ask for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::action::NewAction;
use crate::model::decision::{ActionContent, Classification, Plan, PlannedAction};
use crate::model::id::ActionId;
use crate::model::integration::Destination;
use crate::model::outcome::Breach;
use crate::model::policy::{Limits, Policy};
use crate::model::run::ClaimedRun;
use crate::model::time::TimestampMs;

/// Bytes of a category, label, action name, assignee or key.
pub const WORD_BYTES_MAX: usize = 200;
/// Bytes of a reason, summary or title.
pub const SENTENCE_BYTES_MAX: usize = 4_000;

/// Checks a classifier's answer; the error says what is wrong with it.
pub fn classification(limits: &Limits, answer: &Classification) -> Result<(), Breach> {
    if 100 < answer.confidence_percent {
        return Err(Breach::Answer(format!(
            "confidence-percent is {}, the most is 100",
            answer.confidence_percent
        )));
    }
    name("category", &answer.category)?;
    labels(limits, &answer.labels)?;
    sentence("reason", &answer.reason)
}

/// Checks a triager's answer against the policy's grants and makes its actions.
pub fn plan(
    policy: &Policy,
    destinations: &BTreeMap<String, Destination>,
    run: &ClaimedRun,
    plan: &Plan,
    now: TimestampMs,
) -> Result<Vec<NewAction>, Breach> {
    let limits = &policy.limits;
    sentence("summary", &plan.summary)?;
    let count = plan.actions.len();
    most(
        "the plan",
        count,
        "actions",
        limits.actions,
        Some("actions_max"),
    )?;
    let mut names = BTreeSet::new();
    for action in &plan.actions {
        name("action name", &action.name)?;
        let of_action = |breach: Breach| breach.of(&format!("action `{}`", action.name));
        if !names.insert(&action.name) {
            return Err(Breach::Answer(format!(
                "two actions are named `{}`",
                action.name
            )));
        }
        granted(policy, destinations, action)
            .map_err(Breach::Answer)
            .map_err(of_action)?;
        content(limits, &action.content).map_err(of_action)?;
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
    if !policy.grants.destinations.contains(&action.destination) {
        return Err(format!(
            "policy `{}` is not granted destination `{}`",
            policy.name, action.destination
        ));
    }
    let Some(destination) = destinations.get(&action.destination) else {
        return Err(format!("there is no destination `{}`", action.destination));
    };
    if destination.kind() != action.content.kind() {
        let (wanted, got) = (destination.kind(), action.content.kind());
        return Err(format!(
            "destination `{}` takes a {wanted}, not a {got}",
            action.destination
        ));
    }
    Ok(())
}

fn content(limits: &Limits, content: &ActionContent) -> Result<(), Breach> {
    match content {
        ActionContent::Ticket(ticket) => {
            if ticket.title.trim().is_empty() {
                return Err(Breach::Answer("the ticket has no title".to_owned()));
            }
            sentence("title", &ticket.title)?;
            text(limits, "body", &ticket.body)?;
            labels(limits, &ticket.labels)?;
            word("assignee", ticket.assignee.as_deref().unwrap_or_default())?;
            word("group-key", ticket.group_key.as_deref().unwrap_or_default())
        }
        ActionContent::Webhook { payload } => {
            text(limits, "payload", payload)?;
            serde_json::from_str::<serde::de::IgnoredAny>(payload)
                .map(|_| ())
                .map_err(|error| Breach::Answer(format!("the payload is not JSON: {error}")))
        }
        ActionContent::Message {
            title,
            text: message,
            thread_key,
        } => {
            sentence("title", title)?;
            text(limits, "text", message)?;
            word("thread-key", thread_key.as_deref().unwrap_or_default())
        }
        ActionContent::Other { of, .. } => Err(Breach::Answer(format!(
            "content of kind `{of}` is not known"
        ))),
    }
}

fn labels(limits: &Limits, labels: &[String]) -> Result<(), Breach> {
    let count = labels.len();
    most(
        "the list",
        count,
        "labels",
        limits.labels,
        Some("labels_max"),
    )?;
    labels.iter().try_for_each(|it| word("label", it))
}

/// A machine name: not empty, no white space, nothing that could break a key.
fn name(what: &str, value: &str) -> Result<(), Breach> {
    word(what, value)?;
    if value.is_empty()
        || value
            .chars()
            .any(|it| it.is_whitespace() || it.is_control() || it == ':')
    {
        return Err(Breach::Answer(format!(
            "{what} {value:?}: must be a word without white space, control characters or `:`"
        )));
    }
    Ok(())
}

fn word(what: &str, value: &str) -> Result<(), Breach> {
    most(what, value.len(), "bytes", WORD_BYTES_MAX, None)
}

fn sentence(what: &str, value: &str) -> Result<(), Breach> {
    most(what, value.len(), "bytes", SENTENCE_BYTES_MAX, None)
}

fn text(limits: &Limits, what: &str, value: &str) -> Result<(), Breach> {
    most(
        what,
        value.len(),
        "bytes",
        limits.text_bytes,
        Some("text_kb"),
    )
}

fn most(
    what: &str,
    value: usize,
    unit: &'static str,
    limit: usize,
    setting: Option<&'static str>,
) -> Result<(), Breach> {
    if value <= limit {
        return Ok(());
    }
    Err(Breach::AnswerLimit {
        what: what.to_owned(),
        value,
        unit,
        limit,
        setting,
    })
}

#[cfg(test)]
mod tests;
