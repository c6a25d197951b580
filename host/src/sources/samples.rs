//! Bundled sample payloads, for trying a policy without a provider.
//!
//! Called by `triage send`, which fills in a template, signs it as the provider does
//! and posts it. The shapes are the documented ones; the contents are made up.

use crate::model::source::Source;
use crate::model::time::{TimestampMs, rfc3339};

/// One bundled payload.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Who would send it.
    pub source: Source,
    /// The event's name without the source, as `issues.opened`.
    pub event: &'static str,
    /// The payload, see [`fill`].
    pub template: &'static str,
}

macro_rules! sample {
    ($source:ident, $folder:literal, $event:literal) => {
        Sample {
            source: Source::$source,
            event: $event,
            template: include_str!(concat!("../../samples/", $folder, "/", $event, ".json")),
        }
    };
}

static SAMPLES: [Sample; 15] = [
    sample!(Standard, "standard", "contact.created"),
    sample!(Standard, "standard", "incident.opened"),
    sample!(Sentry, "sentry", "event_alert.triggered"),
    sample!(Sentry, "sentry", "issue.created"),
    sample!(Sentry, "sentry", "issue.resolved"),
    sample!(Stripe, "stripe", "charge.dispute.created"),
    sample!(Stripe, "stripe", "customer.updated"),
    sample!(Stripe, "stripe", "invoice.payment_failed"),
    sample!(Stripe, "stripe", "payout.failed"),
    sample!(Github, "github", "dependabot_alert.created"),
    sample!(Github, "github", "issues.opened"),
    sample!(Github, "github", "ping"),
    sample!(Github, "github", "push"),
    sample!(Slack, "slack", "app_mention"),
    sample!(Slack, "slack", "url_verification"),
];

/// Every sample, in the order in which lists show them.
pub fn all() -> &'static [Sample] {
    &SAMPLES
}

/// The sample of one event.
pub fn find(source: &Source, event: &str) -> Option<&'static Sample> {
    SAMPLES
        .iter()
        .find(|it| it.source == *source && it.event == event)
}

/// The payload with its placeholders filled in: `{{id}}`, `{{now}}` (RFC 3339) and `{{now_s}}` (seconds).
///
/// Every template holds `{{id}}`, so that two payloads with different ids are different bodies.
/// The id must not need escaping in JSON.
pub fn fill(template: &str, id: &str, now: TimestampMs) -> String {
    template
        .replace("{{id}}", id)
        .replace("{{now}}", &rfc3339(now))
        .replace("{{now_s}}", &now.div_euclid(1000).to_string())
}
