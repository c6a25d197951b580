// Slack: mentions of the app, and messages that read like an incident.

import { jsonAt } from "./triage.js";
import { Urgency, noise } from "./incident.js";

export function find(name, event, settings) {
  const isMention = name === "app_mention";
  if (!isMention && name !== "message") return null;
  const message = jsonAt(event, "/event", ["channel", "ts"]);
  if (message.subtype != null) return noise("report", `a \`${message.subtype}\`, not somebody's words`);
  if (message.bot_id != null) return noise("report", "written by a bot");
  if (!isMention && message.thread_ts != null && message.thread_ts !== message.ts) {
    return noise("report", "an answer in a thread");
  }
  const text = message.text ?? "";
  const urgency = judge(text, isMention, settings);
  if (urgency == null) return noise("report", "nothing in it reads like an incident");
  return {
    category: "report",
    labels: ["slack"],
    urgency,
    title: `Slack: ${text.trim()}`,
    facts: [["Channel", message.channel], ["From", message.user]],
    text,
    url: null,
    groupKey: `slack:${message.channel}:${message.thread_ts ?? message.ts}`,
  };
}

function judge(text, isMention, settings) {
  const critical = firstWord(text, settings.critical_words);
  if (critical != null) return new Urgency("critical", `it says \`${critical}\``);
  const urgent = firstWord(text, settings.incident_words);
  if (urgent != null) return new Urgency("high", `it says \`${urgent}\``);
  return isMention ? new Urgency("normal", "somebody asks for attention") : null;
}

/** The first of these words that stands in the text, in any case, and not inside a longer word. */
function firstWord(text, words) {
  const escaped = (word) => word.toLowerCase().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const letter = "[\\p{Alphabetic}\\p{N}]";
  const stands = (word) => new RegExp(`(?<!${letter})${escaped(word)}(?!${letter})`, "u");
  return words.find((word) => stands(word).test(text.toLowerCase()));
}
