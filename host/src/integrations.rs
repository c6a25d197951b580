//! Integrations as a whole: what the configuration's file declares, joined with what the store keeps.
//!
//! Called when a configuration is put in force, and by `http` and the command line for
//! changes and lists. What the file declares stays as it is; what is changed here is in the
//! store, and put in force by `in_force`, whoever made it.

mod changes;
mod in_force;
mod limits;
mod view;

use crate::config::Config;
use crate::model::integration::{Integration, LiveSecret, LiveSecrets, Origin};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::model::time::TimestampMs;
use crate::sources;
use crate::store::integrations::{Kept, StoredIntegration};
use crate::store::sealing::{KeyCheck, Owner, Sealer};
use crate::store::secrets::{DeclaredSecret, StoredSecret};
use crate::store::{Store, StoreError};

pub use changes::{
    Added, Integrations, NewIntegration, OVERLAP_MS_MAX, Rotation, SECRET_BYTES_MAX,
};
pub use in_force::{refresh, run};
pub use limits::{Change, LimitChanges};
pub use view::{IntegrationView, SecretState, SecretView};

/// Why integrations were not changed, or cannot be put in force. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no such thing, or the caller may not see it.
    #[error("no such integration or secret")]
    NotFound,
    /// The configuration's file says otherwise.
    #[error("{0}")]
    InFile(String),
    /// The id is in use.
    #[error("the id `{0}` is in use, or was another tenant's: choose another")]
    Taken(String),
    /// A limit is reached.
    #[error("{0}")]
    TooMany(String),
    /// It is the only live secret.
    #[error(
        "{0} is the only live secret of {1}: add another one first, or force it, and every delivery is refused"
    )]
    LastSecret(String, String),
    /// What was asked for cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// The master key is missing, or is not the one.
    #[error("server.master_key: {0}")]
    MasterKey(String),
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Problem {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::InFile(_) => "declared_in_file",
            Self::Taken(_) => "id_taken",
            Self::TooMany(_) => "too_many",
            Self::LastSecret(..) => "last_secret",
            Self::Invalid(_) => "bad_request",
            Self::MasterKey(_) => "master_key",
            Self::Store(_) => "unavailable",
        }
    }
}

/// Adds what the store keeps to what the file declares, and says how far the store had got.
///
/// What was added before is replaced, so a configuration that is in force can be joined again.
/// An integration or secret that cannot be used is left out and logged; the others go on.
///
/// # Errors
/// When the store does not answer, or secrets in it are live and the master key is not there.
pub async fn join(config: &mut Config, store: &Store, now: TimestampMs) -> Result<u64, Problem> {
    let kept = store.kept_integrations().await?;
    let sealer = sealer_for(config, kept.key_check)?;
    config
        .integrations
        .retain(|_, it| it.origin == Origin::File);
    for stored in &kept.integrations {
        match served(config, stored) {
            Ok(_) if config.integrations.contains_key(&stored.id) => tracing::warn!(
                integration = stored.id,
                "declared in the file and in the store: the file's is served"
            ),
            Ok(integration) => {
                config.integrations.insert(stored.id.clone(), integration);
            }
            Err(problem) => {
                tracing::error!(integration = stored.id, problem, "not served");
            }
        }
    }
    for integration in config.integrations.values_mut() {
        integration.secrets = live_secrets(integration, &kept, sealer.as_ref(), store, now);
    }
    Ok(kept.revision)
}

/// Remembers since when each secret of the file has been live.
///
/// # Errors
/// When the store does not answer.
pub async fn remember_declared(
    config: &Config,
    store: &Store,
    now: TimestampMs,
) -> Result<(), StoreError> {
    let mut declared = Vec::new();
    for integration in config.integrations.values() {
        for secret in integration.secrets.of_file() {
            declared.push(DeclaredSecret {
                id: store.secret_id(&integration.tenant, &integration.id, secret),
                tenant: integration.tenant.clone(),
                integration_id: integration.id.clone(),
            });
        }
    }
    store.keep_declared_secrets(declared, now).await
}

