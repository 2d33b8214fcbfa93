/* Low-rank updates beside frozen linear layers (Hu et al., arXiv 2106.09685): y = W x + alpha / r · B A x. */
#ifndef SN_TRAIN_LORA_H
#define SN_TRAIN_LORA_H

#include "train/learning.h"

/* What sn_lora_around wants to know. */
typedef struct sn_lora_place {
    sn_store *store; /* holds A [r, in] and B [out, r] as "NAME.lora_A.weight", "NAME.lora_B.weight" */
    float scale;     /* alpha / r */
    int64_t r;
    double alpha, dropout;
    uint64_t seed;
    sn_tensor token_keys, picture_keys; /* of a graph that drops: sn_dropout's keys for the rows of the sequence, and for pictures */
} sn_lora_place;

/* Whether the entry is half of an update. */
bool sn_is_lora(const sn_store_entry *entry);

/* Adds A (random) and B (zero) to the store for every linear layer that a target fits, published as PEFT names them.
 * parts[0 .. most) get the first words of the layers' names ("decoder"). A target without a layer is an error. */
sn_status sn_lora_add(sn_model *model, const sn_learning *learning, sn_arena *arena, const char **parts, size_t most, sn_error *error);

/* Puts the updates into a graph that begins. The result belongs to the graph: with dropout its keys can be set before the first
 * layer is built (without keys nothing is dropped); NULL where there are no updates, or no memory. */
sn_lora_place *sn_lora_begin(sn_graph *g, const sn_lora_place *place);

/* The key of a token by its sample's place in the run and its position; of a picture by its number in the sample. */
void sn_lora_token_key(int64_t place, int64_t position, int32_t key[2]);
void sn_lora_picture_key(int64_t place, int64_t picture, int32_t key[2]);

/* For sn_graph's `around`: the update beside every layer that the store holds one for; context is an sn_lora_place. */
sn_around_linear sn_lora_around;

#endif
