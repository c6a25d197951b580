//! Sentry's integration platform: issues, issue alerts, metric alerts, errors.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority};

use crate::incident::{Finding, Incident};
use crate::settings::Settings;
use crate::urgency::Urgency;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issue {
    id: String,
    short_id: Option<String>,
    title: String,
    culprit: Option<String>,
    level: String,
    substatus: Option<String>,
    issue_category: Option<String>,
    is_unhandled: Option<bool>,
    #[serde(default)]
    user_count: u64,
    first_seen: Option<String>,
    project: Project,
    #[serde(rename = "web_url")]
    web_url: Option<String>,
}

#[derive(Deserialize)]
struct Project {
    slug: String,
}

/// One event in Sentry's own sense: a single occurrence of an issue.
#[derive(Deserialize)]
struct Occurrence {
    title: String,
    level: Option<String>,
    culprit: Option<String>,
    environment: Option<String>,
    release: Option<String>,
    issue_id: String,
    web_url: Option<String>,
    #[serde(default)]
    tags: Vec<(String, Option<String>)>,
}

#[derive(Deserialize)]
struct MetricData {
    metric_alert: MetricAlert,
    description_text: String,
    web_url: Option<String>,
}

#[derive(Deserialize)]
struct MetricAlert {
    id: String,
    title: String,
    #[serde(default)]
    projects: Vec<String>,
    alert_rule: AlertRule,
}

#[derive(Deserialize)]
struct AlertRule {
    environment: Option<String>,
}

/// What a Sentry event means.
pub fn find(name: &str, event: &Event, settings: &Settings) -> Result<Finding, Failure> {
    Ok(match name {
        "issue.created" | "issue.unresolved" => issue(event.json_at("/data/issue")?, settings),
        "issue.resolved" | "issue.assigned" | "issue.archived" | "issue.ignored" => {
            Finding::noise("error", "somebody has dealt with this issue in Sentry")
        }
        "event_alert.triggered" => {
            let rule = event.json_at("/data/triggered_rule")?;
            occurrence("alert", Some(rule), event.json_at("/data/event")?, settings)
        }
        "error.created" => occurrence("error", None, event.json_at("/data/error")?, settings),
        "metric_alert.critical" => {
            metric_alert(Priority::Critical, event.json_at("/data")?, settings)
        }
        "metric_alert.warning" => metric_alert(Priority::Normal, event.json_at("/data")?, settings),
        "metric_alert.resolved" => Finding::noise("alert", "the metric is back to normal"),
        _ => Finding::unhandled(&event.event_type),
    })
}

fn issue(issue: Issue, settings: &Settings) -> Finding {
    let mut labels = vec!["sentry"];
    let mut urgency = by_level(&issue.level);
    if issue.is_unhandled == Some(true) {
        urgency.raise("nothing handles it");
    }
    match issue.substatus.as_deref() {
        Some("regressed") => {
            labels.push("regression");
            urgency.raise("it was resolved and came back");
        }
        Some("escalating") => urgency.raise("it happens more and more often"),
        _ => (),
    }
    if issue.issue_category.as_deref() == Some("outage") {
        urgency.at_least(Priority::High, "a monitor reports an outage");
    }
    urgency.by_users(issue.user_count, settings);
    Finding::Incident(Incident {
        category: "error",
        labels,
        urgency,
        title: match &issue.short_id {
            Some(short_id) => format!("{short_id}: {}", issue.title),
            None => issue.title,
        },
        facts: vec![
            ("Project", issue.project.slug),
            ("Where", issue.culprit.unwrap_or_default()),
            ("Users", issue.user_count.to_string()),
            ("First seen", issue.first_seen.unwrap_or_default()),
        ],
        text: String::new(),
        url: issue.web_url,
        group_key: group_key(&issue.id),
    })
}

fn occurrence(
    category: &'static str,
    rule: Option<String>,
    occurrence: Occurrence,
    settings: &Settings,
) -> Finding {
    let environment = occurrence
        .environment
        .clone()
        .or_else(|| occurrence.tag("environment"));
    let level = occurrence
        .level
        .clone()
        .or_else(|| occurrence.tag("level"))
        .unwrap_or_else(|| "error".to_owned());
    let is_serious = level == "error" || level == "fatal";
    let mut urgency = by_level(&level);
    if rule.is_none() {
        // Sentry sends every single occurrence; new issues and alert rules tell when people should look.
        urgency.lower("one occurrence of many");
    }
    if !settings.is_production(environment.as_deref()) {
        if !is_serious {
            return Finding::noise(category, format!("level `{level}` outside production"));
        }
        urgency.at_most(Priority::Low, "not in production");
    }
    Finding::Incident(Incident {
        category,
        labels: vec!["sentry"],
        urgency,
        title: occurrence.title,
        facts: vec![
            ("Alert rule", rule.unwrap_or_default()),
            ("Environment", environment.unwrap_or_default()),
            ("Release", occurrence.release.unwrap_or_default()),
            ("Where", occurrence.culprit.unwrap_or_default()),
        ],
        text: String::new(),
        url: occurrence.web_url,
        group_key: group_key(&occurrence.issue_id),
    })
}

fn metric_alert(priority: Priority, data: MetricData, settings: &Settings) -> Finding {
    let alert = data.metric_alert;
    let environment = alert.alert_rule.environment;
    let mut urgency = Urgency::new(priority, "a metric is over its threshold");
    if !settings.is_production(environment.as_deref()) {
        urgency.at_most(Priority::Low, "not in production");
    }
    Finding::Incident(Incident {
        category: "alert",
        labels: vec!["sentry"],
        urgency,
        title: alert.title,
        facts: vec![
            ("Projects", alert.projects.join(", ")),
            ("Environment", environment.unwrap_or_default()),
        ],
        text: data.description_text,
        url: data.web_url,
        group_key: format!("sentry:metric_alert:{}", alert.id),
    })
}

impl Occurrence {
    fn tag(&self, name: &str) -> Option<String> {
        let (_, value) = self.tags.iter().find(|(it, _)| it == name)?;
        value.clone()
    }
}

fn by_level(level: &str) -> Urgency {
    let priority = match level {
        "fatal" => Priority::High,
        "warning" | "info" | "debug" | "sample" => Priority::Low,
        _ => Priority::Normal,
    };
    Urgency::new(priority, &format!("level `{level}`"))
}

/// Issues, alerts and errors about one Sentry issue belong together.
fn group_key(issue_id: &str) -> String {
    format!("sentry:issue:{issue_id}")
}
