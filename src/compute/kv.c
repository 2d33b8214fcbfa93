/* Pages: taken, shared, copied, dropped. Dropped pages keep their memory for the next taker. */
#include "compute/kv.h"

#include "base/memory.h"

#include <string.h>

sn_status sn_kv_cache_new(sn_type type, int num_layers, int64_t num_kv_heads, int64_t head_dim, sn_kv_cache **out,
                          sn_error *error) {
    *out = NULL;
    int64_t row_bytes, bytes;
    if (!sn_type_of(type)->to_float || !sn_type_of(type)->from_float || !sn_type_bytes(type, head_dim, &row_bytes) ||
        __builtin_mul_overflow(row_bytes * SN_PAGE_POSITIONS, num_kv_heads * 2 * num_layers, &bytes))
        return sn_fail(error, SN_ERROR_SUPPORT, "a cache of type %s does not fit heads of %lld", sn_type_of(type)->name,
                       (long long)head_dim);
    sn_kv_cache *cache = sn_alloc(1, sizeof *cache);
    if (!cache) return sn_fail_memory(error);
    *cache = (sn_kv_cache){.type = type, .num_layers = num_layers, .num_kv_heads = num_kv_heads, .head_dim = head_dim,
                           .head_bytes = row_bytes * SN_PAGE_POSITIONS, .page_bytes = (size_t)bytes};
    *out = cache;
    return SN_OK;
}

void sn_kv_cache_free(sn_kv_cache *cache) {
    if (!cache) return;
    for (int32_t i = 0; i < cache->num_pages; i++) sn_free(cache->pages[i]);
    sn_free(cache->pages);
    sn_free(cache->count);
    sn_free(cache);
}

int32_t sn_kv_page_take(sn_kv_cache *cache) {
    for (int32_t i = 0; i < cache->num_pages; i++)
        if (cache->count[i] == 0) {
            cache->count[i] = 1;
            return i;
        }
    if (cache->num_pages == cache->capacity) {
        int32_t capacity = cache->capacity ? cache->capacity * 2 : 16;
        char **pages = sn_alloc((size_t)capacity, sizeof *pages);
        int32_t *count = sn_alloc((size_t)capacity, sizeof *count);
        if (!pages || !count) {
            sn_free(pages);
            sn_free(count);
            return -1;
        }
        if (cache->num_pages) {
            memcpy(pages, cache->pages, (size_t)cache->num_pages * sizeof *pages);
            memcpy(count, cache->count, (size_t)cache->num_pages * sizeof *count);
        }
        sn_free(cache->pages);
        sn_free(cache->count);
        cache->pages = pages, cache->count = count, cache->capacity = capacity;
    }
    char *memory = sn_alloc(1, cache->page_bytes);
    if (!memory) return -1;
    sn_memory_huge(memory, cache->page_bytes);
    cache->pages[cache->num_pages] = memory;
    cache->count[cache->num_pages] = 1;
    return cache->num_pages++;
}

void sn_kv_page_hold(sn_kv_cache *cache, int32_t page) { cache->count[page]++; }

void sn_kv_page_drop(sn_kv_cache *cache, int32_t page) { cache->count[page]--; }

int32_t sn_kv_page_copy(sn_kv_cache *cache, int32_t page) {
    int32_t copy = sn_kv_page_take(cache);
    if (copy >= 0) memcpy(cache->pages[copy], cache->pages[page], cache->page_bytes);
    return copy;
}
