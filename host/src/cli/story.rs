//! A run's trace as a story that a person reads from top to bottom.
//!
//! Called by `triage run show`. It leaves nothing out that was recorded but long
//! texts; the whole is in `--json`.

use super::failure::Failure;
use super::output::{Output, clean, clean_lines};
use crate::model::decision::{ActionContent, Classification, Decision, Plan};
use crate::model::run::LogLine;
use crate::store::trace::{Delivery, RunTrace, Step, What};
use crate::store::views::{ActionView, AttemptView, ReceiptView};

/// The longest line in characters, without its label.
const LINE_CHARS_MAX: usize = 1_000;
/// Lines of a text that a plugin or destination wrote.
const TEXT_LINES_MAX: usize = 20;

/// Writes the whole story.
pub(super) fn tell(trace: &RunTrace, output: &mut Output<'_>) -> Result<(), Failure> {
    let (run, event) = (&trace.run, &trace.event);
    let state = match &run.outcome {
        Some(outcome) => format!("{}, {outcome}", run.state.as_str()),
        None => run.state.as_str().to_owned(),
    };
    output.field("run", Some(format!("{} {state}", run.run_id)))?;
    output.field(
        "policy",
        Some(format!("{} of tenant {}", run.policy, run.tenant)),
    )?;
    output.field(
        "event",
        Some(format!("{} {}", event.event_id, event.event_type)),
    )?;
    output.field("idempotency key", Some(event.idempotency_key.clone()))?;
    output.field("ordering key", run.ordering_key.clone())?;
    if run.waits {
        output.field(
            "waits",
            Some("for an earlier run with its ordering key".to_owned()),
        )?;
    }
    output.field("queued", Some(run.created_at.to_string()))?;
    output.field("next attempt", run.next_attempt_at.map(|it| it.to_string()))?;
    output.field("finished", run.finished_at.map(|it| it.to_string()))?;
    for step in &trace.steps {
        tell_step(step, output)?;
    }
    Ok(())
}

fn tell_step(step: &Step, output: &mut Output<'_>) -> Result<(), Failure> {
    let (label, lines) = match &step.what {
        What::Delivery(delivery) => ("delivery".to_owned(), delivered(delivery)),
        What::Verification {
            source,
            integration_id,
        } => (
            "verification".to_owned(),
            vec![format!(
                "a live secret of {integration_id} signed it ({source})"
            )],
        ),
        What::Attempt(attempt) => (format!("attempt {}", attempt.number), attempted(attempt)),
        What::Decision { outcome, decision } => {
            ("decision".to_owned(), decided(outcome.as_deref(), decision))
        }
        What::Dropped { reason } => ("dropped".to_owned(), vec![(*reason).to_owned()]),
        What::Dead { reason } => ("given up".to_owned(), vec![reason.clone()]),
        What::Action(action) => (format!("action {}", action.name), acted(action)),
    };
    output.line(&format!("\n{}  {}", step.at, clean(&label, LINE_CHARS_MAX)))?;
    for line in lines {
        output.line(&format!("  {}", clean(&line, LINE_CHARS_MAX)))?;
    }
    Ok(())
}

fn delivered(delivery: &Delivery) -> Vec<String> {
    let mut lines = vec![format!(
        "{} bytes, SHA-256 {}",
        delivery.body_bytes, delivery.body_sha256
    )];
    let headers = delivery
        .headers
        .0
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    lines.extend(headers);
    if let Some(at) = delivery.last_duplicate_at {
        lines.push(format!(
            "sent again {}×, last {at}",
            delivery.duplicate_count
        ));
    }
    lines
}

fn attempted(attempt: &AttemptView) -> Vec<String> {
    let took_ms = attempt.finished_at.0.saturating_sub(attempt.started_at.0);
    let mut lines = vec![format!(
        "{} in {took_ms} ms, {} µs of computing, {} KiB of memory",
        attempt.class,
        attempt.cpu_us,
        attempt.memory_bytes >> 10,
    )];
    lines.extend(
        attempt
            .classifier_digest
            .iter()
            .map(|it| format!("classifier {it}")),
    );
    lines.extend(
        attempt
            .triager_digest
            .iter()
            .map(|it| format!("triager {it}")),
    );
    lines.extend(attempt.error.iter().map(|it| format!("error: {it}")));
    lines.extend(attempt.log.iter().map(logged));
    lines
}

fn logged(line: &LogLine) -> String {
    let fields: String = line
        .fields
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    format!("log {:<5} {}{fields}", line.level, line.message)
}

fn decided(outcome: Option<&str>, decision: &Decision) -> Vec<String> {
    let Classification {
        priority,
        category,
        labels,
        confidence_percent,
        reason,
    } = &decision.classification;
    let mut lines = vec![format!(
        "{}: {} {category}, {confidence_percent} % sure",
        outcome.unwrap_or("decided"),
        priority.as_str()
    )];
    if !labels.is_empty() {
        lines.push(format!("labels: {}", labels.join(", ")));
    }
    lines.push(format!("reason: {reason}"));
    lines.extend(
        decision
            .plan
            .iter()
            .map(|Plan { summary, .. }| format!("plan: {summary}")),
    );
    lines
}

fn acted(action: &ActionView) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{} for {}: {}",
            action.content.kind(),
            action.destination,
            action.state
        ),
        format!(
            "{}, idempotency key {}",
            action.action_id, action.idempotency_key
        ),
    ];
    lines.extend(carried(&action.content));
    for attempt in &action.attempts {
        let status = attempt
            .status
            .map_or(String::new(), |it| format!(", status {it}"));
        let error = attempt
            .error
            .as_ref()
            .map_or(String::new(), |it| format!(", {it}"));
        lines.push(format!(
            "attempt {} at {}{status}{error}",
            attempt.number, attempt.started_at
        ));
    }
    lines.extend(
        action
            .next_attempt_at
            .map(|it| format!("next attempt at {it}")),
    );
    lines.extend(
        action
            .dead_reason
            .iter()
            .map(|it| format!("given up: {it}")),
    );
    lines.extend(action.receipt.iter().flat_map(received));
    lines
}

fn carried(content: &ActionContent) -> Vec<String> {
    match content {
        ActionContent::Ticket(ticket) => vec![format!("title: {}", ticket.title)],
        ActionContent::Webhook { payload } => vec![format!("payload: {payload}")],
        ActionContent::Message { title, text, .. } => {
            let mut lines = vec![format!("title: {title}")];
            lines.extend(clean_lines(text, TEXT_LINES_MAX));
            lines
        }
        ActionContent::Other { of, content } => vec![format!("{of}: {content}")],
    }
}

fn received(receipt: &ReceiptView) -> Vec<String> {
    let what = match (receipt.ticket_id, receipt.status) {
        (Some(id), _) => id.to_string(),
        (None, Some(status)) => format!("status {status}"),
        (None, None) => "nothing".to_owned(),
    };
    let request_id = receipt
        .request_id
        .as_ref()
        .map_or(String::new(), |it| format!(", request {it}"));
    let mut lines = vec![format!("receipt at {}: {what}{request_id}", receipt.at)];
    let body = receipt.body.as_deref().unwrap_or_default();
    lines.extend(
        clean_lines(body, TEXT_LINES_MAX)
            .into_iter()
            .map(|it| format!("  {it}")),
    );
    lines
}
