// Incidents from any sender of Standard Webhooks: `incident.<action>`.

import { jsonAt } from "./triage.js";
import { Urgency, isProduction, noise } from "./incident.js";

export function find(name, event, settings) {
  if (!name.startsWith("incident.")) return null;
  const action = name.slice("incident.".length);
  if (["resolved", "closed", "cancelled", "acknowledged"].includes(action)) {
    return noise("incident", `the incident is ${action}`);
  }
  const data = jsonAt(event, "/data", ["title"]);
  const urgency = bySeverity(data.severity ?? data.level);
  const users = data.users_affected ?? data.affected_customers;
  urgency.byUsers(users ?? 0, settings);
  if (!isProduction(settings, data.environment)) {
    if (!urgency.isAbove("normal")) return noise("incident", "not urgent, and not in production");
    urgency.atMost("low", "not in production");
  }
  const service = data.service?.name ?? data.service;
  return {
    category: "incident",
    labels: action === "reopened" ? ["standard", "regression"] : ["standard"],
    urgency,
    title: service == null ? data.title : `${service}: ${data.title}`,
    facts: [["Service", service], ["Environment", data.environment], ["Users", users]],
    text: data.description ?? data.summary,
    url: data.url,
    groupKey: `standard:${data.id ?? event.idempotencyKey}`,
  };
}

/** Senders have many words for the same four steps. */
function bySeverity(severity) {
  if (severity == null) return new Urgency("normal", "no severity is given");
  const word = severity.toLowerCase();
  let priority = "normal";
  if (["critical", "fatal", "emergency", "sev1", "p0", "p1"].includes(word)) priority = "critical";
  else if (["high", "major", "error", "sev2", "p2"].includes(word)) priority = "high";
  else if (["low", "minor", "info", "sev4", "p4"].includes(word)) priority = "low";
  return new Urgency(priority, `severity \`${severity}\``);
}
