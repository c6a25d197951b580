//! Tells people about payments that need them: failed payments, disputes, payouts, fraud warnings, lost customers.
//!
//! `stripe` says what an event means; `case` says what follows from it. Nothing here knows how tickets are opened
//! or pages sent: that is the host's part.

mod case;
mod dispute;
mod money;
mod settings;
mod stripe;

use triage_plugin::{Classification, Event, Failure, Plan, PluginInfo, Policy, TimestampMs, clock};

use case::Finding;
use settings::Settings;

/// The policy that hosts call.
pub struct Payments;

impl Policy for Payments {
    fn describe() -> PluginInfo {
        PluginInfo {
            triggers: vec!["stripe.*".to_owned()],
            labels: texts(&case::LABELS),
            categories: texts(&case::CATEGORIES),
            settings_schema: Some(settings::SCHEMA.to_owned()),
            ..PluginInfo::new(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                "Opens tickets for failed payments, disputes, payouts and fraud warnings, and pages for urgent ones.",
            )
        }
    }

    fn classify(event: &Event) -> Result<Classification, Failure> {
        let settings: Settings = triage_plugin::settings()?;
        Ok(find(event, &settings, clock::now())?.classification())
    }

    fn triage(event: &Event, classification: &Classification) -> Result<Plan, Failure> {
        let settings: Settings = triage_plugin::settings()?;
        find(event, &settings, clock::now())?.plan(classification, &settings)
    }
}

triage_plugin::export!(Payments);

fn find(event: &Event, settings: &Settings, now: TimestampMs) -> Result<Finding, Failure> {
    match event.event_type.split_once('.') {
        Some(("stripe", name)) => stripe::find(name, event, settings, now),
        _ => Ok(Finding::unhandled(&event.event_type)),
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|it| (*it).to_owned()).collect()
}
