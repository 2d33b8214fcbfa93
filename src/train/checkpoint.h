/* Checkpoints: folders step-N that are whole or not there.
 *
 * A folder holds state.json and parameters.safetensors with, for every parameter that learns, its f32 master and
 * AdamW's two moments, whole, however many processes hold pieces of them: any number goes on from it. It is written as
 * step-N.part, synced, then renamed; the last `keep` stay. */
#ifndef SN_TRAIN_CHECKPOINT_H
#define SN_TRAIN_CHECKPOINT_H

#include "train/mixture.h"
#include "train/share.h"

typedef struct sn_training_state {
    int64_t step;    /* steps done */
    int64_t skipped; /* samples that could not be used so far */
    uint64_t recipe; /* sn_recipe_hash */
    uint64_t rest;   /* sn_recipe_hash_but_rates */
    bool new_rates;  /* whether a checkpoint of which only `rest` is the same will do */
    sn_mixture mixture; /* its state is that after these steps */
} sn_training_state;

/* Of several processes all call it, and rank 0 writes; share is NULL for one alone. */
sn_status sn_checkpoint_write(const char *folder, const sn_trainer *trainer, sn_share *share, const sn_training_state *state, unsigned keep, sn_error *error);

/* The newest whole checkpoint of the folder into the trainer; *found is false where there is none. One of another
 * recipe is an error; where `new_rates` says so, not one whose rates alone differ. Unfinished ones are removed. */
sn_status sn_checkpoint_read(const char *folder, sn_trainer *trainer, uint64_t recipe, sn_training_state *state, bool *found, sn_error *error);

/* What was learnt, in the stored types and published names:
 *   beside frozen models (sn_system.checkpoint): that file under its authors' names, with its arguments; a tower that learnt in
 *   visual_model/;
 *   the connector alone: mm_projector.bin (a PyTorch dictionary, as the authors' training leaves it);
 *   otherwise: model.safetensors with every tensor of the language model's source, low-rank updates merged in f32 and
 *   rounded once;
 *   low-rank updates with `adapter`: a folder adapter/ in PEFT's layout, what else learnt in non_lora_trainables.bin.
 * A file is written aside, read back and counted before it takes an older one's place. */
typedef struct sn_export {
    bool adapter, merged; /* of low-rank updates */
    const char *base;     /* the folder they belong to: named in adapter_config.json, its config.json is copied */
    const char *folders[4], *connector; /* what the authors' layout was opened from, or NULL: it describes the result; later ones win */
    char *path;           /* what was written (sn_free) */
    double lost;          /* share of the merged update that rounding to the stored type lost */
} sn_export;
sn_status sn_checkpoint_export(const char *folder, const sn_trainer *trainer, sn_export *out, sn_error *error);

#endif
