/* Byte-pair merging: of the neighbours that may be joined, the best pair first, the leftmost among equals.
 *
 * Symbols stand in a linked list, candidate pairs in a heap: n log n for n symbols. */
#ifndef SN_TEXT_MERGE_H
#define SN_TEXT_MERGE_H

#include "base/memory.h"

typedef struct sn_symbol {
    int32_t previous, next; /* places in the array; -1 = none */
    uint32_t begin, length; /* bytes of the text; length 0 = merged away */
    int32_t id;             /* the caller's */
} sn_symbol;

/* Whether two neighbours may be joined: their rank (the lowest is joined first) and the id of the whole. */
typedef bool sn_join(void *context, const sn_symbol *left, const sn_symbol *right, double *rank, int32_t *id);

/* Merges until no pair is left. Symbol 0 stays the first of the list. False without memory. */
bool sn_merge(sn_symbol *symbols, size_t count, sn_join *join, void *context);

#endif
