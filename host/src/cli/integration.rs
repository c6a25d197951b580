//! `triage integration`: senders and their signing secrets, beside a running server too.
//!
//! What is changed here is in the database; a running server notices it within a second.
//! What the configuration's file declares is shown, and changed only there.

use std::io::Read;

use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use super::{Context, wait_for};
use crate::config::{self, Config};
use crate::integrations::{
    Added, IntegrationView, Integrations, LimitChanges, NewIntegration, Rotation, SECRET_BYTES_MAX,
    SecretState, SecretView,
};
use crate::model::id::SecretId;
use crate::model::secret::Secret;
use crate::store::Store;

/// Managing integrations.
#[derive(Debug, clap::Subcommand)]
pub(super) enum IntegrationCommand {
    /// Add a sender; shows its URL and, once, its signing secret.
    Add {
        /// The kind of sender, as github.
        source: String,
        /// The last part of its URL. Default: one that is made up.
        #[arg(long)]
        id: Option<String>,
        /// The owner. Default: default.
        #[arg(long)]
        tenant: Option<String>,
        /// Where the secret is that the sender gave you: env:NAME, file:PATH, or - for stdin.
        /// Default: a new one, where the sender takes one from you.
        #[arg(long, value_name = "PLACE")]
        secret_from: Option<String>,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Every sender, of the configuration's file and of the database.
    List {
        /// Only of this tenant.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// One sender with its secrets and when each was last used.
    Show {
        /// The last part of its URL.
        id: String,
    },
    /// Add another signing secret; the others stay live until they are retired.
    RotateSecret {
        /// The integration's id.
        id: String,
        /// End the other secrets of the database after this time, as 24h.
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        /// Where the secret is that the sender gave you: env:NAME, file:PATH, or - for stdin.
        /// Default: a new one, where the sender takes one from you.
        #[arg(long, value_name = "PLACE")]
        secret_from: Option<String>,
    },
    /// End a signing secret now.
    RetireSecret {
        /// The integration's id.
        id: String,
        /// As sec_….
        secret_id: SecretId,
        /// Also where it is the last one, so that every delivery is refused.
        #[arg(long)]
        force: bool,
    },
    /// Remove a sender and its secrets; its events stay.
    Remove {
        /// The integration's id.
        id: String,
    },
}

/// What an integration may send, written as in the configuration's file.
#[derive(Debug, clap::Args)]
pub(super) struct LimitArguments {
    /// The largest body that is accepted, as 25MiB. Default: 1MiB.
    #[arg(long, value_name = "SIZE")]
    body_limit: Option<String>,
    /// The most that a gzip body may inflate to. Default: 8 times the body limit, at most 32MiB.
    #[arg(long, value_name = "SIZE")]
    inflated_limit: Option<String>,
    /// How many deliveries are taken, as 100/s or 600/m. Default: every one.
    #[arg(long, value_name = "RATE")]
    rate_limit: Option<String>,
    /// How many of them may come at once after a pause. Default: as many as the rate names.
    #[arg(long, value_name = "NUMBER")]
    burst: Option<i64>,
}

impl From<LimitArguments> for LimitChanges {
    fn from(given: LimitArguments) -> Self {
        Self {
            body_limit: given.body_limit.into(),
            inflated_limit: given.inflated_limit.into(),
            rate_limit: given.rate_limit.into(),
            burst: given.burst.into(),
        }
    }
}

pub(super) fn run(
    command: IntegrationCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let config = context.server_config()?;
    match command {
        IntegrationCommand::Add {
            source,
            id,
            tenant,
            secret_from,
            limits,
        } => {
            let new = NewIntegration {
                source,
                id,
                tenant,
                secret: secret_from.map(|it| secret(&it, context)).transpose()?,
                limits: limits.into(),
            };
            let store = beside(&config)?;
            let added = wait_for(integrations(&config, &store, context).add(new))??;
            show_added(&added, output)
        }
        IntegrationCommand::List { tenant } => {
            let store = context.store_to_read()?;
            let asked = Integrations {
                tenant,
                ..integrations(&config, &store, context)
            };
            list(&wait_for(asked.list())??, output)
        }
        IntegrationCommand::Show { id } => {
            let store = context.store_to_read()?;
            let asked = integrations(&config, &store, context);
            show(&wait_for(asked.show(&id))??, output)
        }
        IntegrationCommand::RotateSecret {
            id,
            overlap,
            secret_from,
        } => {
            let secret = secret_from.map(|it| secret(&it, context)).transpose()?;
            let rotation = Rotation { secret, overlap };
            let store = beside(&config)?;
            let asked = integrations(&config, &store, context);
            show_added(&wait_for(asked.rotate(&id, rotation))??, output)
        }
        IntegrationCommand::RetireSecret {
            id,
            secret_id,
            force,
        } => {
            let store = beside(&config)?;
            let asked = integrations(&config, &store, context);
            show(&wait_for(asked.retire(&id, secret_id, force))??, output)
        }
        IntegrationCommand::Remove { id } => {
            let store = beside(&config)?;
            wait_for(integrations(&config, &store, context).remove(&id))??;
            match output.is_json() {
                true => output.json(&json!({ "integration_id": id, "removed": true })),
                false => output.line(&format!("{id} is removed; its events are kept")),
            }
        }
    }
}

fn beside(config: &Config) -> Result<Store, Failure> {
    Ok(Store::open_beside(&config.database).map_err(anyhow::Error::new)?)
}

fn integrations<'a>(
    config: &'a Config,
    store: &'a Store,
    context: &Context<'_>,
) -> Integrations<'a> {
    Integrations {
        config,
        store,
        tenant: None,
        now: context.clock.now(),
    }
}

