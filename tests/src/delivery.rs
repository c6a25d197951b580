//! Deliveries as the providers make them.

use std::borrow::Borrow;

use serde_json::json;
use triage_host::clock::Clock;
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_host::sources::{self, Outgoing, samples};

use crate::config;
use crate::http::Headers;

/// One signed request of a sender.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The part of the URL behind `/v1/webhooks/`.
    pub path: String,
    /// As sent.
    pub headers: Headers,
    /// As signed.
    pub body: Vec<u8>,
}

impl Delivery {
    /// A body, signed now with the source's secret, for `{source}-main`.
    pub fn new(
        source: impl Borrow<Source>,
        event: &str,
        id: &str,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let source = source.borrow();
        Self::signed(source, event, id, body, &config::secret(source), now())
    }

    /// A body, signed with this secret at this time.
    pub fn signed(
        source: impl Borrow<Source>,
        event: &str,
        id: &str,
        body: impl Into<Vec<u8>>,
        secret: &Secret,
        now: i64,
    ) -> Self {
        let (source, body) = (source.borrow(), body.into());
        let mut headers = sources::sign(
            source,
            secret,
            Outgoing {
                event,
                id,
                body: &body,
                now,
            },
        )
        .unwrap();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        Self {
            path: format!("{source}/{source}-main"),
            headers,
            body,
        }
    }

    /// One of the bundled samples.
    pub fn sample(source: impl Borrow<Source>, event: &str, id: &str) -> Self {
        let source = source.borrow();
        Self::new(source, event, id, sample_body(source, event, id))
    }

    /// An incident that the bundled desk opens one ticket for.
    pub fn incident(id: &str) -> Self {
        Self::standard("incident.triggered", id, &format!("Incident {id}"))
    }

    /// An event of the generic source with what the bundled desk looks at.
    pub fn standard(event: &str, id: &str, title: &str) -> Self {
        let data =
            json!({ "id": id, "title": title, "severity": "high", "environment": "production" });
        let body = json!({ "type": event, "timestamp": "2026-01-31T08:30:00Z", "data": data });
        Self::new(Source::Standard, event, id, body.to_string())
    }

    /// The same for another integration of its source.
    pub fn to(mut self, integration: &str) -> Self {
        let (source, _) = self.path.split_once('/').unwrap();
        self.path = format!("{source}/{integration}");
        self
    }

    /// The same without one header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(it, _)| it != name);
        self
    }
}

/// What a source's events look like in tests: one that the bundled plugins open a ticket for.
pub fn event_of(source: &Source) -> &'static str {
    match source {
        Source::Standard => "incident.triggered",
        Source::Sentry => "issue.created",
        Source::Stripe => "payout.failed",
        Source::Github => "issues.opened",
        Source::Slack => "app_mention",
        Source::Custom(custom) => {
            let sample = samples::all().iter().find(|it| it.source == custom.name);
            sample.map_or("thing.done", |it| it.event)
        }
    }
}

/// A delivery of a source with this id, which the bundled plugins open one ticket for.
pub fn ticketed(source: impl Borrow<Source>, id: &str) -> Delivery {
    let source = source.borrow();
    match source {
        Source::Standard => Delivery::incident(id),
        Source::Sentry | Source::Stripe | Source::Github | Source::Slack | Source::Custom(_) => {
            Delivery::sample(source, event_of(source), id)
        }
    }
}

/// A bundled sample's body.
pub fn sample_body(source: impl Borrow<Source>, event: &str, id: &str) -> String {
    let source = source.borrow();
    let sample = samples::find(source.as_str(), event)
        .unwrap_or_else(|| panic!("no sample {source} {event}"));
    samples::fill(sample.template, id, now())
}

/// The time, for signatures.
pub fn now() -> i64 {
    Clock::System.now()
}
