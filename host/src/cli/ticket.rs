//! `triage ticket`: the built-in desk, read beside a running server.

use super::event::PageArguments;
use super::failure::Failure;
use super::output::{Output, clean_lines, more};
use super::{Context, wait_for};
use crate::model::id::TicketId;
use crate::store::tickets::TicketView;
use crate::store::views::Page;

/// Lines of a ticket's body that are shown.
const BODY_LINES_MAX: usize = 500;

/// Looking at tickets.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TicketCommand {
    /// Tickets, newest first.
    List(PageArguments),
    /// One ticket.
    Show {
        /// As tkt_….
        id: TicketId,
    },
}

pub(super) fn run(
    command: TicketCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        TicketCommand::List(arguments) => list(arguments, context, output),
        TicketCommand::Show { id } => show(id, context, output),
    }
}

fn list(
    arguments: PageArguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let page = arguments.request()?;
    let store = context.store_to_read()?;
    let page: Page<TicketView> = wait_for(store.list_tickets(arguments.tenant, page))??;
    if output.is_json() {
        return output.json(&page);
    }
    let row = |ticket: &TicketView| {
        [
            ticket.ticket_id.to_string(),
            output.ago(ticket.opened_at.0),
            ticket.priority.clone(),
            ticket.category.clone(),
            ticket.assignee.clone().unwrap_or_else(|| "-".to_owned()),
            ticket.title.clone(),
        ]
    };
    let rows = page.items.iter().map(row).collect();
    output.table(
        [
            "TICKET", "OPENED", "PRIORITY", "CATEGORY", "ASSIGNEE", "TITLE",
        ],
        rows,
    )?;
    more(output, page.next_cursor.as_deref())
}

fn show(id: TicketId, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let store = context.store_to_read()?;
    let ticket = wait_for(store.ticket(None, id))??;
    let ticket = ticket.ok_or_else(|| Failure::NotFound(format!("no ticket {id}")))?;
    if output.is_json() {
        return output.json(&ticket);
    }
    output.field("ticket", Some(ticket.ticket_id.to_string()))?;
    output.field("title", Some(ticket.title))?;
    output.field("opened", Some(ticket.opened_at.to_string()))?;
    output.field("priority", Some(ticket.priority))?;
    output.field("category", Some(ticket.category))?;
    let labels = Some(ticket.labels.join(", ")).filter(|it| !it.is_empty());
    output.field("labels", labels)?;
    output.field("assignee", ticket.assignee)?;
    output.field("group", ticket.group_key)?;
    output.field("tenant", Some(ticket.tenant))?;
    output.field(
        "asked for by",
        Some(format!("{}, {}", ticket.policy, ticket.run_id)),
    )?;
    output.field("event", Some(ticket.event_id.to_string()))?;
    output.line("")?;
    clean_lines(&ticket.body, BODY_LINES_MAX)
        .iter()
        .try_for_each(|it| output.line(it))
}
