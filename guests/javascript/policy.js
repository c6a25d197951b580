// The policy of plugins/incident-desk in JavaScript: one file per source says what an event means,
// `incident.js` says what follows from it.

import * as triage from "./triage.js";
import * as github from "./github.js";
import * as incident from "./incident.js";
import * as sentry from "./sentry.js";
import * as slack from "./slack.js";
import * as standard from "./standard.js";

const SOURCES = { github, sentry, slack, standard };

const DEFAULTS = {
  destination: "desk",
  webhook_destination: null,
  production: ["production", "prod", "live"],
  urgent_labels: ["urgent", "regression", "security", "p1", "sev2"],
  critical_labels: ["critical", "incident", "outage", "p0", "sev1"],
  quiet_labels: ["question", "documentation", "duplicate", "invalid", "wontfix"],
  incident_words: ["incident", "is down", "are down", "degraded", "sev2", "p1", "500s", "timeouts"],
  critical_words: ["outage", "sev1", "sev-1", "p0", "data loss", "breach"],
  users_high: 10,
  users_critical: 100,
};

function find(event, settings) {
  const [, source, name] = /^([^.]*)\.(.*)$/s.exec(event.eventType) ?? [];
  const found = Object.hasOwn(SOURCES, source) ? SOURCES[source].find(name, event, settings) : null;
  return found ?? incident.noise("unhandled", `\`${event.eventType}\` is not handled here`);
}

export const plugin = {
  describe: () => ({
    name: "incident-desk-javascript",
    version: "0.1.0",
    description: "Opens tickets for errors, issues, security alerts and reported incidents, and pages for urgent ones.",
    triggers: ["sentry.*", "github.issues.*", "slack.app_mention", "slack.message", "standard.incident.*"],
    labels: incident.LABELS,
    categories: incident.CATEGORIES,
    settingsSchema: null,
  }),
};

export const classifier = {
  classify: (event) => incident.classification(find(event, triage.settings(DEFAULTS))),
};

export const triager = {
  triage(event, classification) {
    const settings = triage.settings(DEFAULTS);
    return incident.plan(find(event, settings), classification, settings);
  },
};
