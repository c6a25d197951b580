//! Configured senders and receivers.

use std::time::Duration;

use url::Url;

use serde::Serialize;

use super::id::SecretId;
use super::policy::RetryPolicy;
use super::rate::RateLimit;
use super::secret::Secret;
use super::source::Source;
use super::time::TimestampMs;

/// The most live secrets of one integration: each is tried on every delivery.
pub const SECRETS_MAX: usize = 8;

/// One configured sender of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// The last part of its ingest URL.
    pub id: String,
    /// Owner.
    pub tenant: String,
    /// The scheme of its signatures.
    pub source: Source,
    /// Where it is written down.
    pub origin: Origin,
    /// Live signing secrets; any of them may sign.
    pub secrets: LiveSecrets,
    /// The largest body in bytes.
    pub body_bytes_max: usize,
    /// The most that a compressed body may inflate to, in bytes; a larger one is kept unread.
    pub inflated_bytes_max: usize,
    /// How many deliveries it may make; any number where `None`.
    pub rate_limit: Option<RateLimit>,
}

/// Where an integration or a secret is written down, and so where it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In the configuration's file: read-only for API and command line.
    File,
    /// In the store.
    Store,
}

impl Origin {
    /// The word used in SQL, JSON and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Store => "store",
        }
    }
}

/// A secret that signs for an integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSecret {
    /// Names it, where the store has been asked.
    pub id: Option<SecretId>,
    /// Where it is written down.
    pub origin: Origin,
    /// From then on it signs no more.
    pub live_until: Option<TimestampMs>,
    /// Its text.
    pub secret: Secret,
}

/// The secrets that sign for an integration.
///
/// Those that end stand last, the one that ends first at the very end: so those that are live
/// at a time are the beginning of the list, and finding them costs no copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSecrets {
    secrets: Vec<Secret>,
    /// As many as `secrets`: what is known of each.
    ids: Vec<Option<SecretId>>,
    origins: Vec<Origin>,
    live_until: Vec<Option<TimestampMs>>,
}

impl LiveSecrets {
    /// These secrets; the order of those that end at the same time is kept.
    pub fn new(mut all: Vec<LiveSecret>) -> Self {
        all.sort_by_key(|it| std::cmp::Reverse(it.live_until.unwrap_or(TimestampMs::MAX)));
        let mut live = Self::default();
        for it in all {
            live.secrets.push(it.secret);
            live.ids.push(it.id);
            live.origins.push(it.origin);
            live.live_until.push(it.live_until);
        }
        live
    }

    /// Secrets of the configuration's file, which nobody has named yet.
    pub fn declared(secrets: Vec<Secret>) -> Self {
        let all = secrets.into_iter().map(|secret| LiveSecret {
            id: None,
            origin: Origin::File,
            live_until: None,
            secret,
        });
        Self::new(all.collect())
    }

    /// Those that may sign at this time, in the form that `sources::verify` takes.
    pub fn at(&self, now: TimestampMs) -> &[Secret] {
        let live = self
            .live_until
            .partition_point(|it| it.is_none_or(|until| now < until));
        self.secrets.get(..live).unwrap_or_default()
    }

    /// The id of the secret at this place of [`LiveSecrets::at`].
    pub fn id(&self, index: usize) -> Option<SecretId> {
        self.ids.get(index).copied().flatten()
    }

    /// Those that the configuration's file names.
    pub fn of_file(&self) -> impl Iterator<Item = &Secret> {
        let all = self.secrets.iter().zip(&self.origins);
        all.filter(|(_, origin)| **origin == Origin::File)
            .map(|(secret, _)| secret)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str, live_until: Option<TimestampMs>) -> LiveSecret {
        LiveSecret {
            id: Some(SecretId::from_bytes([text.len() as u8; 16])),
            origin: Origin::Store,
            live_until,
            secret: Secret::new(text),
        }
    }

    #[test]
    fn a_secret_that_ends_is_live_until_then_and_keeps_its_id() {
        let live = LiveSecrets::new(vec![
            secret("soon", Some(100)),
            secret("for ever", None),
            secret("later", Some(200)),
        ]);
        let at = |now| {
            let texts = live.at(now).iter().map(Secret::expose);
            texts.collect::<Vec<_>>()
        };
        assert_eq!(at(99), ["for ever", "later", "soon"]);
        assert_eq!(at(100), ["for ever", "later"]);
        assert_eq!(at(200), ["for ever"]);
        assert_eq!(live.id(2), Some(SecretId::from_bytes([4; 16])));
        assert_eq!(live.id(3), None);
    }
}
