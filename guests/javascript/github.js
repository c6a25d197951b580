// GitHub: issues, security alerts and advisories.

import { jsonAt } from "./triage.js";
import { Urgency, contains, noise } from "./incident.js";

export function find(name, event, settings) {
  const dot = name.indexOf(".");
  const [kind, action] = [name.slice(0, dot), name.slice(dot + 1)];
  switch (dot < 0 ? "" : kind) {
    case "issues":
      return ["opened", "reopened", "labeled"].includes(action)
        ? issue(action, event, settings)
        : noise("issue", `an issue was ${action}`);
    case "dependabot_alert":
      return dependabot(action, event);
    case "code_scanning_alert":
      return codeScanning(action, event);
    case "secret_scanning_alert":
      return secretScanning(action, event);
    case "security_advisory":
      return advisory(action, event);
    default:
      return null;
  }
}

function issue(action, event, settings) {
  const { label, repository, sender } = jsonAt(event, "", ["issue", "repository", "sender"]);
  const issue = jsonAt(event, "/issue", ["number", "title", "html_url"]);
  const labels = (issue.labels ?? []).map((it) => it.name);
  const urgency = new Urgency("normal", `an issue was ${action}`);
  for (const name of labels) {
    if (contains(settings.critical_labels, name)) urgency.atLeast("critical", `label \`${name}\``);
    else if (contains(settings.urgent_labels, name)) urgency.atLeast("high", `label \`${name}\``);
  }
  const isUrgent = urgency.isAbove("normal");
  if (label != null && !contains(settings.critical_labels, label.name) && !contains(settings.urgent_labels, label.name)) {
    return noise("issue", `label \`${label.name}\` says nothing about urgency`);
  }
  if (!isUrgent) {
    if (sender.type === "Bot") return noise("issue", `${action} by the bot ${sender.login}`);
    for (const name of labels) {
      if (contains(settings.quiet_labels, name)) urgency.atMost("low", `label \`${name}\``);
    }
  }
  return {
    category: "issue",
    labels: action === "reopened" ? ["github", "regression"] : ["github"],
    urgency,
    title: `${repository.full_name}#${issue.number}: ${issue.title}`,
    facts: [["Author", issue.user?.login], ["Labels", labels.join(", ")]],
    text: issue.body,
    url: issue.html_url,
    groupKey: `github:${repository.full_name}#${issue.number}`,
  };
}

/** A vulnerable dependency. */
function dependabot(action, event) {
  if (!["created", "reopened", "reintroduced", "auto_reopened"].includes(action)) return over("vulnerability", action);
  const alert = jsonAt(event, "/alert", ["number", "html_url", "dependency", "security_advisory", "security_vulnerability"]);
  const repository = jsonAt(event, "/repository", ["full_name"]);
  const { security_advisory: advisory, security_vulnerability: vulnerability, dependency } = alert;
  const urgency = bySeverity(advisory.severity);
  if (dependency.scope === "development") urgency.lower("only a development dependency");
  return {
    category: "vulnerability",
    labels: labels(action),
    urgency,
    title: `${repository.full_name}: ${advisory.summary} (${vulnerability.package.name})`,
    facts: [
      ["Advisory", advisory.cve_id ?? advisory.ghsa_id],
      ["Package", named(vulnerability.package)],
      ["Vulnerable", vulnerability.vulnerable_version_range],
      ["Fixed in", vulnerability.first_patched_version?.identifier],
      ["Manifest", dependency.manifest_path],
    ],
    text: advisory.description,
    url: alert.html_url,
    groupKey: `github:${repository.full_name}:dependabot:${alert.number}`,
  };
}

/** A flaw in the team's own code. */
function codeScanning(action, event) {
  if (!["created", "reopened", "reopened_by_user", "appeared_in_branch"].includes(action)) return over("vulnerability", action);
  const alert = jsonAt(event, "/alert", ["number", "html_url", "rule", "tool"]);
  const repository = jsonAt(event, "/repository", ["full_name"]);
  const ref = jsonAt(event, "/ref");
  const { rule, most_recent_instance: instance } = alert;
  const urgency = bySeverity(rule.security_severity_level ?? (rule.severity === "error" ? "medium" : "low"));
  const branch = repository.default_branch;
  if (branch != null && ref !== `refs/heads/${branch}`) urgency.lower("not on the default branch");
  const { path, start_line: line } = instance?.location ?? {};
  return {
    category: "vulnerability",
    labels: labels(action),
    urgency,
    title: `${repository.full_name}: ${rule.description}`,
    facts: [
      ["Rule", `${rule.id} (${alert.tool.name})`],
      ["Ref", ref],
      ["Where", line == null ? path : `${path ?? ""}:${line}`],
    ],
    text: instance?.message?.text,
    url: alert.html_url,
    groupKey: `github:${repository.full_name}:code_scanning:${alert.number}`,
  };
}

/** A secret in a repository. The payload does not hold the secret itself. */
function secretScanning(action, event) {
  if (!["created", "reopened", "publicly_leaked", "validated"].includes(action)) return over("leaked-secret", action);
  const alert = jsonAt(event, "/alert", ["number", "html_url", "secret_type"]);
  const repository = jsonAt(event, "/repository", ["full_name"]);
  const urgency = new Urgency("high", "a secret was committed");
  if (alert.validity === "inactive") urgency.atMost("low", "the secret is not valid any more");
  else if (repository.private !== true || alert.publicly_leaked === true) urgency.atLeast("critical", "everybody can read it");
  else if (alert.validity === "active") urgency.atLeast("critical", "the secret is valid");
  const secret = alert.secret_type_display_name ?? alert.secret_type;
  return {
    category: "leaked-secret",
    labels: labels(action),
    urgency,
    title: `${repository.full_name}: ${secret} in the repository`,
    facts: [
      ["Secret", secret],
      ["Validity", alert.validity],
      ["Push protection", alert.push_protection_bypassed === true ? "was bypassed" : null],
    ],
    text: "",
    url: alert.html_url,
    groupKey: `github:${repository.full_name}:secret_scanning:${alert.number}`,
  };
}

/** An advisory for everybody. Nothing says that the team is concerned, so it counts one step less. */
function advisory(action, event) {
  if (action !== "published") return over("vulnerability", action);
  const advisory = jsonAt(event, "/security_advisory", ["ghsa_id", "summary", "severity"]);
  const urgency = bySeverity(advisory.severity);
  if (!urgency.isAbove("normal")) {
    return noise("vulnerability", `severity \`${advisory.severity}\`, and perhaps not used here`);
  }
  urgency.lower("perhaps not used here");
  return {
    category: "vulnerability",
    labels: labels(action),
    urgency,
    title: `${advisory.ghsa_id}: ${advisory.summary}`,
    facts: [["CVE", advisory.cve_id], ["Packages", (advisory.vulnerabilities ?? []).map((it) => named(it.package)).join(", ")]],
    text: advisory.description,
    url: advisory.html_url,
    groupKey: `github:advisory:${advisory.ghsa_id}`,
  };
}

const over = (category, action) => noise(category, `\`${action}\` asks for nothing`);

const named = ({ name, ecosystem }) => `${name} (${ecosystem})`;

function bySeverity(severity) {
  const priority = ["critical", "high", "low"].includes(severity) ? severity : "normal";
  return new Urgency(priority, `severity \`${severity}\``);
}

function labels(action) {
  const isBack = ["reopened", "reopened_by_user", "auto_reopened", "reintroduced"].includes(action);
  return isBack ? ["github", "security", "regression"] : ["github", "security"];
}
