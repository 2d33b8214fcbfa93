/* Samples as text: a JSON list, JSON lines, tab-separated lines. Indexing looks for borders alone: of a list, the braces
 * outside strings. Whether a sample is right shows when it is read. */
#include "data/record.h"

#include <stdio.h>
#include <string.h>

/* ---- a list ---- */

typedef struct scanner {
    const char *at, *end;
    size_t line;
} scanner;

static void skip_blanks(scanner *s) {
    for (; s->at < s->end && strchr(" \t\r\n", *s->at) && *s->at; s->at++) s->line += *s->at == '\n';
}

/* Moves behind the object that begins here; false where the file ends inside it. */
static bool skip_object(scanner *s) {
    int64_t depth = 0;
    bool inside = false; /* a string */
    for (; s->at < s->end; s->at++) {
        char c = *s->at;
        if (c == '\n') s->line++;
        else if (inside && c == '\\') s->line += ++s->at < s->end && *s->at == '\n';
        else if (c == '"') inside = !inside;
        else if (!inside && (c == '{' || c == '[')) depth++;
        else if (!inside && (c == '}' || c == ']') && --depth == 0) return s->at++, true;
    }
    s->at = s->end; /* a backslash may stand last */
    return false;
}

/* What is wrong with a list, in the words of the JSON reader, which knows better where. */
static sn_status not_a_list(const char *path, const char *bytes, size_t size, const scanner *s, size_t count, sn_error *error) {
    enum { MOST = 256 << 20 };
    json_error_t why = {.line = (int)s->line, .text = "the list is not closed"};
    json_t *root = size <= MOST ? json_loadb(bytes, size, 0, &why) : NULL;
    bool list = json_is_array(root), read = root != NULL;
    json_decref(root);
    if (list) return sn_fail(error, SN_ERROR_INPUT, "%s: line %zu: sample %zu: expected an object", path, s->line, count);
    if (read) return sn_fail(error, SN_ERROR_INPUT, "%s: expected a list of samples", path);
    return sn_fail(error, SN_ERROR_INPUT, "%s: line %d: not valid JSON: %s", path, why.line, why.text);
}

sn_status sn_list_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error) {
    scanner s = {bytes, bytes + size, 1};
    size_t count = 0;
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) s.at += 3;
    const char *begin = s.at;
    skip_blanks(&s);
    bool good = s.at < s.end && *s.at == '[', closed = false;
    for (s.at += good; good && !closed; count++) {
        skip_blanks(&s);
        if (s.at < s.end && *s.at == ']' && count == 0) break;
        const char *from = s.at;
        size_t line = s.line;
        if (!(good = s.at < s.end && *s.at == '{' && skip_object(&s))) break;
        sn_status status = sn_stretch_add(all, path, (size_t)(from - bytes), (size_t)(s.at - from), line, error);
        if (status) return status;
        skip_blanks(&s);
        good = s.at < s.end && (*s.at == ',' || *s.at == ']');
        closed = good && *s.at == ']';
        s.at += good && !closed;
    }
    if (good) {
        s.at++;
        skip_blanks(&s);
        good = s.at == s.end;
    }
    return good ? SN_OK : not_a_list(path, begin, (size_t)(s.end - begin), &s, count, error);
}

/* ---- lines ---- */

static size_t mark_length(const char *bytes, size_t size) { return size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; }

/* The lines from a place on that begins line `number`. */
static sn_status index_from(const char *path, const char *bytes, size_t size, size_t from, size_t number, sn_stretches *all, sn_error *error) {
    const char *at = bytes + from, *end = bytes + size;
    sn_status status = SN_OK;
    for (; at < end && !status; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        if (length && at[length - 1] == '\r') length--;
        if (length) status = sn_stretch_add(all, path, (size_t)(at - bytes), length, number, error);
        at = stop ? stop + 1 : end;
    }
    return status;
}

sn_status sn_lines_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error) {
    return index_from(path, bytes, size, mark_length(bytes, size), 1, all, error);
}

/* A first line may name the columns, as FROMAGe's files of CC3M do: its length with its end, 0 where it is a sample. */
static size_t columns_length(const char *bytes, size_t size, bool *caption_first) {
    static const char *const named[] = {"image\tcaption", "caption\timage"};
    size_t mark = mark_length(bytes, size);
    for (int i = 0; i < 2; i++) {
        size_t end = mark + strlen(named[i]);
        if (size <= end || memcmp(bytes + mark, named[i], end - mark) != 0) continue;
        if (bytes[end] == '\r' && end + 1 < size) end++;
        *caption_first = i == 1;
        if (bytes[end] == '\n') return end + 1;
    }
    return 0;
}

sn_status sn_tabs_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error) {
    bool caption_first;
    size_t columns = columns_length(bytes, size, &caption_first);
    return index_from(path, bytes, size, columns ? columns : mark_length(bytes, size), columns ? 2 : 1, all, error);
}

/* ---- one sample ---- */

sn_status sn_tabs_read(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error) {
    const char *line = bytes + at->offset, *tab = memchr(line, '\t', at->length);
    char id[32];
    bool caption_first = false;
    (void)pictures; /* they are files of their own */
    *out = (sn_record){0};
    if (!columns_length(bytes, at->offset, &caption_first)) caption_first = false;
    if (!tab) return sn_fail(error, SN_ERROR_INPUT, "%s: line %u: expected a picture, a tab and a caption%s", path, at->number, caption_first ? ", the other way round" : "");
    if (memchr(line, 0, at->length)) return sn_fail(error, SN_ERROR_INPUT, "%s: line %u: not text", path, at->number);
    snprintf(id, sizeof id, "line %u", at->number);
    char *first = sn_strndup(line, (size_t)(tab - line)), *second = sn_strndup(tab + 1, at->length - (size_t)(tab + 1 - line));
    if (first && second) out->object = sn_captioned(id, json_string(caption_first ? second : first), caption_first ? first : second);
    sn_free(first);
    sn_free(second);
    return out->object ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: line %u: not UTF-8", path, at->number);
}

sn_status sn_object_read(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error) {
    char id[32], where[600];
    (void)pictures; /* they are files of their own */
    *out = (sn_record){0};
    snprintf(id, sizeof id, "line %u", at->number);
    snprintf(where, sizeof where, "%.500s: line %u", path, at->number);
    sn_status status = sn_json_bytes(where, bytes + at->offset, at->length, &out->object, error);
    const char *caption = status ? NULL : sn_json_string(out->object, "caption");
    if (!caption) return status;
    json_t *image = sn_json_at(out->object, "image"), *sample = image ? sn_captioned(id, json_incref(image), caption) : NULL;
    json_decref(out->object);
    out->object = sample;
    return sample ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: expected image beside caption", where);
}
