/* Weights: rows in parts, derived ones, float copies. */
#include "tensor/weight.h"

#include <string.h>

sn_weight sn_weight_view(sn_type type, sn_shape shape, const void *data) {
    sn_weight w = {.type = type, .shape = shape, .num_parts = 1};
    int64_t count = sn_shape_count(&shape);
    /* A weight without values has no rows either: a file may say [2^32, 0], and nobody shall walk through those. */
    w.rows = count == 0 ? 0 : shape.rank > 1 ? shape.dim[0] : 1;
    w.columns = w.rows ? count / w.rows : 0;
    int64_t bytes = 0;
    sn_type_bytes(type, w.columns, &bytes);
    w.part[0] = (sn_weight_part){.data = data, .rows = w.rows, .row_bytes = bytes};
    return w;
}

sn_status sn_weight_ready(sn_weight *w, sn_error *error) {
    if (!w->make || __atomic_load_n(&w->owned, __ATOMIC_ACQUIRE)) return SN_OK;
    int64_t row_bytes;
    if (!sn_type_bytes(w->type, w->columns, &row_bytes)) return sn_fail(error, SN_ERROR_INPUT, "a weight's row is no whole number of blocks");
    void *memory = sn_alloc((size_t)w->rows, (size_t)row_bytes), *none = NULL;
    if (!memory) return sn_fail_memory(error);
    sn_status status = w->make(w->recipe, memory, error);
    if (status) {
        sn_free(memory);
        return status;
    }
    /* Every maker writes the same bytes, so the place of the part may be set by any of them before `owned`. */
    if (!__atomic_compare_exchange_n(&w->owned, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        sn_free(memory);
        return SN_OK;
    }
    w->part[0] = (sn_weight_part){.data = memory, .rows = w->rows, .row_bytes = row_bytes};
    w->num_parts = 1;
    return SN_OK;
}

const void *sn_weight_row(const sn_weight *w, int64_t row) {
    int p = 0;
    while (p + 1 < w->num_parts && row >= w->part[p].rows) row -= w->part[p++].rows;
    return (const char *)w->part[p].data + row * w->part[p].row_bytes;
}

void sn_weight_row_floats(const sn_weight *w, int64_t row, float *to) {
    sn_type_of(w->type)->to_float(sn_weight_row(w, row), to, w->columns);
}

const float *sn_weight_floats(sn_weight *w) {
    int64_t packed = w->columns * 4;
    const sn_weight_part *p = &w->part[0];
    if (w->type == SN_TYPE_F32 && w->num_parts == 1 && (w->rows == 1 || p->row_bytes == packed) && (uintptr_t)p->data % 4 == 0)
        return p->data;
    float *floats = __atomic_load_n(&w->floats, __ATOMIC_ACQUIRE), *none = NULL;
    if (floats) return floats;
    floats = sn_alloc((size_t)w->rows, (size_t)packed);
    if (!floats) return NULL;
    for (int64_t r = 0; r < w->rows; r++) sn_weight_row_floats(w, r, floats + r * w->columns);
    if (!__atomic_compare_exchange_n(&w->floats, &none, floats, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        sn_free(floats);
        floats = none;
    }
    return floats;
}

void sn_weight_release(sn_weight *w) {
    sn_free(w->owned);
    sn_free(w->floats);
    w->owned = NULL, w->floats = NULL;
}
