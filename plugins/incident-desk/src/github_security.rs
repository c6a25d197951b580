//! GitHub's security alerts and advisories.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority};

use crate::github::Repository;
use crate::incident::{Finding, Incident};
use crate::urgency::Urgency;

#[derive(Deserialize)]
struct DependabotAlert {
    number: u64,
    html_url: String,
    dependency: Dependency,
    security_advisory: Advisory,
    security_vulnerability: Vulnerability,
}

#[derive(Deserialize)]
struct Dependency {
    manifest_path: Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Advisory {
    ghsa_id: String,
    cve_id: Option<String>,
    summary: String,
    description: Option<String>,
    severity: String,
    html_url: Option<String>,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Vulnerability {
    package: Package,
    vulnerable_version_range: Option<String>,
    first_patched_version: Option<Version>,
}

#[derive(Deserialize)]
struct Package {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Version {
    identifier: String,
}

#[derive(Deserialize)]
struct CodeScanningAlert {
    number: u64,
    html_url: String,
    rule: Rule,
    tool: Tool,
    most_recent_instance: Option<Instance>,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    description: String,
    severity: Option<String>,
    security_severity_level: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
}

#[derive(Deserialize)]
struct Instance {
    location: Option<Location>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Location {
    path: Option<String>,
    start_line: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

#[derive(Deserialize)]
struct SecretAlert {
    number: u64,
    html_url: String,
    secret_type: String,
    secret_type_display_name: Option<String>,
    validity: Option<String>,
    publicly_leaked: Option<bool>,
    push_protection_bypassed: Option<bool>,
}

/// A vulnerable dependency.
pub fn dependabot(action: &str, event: &Event) -> Result<Finding, Failure> {
    if !matches!(
        action,
        "created" | "reopened" | "reintroduced" | "auto_reopened"
    ) {
        return Ok(over("vulnerability", action));
    }
    let alert: DependabotAlert = event.json_at("/alert")?;
    let repository: Repository = event.json_at("/repository")?;
    let advisory = alert.security_advisory;
    let mut urgency = by_severity(&advisory.severity);
    if alert.dependency.scope.as_deref() == Some("development") {
        urgency.lower("only a development dependency");
    }
    let vulnerability = alert.security_vulnerability;
    Ok(Finding::Incident(Incident {
        category: "vulnerability",
        labels: labels(action),
        urgency,
        title: format!(
            "{}: {} ({})",
            repository.full_name, advisory.summary, vulnerability.package.name
        ),
        facts: vec![
            ("Advisory", advisory.cve_id.unwrap_or(advisory.ghsa_id)),
            ("Package", vulnerability.package.to_string()),
            (
                "Vulnerable",
                vulnerability.vulnerable_version_range.unwrap_or_default(),
            ),
            ("Fixed in", version(vulnerability.first_patched_version)),
            (
                "Manifest",
                alert.dependency.manifest_path.unwrap_or_default(),
            ),
        ],
        text: advisory.description.unwrap_or_default(),
        url: Some(alert.html_url),
        group_key: format!(
            "github:{}:dependabot:{}",
            repository.full_name, alert.number
        ),
    }))
}

/// A flaw in the team's own code.
pub fn code_scanning(action: &str, event: &Event) -> Result<Finding, Failure> {
    if !matches!(
        action,
        "created" | "reopened" | "reopened_by_user" | "appeared_in_branch"
    ) {
        return Ok(over("vulnerability", action));
    }
    let alert: CodeScanningAlert = event.json_at("/alert")?;
    let repository: Repository = event.json_at("/repository")?;
    let git_ref: String = event.json_at("/ref")?;
    let rule = alert.rule;
    let mut urgency = match &rule.security_severity_level {
        Some(level) => by_severity(level),
        None => by_severity(match rule.severity.as_deref() {
            Some("error") => "medium",
            _ => "low",
        }),
    };
    if let Some(branch) = &repository.default_branch
        && git_ref.strip_prefix("refs/heads/") != Some(branch)
    {
        urgency.lower("not on the default branch");
    }
    let (location, message) = match alert.most_recent_instance {
        Some(it) => (it.location, it.message),
        None => (None, None),
    };
    Ok(Finding::Incident(Incident {
        category: "vulnerability",
        labels: labels(action),
        urgency,
        title: format!("{}: {}", repository.full_name, rule.description),
        facts: vec![
            ("Rule", format!("{} ({})", rule.id, alert.tool.name)),
            ("Ref", git_ref),
            (
                "Where",
                location.map(|it| it.to_string()).unwrap_or_default(),
            ),
        ],
        text: message.map(|it| it.text).unwrap_or_default(),
        url: Some(alert.html_url),
        group_key: format!(
            "github:{}:code_scanning:{}",
            repository.full_name, alert.number
        ),
    }))
}

/// A secret in a repository. The payload does not hold the secret itself.
pub fn secret_scanning(action: &str, event: &Event) -> Result<Finding, Failure> {
    if !matches!(
        action,
        "created" | "reopened" | "publicly_leaked" | "validated"
    ) {
        return Ok(over("leaked-secret", action));
    }
    let alert: SecretAlert = event.json_at("/alert")?;
    let repository: Repository = event.json_at("/repository")?;
    let mut urgency = Urgency::new(Priority::High, "a secret was committed");
    if alert.validity.as_deref() == Some("inactive") {
        urgency.at_most(Priority::Low, "the secret is not valid any more");
    } else if !repository.private || alert.publicly_leaked == Some(true) {
        urgency.at_least(Priority::Critical, "everybody can read it");
    } else if alert.validity.as_deref() == Some("active") {
        urgency.at_least(Priority::Critical, "the secret is valid");
    }
    let secret = alert.secret_type_display_name.unwrap_or(alert.secret_type);
    Ok(Finding::Incident(Incident {
        category: "leaked-secret",
        labels: labels(action),
        urgency,
        title: format!("{}: {secret} in the repository", repository.full_name),
        facts: vec![
            ("Secret", secret),
            ("Validity", alert.validity.unwrap_or_default()),
            (
                "Push protection",
                match alert.push_protection_bypassed {
                    Some(true) => "was bypassed".to_owned(),
                    _ => String::new(),
                },
            ),
        ],
        text: String::new(),
        url: Some(alert.html_url),
        group_key: format!(
            "github:{}:secret_scanning:{}",
            repository.full_name, alert.number
        ),
    }))
}

/// An advisory for everybody. Nothing says that the team is concerned, so it counts one step less.
pub fn advisory(action: &str, event: &Event) -> Result<Finding, Failure> {
    if action != "published" {
        return Ok(over("vulnerability", action));
    }
    let advisory: Advisory = event.json_at("/security_advisory")?;
    let mut urgency = by_severity(&advisory.severity);
    if urgency.priority < Priority::High {
        let reason = format!(
            "severity `{}`, and perhaps not used here",
            advisory.severity
        );
        return Ok(Finding::noise("vulnerability", reason));
    }
    urgency.lower("perhaps not used here");
    let packages: Vec<String> = advisory
        .vulnerabilities
        .iter()
        .map(|it| it.package.to_string())
        .collect();
    Ok(Finding::Incident(Incident {
        category: "vulnerability",
        labels: labels(action),
        urgency,
        title: format!("{}: {}", advisory.ghsa_id, advisory.summary),
        facts: vec![
            ("CVE", advisory.cve_id.unwrap_or_default()),
            ("Packages", packages.join(", ")),
        ],
        text: advisory.description.unwrap_or_default(),
        url: advisory.html_url,
        group_key: format!("github:advisory:{}", advisory.ghsa_id),
    }))
}

fn over(category: &'static str, action: &str) -> Finding {
    Finding::noise(category, format!("`{action}` asks for nothing"))
}

fn by_severity(severity: &str) -> Urgency {
    let priority = match severity {
        "critical" => Priority::Critical,
        "high" => Priority::High,
        "low" => Priority::Low,
        _ => Priority::Normal,
    };
    Urgency::new(priority, &format!("severity `{severity}`"))
}

fn labels(action: &str) -> Vec<&'static str> {
    match action {
        "reopened" | "reopened_by_user" | "auto_reopened" | "reintroduced" => {
            vec!["github", "security", "regression"]
        }
        _ => vec!["github", "security"],
    }
}

fn version(version: Option<Version>) -> String {
    version.map(|it| it.identifier).unwrap_or_default()
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.ecosystem)
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path.as_deref().unwrap_or_default())?;
        match self.start_line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}
