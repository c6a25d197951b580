//! `cargo xtask demo`: the main job, on real payloads, before your eyes.
//!
//! Starts a host of its own in a fresh folder below the target folder, with the
//! bundled plugins and a receiver for outgoing webhooks, and sends it signed
//! deliveries of all five sources, a repeat and a forged one.

mod host;
mod receiver;
mod story;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{command, plugins};
use host::Host;
use receiver::Receiver;
use story::{Delivery, Kind, Told};

/// What is sent, in this order.
const DELIVERIES: [Delivery; 14] = [
    Delivery::new("sentry", "issue.created"),
    Delivery::new("sentry", "event_alert.triggered"),
    Delivery::new("sentry", "issue.resolved"),
    Delivery::new("github", "issues.opened"),
    Delivery::new("github", "dependabot_alert.created"),
    Delivery::new("github", "ping"),
    Delivery::new("stripe", "invoice.payment_failed"),
    Delivery::new("stripe", "charge.dispute.created"),
    Delivery::new("stripe", "customer.updated"),
    Delivery::new("slack", "app_mention"),
    Delivery::new("standard", "incident.opened"),
    Delivery::new("standard", "contact.created"),
    Delivery {
        source: "stripe",
        event: "charge.dispute.created",
        kind: Kind::Repeat,
    },
    Delivery {
        source: "github",
        event: "issues.opened",
        kind: Kind::Forged,
    },
];

/// Runs the demo; `once` ends it after the deliveries.
pub fn run(once: bool) -> anyhow::Result<()> {
    let triage = command::build_host()?;
    let components = plugins::build(&triage)?;
    let receiver = Receiver::start()?;
    let host = Host::start(&triage, &components, &receiver)?;
    command::step(&format!(
        "the host serves at {}; sending {} deliveries",
        host.url,
        DELIVERIES.len()
    ));
    story::heading();
    let mut told = Vec::new();
    for delivery in &DELIVERIES {
        told.push(story::tell(&host, delivery)?);
    }
    let accepted = receiver.accepted();
    check(&host, &told)?;
    story::ending(&told, &accepted, &host.tickets()?);
    if once {
        return host.stop();
    }
    host.serve_until_interrupted()
}

/// The demo is a promise as well: it fails when the host did not keep it.
fn check(host: &Host, told: &[Told]) -> anyhow::Result<()> {
    for it in told {
        let expected = if it.delivery.kind == Kind::Forged {
            401
        } else {
            200
        };
        ensure!(
            it.status == expected,
            "{}: answered {}, expected {expected}",
            it.name(),
            it.status
        );
        ensure!(
            it.duplicate == (it.delivery.kind == Kind::Repeat),
            "{}: duplicate is {}",
            it.name(),
            it.duplicate
        );
        ensure!(it.finished, "{}: not finished in time", it.name());
        ensure!(
            !it.dead,
            "{}: the run is dead; `triage run show` says why",
            it.name()
        );
    }
    let events = host.json(&["event", "list"])?;
    let kept = events
        .get("items")
        .and_then(Value::as_array)
        .context("no list of events")?
        .len();
    let expected = DELIVERIES
        .iter()
        .filter(|it| it.kind == Kind::First)
        .count();
    ensure!(
        kept == expected,
        "{kept} events are kept, expected {expected}"
    );
    Ok(())
}
