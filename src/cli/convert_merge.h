/* An adapter that is merged into a checkpoint while it is converted: PEFT's low-rank updates, and what was trained beside
 * them (non_lora_trainables.bin, PEFT's modules_to_save), which takes the base's place. */
#ifndef SN_CLI_CONVERT_MERGE_H
#define SN_CLI_CONVERT_MERGE_H

#include "systems/adapter.h"

typedef struct sn_merge {
    const char *folder;
    sn_arena *arena;
    sn_source *updates, *trained; /* trained: NULL = nothing */
    sn_adapter adapter;
    bool *taken; /* of the updates' tensors, by their places */
    size_t count; /* updates that were merged */
    sn_rounding rounding;
} sn_merge;

/* base: the opened checkpoint that lies at base_path. Strings and recipes live in the arena. */
sn_status sn_merge_open(const char *folder, const sn_source *base, const char *base_path, sn_arena *arena, sn_merge *out, sn_error *error);
void sn_merge_close(sn_merge *merge);

/* The tensor that was trained whole under that name of the base, with its source, or NULL. */
const sn_source_tensor *sn_merge_trained(sn_merge *merge, const char *name, sn_source **source);

/* The i-th such tensor and its name in the base; NULL behind the last. */
const sn_source_tensor *sn_merge_trained_at(sn_merge *merge, size_t i, sn_source **source, const char **name);

/* The base's weight of that name with its update in `type`; weight itself where it has none. */
sn_status sn_merge_into(sn_merge *merge, const char *name, sn_weight *weight, sn_type type, sn_weight **out, sn_error *error);

/* Whether all of the adapter has found its place. */
sn_status sn_merge_check(const sn_merge *merge, sn_error *error);

/* The configuration of the whole in a folder: the base's, with the adapter's config.json where it has one. */
sn_status sn_merge_configuration(const sn_merge *merge, const char *base, const char *folder, sn_error *error);

#endif
