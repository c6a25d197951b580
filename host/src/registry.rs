//! Which version of a plugin runs for a policy.
//!
//! Called at the start and by `worker` for each run. It loads every plugin that a
//! policy names and checks that it can do what the policy asks of it; it does not
//! evaluate anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::sandbox::{Plugin, Sandbox};

/// The plugins of one policy.
#[derive(Clone)]
pub struct Deployed {
    /// Classifies, if the policy has a classifier.
    pub classifier: Option<Arc<Plugin>>,
    /// Decides what should happen, if the policy has a triager.
    pub triager: Option<Arc<Plugin>>,
}

/// The loaded plugins.
#[derive(Clone, Default)]
pub struct Registry {
    // By name, those of no policy included.
    plugins: BTreeMap<String, Arc<Plugin>>,
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
        let mut deployed = HashMap::new();
        for policy in &config.policies {
            let classifier = policy
                .classifier
                .as_deref()
                .and_then(|it| plugins.get(it))
                .cloned();
            let triager = policy
                .triager
                .as_deref()
                .and_then(|it| plugins.get(it))
                .cloned();
            let roles = [
                (
                    "classifier",
                    &policy.classifier,
                    classifier.as_ref().is_some_and(|it| !it.can_classify()),
                ),
                (
                    "triager",
                    &policy.triager,
                    triager.as_ref().is_some_and(|it| !it.can_triage()),
                ),
            ];
            for (role, plugin, lacks_export) in roles {
                if lacks_export {
                    problems.push(format!(
                        "policy.{}.{role}: plugin `{}` does not export triage:policy/{role}@0.1.0",
                        policy.name,
                        plugin.as_deref().unwrap_or_default(),
                    ));
                }
            }
            deployed.insert(
                policy.name.clone(),
                Deployed {
                    classifier,
                    triager,
                },
            );
        }
        if problems.is_empty() {
            Ok(Self { plugins, deployed })
        } else {
            Err(PluginProblems(problems))
        }
    }

    /// The plugins of a policy, if it is configured.
    pub fn deployed(&self, policy: &str) -> Option<&Deployed> {
        self.deployed.get(policy)
    }

    /// The version of every plugin: name and digest.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plugins
            .iter()
            .map(|(name, plugin)| (name.as_str(), plugin.digest.as_str()))
    }
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
