/* Reading the three forms; the shuffle is a small Feistel network on the smallest even number of bits that holds the
 * count, walked until it lands inside. */
#include "data/dataset.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"

#include <string.h>

enum { MAX_FILE = 1 << 30 };

struct sn_dataset {
    json_t *samples;
    char *images;
};

void sn_dataset_close(sn_dataset *d) {
    if (!d) return;
    json_decref(d->samples);
    sn_free(d->images);
    sn_free(d);
}

size_t sn_dataset_count(const sn_dataset *d) { return json_array_size(d->samples); }
const json_t *sn_dataset_sample(const sn_dataset *d, size_t i) { return json_array_get(d->samples, i); }
const char *sn_dataset_images(const sn_dataset *d) { return d->images; }

static json_t *captioned(const char *id, const char *image, const char *caption) {
    return json_pack("{s:s, s:s, s:[{s:s, s:s}, {s:s, s:s}]}", "id", id, "image", image, "conversations", "from", "human", "value", "<image>", "from", "gpt", "value", caption);
}

static sn_status read_line(const char *path, size_t number, const char *line, size_t length, bool tabs, json_t *samples, sn_error *error) {
    char id[32];
    snprintf(id, sizeof id, "line %zu", number);
    if (tabs) {
        const char *tab = memchr(line, '\t', length);
        if (!tab) return sn_fail(error, SN_ERROR_INPUT, "%s: line %zu: expected a picture, a tab and a caption", path, number);
        char *image = sn_strndup(line, (size_t)(tab - line)), *caption = sn_strndup(tab + 1, length - (size_t)(tab + 1 - line));
        json_t *sample = image && caption ? captioned(id, image, caption) : NULL;
        sn_free(image);
        sn_free(caption);
        return sample && json_array_append_new(samples, sample) == 0 ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: line %zu: not UTF-8", path, number);
    }
    json_t *object;
    char where[600];
    snprintf(where, sizeof where, "%.500s: line %zu", path, number);
    sn_status status = sn_json_bytes(where, line, length, &object, error);
    if (status) return status;
    const char *image = sn_json_string(object, "image"), *caption = sn_json_string(object, "caption");
    if (caption) {
        json_t *sample = image ? captioned(id, image, caption) : NULL;
        json_decref(object);
        if (!sample) return sn_fail(error, SN_ERROR_INPUT, "%s: expected image beside caption", where);
        object = sample;
    }
    return json_array_append_new(samples, object) == 0 ? SN_OK : sn_fail_memory(error);
}

static sn_status read_lines(const char *path, const char *bytes, size_t length, bool tabs, json_t *samples, sn_error *error) {
    sn_status status = SN_OK;
    size_t number = 1;
    for (const char *at = bytes, *end = bytes + length; at < end && !status; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((stop ? stop : end) - at);
        if (size && at[size - 1] == '\r') size--;
        if (size) status = read_line(path, number, at, size, tabs, samples, error);
        at = stop ? stop + 1 : end;
    }
    return status;
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n >= m && strcmp(name + n - m, with) == 0;
}

sn_status sn_dataset_open(const char *path, const char *images, sn_dataset **out, sn_error *error) {
    char *bytes = NULL;
    size_t length;
    *out = NULL;
    sn_dataset *d = sn_alloc(1, sizeof *d);
    if (!d) return sn_fail_memory(error);
    d->images = images ? sn_strdup(images) : sn_path_parent(path);
    sn_status status = d->images ? sn_read_file(path, MAX_FILE, &bytes, &length, error) : sn_fail_memory(error);
    if (!status && (ends(path, ".jsonl") || ends(path, ".tsv"))) {
        d->samples = json_array();
        status = read_lines(path, bytes, length, ends(path, ".tsv"), d->samples, error);
    } else if (!status) {
        json_error_t why;
        d->samples = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &why);
        if (!d->samples) status = sn_fail(error, SN_ERROR_INPUT, "%s: line %d: not valid JSON: %s", path, why.line, why.text);
        else if (!json_is_array(d->samples)) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a list of samples", path);
    }
    sn_free(bytes);
    if (!status && sn_dataset_count(d) == 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: the data set is empty", path);
    for (size_t i = 0; !status && i < sn_dataset_count(d); i++)
        if (!json_is_object(sn_dataset_sample(d, i))) status = sn_fail(error, SN_ERROR_INPUT, "%s: sample %zu: expected an object", path, i);
    if (status) sn_dataset_close(d);
    else *out = d;
    return status;
}

uint64_t sn_shuffled(uint64_t seed, uint64_t epoch, uint64_t place, uint64_t count) {
    int half = 1;
    while (half < 31 && (uint64_t)1 << 2 * half < count) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, value = place;
    do {
        uint64_t left = value >> half, right = value & mask;
        for (uint32_t round = 0; round < 4; round++) {
            uint64_t next = left ^ (sn_philox_at(seed, epoch * 4 + round, right).word[0] & mask);
            left = right, right = next;
        }
        value = left << half | right;
    } while (value >= count);
    return value;
}
