//! Which version of a plugin runs for whom: what is configured, less what is quarantined.
//!
//! Called when a configuration is put in force, and by its own loop when a quarantine began or
//! ended. A version that was active stays on a shelf beside the database, so that it can run
//! again when the one after it is quarantined. Whether it is, `lifecycle` decides.

mod shelf;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

pub use self::shelf::Shelf;
use crate::clock::Clock;
use crate::live::{Live, Setup};
use crate::model::policy::Policy;
use crate::model::queue::Lane;
use crate::model::strike::PluginVersion;
use crate::model::time::TimestampMs;
use crate::registry::Quarantined;
use crate::sandbox::{Plugin, Sandbox};
use crate::store::{Store, StoreError};

/// How often the store is asked whether another process changed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What it takes to know and load versions. Cheap to clone.
#[derive(Clone)]
pub struct Deployments {
    /// Which versions there were, and which are quarantined.
    pub store: Store,
    /// Loads them.
    pub sandbox: Sandbox,
    /// Keeps them.
    pub shelf: Shelf,
}

/// Why quarantines are not in force.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The setup cannot be made again.
    #[error(transparent)]
    Egress(#[from] crate::egress::EgressError),
}

impl Deployments {
    /// What is kept beside this database.
    pub fn new(store: &Store, sandbox: &Sandbox, database: &Path) -> Self {
        Self {
            store: store.clone(),
            sandbox: sandbox.clone(),
            shelf: Shelf::beside(database),
        }
    }

    /// Takes quarantined versions out of a setup, and puts those before them in their place. Says how far
    /// the store had got.
    ///
    /// A setup that is in force can be joined again.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn join(&self, setup: &mut Setup) -> Result<u64, StoreError> {
        let versions = self.store.plugin_versions(None).await?;
        let known = setup.registry.known();
        setup.registry.redeploy(&setup.config);
        let used: BTreeSet<(String, String)> = setup
            .config
            .policies
            .iter()
            .flat_map(|it| {
                let plugins = [&it.classifier, &it.triager].into_iter().flatten();
                plugins.map(|plugin| (it.tenant.clone(), plugin.clone()))
            })
            .collect();
        let seconds = setup.config.compile_seconds;
        for (tenant, plugin) in used {
            let Some(current) = setup.registry.plugin(&plugin) else {
                continue;
            };
            let digest = current.digest.clone();
            let Some(found) = versions.quarantine(&tenant, &plugin, &digest) else {
                continue;
            };
            let before = versions.before(&tenant, &plugin, &digest);
            let before = self.load_first(&plugin, before, &known, seconds);
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
        }
        Ok(versions.revision)
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
        let versions = self.store.plugin_versions(None).await?.versions;
        let kept = versions.into_iter().map(|it| it.digest).collect();
        Ok(self.shelf.clear(&kept)?)
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
            if let Some(loaded) = known.iter().find(|it| it.digest == before) {
                return Some(loaded.clone());
            }
            match self.load(&before, seconds).await {
                Ok(loaded) => return Some(loaded),
                Err(error) => tracing::warn!(
                    plugin,
                    digest = before,
                    error = format!("{error:#}"),
                    "an earlier version cannot be loaded"
                ),
            }
        }
        None
    }

    async fn load(&self, digest: &str, seconds: u64) -> anyhow::Result<Arc<Plugin>> {
        let (sandbox, path) = (self.sandbox.clone(), self.shelf.path(digest));
        let load = move || sandbox.load_file(&path, seconds, &[]);
        let loaded = tokio::task::spawn_blocking(load).await??;
        anyhow::ensure!(
            loaded.digest == digest,
            "the file of this version was changed: its digest is {}",
            loaded.digest
        );
        Ok(loaded)
    }

    /// Puts quarantines in force as they are now, and lets runs that waited look again. Says how far the
    /// store had got.
    async fn refresh(&self, live: &Live, now: TimestampMs) -> Result<u64, Problem> {
        // Whoever changes what is in force reads it first: one after the other.
        let alone = live.change().await;
        let current = live.current();
        let (config, registry) = (current.config.clone(), current.registry.clone());
        let mut setup = Setup::assemble(config, registry, Some(&current))?;
        let revision = self.join(&mut setup).await?;
        live.refresh(setup);
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
                        tracing::error!(%problem, "changed quarantines are not in force");
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
            "quarantines of plugins are in force as they are now"
        );
        Ok(revision)
    }
}
