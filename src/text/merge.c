/* The agenda of byte-pair merging is a binary heap; a pair that has changed since it was added is recognised
 * by the length of its two sides together. */
#include "text/merge.h"

typedef struct pair {
    double rank;
    int32_t left, right, id;
    uint32_t length; /* of both sides */
} pair;

typedef struct agenda {
    pair *heap;
    size_t count, capacity;
} agenda;

static bool before(const pair *a, const pair *b) { return a->rank < b->rank || (a->rank == b->rank && a->left < b->left); }

static bool agenda_add(agenda *a, pair p) {
    if (!sn_grow((void **)&a->heap, &a->capacity, a->count + 1, sizeof *a->heap)) return false;
    size_t i = a->count++;
    while (i && before(&p, &a->heap[(i - 1) / 2])) a->heap[i] = a->heap[(i - 1) / 2], i = (i - 1) / 2;
    a->heap[i] = p;
    return true;
}

static pair agenda_take(agenda *a) {
    pair top = a->heap[0], last = a->heap[--a->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < a->count; i = child) {
        if (child + 1 < a->count && before(&a->heap[child + 1], &a->heap[child])) child++;
        if (!before(&a->heap[child], &last)) break;
        a->heap[i] = a->heap[child];
    }
    if (a->count) a->heap[i] = last;
    return top;
}

static bool offer(agenda *a, const sn_symbol *symbols, int32_t left, int32_t right, sn_join *join, void *context) {
    if (left < 0 || right < 0) return true;
    pair p = {.left = left, .right = right, .length = symbols[left].length + symbols[right].length};
    return !join(context, &symbols[left], &symbols[right], &p.rank, &p.id) || agenda_add(a, p);
}

bool sn_merge(sn_symbol *symbols, size_t count, sn_join *join, void *context) {
    agenda a = {0};
    bool ok = true;
    for (size_t i = 1; i < count && ok; i++) ok = offer(&a, symbols, (int32_t)i - 1, (int32_t)i, join, context);
    while (ok && a.count) {
        pair p = agenda_take(&a);
        sn_symbol *left = &symbols[p.left], *right = &symbols[p.right];
        if (!left->length || !right->length || left->length + right->length != p.length) continue;
        left->length = p.length, left->next = right->next, left->id = p.id, right->length = 0;
        if (left->next >= 0) symbols[left->next].previous = p.left;
        ok = offer(&a, symbols, left->previous, p.left, join, context) && offer(&a, symbols, p.left, left->next, join, context);
    }
    sn_free(a.heap);
    return ok;
}
