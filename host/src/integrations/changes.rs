//! Changes to what the store keeps: integrations added and removed, secrets added and ended.
//!
//! Each is checked here against the file and the source's rules, and once more in the
//! store's transaction against what others changed meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::limits::{DEFAULTS, LimitChanges};
use super::view::{IntegrationView, SecretView, Views};
use super::{Problem, SecretState, opened, other_key, sealer_for, source_named};
use crate::config::{self, Config};
use crate::model::id::{IntegrationId, SecretId};
use crate::model::integration::{Integration, Origin, SECRETS_MAX};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::model::time::TimestampMs;
use crate::sources;
use crate::store::integrations::{INTEGRATIONS_MAX, Refused, StoredIntegration};
use crate::store::sealing::{Owner, Sealer};
use crate::store::secrets::NewSecret;
use crate::store::{Store, StoreError};

/// The longest time that an old secret stays live beside a new one: 90 days.
pub const OVERLAP_MS_MAX: i64 = 90 * 86_400_000;
/// The longest secret in bytes.
pub const SECRET_BYTES_MAX: usize = 4096;
/// How often a change is tried again because another one came between.
const CHANGE_TRIES_MAX: u32 = 8;
/// Whose an integration is where nobody says.
const TENANT: &str = "default";

/// An integration that is to be added.
#[derive(Debug, Default)]
pub struct NewIntegration {
    /// The kind of sender, by name.
    pub source: String,
    /// The last part of its URL; made up where it is left out.
    pub id: Option<String>,
    /// Owner; that of the caller where it is left out.
    pub tenant: Option<String>,
    /// Its signing secret; made up for the sources that let us choose.
    pub secret: Option<Secret>,
    /// What it may send; the defaults where they are left out.
    pub limits: LimitChanges,
}

/// A secret that is to be added.
#[derive(Debug, Default)]
pub struct Rotation {
    /// The secret; made up for the sources that let us choose.
    pub secret: Option<Secret>,
    /// How long the other secrets of the store stay live, as `24h`; until they are retired
    /// where it is left out.
    pub overlap: Option<String>,
}

/// What was added. The only time that the secret is shown.
#[derive(Debug)]
pub struct Added {
    /// As it is now.
    pub integration: IntegrationView,
    /// Names the new secret.
    pub secret_id: SecretId,
    /// Its value.
    pub secret: Secret,
}

/// Who asks, and what there is.
pub struct Integrations<'a> {
    /// The file's configuration, or the one in force.
    pub config: &'a Config,
    /// Where changes are kept.
    pub store: &'a Store,
    /// The tenant whose integrations may be seen and changed; every tenant's where `None`.
    pub tenant: Option<String>,
    /// The time.
    pub now: TimestampMs,
}

/// Where a secret goes.
struct Place<'a> {
    tenant: &'a str,
    id: &'a str,
    source: &'a Source,
    /// How many secrets the file has for it, where it declares it.
    declared: Option<usize>,
}

