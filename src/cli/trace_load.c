/* The tasks `load` and `quantize`: what is in files, as numbers. */
#include "cli/trace.h"
#include "weights/gguf.h"

#include <string.h>

/* ---- load ---- */

/* Whole numbers and bools of any width as int64. */
static void widen(const unsigned char *from, sn_type type, int64_t count, int64_t *to) {
    int bytes = sn_type_of(type)->bytes;
    bool is_signed = type == SN_TYPE_I8 || type == SN_TYPE_I16 || type == SN_TYPE_I32;
    for (int64_t i = 0; i < count; i++, from += bytes) {
        uint64_t bits = 0;
        for (int k = bytes - 1; k >= 0; k--) bits = bits << 8 | from[k];
        if (is_signed) bits = (uint64_t)((int64_t)(bits << (64 - 8 * bytes)) >> (64 - 8 * bytes));
        to[i] = type == SN_TYPE_BOOL ? bits != 0 : (int64_t)bits;
    }
}

/* One tensor as float32 or int64, under its name (the first file that has it) and under file.name. */
static sn_status put_tensor(sn_tracer *t, const char *file, const sn_source_tensor *tensor) {
    const sn_type_traits *type = sn_type_of(tensor->type);
    int64_t count = sn_shape_count(&tensor->shape);
    void *stored = sn_alloc((size_t)tensor->bytes + 1, 1), *values = sn_alloc((size_t)count + 1, type->is_float ? sizeof(float) : sizeof(int64_t));
    sn_status status = stored && values ? sn_source_copy(tensor, stored, t->error) : sn_fail_memory(t->error);
    if (!status && type->is_float && !type->to_float) status = sn_fail(t->error, SN_ERROR_SUPPORT, "%s: tensor %s: type %s has no values here", tensor->file, tensor->name, type->name);
    if (!status && type->is_float) type->to_float(stored, values, count);
    else if (!status) widen(stored, tensor->type, count, values);
    if (!status) {
        sn_type as = type->is_float ? SN_TYPE_F32 : SN_TYPE_I64;
        const char *full = sn_arena_format(t->arena, "%.*s.%s", (int)strcspn(file, "."), file, tensor->name);
        sn_trace_put(&t->trace, tensor->name, as, tensor->shape, values);
        if (full) sn_trace_put(&t->trace, full, as, tensor->shape, values);
    }
    sn_free(stored);
    sn_free(values);
    return status;
}

static void put_metadata(sn_tracer *t, const sn_gguf *gguf) {
    json_t *all = json_object();
    for (size_t i = 0; i < gguf->count; i++) json_object_set_new(all, gguf->values[i].key, sn_gguf_json(&gguf->values[i]));
    json_object_set_new(t->values, "metadata", all);
}

/* "files": {name: path, or {"path", "key"} where a PyTorch file wraps the dictionary} */
sn_status sn_trace_load(sn_tracer *t) {
    const char *name;
    json_t *value;
    json_t *files = sn_json_at(t->request, "files");
    if (!json_is_object(files)) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: files: expected an object of paths");
    sn_status status = SN_OK;
    json_object_foreach(files, name, value) {
        const char *path = json_is_string(value) ? json_string_value(value) : sn_json_string(value, "path"), *key = sn_json_string(value, "key");
        const char *full = path ? sn_arena_format(t->arena, "%s/%s", t->folder, path) : NULL;
        sn_source *source;
        if (!full) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: files.%s: expected a path", name);
        if ((status = sn_source_open_at(full, key, &source, t->error))) return status;
        for (size_t i = 0; i < source->count && !status; i++) status = put_tensor(t, name, &source->tensors[i]);
        if (!status && source->gguf) put_metadata(t, source->gguf);
        sn_source_close(source);
        if (status) return status;
    }
    return SN_OK;
}

/* ---- quantize ---- */

/* bytes.<type> [rows, bytes of a row], values.<type> as they read back. */
static sn_status quantize_as(sn_tracer *t, const char *name, sn_weight *weight) {
    sn_type type = sn_type_by_name(name);
    int64_t row_bytes, rows = weight->rows, columns = weight->columns;
    if (type == SN_TYPE_COUNT || !sn_type_of(type)->from_float || !sn_type_bytes(type, columns, &row_bytes))
        return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: types: rows of %lld values cannot be written as %s", (long long)columns, name);
    unsigned char *blocks = sn_alloc((size_t)rows, (size_t)row_bytes);
    int64_t *bytes = sn_alloc((size_t)(rows * row_bytes), sizeof *bytes);
    float *values = sn_alloc((size_t)rows, (size_t)columns * sizeof *values);
    sn_status status = blocks && bytes && values ? SN_OK : sn_fail_memory(t->error);
    for (int64_t r = 0; r < rows && !status; r++) {
        sn_weight_row_floats(weight, r, values + r * columns);
        sn_type_of(type)->from_float(values + r * columns, blocks + r * row_bytes, columns);
        sn_type_of(type)->to_float(blocks + r * row_bytes, values + r * columns, columns);
    }
    for (int64_t i = 0; i < rows * row_bytes && !status; i++) bytes[i] = blocks[i];
    const char *of_bytes = sn_arena_format(t->arena, "bytes.%s", name), *of_values = sn_arena_format(t->arena, "values.%s", name);
    if (!of_bytes || !of_values) status = sn_fail_memory(t->error);
    if (!status) {
        sn_trace_put(&t->trace, of_bytes, SN_TYPE_I64, SN_SHAPE(rows, row_bytes), bytes);
        sn_trace_put(&t->trace, of_values, SN_TYPE_F32, weight->shape, values);
    }
    sn_free(blocks);
    sn_free(bytes);
    sn_free(values);
    return status;
}

/* "input": a file with one tensor, "types": names of types */
sn_status sn_trace_quantize(sn_tracer *t) {
    const char *input = sn_json_string(t->request, "input"), *full = input ? sn_arena_format(t->arena, "%s/%s", t->folder, input) : NULL;
    const json_t *types = sn_json_at(t->request, "types");
    sn_source *source;
    sn_weight weight = {0};
    if (!full || !json_is_array(types)) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: expected input, a file, and types, a list of names");
    sn_status status = sn_source_open(full, &source, t->error);
    if (status) return status;
    if (source->count != 1) status = sn_fail(t->error, SN_ERROR_INPUT, "%s: found %zu tensors, expected one", full, source->count);
    if (!status) status = sn_source_weight(source, &source->tensors[0], t->arena, &weight, t->error);
    if (!status) status = sn_weight_ready(&weight, t->error);
    for (size_t i = 0; i < json_array_size(types) && !status; i++) {
        const char *name = json_string_value(json_array_get(types, i));
        status = quantize_as(t, name ? name : "?", &weight);
    }
    sn_weight_release(&weight);
    sn_source_close(source);
    return status;
}
