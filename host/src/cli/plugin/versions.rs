//! Versions of plugins, beside a running server too: `triage plugin push`, `list`, `activate`, `rollback` and
//! `release`.
//!
//! What is changed here is in the database and beside it; a running server puts it in force within a second.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Context, wait_for};
use crate::config::Config;
use crate::deployments::{Activated, Deployments, Refused};
use crate::registry::PluginProblems;
use crate::sandbox;
use crate::store::Store;
use crate::store::plugins::VersionView;

/// Characters of a digest in a table: enough to tell versions apart.
const DIGEST_CHARS_SHOWN: usize = 12;

/// Adding versions of plugins, looking at them, and saying which of them runs.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum VersionCommand {
    /// Check and compile a component, and keep it as a version of a plugin.
    Push {
        /// The component.
        file: PathBuf,
        /// The plugin's name, as the configuration has it.
        #[arg(long)]
        name: String,
        /// Activate it as well.
        #[arg(long)]
        activate: bool,
    },
    /// Every version that was pushed or active, with its strikes and quarantines.
    List,
    /// Let a version run in the place of the one in the plugin's file, until that file changes.
    Activate {
        /// The plugin's name.
        name: String,
        /// The first digits of its digest, 6 or more; or `file`, for the one in the plugin's file.
        version: String,
    },
    /// Let the version run that was active before the present one.
    Rollback {
        /// The plugin's name.
        name: String,
    },
    /// Let the quarantined versions of a plugin run again.
    Release {
        /// The plugin's name.
        name: String,
        /// Only for this tenant.
        #[arg(long)]
        tenant: Option<String>,
    },
}

pub(in crate::cli) fn run(
    command: VersionCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        VersionCommand::Push {
            file,
            name,
            activate,
        } => push(&file, &name, activate, context, output),
        VersionCommand::List => list(context, output),
        VersionCommand::Activate { name, version } => {
            let (config, deployments) = deployments(context)?;
            let activated = wait_for(deployments.activate(&config, &name, &version))??;
            show_activated(&activated, output)
        }
        VersionCommand::Rollback { name } => {
            let (config, deployments) = deployments(context)?;
            let activated = wait_for(deployments.roll_back(&config, &name))??;
            show_activated(&activated, output)
        }
        VersionCommand::Release { name, tenant } => release(&name, tenant, context, output),
    }
}

fn push(
    file: &Path,
    name: &str,
    activate: bool,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let bytes = sandbox::read_plugin(file).with_context(|| file.display().to_string())?;
    let (config, deployments) = deployments(context)?;
    let now = context.clock.now();
    let pushed = wait_for(deployments.push(&config, name, bytes, now))??;
    if activate {
        let activated = wait_for(deployments.activate(&config, name, &pushed.digest))??;
        return show_activated(&activated, output);
    }
    if output.is_json() {
        return output.json(&pushed);
    }
    let digest = &pushed.digest;
    output.field("version", Some(digest.clone()))?;
    let short = short(digest);
    let next = format!("`triage plugin activate {name} {short}` lets it run");
    output.field("", Some(next))
}

fn show_activated(activated: &Activated, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(activated);
    }
    let version = match &activated.digest {
        Some(digest) => format!("version {}", short(digest)),
        None => "the version in its file".to_owned(),
    };
    output.line(&format!(
        "{}: {version} is activated; a running server runs it within a second",
        activated.plugin
    ))
}

/// What it takes to change versions, beside a server that may be running.
fn deployments(context: &Context<'_>) -> Result<(Config, Deployments), Failure> {
    let config = context.server_config()?;
    let store = Store::open_beside(&config.database).map_err(anyhow::Error::new)?;
    let key = wait_for(store.artefact_key())??;
    let deployments = Deployments::new(&config, store, &key).map_err(anyhow::Error::new)?;
    Ok((config, deployments))
}

fn list(context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let store = context.store_to_read()?;
    let versions = wait_for(store.plugin_versions(None))??.versions;
    if output.is_json() {
        return output.json(&json!({ "items": versions }));
    }
    let rows = versions
        .iter()
        .map(|it| {
            let strikes: u32 = it.strikes.iter().map(|it| it.events).sum();
            let activated = it.activated_at.map(|at| output.ago(at.0));
            [
                it.plugin.clone(),
                short(&it.digest),
                activated.unwrap_or_else(|| "-".to_owned()),
                strikes.to_string(),
                state(it),
            ]
        })
        .collect();
    output.table(["PLUGIN", "VERSION", "ACTIVATED", "STRIKES", "STATE"], rows)
}

fn release(
    name: &str,
    tenant: Option<String>,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let config = context.server_config()?;
    let store = Store::open_beside(&config.database).map_err(anyhow::Error::new)?;
    let versions = wait_for(store.plugin_versions(None))??.versions;
    if versions.iter().all(|it| it.plugin != name) {
        return Err(Failure::NotFound(format!(
            "no plugin {name} was ever active"
        )));
    }
    let ended = wait_for(store.release_plugin(tenant, name.to_owned()))??;
    match output.is_json() {
        true => output.json(&json!({ "plugin": name, "quarantines_ended": ended })),
        false => output.line(&format!("{name}: {ended} quarantines ended")),
    }
}

fn state(version: &VersionView) -> String {
    let quarantines = version.quarantines.iter().map(|it| {
        let instead = match &it.instead {
            Some(digest) => format!("{} runs", short(digest)),
            None => "nothing runs".to_owned(),
        };
        format!(
            "quarantined for {}, {instead} in its place: {}",
            it.tenant, it.reason
        )
    });
    let quarantines: Vec<String> = quarantines.collect();
    if !quarantines.is_empty() {
        return quarantines.join("; ");
    }
    match (version.retired_at, version.is_active(), version.is_chosen) {
        (_, true, false) => "active".to_owned(),
        (_, true, true) => "active in the place of the file's".to_owned(),
        (_, false, true) => "activated, not yet in force".to_owned(),
        (Some(at), false, false) => format!("retired at {at}"),
        (None, false, false) => "pushed".to_owned(),
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGEST_CHARS_SHOWN).collect()
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoPlugin(_) | Refused::NoVersion(..) => Self::NotFound(refused.to_string()),
            Refused::NotAVersion(_) | Refused::Ambiguous(..) => Self::Usage(refused.to_string()),
            Refused::Invalid { .. } | Refused::Unfit(..) => {
                Self::Plugins(PluginProblems(vec![refused.to_string()]))
            }
            Refused::NothingBefore(_)
            | Refused::NotKept(..)
            | Refused::NotNow(..)
            | Refused::Shelf(..)
            | Refused::Store(_)
            | Refused::CutOff(_) => Self::Other(refused.into()),
        }
    }
}
