//! `triage rejection`: deliveries that were refused, read beside a running server.

use serde_json::json;

use super::event::PageArguments;
use super::failure::Failure;
use super::output::{Output, more};
use super::{Context, wait_for};
use crate::store::rejections::{RejectionCount, RejectionView};
use crate::store::views::Page;

/// Looking at refused deliveries.
#[derive(Debug, clap::Subcommand)]
pub(super) enum RejectionCommand {
    /// The newest ones, newest first.
    List(PageArguments),
    /// How many there were, by integration and cause.
    Counts {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
    },
}

pub(super) fn run(
    command: RejectionCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        RejectionCommand::List(arguments) => list(arguments, context, output),
        RejectionCommand::Counts { tenant } => counts(tenant, context, output),
    }
}

fn list(
    arguments: PageArguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let page = arguments.request()?;
    let store = context.store_to_read()?;
    let page: Page<RejectionView> = wait_for(store.list_rejections(arguments.tenant, page))??;
    if output.is_json() {
        return output.json(&page);
    }
    let row = |rejection: &RejectionView| {
        [
            output.ago(rejection.at.0),
            rejection.integration_id.clone(),
            rejection.cause.clone(),
            rejection.header.clone().unwrap_or_else(|| "-".to_owned()),
            rejection.remote.clone(),
            rejection.body_bytes.to_string(),
        ]
    };
    let rows = page.items.iter().map(row).collect();
    output.table(
        [
            "REFUSED",
            "INTEGRATION",
            "CAUSE",
            "HEADER",
            "REMOTE",
            "BYTES",
        ],
        rows,
    )?;
    more(output, page.next_cursor.as_deref())
}

fn counts(
    tenant: Option<String>,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let counts = wait_for(context.store_to_read()?.count_rejections(tenant))??;
    if output.is_json() {
        return output.json(&json!({ "items": counts }));
    }
    let row = |count: &RejectionCount| {
        [
            count.key.tenant.clone(),
            count.key.integration_id.clone(),
            count.key.cause.clone(),
            count.count.to_string(),
        ]
    };
    let rows = counts.iter().map(row).collect();
    output.table(["TENANT", "INTEGRATION", "CAUSE", "COUNT"], rows)
}
