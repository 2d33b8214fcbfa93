/* GGUF: the directory is made in memory, the data are written row by row behind it. */
#include "base/file.h"
#include "weights/writer.h"

#include <string.h>

enum { ALIGNMENT = 32 };

static void put(sn_buf *to, uint64_t value, int bytes) {
    unsigned char text[8];
    for (int i = 0; i < bytes; i++) text[i] = (unsigned char)(value >> 8 * i);
    sn_buf_add(to, text, (size_t)bytes);
}

static void put_string(sn_buf *to, const char *text) {
    put(to, strlen(text), 8);
    sn_buf_puts(to, text);
}

static void put_pair(sn_buf *to, const sn_gguf_pair *pair) {
    static const int bytes[SN_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, sizeof(bool), 0, 0, 8, 8, 8};
    put_string(to, pair->key);
    if (pair->is_array) put(to, SN_GGUF_ARRAY, 4);
    put(to, pair->type, 4);
    if (pair->is_array) put(to, pair->count, 8);
    if (pair->type == SN_GGUF_STRING)
        for (size_t i = 0; i < pair->count; i++) put_string(to, ((const char *const *)pair->values)[i]);
    else sn_buf_add(to, pair->values, pair->count * (size_t)bytes[pair->type]); /* little-endian, as the machine is */
}

static uint64_t padded(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Bytes of one row, which blocks must divide, and of the whole. */
static sn_status size_of(const char *path, const sn_gguf_tensor *t, int64_t *row_bytes, int64_t *bytes, sn_error *error) {
    const sn_shape *shape = &t->weight->shape;
    const char *name = sn_type_of(t->type)->name;
    int64_t row = shape->rank ? shape->dim[shape->rank - 1] : 1;
    if (sn_gguf_type_number(t->type) < 0 || shape->rank > 4) return sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: type %s of %d dimensions cannot be written as GGUF", path, t->name, name, shape->rank);
    if (t->type != t->weight->type && (!sn_type_of(t->type)->from_float || !sn_type_of(t->weight->type)->to_float))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: %s cannot be made from %s", path, t->name, name, sn_type_of(t->weight->type)->name);
    if (row % sn_type_of(t->type)->block || !sn_type_bytes(t->type, t->weight->columns, row_bytes) || !sn_type_bytes(t->type, sn_shape_count(shape), bytes))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: rows of %lld values are no whole blocks of %s", path, t->name, (long long)row, name);
    return SN_OK;
}

static sn_status put_directory(const char *path, sn_buf *to, const sn_gguf_pair *pairs, size_t num_pairs, const sn_gguf_tensor *tensors, size_t num_tensors,
                               sn_error *error) {
    uint64_t at = 0;
    sn_buf_puts(to, "GGUF");
    put(to, 3, 4);
    put(to, num_tensors, 8);
    put(to, num_pairs, 8);
    for (size_t i = 0; i < num_pairs; i++) put_pair(to, &pairs[i]);
    for (size_t i = 0; i < num_tensors; i++) {
        const sn_shape *shape = &tensors[i].weight->shape;
        int64_t row_bytes, bytes;
        sn_status status = size_of(path, &tensors[i], &row_bytes, &bytes, error);
        if (status) return status;
        put_string(to, tensors[i].name);
        put(to, (uint64_t)shape->rank, 4);
        for (int d = shape->rank - 1; d >= 0; d--) put(to, (uint64_t)shape->dim[d], 8);
        put(to, (uint64_t)sn_gguf_type_number(tensors[i].type), 4);
        put(to, at, 8);
        at += padded((uint64_t)bytes);
    }
    while (!to->failed && to->length % ALIGNMENT) sn_buf_add(to, "", 1);
    return to->failed ? sn_fail_memory(error) : SN_OK;
}

typedef struct listener {
    sn_gguf_told *told; /* may be NULL */
    void *context;
    int64_t bytes; /* so far */
} listener;

static sn_status write_tensor(const char *path, sn_output *out, const sn_gguf_tensor *t, listener *l, sn_error *error) {
    static const char zeros[ALIGNMENT];
    sn_weight *w = t->weight;
    int64_t row_bytes, bytes;
    sn_status status = size_of(path, t, &row_bytes, &bytes, error);
    if (!status) status = sn_weight_ready(w, error);
    if (status) return status;
    float *values = sn_alloc((size_t)w->columns + 1, sizeof *values);
    void *blocks = sn_alloc((size_t)row_bytes + 1, 1);
    if (!values || !blocks) status = sn_fail_memory(error);
    for (int64_t r = 0; r < w->rows && !status; r++) {
        const void *row = sn_weight_row(w, r);
        if (t->type != w->type) {
            sn_weight_row_floats(w, r, values);
            sn_type_of(t->type)->from_float(values, blocks, w->columns);
            row = blocks;
        }
        status = sn_output_write(out, row, (size_t)row_bytes, error);
        l->bytes += row_bytes;
        if (l->told) l->told(l->context, l->bytes);
    }
    if (!status) status = sn_output_write(out, zeros, padded((uint64_t)bytes) - (uint64_t)bytes, error);
    sn_free(values);
    sn_free(blocks);
    return status;
}

sn_status sn_gguf_write(const char *path, const sn_gguf_pair *pairs, size_t num_pairs, const sn_gguf_tensor *tensors, size_t num_tensors, sn_error *error) {
    return sn_gguf_write_told(path, pairs, num_pairs, tensors, num_tensors, NULL, NULL, error);
}

sn_status sn_gguf_write_told(const char *path, const sn_gguf_pair *pairs, size_t num_pairs, const sn_gguf_tensor *tensors, size_t num_tensors, sn_gguf_told *told, void *context, sn_error *error) {
    listener l = {told, context, 0};
    sn_buf directory = {0};
    sn_output *out = NULL;
    sn_status status = put_directory(path, &directory, pairs, num_pairs, tensors, num_tensors, error);
    if (!status) status = sn_output_open(path, &out, error);
    if (!status) status = sn_output_write(out, directory.data, directory.length, error);
    for (size_t i = 0; i < num_tensors && !status; i++) status = write_tensor(path, out, &tensors[i], &l, error);
    if (!status) status = sn_output_commit(out, error);
    sn_output_close(out);
    sn_buf_free(&directory);
    return status;
}
