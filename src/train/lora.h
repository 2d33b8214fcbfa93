/* Low-rank updates beside frozen linear layers (Hu et al., arXiv 2106.09685): y = W x + alpha / r · B A x. */
#ifndef SN_TRAIN_LORA_H
#define SN_TRAIN_LORA_H

#include "train/learning.h"

/* What sn_lora_around wants to know. */
typedef struct sn_lora_place {
    sn_store *store; /* holds A [r, in] and B [out, r] as "NAME.lora_A.weight", "NAME.lora_B.weight" */
    float scale;     /* alpha / r */
    int64_t r;
    double alpha;
} sn_lora_place;

/* Whether the entry is half of an update. */
bool sn_is_lora(const sn_store_entry *entry);

/* Adds A (random) and B (zero) to the store for every linear layer that a target fits, published as PEFT names them.
 * parts[0 .. most) get the first words of the layers' names ("decoder"). A target without a layer is an error. */
sn_status sn_lora_add(sn_model *model, const sn_learning *learning, sn_arena *arena, const char **parts, size_t most, sn_error *error);

/* For sn_graph's `around`: the update beside every layer that the store holds one for; context is an sn_lora_place. */
sn_around_linear sn_lora_around;

#endif
