//! `triage token`: who may ask the API, beside a running server too.
//!
//! Whoever may write the database's file may make a token; that is also the way back in
//! for somebody who lost theirs.

use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use super::{Context, wait_for};
use crate::model::id::TokenId;
use crate::store::Store;
use crate::store::access::{Role, TokenView};

/// Managing tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and show it, once.
    Create {
        /// What to call it in lists.
        name: String,
        /// What it may do: viewer, operator or admin.
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// The tenant whose data it may see; every tenant's where left out.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Every token, without its secret.
    List,
    /// End a token, and the browsers that were let in with it.
    Revoke {
        /// As tok_….
        id: TokenId,
    },
}

pub(super) fn run(
    command: TokenCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let database = context.server_config()?.database;
    let writing = || Store::open_beside(&database).map_err(anyhow::Error::new);
    match command {
        TokenCommand::Create { name, role, tenant } => {
            let now = context.clock.now();
            let (id, secret) = wait_for(writing()?.create_token(name, tenant, role, now))??;
            match output.is_json() {
                true => output.json(&json!({ "token_id": id, "token": secret.expose() })),
                false => output.line(&format!("{id}  {}\nIt is shown only now.", secret.expose())),
            }
        }
        TokenCommand::List => {
            let tokens = wait_for(context.store_to_read()?.list_tokens(None))??;
            list(&tokens, output)
        }
        TokenCommand::Revoke { id } => match wait_for(writing()?.revoke_token(id))?? {
            true if output.is_json() => output.json(&json!({ "token_id": id, "revoked": true })),
            true => output.line(&format!("{id} is revoked")),
            false => Err(Failure::from(anyhow::anyhow!("there is no token {id}"))),
        },
    }
}

fn list(tokens: &[TokenView], output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "items": tokens }));
    }
    let row = |token: &TokenView| {
        [
            token.token_id.to_string(),
            output.ago(token.created_at.0),
            token.role.to_string(),
            token.tenant.clone().unwrap_or_else(|| "every".to_owned()),
            token.name.clone(),
        ]
    };
    let rows = tokens.iter().map(row).collect();
    output.table(["TOKEN", "CREATED", "ROLE", "TENANT", "NAME"], rows)
}
