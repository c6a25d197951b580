//! Which version of a plugin runs for whom: what the file has or what was activated in its place, less what is
//! quarantined.
//!
//! Called when a configuration is put in force, by whoever activates a version, and by its own loop when
//! something in the store changed. Versions that were pushed or active are on a shelf beside the database, so
//! that they can run again. Whether a version is quarantined, `lifecycle` decides.

mod changes;
mod choices;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

pub use self::changes::{Activated, FILE, Pushed, Refused};
pub use self::shelf::Shelf;
use crate::clock::Clock;
use crate::config::Config;
use crate::live::{Live, Setup};
use crate::model::policy::Policy;
use crate::model::queue::Lane;
use crate::model::strike::PluginVersion;
use crate::model::time::TimestampMs;
use crate::registry::{PluginProblems, Quarantined};
use crate::sandbox::{
    ArtefactKey, Artefacts, Compiler, LoadError, PLUGIN_BYTES_MAX, Plugin, Sandbox, SetupError,
};
use crate::store::plugins::Versions;
use crate::store::{Store, StoreError};

/// How often the store is asked whether another process changed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most bytes that can be pushed: what a plugin's file may have.
pub const PUSHED_BYTES_MAX: usize = PLUGIN_BYTES_MAX as usize;

/// What it takes to know and load versions. Cheap to clone.
#[derive(Clone)]
pub struct Deployments {
    /// Which versions there are, which were activated, and which are quarantined.
    pub store: Store,
    /// Loads them.
    pub sandbox: Sandbox,
    /// Keeps them.
    pub shelf: Shelf,
}

