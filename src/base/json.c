/* JSON files with limits. */
#include "base/json.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

enum { MAX_DEPTH = 64, MAX_ITEMS = 8 << 20 };

/* Nesting and the number of items, before memory is taken for them: a value of two bytes takes sixty in memory. */
static sn_status check_extent(const char *where, const char *bytes, size_t length, sn_error *error) {
    int depth = 0;
    size_t items = 0;
    bool inside = false; /* a string */
    for (size_t i = 0; i < length; i++) {
        char c = bytes[i];
        if (inside && c == '\\') i++;
        else if (c == '"') inside = !inside;
        else if (!inside && (c == '[' || c == '{')) depth++, items++;
        else if (!inside && (c == ']' || c == '}')) depth--;
        else if (!inside && c == ',') items++;
        if (depth > MAX_DEPTH || items > MAX_ITEMS)
            return sn_fail(error, SN_ERROR_INPUT, "%s: JSON, byte %zu: %s", where, i, depth > MAX_DEPTH ? "nested more than 64 deep" : "more than 8 million items");
    }
    return SN_OK;
}

sn_status sn_json_value(const char *where, const char *bytes, size_t length, json_t **out, sn_error *error) {
    json_error_t why;
    *out = NULL;
    if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) bytes += 3, length -= 3;
    sn_status status = check_extent(where, bytes, length, error);
    if (status) return status;
    json_t *value = json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!value) return sn_fail(error, SN_ERROR_INPUT, "%s: line %d: not valid JSON: %s", where, why.line, why.text);
    *out = value;
    return SN_OK;
}

sn_status sn_json_bytes(const char *where, const char *bytes, size_t length, json_t **out, sn_error *error) {
    sn_status status = sn_json_value(where, bytes, length, out, error);
    if (status || json_is_object(*out)) return status;
    json_decref(*out);
    *out = NULL;
    return sn_fail(error, SN_ERROR_INPUT, "%s: expected a JSON object", where);
}

sn_status sn_json_file(const char *path, size_t limit, json_t **out, sn_error *error) {
    char *bytes;
    size_t length;
    *out = NULL;
    sn_status status = sn_read_file(path, limit, &bytes, &length, error);
    if (status) return status;
    status = sn_json_bytes(path, bytes, length, out, error);
    sn_free(bytes);
    return status;
}

json_t *sn_json_at(const json_t *object, const char *path) {
    while (object && *path) {
        const char *dot = strchr(path, '.');
        size_t length = dot ? (size_t)(dot - path) : strlen(path);
        char key[128];
        if (length >= sizeof key) return NULL;
        memcpy(key, path, length);
        key[length] = 0;
        object = json_object_get(object, key);
        path += length + (dot != NULL);
    }
    return json_is_null(object) ? NULL : (json_t *)object;
}

sn_status sn_json_number(const char *where, const json_t *object, const char *path, double low, double high, double *value,
                         sn_error *error) {
    json_t *found = sn_json_at(object, path);
    if (!found) return SN_OK;
    if (!json_is_number(found)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected a number", where, path);
    double number = json_number_value(found);
    if (!(number >= low && number <= high))
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %g, expected %g to %g", where, path, number, low, high);
    *value = number;
    return SN_OK;
}

sn_status sn_json_integer(const char *where, const json_t *object, const char *path, int64_t low, int64_t high, int64_t *value,
                          sn_error *error) {
    json_t *found = sn_json_at(object, path);
    if (!found) return SN_OK;
    if (!json_is_integer(found)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected a whole number", where, path);
    int64_t number = json_integer_value(found);
    if (number < low || number > high)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %lld, expected %lld to %lld", where, path, (long long)number,
                       (long long)low, (long long)high);
    *value = number;
    return SN_OK;
}

const char *sn_json_string(const json_t *object, const char *path) {
    const json_t *found = sn_json_at(object, path);
    const char *text = json_string_value(found);
    return text && strlen(text) == json_string_length(found) ? text : NULL;
}

json_t *sn_json_text(const char *text) {
    size_t length = strlen(text), bad;
    if (sn_utf8_valid(text, length, NULL)) return json_string(text);
    sn_buf mended = {0};
    for (size_t at = 0; at < length;) {
        bool broken = !sn_utf8_valid(text + at, length - at, &bad);
        sn_buf_add(&mended, text + at, broken ? bad : length - at);
        if (!broken) break;
        sn_buf_puts(&mended, "\xef\xbf\xbd");
        at += bad + sn_utf8_bad_length(text + at + bad, length - at - bad);
    }
    json_t *value = mended.failed ? NULL : json_stringn(mended.data, mended.length);
    sn_buf_free(&mended);
    return value;
}

bool sn_json_bool(const json_t *object, const char *path, bool fallback) {
    json_t *found = sn_json_at(object, path);
    return json_is_boolean(found) ? json_is_true(found) : fallback;
}
