//! Turns alerts, issues and reports from Sentry, GitHub, Slack and generic senders into tickets and pages.
//!
//! One file per source says what an event means; `incident` says what follows from it. Nothing here knows how
//! tickets are opened or pages sent: that is the host's part.

mod github;
mod github_security;
mod incident;
mod sentry;
mod settings;
mod slack;
mod standard;
mod urgency;

use triage_plugin::{Classification, Event, Failure, Plan, PluginInfo, Policy};

use incident::Finding;
use settings::Settings;

/// The policy that hosts call.
pub struct IncidentDesk;

impl Policy for IncidentDesk {
    fn describe() -> PluginInfo {
        PluginInfo {
            triggers: texts(&[
                "sentry.*",
                "github.issues.*",
                "github.dependabot_alert.*",
                "github.code_scanning_alert.*",
                "github.secret_scanning_alert.*",
                "github.security_advisory.*",
                "slack.app_mention",
                "slack.message",
                "standard.incident.*",
            ]),
            labels: texts(&incident::LABELS),
            categories: texts(&incident::CATEGORIES),
            settings_schema: Some(settings::SCHEMA.to_owned()),
            ..PluginInfo::new(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                "Opens tickets for errors, issues, security alerts and reported incidents, and pages for urgent ones.",
            )
        }
    }

    fn classify(event: &Event) -> Result<Classification, Failure> {
        let settings: Settings = triage_plugin::settings()?;
        Ok(find(event, &settings)?.classification())
    }

    fn triage(event: &Event, classification: &Classification) -> Result<Plan, Failure> {
        let settings: Settings = triage_plugin::settings()?;
        find(event, &settings)?.plan(classification, &settings)
    }
}

triage_plugin::export!(IncidentDesk);

fn find(event: &Event, settings: &Settings) -> Result<Finding, Failure> {
    match event.event_type.split_once('.') {
        Some(("sentry", name)) => sentry::find(name, event, settings),
        Some(("github", name)) => github::find(name, event, settings),
        Some(("slack", name)) => slack::find(name, event, settings),
        Some(("standard", name)) => standard::find(name, event, settings),
        _ => Ok(Finding::unhandled(&event.event_type)),
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|it| (*it).to_owned()).collect()
}
