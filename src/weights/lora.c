/* Finding a tensor's low-rank update and merging it. There is one merge: that of a model as it is opened, of a converted
 * checkpoint and of what a training run leaves. */
#include "weights/lora.h"

#include <math.h>
#include <string.h>

double sn_rounding_lost(const sn_rounding *r) { return r->update > 0 ? fmin(1, r->error / r->update) : 0; }

sn_status sn_lora_find(const sn_lora *lora, const char *published, const sn_shape *base, sn_arena *arena, sn_update *out, sn_error *error) {
    size_t length = strlen(published), ending = strlen(".weight");
    *out = (sn_update){0};
    if (length <= ending || strcmp(published + length - ending, ".weight") != 0) return SN_OK;
    const sn_source_tensor *found[2];
    for (int i = 0; i < 2; i++) {
        char *name = sn_format("%s%.*s.lora_%c%s.weight", lora->prefix, (int)(length - ending), published, 'A' + i, lora->infix);
        if (!name) return sn_fail_memory(error);
        found[i] = sn_source_find(lora->source, name);
        sn_free(name);
    }
    if (!found[0] && !found[1]) return SN_OK;
    if (!found[0] || !found[1]) return sn_fail(error, SN_ERROR_INPUT, "%s: the adapter holds only one of lora_A and lora_B", published);
    const sn_lora_size *size = &lora->sizes[found[0] - lora->source->tensors];
    const sn_shape *a = &found[0]->shape, *b = &found[1]->shape;
    char shape_a[96], shape_b[96], shape[96];
    for (int i = 0; i < 2; i++)
        if (!sn_type_of(found[i]->type)->is_float) return sn_source_check(found[i], error);
    if (sn_shape_count(a) == 0 || sn_shape_count(b) == 0)
        return sn_fail(error, SN_ERROR_INPUT, "%s: lora_A %s and lora_B %s are empty; written by a sharded training run that did not gather", published, sn_shape_text(a, shape_a), sn_shape_text(b, shape_b));
    if (base->rank != 2 || a->rank != 2 || b->rank != 2 || a->dim[1] != base->dim[1] || b->dim[0] != base->dim[0] || a->dim[0] != size->rank || b->dim[1] != size->rank)
        return sn_fail(error, SN_ERROR_INPUT, "%s: lora_A %s and lora_B %s of rank %lld do not fit the base's %s; another base model?", published, sn_shape_text(a, shape_a), sn_shape_text(b, shape_b),
                       (long long)size->rank, sn_shape_text(base, shape));
    out->from[0] = found[0], out->from[1] = found[1], out->scale = size->scale;
    sn_status status = sn_source_weight(lora->source, found[0], arena, &out->down, error);
    return status ? status : sn_source_weight(lora->source, found[1], arena, &out->up, error);
}

sn_status sn_lora_merge(const sn_weight *w, const sn_weight *down, const sn_weight *up, float scale, sn_type type, void *to, sn_rounding *rounding, sn_error *error) {
    int64_t columns = w->columns, rank = down->rows, bytes = 0;
    const sn_type_traits *stored = sn_type_of(type);
    if (!stored->from_float || !sn_type_bytes(type, columns, &bytes)) return sn_fail(error, SN_ERROR_SUPPORT, "low-rank updates are not merged into rows of %lld values of %s", (long long)columns, stored->name);
    float *row = sn_alloc((size_t)columns, sizeof *row), *update = sn_alloc((size_t)columns, sizeof *update), *b = sn_alloc((size_t)rank, sizeof *b), *a = sn_alloc((size_t)(rank * columns), sizeof *a);
    sn_status status = row && update && b && a ? SN_OK : sn_fail_memory(error);
    double sum = 0;
    for (int64_t k = 0; k < rank && !status; k++) sn_weight_row_floats(down, k, a + k * columns);
    for (int64_t r = 0; r < w->rows && !status; r++) {
        char *place = (char *)to + r * bytes;
        sn_weight_row_floats(w, r, row);
        sn_weight_row_floats(up, r, b);
        memset(update, 0, (size_t)columns * sizeof *update);
        for (int64_t k = 0; k < rank; k++)
            for (int64_t i = 0; i < columns; i++) update[i] += b[k] * a[k * columns + i];
        for (int64_t i = 0; i < columns; i++) update[i] *= scale, row[i] += update[i];
        stored->from_float(row, place, columns);
        for (int64_t i = 0; i < columns; i++) sum += fabs((double)update[i]);
        if (!rounding) continue;
        stored->to_float(place, update, columns);
        for (int64_t i = 0; i < columns; i++) rounding->error += fabs((double)update[i] - (double)row[i]);
    }
    if (rounding) rounding->update += sum;
    if (!status && !isfinite(sum)) status = sn_fail(error, SN_ERROR_NUMERIC, "the low-rank update is not finite");
    sn_free(row);
    sn_free(update);
    sn_free(b);
    sn_free(a);
    return status;
}

typedef struct recipe {
    sn_weight part[3]; /* W, A, B */
    const char *name;  /* of B */
    float scale;
    sn_type type;
    sn_rounding *rounding;
} recipe;

/* Parts that are derived themselves are made for the time of the making only. */
static sn_status make(const void *with, void *to, sn_error *error) {
    recipe r = *(const recipe *)with;
    sn_status status = SN_OK;
    for (int i = 0; i < 3 && !status; i++) status = sn_weight_ready(&r.part[i], error);
    if (!status) status = sn_lora_merge(&r.part[0], &r.part[1], &r.part[2], r.scale, r.type, to, r.rounding, error);
    if (status == SN_ERROR_NUMERIC) sn_fail_prefix(error, "%s", r.name);
    for (int i = 0; i < 3; i++) sn_weight_release(&r.part[i]);
    return status;
}

sn_status sn_lora_weight(const sn_weight *base, const sn_update *update, sn_type type, sn_rounding *rounding, sn_arena *arena, sn_weight *out, sn_error *error) {
    recipe *kept = sn_arena_alloc(arena, 1, sizeof *kept);
    if (!kept) return sn_fail_memory(error);
    *kept = (recipe){{*base, update->down, update->up}, update->from[1]->name, update->scale, type, rounding};
    *out = sn_weight_view(type, base->shape, NULL);
    out->make = make, out->recipe = kept;
    return SN_OK;
}
