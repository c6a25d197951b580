// What an author in C needs: the contract triage:policy@0.1.0, and a little JSON.
//
// `triage plugin build` compiles triage.c and triage_json.c with the policy, which includes this file
// and defines the three functions at its end. An instance handles one event and is dropped, so nothing
// that is allocated with triage_alloc is ever freed.

#ifndef TRIAGE_H
#define TRIAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Text, UTF-8, without a NUL at its end.
typedef struct {
  const char *at;
  size_t count;
} triage_text;

// A constant as text.
#define TRIAGE_TEXT(constant) ((triage_text){(constant), sizeof(constant) - 1})

typedef struct {
  bool some;
  triage_text text;
} triage_optional_text;

typedef struct {
  triage_text *at;
  size_t count;
} triage_texts;

// The structs lie in memory as the component model's canonical ABI has them, so that nothing is copied.

typedef struct {
  triage_text name, value;
} triage_header;

// One verified, deduplicated delivery from a sender. Times are milliseconds since the Unix epoch.
typedef struct {
  triage_text id, run_id, tenant, integration_id, source, event_type, idempotency_key;
  triage_optional_text ordering_key;
  uint64_t received_at;
  struct {
    bool some;
    uint64_t at;
  } occurred_at;
  bool late;
  uint32_t attempt;
  triage_optional_text content_type;
  struct {
    const triage_header *at;
    size_t count;
  } headers;
  triage_text body;
} triage_event;

enum { TRIAGE_IGNORE, TRIAGE_LOW, TRIAGE_NORMAL, TRIAGE_HIGH, TRIAGE_CRITICAL };

typedef struct {
  uint8_t priority;
  triage_text category;
  triage_texts labels;
  uint8_t confidence_percent;
  triage_text reason;
} triage_classification;

typedef struct {
  triage_text title, body;
  triage_texts labels;
  triage_optional_text assignee, group_key;
} triage_ticket;

enum { TRIAGE_CONTENT_TICKET, TRIAGE_CONTENT_WEBHOOK, TRIAGE_CONTENT_MESSAGE, TRIAGE_CONTENT_OTHER };

typedef struct {
  triage_text name, destination;
  uint8_t content;
  union {
    triage_ticket ticket;
    // JSON text.
    triage_text webhook;
    struct {
      triage_text title, text;
      triage_optional_text thread_key;
    } message;
    struct {
      triage_text kind, content;
    } other;
  };
} triage_action;

typedef struct {
  triage_text summary;
  struct {
    triage_action *at;
    size_t count;
  } actions;
} triage_plan;

typedef struct {
  triage_text name, version, description;
  triage_texts triggers, labels, categories;
  triage_optional_text settings_schema;
} triage_plugin_info;

enum { TRIAGE_INVALID_PAYLOAD, TRIAGE_RETRY, TRIAGE_PERMANENT, TRIAGE_OTHER };

// Makes a failure the answer: `return triage_fail(…)`. The first one counts. Gives false.
bool triage_fail(uint8_t kind, triage_text message);

void *triage_alloc(size_t bytes);

// Text made piece by piece.
triage_text triage_join(size_t count, const triage_text *parts);
#define TRIAGE_JOIN(...) \
  triage_join(sizeof((triage_text[]){__VA_ARGS__}) / sizeof(triage_text), (triage_text[]){__VA_ARGS__})
triage_text triage_number(uint64_t number);
bool triage_equal(triage_text one, triage_text other);

// What a policy may call.
triage_text triage_settings(void);
uint64_t triage_now(void);
enum { TRIAGE_LOG_DEBUG, TRIAGE_LOG_INFO, TRIAGE_LOG_WARN, TRIAGE_LOG_ERROR };
void triage_log(uint8_t level, triage_text message);

// A JSON value. Numbers are kept as their text.
typedef struct triage_json triage_json;
struct triage_json {
  enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_LIST, JSON_OBJECT } kind;
  triage_text text;
  triage_text name;
  const triage_json *first, *next;
};

// The value of a JSON text; NULL where it is none.
const triage_json *triage_json_parse(triage_text text);
// An object's member; NULL where there is none, or the object is NULL.
const triage_json *triage_json_member(const triage_json *object, const char *name);
// A member that is text; none where it is missing or null.
triage_optional_text triage_json_text(const triage_json *object, const char *name);
// A member that is a number, or else `otherwise`.
uint64_t triage_json_number(const triage_json *object, const char *name, uint64_t otherwise);
bool triage_json_is_true(const triage_json *object, const char *name);
// The part of an event's body that a JSON pointer names, through objects only, with these members (NULL ends
// them). NULL where it is not there; then the failure is set.
const triage_json *triage_json_at(const triage_event *event, const char *pointer, const char *const *required);
// Text as a JSON string, with its quotes.
triage_text triage_json_quote(triage_text text);

// What a policy defines. They fill in what is empty, and give false after a failure.
void triage_describe(triage_plugin_info *info);
bool triage_classify(const triage_event *event, triage_classification *classification);
bool triage_triage(const triage_event *event, const triage_classification *classification, triage_plan *plan);

#endif
