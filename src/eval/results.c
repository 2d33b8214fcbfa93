/* Lines are appended by one write each; what stands behind the last line end is a line that was not finished. */
#include "eval/results.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { COMPACT = JSON_COMPACT | JSON_REAL_PRECISION(17) };

struct sn_results {
    const char *path;
    int fd; /* -1: in memory alone */
    json_t *items;
    sn_map *names;
    int64_t resumed;
    time_t synced;
};

void sn_results_close(sn_results *r) {
    if (!r) return;
    if (r->fd >= 0) {
        fdatasync(r->fd);
        close(r->fd);
    }
    json_decref(r->items);
    sn_map_free(r->names);
    sn_free(r);
}

int64_t sn_results_resumed(const sn_results *r) { return r->resumed; }

const json_t *sn_results_find(const sn_results *r, const char *name) {
    int64_t index;
    return sn_map_get(r->names, name, strlen(name), &index) ? json_array_get(r->items, (size_t)index) : NULL;
}

/* ---- writing ---- */

static sn_status write_line(sn_results *r, const json_t *object, sn_error *error) {
    char *text = json_dumps(object, COMPACT);
    size_t length = text ? strlen(text) : 0;
    if (!text) return sn_fail_memory(error);
    text[length++] = '\n'; /* in the place of its NUL */
    ssize_t written = write(r->fd, text, length);
    free(text);
    if (written != (ssize_t)length) return sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", r->path, written < 0 ? strerror(errno) : "the disk is full");
    if (time(NULL) != r->synced) { /* once a second: what a loss of power may cost */
        fdatasync(r->fd);
        r->synced = time(NULL);
    }
    return SN_OK;
}

static sn_status keep(sn_results *r, const char *name, json_t *object, sn_error *error) {
    if (json_array_append(r->items, object) == 0 && sn_map_set(r->names, name, strlen(name), (int64_t)json_array_size(r->items) - 1)) return SN_OK;
    return sn_fail_memory(error);
}

sn_status sn_results_add(sn_results *r, const char *name, json_t *object, sn_error *error) {
    json_t *line = json_pack("{s:s}", "item", name);
    sn_status status = object && line && json_object_update(line, object) == 0 ? SN_OK : sn_fail_memory(error);
    if (!status && r->fd >= 0) status = write_line(r, line, error);
    if (!status) status = keep(r, name, line, error);
    json_decref(line);
    json_decref(object);
    return status;
}

/* ---- reading ---- */

/* Names the first thing that differs. */
static sn_status check_identity(const sn_results *r, json_t *found, const json_t *wanted, sn_error *error) {
    const char *key;
    json_t *value;
    if (json_equal(found, wanted)) return SN_OK;
    json_object_foreach((json_t *)wanted, key, value) {
        json_t *other = json_object_get(found, key);
        if (json_equal(other, value)) continue;
        char *a = other ? json_dumps(other, COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL, *b = json_dumps(value, COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
        sn_fail(error, SN_ERROR_INPUT, "%s: was begun with a different %s: found %.300s, this run has %.300s; give another -o, or remove the file", r->path, key, a ? a : "none", b ? b : "none");
        free(a);
        free(b);
        return SN_ERROR_INPUT;
    }
    return sn_fail(error, SN_ERROR_INPUT, "%s: was begun by another version of this program; give another -o, or remove the file", r->path);
}

static sn_status read_line(sn_results *r, int64_t number, const char *line, size_t length, const json_t *identity, sn_error *error) {
    char where[600];
    json_t *object;
    snprintf(where, sizeof where, "%.500s: line %lld", r->path, (long long)number);
    sn_status status = sn_json_bytes(where, line, length, &object, error);
    if (status) return status;
    const char *name = sn_json_string(object, "item");
    if (number == 1) status = json_object_get(object, "task") ? check_identity(r, object, identity, error) : sn_fail(error, SN_ERROR_INPUT, "%s: holds no results of an evaluation", r->path);
    else if (!name) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected item, a text", where);
    else if (sn_results_find(r, name)) status = sn_fail(error, SN_ERROR_INPUT, "%s: the item %s is there twice", where, name);
    else status = keep(r, name, object, error);
    json_decref(object);
    return status;
}

/* A file without a whole line may be one that was being begun, and nothing else. */
static bool is_beginning(const json_t *identity, const char *bytes, size_t size) {
    char *text = json_dumps(identity, COMPACT);
    bool is = text && size <= strlen(text) && memcmp(text, bytes, size) == 0;
    free(text);
    return is;
}

static sn_status read_file(sn_results *r, const json_t *identity, int64_t *whole, sn_error *error) {
    sn_mapping file;
    sn_status status = sn_map_file(r->path, &file, error);
    if (status) return status;
    const char *bytes = (const char *)file.data;
    size_t end = file.size;
    while (end && bytes[end - 1] != '\n') end--;
    if (!end && file.size && !is_beginning(identity, bytes, file.size)) status = sn_fail(error, SN_ERROR_INPUT, "%s: holds no results of an evaluation; give another -o", r->path);
    int64_t number = 1;
    for (size_t at = 0; at < end && !status; number++) {
        size_t length = (size_t)((const char *)memchr(bytes + at, '\n', end - at) - (bytes + at));
        status = read_line(r, number, bytes + at, length, identity, error);
        at += length + 1;
    }
    *whole = (int64_t)end;
    sn_unmap_file(&file);
    return status;
}

static sn_status open_file(sn_results *r, const json_t *identity, sn_error *error) {
    int64_t whole = 0;
    r->fd = open(r->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
    if (r->fd < 0) return sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", r->path, strerror(errno));
    if (flock(r->fd, LOCK_EX | LOCK_NB) != 0) return sn_fail(error, SN_ERROR_IO, "%s: another process is writing to it", r->path);
    sn_status status = read_file(r, identity, &whole, error);
    if (!status && ftruncate(r->fd, whole) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", r->path, strerror(errno));
    if (!status && !whole) status = write_line(r, identity, error);
    r->resumed = (int64_t)json_array_size(r->items);
    return status;
}

sn_status sn_results_open(const char *path, const json_t *identity, sn_results **out, sn_error *error) {
    *out = NULL;
    sn_results *r = sn_alloc(1, sizeof *r);
    if (!r) return sn_fail_memory(error);
    *r = (sn_results){.path = path, .fd = -1, .items = json_array(), .names = sn_map_new()};
    sn_status status = !r->items || !r->names ? sn_fail_memory(error) : path ? open_file(r, identity, error) : SN_OK;
    if (status) sn_results_close(r);
    else *out = r;
    return status;
}

/* ---- vectors ---- */

json_t *sn_vector_json(const float *vector, int64_t width) {
    sn_buf text = {0};
    sn_base64_add(&text, vector, (size_t)width * sizeof *vector);
    json_t *value = text.failed || !text.data ? NULL : json_string(text.data);
    sn_buf_free(&text);
    return value;
}

bool sn_vector_read(const json_t *text, int64_t width, float *vector) {
    return json_is_string(text) && sn_base64_read(json_string_value(text), json_string_length(text), vector, (size_t)width * sizeof *vector);
}
