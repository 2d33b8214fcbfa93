/* A set of byte strings to walk through byte by byte, each with a number. */
#ifndef SN_TEXT_TRIE_H
#define SN_TEXT_TRIE_H

#include "base/memory.h"

typedef struct sn_trie sn_trie;

sn_trie *sn_trie_new(void);
void sn_trie_free(sn_trie *trie);

/* Adds a key that is not empty; value is at least 0. An existing key is overwritten. False without memory. */
bool sn_trie_add(sn_trie *trie, const char *key, size_t length, int32_t value);

/* One step from a node (0 is the root): the next node, or -1. */
int32_t sn_trie_step(const sn_trie *trie, int32_t node, char byte);
/* The value of the key that ends at this node, or -1. */
int32_t sn_trie_value(const sn_trie *trie, int32_t node);

/* The longest key that the text begins with: its value, or -1; *found gets its length. */
int32_t sn_trie_longest(const sn_trie *trie, const char *text, size_t length, size_t *found);

#endif
