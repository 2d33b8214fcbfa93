/* Keeping named tensors. */
#include "runtime/trace.h"

#include <string.h>

void sn_trace_free(sn_trace *trace) {
    for (size_t i = 0; i < trace->count; i++) {
        sn_free(trace->tensors[i].name);
        sn_free(trace->tensors[i].data);
    }
    sn_free(trace->tensors);
    trace->tensors = NULL, trace->count = trace->capacity = 0;
}

const sn_traced *sn_trace_find(const sn_trace *trace, const char *name) {
    for (size_t i = 0; i < trace->count; i++)
        if (strcmp(trace->tensors[i].name, name) == 0) return &trace->tensors[i];
    return NULL;
}

bool sn_trace_wants(const sn_trace *trace, const char *name) {
    return trace && (!trace->wanted || trace->wanted(name)) && !sn_trace_find(trace, name);
}

void sn_trace_put(sn_trace *trace, const char *name, sn_type type, sn_shape shape, const void *data) {
    if (!sn_trace_wants(trace, name)) return;
    int64_t size = sn_type_of(type)->bytes, count = sn_shape_count(&shape), longest = 0;
    bool packed = trace->row_starts && strncmp(name, "lm.", 3) == 0 && shape.rank >= 1 && shape.dim[0] == trace->row_starts[trace->rows];
    int64_t width = packed && shape.dim[0] ? count / shape.dim[0] : count;
    sn_shape padded = shape;
    if (packed) {
        for (int r = 0; r < trace->rows; r++)
            if (trace->row_starts[r + 1] - trace->row_starts[r] > longest) longest = trace->row_starts[r + 1] - trace->row_starts[r];
        padded.rank = shape.rank + 1;
        padded.dim[0] = trace->rows, padded.dim[1] = longest;
        for (int i = 1; i < shape.rank; i++) padded.dim[i + 1] = shape.dim[i];
    }
    char *copy = sn_alloc((size_t)sn_shape_count(&padded), (size_t)size), *text = sn_strdup(name);
    if (!copy || !text || !sn_grow((void **)&trace->tensors, &trace->capacity, trace->count + 1, sizeof *trace->tensors)) {
        sn_free(copy);
        sn_free(text);
        trace->failed = true;
        return;
    }
    if (packed)
        for (int r = 0; r < trace->rows; r++) {
            int32_t begin = trace->row_starts[r], length = trace->row_starts[r + 1] - begin;
            memcpy(copy + r * longest * width * size, (const char *)data + begin * width * size, (size_t)(length * width * size));
        }
    else
        memcpy(copy, data, (size_t)(count * size));
    trace->tensors[trace->count++] = (sn_traced){text, type, padded, copy};
}
