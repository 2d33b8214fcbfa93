/* The samples of a run: its data sets opened, and the samples of one step loaded and cut into passes. */
#ifndef SN_TRAIN_BATCHES_H
#define SN_TRAIN_BATCHES_H

#include "train/run.h"

/* Opens the recipe's data sets into training->sets and counts samples and steps. Needs no model. */
sn_status sn_data_open(sn_training *training, sn_error *error);
/* Whether the mixture is where the run's step is, after a checkpoint was read. */
sn_status sn_data_resume(sn_training *training, sn_error *error);
/* Goes back to a place of the mixture: what was loaded ahead is dropped. */
void sn_data_rewind(sn_training *training, const sn_mixture_state *state);
void sn_data_close(sn_training *training);

typedef struct sn_batch {
    sn_sample *samples;
    float **pixels;
    json_t *ids; /* of the samples, for metrics.jsonl */
    int count;
    int64_t learnt, tokens, pictures;
    /* of all processes together (train/exchange.h), one's own included: */
    int total, before;   /* samples; those in front of one's own */
    int64_t *learnt_of;  /* tokens learnt in each */
} sn_batch;

/* The samples of the next step; the mixture moves on behind them. Samples that cannot be used are missing from it. */
sn_status sn_batch_load(sn_training *training, sn_batch *batch, sn_error *error);
/* Whether the recipe lets the run go on after what was skipped so far. */
sn_status sn_training_check_skipped(const sn_training *training, sn_error *error);
void sn_batch_cut(sn_batch *batch, int count); /* keeps the first ones */
void sn_batch_free(sn_batch *batch);

/* The number of samples of the pass that begins with `from`. A pass of one process is cut where another's samples begin. */
int sn_batch_next(const sn_training *training, const sn_batch *batch, int from);
/* A pass of n samples from number `from` on, with their pictures side by side (sn_free pass.pixels). */
sn_status sn_batch_pass(const sn_training *training, const sn_batch *batch, int from, int n, sn_pass *pass, sn_error *error);

#endif
