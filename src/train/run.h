/* A run: a recipe from its first step, or from its last checkpoint, to its result. */
#ifndef SN_TRAIN_RUN_H
#define SN_TRAIN_RUN_H

#include "data/dataset.h"
#include "train/checkpoint.h"
#include "train/loader.h"
#include "train/recipe.h"
#include "train/share.h"

/* Seconds since a step began, when each part of it had ended. */
typedef struct sn_step_times {
    double loaded, passes, summed, updated, spread;
} sn_step_times;

/* A step's loss, and the parts that its objective tells apart: losses, shares that were right. */
enum { SN_MAX_LOSSES = 8 };
typedef struct sn_losses {
    double total;
    int count;
    struct {
        const char *name;
        double value;
    } part[SN_MAX_LOSSES];
} sn_losses;

/* What a step did. */
typedef struct sn_step_report {
    int64_t step, steps;     /* done, in all */
    sn_losses loss;
    double grad_norm, lr;
    int64_t tokens, learnt;  /* positions run, tokens learnt */
    int64_t pictures;        /* that went through the tower */
    double seconds;
    bool checkpoint;         /* one was written after it */
    json_t *samples;         /* their ids, borrowed */
    sn_step_times times;
    double summing, hidden;  /* several processes: seconds of summing gradients, and the part of them under the passes */
    bool empty;              /* no sample had anything to learn: nothing moved */
} sn_step_report;

typedef struct sn_run_hooks {
    void *context;
    void (*on_step)(void *context, const sn_step_report *report);
    void (*on_save)(void *context, int64_t step); /* before its checkpoint is written; may be NULL */
    void (*on_skip)(void *context, const char *sample, const char *why);
    void (*on_cut)(void *context, const char *sample, const char *how); /* of a survey: one that is used, but not to its end; may be NULL */
    void (*on_sample)(void *context, const char *id, const sn_sample *sample, int64_t learnt); /* of a survey; may be NULL */
    const atomic_bool *cancel; /* ends the run after the present step, with a checkpoint */
    /* Processes that train together, or NULL. Each calls everything below, on_step too; rank 0 writes, and names what is skipped. An error
     * or a wish to stop of one is everybody's. */
    sn_ranks *ranks;
    const char *timeline; /* a file that gets what the first steps did when (train/timeline.h), or NULL */
} sn_run_hooks;

typedef struct sn_training {
    const sn_recipe *recipe;
    sn_learning learning; /* the recipe's words train, freeze, lora */
    sn_learning_group *groups;
    sn_lora_options lora;
    sn_engine *engine;
    sn_model *model;
    char *composed; /* the folder of a model made of parts */
    sn_trainer trainer;
    const struct sn_objective *objective; /* train/objective.h */
    sn_share *share; /* NULL = one process */
    json_t *skips;   /* several processes, while they load: what this one skips, [name, why] */
    sn_dataset **sets;
    int num_sets;
    sn_loader *loader; /* started by the first step */
    sn_mixture ahead;  /* where the loader is */
    int64_t samples, steps;
    int64_t kept; /* the step of the last checkpoint; 0 = there is none */
    sn_training_state state;
    sn_run_hooks hooks;
} sn_training;

/* Opens model, data and the last checkpoint (unless fresh), and checks that they fit each other. */
sn_status sn_training_open(const sn_recipe *recipe, int threads, bool fresh, const sn_run_hooks *hooks, sn_training *out, sn_error *error);
void sn_training_close(sn_training *training);

/* One look at every sample without running the model: learnt, cut and dropped ones are counted, cut and dropped ones named. Pictures must
 * be there; with `decode` each of them is decoded, too. */
typedef struct sn_data_report {
    int64_t samples, usable, without_labels, broken, learnt, longest;
    int64_t cut; /* samples longer than the window: their end is not seen */
    int64_t pictures;
    size_t pass_memory; /* bytes of the values inside a pass of the longest samples */
} sn_data_report;
sn_status sn_training_survey(sn_training *training, bool decode, sn_data_report *out, sn_error *error);
/* Whether so few samples are dropped that the recipe lets the run begin (`broken`, `broken_share`). */
sn_status sn_training_check_data(const sn_training *training, const sn_data_report *report, sn_error *error);

/* Seconds of one step, from one pass that is run for it; nothing moves. */
sn_status sn_training_time(sn_training *training, double *seconds, sn_error *error);

/* Runs the steps that are left, with checkpoints, metrics.jsonl and report.html in save.folder; then exports. */
sn_status sn_training_run(sn_training *training, sn_export *exported, sn_error *error);

/* Exports what the checkpoint holds that was opened, and touches nothing else of the folder; an error where there was none. */
sn_status sn_training_export(sn_training *training, sn_export *exported, sn_error *error);

#endif
