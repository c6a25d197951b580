//! Integrations and their secrets as lists show them: never a secret's value.

use serde::Serialize;

use super::{Problem, limits, opened, sealer_for, served, source_named};
use crate::config::Config;
use crate::model::id::SecretId;
use crate::model::integration::{Integration, Origin};
use crate::model::rate::RateLimit;
use crate::model::source::Source;
use crate::model::time::TimestampMs;
use crate::store::Store;
use crate::store::integrations::StoredIntegration;
use crate::store::sealing::Sealer;
use crate::store::secrets::StoredSecret;
use crate::store::views::At;

/// One configured sender, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IntegrationView {
    /// The last part of its URL.
    pub integration_id: String,
    /// Owner.
    pub tenant: String,
    /// The kind of sender.
    pub source: String,
    /// Where it is written down; what is in the file is read-only here.
    pub origin: Origin,
    /// Where the sender posts to.
    pub url: String,
    /// The largest body in bytes.
    pub body_bytes_max: usize,
    /// The most that a gzip body may inflate to, in bytes.
    pub inflated_bytes_max: usize,
    /// How many deliveries are taken, as `100/s`; every one where `None`.
    pub rate_limit: Option<String>,
    /// How many of them may come at once after a pause.
    pub burst: Option<u32>,
    /// When it was added; the file does not say.
    pub created_at: Option<At>,
    /// Why it is not served, if it is not.
    pub problem: Option<String>,
    /// Those that sign or signed for it, oldest first.
    pub secrets: Vec<SecretView>,
}

/// What a secret does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretState {
    /// Deliveries signed with it are accepted.
    Live,
    /// They no longer are.
    Retired,
    /// It should be live, but cannot be used.
    Unusable,
}

impl SecretState {
    /// The word used in JSON and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Retired => "retired",
            Self::Unusable => "unusable",
        }
    }
}

/// A signing secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretView {
    /// Names it.
    pub secret_id: SecretId,
    /// Where its value is.
    pub origin: Origin,
    /// Whether it signs.
    pub state: SecretState,
    /// When it was added; for one of the file, when a host first had it.
    pub created_at: Option<At>,
    /// When a delivery was last signed with it.
    pub last_used_at: Option<At>,
    /// When it ends by itself.
    pub live_until: Option<At>,
    /// When it was ended.
    pub retired_at: Option<At>,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<String>,
}

/// What lists are made from: the file's configuration, or the one in force, and the store.
pub(super) struct Views<'a> {
    config: &'a Config,
    store: &'a Store,
    stored: Vec<StoredIntegration>,
    secrets: Vec<StoredSecret>,
    sealer: Option<Sealer>,
    key_problem: Option<String>,
    now: TimestampMs,
}

impl<'a> Views<'a> {
    /// Reads the store.
    pub(super) async fn read(
        config: &'a Config,
        store: &'a Store,
        now: TimestampMs,
    ) -> Result<Self, Problem> {
        let kept = store.kept_integrations().await?;
        // Lists also help those whose key is lost.
        let (sealer, key_problem) = match sealer_for(config, kept.key_check) {
            Ok(sealer) => (sealer, None),
            Err(problem) => (None, Some(problem.to_string())),
        };
        Ok(Self {
            config,
            store,
            stored: kept.integrations,
            secrets: kept.secrets,
            sealer,
            key_problem,
            now,
        })
    }

    /// All that a tenant may see, every tenant's where `None`, by id.
    pub(super) fn all(&self, tenant: Option<&str>) -> Vec<IntegrationView> {
        let declared = declared(self.config).map(|it| self.of_file(it));
        let stored = self.stored.iter();
        let stored = stored
            .filter(|it| !is_declared(self.config, &it.id))
            .map(|it| self.of_store(it));
        let mut views: Vec<IntegrationView> = declared
            .chain(stored)
            .filter(|it| tenant.is_none_or(|tenant| it.tenant == tenant))
            .collect();
        views.sort_by(|one, other| one.integration_id.cmp(&other.integration_id));
        views
    }

