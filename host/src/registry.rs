//! Which version of a plugin runs for a policy.
//!
//! Called at the start and by `worker` for each run. It loads every plugin that a
//! policy names and checks that it can do what the policy asks of it; it does not
//! evaluate anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::model::policy::Policy;
use crate::sandbox::{Plugin, Sandbox};

/// The plugins of one policy.
#[derive(Clone)]
pub struct Deployed {
    /// Classifies, if the policy has a classifier.
    pub classifier: Option<Arc<Plugin>>,
    /// Decides what should happen, if the policy has a triager.
    pub triager: Option<Arc<Plugin>>,
    /// A version that it needs and that is not run any more; then nothing of it is.
    pub quarantined: Option<Quarantined>,
}

/// A version that is not run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The plugin's name.
    pub plugin: String,
    /// The version.
    pub digest: String,
    /// Why, for a person.
    pub reason: String,
}

/// The loaded plugins.
#[derive(Clone, Default)]
pub struct Registry {
    // What the files have, by name, those of no policy included.
    plugins: BTreeMap<String, Arc<Plugin>>,
    // By name: what was activated in their place.
    chosen: BTreeMap<String, Arc<Plugin>>,
    // By policy.
    deployed: HashMap<String, Deployed>,
}

/// Everything that is wrong with the configured plugins.
#[derive(Debug)]
pub struct PluginProblems(pub Vec<String>);

impl fmt::Display for PluginProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for PluginProblems {}

impl Registry {
    /// Loads the plugins that the configuration names. Blocks while they compile.
    ///
    /// A plugin of which `previous` has the same bytes is not compiled again.
    ///
    /// # Errors
    /// All problems at once, each with the setting's name.
    pub fn load(
        sandbox: &Sandbox,
        config: &Config,
        previous: Option<&Self>,
    ) -> Result<Self, PluginProblems> {
        let mut problems = Vec::new();
        let plugins = load_plugins(sandbox, config, previous, &mut problems);
        problems.extend(misfits(config, |name| plugins.get(name).map(Arc::as_ref)));
        if problems.is_empty() {
            Ok(Self {
                deployed: deploy(config, |name| plugins.get(name)),
                plugins,
                // They need not be loaded again where they still hold.
                chosen: previous.map(|it| it.chosen.clone()).unwrap_or_default(),
            })
        } else {
            Err(PluginProblems(problems))
        }
    }

    /// The plugins of a policy, if it is configured.
    pub fn deployed(&self, policy: &str) -> Option<&Deployed> {
        self.deployed.get(policy)
    }

    /// The version of a plugin: the one in its file, or what was activated in its place.
    pub fn plugin(&self, name: &str) -> Option<&Arc<Plugin>> {
        let in_file = self.plugins.get(name)?;
        Some(self.chosen.get(name).unwrap_or(in_file))
    }

    /// The version in a plugin's file.
    pub fn in_file(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(name)
    }

    /// Every version that is loaded.
    pub fn known(&self) -> Vec<Arc<Plugin>> {
        let deployed = self.deployed.values();
        let deployed = deployed
            .flat_map(|it| [&it.classifier, &it.triager])
            .flatten();
        let own = self.plugins.values().chain(self.chosen.values());
        own.chain(deployed).cloned().collect()
    }

    /// Puts these versions, and no others, in the place of those in the files, and gives every policy its plugins.
    ///
    /// # Errors
    /// Where one of them cannot do what a policy asks of it; then nothing changed.
    pub fn choose(
        &mut self,
        config: &Config,
        chosen: BTreeMap<String, Arc<Plugin>>,
    ) -> Result<(), PluginProblems> {
        let problems = misfits(config, |name| chosen.get(name).map(Arc::as_ref));
        if !problems.is_empty() {
            let end = "; that version was activated: `triage plugin activate NAME file` ends that";
            let problems = problems.into_iter().map(|it| it + end);
            return Err(PluginProblems(problems.collect()));
        }
        self.chosen = chosen;
        self.deployed = deploy(config, |name| self.plugin(name));
        Ok(())
    }

