//! What the host decides in a plugin's place: a policy's default route. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use super::check;
use crate::model::action::NewAction;
use crate::model::decision::{
    ActionContent, Classification, Decision, Plan, PlannedAction, Ticket,
};
use crate::model::integration::Destination;
use crate::model::policy::{DefaultRoute, Policy};
use crate::model::run::ClaimedRun;
use crate::model::time::TimestampMs;

/// The label of a classification that the host made, and the name of its action.
pub const NAME: &str = "default-route";

/// The decision with its one action, which takes the way of every other: its destination must be
/// granted, and its idempotency key is the same whenever it is made. The error says why there is none.
pub(super) fn take(
    policy: &Policy,
    route: &DefaultRoute,
    destinations: &BTreeMap<String, Destination>,
    run: &ClaimedRun,
    cause: &str,
    now: TimestampMs,
) -> Result<(Decision, Vec<NewAction>), String> {
    let reason = shortened(&format!(
        "decided by the host: the policy's plugins did not decide ({cause})"
    ));
    let destination = destinations.get(&route.destination);
    let plan = Plan {
        summary: route.title.clone(),
        actions: vec![PlannedAction {
            name: NAME.to_owned(),
            destination: route.destination.clone(),
            content: content(destination, policy, route, run, &reason),
        }],
    };
    let actions =
        check::plan(policy, destinations, run, &plan, now).map_err(|breach| breach.to_string())?;
    let decision = Decision {
        classification: Classification {
            priority: route.priority,
            category: route.category.clone(),
            labels: vec![NAME.to_owned()],
            confidence_percent: 0,
            reason,
        },
        plan: Some(plan),
    };
    Ok((decision, actions))
}

fn content(
    destination: Option<&Destination>,
    policy: &Policy,
    route: &DefaultRoute,
    run: &ClaimedRun,
    reason: &str,
) -> ActionContent {
    let event = &run.event;
    match destination {
        Some(Destination::Webhook(_)) => ActionContent::Webhook {
            payload: json!({ "title": route.title, "reason": reason }).to_string(),
        },
        Some(Destination::Ticket) | None => ActionContent::Ticket(Ticket {
            title: route.title.clone(),
            body: format!(
                "{reason}.\n\n- event: `{}` of type `{}`\n- integration: `{}`\n- policy: `{}`\n- run: `{}`\n",
                event.id, event.event_type, event.integration_id, policy.name, run.id
            ),
            labels: vec![NAME.to_owned()],
            assignee: None,
            group_key: None,
        }),
    }
}

/// A reason that fits where a plugin's must; what a plugin trapped with may be long.
fn shortened(reason: &str) -> String {
    if reason.len() <= check::SENTENCE_BYTES_MAX {
        return reason.to_owned();
    }
    let end = reason.floor_char_boundary(check::SENTENCE_BYTES_MAX - '…'.len_utf8());
    format!("{}…", reason.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cause_is_cut_between_characters() {
        for length in [10, check::SENTENCE_BYTES_MAX, check::SENTENCE_BYTES_MAX + 1] {
            let text = "ä".repeat(length);
            let cut = shortened(&text);
            assert!(cut.len() <= check::SENTENCE_BYTES_MAX);
            assert!(text.starts_with(cut.trim_end_matches('…')));
        }
    }
}
