/* Training samples in the formats people have, as LLaVA's conversation objects.
 *
 * A data set is a list of {"id", "image", "conversations"}; captions become conversations of one answer. The order of
 * an epoch is a permutation computed from (seed, epoch, place): nothing is kept, so a run continues anywhere. */
#ifndef SN_DATA_DATASET_H
#define SN_DATA_DATASET_H

#include "base/json.h"

typedef struct sn_dataset sn_dataset;

/* path: a JSON list, JSON lines (.jsonl: conversations, or {"image", "caption"}), or captions as tab-separated lines
 * (.tsv: image, caption). images: the folder that their paths are relative to. */
sn_status sn_dataset_open(const char *path, const char *images, sn_dataset **out, sn_error *error);
void sn_dataset_close(sn_dataset *dataset);

size_t sn_dataset_count(const sn_dataset *dataset);
const json_t *sn_dataset_sample(const sn_dataset *dataset, size_t i);
const char *sn_dataset_images(const sn_dataset *dataset);

/* Sample that stands at a place of an epoch: a permutation of 0 .. count - 1. */
uint64_t sn_shuffled(uint64_t seed, uint64_t epoch, uint64_t place, uint64_t count);

#endif
