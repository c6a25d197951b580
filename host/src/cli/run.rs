//! `triage run`: what policies did with events, read beside a running server.

use super::event::{PageArguments, list_runs};
use super::failure::Failure;
use super::output::Output;
use super::{Context, story, wait_for};
use crate::model::id::{EventId, RunId};
use crate::store::views::{RunFilter, RunState};

/// Looking at runs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum RunCommand {
    /// Runs, newest first.
    List(ListArguments),
    /// Everything that is recorded about one run, in order.
    Show {
        /// As run_….
        id: RunId,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    page: PageArguments,
    /// Of this policy.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// In this state: queued, running, completed or dead.
    #[arg(long)]
    state: Option<RunState>,
    /// Of this event.
    #[arg(long, value_name = "ID")]
    event: Option<EventId>,
}

pub(super) fn run(
    command: RunCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        RunCommand::List(arguments) => list(arguments, context, output),
        RunCommand::Show { id } => show(id, context, output),
    }
}

fn list(
    arguments: ListArguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let page = arguments.page.request()?;
    let filter = RunFilter {
        policy: arguments.policy,
        state: arguments.state,
        event_id: arguments.event,
    };
    let store = context.store_to_read()?;
    let page = wait_for(store.list_runs(arguments.page.tenant, filter, page))??;
    if output.is_json() {
        return output.json(&page);
    }
    list_runs(&page, output)
}

fn show(id: RunId, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let store = context.store_to_read()?;
    let trace = wait_for(store.run_trace(None, id))??;
    let trace = trace.ok_or_else(|| Failure::NotFound(format!("no run {id}")))?;
    if output.is_json() {
        return output.json(&trace);
    }
    story::tell(&trace, output)
}
