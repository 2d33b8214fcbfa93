/* What the tasks of `sensorium eval` share. */
#ifndef SN_CLI_EVAL_H
#define SN_CLI_EVAL_H

#include "base/progress.h"
#include "cli/arguments.h"
#include "eval/results.h"
#include "eval/set.h"
#include "generate/options.h"
#include "media/image.h"
#include "systems/model.h"

typedef struct sn_evaluation sn_evaluation;

typedef struct sn_evaluation_task {
    const char *name, *what; /* what is counted: "stories" */
    bool generates;          /* options of generation count */
    const char *options;     /* those of `eval` that only some tasks have, with blanks between them, or NULL */
    sn_status (*read)(sn_evaluation *e, const char *path, sn_error *error);
    sn_status (*run)(sn_evaluation *e, sn_error *error); /* fills metrics, protocol, items */
} sn_evaluation_task;

extern const sn_evaluation_task sn_task_vist, sn_task_visdial, sn_task_visdial_pictures, sn_task_captions, sn_task_recall, sn_task_answers, sn_task_classify;

struct sn_evaluation {
    const sn_arguments *arguments;
    const sn_evaluation_task *task;
    sn_engine *engine;
    sn_model *model;
    sn_image_options image;
    sn_generate_options generation;
    const char *folder; /* of the pictures */
    bool stop;          /* at the first item that cannot be had, instead of leaving it out */
    bool quiet;
    sn_set set;
    sn_results *results;
    sn_progress progress;
    int64_t done; /* steps, for the progress */
    const atomic_bool *cancel;
    json_t *metrics, *missing; /* missing: name → reason */
    const char *protocol;
    int64_t items; /* that the metrics are of */
};

/* One step is done: progress, and SN_ERROR_CANCELLED after Ctrl-C. */
void sn_evaluation_begin(sn_evaluation *e, const char *what, int64_t steps);
sn_status sn_evaluation_step(sn_evaluation *e, sn_error *error);

/* An item that is there already, or NULL; one that was left out is noted as missing. */
const json_t *sn_evaluation_find(sn_evaluation *e, const char *name);

/* Why an item could not be had. What is about the item alone (its picture, its text) is written as missing, and SN_OK
 * comes back; anything else, and with --missing stop everything, stays the error it is. */
sn_status sn_evaluation_missing(sn_evaluation *e, const char *name, sn_status status, sn_error *error);

/* The file of a picture, freed by sn_free; SN_ERROR_IO with the names that were tried. */
sn_status sn_evaluation_path(const sn_evaluation *e, const sn_set_picture *picture, char **path, sn_error *error);

/* recall@1, 5, 10, mrr, median and mean rank of ranks from 1. */
sn_status sn_evaluation_ranks(json_t *metrics, const int64_t *ranks, int64_t count, sn_error *error);

void sn_evaluation_put(json_t *metrics, const char *name, double value);

#endif
