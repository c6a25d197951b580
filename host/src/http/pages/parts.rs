//! Small pieces that several pages show.

use maud::{Markup, html};

use crate::model::decision::Priority;
use crate::store::views::{At, EventView};

/// A word on a coloured ground; `kind` is one of our own words and names the colour.
pub fn badge(kind: &str, text: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (text) } }
}

/// How much an event matters.
pub fn priority(priority: Priority) -> Markup {
    badge(priority.as_str(), priority.as_str())
}

/// A time, to the second.
pub fn time(at: At) -> Markup {
    time_to(at, 19)
}

/// A time, to the millisecond.
pub fn exact_time(at: At) -> Markup {
    time_to(at, 23)
}

fn time_to(at: At, end: usize) -> Markup {
    let full = at.to_string();
    // A time that is out of range is a plain number.
    let short = match (full.get(..10), full.get(11..end)) {
        (Some(date), Some(time)) => format!("{date} {time}"),
        _ => full.clone(),
    };
    html! { time datetime=(full) title=(full) { (short) } }
}

/// How long something took.
pub fn took(from: At, to: At) -> String {
    match to.0.saturating_sub(from.0) {
        ms @ ..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// An amount of bytes.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{}.{} KiB", count / 1_024, count % 1_024 * 10 / 1_024),
        _ => format!(
            "{}.{} MiB",
            count / 1_048_576,
            count % 1_048_576 * 10 / 1_048_576
        ),
    }
}

/// A name with its value, for a `dl`.
pub fn fact(name: &str, value: impl maud::Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// What an event is, in a list of facts.
pub fn event_facts(event: &EventView) -> Markup {
    html! {
        dl.facts {
            (fact("Received", time(event.received_at)))
            @if let Some(at) = event.occurred_at { (fact("Occurred", time(at))) }
            (fact("Source", event.source.as_str()))
            (fact("Integration", event.integration_id.as_str()))
            (fact("Tenant", event.tenant.as_str()))
            (fact("Idempotency key", html! { code { (event.idempotency_key) } }))
            @if 0 < event.duplicate_count {
                (fact("Sent again", html! {
                    (event.duplicate_count) "×"
                    @if let Some(at) = event.last_duplicate_at { ", last " (time(at)) }
                }))
            }
        }
    }
}
