//! One run: its trace from the delivery to the last receipt.

use maud::{Markup, html};

use super::{parts, payload};
use crate::model::decision::{ActionContent, Classification, Decision};
use crate::model::run::LogLine;
use crate::store::trace::{Delivery, RunTrace, Step, What};
use crate::store::views::{ActionView, At, AttemptView, ReceiptView, RunState};

/// How often the page of a run that is under way is loaded again, in seconds.
pub const REFRESH_S: u32 = 3;

/// Whether more is about to happen.
pub fn is_under_way(trace: &RunTrace) -> bool {
    let action_pending =
        |step: &Step| matches!(&step.what, What::Action(action) if action.state == "pending");
    matches!(trace.run.state, RunState::Queued | RunState::Running)
        || trace.steps.iter().any(action_pending)
}

/// What came in, what was decided, what was done.
pub fn show(trace: &RunTrace, body: &[u8]) -> Markup {
    let (run, event) = (&trace.run, &trace.event);
    html! {
        p.kind { "Run of policy " strong { (run.policy) } }
        h1 { (event.event_type) }
        p.line {
            (parts::badge(run.state.as_str(), run.state.as_str()))
            @if let Some(outcome) = &run.outcome { " " (outcome) }
            @if run.waits { " behind an earlier run of " code { (run.ordering_key.as_deref().unwrap_or_default()) } }
            @if let (RunState::Queued, Some(at)) = (run.state, run.next_attempt_at) { " next attempt " (parts::time(at)) }
            @if let Some(at) = run.finished_at { " after " (parts::took(event.received_at, at)) }
        }
        @if let Some(reason) = &run.dead_reason { p.problem { (reason) } }
        @for step in &trace.steps {
            @if let What::Decision { decision, .. } = &step.what { (verdict(decision)) }
        }
        section { h2 { "Payload" } (payload::show(event.event_id, body)) }
        section {
            h2 { "Event" }
            (parts::event_facts(event))
            p.hint { a href={ "/events/" (event.event_id) } { code { (event.event_id) } } }
        }
        section {
            h2 { "Trace" }
            ol.steps { @for step in &trace.steps { (self::step(step)) } }
            p.hint {
                code { (run.run_id) } " · "
                a href={ "/v1/runs/" (run.run_id) "/trace" } { "as JSON" }
            }
        }
    }
}

/// One step of a trace.
pub fn step(step: &Step) -> Markup {
    match &step.what {
        What::Delivery(it) => item(step.at, html! { "Delivered" }, delivery(it)),
        What::Verification {
            source,
            integration_id,
        } => item(
            step.at,
            html! { "Sender verified" },
            html! { p { "Signed as " strong { (source) } " does, with a secret of " strong { (integration_id) } "." } },
        ),
        What::Attempt(it) => {
            let colour = if it.error.is_none() { "good" } else { "bad" };
            let head = html! { "Attempt " (it.number) " " (parts::badge(colour, &it.class)) };
            item(step.at, head, attempt(it))
        }
        What::Decision { outcome, decision } => {
            let head = html! { "Decided" @if let Some(outcome) = outcome { ": " (outcome) } };
            item(step.at, head, planned(decision))
        }
        What::Dropped { reason } => item(step.at, html! { "Dropped" }, html! { p { (reason) } }),
        What::Dead { reason } => item(
            step.at,
            html! { "Given up" },
            html! { p.error { (reason) } },
        ),
        What::Action(it) => {
            let head = html! { "Action " (it.name) " " (parts::badge(&it.state, &it.state)) };
            item(step.at, head, action(it))
        }
    }
}

fn item(at: At, head: Markup, content: Markup) -> Markup {
    html! { li { div.head { strong { (head) } (parts::exact_time(at)) } (content) } }
}

fn verdict(decision: &Decision) -> Markup {
    let classification = &decision.classification;
    html! {
        section class={ "verdict " (classification.priority.as_str()) } {
            p.line { (self::classification(classification)) }
            @if let Some(plan) = &decision.plan { p.summary { (plan.summary) } }
            p { (classification.reason) }
        }
    }
}