    /// Takes a version out of use for a tenant's policies, and puts another one in its place where that can
    /// do what each of them asks. Says whether it can for all of them.
    pub fn stand_in(
        &mut self,
        config: &Config,
        tenant: &str,
        quarantined: &Quarantined,
        instead: Option<&Arc<Plugin>>,
    ) -> bool {
        let mut fits_all = true;
        for policy in config.policies.iter().filter(|it| it.tenant == tenant) {
            let is_used = |role: &Option<String>| role.as_ref() == Some(&quarantined.plugin);
            let (classifies, triages) = (is_used(&policy.classifier), is_used(&policy.triager));
            let Some(deployed) = self.deployed.get_mut(&policy.name) else {
                continue;
            };
            let fitting = instead
                .filter(|it| (!classifies || it.can_classify()) && (!triages || it.can_triage()));
            match fitting {
                _ if !classifies && !triages => (),
                Some(instead) => {
                    if classifies {
                        deployed.classifier = Some(instead.clone());
                    }
                    if triages {
                        deployed.triager = Some(instead.clone());
                    }
                }
                None => {
                    fits_all = false;
                    deployed.quarantined = Some(quarantined.clone());
                }
            }
        }
        fits_all
    }

    /// The version of every plugin: name and digest.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.plugins.keys();
        names.filter_map(|it| Some((it.as_str(), self.plugin(it)?.digest.as_str())))
    }
}

/// Whether a plugin can take a role.
type Can = fn(&Plugin) -> bool;

/// What policies ask of these plugins that they cannot do, a line each. Plugins that are not found are not asked.
pub fn misfits<'a>(config: &Config, find: impl Fn(&str) -> Option<&'a Plugin>) -> Vec<String> {
    let mut problems = Vec::new();
    for policy in &config.policies {
        let roles: [(&str, &Option<String>, Can); 2] = [
            ("classifier", &policy.classifier, Plugin::can_classify),
            ("triager", &policy.triager, Plugin::can_triage),
        ];
        for (role, name, can) in roles {
            let Some(name) = name else { continue };
            if find(name).is_some_and(|it| !can(it)) {
                problems.push(format!(
                    "policy.{}.{role}: plugin `{name}` does not export triage:policy/{role}@0.1.0",
                    policy.name,
                ));
            }
        }
    }
    problems
}

fn deploy<'a>(
    config: &Config,
    find: impl Fn(&str) -> Option<&'a Arc<Plugin>>,
) -> HashMap<String, Deployed> {
    let find = |name: &Option<String>| name.as_deref().and_then(&find).cloned();
    let deployed = |policy: &Policy| Deployed {
        classifier: find(&policy.classifier),
        triager: find(&policy.triager),
        quarantined: None,
    };
    let policies = config.policies.iter();
    policies.map(|it| (it.name.clone(), deployed(it))).collect()
}

fn load_plugins(
    sandbox: &Sandbox,
    config: &Config,
    previous: Option<&Registry>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, Arc<Plugin>> {
    let known: Vec<Arc<Plugin>> = previous
        .map(|it| it.plugins.values().cloned().collect())
        .unwrap_or_default();
    let mut plugins = BTreeMap::new();
    for (name, path) in &config.plugins {
        match sandbox.load_file(path, config.compile_seconds, &known) {
            Ok(plugin) => {
                if !known.iter().any(|it| Arc::ptr_eq(it, &plugin)) {
                    tracing::info!(plugin = name, digest = plugin.digest, "plugin loaded");
                }
                plugins.insert(name.clone(), plugin);
            }
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(|it| format!(": {it}"))
                    .unwrap_or_default();
                problems.push(format!(
                    "plugins.{name}: {}: {error}{cause}",
                    path.display()
                ));
            }
        }
    }
    plugins
}
