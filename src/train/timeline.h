/* What the processes of a run do at the same time, for people to look at: a file in the format of trace events, which
 * browsers (chrome://tracing, ui.perfetto.dev) draw. Process = rank; line 0 computes, line 1 sums gradients. */
#ifndef SN_TRAIN_TIMELINE_H
#define SN_TRAIN_TIMELINE_H

#include "base/memory.h"
#include "train/run.h"

enum { SN_TIMELINE_STEPS = 8 }; /* the first steps of a run are enough */

typedef struct sn_timeline {
    sn_buf events;
    double begun; /* when the first step began */
    int steps;
} sn_timeline;

/* Adds a step of all processes (collective) and writes the file, by rank 0. `began`: on the monotonic clock. */
sn_status sn_timeline_add(sn_timeline *timeline, sn_training *training, const sn_step_report *report, double began, const char *path, sn_error *error);
void sn_timeline_free(sn_timeline *timeline);

#endif
