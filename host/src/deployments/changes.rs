//! Adds versions of plugins, and activates them.
//!
//! Called by `http` and the command line. What is written here is in the store and on the shelf; a server
//! puts it in force. Everything is checked, compiled and loaded before anything is written.

use std::io;

use super::{Deployments, LoadFailure};
use crate::config::Config;
use crate::model::strike::PluginVersion;
use crate::model::time::TimestampMs;
use crate::registry::{PluginProblems, misfits};
use crate::sandbox::LoadError;
use crate::store::StoreError;
use crate::store::plugins::{VersionView, Versions};

/// What is said in the place of a version to name the one in the plugin's file.
pub const FILE: &str = "file";
/// The fewest digits of a digest that name a version.
const DIGITS_MIN: usize = 6;
/// All digits of a digest.
const DIGITS_MAX: usize = 64;

/// A version that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// Whether it was unknown.
    pub is_new: bool,
}

/// A version that was activated.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Activated {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component; `None` for the one in the plugin's file.
    pub digest: Option<String>,
}

/// Why versions were not changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The configuration does not name the plugin.
    #[error("no plugin `{0}`: declare [plugins.{0}] in the configuration first")]
    NoPlugin(String),
    /// What was given cannot name a version.
    #[error(
        "`{0}` names no version: give {DIGITS_MIN} to {DIGITS_MAX} hexadecimal digits of its digest, or `{FILE}` for \
         the one in the plugin's file"
    )]
    NotAVersion(String),
    /// The plugin has no such version.
    #[error("plugin `{0}` has no version `{1}`: `triage plugin list` shows those that it has")]
    NoVersion(String, String),
    /// Several versions begin like that.
    #[error("several versions of plugin `{0}` begin with `{1}`: give more digits")]
    Ambiguous(String, String),
    /// There is no version to go back to.
    #[error("no other version of plugin `{0}` was active that is not quarantined")]
    NothingBefore(String),
    /// The bytes cannot be used.
    #[error("plugin `{plugin}` stays as it is: {}", chain(.cause))]
    Invalid {
        /// The plugin's name.
        plugin: String,
        /// Why.
        cause: LoadError,
    },
    /// It cannot be compiled now, whatever it is.
    #[error("plugin `{0}` stays as it is: {1}")]
    NotNow(String, String),
    /// It cannot do what policies ask of the plugin.
    #[error("plugin `{0}` stays as it is: {1}")]
    Unfit(String, PluginProblems),
    /// Its component was not kept, or is not what it was.
    #[error("version {1} of plugin `{0}` cannot be read from the shelf ({2}): push it again")]
    NotKept(String, String, String),
    /// The component cannot be written beside the database.
    #[error("the component cannot be kept in {0}")]
    Shelf(String, #[source] io::Error),
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process is ending.
    #[error("loading was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}

impl Deployments {
    /// Checks and compiles a component, and keeps it as a version of a plugin. It is not activated.
    pub async fn push(
        &self,
        config: &Config,
        plugin: &str,
        bytes: Vec<u8>,
        now: TimestampMs,
    ) -> Result<Pushed, Refused> {
        let plugin = declared(config, plugin)?;
        let (sandbox, seconds) = (self.sandbox.clone(), config.compile_seconds);
        let load = move || {
            (
                sandbox.load(&bytes, seconds).map(|it| it.digest.clone()),
                bytes,
            )
        };
        let (loaded, bytes) = tokio::task::spawn_blocking(load).await?;
        let digest = loaded.map_err(|cause| invalid(&plugin, cause))?;
        let version = PluginVersion {
            plugin: plugin.clone(),
            digest: digest.clone(),
        };
        // The row first: a component without one is cleared away.
        let is_new = self.store.keep_pushed_version(version, now).await?;
        let (shelf, name) = (self.shelf.clone(), digest.clone());
        let written = tokio::task::spawn_blocking(move || shelf.write(&name, &bytes)).await?;
        written.map_err(|error| Refused::Shelf(self.shelf.to_string(), error))?;
        Ok(Pushed {
            plugin,
            digest,
            is_new,
        })
    }

    /// Activates a version, named by the begin of its digest, or the one in the plugin's file ([`FILE`]).
    pub async fn activate(
        &self,
        config: &Config,
        plugin: &str,
        wanted: &str,
    ) -> Result<Activated, Refused> {
        let plugin = declared(config, plugin)?;
        if wanted == FILE {
            self.store.choose_file(plugin.clone()).await?;
            return Ok(Activated {
                plugin,
                digest: None,
            });
        }
        let versions = self.store.plugin_versions(None).await?;
        let digest = find(&versions, &plugin, wanted)?;
        self.choose(config, plugin, digest).await
    }

    /// Activates the version that was active before the one that is.
    pub async fn roll_back(&self, config: &Config, plugin: &str) -> Result<Activated, Refused> {
        let plugin = declared(config, plugin)?;
        let versions = self.store.plugin_versions(None).await?;
        let digest = before(&versions, &plugin).ok_or(Refused::NothingBefore(plugin.clone()))?;
        self.choose(config, plugin, digest).await
    }

    async fn choose(
        &self,
        config: &Config,
        plugin: String,
        digest: String,
    ) -> Result<Activated, Refused> {
        let loaded = self.load(&digest, config.compile_seconds).await;
        let loaded = loaded.map_err(|failure| match failure {
            LoadFailure::Invalid(cause) if !matches!(cause, LoadError::Unreadable { .. }) => {
                invalid(&plugin, cause)
            }
            other => Refused::NotKept(plugin.clone(), digest.clone(), other.to_string()),
        })?;
        let problems = misfits(config, |name| (name == plugin).then_some(&*loaded));
        if !problems.is_empty() {
            return Err(Refused::Unfit(plugin, PluginProblems(problems)));
        }
        let version = PluginVersion {
            plugin: plugin.clone(),
            digest: digest.clone(),
        };
        match self.store.choose_version(version).await? {
            true => Ok(Activated {
                plugin,
                digest: Some(digest),
            }),
            // Forgotten meanwhile.
            false => Err(Refused::NoVersion(plugin, digest)),
        }
    }
}

fn invalid(plugin: &str, cause: LoadError) -> Refused {
    let plugin = plugin.to_owned();
    match cause {
        LoadError::Busy | LoadError::NoCompiler(_) => Refused::NotNow(plugin, chain(&cause)),
        cause => Refused::Invalid { plugin, cause },
    }
}

fn declared(config: &Config, plugin: &str) -> Result<String, Refused> {
    match config.plugins.contains_key(plugin) {
        true => Ok(plugin.to_owned()),
        false => Err(Refused::NoPlugin(plugin.to_owned())),
    }
}

/// The one version that begins like that.
fn find(versions: &Versions, plugin: &str, wanted: &str) -> Result<String, Refused> {
    let wanted = wanted.to_ascii_lowercase();
    let is_hex = wanted.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_hex || !(DIGITS_MIN..=DIGITS_MAX).contains(&wanted.len()) {
        return Err(Refused::NotAVersion(wanted));
    }
    let own = versions.versions.iter().filter(|it| it.plugin == plugin);
    let mut found = own.filter(|it| it.digest.starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(version), None) => Ok(version.digest.clone()),
        (None, _) => Err(Refused::NoVersion(plugin.to_owned(), wanted)),
        (Some(_), Some(_)) => Err(Refused::Ambiguous(plugin.to_owned(), wanted)),
    }
}

