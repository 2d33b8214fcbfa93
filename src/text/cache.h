/* Words of one text whose ids are known already: natural text repeats them. A table of fixed size in which a newer word takes an
 * older one's place; it belongs to one call, so that tokenizers stay constant. */
#ifndef SN_TEXT_CACHE_H
#define SN_TEXT_CACHE_H

#include "text/tokenizer.h"

typedef struct sn_word_cache sn_word_cache;

/* NULL where the text is too short to be worth one, or without memory: the other calls take NULL. */
sn_word_cache *sn_word_cache_new(size_t text_length);
void sn_word_cache_free(sn_word_cache *cache);

/* Adds the ids of a known word: 1; 0 where it is not known, -1 without memory. */
int sn_word_cache_find(const sn_word_cache *cache, const char *word, size_t length, sn_ids *out);
/* Remembers the ids that a word has just added to the end of `ids`. */
void sn_word_cache_keep(sn_word_cache *cache, const char *word, size_t length, const int32_t *ids, size_t count);

#endif
