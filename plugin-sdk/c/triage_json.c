// Reads JSON (RFC 8259) into a tree, and writes strings.

#include "triage.h"

#include <string.h>

#define DEPTH_MAX 128

typedef struct {
  const char *at, *end;
  int depth;
  bool failed;
} reader;

static triage_json *value(reader *in);

static void *fail(reader *in) {
  in->failed = true;
  return NULL;
}

static int peek(reader *in) {
  while (in->at < in->end && strchr(" \t\n\r", *in->at) && *in->at) in->at++;
  return in->at < in->end ? (unsigned char)*in->at : -1;
}

static bool take(reader *in, char wanted) {
  bool is = peek(in) == wanted;
  if (is) in->at++;
  return is;
}

static int hex4(reader *in) {
  int number = 0;
  for (int i = 0; i < 4; i++, in->at++) {
    if (in->at == in->end) return -1;
    char it = *in->at;
    int digit = it >= '0' && it <= '9' ? it - '0' : (it | 32) >= 'a' && (it | 32) <= 'f' ? (it | 32) - 'a' + 10 : -1;
    if (digit < 0) return -1;
    number = number * 16 + digit;
  }
  return number;
}

static char *put_utf8(char *out, uint32_t code) {
  if (code < 0x80) return *out = (char)code, out + 1;
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  *out++ = (char)((0xf00 >> more & 0xff) | code >> (6 * more));
  while (more--) *out++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
  return out;
}

