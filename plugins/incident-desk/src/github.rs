//! GitHub: which events are handled where, and issues.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority};

use crate::github_security;
use crate::incident::{Finding, Incident};
use crate::settings::{Settings, contains};
use crate::urgency::Urgency;

#[derive(Deserialize)]
struct IssueEvent {
    issue: Issue,
    /// The label that was added, where one was.
    label: Option<Label>,
    repository: Repository,
    sender: Account,
}

#[derive(Deserialize)]
struct Issue {
    number: u64,
    title: String,
    body: Option<String>,
    html_url: String,
    #[serde(default)]
    labels: Vec<Label>,
    user: Option<Account>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
pub struct Repository {
    pub full_name: String,
    #[serde(default)]
    pub private: bool,
    pub default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What a GitHub event means.
pub fn find(name: &str, event: &Event, settings: &Settings) -> Result<Finding, Failure> {
    match name.split_once('.') {
        Some(("issues", action @ ("opened" | "reopened" | "labeled"))) => {
            Ok(issue(action, event.json()?, settings))
        }
        Some(("issues", action)) => Ok(Finding::noise("issue", format!("an issue was {action}"))),
        Some(("dependabot_alert", action)) => github_security::dependabot(action, event),
        Some(("code_scanning_alert", action)) => github_security::code_scanning(action, event),
        Some(("secret_scanning_alert", action)) => github_security::secret_scanning(action, event),
        Some(("security_advisory", action)) => github_security::advisory(action, event),
        _ => Ok(Finding::unhandled(&event.event_type)),
    }
}

fn issue(action: &str, body: IssueEvent, settings: &Settings) -> Finding {
    let IssueEvent {
        issue,
        label,
        repository,
        sender,
    } = body;
    let mut urgency = Urgency::new(Priority::Normal, &format!("an issue was {action}"));
    for Label { name } in &issue.labels {
        if contains(&settings.critical_labels, name) {
            urgency.at_least(Priority::Critical, &format!("label `{name}`"));
        } else if contains(&settings.urgent_labels, name) {
            urgency.at_least(Priority::High, &format!("label `{name}`"));
        }
    }
    let is_urgent = Priority::Normal < urgency.priority;
    if let Some(Label { name }) = label
        && !contains(&settings.critical_labels, &name)
        && !contains(&settings.urgent_labels, &name)
    {
        return Finding::noise(
            "issue",
            format!("label `{name}` says nothing about urgency"),
        );
    }
    if !is_urgent {
        if sender.kind.as_deref() == Some("Bot") {
            return Finding::noise("issue", format!("{action} by the bot {}", sender.login));
        }
        for Label { name } in &issue.labels {
            if contains(&settings.quiet_labels, name) {
                urgency.at_most(Priority::Low, &format!("label `{name}`"));
            }
        }
    }
    let labels: Vec<&str> = issue.labels.iter().map(|it| it.name.as_str()).collect();
    Finding::Incident(Incident {
        category: "issue",
        labels: match action {
            "reopened" => vec!["github", "regression"],
            _ => vec!["github"],
        },
        urgency,
        title: format!("{}#{}: {}", repository.full_name, issue.number, issue.title),
        facts: vec![
            ("Author", issue.user.map(|it| it.login).unwrap_or_default()),
            ("Labels", labels.join(", ")),
        ],
        text: issue.body.unwrap_or_default(),
        url: Some(issue.html_url),
        group_key: format!("github:{}#{}", repository.full_name, issue.number),
    })
}
