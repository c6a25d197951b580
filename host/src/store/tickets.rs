//! The built-in desk: where plans can put work for people without another system.
//!
//! A ticket is opened by `store::actions` in the transaction that keeps its receipt;
//! `http` lists and shows them.

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use super::views::{At, Page, PageRequest};
use super::{Store, StoreError, row};
use crate::model::action::ClaimedAction;
use crate::model::decision::{ActionContent, Priority};
use crate::model::id::{EventId, RunId, TicketId};
use crate::model::time::TimestampMs;

const INSERT: &str = "
INSERT INTO ticket (id, action_seq, tenant, title, body, labels, assignee, group_key, priority, category, opened_at)
VALUES (:id, :action_seq, :tenant, :title, :body, :labels, :assignee, :group_key, :priority, :category, :now)";

const NEWEST: &str = "SELECT seq FROM ticket WHERE seq < :before ORDER BY seq DESC LIMIT :limit";

const NEWEST_OF_TENANT: &str = "
SELECT seq FROM ticket WHERE tenant = :tenant AND seq < :before ORDER BY seq DESC LIMIT :limit";

const FIND: &str =
    "SELECT seq FROM ticket WHERE id = :id AND (:tenant IS NULL OR tenant = :tenant)";

const LOAD: &str = "
SELECT ticket.id, ticket.tenant, ticket.title, ticket.body, ticket.labels, ticket.assignee, ticket.group_key,
       ticket.priority, ticket.category, ticket.opened_at, action.destination, run.id AS run_id, run.policy,
       event.id AS event_id
  FROM ticket
  JOIN action ON action.seq = ticket.action_seq
  JOIN run    ON run.seq = action.run_seq
  JOIN event  ON event.seq = run.event_seq
 WHERE ticket.seq = :seq";

/// A ticket, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TicketView {
    /// Names it.
    pub ticket_id: TicketId,
    /// Owner.
    pub tenant: String,
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// How much it matters: `low`, `normal`, `high` or `critical`.
    pub priority: String,
    /// The classification's category.
    pub category: String,
    /// Short machine words.
    pub labels: Vec<String>,
    /// Who should take it.
    pub assignee: Option<String>,
    /// Tickets with one group belong together.
    pub group_key: Option<String>,
    /// When it was opened.
    pub opened_at: At,
    /// The desk's name in the configuration.
    pub destination: String,
    /// The policy that asked for it.
    pub policy: String,
    /// The run that asked for it.
    pub run_id: RunId,
    /// The event behind it.
    pub event_id: EventId,
}

impl Store {
    /// Tickets, newest first.
    pub async fn list_tickets(
        &self,
        tenant: Option<String>,
        page: PageRequest,
    ) -> Result<Page<TicketView>, StoreError> {
        self.read(move |db| {
            let load = |seq| load(db, seq).map(Some);
            match &tenant {
                None => page.walk(db, NEWEST, &[], load),
                Some(tenant) => page.walk(db, NEWEST_OF_TENANT, &[(":tenant", tenant)], load),
            }
        })
        .await
    }

    /// One ticket.
    pub async fn ticket(
        &self,
        tenant: Option<String>,
        id: TicketId,
    ) -> Result<Option<TicketView>, StoreError> {
        self.read(move |db| {
            let seq: Option<i64> = db
                .prepare_cached(FIND)?
                .query_row(
                    named_params! { ":id": id.to_bytes(), ":tenant": tenant },
                    |row| row.get("seq"),
                )
                .optional()?;
            seq.map(|seq| load(db, seq)).transpose()
        })
        .await
    }
}

/// Opens the ticket that an action asks for.
pub(super) fn open(
    tx: &Connection,
    action: &ClaimedAction,
    now: TimestampMs,
) -> Result<TicketId, StoreError> {
    let ActionContent::Ticket(ticket) = &action.content else {
        return Err(StoreError::Malformed("ticket action"));
    };
    // The desk has no word for what does not matter; a policy that asked for a ticket all the same gets one.
    let priority = action.classification.priority.max(Priority::Low);
    let id = TicketId::new(now);
    tx.prepare_cached(INSERT)?.execute(named_params! {
        ":id": id.to_bytes(),
        ":action_seq": action.seq,
        ":tenant": action.event.tenant,
        ":title": ticket.title,
        ":body": ticket.body,
        ":labels": row::to_json(&ticket.labels)?,
        ":assignee": ticket.assignee,
        ":group_key": ticket.group_key,
        ":priority": priority.as_str(),
        ":category": action.classification.category,
        ":now": now,
    })?;
    Ok(id)
}

fn load(db: &Connection, seq: i64) -> Result<TicketView, StoreError> {
    db.prepare_cached(LOAD)?
        .query_row(named_params! { ":seq": seq }, |row| Ok(view(row)))?
}

fn view(row: &Row<'_>) -> Result<TicketView, StoreError> {
    Ok(TicketView {
        ticket_id: row::id(row, "id")?,
        tenant: row.get("tenant")?,
        title: row.get("title")?,
        body: row.get("body")?,
        priority: row.get("priority")?,
        category: row.get("category")?,
        labels: row::json(&row.get::<_, String>("labels")?, "ticket labels")?,
        assignee: row.get("assignee")?,
        group_key: row.get("group_key")?,
        opened_at: At(row.get("opened_at")?),
        destination: row.get("destination")?,
        policy: row.get("policy")?,
        run_id: row::id(row, "run_id")?,
        event_id: row::id(row, "event_id")?,
    })
}
