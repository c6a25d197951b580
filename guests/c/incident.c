// What a source found in an event, and what follows from it: a classification, a plan.

#include <string.h>

#include "triage.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define T(constant) TRIAGE_TEXT(constant)
#define MAX 8

enum { TITLE_CHARS_MAX = 160, FACT_CHARS_MAX = 300, TEXT_CHARS_MAX = 2000 };

// A priority and why it is so, step by step.
typedef struct {
  int priority;
  triage_text reasons;
} urgency;

// What a source found. Without reasons it is noise: nothing to do, for the reason in `text`.
typedef struct {
  triage_text category;
  triage_text labels[MAX];
  size_t labels_count;
  urgency urgency;
  triage_text title;
  // Names and values, for the ticket; a value that is empty is left out.
  triage_text facts[MAX][2];
  size_t facts_count;
  // What people wrote, quoted in the ticket.
  triage_text text;
  triage_optional_text url;
  // What further events about the same thing have in common.
  triage_text group_key;
} finding;

static bool is(triage_text text, const char *word) { return triage_equal(text, (triage_text){word, strlen(word)}); }

static bool is_one_of(triage_text text, const char *const *words) {
  for (; *words; words++) {
    if (is(text, *words)) return true;
  }
  return false;
}
#define IS_ONE_OF(text, ...) is_one_of((text), (const char *const[]){__VA_ARGS__, NULL})

// The text before and after the first such character.
static bool cut(triage_text text, char at, triage_text *before, triage_text *after) {
  const char *found = text.count ? memchr(text.at, at, text.count) : NULL;
  if (!found) return false;
  *before = (triage_text){text.at, (size_t)(found - text.at)};
  *after = (triage_text){found + 1, text.count - before->count - 1};
  return true;
}

static triage_text or(triage_optional_text one, triage_text other) { return one.some ? one.text : other; }
static triage_text or_empty(triage_optional_text one) { return or(one, T("")); }

static char lower(char it) { return it >= 'A' && it <= 'Z' ? (char)(it + 'a' - 'A') : it; }

static bool equal_in_any_case(triage_text one, triage_text other) {
  if (one.count != other.count) return false;
  for (size_t i = 0; i < one.count; i++) {
    if (lower(one.at[i]) != lower(other.at[i])) return false;
  }
  return true;
}

static void set(urgency *it, int priority, triage_text reason) {
  if (it->priority == priority) return;
  it->priority = priority;
  it->reasons = TRIAGE_JOIN(it->reasons, T("; "), reason);
}

static void raise(urgency *it, triage_text reason) {
  set(it, it->priority < TRIAGE_CRITICAL ? it->priority + 1 : TRIAGE_CRITICAL, reason);
}

// One step down, but never to `ignore`.
static void lower_urgency(urgency *it, triage_text reason) {
  if (TRIAGE_LOW < it->priority) set(it, it->priority - 1, reason);
}

static void at_least(urgency *it, int priority, triage_text reason) {
  if (it->priority < priority) set(it, priority, reason);
}

static void at_most(urgency *it, int priority, triage_text reason) {
  if (priority < it->priority) set(it, priority, reason);
}

static triage_text quoted(const char *before, triage_text value) {
  return TRIAGE_JOIN({before, strlen(before)}, T(" `"), value, T("`"));
}

// The settings that were given, over these.
static const triage_json *read_settings(void) {
  static const char defaults[] =
      "{\"destination\":\"desk\",\"production\":[\"production\",\"prod\",\"live\"],"
      "\"urgent_labels\":[\"urgent\",\"regression\",\"security\",\"p1\",\"sev2\"],"
      "\"critical_labels\":[\"critical\",\"incident\",\"outage\",\"p0\",\"sev1\"],"
      "\"quiet_labels\":[\"question\",\"documentation\",\"duplicate\",\"invalid\",\"wontfix\"],"
      "\"incident_words\":[\"incident\",\"is down\",\"are down\",\"degraded\",\"sev2\",\"p1\",\"500s\",\"timeouts\"],"
      "\"critical_words\":[\"outage\",\"sev1\",\"sev-1\",\"p0\",\"data loss\",\"breach\"],"
      "\"users_high\":10,\"users_critical\":100,";
  triage_text given = triage_settings();
  // The last of a name counts. An empty object would leave a comma before its end.
  const triage_json *own = triage_json_parse(given);
  if (!own || !own->first) return triage_json_parse(TRIAGE_JOIN({defaults, sizeof defaults - 2}, T("}")));
  const char *brace = memchr(given.at, '{', given.count);
  triage_text rest = {brace + 1, given.count - (size_t)(brace + 1 - given.at)};
  return triage_json_parse(TRIAGE_JOIN({defaults, sizeof defaults - 1}, rest));
}

