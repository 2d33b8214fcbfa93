/* A model's parameters by canonical name. Filled once when a model is opened; constant to its users after. */
#ifndef SN_RUNTIME_STORE_H
#define SN_RUNTIME_STORE_H

#include "base/map.h"
#include "tensor/weight.h"

typedef struct sn_store_entry {
    const char *name;      /* canonical: "decoder.layers.3.attention.q.weight" */
    const char *published; /* as its checkpoint calls it */
    const char *file;
    sn_weight weight;
    bool fresh; /* made here, not read: a new connector, a random model */
} sn_store_entry;

typedef struct sn_store {
    sn_arena *arena;
    sn_store_entry **entries;
    size_t count, capacity;
    sn_map *index;
} sn_store;

sn_store *sn_store_new(void);
void sn_store_free(sn_store *store);

/* Adds a parameter; the strings are copied. NULL without memory. */
sn_store_entry *sn_store_add(sn_store *store, const char *name, const char *published, const char *file, const sn_weight *weight);
sn_store_entry *sn_store_find(const sn_store *store, const char *name);

/* The type in which most of the values are stored. */
sn_type sn_store_main_type(const sn_store *store);

/* A parameter of one's own in that storage type, filled as `init` says from the seed and the name. Its rows are made
 * one after another, so that no more memory is taken than it needs. */
sn_status sn_store_add_fresh_as(sn_store *store, sn_type type, const char *name, const char *published, sn_shape shape, sn_init init, uint64_t seed,
                                sn_error *error);
/* The same as f32. */
sn_status sn_store_add_fresh(sn_store *store, const char *name, const char *published, sn_shape shape, sn_init init, uint64_t seed,
                             sn_error *error);

#endif
