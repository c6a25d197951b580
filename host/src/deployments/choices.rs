//! Puts versions that were activated in the place of those in the plugins' files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Deployments, Problem};
use crate::live::Setup;
use crate::registry::PluginProblems;
use crate::sandbox::Plugin;
use crate::store::plugins::{Choice, SettledChoices, Versions};

/// What a choice means beside the version that the plugin's file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is new, and holds from now on.
    Begins,
    Holds,
    /// The file has it, or has another version than when it was made.
    Ends,
}

impl Deployments {
    /// Gives every policy the versions that were activated, or those of the files.
    pub(super) async fn join_choices(
        &self,
        setup: &mut Setup,
        versions: &Versions,
    ) -> Result<(), Problem> {
        let known = setup.registry.known();
        let seconds = setup.config.compile_seconds;
        let mut chosen: BTreeMap<String, Arc<Plugin>> = BTreeMap::new();
        let mut settled = SettledChoices::default();
        for choice in &versions.choices {
            let (plugin, digest) = (&choice.version.plugin, &choice.version.digest);
            // A plugin that is not configured now may be again.
            let Some(file) = setup.registry.in_file(plugin) else {
                continue;
            };
            match standing(choice, &file.digest) {
                Standing::Ends => {
                    settled.ended.push(choice.clone());
                    continue;
                }
                Standing::Begins => {
                    let begun = (choice.version.clone(), file.digest.clone());
                    settled.begun.push(begun);
                }
                Standing::Holds => (),
            }
            let loaded = self.find(digest, &known, seconds).await.map_err(|error| {
                PluginProblems(vec![format!(
                    "plugins.{plugin}: version {digest} was activated and cannot be loaded: {error}; push it again, or \
                     `triage plugin activate {plugin} file`"
                )])
            })?;
            chosen.insert(plugin.clone(), loaded);
        }
        setup.registry.choose(&setup.config, chosen)?;
        if settled != SettledChoices::default() {
            self.store.settle_choices(settled).await?;
        }
        Ok(())
    }
}

fn standing(choice: &Choice, in_file: &str) -> Standing {
    match choice.beside.as_deref() {
        _ if choice.version.digest == in_file => Standing::Ends,
        None => Standing::Begins,
        Some(beside) if beside == in_file => Standing::Holds,
        Some(_) => Standing::Ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::strike::PluginVersion;

    #[test]
    fn a_choice_holds_until_the_file_has_another_version() {
        for (beside, in_file, expected) in [
            (None, "old", Standing::Begins),
            (Some("old"), "old", Standing::Holds),
            (Some("old"), "newer", Standing::Ends),
            (None, "chosen", Standing::Ends),
            (Some("old"), "chosen", Standing::Ends),
        ] {
            let choice = Choice {
                version: PluginVersion {
                    plugin: "p".to_owned(),
                    digest: "chosen".to_owned(),
                },
                beside: beside.map(str::to_owned),
            };
            assert_eq!(standing(&choice, in_file), expected, "{beside:?} {in_file}");
        }
    }
}