// Whether a list of the settings holds a word, in any case of ASCII letters.
static bool contains(const triage_json *settings, const char *list, triage_text word) {
  const triage_json *words = triage_json_member(settings, list);
  for (const triage_json *it = words ? words->first : NULL; it; it = it->next) {
    if (equal_in_any_case(it->text, word)) return true;
  }
  return false;
}

// An environment that nobody named counts as production.
static bool is_production(const triage_json *settings, triage_optional_text environment) {
  return !environment.some || contains(settings, "production", environment.text);
}

// As far up as many affected users ask for.
static void by_users(urgency *it, uint64_t users, const triage_json *settings) {
  triage_text reason = TRIAGE_JOIN(triage_number(users), T(" users are affected"));
  if (triage_json_number(settings, "users_critical", 0) <= users) {
    at_least(it, TRIAGE_CRITICAL, reason);
  } else if (triage_json_number(settings, "users_high", 0) <= users) {
    at_least(it, TRIAGE_HIGH, reason);
  }
}

static void noise(finding *found, const char *category, triage_text reason) {
  found->category = (triage_text){category, strlen(category)};
  found->text = reason;
}

static void begin(finding *found, const char *category, const char *label, urgency urgency) {
  found->category = (triage_text){category, strlen(category)};
  found->labels[found->labels_count++] = (triage_text){label, strlen(label)};
  found->urgency = urgency;
}

static void add_label(finding *found, const char *label) {
  found->labels[found->labels_count++] = (triage_text){label, strlen(label)};
}

static void add_fact(finding *found, const char *name, triage_text value) {
  found->facts[found->facts_count][0] = (triage_text){name, strlen(name)};
  found->facts[found->facts_count++][1] = value;
}

static void classify(finding *found, triage_classification *it) {
  it->priority = (uint8_t)found->urgency.priority;
  it->category = found->category;
  it->labels = (triage_texts){memcpy(triage_alloc(sizeof found->labels), found->labels, sizeof found->labels),
                              found->labels_count};
  it->confidence_percent = 100;
  it->reason = found->urgency.reasons.count ? found->urgency.reasons : found->text;
}

// The bytes of the white space or control character that begins here; 0 where it is another one.
static size_t gap(const char *at, const char *end) {
  const unsigned char *it = (const unsigned char *)at;
  if (it[0] <= ' ' || it[0] == 0x7f) return 1;
  if (end - at >= 2 && it[0] == 0xc2 && it[1] <= 0xa0) return 2;
  if (end - at < 3) return 0;
  uint32_t code = (uint32_t)(it[0] & 15) << 12 | (uint32_t)(it[1] & 63) << 6 | (it[2] & 63);
  bool is_space = (it[0] & 0xf0) == 0xe0 && (code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
                                             code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000);
  return is_space ? 3 : 0;
}

static triage_text clip(triage_text text, size_t chars_max) {
  size_t chars = 0;
  for (size_t i = 0; i < text.count; i++) {
    if (((unsigned char)text.at[i] & 0xc0) == 0x80) continue;
    if (chars++ == chars_max) return TRIAGE_JOIN({text.at, i}, T("…"));
  }
  return text;
}

// Text of strangers as one line: no control characters, no runs of white space.
static triage_text one_line(triage_text text, size_t chars_max) {
  char *out = triage_alloc(text.count + 1), *end = out;
  for (const char *at = text.at; at < text.at + text.count;) {
    size_t skip = gap(at, text.at + text.count);
    if (!skip) {
      *end++ = *at++;
      continue;
    }
    if (end != out && end[-1] != ' ') *end++ = ' ';
    at += skip;
  }
  if (end != out && end[-1] == ' ') end--;
  return clip((triage_text){out, (size_t)(end - out)}, chars_max);
}

