//! Incidents from any sender of Standard Webhooks: `incident.<action>`.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority};

use crate::incident::{Finding, Incident};
use crate::settings::Settings;
use crate::urgency::Urgency;

/// What senders commonly say of an incident. The specification leaves `data` to them, so only
/// the title is asked for, and several names for one thing are understood.
#[derive(Deserialize)]
struct Data {
    id: Option<String>,
    title: String,
    severity: Option<String>,
    level: Option<String>,
    description: Option<String>,
    summary: Option<String>,
    service: Option<Named>,
    environment: Option<String>,
    users_affected: Option<u64>,
    affected_customers: Option<u64>,
    url: Option<String>,
}

/// Something that is called by its name, or described with it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Name(String),
    Object { name: String },
}

impl Named {
    fn into_name(self) -> String {
        match self {
            Self::Name(name) | Self::Object { name } => name,
        }
    }
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
    let mut urgency = by_severity(data.severity.or(data.level).as_deref());
    let users = data.users_affected.or(data.affected_customers);
    urgency.by_users(users.unwrap_or_default(), settings);
    if !settings.is_production(data.environment.as_deref()) {
        if urgency.priority < Priority::High {
            return Ok(Finding::noise(
                "incident",
                "not urgent, and not in production",
            ));
        }
        urgency.at_most(Priority::Low, "not in production");
    }
    let service = data.service.map(Named::into_name);
    Ok(Finding::Incident(Incident {
        category: "incident",
        labels: match action {
            "reopened" => vec!["standard", "regression"],
            _ => vec!["standard"],
        },
        urgency,
        title: match &service {
            Some(service) => format!("{service}: {}", data.title),
            None => data.title,
        },
        facts: vec![
            ("Service", service.unwrap_or_default()),
            ("Environment", data.environment.unwrap_or_default()),
            ("Users", users.map(|it| it.to_string()).unwrap_or_default()),
        ],
        text: data.description.or(data.summary).unwrap_or_default(),
        url: data.url,
        group_key: format!(
            "standard:{}",
            data.id.as_deref().unwrap_or(&event.idempotency_key)
        ),
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