fn classification(it: &Classification) -> Markup {
    html! {
        (parts::priority(it.priority)) " " span.category { (it.category) }
        @for label in &it.labels { " " span.label { (label) } }
        " " small { (it.confidence_percent) " % sure" }
    }
}

fn planned(decision: &Decision) -> Markup {
    html! {
        p.line { (classification(&decision.classification)) }
        p { (decision.classification.reason) }
        @if let Some(plan) = &decision.plan {
            p { (plan.summary) }
            @if !plan.actions.is_empty() {
                ul.plan {
                    @for it in &plan.actions { li { (it.content.kind()) " " strong { (it.name) } " → " (it.destination) } }
                }
            }
        }
    }
}

fn delivery(it: &Delivery) -> Markup {
    html! {
        p { (parts::bytes(it.body_bytes)) " · SHA-256 " code { (it.body_sha256) } }
        details {
            summary { (it.headers.0.len()) " headers" }
            dl.headers { @for (name, value) in &it.headers.0 { (parts::fact(name, value.as_str())) } }
        }
    }
}

fn attempt(it: &AttemptView) -> Markup {
    html! {
        p {
            (parts::took(it.started_at, it.finished_at)) " · " (it.cpu_us) " µs computing · "
            (parts::bytes(it.memory_bytes)) " memory"
        }
        @if let Some(error) = &it.error { p.error { (error) } }
        @if !it.log.is_empty() { ol.log { @for line in &it.log { (log_line(line)) } } }
        @for (stage, digest) in [("classifier", &it.classifier_digest), ("triager", &it.triager_digest)] {
            @if let Some(digest) = digest { p.hint { (stage) " " code { (digest) } } }
        }
    }
}

fn log_line(line: &LogLine) -> Markup {
    // The level is a plugin's word: it may only name a colour that there is.
    let colour = ["debug", "info", "warn", "error"]
        .into_iter()
        .find(|it| *it == line.level)
        .unwrap_or("info");
    html! {
        li class=(colour) {
            span.level { (line.level) } " " (line.message)
            @for (name, value) in &line.fields { " " span.field { (name) "=" (value) } }
        }
    }
}

fn action(it: &ActionView) -> Markup {
    html! {
        p { (it.content.kind()) " → " strong { (it.destination) } " · key " code { (it.idempotency_key) } }
        (content(&it.content))
        @for attempt in &it.attempts {
            p {
                "Attempt " (attempt.number) ", " (parts::took(attempt.started_at, attempt.finished_at))
                @if let Some(status) = attempt.status { ", status " (status) }
                @if let Some(error) = &attempt.error { ": " span.error { (error) } }
            }
        }
        @if let Some(reason) = &it.dead_reason { p.error { "Given up: " (reason) } }
        @if let (true, Some(at)) = (it.state == "pending", it.next_attempt_at) { p { "Next attempt " (parts::time(at)) } }
        @if let Some(receipt) = &it.receipt { (self::receipt(receipt)) }
    }
}

fn content(content: &ActionContent) -> Markup {
    match content {
        ActionContent::Ticket(ticket) => html! {
            div.card {
                h3 { (ticket.title) }
                @if let Some(assignee) = &ticket.assignee { p { "for " strong { (assignee) } } }
                pre.text { (ticket.body) }
                @for label in &ticket.labels { span.label { (label) } " " }
            }
        },
        ActionContent::Webhook { payload } => html! { pre.payload { (payload) } },
        ActionContent::Message { title, text, .. } => {
            html! { div.card { h3 { (title) } pre.text { (text) } } }
        }
        ActionContent::Other { of, content } => html! { p { (of) } pre.payload { (content) } },
    }
}

fn receipt(it: &ReceiptView) -> Markup {
    html! {
        div.receipt {
            p {
                "Receipt " (parts::time(it.at))
                @if let Some(id) = it.ticket_id { ": ticket " a href={ "/v1/tickets/" (id) } { code { (id) } } }
                @if let Some(status) = it.status { ": status " (status) }
                @if let Some(id) = &it.request_id { " · request " code { (id) } }
            }
            @if let Some(body) = it.body.as_ref().filter(|it| !it.is_empty()) { pre.payload { (body) } }
        }
    }
}
