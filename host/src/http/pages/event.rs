//! One event.

use maud::{Markup, html};

use super::{parts, payload, run};
use crate::store::trace::EventTrace;

/// What came in, where from, and which runs handle it.
pub fn show(trace: &EventTrace, body: &[u8]) -> Markup {
    let event = &trace.event;
    html! {
        p.kind { "Event" }
        h1 { (event.event_type) }
        p.line {
            @if event.routed { (parts::badge(event.state.as_str(), event.state.as_str())) }
            @else { (parts::badge("unrouted", "no policy")) " No policy wants events of this type. It is kept." }
            @if let Some(decision) = &event.decision {
                " " (parts::priority(decision.priority)) " " (decision.summary)
            }
        }
        @if let Some(error) = &event.last_error { p.problem { (error) } }
        (parts::event_facts(event))
        @if event.routed {
            section {
                h2 { "Runs" }
                ul { @for run_id in &event.run_ids { li { a href={ "/runs/" (run_id) } { code { (run_id) } } } } }
            }
        }
        section { h2 { "Payload" } (payload::show(event.event_id, body)) }
        section { h2 { "Delivery" } ol.steps { @for step in &trace.steps { (run::step(step)) } } }
    }
}
