/* Several processes, one optimizer: gradients are added up while the backward pass runs, and each process moves its own
 * part of all values (the first stage of ZeRO: Rajbhandari et al., arXiv 1910.02054 section 5.1).
 *
 * The parameters that learn lie in buckets, in the order in which the backward pass finishes their gradients. As soon as those
 * of a bucket are whole, a thread of its own sends it off and each process gets the sum of its own piece, a 1/count-th; moments
 * exist for that piece alone. After the step everybody gets the pieces of all. */
#ifndef SN_TRAIN_SHARE_H
#define SN_TRAIN_SHARE_H

#include "train/ranks.h"
#include "train/step.h"

typedef struct sn_share sn_share;

/* Cuts the trainer's values among the processes; to be called before it has moved. *out is NULL for a process alone, and
 * everything below then does nothing. The trainer is to be closed after the share. */
sn_status sn_share_open(sn_ranks *ranks, sn_trainer *trainer, sn_share **out, sn_error *error);
void sn_share_close(sn_share *share);

int sn_share_rank(const sn_share *share);

/* A step: begin, all passes but the last, `last`, the last pass, finish. A process without a pass adds nothing: begin and
 * finish are enough. `last` may also come in the middle of a pass, when nothing else is sent any more, or not at all: gradients that it
 * has not seen are summed by finish. Then every trainable's own gradients are sums over all processes, and `reached` is known to all. */
void sn_share_begin(sn_share *share);
void sn_share_last(sn_share *share);
sn_status sn_share_finish(sn_share *share, sn_error *error);

/* After the optimizer: everybody gets what the others moved. */
sn_status sn_share_spread(sn_share *share, sn_error *error);

/* The moments of one trainable (second: v, else m), whole, [count]: rank 0 asks, while the others serve until it has ended. */
sn_status sn_share_collect(sn_share *share, size_t trainable, bool second, float *whole, sn_error *error);
sn_status sn_share_collect_end(sn_share *share, sn_error *error);
sn_status sn_share_serve(sn_share *share, sn_error *error);

/* What a step's sums did, in seconds since its beginning. */
typedef struct sn_share_sum {
    int64_t values;
    double whole, begin, end; /* the bucket's gradients were all there; its sum was begun; it was there */
} sn_share_sum;
int sn_share_sums(const sn_share *share, const sn_share_sum **sums);
/* The end of the passes (when finish was called); seconds spent summing, and the part of them before that end. */
double sn_share_passes(const sn_share *share, double *summing, double *hidden);

#endif