// A code point after `\u`; 0xffffffff where there is none.
static uint32_t escaped(reader *in) {
  int code = hex4(in);
  if (code < 0 || (code >= 0xdc00 && code < 0xe000)) return 0xffffffff;
  if (code < 0xd800 || code >= 0xe000) return (uint32_t)code;
  if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u') return 0xffffffff;
  in->at += 2;
  int low = hex4(in);
  if (low < 0xdc00 || low >= 0xe000) return 0xffffffff;
  return 0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

static triage_text string(reader *in) {
  const char *from = ++in->at;
  while (in->at < in->end && *in->at != '"') in->at += *in->at == '\\' ? 2 : 1;
  if (in->at >= in->end) return fail(in), (triage_text){0};
  const char *end = in->at;
  char *text = triage_alloc((size_t)(end - from)), *out = text;
  for (in->at = from; in->at < end;) {
    char it = *in->at++;
    if ((unsigned char)it < 0x20) fail(in);
    if (it != '\\') {
      *out++ = it;
      continue;
    }
    const char *found = memchr("\"\\/bfnrt", *in->at, 8);
    if (found) {
      *out++ = "\"\\/\b\f\n\r\t"[found - (const char *)memchr("\"\\/bfnrt", '"', 8)];
      in->at++;
    } else if (*in->at++ == 'u') {
      uint32_t code = escaped(in);
      if (code == 0xffffffff) return fail(in), (triage_text){0};
      out = put_utf8(out, code);
    } else {
      return fail(in), (triage_text){0};
    }
  }
  in->at = end + 1;
  return (triage_text){text, (size_t)(out - text)};
}

static triage_json *node(int kind) {
  triage_json *it = memset(triage_alloc(sizeof(triage_json)), 0, sizeof(triage_json));
  it->kind = kind;
  return it;
}

static triage_json *items(reader *in, int kind, char end) {
  triage_json *all = node(kind);
  const triage_json **last = &all->first;
  in->at++;
  if (take(in, end)) return all;
  do {
    triage_text name = {0};
    if (kind == JSON_OBJECT) {
      if (peek(in) != '"') return fail(in);
      name = string(in);
      if (in->failed || !take(in, ':')) return fail(in);
    }
    triage_json *it = value(in);
    if (!it) return fail(in);
    it->name = name;
    *last = it;
    last = &it->next;
  } while (take(in, ','));
  return take(in, end) ? all : fail(in);
}

static triage_json *word(reader *in, int kind, const char *word) {
  size_t count = strlen(word);
  if ((size_t)(in->end - in->at) < count || memcmp(in->at, word, count)) return fail(in);
  in->at += count;
  return node(kind);
}

static triage_json *number(reader *in) {
  triage_json *it = node(JSON_NUMBER);
  it->text.at = in->at;
  while (in->at < in->end && *in->at && strchr("+-.eE0123456789", *in->at)) in->at++;
  it->text.count = (size_t)(in->at - it->text.at);
  return it->text.count ? it : fail(in);
}

static triage_json *value(reader *in) {
  int next = peek(in);
  triage_json *it = NULL;
  if (++in->depth > DEPTH_MAX) return fail(in);
  switch (next) {
    case '{': it = items(in, JSON_OBJECT, '}'); break;
    case '[': it = items(in, JSON_LIST, ']'); break;
    case '"':
      it = node(JSON_TEXT);
      it->text = string(in);
      break;
    case 'n': it = word(in, JSON_NULL, "null"); break;
    case 't': it = word(in, JSON_TRUE, "true"); break;
    case 'f': it = word(in, JSON_FALSE, "false"); break;
    default: it = number(in);
  }
  in->depth--;
  return in->failed ? NULL : it;
}

const triage_json *triage_json_parse(triage_text text) {
  reader in = {text.at, text.at + text.count, 0, false};
  const triage_json *it = value(&in);
  return it && peek(&in) == -1 ? it : NULL;
}

const triage_json *triage_json_member(const triage_json *object, const char *name) {
  if (!object || object->kind != JSON_OBJECT) return NULL;
  const triage_json *found = NULL;
  for (const triage_json *it = object->first; it; it = it->next) {
    // The last of a name counts, as in most readers.
    if (triage_equal(it->name, (triage_text){name, strlen(name)})) found = it;
  }
  return found;
}

triage_optional_text triage_json_text(const triage_json *object, const char *name) {
  const triage_json *it = triage_json_member(object, name);
  if (!it || it->kind != JSON_TEXT) return (triage_optional_text){0};
  return (triage_optional_text){true, it->text};
}

uint64_t triage_json_number(const triage_json *object, const char *name, uint64_t otherwise) {
  const triage_json *it = triage_json_member(object, name);
  if (!it || it->kind != JSON_NUMBER) return otherwise;
  uint64_t number = 0;
  for (size_t i = 0; i < it->text.count && it->text.at[i] >= '0' && it->text.at[i] <= '9'; i++) {
    number = number * 10 + (uint64_t)(it->text.at[i] - '0');
  }
  return number;
}

bool triage_json_is_true(const triage_json *object, const char *name) {
  const triage_json *it = triage_json_member(object, name);
  return it && it->kind == JSON_TRUE;
}

static const triage_json *missing(const char *pointer, const char *what, const char *name, const char *end) {
  bool has_place = *pointer != 0;
  const char *parts[] = {"body: ", has_place ? "at `" : "", pointer, has_place ? "`: " : "", what, name, end};
  triage_text texts[7];
  for (int i = 0; i < 7; i++) texts[i] = (triage_text){parts[i], strlen(parts[i])};
  triage_fail(TRIAGE_INVALID_PAYLOAD, triage_join(7, texts));
  return NULL;
}

const triage_json *triage_json_at(const triage_event *event, const char *pointer, const char *const *required) {
  const triage_json *part = triage_json_parse(event->body);
  if (!part) {
    triage_fail(TRIAGE_INVALID_PAYLOAD, TRIAGE_TEXT("body: not JSON"));
    return NULL;
  }
  for (const char *name = pointer; *name == '/';) {
    const char *end = ++name;
    while (*end && *end != '/') end++;
    triage_text wanted = {name, (size_t)(end - name)};
    const triage_json *found = NULL;
    for (const triage_json *it = part->kind == JSON_OBJECT ? part->first : NULL; it; it = it->next) {
      if (triage_equal(it->name, wanted)) found = it;
    }
    if (!found) return missing(pointer, "missing", "", "");
    part = found;
    name = end;
  }
  for (; required && *required; required++) {
    const triage_json *it = triage_json_member(part, *required);
    if (!it) return missing(pointer, "missing field `", *required, "`");
    if (it->kind == JSON_NULL) {
      triage_text place = TRIAGE_JOIN({pointer, strlen(pointer)}, TRIAGE_TEXT("/"), {*required, strlen(*required)});
      char *with_end = memcpy(triage_alloc(place.count + 1), place.at, place.count);
      with_end[place.count] = 0;
      return missing(with_end, "invalid type: null, expected a string", "", "");
    }
  }
  return part;
}

triage_text triage_json_quote(triage_text text) {
  char *out = triage_alloc(text.count * 6 + 2), *end = out;
  *end++ = '"';
  for (size_t i = 0; i < text.count; i++) {
    char it = text.at[i];
    const char *found = memchr("\"\\\b\f\n\r\t", it, 7);
    if (found) {
      *end++ = '\\';
      *end++ = "\"\\bfnrt"[found - (const char *)memchr("\"\\\b\f\n\r\t", '"', 7)];
    } else if ((unsigned char)it < 0x20) {
      end = memcpy(end, "\\u00", 4), end += 4;
      *end++ = "01"[it >> 4];
      *end++ = "0123456789abcdef"[it & 15];
    } else {
      *end++ = it;
    }
  }
  *end++ = '"';
  return (triage_text){out, (size_t)(end - out)};
}
