/* FROMAGe's one stage (Koh et al., arXiv 2301.13823 section 3.3, and the authors' loop): captioning, the token [RET], and the
 * contrast between queries and pictures of one batch, added up. */
#ifndef SN_TRAIN_MULTITASK_H
#define SN_TRAIN_MULTITASK_H

#include "train/step.h"

typedef struct sn_multitask {
    int64_t rows, row_length;   /* of the captioning pass: ids and labels [rows, row_length]; -1 - i is row i of the pictures */
    const int32_t *ids, *labels;
    int64_t pictures, length;   /* one caption each: captions [pictures, length], pads included, query_at its [RET] */
    const int32_t *captions, *caption_labels, *query_at;
    const float *pixels;
    float caption_scale, query_scale; /* what the losses are multiplied by */
    bool padded;                /* pads are computed, as the authors' code does: changes no number, only lm.logits shows them */
} sn_multitask;

/* Lays n captions out, neighbours behind each other with `joined` (of an odd number the last stands alone). Pixels and scales
 * are the caller's. What `out` points at lives in the arena. */
sn_status sn_multitask_lay_out(const sn_model *model, const sn_sample *samples, int64_t n, int64_t length, bool joined, sn_arena *arena, sn_multitask *out, sn_error *error);

typedef struct sn_multitask_losses {
    float captioning, query, contrastive, total; /* contrastive: mean of both directions */
    float picture_found, caption_found;          /* share of captions whose own picture of the batch is the nearest, and the other way */
} sn_multitask_losses;

/* Losses and the gradients of all that learns, added to those there are with `add`. Names lm.logits [rows, row_length, vocab]
 * and similarity [pictures, pictures]. */
sn_status sn_multitask_gradients(sn_trainer *trainer, const sn_multitask *batch, bool add, sn_multitask_losses *losses, sn_error *error);
/* The same pass again, looking for the first tensor that is not finite: its name is the error. */
sn_status sn_multitask_find_bad(sn_trainer *trainer, const sn_multitask *batch, sn_error *error);
/* Bytes of the values inside such a pass; of the batch only sizes are read. Nothing runs. */
sn_status sn_multitask_memory(sn_trainer *trainer, const sn_multitask *batch, size_t *bytes, sn_error *error);

/* What is done after every step: the row of [RET] gets the mean length of all other rows of the table. */
sn_status sn_multitask_after_step(sn_trainer *trainer, sn_error *error);

#endif