/// Seals with the configuration's master key, if it is the one that sealed what is there.
fn sealer_for(config: &Config, sealed_with: Option<KeyCheck>) -> Result<Option<Sealer>, Problem> {
    match (&config.master_key, sealed_with) {
        (Ok(key), check) => {
            let sealer = Sealer::new(key);
            match check.is_none_or(|it| it == sealer.check()) {
                true => Ok(Some(sealer)),
                false => Err(other_key()),
            }
        }
        (Err(_), None) => Ok(None),
        (Err(cause), Some(_)) => Err(Problem::MasterKey(format!(
            "{cause}; signing secrets in the database are encrypted with it: put it back, or end \
             them with `triage integration retire-secret ID SECRET_ID --force`"
        ))),
    }
}

fn other_key() -> Problem {
    Problem::MasterKey(
        "this is not the key that the signing secrets in the database are encrypted with: put that \
         one back, or end them with `triage integration retire-secret ID SECRET_ID --force`"
            .to_owned(),
    )
}

/// The integration that a row stands for, still without secrets; or why it cannot be served.
fn served(config: &Config, stored: &StoredIntegration) -> Result<Integration, String> {
    let source = source_named(config, &stored.source)?;
    Ok(Integration {
        id: stored.id.clone(),
        tenant: stored.tenant.clone(),
        source,
        origin: Origin::Store,
        secrets: LiveSecrets::default(),
        body_bytes_max: stored.limits.body_bytes_max,
        inflated_bytes_max: limits::inflated_bytes_max(&stored.limits),
        rate_limit: limits::rate_limit(&stored.limits),
    })
}

/// What a source's name stands for in this configuration.
fn source_named(config: &Config, name: &str) -> Result<Source, String> {
    config.sources.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        format!("source: there is no `{name}`; known: {}", known.join(", "))
    })
}

/// The secrets that sign for an integration: those of the file, with ids, and those of the store.
fn live_secrets(
    integration: &Integration,
    kept: &Kept,
    sealer: Option<&Sealer>,
    store: &Store,
    now: TimestampMs,
) -> LiveSecrets {
    let mut live: Vec<LiveSecret> = integration
        .secrets
        .of_file()
        .map(|secret| LiveSecret {
            id: Some(store.secret_id(&integration.tenant, &integration.id, secret)),
            origin: Origin::File,
            live_until: None,
            secret: secret.clone(),
        })
        .collect();
    for stored in kept.secrets.iter().filter(|it| is_of(it, integration)) {
        match opened(stored, &integration.source, sealer, now) {
            None => (),
            Some(Ok(secret)) => live.push(LiveSecret {
                id: Some(stored.id),
                origin: Origin::Store,
                live_until: stored.live_until,
                secret,
            }),
            Some(Err(problem)) => tracing::error!(
                integration = integration.id,
                secret = %stored.id,
                problem,
                "a signing secret cannot be used"
            ),
        }
    }
    LiveSecrets::new(live)
}

fn is_of(stored: &StoredSecret, integration: &Integration) -> bool {
    stored.integration_id == integration.id && stored.tenant == integration.tenant
}

/// The value of a secret of the store that is live, or why it cannot be used; nothing of others.
fn opened(
    stored: &StoredSecret,
    source: &Source,
    sealer: Option<&Sealer>,
    now: TimestampMs,
) -> Option<Result<Secret, String>> {
    let sealed = stored.sealed.as_deref()?;
    if stored.live_until.is_some_and(|it| it <= now) {
        return None;
    }
    let owner = Owner {
        tenant: &stored.tenant,
        integration_id: &stored.integration_id,
        secret_id: stored.id,
    };
    let secret = match sealer {
        None => Err("the master key is missing".to_owned()),
        Some(sealer) => sealer.open(owner, sealed).map_err(|it| it.to_string()),
    };
    Some(secret.and_then(|secret| {
        sources::check_secret(source, &secret).map_err(|it| it.to_string())?;
        Ok(secret)
    }))
}
