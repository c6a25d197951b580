// Sentry's integration platform: issues, issue alerts, metric alerts, errors.

import { jsonAt } from "./triage.js";
import { Urgency, isProduction, noise } from "./incident.js";

const OCCURRENCE = ["title", "issue_id"];

export function find(name, event, settings) {
  switch (name) {
    case "issue.created":
    case "issue.unresolved":
      return issue(jsonAt(event, "/data/issue", ["id", "title", "level", "project"]), settings);
    case "issue.resolved":
    case "issue.assigned":
    case "issue.archived":
    case "issue.ignored":
      return noise("error", "somebody has dealt with this issue in Sentry");
    case "event_alert.triggered":
      return occurrence("alert", jsonAt(event, "/data/triggered_rule"), jsonAt(event, "/data/event", OCCURRENCE), settings);
    case "error.created":
      return occurrence("error", null, jsonAt(event, "/data/error", OCCURRENCE), settings);
    case "metric_alert.critical":
    case "metric_alert.warning": {
      const priority = name === "metric_alert.critical" ? "critical" : "normal";
      return metricAlert(priority, jsonAt(event, "/data", ["metric_alert", "description_text"]), settings);
    }
    case "metric_alert.resolved":
      return noise("alert", "the metric is back to normal");
    default:
      return null;
  }
}

function issue(issue, settings) {
  const labels = ["sentry"];
  const urgency = byLevel(issue.level);
  const users = issue.userCount ?? 0;
  if (issue.isUnhandled === true) urgency.raise("nothing handles it");
  if (issue.substatus === "regressed") {
    labels.push("regression");
    urgency.raise("it was resolved and came back");
  } else if (issue.substatus === "escalating") {
    urgency.raise("it happens more and more often");
  }
  if (issue.issueCategory === "outage") urgency.atLeast("high", "a monitor reports an outage");
  urgency.byUsers(users, settings);
  return {
    category: "error",
    labels,
    urgency,
    title: issue.shortId == null ? issue.title : `${issue.shortId}: ${issue.title}`,
    facts: [["Project", issue.project.slug], ["Where", issue.culprit], ["Users", users], ["First seen", issue.firstSeen]],
    text: "",
    url: issue.web_url,
    groupKey: `sentry:issue:${issue.id}`,
  };
}

function occurrence(category, rule, occurrence, settings) {
  const tag = (name) => (occurrence.tags ?? []).find(([it]) => it === name)?.[1];
  const environment = occurrence.environment ?? tag("environment");
  const level = occurrence.level ?? tag("level") ?? "error";
  const urgency = byLevel(level);
  // Sentry sends every single occurrence; new issues and alert rules tell when people should look.
  if (rule == null) urgency.lower("one occurrence of many");
  if (!isProduction(settings, environment)) {
    if (level !== "error" && level !== "fatal") return noise(category, `level \`${level}\` outside production`);
    urgency.atMost("low", "not in production");
  }
  return {
    category,
    labels: ["sentry"],
    urgency,
    title: occurrence.title,
    facts: [["Alert rule", rule], ["Environment", environment], ["Release", occurrence.release], ["Where", occurrence.culprit]],
    text: "",
    url: occurrence.web_url,
    groupKey: `sentry:issue:${occurrence.issue_id}`,
  };
}

function metricAlert(priority, data, settings) {
  const alert = data.metric_alert;
  const environment = alert.alert_rule.environment;
  const urgency = new Urgency(priority, "a metric is over its threshold");
  if (!isProduction(settings, environment)) urgency.atMost("low", "not in production");
  return {
    category: "alert",
    labels: ["sentry"],
    urgency,
    title: alert.title,
    facts: [["Projects", (alert.projects ?? []).join(", ")], ["Environment", environment]],
    text: data.description_text,
    url: data.web_url,
    groupKey: `sentry:metric_alert:${alert.id}`,
  };
}

function byLevel(level) {
  let priority = "normal";
  if (level === "fatal") priority = "high";
  else if (["warning", "info", "debug", "sample"].includes(level)) priority = "low";
  return new Urgency(priority, `level \`${level}\``);
}
