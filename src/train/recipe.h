/* A recipe: one stage of a training run as a YAML file, checked whole before anything starts. */
#ifndef SN_TRAIN_RECIPE_H
#define SN_TRAIN_RECIPE_H

#include "base/error.h"
#include "train/schedule.h"

typedef struct sn_recipe_data {
    char *path, *images;
    double *weight; /* of drawing from it; NULL (all of them) = every sample once an epoch */
} sn_recipe_data;

/* Sizes of parts that begin fresh. With any of them the model is composed: parts that have a path are taken from there, the
 * two-layer connector too where it has one. */
typedef struct sn_recipe_fresh_vision {
    unsigned hidden_size, intermediate_size, layers, heads, image_size, patch_size;
} sn_recipe_fresh_vision;

typedef struct sn_recipe_fresh_llm {
    unsigned hidden_size, intermediate_size, layers, heads, context;
    bool tied; /* the token table is the head too */
} sn_recipe_fresh_llm;

/* An OPT of one's own over a byte-level vocabulary, with room for FROMAGe's two tokens. */
typedef struct sn_recipe_fresh_opt {
    unsigned hidden_size, intermediate_size, layers, heads, context;
} sn_recipe_fresh_opt;

/* FROMAGe's layers between a tower and an OPT. */
typedef struct sn_recipe_fresh_retrieval {
    unsigned size, visual_tokens; /* width of the shared space; rows of a picture (0 = 1) */
} sn_recipe_fresh_retrieval;

typedef struct sn_recipe_fresh {
    sn_recipe_fresh_vision vision;
    sn_recipe_fresh_llm llm;
    sn_recipe_fresh_opt opt;
    sn_recipe_fresh_retrieval retrieval;
    bool connector;
} sn_recipe_fresh;

typedef struct sn_recipe_model {
    char *path, *llm, *vision, *connector, *base, *delta, *tokenizer;
    sn_recipe_fresh fresh;
} sn_recipe_model;

typedef struct sn_recipe_optimizer {
    int name; /* sn_optimizer_kind */
    double *lr; /* never NULL in a recipe that was read */
    double beta1, beta2, eps, weight_decay, max_grad_norm, connector_lr; /* beta1, beta2, eps: 0 = AdamW's own */
    double momentum;
    bool nesterov;
} sn_recipe_optimizer;

/* Parameters that learn, by pattern; a rate or decay of their own where the pointer is not NULL. */
typedef struct sn_recipe_group {
    char *pattern;
    double *lr, *weight_decay;
} sn_recipe_group;

typedef enum sn_recipe_export { SN_EXPORT_ADAPTER, SN_EXPORT_MERGED, SN_EXPORT_BOTH } sn_recipe_export;

typedef struct sn_recipe_lora {
    unsigned r; /* 0 = no low-rank updates */
    double alpha, dropout;
    char **targets;
    unsigned targets_count;
    int export; /* sn_recipe_export */
} sn_recipe_lora;

typedef struct sn_recipe_loss {
    int count; /* 0 = tokens of the whole step, 1 = those of each pass, then the mean over the passes */
    /* of stage multitask; NULL = 1, 1, 0.5 */
    double *captioning, *retrieval; /* what the losses are multiplied by */
    double *joined;                 /* how often captions are joined in pairs */
    int contrast;                   /* 0 = over the whole step, which must be one pass; 1 = over each pass */
    int gather;                     /* several processes: 0 = the gradient of the contrast is that of one; 1 = as the authors' code takes it */
} sn_recipe_loss;

typedef struct sn_recipe_batch {
    unsigned size, micro; /* samples of a step; of one pass through the model (0 = all of them) */
} sn_recipe_batch;

typedef struct sn_recipe_save {
    char *folder;
    unsigned every, keep; /* steps between checkpoints (0 = only at the end); how many stay (0 = 2) */
    double minutes;       /* … and minutes (0 = never) */
} sn_recipe_save;

/* Samples that cannot be used are counted, named and skipped: up to a share of all, all of them, or none. */
typedef enum sn_recipe_broken { SN_BROKEN_FEW, SN_BROKEN_SKIP, SN_BROKEN_STOP } sn_recipe_broken;

typedef struct sn_recipe {
    sn_recipe_model model;
    char *stage, *template;
    sn_recipe_data *data;
    unsigned data_count;
    sn_recipe_group *train; /* none: what the stage trains */
    unsigned train_count;
    char **freeze;
    unsigned freeze_count;
    sn_recipe_lora lora;
    sn_recipe_loss loss;
    int compute;    /* sn_compute: what products are computed in; masters, gradients and moments are f32 */
    bool recompute; /* blocks are computed again in the backward pass: less memory, the same numbers */
    sn_recipe_optimizer optimizer;
    sn_schedule schedule;
    sn_recipe_batch batch;
    unsigned epochs, steps; /* steps 0 = as many as the epochs (0 = 1) have */
    unsigned max_length;    /* positions of a sample, pictures included; 0 = the model's window */
    unsigned seed;
    int broken;             /* sn_recipe_broken */
    double broken_share;    /* of SN_BROKEN_FEW; 0 = 0.01 */
    unsigned workers;       /* threads that load samples; 0 = a quarter of the processors */
    sn_recipe_save save;
    char *file;     /* the recipe's own path, for errors */
    bool new_rates; /* no word of the file: a checkpoint of the same recipe with other rates is gone on from */
} sn_recipe;

/* Reads and checks a recipe; `set` are overrides "optimizer.lr=1e-4", "data.0.weight=2". A word that is not known is an error with its line.
 * Relative paths are relative to the present folder. */
sn_status sn_recipe_read(const char *path, const char *const *set, int num_set, sn_recipe **out, sn_error *error);
void sn_recipe_free(sn_recipe *recipe);

/* "line 3: " for the first line of the recipe's file that says this text (comments aside); "" where none does: it came by `set`. */
typedef struct sn_recipe_line {
    char text[24];
} sn_recipe_line;
sn_recipe_line sn_recipe_line_with(const sn_recipe *recipe, const char *text);

/* What identifies a run: everything that changes its numbers. A checkpoint of another recipe is refused. */
uint64_t sn_recipe_hash(const sn_recipe *recipe);
/* The same without what may change in the middle of a run: learning rates, decay, clipping, schedule. */
uint64_t sn_recipe_hash_but_rates(const sn_recipe *recipe);

#endif
