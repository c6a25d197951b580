//! The settings in force: what the operator configured, loaded and ready, swapped as a whole.
//!
//! Made by `app` at the start and by `reload` on a change; `http`, `worker` and
//! `actions` take the current [`Setup`] once for each request, run and action, so
//! that each sees one configuration from its begin to its end. Nothing here reads a
//! file or decides whether a configuration may be applied.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use crate::config::Config;
use crate::egress::{Egress, EgressError};
use crate::model::time::TimestampMs;
use crate::registry::{PluginProblems, Registry};
use crate::sandbox::Sandbox;

/// Everything that one configuration comes to. Never changed, only replaced.
pub struct Setup {
    /// What the operator configured.
    pub config: Config,
    /// The plugins that it names, loaded.
    pub registry: Registry,
    /// The door to the outside, with the addresses that it opens.
    pub egress: Egress,
    places: HashMap<String, Places>,
}

/// How many runs of a policy may be evaluated at the same time.
struct Places {
    concurrency: usize,
    semaphore: Arc<Semaphore>,
}

/// Why a checked configuration cannot be put to use.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Plugins cannot be loaded, or cannot do what policies ask of them.
    #[error(transparent)]
    Plugins(#[from] PluginProblems),
    /// The door to the outside cannot be made.
    #[error(transparent)]
    Egress(#[from] EgressError),
}

impl Setup {
    /// Loads what a configuration names. Blocks while plugins compile.
    ///
    /// What stays the same is taken over from `previous`: plugins of the same bytes, open
    /// connections, and the places that runs under way hold. A policy whose `concurrency`
    /// changed gets new places; runs that hold an old one are not counted against them.
    ///
    /// # Errors
    /// All problems at once, each with the setting's name.
    pub fn load(
        config: Config,
        sandbox: &Sandbox,
        previous: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let registry = Registry::load(sandbox, &config, previous.map(|it| &it.registry))?;
        Ok(Self::assemble(config, registry, previous)?)
    }

    /// The same with plugins that were loaded.
    pub fn assemble(
        config: Config,
        registry: Registry,
        previous: Option<&Self>,
    ) -> Result<Self, EgressError> {
        let egress = match previous {
            Some(previous) if previous.config.egress_allow == config.egress_allow => {
                previous.egress.clone()
            }
            _ => Egress::new(config.egress_allow.clone())?,
        };
        let places = config
            .policies
            .iter()
            .map(|it| {
                let kept = previous.and_then(|previous| previous.places.get(&it.name));
                let concurrency = it.limits.concurrency;
                (it.name.clone(), Places::take_over(kept, concurrency))
            })
            .collect();
        Ok(Self {
            config,
            registry,
            egress,
            places,
        })
    }

    /// What bounds the runs of a policy that are evaluated at the same time.
    pub fn places(&self, policy: &str) -> Option<Arc<Semaphore>> {
        self.places.get(policy).map(|it| it.semaphore.clone())
    }
}

impl Places {
    fn take_over(kept: Option<&Self>, concurrency: usize) -> Self {
        let semaphore = match kept {
            Some(kept) if kept.concurrency == concurrency => kept.semaphore.clone(),
            _ => Arc::new(Semaphore::new(concurrency)),
        };
        Self {
            concurrency,
            semaphore,
        }
    }
}

/// Which configuration is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// SHA-256 of the configuration file in hexadecimal.
    pub digest: String,
    /// 1 at the start of the process, one more with each change that is applied.
    pub revision: u64,
    /// When it was put in force.
    pub since: TimestampMs,
}

/// What came of the last look at a configuration that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When it ended.
    pub at: TimestampMs,
    /// How it ended.
    pub outcome: ReloadOutcome,
}

/// How a reload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Another setup is in force, which differs in these ways.
    Applied(Vec<String>),
    /// What was read is what is in force.
    Unchanged,
    /// What was read cannot be used, for all of these reasons; nothing changed.
    Refused(Vec<String>),
}

