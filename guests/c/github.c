// GitHub: issues, security alerts and advisories. Included by policy.c.

#define TEXT_OF(object, name) or_empty(triage_json_text((object), (name)))
#define PART(object, name) triage_json_member((object), (name))

static bool over(finding *found, const char *category, triage_text action) {
  noise(found, category, TRIAGE_JOIN(T("`"), action, T("` asks for nothing")));
  return true;
}

static urgency by_severity(triage_text severity) {
  int priority = TRIAGE_NORMAL;
  if (is(severity, "critical")) priority = TRIAGE_CRITICAL;
  if (is(severity, "high")) priority = TRIAGE_HIGH;
  if (is(severity, "low")) priority = TRIAGE_LOW;
  return (urgency){priority, quoted("severity", severity)};
}

static void begin_security(finding *found, const char *category, triage_text action, urgency urgency) {
  begin(found, category, "github", urgency);
  add_label(found, "security");
  if (IS_ONE_OF(action, "reopened", "reopened_by_user", "auto_reopened", "reintroduced")) {
    add_label(found, "regression");
  }
}

static triage_text named(const triage_json *package) {
  return TRIAGE_JOIN(TEXT_OF(package, "name"), T(" ("), TEXT_OF(package, "ecosystem"), T(")"));
}

static triage_text number_of(const triage_json *object) { return triage_number(triage_json_number(object, "number", 0)); }

static bool is_urgent_label(const triage_json *settings, triage_text name) {
  return contains(settings, "critical_labels", name) || contains(settings, "urgent_labels", name);
}

static bool find_issue(triage_text action, const triage_event *event, const triage_json *settings, finding *found) {
  const triage_json *body = triage_json_at(event, "", (const char *const[]){"issue", "repository", "sender", NULL});
  if (!body) return false;
  const triage_json *issue =
      triage_json_at(event, "/issue", (const char *const[]){"number", "title", "html_url", NULL});
  if (!issue) return false;
  const triage_json *labels = PART(issue, "labels"), *label = PART(body, "label"), *sender = PART(body, "sender");
  urgency urgency = {TRIAGE_NORMAL, TRIAGE_JOIN(T("an issue was "), action)};
  triage_text names = T("");
  for (const triage_json *it = labels ? labels->first : NULL; it; it = it->next) {
    triage_text name = TEXT_OF(it, "name");
    names = TRIAGE_JOIN(names, names.count ? T(", ") : T(""), name);
    if (contains(settings, "critical_labels", name)) {
      at_least(&urgency, TRIAGE_CRITICAL, quoted("label", name));
    } else if (contains(settings, "urgent_labels", name)) {
      at_least(&urgency, TRIAGE_HIGH, quoted("label", name));
    }
  }
  if (label && label->kind == JSON_OBJECT && !is_urgent_label(settings, TEXT_OF(label, "name"))) {
    noise(found, "issue", TRIAGE_JOIN(quoted("label", TEXT_OF(label, "name")), T(" says nothing about urgency")));
    return true;
  }
  if (urgency.priority <= TRIAGE_NORMAL) {
    if (is(TEXT_OF(sender, "type"), "Bot")) {
      noise(found, "issue", TRIAGE_JOIN(action, T(" by the bot "), TEXT_OF(sender, "login")));
      return true;
    }
    for (const triage_json *it = labels ? labels->first : NULL; it; it = it->next) {
      triage_text name = TEXT_OF(it, "name");
      if (contains(settings, "quiet_labels", name)) at_most(&urgency, TRIAGE_LOW, quoted("label", name));
    }
  }
  triage_text repository = TEXT_OF(PART(body, "repository"), "full_name");
  begin(found, "issue", "github", urgency);
  if (is(action, "reopened")) add_label(found, "regression");
  found->title = TRIAGE_JOIN(repository, T("#"), number_of(issue), T(": "), TEXT_OF(issue, "title"));
  add_fact(found, "Author", TEXT_OF(PART(issue, "user"), "login"));
  add_fact(found, "Labels", names);
  found->text = TEXT_OF(issue, "body");
  found->url = triage_json_text(issue, "html_url");
  found->group_key = TRIAGE_JOIN(T("github:"), repository, T("#"), number_of(issue));
  return true;
}

