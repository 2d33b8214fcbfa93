/* Which form a file has, and which of several files a sample lies in; the shuffle is a small Feistel network on the
 * smallest even number of bits that holds the count, walked until it lands inside. */
#include "data/dataset.h"

#include "base/file.h"
#include "base/random.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 32768 }; /* each is a mapping, of which Linux allows 65530 */

typedef struct form {
    const char *end;
    sn_status (*index)(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error);
    sn_status (*read)(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error);
} form;

static const form forms[] = {
    {".jsonl", sn_lines_index, sn_object_read}, {".tsv", sn_tabs_index, sn_tabs_read}, {".tar", sn_shard_index, sn_shard_read}, {"", sn_list_index, sn_object_read}};

typedef struct part {
    char *path;
    sn_mapping mapping;
    size_t first; /* number of its first sample */
} part;

struct sn_dataset {
    const form *form;
    part *parts;
    size_t num_parts;
    sn_stretches samples;
    char *images;
};

void sn_record_free(sn_record *r) {
    json_decref(r->object);
    for (int i = 0; i < r->num_pictures; i++) sn_free(r->pictures[i].bytes);
    *r = (sn_record){0};
}

json_t *sn_captioned(const char *id, json_t *image, const char *caption) {
    return json_pack("{s:s, s:o, s:[{s:s, s:s}, {s:s, s:s}]}", "id", id, "image", image, "conversations", "from", "human", "value", "<image>", "from", "gpt", "value", caption);
}

sn_status sn_stretch_add(sn_stretches *all, const char *path, size_t offset, size_t length, size_t number, sn_error *error) {
    if (length > UINT32_MAX || number > UINT32_MAX) return sn_fail(error, SN_ERROR_INPUT, "%s: sample %zu: found %zu bytes, expected less than 4 GiB", path, number, length);
    if (!sn_grow((void **)&all->items, &all->capacity, all->count + 1, sizeof *all->items)) return sn_fail_memory(error);
    all->items[all->count++] = (sn_stretch){offset, (uint32_t)length, (uint32_t)number};
    return SN_OK;
}

/* ---- several files ---- */

static void free_paths(char **paths, size_t count) {
    for (size_t i = 0; i < count; i++) sn_free(paths[i]);
    sn_free(paths);
}

/* The first range of a pattern: numbers low to high of `width` digits, and the text before and behind it. */
static bool find_range(const char *pattern, const char **open, const char **close, unsigned long *low, unsigned long *high, int *width) {
    for (const char *at = pattern; (at = strchr(at, '{')); at++) {
        char *end;
        if (!isdigit((unsigned char)at[1])) continue;
        *low = strtoul(at + 1, &end, 10);
        *width = (int)(end - at - 1);
        if (strncmp(end, "..", 2) != 0 || !isdigit((unsigned char)end[2]) || *width > 18) continue;
        *high = strtoul(end + 2, &end, 10);
        if (*end != '}') continue;
        *open = at, *close = end + 1;
        return true;
    }
    return false;
}

sn_status sn_expand_ranges(const char *pattern, char ***out, size_t *count, sn_error *error) {
    const char *open, *close;
    unsigned long low, high;
    int width;
    *count = 0, *out = NULL;
    bool range = find_range(pattern, &open, &close, &low, &high, &width);
    if (range && (high < low || high - low >= MAX_FILES)) return sn_fail(error, SN_ERROR_USAGE, "%s: the range of numbers is empty or has more than %d", pattern, MAX_FILES);
    char **all = NULL;
    size_t capacity = 0;
    sn_status status = SN_OK;
    for (unsigned long i = range ? low : 0; i <= (range ? high : 0) && !status; i++) {
        char *one = range ? sn_format("%.*s%0*lu%s", (int)(open - pattern), pattern, width, i, close) : sn_strdup(pattern);
        char **inner = NULL; /* further ranges behind this one */
        size_t n = 0;
        if (!one) status = sn_fail_memory(error);
        else if (range) status = sn_expand_ranges(one, &inner, &n, error);
        if (!status && *count + (range ? n : 1) > MAX_FILES) status = sn_fail(error, SN_ERROR_USAGE, "%s: stands for more than %d files", pattern, MAX_FILES);
        if (!status && !sn_grow((void **)&all, &capacity, *count + n + 1, sizeof *all)) status = sn_fail_memory(error);
        for (size_t k = 0; k < n && !status; k++) all[(*count)++] = inner[k], inner[k] = NULL;
        if (!status && !range) all[(*count)++] = one, one = NULL;
        sn_free(one);
        free_paths(inner, n);
    }
    if (status) free_paths(all, *count), *count = 0;
    else *out = all;
    return status;
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n >= m && strcmp(name + n - m, with) == 0;
}

static const form *form_of(const char *path) {
    const form *f = forms;
    while (!ends(path, f->end)) f++;
    return f;
}

static sn_status add_part(sn_dataset *d, const char *path, sn_error *error) {
    part *p = &d->parts[d->num_parts++];
    if (!(p->path = sn_strdup(path))) return sn_fail_memory(error);
    p->first = d->samples.count;
    sn_status status = sn_map_file(path, &p->mapping, error);
    if (!status && p->mapping.size) status = d->form->index(path, (const char *)p->mapping.data, p->mapping.size, &d->samples, error);
    if (!status && d->samples.count == p->first) status = sn_fail(error, SN_ERROR_INPUT, "%s: the data set is empty", path);
    return status;
}

sn_status sn_dataset_open(const char *path, const char *images, sn_dataset **out, sn_error *error) {
    char **paths;
    size_t count;
    *out = NULL;
    if (ends(path, ".tar.gz") || ends(path, ".tgz") || ends(path, ".tar.zst") || ends(path, ".tar.xz"))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: samples of a compressed shard cannot be reached one by one; unpack it to .tar (pictures are compressed already)", path);
    sn_status status = sn_expand_ranges(path, &paths, &count, error);
    if (status) return status;
    sn_dataset *d = sn_alloc(1, sizeof *d);
    if (!d || !(d->parts = sn_alloc(count, sizeof *d->parts)) || !(d->images = images ? sn_strdup(images) : sn_path_parent(paths[0]))) status = sn_fail_memory(error);
    if (!status) d->form = form_of(path);
    for (size_t i = 0; i < count && !status; i++) status = add_part(d, paths[i], error);
    free_paths(paths, count);
    if (status) sn_dataset_close(d);
    else *out = d;
    return status;
}

void sn_dataset_close(sn_dataset *d) {
    if (!d) return;
    for (size_t i = 0; i < d->num_parts; i++) {
        sn_unmap_file(&d->parts[i].mapping);
        sn_free(d->parts[i].path);
    }
    sn_free(d->parts);
    sn_free(d->samples.items);
    sn_free(d->images);
    sn_free(d);
}

size_t sn_dataset_count(const sn_dataset *d) { return d->samples.count; }
const char *sn_dataset_images(const sn_dataset *d) { return d->images; }

sn_status sn_dataset_read(const sn_dataset *d, size_t i, bool pictures, sn_record *out, sn_error *error) {
    size_t low = 0, high = d->num_parts; /* the last file that begins at or before it */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (d->parts[middle].first <= i) low = middle;
        else high = middle;
    }
    const part *p = &d->parts[low];
    return d->form->read(p->path, (const char *)p->mapping.data, &d->samples.items[i], pictures, out, error);
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
