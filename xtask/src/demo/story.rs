//! Sending one delivery and saying what became of it.

use std::time::Instant;

use anyhow::Context;
use serde_json::Value;

use super::host::Host;

/// One delivery of the demo.
pub struct Delivery {
    pub source: &'static str,
    pub event: &'static str,
    pub kind: Kind,
}

/// What is special about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    First,
    /// The same delivery once more, as providers do.
    Repeat,
    /// Signed with another secret.
    Forged,
}

impl Delivery {
    pub const fn new(source: &'static str, event: &'static str) -> Self {
        Self {
            source,
            event,
            kind: Kind::First,
        }
    }
}

/// What became of a delivery.
pub struct Told {
    pub delivery: &'static Delivery,
    pub status: u64,
    pub duplicate: bool,
    pub finished: bool,
    pub dead: bool,
    pub receipts: usize,
}

impl Told {
    pub fn name(&self) -> String {
        format!("{}.{}", self.delivery.source, self.delivery.event)
    }
}

/// Sends a delivery, waits for its decision and its receipts, and prints them.
pub fn tell(host: &Host, delivery: &'static Delivery) -> anyhow::Result<Told> {
    let sent = host.send(delivery)?;
    let status = sent
        .get("status")
        .and_then(Value::as_u64)
        .context("`triage send` names no status")?;
    let answer = sent.get("answer").cloned().unwrap_or_default();
    let duplicate = answer
        .get("duplicate")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut told = Told {
        delivery,
        status,
        duplicate,
        finished: true,
        dead: false,
        receipts: 0,
    };
    let name = told.name();
    let note = match (delivery.kind, text(&answer, "run_id")) {
        (Kind::Forged, _) => text(&answer, "code").unwrap_or("no code").to_owned(),
        (_, Some(run)) if duplicate => format!("repeat of {run}: nothing new happens"),
        (_, None) => "kept; no policy is interested".to_owned(),
        (_, Some(run)) => {
            let trace = wait(host, run, &mut told)?;
            decided(&trace, &mut told)
        }
    };
    say(&format!("{name:<32} {status}  {note}"));
    Ok(told)
}

/// Asks for the trace until the run and its actions are over.
fn wait(host: &Host, run: &str, told: &mut Told) -> anyhow::Result<Value> {
    let deadline = host.deadline();
    loop {
        let trace = host.json(&["run", "show", run])?;
        let run_over = trace
            .pointer("/run/state")
            .and_then(Value::as_str)
            .is_some_and(|it| it != "queued" && it != "running");
        let actions_over = steps(&trace, "action").all(|it| text(it, "state") != Some("pending"));
        if run_over && actions_over {
            return Ok(trace);
        }
        if deadline < Instant::now() {
            told.finished = false;
            return Ok(trace);
        }
    }
}

fn decided(trace: &Value, told: &mut Told) -> String {
    let run = trace.get("run").cloned().unwrap_or_default();
    told.dead = text(&run, "state") == Some("dead");
    let priority = text(&run, "priority")
        .or_else(|| text(&run, "state"))
        .unwrap_or("?");
    let category = text(&run, "category").unwrap_or("");
    let mut note = format!("{priority:<8} {category:<22}");
    for action in steps(trace, "action") {
        let receipt = action.get("receipt").filter(|it| !it.is_null());
        told.receipts += usize::from(receipt.is_some());
        let proof = match receipt {
            Some(receipt) => receipt
                .get("ticket_id")
                .and_then(Value::as_str)
                .map(str::to_owned)
                .or_else(|| receipt.get("status").map(|it| format!("answered {it}")))
                .unwrap_or_default(),
            None => text(action, "state").unwrap_or("?").to_owned(),
        };
        note.push_str(&format!(
            " {} → {}: {proof}",
            text(action, "name").unwrap_or("?"),
            text(action, "destination").unwrap_or("?")
        ));
    }
    note
}

fn steps<'a>(trace: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    trace
        .get("steps")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(move |it| text(it, "kind") == Some(kind))
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

/// The line above the deliveries.
pub fn heading() {
    say("");
    say("delivery                       answer  decision and receipts");
}

/// What it came to.
pub fn ending(told: &[Told], webhooks: &[String], tickets: &[Value]) {
    let receipts: usize = told.iter().map(|it| it.receipts).sum();
    say("");
    say(&format!(
        "{} tickets at the built-in desk, newest first:",
        tickets.len()
    ));
    for ticket in tickets {
        say(&format!(
            "  {:<9} {}",
            text(ticket, "priority").unwrap_or("?"),
            text(ticket, "title").unwrap_or("?")
        ));
    }
    say(&format!(
        "{} webhooks reached the receiver, each with a valid signature:",
        webhooks.len()
    ));
    for webhook in webhooks {
        say(&format!("  {webhook}"));
    }
    say(&format!(
        "{} deliveries, {receipts} receipts: every action happened once.",
        told.len()
    ));
}

#[expect(clippy::print_stdout, reason = "the demo talks to a person")]
pub fn say(text: &str) {
    println!("{text}");
}
