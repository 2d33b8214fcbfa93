/* A word lies at the place that its hash says; short words with few ids are kept, the others are seldom. */
#include "text/cache.h"

#include "base/map.h"

#include <string.h>

enum { PLACES = 1 << 14, MOST_BYTES = 30, MOST_IDS = 8, WORTH_IT = 4096 };

typedef struct place {
    uint8_t length, count; /* length 0: free */
    char word[MOST_BYTES];
    int32_t ids[MOST_IDS];
} place;

struct sn_word_cache {
    place places[PLACES];
};

sn_word_cache *sn_word_cache_new(size_t text_length) { return text_length < WORTH_IT ? NULL : sn_alloc(1, sizeof(sn_word_cache)); }
void sn_word_cache_free(sn_word_cache *cache) { sn_free(cache); }

static size_t place_of(const char *word, size_t length) { return sn_hash(word, length, 0) & (PLACES - 1); }

int sn_word_cache_find(const sn_word_cache *c, const char *word, size_t length, sn_ids *out) {
    if (!c || length == 0 || length > MOST_BYTES) return 0;
    const place *p = &c->places[place_of(word, length)];
    if (p->length != length || memcmp(p->word, word, length) != 0) return 0;
    for (int i = 0; i < p->count; i++)
        if (!sn_ids_add(out, p->ids[i])) return -1;
    return 1;
}

void sn_word_cache_keep(sn_word_cache *c, const char *word, size_t length, const int32_t *ids, size_t count) {
    if (!c || length == 0 || length > MOST_BYTES || count > MOST_IDS) return;
    place *p = &c->places[place_of(word, length)];
    p->length = (uint8_t)length, p->count = (uint8_t)count;
    memcpy(p->word, word, length);
    if (count) memcpy(p->ids, ids, count * sizeof *ids);
}
