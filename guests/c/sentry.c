// Sentry's integration platform: issues, issue alerts, metric alerts, errors. Included by policy.c.

static urgency by_level(triage_text level) {
  int priority = TRIAGE_NORMAL;
  if (is(level, "fatal")) priority = TRIAGE_HIGH;
  if (IS_ONE_OF(level, "warning", "info", "debug", "sample")) priority = TRIAGE_LOW;
  return (urgency){priority, quoted("level", level)};
}

static bool find_sentry_issue(const triage_event *event, const triage_json *settings, finding *found) {
  static const char *const required[] = {"id", "title", "level", "project", NULL};
  const triage_json *issue = triage_json_at(event, "/data/issue", required);
  if (!issue) return false;
  urgency urgency = by_level(or_empty(triage_json_text(issue, "level")));
  uint64_t users = triage_json_number(issue, "userCount", 0);
  triage_text substatus = or_empty(triage_json_text(issue, "substatus"));
  if (triage_json_is_true(issue, "isUnhandled")) raise(&urgency, T("nothing handles it"));
  if (is(substatus, "regressed")) raise(&urgency, T("it was resolved and came back"));
  if (is(substatus, "escalating")) raise(&urgency, T("it happens more and more often"));
  if (is(or_empty(triage_json_text(issue, "issueCategory")), "outage")) {
    at_least(&urgency, TRIAGE_HIGH, T("a monitor reports an outage"));
  }
  by_users(&urgency, users, settings);
  triage_optional_text short_id = triage_json_text(issue, "shortId");
  triage_text title = or_empty(triage_json_text(issue, "title"));
  begin(found, "error", "sentry", urgency);
  if (is(substatus, "regressed")) add_label(found, "regression");
  found->title = short_id.some ? TRIAGE_JOIN(short_id.text, T(": "), title) : title;
  add_fact(found, "Project", or_empty(triage_json_text(triage_json_member(issue, "project"), "slug")));
  add_fact(found, "Where", or_empty(triage_json_text(issue, "culprit")));
  add_fact(found, "Users", triage_number(users));
  add_fact(found, "First seen", or_empty(triage_json_text(issue, "firstSeen")));
  found->url = triage_json_text(issue, "web_url");
  found->group_key = TRIAGE_JOIN(T("sentry:issue:"), or_empty(triage_json_text(issue, "id")));
  return true;
}

static triage_optional_text tag(const triage_json *occurrence, const char *name) {
  const triage_json *tags = triage_json_member(occurrence, "tags");
  for (const triage_json *it = tags ? tags->first : NULL; it; it = it->next) {
    if (it->first && is(it->first->text, name)) {
      const triage_json *value = it->first->next;
      return (triage_optional_text){value && value->kind == JSON_TEXT, value ? value->text : T("")};
    }
  }
  return (triage_optional_text){0};
}

static bool find_occurrence(const char *category, const char *pointer, triage_optional_text rule,
                            const triage_event *event, const triage_json *settings, finding *found) {
  const triage_json *it = triage_json_at(event, pointer, (const char *const[]){"title", "issue_id", NULL});
  if (!it) return false;
  triage_optional_text environment = triage_json_text(it, "environment"), level = triage_json_text(it, "level");
  if (!environment.some) environment = tag(it, "environment");
  if (!level.some) level = tag(it, "level");
  if (!level.some) level = (triage_optional_text){true, T("error")};
  urgency urgency = by_level(level.text);
  // Sentry sends every single occurrence; new issues and alert rules tell when people should look.
  if (!rule.some) lower_urgency(&urgency, T("one occurrence of many"));
  if (!is_production(settings, environment)) {
    if (!IS_ONE_OF(level.text, "error", "fatal")) {
      noise(found, category, TRIAGE_JOIN(quoted("level", level.text), T(" outside production")));
      return true;
    }
    at_most(&urgency, TRIAGE_LOW, T("not in production"));
  }
  begin(found, category, "sentry", urgency);
  found->title = or_empty(triage_json_text(it, "title"));
  add_fact(found, "Alert rule", or_empty(rule));
  add_fact(found, "Environment", or_empty(environment));
  add_fact(found, "Release", or_empty(triage_json_text(it, "release")));
  add_fact(found, "Where", or_empty(triage_json_text(it, "culprit")));
  found->url = triage_json_text(it, "web_url");
  found->group_key = TRIAGE_JOIN(T("sentry:issue:"), or_empty(triage_json_text(it, "issue_id")));
  return true;
}

static bool find_metric_alert(int priority, const triage_event *event, const triage_json *settings, finding *found) {
  const triage_json *data =
      triage_json_at(event, "/data", (const char *const[]){"metric_alert", "description_text", NULL});
  if (!data) return false;
  const triage_json *alert = triage_json_member(data, "metric_alert");
  triage_optional_text environment = triage_json_text(triage_json_member(alert, "alert_rule"), "environment");
  urgency urgency = {priority, T("a metric is over its threshold")};
  if (!is_production(settings, environment)) at_most(&urgency, TRIAGE_LOW, T("not in production"));
  const triage_json *projects = triage_json_member(alert, "projects");
  triage_text names = T("");
  for (const triage_json *it = projects ? projects->first : NULL; it; it = it->next) {
    names = TRIAGE_JOIN(names, names.count ? T(", ") : T(""), it->text);
  }
  begin(found, "alert", "sentry", urgency);
  found->title = or_empty(triage_json_text(alert, "title"));
  add_fact(found, "Projects", names);
  add_fact(found, "Environment", or_empty(environment));
  found->text = or_empty(triage_json_text(data, "description_text"));
  found->url = triage_json_text(data, "web_url");
  found->group_key = TRIAGE_JOIN(T("sentry:metric_alert:"), or_empty(triage_json_text(alert, "id")));
  return true;
}

static bool find_sentry(triage_text name, const triage_event *event, const triage_json *settings, finding *found) {
  if (IS_ONE_OF(name, "issue.created", "issue.unresolved")) return find_sentry_issue(event, settings, found);
  if (IS_ONE_OF(name, "issue.resolved", "issue.assigned", "issue.archived", "issue.ignored")) {
    noise(found, "error", T("somebody has dealt with this issue in Sentry"));
  } else if (is(name, "event_alert.triggered")) {
    const triage_json *rule = triage_json_at(event, "/data/triggered_rule", NULL);
    if (!rule) return false;
    triage_optional_text text = {true, rule->text};
    return find_occurrence("alert", "/data/event", text, event, settings, found);
  } else if (is(name, "error.created")) {
    return find_occurrence("error", "/data/error", (triage_optional_text){0}, event, settings, found);
  } else if (is(name, "metric_alert.critical")) {
    return find_metric_alert(TRIAGE_CRITICAL, event, settings, found);
  } else if (is(name, "metric_alert.warning")) {
    return find_metric_alert(TRIAGE_NORMAL, event, settings, found);
  } else if (is(name, "metric_alert.resolved")) {
    noise(found, "alert", T("the metric is back to normal"));
  }
  return true;
}
