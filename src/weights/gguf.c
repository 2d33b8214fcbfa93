/* GGUF, versions 2 and 3: key-values, tensor infos, then the data from an aligned place on. One cursor
 * walks the directory; it knows how many bytes are left and never reads beyond them. */
#include "weights/gguf.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 4, MAX_NAME = 256, MAX_KEY = 65535, MAX_COUNT = 1 << 20 };

static const struct tensor_type {
    int number;
    sn_type type; /* SN_TYPE_COUNT: known, not supported */
    const char *name;
} tensor_types[] = {
    {0, SN_TYPE_F32, "F32"}, {1, SN_TYPE_F16, "F16"}, {2, SN_TYPE_Q4_0, "Q4_0"}, {3, SN_TYPE_Q4_1, "Q4_1"}, {6, SN_TYPE_Q5_0, "Q5_0"},
    {7, SN_TYPE_Q5_1, "Q5_1"}, {8, SN_TYPE_Q8_0, "Q8_0"}, {10, SN_TYPE_COUNT, "Q2_K"}, {11, SN_TYPE_COUNT, "Q3_K"}, {12, SN_TYPE_Q4_K, "Q4_K"},
    {13, SN_TYPE_Q5_K, "Q5_K"}, {14, SN_TYPE_Q6_K, "Q6_K"}, {15, SN_TYPE_COUNT, "Q8_K"}, {24, SN_TYPE_I8, "I8"}, {25, SN_TYPE_I16, "I16"},
    {26, SN_TYPE_I32, "I32"}, {27, SN_TYPE_I64, "I64"}, {28, SN_TYPE_F64, "F64"}, {30, SN_TYPE_BF16, "BF16"},
};

int sn_gguf_type_number(sn_type type) {
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++)
        if (tensor_types[i].type == type) return tensor_types[i].number;
    return -1;
}

/* Bytes of a value; strings and arrays have no fixed size. */
static const unsigned char value_bytes[SN_GGUF_TYPES] = {
    [SN_GGUF_U8] = 1, [SN_GGUF_I8] = 1, [SN_GGUF_U16] = 2, [SN_GGUF_I16] = 2, [SN_GGUF_U32] = 4, [SN_GGUF_I32] = 4,
    [SN_GGUF_F32] = 4, [SN_GGUF_BOOL] = 1, [SN_GGUF_U64] = 8, [SN_GGUF_I64] = 8, [SN_GGUF_F64] = 8};

