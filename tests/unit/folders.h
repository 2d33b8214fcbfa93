/* Models made for a test: the reference models under tests/goldens taken apart, changed, written elsewhere. */
#ifndef SN_TESTS_FOLDERS_H
#define SN_TESTS_FOLDERS_H

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tests/unit/check.h"
#include "weights/source.h"
#include "weights/writer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A place that is empty at the beginning of a test and gone behind it. */
typedef struct place {
    char path[64];
    sn_arena *arena; /* of all strings and tensors of the test */
    sn_error error;
} place;

static inline int place_setup(void **state) {
    place *p = sn_alloc(1, sizeof *p);
    strcpy(p->path, "/tmp/models-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    p->arena = sn_arena_new();
    *state = p;
    return 0;
}

static inline int place_teardown(void **state) {
    place *p = *state;
    char *command = sn_format("rm -rf %s", p->path);
    assert_int_equal(system(command), 0);
    sn_free(command);
    sn_arena_free(p->arena);
    sn_free(p);
    return 0;
}

static inline const char *golden(place *p, const char *path) {
    const char *root = getenv("SN_GOLDENS");
    return sn_arena_format(p->arena, "%s/%s", root ? root : "tests/goldens", path);
}

/* A folder of that path below the place, with its parents. */
static inline const char *folder(place *p, const char *path) {
    char *full = sn_arena_format(p->arena, "%s/%s", p->path, path);
    for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(full, 0700);
        *slash = '/';
    }
    mkdir(full, 0700);
    return full;
}

static inline const char *in(place *p, const char *dir, const char *name) { return sn_arena_format(p->arena, "%s/%s", dir, name); }

static inline void write_text(place *p, const char *dir, const char *name, const char *text) {
    assert_ok(sn_write_file(in(p, dir, name), text, strlen(text), &p->error), p->error);
}

static inline void copy_file(place *p, const char *from, const char *to, const char *name) {
    char *bytes;
    size_t size;
    assert_ok(sn_read_file(in(p, from, name), 64 << 20, &bytes, &size, &p->error), p->error);
    assert_ok(sn_write_file(in(p, to, name), bytes, size, &p->error), p->error);
    sn_free(bytes);
}

/* config.json and the tokenizer of a folder, as far as they are there. */
static inline void copy_small_files(place *p, const char *from, const char *to) {
    static const char *const names[] = {"config.json", "tokenizer.model", "tokenizer_config.json", "added_tokens.json", "preprocessor_config.json", "special_tokens_map.json", "generation_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sn_is_file(in(p, from, names[i]))) copy_file(p, from, to, names[i]);
}

/* Sets a key of a JSON file; value is JSON, NULL takes the key away. A dot in the key leads into an object. */
static inline void set_key(place *p, const char *dir, const char *name, const char *key, const char *value) {
    json_t *root, *at;
    assert_ok(sn_json_file(in(p, dir, name), 1 << 20, &root, &p->error), p->error);
    const char *dot = strchr(key, '.');
    at = dot ? json_object_get(root, sn_arena_format(p->arena, "%.*s", (int)(dot - key), key)) : root;
    if (dot) key = dot + 1;
    if (value) json_object_set_new(at, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else json_object_del(at, key);
    char *text = json_dumps(root, 0);
    write_text(p, dir, name, text);
    free(text);
    json_decref(root);
}

/* Tensors of a checkpoint in memory. */
typedef struct tensors {
    sn_tensor_out list[256];
    size_t count;
} tensors;

static inline tensors *read_tensors(place *p, const char *path) {
    tensors *all = sn_arena_alloc(p->arena, 1, sizeof *all);
    sn_source *source;
    assert_ok(sn_source_open(path, &source, &p->error), p->error);
    for (size_t i = 0; i < source->count; i++) {
        const sn_source_tensor *t = &source->tensors[i];
        void *data = sn_arena_alloc(p->arena, (size_t)t->bytes + 1, 1);
        assert_ok(sn_source_copy(t, data, &p->error), p->error);
        all->list[all->count++] = (sn_tensor_out){sn_arena_strdup(p->arena, t->name), t->type, t->shape, data};
    }
    sn_source_close(source);
    return all;
}

static inline void add_tensor(tensors *all, sn_tensor_out t) { all->list[all->count++] = t; }

static inline sn_tensor_out *find_tensor(tensors *all, const char *name) {
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].name, name) == 0) return &all->list[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static inline void drop_tensors(tensors *all, const char *containing) {
    size_t kept = 0;
    for (size_t i = 0; i < all->count; i++)
        if (!strstr(all->list[i].name, containing)) all->list[kept++] = all->list[i];
    all->count = kept;
}

/* Names that begin with `from` begin with `to` afterwards. */
static inline void rename_tensors(place *p, tensors *all, const char *from, const char *to) {
    size_t n = strlen(from);
    for (size_t i = 0; i < all->count; i++)
        if (strncmp(all->list[i].name, from, n) == 0) all->list[i].name = sn_arena_format(p->arena, "%s%s", to, all->list[i].name + n);
}

/* The format is seen from the bytes, so that a .bin may hold safetensors. */
static inline void write_tensors(place *p, const char *dir, const char *name, const tensors *all) {
    assert_ok(sn_safetensors_write(in(p, dir, name), all->list, all->count, &p->error), p->error);
}

/* Float numbers between -0.5 and 0.5 that look random. */
static inline sn_tensor_out noise(place *p, const char *name, sn_shape shape, unsigned seed) {
    int64_t n = sn_shape_count(&shape);
    float *values = sn_arena_alloc(p->arena, (size_t)n + 1, sizeof *values);
    for (int64_t i = 0; i < n; i++) values[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / (1 << 24) - 0.5f;
    return (sn_tensor_out){sn_arena_strdup(p->arena, name), SN_TYPE_F32, shape, values};
}

#endif
