// The exports of a component, made from the three functions of a policy; memory; the host's functions.

#include "triage.h"

#include <stdlib.h>
#include <string.h>

#define IMPORT(interface, function) \
  __attribute__((import_module("triage:policy/" interface "@0.1.0"), import_name(function)))
#define EXPORT(name) __attribute__((export_name(name)))

_Static_assert(sizeof(void *) == 4, "the layouts are those of wasm32");
_Static_assert(sizeof(triage_event) == 136, "an event lies in memory as the host writes it");
_Static_assert(sizeof(triage_action) == 68, "an action lies in memory as the host reads it");

void *triage_alloc(size_t bytes) {
  void *block = malloc(bytes ? bytes : 1);
  if (!block) __builtin_trap();
  return block;
}

EXPORT("cabi_realloc")
void *triage_cabi_realloc(void *old, size_t old_bytes, size_t align, size_t bytes) {
  (void)align;
  void *block = triage_alloc(bytes);
  return old_bytes == 0 ? block : memcpy(block, old, old_bytes);
}

triage_text triage_join(size_t count, const triage_text *parts) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += parts[i].count;
  char *at = triage_alloc(bytes), *end = at;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].count) memcpy(end, parts[i].at, parts[i].count);
    end += parts[i].count;
  }
  return (triage_text){at, bytes};
}

triage_text triage_number(uint64_t number) {
  char digits[20];
  size_t from = sizeof digits;
  do digits[--from] = (char)('0' + number % 10);
  while (number /= 10);
  return TRIAGE_JOIN({digits + from, sizeof digits - from});
}

bool triage_equal(triage_text one, triage_text other) {
  return one.count == other.count && (one.count == 0 || memcmp(one.at, other.at, one.count) == 0);
}

IMPORT("settings", "get") void settings_get(triage_text *result);
IMPORT("clock", "now") uint64_t clock_now(void);
IMPORT("log", "write") void log_write(uint32_t level, const char *at, size_t count, const void *fields, size_t fields_count);

triage_text triage_settings(void) {
  triage_text text;
  settings_get(&text);
  return text;
}

uint64_t triage_now(void) { return clock_now(); }

void triage_log(uint8_t level, triage_text message) { log_write(level, message.at, message.count, NULL, 0); }

// A result: the answer, or a failure.
typedef struct {
  bool is_error;
  union {
    triage_classification classification;
    triage_plan plan;
    struct {
      uint8_t kind;
      triage_text message;
      struct {
        bool some;
        uint32_t after_ms;
      } retry;
    } failure;
  };
} result;

static result answer;

bool triage_fail(uint8_t kind, triage_text message) {
  if (!answer.is_error) {
    answer = (result){.is_error = true};
    answer.failure.kind = kind;
    answer.failure.message = message;
  }
  return false;
}

EXPORT("triage:policy/plugin@0.1.0#describe")
triage_plugin_info *triage_export_describe(void) {
  static triage_plugin_info info;
  triage_describe(&info);
  return &info;
}

EXPORT("triage:policy/classifier@0.1.0#classify")
result *triage_export_classify(const triage_event *event) {
  triage_classification classification = {0};
  if (triage_classify(event, &classification) && !answer.is_error) answer.classification = classification;
  return &answer;
}

typedef struct {
  triage_event event;
  triage_classification classification;
} triage_arguments;

EXPORT("triage:policy/triager@0.1.0#triage")
result *triage_export_triage(const triage_arguments *arguments) {
  triage_plan plan = {0};
  if (triage_triage(&arguments->event, &arguments->classification, &plan) && !answer.is_error) answer.plan = plan;
  return &answer;
}