// A vulnerable dependency.
static bool find_dependabot(triage_text action, const triage_event *event, finding *found) {
  static const char *const required[] = {"number",           "html_url", "dependency", "security_advisory",
                                         "security_vulnerability", NULL};
  if (!IS_ONE_OF(action, "created", "reopened", "reintroduced", "auto_reopened")) {
    return over(found, "vulnerability", action);
  }
  const triage_json *alert = triage_json_at(event, "/alert", required);
  const triage_json *in = triage_json_at(event, "/repository", (const char *const[]){"full_name", NULL});
  if (!alert || !in) return false;
  const triage_json *advisory = PART(alert, "security_advisory"), *dependency = PART(alert, "dependency");
  const triage_json *vulnerability = PART(alert, "security_vulnerability");
  const triage_json *package = PART(vulnerability, "package");
  triage_text repository = TEXT_OF(in, "full_name");
  urgency urgency = by_severity(TEXT_OF(advisory, "severity"));
  if (is(TEXT_OF(dependency, "scope"), "development")) lower_urgency(&urgency, T("only a development dependency"));
  begin_security(found, "vulnerability", action, urgency);
  found->title =
      TRIAGE_JOIN(repository, T(": "), TEXT_OF(advisory, "summary"), T(" ("), TEXT_OF(package, "name"), T(")"));
  add_fact(found, "Advisory", or(triage_json_text(advisory, "cve_id"), TEXT_OF(advisory, "ghsa_id")));
  add_fact(found, "Package", named(package));
  add_fact(found, "Vulnerable", TEXT_OF(vulnerability, "vulnerable_version_range"));
  add_fact(found, "Fixed in", TEXT_OF(PART(vulnerability, "first_patched_version"), "identifier"));
  add_fact(found, "Manifest", TEXT_OF(dependency, "manifest_path"));
  found->text = TEXT_OF(advisory, "description");
  found->url = triage_json_text(alert, "html_url");
  found->group_key = TRIAGE_JOIN(T("github:"), repository, T(":dependabot:"), number_of(alert));
  return true;
}

// A flaw in the team's own code.
static bool find_code_scanning(triage_text action, const triage_event *event, finding *found) {
  if (!IS_ONE_OF(action, "created", "reopened", "reopened_by_user", "appeared_in_branch")) {
    return over(found, "vulnerability", action);
  }
  const triage_json *alert =
      triage_json_at(event, "/alert", (const char *const[]){"number", "html_url", "rule", "tool", NULL});
  const triage_json *in = triage_json_at(event, "/repository", (const char *const[]){"full_name", NULL});
  const triage_json *ref = triage_json_at(event, "/ref", NULL);
  if (!alert || !in || !ref) return false;
  const triage_json *rule = PART(alert, "rule"), *instance = PART(alert, "most_recent_instance");
  const triage_json *location = PART(instance, "location");
  triage_text otherwise = is(TEXT_OF(rule, "severity"), "error") ? T("medium") : T("low");
  urgency urgency = by_severity(or(triage_json_text(rule, "security_severity_level"), otherwise));
  triage_optional_text branch = triage_json_text(in, "default_branch");
  if (branch.some && !triage_equal(ref->text, TRIAGE_JOIN(T("refs/heads/"), branch.text))) {
    lower_urgency(&urgency, T("not on the default branch"));
  }
  triage_text repository = TEXT_OF(in, "full_name"), where = TEXT_OF(location, "path");
  const triage_json *line = PART(location, "start_line");
  if (line && line->kind == JSON_NUMBER) where = TRIAGE_JOIN(where, T(":"), line->text);
  begin_security(found, "vulnerability", action, urgency);
  found->title = TRIAGE_JOIN(repository, T(": "), TEXT_OF(rule, "description"));
  add_fact(found, "Rule", TRIAGE_JOIN(TEXT_OF(rule, "id"), T(" ("), TEXT_OF(PART(alert, "tool"), "name"), T(")")));
  add_fact(found, "Ref", ref->text);
  add_fact(found, "Where", where);
  found->text = TEXT_OF(PART(instance, "message"), "text");
  found->url = triage_json_text(alert, "html_url");
  found->group_key = TRIAGE_JOIN(T("github:"), repository, T(":code_scanning:"), number_of(alert));
  return true;
}