static uint64_t little(const unsigned char *p, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

/* ---- reading the directory ---- */

typedef struct cursor {
    const char *path;
    const unsigned char *data;
    size_t size, at;
    sn_error *error;
} cursor;

static sn_status broken(cursor *c, const char *what) {
    return sn_fail(c->error, SN_ERROR_INPUT, "%s: GGUF, byte %zu: %s", c->path, c->at, what);
}

static sn_status take(cursor *c, uint64_t bytes, const unsigned char **out) {
    if (bytes > c->size - c->at) return broken(c, "a length beyond the end of the file (cut short?)");
    *out = c->data + c->at;
    c->at += bytes;
    return SN_OK;
}

static sn_status number(cursor *c, int bytes, uint64_t *out) {
    const unsigned char *p;
    sn_status status = take(c, (uint64_t)bytes, &p);
    *out = status ? 0 : little(p, bytes);
    return status;
}

static sn_status string(cursor *c, const char **text, uint64_t *length) {
    const unsigned char *p = NULL;
    sn_status status = number(c, 8, length);
    if (!status) status = take(c, *length, &p);
    *text = (const char *)p;
    return status;
}

/* A name: UTF-8 without NUL, of at most `limit` bytes, copied. */
static sn_status name(cursor *c, uint64_t limit, sn_arena *arena, char **out) {
    const char *text;
    uint64_t length;
    sn_status status = string(c, &text, &length);
    if (status) return status;
    if (length == 0 || length > limit || memchr(text, 0, length) || !sn_utf8_valid(text, length, NULL)) return broken(c, "an impossible name");
    *out = sn_arena_alloc(arena, length + 1, 1);
    if (!*out) return sn_fail_memory(c->error);
    memcpy(*out, text, length);
    return SN_OK;
}

/* Passes over `count` values of a type, checking that they are there. */
static sn_status skip(cursor *c, uint64_t type, uint64_t count, int depth) {
    const unsigned char *p;
    uint64_t bytes, length, inner;
    if (type >= SN_GGUF_TYPES) return broken(c, "an unknown type of value");
    if (value_bytes[type]) {
        if (__builtin_mul_overflow(count, value_bytes[type], &bytes)) return broken(c, "a length beyond the end of the file");
        return take(c, bytes, &p);
    }
    if (type == SN_GGUF_ARRAY && depth >= MAX_NESTING) return broken(c, "arrays nested too deeply");
    sn_status status = SN_OK;
    for (uint64_t i = 0; i < count && !status; i++) {
        if (type == SN_GGUF_STRING) {
            const char *text;
            status = string(c, &text, &length);
            continue;
        }
        status = number(c, 4, &inner);
        if (!status) status = number(c, 8, &length);
        if (!status) status = skip(c, inner, length, depth + 1);
    }
    return status;
}

static sn_status read_values(cursor *c, uint64_t count, sn_arena *arena, sn_gguf *g) {
    if (count > MAX_COUNT || count > (c->size - c->at) / 13) return broken(c, "more key-values than the file can hold");
    g->values = sn_arena_alloc(arena, count + 1, sizeof *g->values);
    if (!g->values) return sn_fail_memory(c->error);
    for (uint64_t i = 0; i < count; i++) {
        sn_gguf_value *v = &g->values[i];
        char *key;
        uint64_t type, length = 1;
        sn_status status = name(c, MAX_KEY, arena, &key);
        if (!status) status = number(c, 4, &type);
        if (!status && type == SN_GGUF_ARRAY) {
            v->is_array = true;
            status = number(c, 4, &type);
            if (!status) status = number(c, 8, &length);
        }
        v->key = status ? NULL : key, v->type = (sn_gguf_type)type, v->left = length, v->at = c->data + c->at;
        if (!status) status = skip(c, type, length, 1);
        if (status) return status;
        if (sn_map_get(g->index, key, strlen(key), NULL)) return sn_fail(c->error, SN_ERROR_INPUT, "%s: key %s is there twice", c->path, key);
        if (!sn_map_set(g->index, key, strlen(key), (int64_t)i)) return sn_fail_memory(c->error);
        g->count++;
    }
    return SN_OK;
}

static sn_status read_info(cursor *c, uint64_t alignment, sn_arena *arena, sn_source_tensor *out) {
    char *text;
    uint64_t rank, dim, type, offset;
    sn_status status = name(c, MAX_NAME, arena, &text);
    if (!status) status = number(c, 4, &rank);
    if (status) return status;
    *out = (sn_source_tensor){.name = text, .file = c->path, .contiguous = true};
    if (rank > 4) return sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: found %llu dimensions, expected at most 4", c->path, text, (unsigned long long)rank);
    out->shape.rank = (int)rank;
    for (uint64_t i = 0; i < rank; i++) { /* the file's first dimension is the fastest */
        if ((status = number(c, 8, &dim))) return status;
        if (dim > INT64_MAX) return sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: an impossible dimension", c->path, text);
        out->shape.dim[rank - 1 - i] = (int64_t)dim;
    }
    status = number(c, 4, &type);
    if (!status) status = number(c, 8, &offset);
    if (status) return status;
    const struct tensor_type *known = NULL;
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++)
        if ((uint64_t)tensor_types[i].number == type) known = &tensor_types[i];
    if (!known) return sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: unknown type %llu", c->path, text, (unsigned long long)type);
    if (known->type == SN_TYPE_COUNT) return sn_fail(c->error, SN_ERROR_SUPPORT, "%s: tensor %s: blocks of %s are not read by this version; quantize to another type", c->path, text, known->name);
    out->type = known->type;
    int64_t count = sn_shape_count(&out->shape), row = rank ? out->shape.dim[rank - 1] : 1;
    int block = sn_type_of(out->type)->block;
    if (count < 0) return sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: an impossible shape", c->path, text);
    if (row % block || !sn_type_bytes(out->type, count, &out->bytes))
        return sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: rows of %lld values, expected a multiple of %s's block of %d", c->path, text, (long long)row, known->name, block);
    if (offset % alignment || offset > INT64_MAX) return sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: offset %llu is no multiple of the alignment", c->path, text, (unsigned long long)offset);
    out->offset = (int64_t)offset;
    return SN_OK;
}