/// A secret that the sender made. It is never an argument: those are seen by every user of the machine.
fn secret(place: &str, context: &Context<'_>) -> Result<Secret, Failure> {
    let wrong = |error: String| Failure::Usage(format!("--secret-from: {error}"));
    if place != "-" {
        return config::read_secret(place, &context.config_path, context.env).map_err(wrong);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(SECRET_BYTES_MAX as u64 + 2)
        .read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.is_empty() {
        true => Err(wrong("there is nothing on stdin".to_owned())),
        false => Ok(Secret::new(text)),
    }
}

fn show_added(added: &Added, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "integration": added.integration,
            "secret_id": added.secret_id,
            "secret": added.secret.expose(),
        }));
    }
    output.field(
        "integration",
        Some(added.integration.integration_id.clone()),
    )?;
    output.field("url", Some(added.integration.url.clone()))?;
    output.field("secret", Some(added.secret.expose().to_owned()))?;
    output.field("", Some(format!("{}, shown only now", added.secret_id)))?;
    let ends = |it: &&SecretView| it.state == SecretState::Live && it.secret_id != added.secret_id;
    for other in added.integration.secrets.iter().filter(ends) {
        let end = match (other.origin.as_str(), other.live_until) {
            (_, Some(at)) => format!("live until {at}"),
            ("file", None) => "live as long as the configuration's file names it".to_owned(),
            (_, None) => "live until it is retired".to_owned(),
        };
        output.field("beside it", Some(format!("{}, {end}", other.secret_id)))?;
    }
    Ok(())
}

fn list(integrations: &[IntegrationView], output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "items": integrations }));
    }
    let row = |it: &IntegrationView| {
        let live = it.secrets.iter().filter(|it| it.state == SecretState::Live);
        let used = it.secrets.iter().filter_map(|it| it.last_used_at).max();
        [
            it.integration_id.clone(),
            it.source.clone(),
            it.tenant.clone(),
            it.origin.as_str().to_owned(),
            live.count().to_string(),
            used.map_or_else(|| "-".to_owned(), |at| output.ago(at.0)),
            it.problem.clone().unwrap_or_else(|| it.url.clone()),
        ]
    };
    let rows = integrations.iter().map(row).collect();
    output.table(
        [
            "INTEGRATION",
            "SOURCE",
            "TENANT",
            "IN",
            "SECRETS",
            "USED",
            "URL",
        ],
        rows,
    )
}

fn show(integration: &IntegrationView, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(integration);
    }
    output.field("integration", Some(integration.integration_id.clone()))?;
    output.field("source", Some(integration.source.clone()))?;
    output.field("tenant", Some(integration.tenant.clone()))?;
    output.field("in", Some(integration.origin.as_str().to_owned()))?;
    output.field("url", Some(integration.url.clone()))?;
    let body_limit = format!("{} bytes", integration.body_bytes_max);
    output.field("body limit", Some(body_limit))?;
    let inflated_limit = format!("{} bytes", integration.inflated_bytes_max);
    output.field("inflated limit", Some(inflated_limit))?;
    let burst = integration.burst.unwrap_or_default();
    let rate_limit = integration.rate_limit.as_ref();
    let rate_limit = rate_limit.map(|it| format!("{it}, at once {burst}"));
    output.field("rate limit", rate_limit)?;
    output.field("created", integration.created_at.map(|it| it.to_string()))?;
    output.field("problem", integration.problem.clone())?;
    output.line("")?;
    let ago = |at: Option<crate::store::views::At>| {
        at.map_or_else(|| "-".to_owned(), |it| output.ago(it.0))
    };
    let row = |it: &SecretView| {
        let state = match (it.live_until, &it.problem) {
            (_, Some(problem)) => format!("{}: {problem}", it.state.as_str()),
            (Some(at), None) => format!("{} until {at}", it.state.as_str()),
            (None, None) => it.state.as_str().to_owned(),
        };
        [
            it.secret_id.to_string(),
            it.origin.as_str().to_owned(),
            ago(it.created_at),
            ago(it.last_used_at),
            state,
        ]
    };
    let rows = integration.secrets.iter().map(row).collect();
    output.table(["SECRET", "IN", "CREATED", "USED", "STATE"], rows)
}
