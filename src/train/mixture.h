/* Which sample stands at which place of a run.
 *
 * Without weights all sources are one list, shuffled anew each epoch by (seed, epoch). With weights each place draws its
 * source from a generator by counter (Philox 4x32-10, key seed, counter place), and the source gives its next sample in
 * its own shuffled order, beginning again when it is through. All that can change is the place, and how many samples
 * each source has given: a checkpoint names both, and a run that goes on draws as one that never stopped. */
#ifndef SN_TRAIN_MIXTURE_H
#define SN_TRAIN_MIXTURE_H

#include "base/error.h"

#include <stdbool.h>

enum { SN_MAX_SOURCES_OF_DATA = 64 };

typedef struct sn_mixture_state {
    int64_t place;                         /* the next one */
    int64_t given[SN_MAX_SOURCES_OF_DATA]; /* samples that each source has given, all epochs together */
} sn_mixture_state;

typedef struct sn_mixture {
    int num_sources;
    const char *name[SN_MAX_SOURCES_OF_DATA];     /* borrowed */
    int64_t count[SN_MAX_SOURCES_OF_DATA], total; /* samples of each source, of all */
    double weight[SN_MAX_SOURCES_OF_DATA];        /* of drawing it; all 0 = no weights */
    uint64_t seed;
    sn_mixture_state state;
} sn_mixture;

typedef struct sn_draw {
    int64_t place;
    int source;
    int64_t index;  /* within the source */
    int64_t number; /* among the samples of all sources */
} sn_draw;

bool sn_mixture_weighted(const sn_mixture *mixture);

/* The sample at the next place, which moves on. */
sn_draw sn_mixture_next(sn_mixture *mixture);

/* Source and index of a sample by its number among all. */
sn_draw sn_mixture_find(const sn_mixture *mixture, int64_t number);

/* Sets the state to what it is at a place, by drawing all places before it again. */
void sn_mixture_seek(sn_mixture *mixture, int64_t place);

#endif
