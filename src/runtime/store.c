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

sn_status sn_store_add_fresh(sn_store *store, const char *name, const char *published, sn_shape shape, sn_init init, uint64_t seed,
                             sn_error *error) {
    int64_t count = sn_shape_count(&shape), columns = shape.rank > 1 ? count / shape.dim[0] : 1;
    float *values = sn_alloc((size_t)count, sizeof *values);
    if (!values) return sn_fail_memory(error);
    uint64_t stream = sn_hash(name, strlen(name), 0);
    float bound = 1 / sqrtf((float)columns);
    for (int64_t i = 0; i < count; i++)
        values[i] = init == SN_INIT_ZERO    ? 0
                    : init == SN_INIT_ONE    ? 1
                    : init == SN_INIT_NORMAL ? 0.02f * sn_normal(seed, stream, (uint64_t)i)
                                             : bound * (2 * sn_uniform(seed, stream, (uint64_t)i) - 1);
    sn_weight weight = sn_weight_view(SN_TYPE_F32, shape, values);
    weight.owned = values;
    sn_store_entry *entry = sn_store_add(store, name, published, "", &weight);
    if (!entry) {
        sn_free(values);
        return sn_fail_memory(error);
    }
    entry->fresh = true;
    return SN_OK;
}
