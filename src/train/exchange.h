/* What processes that train together tell each other of a step's samples. */
#ifndef SN_TRAIN_EXCHANGE_H
#define SN_TRAIN_EXCHANGE_H

#include "train/batches.h"

/* Places of a step [*from, *to) of `size` that are one process's share; so many neighbours stay together. The first one's is the largest. */
void sn_exchange_share(unsigned size, unsigned neighbours, int rank, int count, unsigned *from, unsigned *to);
/* Those that this process loads. */
void sn_exchange_places(const sn_training *training, unsigned size, unsigned *from, unsigned *to);

/* Everybody learns of all samples of the step that were loaded: ids, tokens and what is learnt in each, where one's own begin among
 * them; and rank 0 names what others skipped. */
sn_status sn_exchange_batch(sn_training *training, sn_batch *batch, sn_error *error);

#endif