// Without the white space at both ends. (Of control characters those that are no white space count too; a text
// of people does not end with them.)
static triage_text trim(triage_text text) {
  size_t skip;
  while (text.count && (skip = gap(text.at, text.at + text.count))) text.at += skip, text.count -= skip;
  for (bool again = true; again;) {
    again = false;
    for (size_t width = 1; width <= 3 && width <= text.count; width++) {
      if (gap(text.at + text.count - width, text.at + text.count) == width) {
        text.count -= width;
        again = true;
        break;
      }
    }
  }
  return text;
}

// A link that may stand in a ticket: no other scheme, nothing that ends the brackets around it.
static bool is_web_url(triage_text url) {
  bool is_web = (url.count >= 8 && !memcmp(url.at, "https://", 8)) || (url.count >= 7 && !memcmp(url.at, "http://", 7));
  for (const char *at = url.at; is_web && at < url.at + url.count; at++) {
    if (gap(at, url.at + url.count) || *at == '<' || *at == '>') return false;
  }
  return is_web;
}

// The ticket's text, in Markdown.
static triage_text make_body(const finding *found, triage_text reason, triage_optional_text url) {
  triage_text body = TRIAGE_JOIN(one_line(reason, FACT_CHARS_MAX), T("\n"));
  triage_text blank = T("\n");
  for (size_t i = 0; i < found->facts_count; i++) {
    triage_text value = found->facts[i][1];
    if (!value.count) continue;
    body = TRIAGE_JOIN(body, blank, T("- **"), found->facts[i][0], T(":** "), one_line(value, FACT_CHARS_MAX), T("\n"));
    blank = T("");
  }
  triage_text text = clip(trim(found->text), TEXT_CHARS_MAX), line;
  if (text.count) body = TRIAGE_JOIN(body, T("\n"));
  while (text.count) {
    if (!cut(text, '\n', &line, &text)) line = text, text = T("");
    triage_text quote = TRIAGE_JOIN(T("> "), line);
    while (quote.count > 1 && gap(quote.at + quote.count - 1, quote.at + quote.count)) quote.count--;
    body = TRIAGE_JOIN(body, quote, T("\n"));
  }
  return url.some ? TRIAGE_JOIN(body, T("\n<"), url.text, T(">\n")) : body;
}

static void make_plan(const finding *found, const triage_classification *classification, const triage_json *settings,
                      triage_plan *plan) {
  if (!found->urgency.reasons.count) {
    plan->summary = found->text;
    return;
  }
  triage_text title = plan->summary = one_line(found->title, TITLE_CHARS_MAX);
  triage_optional_text url = found->url;
  if (!url.some || !is_web_url(url.text)) url = (triage_optional_text){0};
  plan->actions.at = triage_alloc(2 * sizeof(triage_action));
  if (TRIAGE_NORMAL <= classification->priority) {
    triage_action *ticket = &plan->actions.at[plan->actions.count++];
    *ticket = (triage_action){.name = T("ticket"), .content = TRIAGE_CONTENT_TICKET};
    ticket->destination = or_empty(triage_json_text(settings, "destination"));
    ticket->ticket.title = title;
    ticket->ticket.body = make_body(found, classification->reason, url);
    ticket->ticket.labels = classification->labels;
    ticket->ticket.group_key = (triage_optional_text){true, found->group_key};
  }
  triage_optional_text page_to = triage_json_text(settings, "webhook_destination");
  if (page_to.some && TRIAGE_HIGH <= classification->priority) {
    triage_action *page = &plan->actions.at[plan->actions.count++];
    *page = (triage_action){.name = T("page"), .destination = page_to.text, .content = TRIAGE_CONTENT_WEBHOOK};
    page->webhook = TRIAGE_JOIN(
        T("{\"title\":"), triage_json_quote(title), T(",\"priority\":"),
        classification->priority == TRIAGE_CRITICAL ? T("\"critical\"") : T("\"high\""), T(",\"reason\":"),
        triage_json_quote(classification->reason), T(",\"url\":"), url.some ? triage_json_quote(url.text) : T("null"),
        T(",\"group_key\":"), triage_json_quote(found->group_key), T("}"));
  }
}
