// Incidents from any sender of Standard Webhooks: `incident.<action>`. Included by policy.c.

// Senders have many words for the same four steps.
static urgency by_severity_word(triage_optional_text severity) {
  if (!severity.some) return (urgency){TRIAGE_NORMAL, T("no severity is given")};
  char *word = triage_alloc(severity.text.count);
  for (size_t i = 0; i < severity.text.count; i++) word[i] = lower(severity.text.at[i]);
  triage_text text = {word, severity.text.count};
  int priority = TRIAGE_NORMAL;
  if (IS_ONE_OF(text, "critical", "fatal", "emergency", "sev1", "p0", "p1")) priority = TRIAGE_CRITICAL;
  if (IS_ONE_OF(text, "high", "major", "error", "sev2", "p2")) priority = TRIAGE_HIGH;
  if (IS_ONE_OF(text, "low", "minor", "info", "sev4", "p4")) priority = TRIAGE_LOW;
  return (urgency){priority, quoted("severity", severity.text)};
}

static triage_optional_text first_text(const triage_json *object, const char *one, const char *other) {
  triage_optional_text text = triage_json_text(object, one);
  return text.some ? text : triage_json_text(object, other);
}

static bool find_standard(triage_text name, const triage_event *event, const triage_json *settings, finding *found) {
  triage_text kind, action;
  if (!cut(name, '.', &kind, &action) || !is(kind, "incident")) return true;
  if (IS_ONE_OF(action, "resolved", "closed", "cancelled", "acknowledged")) {
    noise(found, "incident", TRIAGE_JOIN(T("the incident is "), action));
    return true;
  }
  const triage_json *data = triage_json_at(event, "/data", (const char *const[]){"title", NULL});
  if (!data) return false;
  urgency urgency = by_severity_word(first_text(data, "severity", "level"));
  uint64_t none = UINT64_MAX;
  uint64_t users = triage_json_number(data, "users_affected", triage_json_number(data, "affected_customers", none));
  if (users != none) by_users(&urgency, users, settings);
  triage_optional_text environment = triage_json_text(data, "environment");
  if (!is_production(settings, environment)) {
    if (urgency.priority < TRIAGE_HIGH) {
      noise(found, "incident", T("not urgent, and not in production"));
      return true;
    }
    at_most(&urgency, TRIAGE_LOW, T("not in production"));
  }
  // Something that is called by its name, or described with it.
  triage_optional_text service = triage_json_text(data, "service");
  if (!service.some) service = triage_json_text(triage_json_member(data, "service"), "name");
  triage_text title = or_empty(triage_json_text(data, "title"));
  begin(found, "incident", "standard", urgency);
  if (is(action, "reopened")) add_label(found, "regression");
  found->title = service.some ? TRIAGE_JOIN(service.text, T(": "), title) : title;
  add_fact(found, "Service", or_empty(service));
  add_fact(found, "Environment", or_empty(environment));
  add_fact(found, "Users", users == none ? T("") : triage_number(users));
  found->text = or_empty(first_text(data, "description", "summary"));
  found->url = triage_json_text(data, "url");
  found->group_key = TRIAGE_JOIN(T("standard:"), or(triage_json_text(data, "id"), event->idempotency_key));
  return true;
}
