/* JSON from files: jansson with limits, and readers that name the file and the key in their errors. */
#ifndef SN_BASE_JSON_H
#define SN_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>

/* An object from a file or from bytes; refused beyond limit bytes, 64 levels or 8 million items, with
 * duplicate keys, or when it is no object.
 * json_decref when done. `where` names the source in errors. */
sn_status sn_json_file(const char *path, size_t limit, json_t **out, sn_error *error);
sn_status sn_json_bytes(const char *where, const char *bytes, size_t length, json_t **out, sn_error *error);
/* The same for an object or a list. */
sn_status sn_json_value(const char *where, const char *bytes, size_t length, json_t **out, sn_error *error);

/* The value at a path of keys "a.b.c", or NULL; null counts as absent. */
json_t *sn_json_at(const json_t *object, const char *path);

/* Integers and numbers with range; an absent key leaves *value as it is. */
sn_status sn_json_integer(const char *where, const json_t *object, const char *path, int64_t low, int64_t high, int64_t *value,
                          sn_error *error);
sn_status sn_json_number(const char *where, const json_t *object, const char *path, double low, double high, double *value,
                         sn_error *error);
/* A string, or NULL where absent, of another type, or with a U+0000 inside (texts that may hold one are read with
 * their length). */
const char *sn_json_string(const json_t *object, const char *path);
/* A JSON string of a text that may be anything, a file's name: bytes that are no UTF-8 become U+FFFD. NULL without memory. */
json_t *sn_json_text(const char *text);
bool sn_json_bool(const json_t *object, const char *path, bool fallback);

#endif
