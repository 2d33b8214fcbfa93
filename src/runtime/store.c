/* Parameters by name; fresh ones. */
#include "runtime/store.h"

#include "base/random.h"

#include <math.h>
#include <string.h>

sn_store *sn_store_new(void) {
    sn_store *store = sn_alloc(1, sizeof *store);
    if (!store) return NULL;
    store->arena = sn_arena_new();
    store->index = sn_map_new();
    if (!store->arena || !store->index) {
        sn_store_free(store);
        return NULL;
    }
    return store;
}

void sn_store_free(sn_store *store) {
    if (!store) return;
    for (size_t i = 0; i < store->count; i++) sn_weight_release(&store->entries[i]->weight);
    sn_free(store->entries);
    sn_map_free(store->index);
    sn_arena_free(store->arena);
    sn_free(store);
}

sn_store_entry *sn_store_find(const sn_store *store, const char *name) {
    int64_t i;
    return sn_map_get(store->index, name, strlen(name), &i) ? store->entries[i] : NULL;
}

sn_store_entry *sn_store_add(sn_store *store, const char *name, const char *published, const char *file, const sn_weight *weight) {
    sn_store_entry *entry = sn_arena_alloc(store->arena, 1, sizeof *entry);
    if (!entry || !sn_grow((void **)&store->entries, &store->capacity, store->count + 1, sizeof *store->entries)) return NULL;
    *entry = (sn_store_entry){.name = sn_arena_strdup(store->arena, name), .published = sn_arena_strdup(store->arena, published),
                              .file = sn_arena_strdup(store->arena, file), .weight = *weight};
    if (!entry->name || !entry->published || !entry->file || !sn_map_set(store->index, name, strlen(name), (int64_t)store->count)) return NULL;
    store->entries[store->count++] = entry;
    return entry;
}

/* sn_uniform of from … from + n - 1, four of them by each draw. */
static void fill_uniform(float bound, uint64_t seed, uint64_t stream, int64_t from, float *values, int64_t n) {
    for (int64_t i = 0; i < n;) {
        uint64_t at = (uint64_t)(from + i);
        sn_philox draw = sn_philox_at(seed, stream, at / 4);
        for (uint64_t w = at % 4; w < 4 && i < n; w++, i++) values[i] = bound * (2 * ((float)(draw.word[w] >> 8) * 0x1p-24f) - 1);
    }
}

/* Values number from … from + n - 1 of a parameter. */
static void fill(sn_init init, float bound, uint64_t seed, uint64_t stream, int64_t from, float *values, int64_t n) {
    if (init == SN_INIT_UNIFORM) {
        fill_uniform(bound, seed, stream, from, values, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) values[i] = init == SN_INIT_NORMAL ? 0.02f * sn_normal(seed, stream, (uint64_t)(from + i)) : init == SN_INIT_ONE;
}

sn_status sn_store_add_fresh_as(sn_store *store, sn_type type, const char *name, const char *published, sn_shape shape, sn_init init, uint64_t seed,
                                sn_error *error) {
    int64_t count = sn_shape_count(&shape), rows = shape.rank > 1 ? shape.dim[0] : 1, columns = rows > 0 ? count / rows : 0, row_bytes;
    if (count < 1 || !sn_type_of(type)->from_float || !sn_type_bytes(type, columns, &row_bytes))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: rows of %lld values cannot be stored as %s", name, (long long)columns, sn_type_of(type)->name);
    char *data = sn_alloc((size_t)rows, (size_t)row_bytes);
    float *row = sn_alloc((size_t)columns, sizeof *row);
    sn_store_entry *entry = NULL;
    if (data && row) {
        uint64_t stream = sn_hash(name, strlen(name), 0);
        float bound = 1 / sqrtf((float)(shape.rank > 1 ? columns : 1));
        for (int64_t r = 0; r < rows; r++) {
            fill(init, bound, seed, stream, r * columns, row, columns);
            sn_type_of(type)->from_float(row, data + r * row_bytes, columns);
        }
        sn_weight weight = sn_weight_view(type, shape, data);
        weight.owned = data;
        entry = sn_store_add(store, name, published, "", &weight);
    }
    sn_free(row);
    if (!entry) {
        sn_free(data);
        return sn_fail_memory(error);
    }
    entry->fresh = true;
    return SN_OK;
}

sn_status sn_store_add_fresh(sn_store *store, const char *name, const char *published, sn_shape shape, sn_init init, uint64_t seed,
                             sn_error *error) {
    return sn_store_add_fresh_as(store, SN_TYPE_F32, name, published, shape, init, seed, error);
}

sn_type sn_store_main_type(const sn_store *store) {
    int64_t values[SN_TYPE_COUNT] = {0};
    sn_type most = SN_TYPE_F32;
    for (size_t i = 0; i < store->count; i++) {
        const sn_weight *w = &store->entries[i]->weight;
        values[w->type] += w->rows * w->columns;
        if (values[w->type] > values[most]) most = w->type;
    }
    return most;
}
