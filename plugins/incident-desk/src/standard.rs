//! Incidents from any sender of Standard Webhooks: `incident.<action>`.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority};

use crate::incident::{Finding, Incident};
use crate::settings::Settings;
use crate::urgency::Urgency;

#[derive(Deserialize)]
struct Data {
    id: String,
    title: String,
    severity: Option<String>,
    description: Option<String>,
    service: Option<String>,
    environment: Option<String>,
    users_affected: Option<u64>,
    url: Option<String>,
}

/// What a generic event means.
pub fn find(name: &str, event: &Event, settings: &Settings) -> Result<Finding, Failure> {
    let action = match name.split_once('.') {
        Some(("incident", action)) => action,
        _ => return Ok(Finding::unhandled(&event.event_type)),
    };
    if matches!(action, "resolved" | "closed" | "cancelled" | "acknowledged") {
        return Ok(Finding::noise(
            "incident",
            format!("the incident is {action}"),
        ));
    }
    let data: Data = event.json_at("/data")?;
    let mut urgency = by_severity(data.severity.as_deref());
    urgency.by_users(data.users_affected.unwrap_or_default(), settings);
    if !settings.is_production(data.environment.as_deref()) {
        if urgency.priority < Priority::High {
            return Ok(Finding::noise(
                "incident",
                "not urgent, and not in production",
            ));
        }
        urgency.at_most(Priority::Low, "not in production");
    }
    Ok(Finding::Incident(Incident {
        category: "incident",
        labels: match action {
            "reopened" => vec!["standard", "regression"],
            _ => vec!["standard"],
        },
        urgency,
        title: match &data.service {
            Some(service) => format!("{service}: {}", data.title),
            None => data.title,
        },
        facts: vec![
            ("Service", data.service.unwrap_or_default()),
            ("Environment", data.environment.unwrap_or_default()),
            (
                "Users",
                data.users_affected
                    .map(|it| it.to_string())
                    .unwrap_or_default(),
            ),
        ],
        text: data.description.unwrap_or_default(),
        url: data.url,
        group_key: format!("standard:{}", data.id),
    }))
}

/// Senders have many words for the same four steps.
fn by_severity(severity: Option<&str>) -> Urgency {
    let Some(severity) = severity else {
        return Urgency::new(Priority::Normal, "no severity is given");
    };
    let priority = match severity.to_ascii_lowercase().as_str() {
        "critical" | "fatal" | "emergency" | "sev1" | "p0" | "p1" => Priority::Critical,
        "high" | "major" | "error" | "sev2" | "p2" => Priority::High,
        "low" | "minor" | "info" | "sev4" | "p4" => Priority::Low,
        _ => Priority::Normal,
    };
    Urgency::new(priority, &format!("severity `{severity}`"))
}
