/* FROMAGe's one stage (Koh et al., arXiv 2301.13823 section 3.3, and the authors' loop): captioning, the token [RET], and the
 * contrast between queries and pictures of one batch, added up. */
#ifndef SN_TRAIN_MULTITASK_H
#define SN_TRAIN_MULTITASK_H

#include "train/step.h"

/* The pairs that other processes hold of the same batch. Both functions are for all processes at once: one that has no pair calls
 * sn_multitask_stand_by where the others run their pass. */
typedef struct sn_multitask_others {
    int64_t pairs, before; /* of all processes; those in front of one's own */
    void *context;
    /* Everybody's rows [pairs, columns] from one's own. */
    sn_status (*gather)(void *context, const float *rows, int64_t columns, float *all, sn_error *error);
    /* Its derivative: everybody's gradients [pairs, columns] added up, of which one's own rows are given. */
    sn_status (*gather_back)(void *context, const float *gradient, int64_t columns, float *rows, sn_error *error);
} sn_multitask_others;

typedef struct sn_multitask {
    int64_t rows, row_length;   /* of the captioning pass: ids and labels [rows, row_length]; -1 - i is row i of the pictures */
    const int32_t *ids, *labels;
    int64_t pictures, length;   /* one caption each: captions [pictures, length], pads included, query_at its [RET] */
    const int32_t *captions, *caption_labels, *query_at;
    int64_t learnt, learnt_alone; /* labels that some position predicts, in either pass: what their means divide by (with others: of all of them) */
    const float *pixels;
    float caption_scale, query_scale; /* what the losses are multiplied by */
    float contrast_share;       /* … and, once more, the gradient of the contrast: 1 unless the recipe says `gather: own` */
    const sn_multitask_others *others; /* NULL = the batch is all here */
    bool padded;                /* pads are computed, as the authors' code does: changes no number, only lm.logits shows them */
} sn_multitask;

/* Lays n captions out; behind[i]: the i-th stands in one row behind the one before it, which begins a row. NULL = a row each.
 * Pixels, scales and others are the caller's. What `out` points at lives in the arena. */
sn_status sn_multitask_lay_out(const sn_model *model, const sn_sample *samples, int64_t n, int64_t length, const bool *behind, sn_arena *arena, sn_multitask *out, sn_error *error);

typedef struct sn_multitask_losses {
    float captioning, query, contrastive, total; /* contrastive: mean of both directions */
    float picture_found, caption_found;          /* share of captions whose own picture of the batch is the nearest, and the other way */
} sn_multitask_losses;

/* Losses and the gradients of all that learns, added to those there are with `add`. Names lm.logits [rows, row_length, vocab]
 * and similarity [pictures, captions of all]. With others the contrast is over everybody's pairs, and what is given is a part: the sum
 * over the processes is what one process with all pairs gives. */
sn_status sn_multitask_gradients(sn_trainer *trainer, const sn_multitask *batch, bool add, sn_multitask_losses *losses, sn_error *error);
/* What a process without a pair does in the meantime. */
sn_status sn_multitask_stand_by(const sn_model *model, const sn_multitask_others *others, sn_error *error);
/* The same pass again, alone, looking for the first tensor that is not finite: its name is the error. */
sn_status sn_multitask_find_bad(sn_trainer *trainer, const sn_multitask *batch, sn_error *error);
/* Bytes of the values inside such a pass; of the batch only sizes are read. Nothing runs. */
sn_status sn_multitask_memory(sn_trainer *trainer, const sn_multitask *batch, size_t *bytes, sn_error *error);

/* What is done after every step: the row of [RET] gets the mean length of all other rows of the table. */
sn_status sn_multitask_after_step(sn_trainer *trainer, sn_error *error);

#endif
