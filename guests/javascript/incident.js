// What a source found in an event, and what follows from it: a classification, a plan.

export const CATEGORIES = ["alert", "error", "incident", "issue", "leaked-secret", "report", "unhandled", "vulnerability"];
export const LABELS = ["github", "regression", "security", "sentry", "slack", "standard"];

const PRIORITIES = ["ignore", "low", "normal", "high", "critical"];
const TITLE_CHARS_MAX = 160;
const FACT_CHARS_MAX = 300;
const TEXT_CHARS_MAX = 2000;

/** White space as Unicode has it; `\s` holds one character more. */
const SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const GAPS = new RegExp(`[${SPACE}\\x00-\\x1f\\x7f-\\x9f]+`, "g");
const EDGES = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "g");
const END = new RegExp(`[${SPACE}]+$`);
const NOT_IN_URL = new RegExp(`[${SPACE}\\x00-\\x1f\\x7f-\\x9f<>]`);

/** A priority and why it is so, step by step. */
export class Urgency {
  constructor(priority, reason) {
    this.rank = PRIORITIES.indexOf(priority);
    this.reasons = [reason];
  }
  get priority() {
    return PRIORITIES[this.rank];
  }
  set(rank, reason) {
    if (rank === this.rank) return;
    this.rank = rank;
    this.reasons.push(reason);
  }
  raise(reason) {
    this.set(Math.min(this.rank + 1, 4), reason);
  }
  /** One step down, but never to `ignore`. */
  lower(reason) {
    this.set(this.rank === 0 ? 0 : Math.max(this.rank - 1, 1), reason);
  }
  atLeast(priority, reason) {
    this.set(Math.max(this.rank, PRIORITIES.indexOf(priority)), reason);
  }
  atMost(priority, reason) {
    this.set(Math.min(this.rank, PRIORITIES.indexOf(priority)), reason);
  }
  isAbove(priority) {
    return PRIORITIES.indexOf(priority) < this.rank;
  }
  /** As many affected users ask for. */
  byUsers(users, settings) {
    const reason = `${users} users are affected`;
    if (settings.users_critical <= users) this.atLeast("critical", reason);
    else if (settings.users_high <= users) this.atLeast("high", reason);
  }
}

/** An environment that nobody named counts as production. */
export const isProduction = (settings, environment) => environment == null || contains(settings.production, environment);

/** Whether a list holds a word, in any case of ASCII letters. */
export function contains(words, word) {
  const lower = (text) => text.replace(/[A-Z]/g, (it) => it.toLowerCase());
  return words.some((it) => lower(it) === lower(word));
}

export const noise = (category, reason) => ({ isNoise: true, category, reason });

export function classification(finding) {
  const { category, labels = [], urgency } = finding;
  return {
    priority: finding.isNoise ? "ignore" : urgency.priority,
    category,
    labels,
    confidencePercent: 100,
    reason: finding.isNoise ? finding.reason : urgency.reasons.join("; "),
  };
}

export function plan(incident, classification, settings) {
  if (incident.isNoise) return { summary: incident.reason, actions: [] };
  const rank = PRIORITIES.indexOf(classification.priority);
  const title = oneLine(incident.title, TITLE_CHARS_MAX);
  const url = isWebUrl(incident.url) ? incident.url : null;
  const actions = [];
  if (PRIORITIES.indexOf("normal") <= rank) {
    const val = {
      title,
      body: body(incident, classification.reason, url),
      labels: classification.labels,
      assignee: null,
      groupKey: incident.groupKey,
    };
    actions.push({ name: "ticket", destination: settings.destination, content: { tag: "ticket", val } });
  }
  if (settings.webhook_destination != null && PRIORITIES.indexOf("high") <= rank) {
    const payload = JSON.stringify({
      title,
      priority: classification.priority,
      reason: classification.reason,
      url,
      group_key: incident.groupKey,
    });
    actions.push({ name: "page", destination: settings.webhook_destination, content: { tag: "webhook", val: { payload } } });
  }
  return { summary: title, actions };
}

/** The ticket's text, in Markdown. */
function body(incident, reason, url) {
  let body = `${oneLine(reason, FACT_CHARS_MAX)}\n`;
  const facts = incident.facts.filter(([, value]) => value != null && value !== "");
  if (0 < facts.length) body += "\n";
  for (const [name, value] of facts) body += `- **${name}:** ${oneLine(String(value), FACT_CHARS_MAX)}\n`;
  const text = clip((incident.text ?? "").replace(EDGES, ""), TEXT_CHARS_MAX);
  if (text !== "") {
    body += "\n";
    for (const line of lines(text)) body += `> ${line}`.replace(END, "") + "\n";
  }
  return url == null ? body : `${body}\n<${url}>\n`;
}

function lines(text) {
  const lines = text.split("\n").map((it) => (it.endsWith("\r") ? it.slice(0, -1) : it));
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** Text of strangers as one line: no control characters, no runs of white space. */
const oneLine = (text, charsMax) => clip(text.split(GAPS).filter((it) => it !== "").join(" "), charsMax);

function clip(text, charsMax) {
  const chars = Array.from(text);
  return chars.length <= charsMax ? text : `${chars.slice(0, charsMax).join("")}…`;
}

/** A link that may stand in a ticket: no other scheme, nothing that ends the brackets around it. */
const isWebUrl = (url) => url != null && /^https?:\/\//.test(url) && !NOT_IN_URL.test(url);
