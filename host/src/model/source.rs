//! The kinds of sender that the host knows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::custom_source::CustomSource;

/// A kind of sender. Names the scheme by which its deliveries are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard Webhooks 1.0.0 (<https://www.standardwebhooks.com>).
    Standard,
    /// Sentry's integration platform.
    Sentry,
    /// Stripe.
    Stripe,
    /// GitHub repository, organisation and app webhooks.
    Github,
    /// Slack's Events API, commands and interactions.
    Slack,
    /// One that is declared: shipped with the host, or in the configuration.
    Custom(Arc<CustomSource>),
}

impl Source {
    /// The sources that are code, in the order in which lists show them.
    pub const BUILT_IN: [Self; 5] = [
        Self::Standard,
        Self::Sentry,
        Self::Stripe,
        Self::Github,
        Self::Slack,
    ];

    /// The name used in URLs, configuration and event types.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Standard => "standard",
            Self::Sentry => "sentry",
            Self::Stripe => "stripe",
            Self::Github => "github",
            Self::Slack => "slack",
            Self::Custom(custom) => &custom.name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        Self::BUILT_IN
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| UnknownSource(text.to_owned()))
    }
}

/// The text names no source.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown source `{0}`: expected standard, sentry, stripe, github or slack")]
pub struct UnknownSource(pub String);
