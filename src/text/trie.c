/* The edges of all nodes lie in one hash table keyed by (node, byte), those of the root in an array of their own. */
#include "text/trie.h"

#include <string.h>

typedef struct edge {
    uint64_t key; /* (node << 8 | byte) + 1; 0 = empty */
    int32_t to;
} edge;

struct sn_trie {
    int32_t root[256]; /* 0 = none */
    edge *edges;
    size_t num_edges, edge_capacity;
    int32_t *values;
    size_t num_nodes, node_capacity;
};

sn_trie *sn_trie_new(void) {
    sn_trie *t = sn_alloc(1, sizeof *t);
    if (t && sn_grow((void **)&t->values, &t->node_capacity, 1, sizeof *t->values)) {
        t->values[t->num_nodes++] = -1;
        return t;
    }
    sn_free(t);
    return NULL;
}

void sn_trie_free(sn_trie *t) {
    if (!t) return;
    sn_free(t->edges);
    sn_free(t->values);
    sn_free(t);
}

static edge *place(edge *edges, size_t capacity, uint64_t key) {
    uint64_t hash = key * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(hash >> 20) & (capacity - 1);; i = (i + 1) & (capacity - 1))
        if (!edges[i].key || edges[i].key == key) return &edges[i];
}

static bool widen(sn_trie *t) {
    size_t capacity = t->edge_capacity ? t->edge_capacity * 2 : 256;
    edge *fresh = sn_alloc(capacity, sizeof *fresh);
    if (!fresh) return false;
    for (size_t i = 0; i < t->edge_capacity; i++)
        if (t->edges[i].key) *place(fresh, capacity, t->edges[i].key) = t->edges[i];
    sn_free(t->edges);
    t->edges = fresh, t->edge_capacity = capacity;
    return true;
}

static uint64_t edge_key(int32_t node, char byte) { return ((uint64_t)node << 8 | (unsigned char)byte) + 1; }

static bool grow_child(sn_trie *t, int32_t node, char byte, int32_t *out) {
    if (t->num_nodes >= INT32_MAX || !sn_grow((void **)&t->values, &t->node_capacity, t->num_nodes + 1, sizeof *t->values)) return false;
    if (node && (t->num_edges + 1) * 3 > t->edge_capacity * 2 && !widen(t)) return false;
    int32_t fresh = (int32_t)t->num_nodes;
    t->values[t->num_nodes++] = -1;
    if (node) *place(t->edges, t->edge_capacity, edge_key(node, byte)) = (edge){edge_key(node, byte), fresh}, t->num_edges++;
    else t->root[(unsigned char)byte] = fresh;
    *out = fresh;
    return true;
}

bool sn_trie_add(sn_trie *t, const char *key, size_t length, int32_t value) {
    int32_t node = 0;
    for (size_t i = 0; i < length; i++) {
        int32_t next = sn_trie_step(t, node, key[i]);
        if (next < 0 && !grow_child(t, node, key[i], &next)) return false;
        node = next;
    }
    t->values[node] = value;
    return true;
}

int32_t sn_trie_step(const sn_trie *t, int32_t node, char byte) {
    if (node == 0) return t->root[(unsigned char)byte] ? t->root[(unsigned char)byte] : -1;
    if (!t->edge_capacity) return -1;
    const edge *e = place(t->edges, t->edge_capacity, edge_key(node, byte));
    return e->key ? e->to : -1;
}

int32_t sn_trie_value(const sn_trie *t, int32_t node) { return t->values[node]; }

int32_t sn_trie_longest(const sn_trie *t, const char *text, size_t length, size_t *found) {
    int32_t node = 0, best = -1;
    for (size_t i = 0; i < length && (node = sn_trie_step(t, node, text[i])) >= 0; i++)
        if (t->values[node] >= 0) best = t->values[node], *found = i + 1;
    return best;
}
