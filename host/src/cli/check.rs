//! `triage check`: whether the configuration and its plugins can be used.

use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use super::{Context, wait_for};
use crate::config::Config;
use crate::integrations::{self, IntegrationView, Integrations};
use crate::registry::Registry;
use crate::sandbox::{Compiler, Sandbox};
use crate::store::Store;

pub(super) fn run(context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut config = context.config()?;
    // Nothing is kept: the cache is the server's.
    let sandbox = Sandbox::new(Compiler::own(), None).map_err(anyhow::Error::new)?;
    Registry::load(&sandbox, &config, None)?;
    check_store(&mut config, context)?;

    let counts = [
        ("integration", "integrations", config.integrations.len()),
        ("plugin", "plugins", config.plugins.len()),
        ("destination", "destinations", config.destinations.len()),
        ("policy", "policies", config.policies.len()),
    ];
    if output.is_json() {
        let counts: serde_json::Map<_, _> = counts
            .iter()
            .map(|(_, many, count)| ((*many).to_owned(), json!(count)))
            .collect();
        return output.json(&json!({ "ok": true, "counts": counts }));
    }
    let counts = counts.map(|(one, many, count)| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    });
    output.line(&format!("ok: {}", counts.join(", ")))
}

/// Whether the secrets in the database can be used, if there is one already.
fn check_store(config: &mut Config, context: &Context<'_>) -> Result<(), Failure> {
    if !config.database.exists() {
        return Ok(());
    }
    let store = Store::open_to_read(&config.database).map_err(anyhow::Error::new)?;
    let now = context.clock.now();
    wait_for(integrations::join(config, &store, now))??;
    let asked = Integrations {
        config,
        store: &store,
        tenant: None,
        now,
    };
    let problems: Vec<String> = wait_for(asked.list())??.iter().flat_map(problems).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(anyhow::anyhow!(problems.join("; ")).into()),
    }
}

fn problems(integration: &IntegrationView) -> Vec<String> {
    let id = &integration.integration_id;
    let of_secrets = integration.secrets.iter().filter_map(|it| {
        let problem = it.problem.as_ref()?;
        Some(format!("integration {id}: {}: {problem}", it.secret_id))
    });
    let own = integration.problem.iter();
    own.map(|it| format!("integration {id}: {it}"))
        .chain(of_secrets)
        .collect()
}
