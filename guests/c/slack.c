// Slack: mentions of the app, and messages that read like an incident. Included by policy.c.

// Of ASCII; every other character counts as a letter.
static bool is_alphanumeric(char it) {
  return (it >= '0' && it <= '9') || (lower(it) >= 'a' && lower(it) <= 'z') || (unsigned char)it >= 0x80;
}

static bool stands_in(triage_text text, triage_text word) {
  for (size_t i = 0; i + word.count <= text.count; i++) {
    size_t end = i + word.count;
    if (equal_in_any_case((triage_text){text.at + i, word.count}, word) &&
        (i == 0 || !is_alphanumeric(text.at[i - 1])) && (end == text.count || !is_alphanumeric(text.at[end]))) {
      return true;
    }
  }
  return false;
}

// The first of these words that stands in the text, in any case, and not inside a longer word.
static triage_optional_text first_word(triage_text text, const triage_json *settings, const char *list) {
  const triage_json *words = triage_json_member(settings, list);
  for (const triage_json *it = words ? words->first : NULL; it; it = it->next) {
    if (stands_in(text, it->text)) return (triage_optional_text){true, it->text};
  }
  return (triage_optional_text){0};
}

static bool find_slack(triage_text name, const triage_event *event, const triage_json *settings, finding *found) {
  bool is_mention = is(name, "app_mention");
  if (!is_mention && !is(name, "message")) return true;
  const triage_json *message = triage_json_at(event, "/event", (const char *const[]){"channel", "ts", NULL});
  if (!message) return false;
  triage_optional_text subtype = triage_json_text(message, "subtype"), thread = triage_json_text(message, "thread_ts");
  triage_text channel = or_empty(triage_json_text(message, "channel")), ts = or_empty(triage_json_text(message, "ts"));
  const char *reason = NULL;
  if (triage_json_text(message, "bot_id").some) {
    reason = "written by a bot";
  } else if (!is_mention && thread.some && !triage_equal(thread.text, ts)) {
    reason = "an answer in a thread";
  }
  triage_text text = or_empty(triage_json_text(message, "text"));
  triage_optional_text critical = first_word(text, settings, "critical_words");
  triage_optional_text urgent = first_word(text, settings, "incident_words");
  urgency urgency = {TRIAGE_NORMAL, T("somebody asks for attention")};
  if (urgent.some) urgency.priority = TRIAGE_HIGH, urgency.reasons = quoted("it says", urgent.text);
  if (critical.some) urgency.priority = TRIAGE_CRITICAL, urgency.reasons = quoted("it says", critical.text);
  if (!reason && !is_mention && !critical.some && !urgent.some) reason = "nothing in it reads like an incident";
  if (subtype.some) {
    noise(found, "report", TRIAGE_JOIN(T("a `"), subtype.text, T("`, not somebody's words")));
    return true;
  }
  if (reason) {
    noise(found, "report", (triage_text){reason, strlen(reason)});
    return true;
  }
  begin(found, "report", "slack", urgency);
  found->title = TRIAGE_JOIN(T("Slack: "), trim(text));
  add_fact(found, "Channel", channel);
  add_fact(found, "From", or_empty(triage_json_text(message, "user")));
  found->text = text;
  found->group_key = TRIAGE_JOIN(T("slack:"), channel, T(":"), or(thread, ts));
  return true;
}
