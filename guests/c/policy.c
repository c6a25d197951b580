// The policy of plugins/incident-desk in C: one file per source says what an event means, incident.c says what
// follows from it.

#include "incident.c"

#include "github.c"
#include "sentry.c"
#include "slack.c"
#include "standard.c"

// What the event means; false after a failure.
static bool find(const triage_event *event, const triage_json *settings, finding *found) {
  static const struct {
    const char *name;
    bool (*find)(triage_text name, const triage_event *event, const triage_json *settings, finding *found);
  } sources[] = {{"github", find_github}, {"sentry", find_sentry}, {"slack", find_slack}, {"standard", find_standard}};
  triage_text source, name;
  if (cut(event->event_type, '.', &source, &name)) {
    for (size_t i = 0; i < COUNT(sources); i++) {
      if (is(source, sources[i].name) && !sources[i].find(name, event, settings, found)) return false;
    }
  }
  if (!found->category.count) {
    noise(found, "unhandled", TRIAGE_JOIN(TRIAGE_TEXT("`"), event->event_type, TRIAGE_TEXT("` is not handled here")));
  }
  return true;
}

void triage_describe(triage_plugin_info *info) {
  info->name = TRIAGE_TEXT("incident-desk-c");
  info->version = TRIAGE_TEXT("0.1.0");
  info->description = TRIAGE_TEXT(
      "Opens tickets for errors, issues, security alerts and reported incidents, and pages for urgent ones.");
}

bool triage_classify(const triage_event *event, triage_classification *classification) {
  finding found = {0};
  if (!find(event, read_settings(), &found)) return false;
  classify(&found, classification);
  return true;
}

bool triage_triage(const triage_event *event, const triage_classification *classification, triage_plan *plan) {
  const triage_json *settings = read_settings();
  finding found = {0};
  if (!find(event, settings, &found)) return false;
  make_plan(&found, classification, settings, plan);
  return true;
}
