//! `triage plugin list` and `triage plugin release`: versions of plugins, beside a running server.

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Context, wait_for};
use crate::store::Store;
use crate::store::plugins::VersionView;

/// Characters of a digest in a table: enough to tell versions apart.
const DIGEST_CHARS_SHOWN: usize = 12;

/// Looking at versions of plugins, and letting one run again.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum VersionCommand {
    /// Every version that was active, with its strikes and quarantines.
    List,
    /// Let the quarantined versions of a plugin run again; a running server does so within a second.
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
        VersionCommand::List => list(context, output),
        VersionCommand::Release { name, tenant } => release(&name, tenant, context, output),
    }
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
            [
                it.plugin.clone(),
                short(&it.digest),
                output.ago(it.activated_at.0),
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
    match (quarantines.is_empty(), version.retired_at) {
        (false, _) => quarantines.join("; "),
        (true, None) => "active".to_owned(),
        (true, Some(at)) => format!("retired at {at}"),
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGEST_CHARS_SHOWN).collect()
}