// A secret in a repository. The payload does not hold the secret itself.
static bool find_secret(triage_text action, const triage_event *event, finding *found) {
  if (!IS_ONE_OF(action, "created", "reopened", "publicly_leaked", "validated")) {
    return over(found, "leaked-secret", action);
  }
  const triage_json *alert =
      triage_json_at(event, "/alert", (const char *const[]){"number", "html_url", "secret_type", NULL});
  const triage_json *in = triage_json_at(event, "/repository", (const char *const[]){"full_name", NULL});
  if (!alert || !in) return false;
  triage_text validity = TEXT_OF(alert, "validity"), repository = TEXT_OF(in, "full_name");
  urgency urgency = {TRIAGE_HIGH, T("a secret was committed")};
  if (is(validity, "inactive")) {
    at_most(&urgency, TRIAGE_LOW, T("the secret is not valid any more"));
  } else if (!triage_json_is_true(in, "private") || triage_json_is_true(alert, "publicly_leaked")) {
    at_least(&urgency, TRIAGE_CRITICAL, T("everybody can read it"));
  } else if (is(validity, "active")) {
    at_least(&urgency, TRIAGE_CRITICAL, T("the secret is valid"));
  }
  triage_text secret = or(triage_json_text(alert, "secret_type_display_name"), TEXT_OF(alert, "secret_type"));
  begin_security(found, "leaked-secret", action, urgency);
  found->title = TRIAGE_JOIN(repository, T(": "), secret, T(" in the repository"));
  add_fact(found, "Secret", secret);
  add_fact(found, "Validity", validity);
  if (triage_json_is_true(alert, "push_protection_bypassed")) add_fact(found, "Push protection", T("was bypassed"));
  found->url = triage_json_text(alert, "html_url");
  found->group_key = TRIAGE_JOIN(T("github:"), repository, T(":secret_scanning:"), number_of(alert));
  return true;
}

// An advisory for everybody. Nothing says that the team is concerned, so it counts one step less.
static bool find_advisory(triage_text action, const triage_event *event, finding *found) {
  if (!is(action, "published")) return over(found, "vulnerability", action);
  const triage_json *advisory =
      triage_json_at(event, "/security_advisory", (const char *const[]){"ghsa_id", "summary", "severity", NULL});
  if (!advisory) return false;
  triage_text severity = TEXT_OF(advisory, "severity"), id = TEXT_OF(advisory, "ghsa_id"), packages = T("");
  urgency urgency = by_severity(severity);
  if (urgency.priority < TRIAGE_HIGH) {
    noise(found, "vulnerability", TRIAGE_JOIN(quoted("severity", severity), T(", and perhaps not used here")));
    return true;
  }
  lower_urgency(&urgency, T("perhaps not used here"));
  const triage_json *all = PART(advisory, "vulnerabilities");
  for (const triage_json *it = all ? all->first : NULL; it; it = it->next) {
    packages = TRIAGE_JOIN(packages, packages.count ? T(", ") : T(""), named(PART(it, "package")));
  }
  begin_security(found, "vulnerability", action, urgency);
  found->title = TRIAGE_JOIN(id, T(": "), TEXT_OF(advisory, "summary"));
  add_fact(found, "CVE", TEXT_OF(advisory, "cve_id"));
  add_fact(found, "Packages", packages);
  found->text = TEXT_OF(advisory, "description");
  found->url = triage_json_text(advisory, "html_url");
  found->group_key = TRIAGE_JOIN(T("github:advisory:"), id);
  return true;
}

static bool find_github(triage_text name, const triage_event *event, const triage_json *settings, finding *found) {
  triage_text kind, action;
  if (!cut(name, '.', &kind, &action)) return true;
  if (is(kind, "dependabot_alert")) return find_dependabot(action, event, found);
  if (is(kind, "code_scanning_alert")) return find_code_scanning(action, event, found);
  if (is(kind, "secret_scanning_alert")) return find_secret(action, event, found);
  if (is(kind, "security_advisory")) return find_advisory(action, event, found);
  if (!is(kind, "issues")) return true;
  if (IS_ONE_OF(action, "opened", "reopened", "labeled")) return find_issue(action, event, settings, found);
  noise(found, "issue", TRIAGE_JOIN(T("an issue was "), action));
  return true;
}
