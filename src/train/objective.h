/* What a stage minimises: the part of a step that differs from paper to paper. The loop, the data, the optimizer and the
 * checkpoints do not know which one it is. */
#ifndef SN_TRAIN_OBJECTIVE_H
#define SN_TRAIN_OBJECTIVE_H

#include "train/batches.h"

typedef struct sn_objective {
    const char *name;    /* sn_stage.objective */
    bool contrast;       /* the samples of a pass, of all processes, are compared with each other: cutting a step into passes changes its loss */
    unsigned max_length; /* positions of a sample where the recipe does not say; 0 = the model's window */
    /* Neighbours of a step, so many, that one process takes together; NULL = 1. */
    unsigned (*neighbours)(const sn_recipe *recipe);
    /* Whether what learns and the recipe's words fit; may be NULL. */
    sn_status (*check)(const sn_training *training, sn_error *error);
    /* Losses of the whole step (of several processes, one's part of each) and the gradients of all that learns, left in the trainer. With `look` the first tensor that
     * is not finite is the error instead. */
    sn_status (*gradients)(sn_training *training, const sn_batch *batch, bool look, sn_losses *losses, sn_error *error);
    /* What is done to the parameters after each step; may be NULL. */
    sn_status (*after_step)(sn_trainer *trainer, sn_error *error);
    /* Bytes of the values inside a pass over samples of that length with that many pictures each. Nothing runs. */
    sn_status (*memory)(sn_training *training, int64_t longest, int64_t pictures, size_t *bytes, sn_error *error);
} sn_objective;

/* The objective of the training's stage, checked against its recipe, or NULL with the error filled. */
const sn_objective *sn_objective_find(const sn_training *training, sn_error *error);

/* FROMAGe's (train/captions.c). */
extern const sn_objective sn_objective_multitask;

#endif
