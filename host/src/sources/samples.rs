//! Bundled sample payloads, for trying a policy without a provider.
//!
//! Called by `triage send`, which fills in a template, signs it as the provider does
//! and posts it. The shapes are the documented ones; the contents are made up.

use crate::model::time::{TimestampMs, rfc3339};

/// One bundled payload.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The name of the source that would send it.
    pub source: &'static str,
    /// The event's name without the source, as `issues.opened`.
    pub event: &'static str,
    /// The payload, see [`fill`].
    pub template: &'static str,
}

macro_rules! sample {
    ($source:literal, $event:literal) => {
        Sample {
            source: $source,
            event: $event,
            template: include_str!(concat!("../../samples/", $source, "/", $event, ".json")),
        }
    };
}

static SAMPLES: [Sample; 21] = [
    sample!("standard", "contact.created"),
    sample!("standard", "incident.opened"),
    sample!("sentry", "event_alert.triggered"),
    sample!("sentry", "issue.created"),
    sample!("sentry", "issue.resolved"),
    sample!("stripe", "charge.dispute.created"),
    sample!("stripe", "customer.updated"),
    sample!("stripe", "invoice.payment_failed"),
    sample!("stripe", "payout.failed"),
    sample!("github", "dependabot_alert.created"),
    sample!("github", "issues.opened"),
    sample!("github", "ping"),
    sample!("github", "push"),
    sample!("slack", "app_mention"),
    sample!("slack", "url_verification"),
    sample!("gitlab", "merge_request.open"),
    sample!("intercom", "conversation.user.created"),
    sample!("linear", "issue.create"),
    sample!("pagerduty", "incident.triggered"),
    sample!("shopify", "orders.create"),
    sample!("zendesk", "zen.event-type.ticket.created"),
];

/// Every sample, in the order in which lists show them.
pub fn all() -> &'static [Sample] {
    &SAMPLES
}

/// The sample of one event.
pub fn find(source: &str, event: &str) -> Option<&'static Sample> {
    SAMPLES
        .iter()
        .find(|it| it.source == source && it.event == event)
}

/// The payload with its placeholders filled in: `{{id}}`, `{{now}}` (RFC 3339), `{{now_s}}` (seconds)
/// and `{{now_ms}}` (milliseconds).
///
/// Every template holds `{{id}}`, so that two payloads with different ids are different bodies.
/// The id must not need escaping in JSON.
pub fn fill(template: &str, id: &str, now: TimestampMs) -> String {
    template
        .replace("{{id}}", id)
        .replace("{{now}}", &rfc3339(now))
        .replace("{{now_s}}", &now.div_euclid(1000).to_string())
        .replace("{{now_ms}}", &now.to_string())
}
