/* The key/value cache: pages of 64 positions.
 *
 * One page holds the keys and values of all layers for 64 positions, so one page id is valid in every
 * layer. Keys are stored after their rotation. Inner layout, private to the backend:
 *   page = [layer][key | value][kv head][64][head_dim], elements of `type`.
 * Pages are made when first wanted and counted: sequences that fork share them. */
#ifndef SN_COMPUTE_KV_H
#define SN_COMPUTE_KV_H

#include "tensor/type.h"

enum { SN_PAGE_POSITIONS = 64 };

typedef struct sn_kv_cache {
    sn_type type; /* f32, f16, bf16 or q8_0 */
    int num_layers;
    int64_t num_kv_heads, head_dim;
    char **pages;   /* by page id; NULL until first used */
    int32_t *count; /* how many sequences hold the page */
    int32_t num_pages, capacity;
    int64_t head_bytes; /* one head of one page: 64 rows */
    size_t page_bytes;
} sn_kv_cache;

/* Memory of one layer's keys (which = 0) or values (1) of one head in a page. */
static inline char *sn_kv_head(const sn_kv_cache *cache, int32_t page, int layer, int which, int64_t head) {
    int64_t heads = cache->num_kv_heads;
    return cache->pages[page] + ((layer * 2 + which) * heads + head) * cache->head_bytes;
}

sn_status sn_kv_cache_new(sn_type type, int num_layers, int64_t num_kv_heads, int64_t head_dim, sn_kv_cache **out,
                          sn_error *error);
void sn_kv_cache_free(sn_kv_cache *cache);

/* A page with count 1, or -1 without memory. */
int32_t sn_kv_page_take(sn_kv_cache *cache);
void sn_kv_page_hold(sn_kv_cache *cache, int32_t page);
void sn_kv_page_drop(sn_kv_cache *cache, int32_t page);
/* Makes a page of one's own with the same content. */
int32_t sn_kv_page_copy(sn_kv_cache *cache, int32_t page);

#endif