/// The one pointer to the setup in force.
pub struct Live {
    in_force: ArcSwap<InForce>,
    last_reload: ArcSwapOption<Reload>,
    changing: Mutex<()>,
}

struct InForce {
    setup: Arc<Setup>,
    version: Version,
}

impl Live {
    /// Begins with a setup, made from a file with this digest.
    pub fn new(setup: Setup, digest: String, now: TimestampMs) -> Self {
        let version = Version {
            digest,
            revision: 1,
            since: now,
        };
        Self {
            in_force: ArcSwap::from_pointee(InForce {
                setup: Arc::new(setup),
                version,
            }),
            last_reload: ArcSwapOption::empty(),
            changing: Mutex::default(),
        }
    }

    /// The setup in force. Whoever needs it twice keeps it: the next call may give another.
    pub fn current(&self) -> Arc<Setup> {
        self.in_force.load().setup.clone()
    }

    /// Which configuration is in force.
    pub fn version(&self) -> Version {
        self.in_force.load().version.clone()
    }

    /// Waits for other changes. Whoever makes the next setup of the current one holds this from
    /// the reading to the replacing, so that no change undoes another.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Puts a setup in force that was made from the same file.
    pub fn refresh(&self, setup: Setup) {
        let version = self.version();
        self.in_force.store(Arc::new(InForce {
            setup: Arc::new(setup),
            version,
        }));
    }

    /// Puts another setup in force, for everything that begins from now on.
    pub fn replace(&self, setup: Setup, digest: String, now: TimestampMs) {
        let version = Version {
            digest,
            revision: self.in_force.load().version.revision + 1,
            since: now,
        };
        self.in_force.store(Arc::new(InForce {
            setup: Arc::new(setup),
            version,
        }));
    }

    /// What came of the last reload, if there was one.
    pub fn last_reload(&self) -> Option<Arc<Reload>> {
        self.last_reload.load_full()
    }

    /// Tells whoever asks what came of a reload.
    pub fn report(&self, reload: Reload) {
        self.last_reload.store(Some(Arc::new(reload)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(policies: &[(&str, usize)], previous: Option<&Setup>) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "[plugins.p]\npath = \"p.wasm\"\n".to_owned();
        for (name, concurrency) in policies {
            text += &format!(
                "[[policy]]\nname = \"{name}\"\ntriggers = [\"*\"]\nclassifier = \"p\"\nlimits = {{ concurrency = {concurrency} }}\n"
            );
        }
        std::fs::write(folder.path().join("p.wasm"), "").unwrap();
        std::fs::write(folder.path().join("triage.toml"), text).unwrap();
        let config = Config::load(&folder.path().join("triage.toml"), &|_| None).unwrap();
        Setup::assemble(config, Registry::default(), previous).unwrap()
    }

    #[test]
    fn places_that_runs_hold_count_after_a_change_unless_their_number_changed() {
        let before = setup(&[("same", 2), ("more", 2), ("gone", 2)], None);
        let held = ["same", "more"].map(|it| before.places(it).unwrap().try_acquire_owned());
        assert!(held.iter().all(Result::is_ok));
        let after = setup(&[("same", 2), ("more", 5), ("new", 3)], Some(&before));
        let free = |name| after.places(name).map(|it| it.available_permits());
        assert_eq!(
            ["same", "more", "new", "gone"].map(free),
            [Some(1), Some(5), Some(3), None]
        );
    }

    #[test]
    fn who_took_a_setup_keeps_it_when_another_is_put_in_force() {
        let live = Live::new(setup(&[("a", 1)], None), "one".to_owned(), 10);
        let taken = live.current();
        live.replace(setup(&[("b", 1)], Some(&taken)), "two".to_owned(), 20);
        assert!(taken.config.policy("a").is_some() && taken.config.policy("b").is_none());
        assert!(live.current().config.policy("b").is_some());
        let version = live.version();
        assert_eq!(
            (version.digest.as_str(), version.revision, version.since),
            ("two", 2, 20)
        );
    }
}