impl Integrations<'_> {
    /// Every integration of the file and of the store, by id.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self) -> Result<Vec<IntegrationView>, Problem> {
        let views = Views::read(self.config, self.store, self.now).await?;
        Ok(views.all(self.tenant.as_deref()))
    }

    /// One integration.
    ///
    /// # Errors
    /// When there is none that may be seen.
    pub async fn show(&self, id: &str) -> Result<IntegrationView, Problem> {
        let all = self.list().await?;
        all.into_iter()
            .find(|it| it.integration_id == id)
            .ok_or(Problem::NotFound)
    }

    /// Adds an integration with its first secret.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn add(&self, new: NewIntegration) -> Result<Added, Problem> {
        let source = source_named(self.config, &new.source).map_err(Problem::Invalid)?;
        let id = new
            .id
            .unwrap_or_else(|| IntegrationId::new(self.now).to_string());
        let tenant = self.owner(new.tenant)?;
        named("id", &id)?;
        named("tenant", &tenant)?;
        let limits = new.limits.applied(DEFAULTS)?;
        if let Some(declared) = self.declared(&id) {
            return Err(match self.may_see(&declared.tenant) {
                true => in_file(&id, "an integration of this id is declared there"),
                false => Problem::Taken(id),
            });
        }
        let place = Place {
            tenant: &tenant,
            id: &id,
            source: &source,
            declared: None,
        };
        let secret = usable(&source, new.secret)?;
        let sealed = self.sealed(&place, &secret, None).await?;
        let secret_id = sealed.id;
        let integration = StoredIntegration {
            id: id.clone(),
            tenant: tenant.clone(),
            source: source.to_string(),
            limits,
            created_at: self.now,
        };
        let added = self.store.add_integration(integration, sealed).await?;
        added.map_err(|it| refusal(it, &id, secret_id))?;
        Ok(Added {
            integration: self.show(&id).await?,
            secret_id,
            secret,
        })
    }

    /// Changes the limits of an integration of the store: all that are named, or none.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn change(
        &self,
        id: &str,
        changes: &LimitChanges,
    ) -> Result<IntegrationView, Problem> {
        for _ in 0..CHANGE_TRIES_MAX {
            let of_store = self.of_store(id).await?;
            let stored = self.store.stored_integration(id.to_owned()).await?;
            let stored = stored.filter(|it| it.tenant == of_store.tenant);
            let stored = stored.ok_or(Problem::NotFound)?;
            let limits = changes.applied(stored.limits)?;
            // Refused where another change came between.
            if let Ok(()) = self.store.change_integration(stored, limits).await? {
                return self.show(id).await;
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Removes an integration of the store and its secrets. Its events stay.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn remove(&self, id: &str) -> Result<(), Problem> {
        let of_store = self.of_store(id).await?;
        let removed = self
            .store
            .remove_integration(of_store.tenant, id.to_owned())
            .await?;
        removed.map_err(|_| Problem::NotFound)
    }

    /// Adds a secret to any integration. The others stay live, for ever or for the overlap.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn rotate(&self, id: &str, rotation: Rotation) -> Result<Added, Problem> {
        let view = self.show(id).await?;
        let source = source_named(self.config, &view.source).map_err(Problem::Invalid)?;
        let overlap_ms = match rotation.overlap.as_deref() {
            None => None,
            Some(text) => Some(
                config::duration_ms(text, OVERLAP_MS_MAX)
                    .map_err(|it| Problem::Invalid(format!("overlap: {it}")))?,
            ),
        };
        let place = Place {
            tenant: &view.tenant,
            id,
            source: &source,
            declared: self.declared(id).map(|it| it.secrets.of_file().count()),
        };
        let secret = usable(&source, rotation.secret)?;
        let sealed = self.sealed(&place, &secret, overlap_ms).await?;
        let secret_id = sealed.id;
        let added = self.store.add_secret(sealed).await?;
        added.map_err(|it| refusal(it, id, secret_id))?;
        Ok(Added {
            integration: self.show(id).await?,
            secret_id,
            secret,
        })
    }

    /// Ends a secret of the store now. `force` ends also the last one that is live.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn retire(
        &self,
        id: &str,
        secret_id: SecretId,
        force: bool,
    ) -> Result<IntegrationView, Problem> {
        let view = self.show(id).await?;
        let secret = secret_of(&view, secret_id).ok_or(Problem::NotFound)?;
        if secret.origin == Origin::File {
            return Err(in_file(
                &secret_id.to_string(),
                "take it out of the integration's `secrets`",
            ));
        }
        if secret.state == SecretState::Retired {
            return Ok(view);
        }
        let is_live = |it: &&SecretView| it.state == SecretState::Live;
        let mut others = view.secrets.iter().filter(|it| it.secret_id != secret_id);
        if !force && others.find(is_live).is_none() {
            return Err(refusal(Refused::LastSecret, id, secret_id));
        }
        let declared = self.declared(id).map(|it| it.secrets.of_file().count());
        let retired = self
            .store
            .retire_secret(
                view.tenant,
                id.to_owned(),
                secret_id,
                declared.unwrap_or(0),
                force,
                self.now,
            )
            .await?;
        retired.map_err(|it| refusal(it, id, secret_id))?;
        self.show(id).await
    }

    /// Seals a secret that is neither there already nor one too many.
    async fn sealed(
        &self,
        place: &Place<'_>,
        secret: &Secret,
        overlap_ms: Option<i64>,
    ) -> Result<NewSecret, Problem> {
        let sealer = self.sealer().await?;
        self.refuse_known(place, secret, &sealer).await?;
        let id = SecretId::new(self.now);
        let owner = Owner {
            tenant: place.tenant,
            integration_id: place.id,
            secret_id: id,
        };
        let sealed = sealer.seal(owner, secret);
        Ok(NewSecret {
            id,
            tenant: place.tenant.to_owned(),
            integration_id: place.id.to_owned(),
            sealed: sealed.map_err(|it| Problem::Invalid(format!("secret: {it}")))?,
            key_check: sealer.check(),
            created_at: self.now,
            declared: place.declared,
            others_live_until: overlap_ms.map(|it| self.now.saturating_add(it)),
        })
    }

    async fn sealer(&self) -> Result<Sealer, Problem> {
        let sealed_with = self.store.master_key_check().await?;
        match (
            sealer_for(self.config, sealed_with)?,
            &self.config.master_key,
        ) {
            (Some(sealer), _) => Ok(sealer),
            (None, Err(cause)) => Err(Problem::MasterKey(format!(
                "{cause}; secrets in the database are encrypted with it: make one with `openssl \
                 rand -base64 32`, and keep a copy"
            ))),
            (None, Ok(_)) => Err(other_key()),
        }
    }

    /// A secret that is live twice could not be retired.
    async fn refuse_known(
        &self,
        place: &Place<'_>,
        secret: &Secret,
        sealer: &Sealer,
    ) -> Result<(), Problem> {
        let of_file = self.declared(place.id);
        let is_in_file = of_file.is_some_and(|it| it.secrets.of_file().any(|it| it == secret));
        let kept = self
            .store
            .secrets_of(place.tenant.to_owned(), place.id.to_owned())
            .await?;
        let is_kept = kept.iter().any(|it| {
            matches!(opened(it, place.source, Some(sealer), self.now), Some(Ok(it)) if it == *secret)
        });
        match is_in_file || is_kept {
            true => Err(Problem::Invalid(
                "secret: it is live already: give another one".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// The integration of the store that may be changed.
    async fn of_store(&self, id: &str) -> Result<IntegrationView, Problem> {
        let view = self.show(id).await?;
        match view.origin {
            Origin::Store => Ok(view),
            Origin::File => Err(in_file(id, "change it there")),
        }
    }

    fn declared(&self, id: &str) -> Option<&Integration> {
        let found = self.config.integrations.get(id);
        found.filter(|it| it.origin == Origin::File)
    }

    fn may_see(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|it| it == tenant)
    }

    /// Who owns what the caller adds.
    fn owner(&self, wanted: Option<String>) -> Result<String, Problem> {
        match (wanted, &self.tenant) {
            (Some(wanted), Some(own)) if wanted != *own => Err(Problem::Invalid(format!(
                "tenant: this token may add integrations of {own} only"
            ))),
            (Some(wanted), _) => Ok(wanted),
            (None, Some(own)) => Ok(own.clone()),
            (None, None) => Ok(TENANT.to_owned()),
        }
    }
}

fn secret_of(view: &IntegrationView, id: SecretId) -> Option<&SecretView> {
    view.secrets.iter().find(|it| it.secret_id == id)
}

fn named(what: &str, text: &str) -> Result<(), Problem> {
    config::check_name(text).map_err(|it| Problem::Invalid(format!("{what}: {it}")))
}

/// The secret that was given, if its source's scheme can use it, or a new one.
fn usable(source: &Source, given: Option<Secret>) -> Result<Secret, Problem> {
    let given = match given {
        None => None,
        Some(it) => Some(checked(it).map_err(Problem::Invalid)?),
    };
    let secret = given.or_else(|| new_secret(source)).ok_or_else(|| {
        Problem::Invalid(format!(
            "secret: {source} makes it and shows it to you: give that one"
        ))
    })?;
    sources::check_secret(source, &secret)
        .map_err(|it| Problem::Invalid(format!("secret: {it}")))?;
    Ok(secret)
}

fn checked(secret: Secret) -> Result<Secret, String> {
    let text = secret.expose();
    if SECRET_BYTES_MAX < text.len() {
        return Err(format!("secret: longer than {SECRET_BYTES_MAX} bytes"));
    }
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
        return Err("secret: must be one line, with no spaces around it".to_owned());
    }
    Ok(secret)
}

/// 256 random bits for a sender that lets its users choose; `None` for one that chooses itself.
fn new_secret(source: &Source) -> Option<Secret> {
    let random: [u8; 32] = rand::random();
    let base64 = STANDARD.encode(random);
    match source {
        Source::Standard => Some(Secret::new(format!("whsec_{base64}"))),
        // A declared scheme can want its key in one of these forms.
        Source::Github | Source::Custom(_) => [base64, hex::encode(random)]
            .map(Secret::new)
            .into_iter()
            .find(|it| sources::check_secret(source, it).is_ok()),
        Source::Sentry | Source::Stripe | Source::Slack => None,
    }
}

fn in_file(what: &str, way_out: &str) -> Problem {
    Problem::InFile(format!(
        "{what} stands in the configuration's file, which is read-only here: {way_out}"
    ))
}

fn refusal(refused: Refused, id: &str, secret_id: SecretId) -> Problem {
    match refused {
        Refused::Taken => Problem::Taken(id.to_owned()),
        Refused::TooManyIntegrations => Problem::TooMany(format!(
            "there are {INTEGRATIONS_MAX} integrations, the most: remove one first"
        )),
        Refused::TooManySecrets => Problem::TooMany(format!(
            "{id} has {SECRETS_MAX} live secrets, the most: retire one first"
        )),
        Refused::LastSecret => Problem::LastSecret(secret_id.to_string(), id.to_owned()),
        Refused::OtherKey => other_key(),
        Refused::Gone => Problem::NotFound,
    }
}
