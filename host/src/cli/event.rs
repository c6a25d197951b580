//! `triage event`: events and what became of them, read beside a running server.

use super::failure::Failure;
use super::output::{Output, more};
use super::{Context, wait_for};
use crate::model::id::EventId;
use crate::model::time::{TimestampMs, parse_rfc3339};
use crate::model::trigger::Trigger;
use crate::store::views::{
    DecisionBrief, EventFilter, EventState, EventView, Page, PageRequest, RunFilter, RunView,
};

/// Looking at events.
#[derive(Debug, clap::Subcommand)]
pub(super) enum EventCommand {
    /// Events, newest first.
    List(ListArguments),
    /// One event with its runs.
    Show {
        /// As evt_….
        id: EventId,
    },
    /// The exact bytes that were received.
    Payload {
        /// As evt_….
        id: EventId,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    page: PageArguments,
    /// Received through this integration.
    #[arg(long, value_name = "ID")]
    integration: Option<String>,
    /// Of this type, as `github.issues.*`.
    #[arg(long = "type", value_name = "PATTERN")]
    event_type: Option<Trigger>,
    /// In this state: pending, delivered, failed or replayed.
    #[arg(long)]
    state: Option<EventState>,
    /// Received since: a time, as 2026-01-31T12:00:00Z, or how long ago, as 30m, 24h or 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before: a time or how long ago.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With this idempotency key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// Which part of a list.
#[derive(Debug, clap::Args)]
pub(super) struct PageArguments {
    /// Of this tenant only.
    #[arg(long)]
    pub tenant: Option<String>,
    /// At most so many, up to 200.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Go on where the page before ended.
    #[arg(long)]
    cursor: Option<String>,
}

impl PageArguments {
    pub(super) fn request(&self) -> Result<PageRequest, Failure> {
        PageRequest::new(self.cursor.as_deref(), self.limit)
            .map_err(|error| Failure::Usage(format!("--{error}")))
    }
}

pub(super) fn run(
    command: EventCommand,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        EventCommand::List(arguments) => list(arguments, context, output),
        EventCommand::Show { id } => show(id, context, output),
        EventCommand::Payload { id } => payload(id, context, output),
    }
}

fn list(
    arguments: ListArguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let now = context.clock.now();
    let page = arguments.page.request()?;
    let filter = EventFilter {
        integration_id: arguments.integration,
        event_type: arguments.event_type,
        state: arguments.state,
        since: arguments
            .since
            .map(|it| time("--since", &it, now))
            .transpose()?,
        until: arguments
            .until
            .map(|it| time("--until", &it, now))
            .transpose()?,
        idempotency_key: arguments.key,
    };
    let store = context.store_to_read()?;
    let page = wait_for(store.list_events(arguments.page.tenant, filter, page))??;
    if output.is_json() {
        return output.json(&page);
    }
    list_events(&page, output)
}

fn list_events(page: &Page<EventView>, output: &mut Output<'_>) -> Result<(), Failure> {
    let row = |event: &EventView| {
        [
            event.event_id.to_string(),
            output.ago(event.received_at.0),
            event.event_type.clone(),
            event.integration_id.clone(),
            event.state.as_str().to_owned(),
            match (&event.decision, event.routed) {
                (Some(decision), _) => brief(decision),
                (None, true) => event.last_error.clone().unwrap_or_else(|| "-".to_owned()),
                (None, false) => "no policy wanted it".to_owned(),
            },
        ]
    };
    let rows = page.items.iter().map(row).collect();
    output.table(
        [
            "EVENT",
            "RECEIVED",
            "TYPE",
            "INTEGRATION",
            "STATE",
            "DECISION",
        ],
        rows,
    )?;
    more(output, page.next_cursor.as_deref())
}

fn brief(decision: &DecisionBrief) -> String {
    format!(
        "{} {}: {}",
        decision.priority.as_str(),
        decision.category,
        decision.summary
    )
}

fn show(id: EventId, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let store = context.store_to_read()?;
    let filter = RunFilter {
        event_id: Some(id),
        ..RunFilter::default()
    };
    let (event, runs) = wait_for(async {
        let event = store.event(None, id).await?;
        let runs = store
            .list_runs(None, filter, PageRequest::default())
            .await?;
        Ok::<_, Failure>((event, runs))
    })??;
    let event = event.ok_or_else(|| not_found(id))?;
    if output.is_json() {
        return output.json(&event);
    }
    output.field("event", Some(event.event_id.to_string()))?;
    output.field("type", Some(event.event_type))?;
    output.field("state", Some(event.state.as_str().to_owned()))?;
    output.field("tenant", Some(event.tenant))?;
    output.field(
        "integration",
        Some(format!("{} ({})", event.integration_id, event.source)),
    )?;
    output.field("idempotency key", Some(event.idempotency_key))?;
    output.field("received", Some(event.received_at.to_string()))?;
    output.field("occurred", event.occurred_at.map(|it| it.to_string()))?;
    output.field(
        "body",
        Some(format!(
            "{} bytes: triage event payload {id}",
            event.body_bytes
        )),
    )?;
    let repeats = event
        .last_duplicate_at
        .map(|at| format!("{}×, last {at}", event.duplicate_count));
    output.field("sent again", repeats)?;
    output.field("attempts", Some(event.attempt_count.to_string()))?;
    output.field(
        "last attempt",
        event.last_attempt_at.map(|it| it.to_string()),
    )?;
    output.field("last error", event.last_error)?;
    output.field("next retry", event.next_retry_at.map(|it| it.to_string()))?;
    output.field("decision", event.decision.as_ref().map(brief))?;
    if !event.routed {
        return output.field("runs", Some("none: no policy wanted it".to_owned()));
    }
    output.line("")?;
    list_runs(&runs, output)
}

/// Runs as rows of a table.
pub(super) fn list_runs(page: &Page<RunView>, output: &mut Output<'_>) -> Result<(), Failure> {
    let row = |run: &RunView| {
        let state = match &run.outcome {
            Some(outcome) => format!("{}, {outcome}", run.state.as_str()),
            None => run.state.as_str().to_owned(),
        };
        let why = run
            .summary
            .clone()
            .or_else(|| run.dead_reason.clone())
            .or_else(|| run.dropped.map(|it| it.reason().to_owned()))
            .or_else(|| run.category.clone());
        [
            run.run_id.to_string(),
            output.ago(run.created_at.0),
            run.policy.clone(),
            run.event_type.clone(),
            state,
            run.priority.map_or("-", |it| it.as_str()).to_owned(),
            why.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows = page.items.iter().map(row).collect();
    output.table(
        [
            "RUN", "QUEUED", "POLICY", "TYPE", "STATE", "PRIORITY", "SUMMARY",
        ],
        rows,
    )?;
    more(output, page.next_cursor.as_deref())
}

fn payload(id: EventId, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let store = context.store_to_read()?;
    let (_, body) = wait_for(store.payload(None, id))??.ok_or_else(|| not_found(id))?;
    // Exactly the bytes, with --json too: they are what was asked for.
    Ok(output.raw().write_all(&body)?)
}

fn not_found(id: EventId) -> Failure {
    Failure::NotFound(format!("no event {id}"))
}

/// A point in time, given as RFC 3339 or as how long ago it was.
fn time(argument: &str, text: &str, now: TimestampMs) -> Result<TimestampMs, Failure> {
    let units = [
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let ago_ms = units.iter().find_map(|(unit, ms)| {
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        i64::from(count).checked_mul(*ms)
    });
    ago_ms
        .map(|it| now.saturating_sub(it))
        .or_else(|| parse_rfc3339(text))
        .ok_or_else(|| {
            let forms = "a time as 2026-01-31T12:00:00Z, or how long ago as 30m, 24h or 7d";
            Failure::Usage(format!("{argument}: `{text}` is not {forms}"))
        })
}