/// The version that was active last before the one that is, or is about to be.
fn before(versions: &Versions, plugin: &str) -> Option<String> {
    let own = || versions.versions.iter().filter(|it| it.plugin == plugin);
    let chosen = versions.choice(plugin).map(|it| &it.version.digest);
    let active = own().find(|it| it.is_active()).map(|it| &it.digest);
    let present = chosen.or(active)?;
    let can_return = |it: &&VersionView| {
        it.digest != *present && it.activated_at.is_some() && it.quarantines.is_empty()
    };
    own().find(can_return).map(|it| it.digest.clone())
}

/// An error with its cause.
pub(super) fn chain(error: &LoadError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::plugins::{Choice, QuarantineView};
    use crate::store::views::At;

    fn version(digit: char, activated_at: Option<i64>, retired_at: Option<i64>) -> VersionView {
        VersionView {
            plugin: "p".to_owned(),
            digest: digit.to_string().repeat(DIGITS_MAX),
            pushed_at: Some(At(1)),
            first_active_at: activated_at.map(At),
            activated_at: activated_at.map(At),
            retired_at: retired_at.map(At),
            is_chosen: false,
            quarantines: Vec::new(),
            strikes: Vec::new(),
        }
    }

    /// In the order in which the store gives them: `a` is active, `b` was before, `c` before that; `d` never.
    fn versions() -> Versions {
        Versions {
            versions: vec![
                version('a', Some(30), None),
                version('b', Some(20), Some(30)),
                version('c', Some(10), Some(20)),
                version('d', None, None),
            ],
            choices: Vec::new(),
            revision: 0,
        }
    }

    #[test]
    fn a_version_is_named_by_the_begin_of_its_digest() {
        let mut versions = versions();
        let found = |versions: &Versions, wanted: &str| match find(versions, "p", wanted) {
            Ok(digest) => digest.chars().take(2).collect(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found(&versions, "bbbbbb"), "bb");
        assert_eq!(found(&versions, "BBBBBBBB"), "bb");
        for (wanted, complaint) in [
            ("bbbbb", "`bbbbb` names no version"),
            ("bbbbbz", "`bbbbbz` names no version"),
            ("eeeeee", "plugin `p` has no version `eeeeee`"),
        ] {
            assert!(found(&versions, wanted).starts_with(complaint), "{wanted}");
        }
        versions.versions[3].digest = format!("bbbbbb{}", "0".repeat(58));
        assert!(found(&versions, "bbbbbb").starts_with("several versions"));
        assert_eq!(found(&versions, "bbbbbb0"), "bb");
    }

    #[test]
    fn the_version_before_is_the_last_other_that_was_active_and_is_not_quarantined() {
        let mut versions = versions();
        let first =
            |versions: &Versions| before(versions, "p").map(|it| it.chars().next().unwrap());
        assert_eq!(first(&versions), Some('b'));
        versions.choices = vec![Choice {
            version: PluginVersion {
                plugin: "p".to_owned(),
                digest: "b".repeat(DIGITS_MAX),
            },
            beside: None,
        }];
        assert_eq!(first(&versions), Some('a'));
        versions.choices.clear();
        versions.versions[1].quarantines = vec![QuarantineView {
            tenant: "default".to_owned(),
            at: At(25),
            reason: "traps".to_owned(),
            instead: None,
        }];
        assert_eq!(first(&versions), Some('c'));
        versions.versions.truncate(1);
        assert_eq!(first(&versions), None);
    }
}
