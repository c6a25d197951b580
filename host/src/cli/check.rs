//! `triage check`: whether the configuration and its plugins can be used.

use serde_json::json;

use super::Context;
use super::failure::Failure;
use super::output::Output;
use crate::registry::Registry;
use crate::sandbox::Sandbox;

pub(super) fn run(context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let config = context.config()?;
    let sandbox = Sandbox::new().map_err(anyhow::Error::new)?;
    Registry::load(&sandbox, &config, None)?;

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