static int by_offset(const void *a, const void *b) {
    const sn_source_tensor *x = *(const sn_source_tensor *const *)a, *y = *(const sn_source_tensor *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Places are known once all infos are read: inside the file, none over another. */
static sn_status place_tensors(cursor *c, sn_source *source, sn_source_tensor *infos, uint64_t count, uint64_t begin) {
    const sn_source_tensor **order = sn_alloc(count + 1, sizeof *order);
    if (!order) return sn_fail_memory(c->error);
    sn_status status = SN_OK;
    for (uint64_t i = 0; i < count && !status; i++) {
        sn_source_tensor *t = &infos[i];
        uint64_t offset = (uint64_t)t->offset;
        order[i] = t;
        if (t->bytes && (begin > c->size || offset > c->size - begin || (uint64_t)t->bytes > c->size - begin - offset))
            status = sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s: its %lld bytes lie beyond the end of the file (cut short?)", c->path, t->name, (long long)t->bytes);
        else t->data = t->bytes ? c->data + begin + offset : c->data;
    }
    if (!status) qsort(order, count, sizeof *order, by_offset);
    int64_t end = 0;
    for (uint64_t i = 0; i < count && !status; i++) {
        if (!order[i]->bytes) continue;
        if (order[i]->offset < end) status = sn_fail(c->error, SN_ERROR_INPUT, "%s: tensor %s overlaps another", c->path, order[i]->name);
        end = order[i]->offset + order[i]->bytes;
    }
    for (uint64_t i = 0; i < count && !status; i++) {
        sn_source_tensor t = infos[i];
        t.offset = 0;
        status = sn_source_add(source, &t, c->error);
    }
    sn_free(order);
    return status;
}

static sn_status read_directory(cursor *c, sn_source *source) {
    uint64_t version, num_tensors, num_values;
    sn_gguf *g = source->gguf;
    const unsigned char *magic;
    sn_status status = take(c, 4, &magic);
    if (!status) status = number(c, 4, &version);
    if (status) return status;
    if (version != 2 && version != 3)
        return sn_fail(c->error, SN_ERROR_SUPPORT, "%s: found GGUF version %llu, expected 2 or 3%s", c->path, (unsigned long long)version,
                       version >> 16 && version << 16 >> 16 == 0 ? " (a big-endian file?)" : "");
    g->version = (uint32_t)version;
    status = number(c, 8, &num_tensors);
    if (!status) status = number(c, 8, &num_values);
    if (!status) status = read_values(c, num_values, source->arena, g);
    if (status) return status;
    int64_t alignment = 32;
    sn_gguf_value value;
    if (sn_gguf_find(g, "general.alignment", &value) &&
        (value.type != SN_GGUF_U32 || !sn_gguf_integer(g, "general.alignment", &alignment) || alignment < 1 || alignment > 1 << 20 || (alignment & (alignment - 1))))
        return sn_fail(c->error, SN_ERROR_INPUT, "%s: general.alignment: expected a power of two", c->path);
    if (num_tensors > MAX_COUNT || num_tensors > (c->size - c->at) / 24) return broken(c, "more tensors than the file can hold");
    sn_source_tensor *infos = sn_alloc(num_tensors + 1, sizeof *infos);
    if (!infos) return sn_fail_memory(c->error);
    for (uint64_t i = 0; i < num_tensors && !status; i++) status = read_info(c, (uint64_t)alignment, source->arena, &infos[i]);
    uint64_t begin = (c->at + (uint64_t)alignment - 1) & ~((uint64_t)alignment - 1);
    if (!status) status = place_tensors(c, source, infos, num_tensors, begin);
    sn_free(infos);
    return status;
}

sn_status sn_gguf_read(sn_source *source, const char *path, sn_error *error) {
    sn_mapping file;
    if (source->gguf) return sn_fail(error, SN_ERROR_SUPPORT, "%s: a GGUF model in several files, which this version does not read; join them with llama-gguf-split --merge", path);
    sn_status status = sn_source_map(source, path, &file, error);
    if (status) return status;
    source->gguf = sn_arena_alloc(source->arena, 1, sizeof *source->gguf);
    if (!source->gguf) return sn_fail_memory(error);
    if (!(source->gguf->index = sn_map_new())) return sn_fail_memory(error);
    cursor c = {.path = path, .data = file.data, .size = file.size, .error = error};
    return read_directory(&c, source);
}

/* ---- values ---- */

bool sn_gguf_find(const sn_gguf *gguf, const char *key, sn_gguf_value *out) {
    int64_t i;
    if (!gguf || !sn_map_get(gguf->index, key, strlen(key), &i)) return false;
    *out = gguf->values[i];
    return true;
}

static bool next(sn_gguf_value *walk, uint64_t *bits) {
    int bytes = value_bytes[walk->type];
    if (!walk->left || !bytes) return false;
    *bits = little(walk->at, bytes);
    walk->at += bytes, walk->left--;
    return true;
}

bool sn_gguf_next_integer(sn_gguf_value *walk, int64_t *out) {
    uint64_t bits;
    if (walk->type == SN_GGUF_F32 || walk->type == SN_GGUF_F64) return false;
    if (walk->type == SN_GGUF_U64 && walk->left && little(walk->at, 8) > INT64_MAX) return false;
    if (!next(walk, &bits)) return false;
    switch (walk->type) {
    case SN_GGUF_I8: *out = (int8_t)bits; break;
    case SN_GGUF_I16: *out = (int16_t)bits; break;
    case SN_GGUF_I32: *out = (int32_t)bits; break;
    case SN_GGUF_BOOL: *out = bits != 0; break;
    default: *out = (int64_t)bits;
    }
    return true;
}

bool sn_gguf_next_number(sn_gguf_value *walk, double *out) {
    sn_gguf_type type = walk->type;
    int64_t whole;
    uint64_t bits;
    if (type != SN_GGUF_F32 && type != SN_GGUF_F64) {
        if (type == SN_GGUF_U64 && next(walk, &bits)) return *out = (double)bits, true;
        if (!sn_gguf_next_integer(walk, &whole)) return false;
        *out = (double)whole;
        return true;
    }
    if (!next(walk, &bits)) return false;
    if (type == SN_GGUF_F64) {
        memcpy(out, &bits, sizeof *out);
    } else {
        uint32_t low = (uint32_t)bits;
        float single;
        memcpy(&single, &low, sizeof single);
        *out = (double)single;
    }
    return true;
}

bool sn_gguf_next_text(sn_gguf_value *walk, const char **text, size_t *length) {
    if (walk->type != SN_GGUF_STRING || !walk->left) return false;
    *length = little(walk->at, 8);
    *text = (const char *)walk->at + 8;
    walk->at += 8 + *length, walk->left--;
    return true;
}

bool sn_gguf_next_array(sn_gguf_value *walk, sn_gguf_value *inner) {
    if (walk->type != SN_GGUF_ARRAY || !walk->left) return false;
    *inner = (sn_gguf_value){.key = walk->key, .type = (sn_gguf_type)little(walk->at, 4), .is_array = true, .left = little(walk->at + 4, 8), .at = walk->at + 12};
    sn_gguf_value end = *inner, deeper;
    const char *text;
    size_t length;
    if (value_bytes[end.type]) end.at += value_bytes[end.type] * end.left; /* what the walk goes on behind */
    while (sn_gguf_next_text(&end, &text, &length) || sn_gguf_next_array(&end, &deeper)) {}
    walk->at = end.at, walk->left--;
    return true;
}

bool sn_gguf_integer(const sn_gguf *gguf, const char *key, int64_t *out) {
    sn_gguf_value value;
    return sn_gguf_find(gguf, key, &value) && !value.is_array && sn_gguf_next_integer(&value, out);
}

bool sn_gguf_number(const sn_gguf *gguf, const char *key, double *out) {
    sn_gguf_value value;
    return sn_gguf_find(gguf, key, &value) && !value.is_array && sn_gguf_next_number(&value, out);
}

bool sn_gguf_text(const sn_gguf *gguf, const char *key, const char **text, size_t *length) {
    sn_gguf_value value;
    return sn_gguf_find(gguf, key, &value) && !value.is_array && sn_gguf_next_text(&value, text, length);
}

static json_t *whole_json(sn_gguf_value *walk) {
    uint64_t bits;
    int64_t whole;
    char text[32];
    bool is_bool = walk->type == SN_GGUF_BOOL;
    if (sn_gguf_next_integer(walk, &whole)) {
        if (is_bool) return json_boolean(whole);
        if (whole <= (int64_t)1 << 53 && whole >= -((int64_t)1 << 53)) return json_integer(whole);
        snprintf(text, sizeof text, "%lld", (long long)whole);
    } else {
        if (!next(walk, &bits)) return NULL;
        snprintf(text, sizeof text, "%llu", (unsigned long long)bits);
    }
    return json_string(text);
}

/* The next element of a walk as JSON; NULL at its end. Text that is not UTF-8 becomes null. */
static json_t *next_json(sn_gguf_value *walk) {
    const char *text;
    size_t length;
    double real;
    sn_gguf_value inner;
    if (sn_gguf_next_text(walk, &text, &length)) {
        json_t *string_value = json_stringn(text, length);
        return string_value ? string_value : json_null();
    }
    if (sn_gguf_next_array(walk, &inner)) return sn_gguf_json(&inner);
    if (walk->type != SN_GGUF_F32 && walk->type != SN_GGUF_F64) return whole_json(walk);
    if (!sn_gguf_next_number(walk, &real)) return NULL;
    json_t *number_value = json_real(real); /* NULL for what JSON has no word for */
    return number_value ? number_value : json_null();
}

json_t *sn_gguf_json(const sn_gguf_value *value) {
    sn_gguf_value walk = *value;
    if (!walk.is_array) return next_json(&walk);
    json_t *array = json_array(), *item;
    while (array && (item = next_json(&walk)))
        if (json_array_append_new(array, item)) break;
    return array;
}
