//! The settings in force: what the operator configured, loaded and ready, swapped as a whole.
//!
//! Made by `app` at the start and by `reload` on a change; `http`, `worker` and
//! `actions` take the current [`Setup`] once for each request, run and action, so
//! that each sees one configuration from its begin to its end. Nothing here reads a
//! file or decides whether a configuration may be applied.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::egress::{Egress, EgressError};
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

/// The one pointer to the setup in force.
pub struct Live(ArcSwap<Setup>);

impl Live {
    /// Begins with this setup.
    pub fn new(setup: Setup) -> Self {
        Self(ArcSwap::from_pointee(setup))
    }

    /// The setup in force. Whoever needs it twice keeps it: the next call may give another.
    pub fn current(&self) -> Arc<Setup> {
        self.0.load_full()
    }

    /// Puts another setup in force, for everything that begins from now on.
    pub fn replace(&self, setup: Setup) {
        self.0.store(Arc::new(setup));
    }
}
