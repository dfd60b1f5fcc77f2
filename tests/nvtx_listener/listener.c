/* A tool that listens to NVTX: writes one JSON line for each mark, range that is pushed or popped, and category.
 *
 * In: the environment variable NVTX_LISTENER_LOG, a file to append to. NVTX loads the library that
 * NVTX_INJECTION64_PATH names and calls InitializeInjectionNvtx2. Out: the lines. The layout of the structures and the
 * numbers of the callbacks are those of NVTX version 2, which its version 3 keeps.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint16_t version, size;
  uint32_t category;
  int32_t color_type;
  uint32_t color;
  int32_t payload_type, reserved;
  union { int64_t whole; double real; } payload;
  int32_t message_type;
  union { const char *ascii; const void *registered; } message;
} attributes_t;

typedef void (*function_t)(void);
typedef struct {
  size_t struct_size;
  int (*get_table)(int module, function_t ***table, unsigned *size);
} callbacks_t;

enum { EXPORT_CALLBACKS = 1, MODULE_CORE2 = 5, MARK = 1, PUSH = 4, POP = 5, NAME_CATEGORY = 8, REGISTER_STRING = 10 };
enum { PAYLOAD_INT64 = 2, PAYLOAD_DOUBLE = 3, MESSAGE_ASCII = 1, MESSAGE_REGISTERED = 3 };

static FILE *out;
static int depth;

static void say(const char *event, const attributes_t *a) {
  const char *name = "";
  /* register_string below makes a string its own handle. */
  if (a->message_type == MESSAGE_ASCII || a->message_type == MESSAGE_REGISTERED) name = a->message.ascii;
  fprintf(out, "{\"event\": \"%s\", \"name\": \"%s\", \"category\": %u, \"color\": %u, \"depth\": %d", event, name,
          a->category, a->color, depth);
  if (a->payload_type == PAYLOAD_INT64) fprintf(out, ", \"payload\": %lld", (long long)a->payload.whole);
  if (a->payload_type == PAYLOAD_DOUBLE) fprintf(out, ", \"payload\": %.17g", a->payload.real);
  fprintf(out, "}\n");
  fflush(out);
}

static int on_push(void *domain, const attributes_t *a) {
  (void)domain;
  say("push", a);
  return depth++;
}

static void on_mark(void *domain, const attributes_t *a) {
  (void)domain;
  say("mark", a);
}

static int on_pop(void *domain) {
  (void)domain;
  fprintf(out, "{\"event\": \"pop\", \"depth\": %d}\n", --depth);
  fflush(out);
  return depth;
}

static void on_name_category(void *domain, uint32_t category, const char *name) {
  (void)domain;
  fprintf(out, "{\"event\": \"category\", \"category\": %u, \"name\": \"%s\"}\n", category, name);
  fflush(out);
}

static const void *register_string(void *domain, const char *text) {
  (void)domain;
  return strdup(text);
}

int InitializeInjectionNvtx2(const void *(*get_export)(uint32_t)) {
  const callbacks_t *callbacks = get_export(EXPORT_CALLBACKS);
  function_t **table = NULL;
  unsigned size = 0;
  const char *path = getenv("NVTX_LISTENER_LOG");
  if (!path || !callbacks || !callbacks->get_table(MODULE_CORE2, &table, &size) || size <= REGISTER_STRING) return 0;
  out = fopen(path, "a");
  if (!out) return 0;
  *table[MARK] = (function_t)on_mark;
  *table[PUSH] = (function_t)on_push;
  *table[POP] = (function_t)on_pop;
  *table[NAME_CATEGORY] = (function_t)on_name_category;
  *table[REGISTER_STRING] = (function_t)register_string;
  return 1;
}
