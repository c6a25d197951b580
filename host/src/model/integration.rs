//! Configured senders and receivers.

use std::time::Duration;

use url::Url;

use super::policy::RetryPolicy;
use super::rate::RateLimit;
use super::secret::Secret;
use super::source::Source;

/// One configured sender of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// The last part of its ingest URL.
    pub id: String,
    /// Owner.
    pub tenant: String,
    /// The scheme of its signatures.
    pub source: Source,
    /// Live signing secrets; any of them may sign.
    pub secrets: Vec<Secret>,
    /// The largest body in bytes.
    pub body_bytes_max: usize,
    /// How many deliveries it may make; any number where `None`.
    pub rate_limit: Option<RateLimit>,
}

/// Where actions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The built-in ticket desk.
    Ticket,
    /// A signed webhook (Standard Webhooks 1.0.0).
    Webhook(WebhookDestination),
}

/// A signed webhook URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookDestination {
    /// Where to.
    pub url: Url,
    /// Signs every request.
    pub secret: Secret,
    /// How long one request may take.
    pub timeout: Duration,
    /// How it is tried again.
    pub retry: RetryPolicy,
}

impl Destination {
    /// The word used in the configuration and for the content that it takes.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Webhook(_) => "webhook",
        }
    }

    /// How an action for it is tried again.
    pub fn retry(&self) -> RetryPolicy {
        match self {
            Self::Ticket => RetryPolicy::default(),
            Self::Webhook(webhook) => webhook.retry,
        }
    }
}
