/* Which parameters learn, and how fast: the words `train`, `freeze` and `lora` of a recipe. */
#ifndef SN_TRAIN_LEARNING_H
#define SN_TRAIN_LEARNING_H

#include "systems/model.h"

/* Parameters whose canonical or published name fits the pattern (* any text, ? one character, as fnmatch). */
typedef struct sn_learning_group {
    const char *pattern;
    double lr, weight_decay; /* of these parameters; negative = the optimizer's own */
} sn_learning_group;

/* Low-rank updates (Hu et al., arXiv 2106.09685): y += alpha / r · B A x beside every linear layer that fits. */
typedef struct sn_lora_options {
    const char *const *targets; /* patterns; of parameters that the stage trains the end of a name fits too: "q_proj" */
    int num_targets;
    int64_t r;
    double alpha, dropout; /* dropout: rate at which values of A's input are zeroed while learning */
} sn_lora_options;

typedef struct sn_learning {
    const char *stage;
    const sn_learning_group *train; /* none: what the stage of the paper trains */
    int num_train;
    const char *const *freeze;
    int num_freeze;
    const sn_lora_options *lora; /* or NULL */
    uint64_t seed;               /* of what begins at random */
} sn_learning;

bool sn_name_fits(const char *pattern, const sn_store_entry *entry);

/* The stage of that name, or NULL with the error filled. */
const sn_stage *sn_stage_find(const sn_model *model, const char *name, sn_error *error);

/* Whether the paper's stage trains the parameter of that canonical name. */
bool sn_stage_trains(const sn_stage *stage, const char *name);

/* Whether the entry learns; *group gets the entry of `train` that says so, or NULL. The last one that fits counts. */
bool sn_learns(const sn_learning *learning, const sn_stage *stage, const sn_store_entry *entry, const sn_learning_group **group);

/* A pattern that fits no parameter is an error that names it; *pattern (may be NULL) gets it. */
sn_status sn_learning_check(const sn_learning *learning, const sn_model *model, const char **pattern, sn_error *error);

#endif