/// Why what the store keeps of plugins is not in force.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Versions that were activated cannot be used.
    #[error(transparent)]
    Plugins(#[from] PluginProblems),
    /// The setup cannot be made again.
    #[error(transparent)]
    Egress(#[from] crate::egress::EgressError),
}

/// Why a version on the shelf is not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadFailure {
    #[error("{}", crate::deployments::changes::chain(.0))]
    Invalid(LoadError),
    #[error("the file of this version was changed: its digest is {0}")]
    Changed(String),
    #[error("loading was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}

impl Deployments {
    /// Over a store, with what is kept beside the configured database. This program compiles.
    ///
    /// # Errors
    /// Where the processor or the system lacks what the sandbox needs.
    pub fn new(config: &Config, store: Store, key: &[u8; 32]) -> Result<Self, SetupError> {
        let folder = Artefacts::beside(&config.database);
        let artefacts = Artefacts::new(folder, ArtefactKey::new(key));
        Ok(Self {
            store,
            sandbox: Sandbox::new(Compiler::own(), Some(artefacts))?,
            shelf: Shelf::beside(&config.database),
        })
    }

    /// Puts activated versions in the place of those of the files, and earlier ones in the place of quarantined
    /// ones. Says how far the store had got.
    ///
    /// A setup that is in force can be joined again.
    ///
    /// # Errors
    /// When the store does not answer, or an activated version cannot do what policies ask of it.
    pub async fn join(&self, setup: &mut Setup) -> Result<u64, Problem> {
        let versions = self.store.plugin_versions(None).await?;
        self.join_choices(setup, &versions).await?;
        let known = setup.registry.known();
        let used: BTreeSet<(String, String)> = setup
            .config
            .policies
            .iter()
            .flat_map(|it| {
                let plugins = [&it.classifier, &it.triager].into_iter().flatten();
                plugins.map(|plugin| (it.tenant.clone(), plugin.clone()))
            })
            .collect();
        for (tenant, plugin) in used {
            self.stand_in(setup, &versions, &known, tenant, plugin)
                .await?;
        }
        Ok(versions.revision)
    }

    /// Puts an earlier version in the place of a plugin's, where that is quarantined for a tenant.
    async fn stand_in(
        &self,
        setup: &mut Setup,
        versions: &Versions,
        known: &[Arc<Plugin>],
        tenant: String,
        plugin: String,
    ) -> Result<(), StoreError> {
        let Some(current) = setup.registry.plugin(&plugin) else {
            return Ok(());
        };
        let digest = current.digest.clone();
        let Some(found) = versions.quarantine(&tenant, &plugin, &digest) else {
            return Ok(());
        };
        let before = versions.before(&tenant, &plugin, &digest);
        let before = self.load_first(&plugin, before, known, setup.config.compile_seconds);
        let before = before.await;
        let quarantined = Quarantined {
            plugin: plugin.clone(),
            digest: digest.clone(),
            reason: found.reason.clone(),
        };
        let registry = &mut setup.registry;
        let fits = registry.stand_in(&setup.config, &tenant, &quarantined, before.as_ref());
        let instead = before.filter(|_| fits).map(|it| it.digest.clone());
        if instead != found.instead {
            tracing::warn!(
                tenant,
                plugin,
                digest,
                instead = instead.as_deref().unwrap_or("none"),
                "what runs in the place of a quarantined version changed"
            );
            let version = PluginVersion { plugin, digest };
            self.store.keep_instead(tenant, version, instead).await?;
        }
        Ok(())
    }

    /// Remembers the versions of a setup that is in force, and keeps their bytes.
    pub async fn remember(&self, setup: &Setup, now: TimestampMs) {
        if let Err(error) = self.keep(setup, now).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "which versions of plugins are active is not remembered: one that is quarantined may not be rolled back"
            );
        }
    }

    async fn keep(&self, setup: &Setup, now: TimestampMs) -> anyhow::Result<()> {
        let mut active = Vec::new();
        for (plugin, digest) in setup.registry.versions() {
            active.push(PluginVersion {
                plugin: plugin.to_owned(),
                digest: digest.to_owned(),
            });
            if let Some(path) = setup.config.plugins.get(plugin) {
                self.shelf.keep(digest, path)?;
            }
        }
        self.store.keep_active_versions(active, now).await?;
        // What is pushed meanwhile has a row before it has a file.
        let files = self.shelf.files()?;
        let versions = self.store.plugin_versions(None).await?.versions;
        let kept = versions.into_iter().map(|it| it.digest).collect();
        Ok(self.shelf.clear(files, &kept)?)
    }

    /// The first of these versions that can be loaded.
    async fn load_first(
        &self,
        plugin: &str,
        digests: impl IntoIterator<Item = String>,
        known: &[Arc<Plugin>],
        seconds: u64,
    ) -> Option<Arc<Plugin>> {
        for before in digests {
            match self.find(&before, known, seconds).await {
                Ok(loaded) => return Some(loaded),
                Err(error) => tracing::warn!(
                    plugin,
                    digest = before,
                    %error,
                    "an earlier version cannot be loaded"
                ),
            }
        }
        None
    }

    /// A version that is loaded, or is loaded now.
    async fn find(
        &self,
        digest: &str,
        known: &[Arc<Plugin>],
        seconds: u64,
    ) -> Result<Arc<Plugin>, LoadFailure> {
        match known.iter().find(|it| it.digest == digest) {
            Some(loaded) if self.sandbox.has_code_of(loaded) => Ok(loaded.clone()),
            _ => self.load(digest, seconds).await,
        }
    }

    async fn load(&self, digest: &str, seconds: u64) -> Result<Arc<Plugin>, LoadFailure> {
        let (sandbox, path) = (self.sandbox.clone(), self.shelf.path(digest));
        let load = move || sandbox.load_file(&path, seconds, &[]);
        let loaded = tokio::task::spawn_blocking(load).await?;
        let loaded = loaded.map_err(LoadFailure::Invalid)?;
        match loaded.digest == digest {
            true => Ok(loaded),
            false => Err(LoadFailure::Changed(loaded.digest.clone())),
        }
    }

    /// Puts in force what the store has, and lets runs that waited look again. Says how far the store had got.
    ///
    /// # Errors
    /// When it cannot be. What was in force stays so.
    pub async fn refresh(&self, live: &Live, now: TimestampMs) -> Result<u64, Problem> {
        // Whoever changes what is in force reads it first: one after the other.
        let alone = live.change().await;
        let current = live.current();
        let (config, registry) = (current.config.clone(), current.registry.clone());
        let mut setup = Setup::assemble(config, registry, Some(&current))?;
        let revision = self.join(&mut setup).await?;
        let was: BTreeMap<&str, &str> = current.registry.versions().collect();
        for (plugin, digest) in setup.registry.versions() {
            if was.get(plugin) != Some(&digest) {
                tracing::info!(plugin, digest, "another version of a plugin is active");
            }
        }
        live.refresh(setup);
        self.remember(&live.current(), now).await;
        drop(alone);
        self.wake_held_runs(live, now).await?;
        Ok(revision)
    }

    /// Lets runs that wait because of a quarantine look again now.
    ///
    /// # Errors
    /// When the store does not answer; they look again by themselves later.
    pub async fn wake_held_runs(&self, live: &Live, now: TimestampMs) -> Result<(), StoreError> {
        let lane = |it: &Policy| Lane {
            tenant: it.tenant.clone(),
            policy: it.name.clone(),
        };
        let lanes = live.current().config.policies.iter().map(lane).collect();
        self.store.wake_held_runs(lanes, now).await.map(drop)
    }

    /// Puts in force what this and other processes change in the store, until told to stop.
    ///
    /// `revision` is what is in force at the start; `wake` says that there is something to do.
    pub async fn run(
        self,
        live: Arc<Live>,
        clock: Clock,
        mut revision: u64,
        wake: Arc<Notify>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        while !*stopped.borrow() {
            tokio::select! {
                _ = ticks.tick() => (),
                () = wake.notified() => (),
                _ = stopped.changed() => continue,
            }
            match self.look(&live, clock.now(), revision).await {
                Ok(found) => (revision, failing) = (found, false),
                Err(problem) => {
                    // It is tried again every second, and said once.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%problem, "changed versions or quarantines of plugins are not in force");
                    }
                }
            }
        }
    }

    async fn look(&self, live: &Live, now: TimestampMs, revision: u64) -> Result<u64, Problem> {
        if self.store.plugin_revision().await? == revision {
            return Ok(revision);
        }
        let revision = self.refresh(live, now).await?;
        tracing::info!(
            revision,
            "versions and quarantines of plugins are in force as they are now"
        );
        Ok(revision)
    }
}
