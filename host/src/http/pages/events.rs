//! The list of events.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::parts;
use crate::http::api::EventQuery;
use crate::store::views::{EventState, EventView, Page};

/// Filters that the form offers.
const FILTERS: [&str; 6] = [
    "type",
    "state",
    "integration",
    "idempotency_key",
    "since",
    "until",
];
const STATES: [EventState; 4] = [
    EventState::Pending,
    EventState::Delivered,
    EventState::Failed,
    EventState::Replayed,
];

/// Events, newest first, with what was decided about each.
pub fn list(events: &Page<EventView>, query: &EventQuery) -> Markup {
    html! {
        h1 { "Events" }
        (filters(query))
        @if events.items.is_empty() {
            p.empty { (if events.next_cursor.is_some() { "Nothing matches among these; older ones may." } else { "No events." }) }
        } @else {
            table.list {
                thead { tr { th { "Received (UTC)" } th { "Type" } th { "State" } th { "Decision" } } }
                tbody { @for event in &events.items { (line(event)) } }
            }
        }
        @if let Some(cursor) = &events.next_cursor {
            p.more { a href=(older(query, cursor)) { "Older events" } }
        }
    }
}

fn line(event: &EventView) -> Markup {
    let href = match event.run_ids.first() {
        Some(run_id) => format!("/runs/{run_id}"),
        None => format!("/events/{}", event.event_id),
    };
    html! {
        tr {
            td.when { (parts::time(event.received_at)) }
            td.what {
                a href=(href) { (event.event_type) }
                small { (event.integration_id) @if 0 < event.duplicate_count { " · sent " (event.duplicate_count + 1) "×" } }
            }
            td {
                @if event.routed { (parts::badge(event.state.as_str(), event.state.as_str())) }
                @else { (parts::badge("unrouted", "no policy")) }
            }
            td.decision {
                @if let Some(decision) = &event.decision {
                    (parts::priority(decision.priority)) " " span.category { (decision.category) }
                    small { (decision.summary) }
                } @else if let Some(error) = &event.last_error {
                    small.error { (error) }
                }
            }
        }
    }
}

fn filters(query: &EventQuery) -> Markup {
    let field = |name, label, placeholder| {
        html! {
            label { (label) input name=(name) value=(query.text(name)) placeholder=(placeholder) autocomplete="off"; }
        }
    };
    let is_open = FILTERS.iter().any(|it| !query.text(it).is_empty());
    html! {
        details.filters open[is_open] {
            summary { "Filter" }
            form method="get" action="/" {
                (field("type", "Type", "github.issues.*"))
                label {
                    "State"
                    select name="state" {
                        option value="" { "any" }
                        @for state in STATES {
                            option value=(state.as_str()) selected[state.as_str() == query.text("state")] { (state.as_str()) }
                        }
                    }
                }
                (field("integration", "Integration", "any"))
                (field("idempotency_key", "Idempotency key", "any"))
                (field("since", "Since", "2026-01-31T08:00:00Z"))
                (field("until", "Until", "2026-01-31T09:00:00Z"))
                div.buttons { button { "Show" } a href="/" { "Clear" } }
            }
        }
    }
}

/// The next page with the same filters.
fn older(query: &EventQuery, cursor: &str) -> String {
    let mut href = format!("/?cursor={cursor}");
    for name in FILTERS {
        let text = query.text(name);
        if !text.is_empty() {
            href.push_str(&format!(
                "&{name}={}",
                utf8_percent_encode(text, NON_ALPHANUMERIC)
            ));
        }
    }
    href
}