    fn of_file(&self, integration: &Integration) -> IntegrationView {
        let source = Ok(integration.source.clone());
        let mut secrets = self.secrets(&integration.tenant, &integration.id, &source);
        for secret in integration.secrets.of_file() {
            let id = self
                .store
                .secret_id(&integration.tenant, &integration.id, secret);
            if !secrets.iter().any(|it| it.secret_id == id) {
                secrets.push(new_of_file(id));
            }
        }
        IntegrationView {
            integration_id: integration.id.clone(),
            tenant: integration.tenant.clone(),
            source: integration.source.to_string(),
            origin: Origin::File,
            url: url(self.config, integration.source.as_str(), &integration.id),
            body_bytes_max: integration.body_bytes_max,
            inflated_bytes_max: integration.inflated_bytes_max,
            rate_limit: integration.rate_limit.map(|it| it.rate().to_string()),
            burst: integration.rate_limit.map(RateLimit::burst),
            created_at: None,
            problem: None,
            secrets,
        }
    }

    fn of_store(&self, stored: &StoredIntegration) -> IntegrationView {
        let rate_limit = limits::rate_limit(&stored.limits);
        IntegrationView {
            integration_id: stored.id.clone(),
            tenant: stored.tenant.clone(),
            source: stored.source.clone(),
            origin: Origin::Store,
            url: url(self.config, &stored.source, &stored.id),
            body_bytes_max: stored.limits.body_bytes_max,
            inflated_bytes_max: limits::inflated_bytes_max(&stored.limits),
            rate_limit: rate_limit.map(|it| it.rate().to_string()),
            burst: rate_limit.map(RateLimit::burst),
            created_at: Some(At(stored.created_at)),
            problem: served(self.config, stored).err(),
            secrets: self.secrets(
                &stored.tenant,
                &stored.id,
                &source_named(self.config, &stored.source),
            ),
        }
    }

    fn secrets(&self, tenant: &str, id: &str, source: &Result<Source, String>) -> Vec<SecretView> {
        let of_it = self.secrets.iter();
        of_it
            .filter(|it| it.integration_id == id && it.tenant == tenant)
            .map(|it| self.secret(it, source))
            .collect()
    }

    fn secret(&self, stored: &StoredSecret, source: &Result<Source, String>) -> SecretView {
        let problem = match (&self.key_problem, source) {
            (Some(problem), _) if stored.sealed.is_some() => Some(problem.clone()),
            (_, Err(_)) => None,
            (_, Ok(source)) => {
                opened(stored, source, self.sealer.as_ref(), self.now).and_then(Result::err)
            }
        };
        let has_ended = stored.live_until.is_some_and(|it| it <= self.now);
        let state = match stored.retired_at {
            Some(_) => SecretState::Retired,
            None if has_ended => SecretState::Retired,
            None if problem.is_some() => SecretState::Unusable,
            None => SecretState::Live,
        };
        let ended = stored.live_until.filter(|_| has_ended);
        SecretView {
            secret_id: stored.id,
            origin: stored.origin,
            state,
            created_at: Some(At(stored.created_at)),
            last_used_at: stored.last_used_at.map(At),
            live_until: stored.live_until.filter(|_| !has_ended).map(At),
            retired_at: stored.retired_at.or(ended).map(At),
            problem: problem.filter(|_| state == SecretState::Unusable),
        }
    }
}

/// The integrations that the file declares.
fn declared(config: &Config) -> impl Iterator<Item = &Integration> {
    let all = config.integrations.values();
    all.filter(|it| it.origin == Origin::File)
}

fn is_declared(config: &Config, id: &str) -> bool {
    let found = config.integrations.get(id);
    found.is_some_and(|it| it.origin == Origin::File)
}

fn new_of_file(secret_id: SecretId) -> SecretView {
    SecretView {
        secret_id,
        origin: Origin::File,
        state: SecretState::Live,
        created_at: None,
        last_used_at: None,
        live_until: None,
        retired_at: None,
        problem: None,
    }
}

fn url(config: &Config, source: &str, id: &str) -> String {
    let public_url = config.public_url.as_str().trim_end_matches('/');
    format!("{public_url}/v1/webhooks/{source}/{id}")
}
