/* Processes that train together (MPI). Each is a rank: 0, 1, … count - 1; rank 0 speaks and writes for all.
 *
 * Everything but rank, count and threads is collective: all processes call it in the same order. A NULL handle is a process
 * alone, for which nothing is sent. What cannot be sent is an error after which the handle is of no use: the process is to end, and
 * what started them ends the others. This is the only file that knows MPI; a build without it trains in one process. */
#ifndef SN_TRAIN_RANKS_H
#define SN_TRAIN_RANKS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct sn_ranks sn_ranks;

/* Joins the processes that were started together; *out is NULL where this one was started alone. Once in a program. */
sn_status sn_ranks_open(sn_ranks **out, sn_error *error);
void sn_ranks_close(sn_ranks *ranks);

int sn_ranks_rank(const sn_ranks *ranks);
int sn_ranks_count(const sn_ranks *ranks);
/* Whether the processes still work together: nothing that had to be sent was lost. */
bool sn_ranks_agreed(const sn_ranks *ranks);
/* One's own failure where the others wait for something to be sent: they no longer do (agreed is false), and the process is to end. */
void sn_ranks_leave(sn_ranks *ranks);
/* Threads for each process so that those of one machine do not share processors: `asked` where it is not 0. */
int sn_ranks_threads(const sn_ranks *ranks, int asked);

/* Whether it went well everywhere: of those that failed, the status and the message of the lowest rank become everyone's.
 * A flag that is set anywhere is set everywhere. */
enum { SN_RANKS_FLAGS = 2 };
sn_status sn_ranks_agree(sn_ranks *ranks, sn_status status, bool *flags, int num_flags, sn_error *error);

/* values[i] becomes the sum over all ranks, the same bits everywhere. */
sn_status sn_ranks_sum(sn_ranks *ranks, double *values, int count, sn_error *error);

/* Everybody's text, by rank: (*texts)[0 .. count), one block (sn_free texts). */
sn_status sn_ranks_gather_text(sn_ranks *ranks, const char *text, char ***texts, sn_error *error);

/* ---- count > 1 ---- */

/* The rows of all ranks one below the other. counts: how many each has; rows [own, columns]; all [sum of counts, columns]. Rows may be
 * NULL where there are none. */
sn_status sn_ranks_gather(sn_ranks *ranks, const float *rows, const int64_t *counts, int64_t columns, float *all, sn_error *error);
/* Its derivative: everybody's gradient of `all` is added up; each gets that of its own rows. */
sn_status sn_ranks_gather_back(sn_ranks *ranks, const float *gradient, const int64_t *counts, int64_t columns, float *rows, sn_error *error);

/* ---- for train/share.c; count > 1. Pieces: values of each rank, in their order; at: where each begins. ---- */

/* Begins to add up everybody's values; when the test says done, one's own piece stands at the beginning of values. One at a
 * time; meanwhile no other function may be called, from any thread. */
sn_status sn_ranks_sum_begin(sn_ranks *ranks, float *values, const int *pieces, sn_error *error);
sn_status sn_ranks_sum_test(sn_ranks *ranks, bool *done, sn_error *error);
/* Everybody has all pieces, where before each had its own in its place. */
sn_status sn_ranks_spread(sn_ranks *ranks, float *values, const int *pieces, const int *at, sn_error *error);
/* Rank 0 has all pieces. `own` [pieces[rank]]; whole is rank 0's. */
sn_status sn_ranks_collect(sn_ranks *ranks, const float *own, float *whole, const int *pieces, const int *at, sn_error *error);
/* Everybody gets rank 0's number. */
sn_status sn_ranks_tell(sn_ranks *ranks, int64_t *number, sn_error *error);

#endif
