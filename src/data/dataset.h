/* Training samples in the formats people have, as LLaVA's conversation objects.
 *
 * A data set is a sequence of {"id", "image", "conversations"}; captions become conversations of one answer. Files are
 * mapped, and only the places where samples lie are kept (16 bytes each): a data set may be larger than memory, and any
 * sample is read without those before it. The order of an epoch is a permutation computed from (seed, epoch, place):
 * nothing is kept, so a run continues anywhere. */
#ifndef SN_DATA_DATASET_H
#define SN_DATA_DATASET_H

#include "base/json.h"
#include "data/record.h"

typedef struct sn_dataset sn_dataset;

/* path: a JSON list; JSON lines (.jsonl: conversations, or {"image", "caption"}); captions as tab-separated lines (.tsv:
 * image, caption); WebDataset shards (.tar). Several files by ranges in braces: "shards/{000..012}.tar". images: the
 * folder that the samples' paths are relative to; NULL = the folder of the file. */
sn_status sn_dataset_open(const char *path, const char *images, sn_dataset **out, sn_error *error);
void sn_dataset_close(sn_dataset *dataset);

size_t sn_dataset_count(const sn_dataset *dataset);
const char *sn_dataset_images(const sn_dataset *dataset);

/* Sample number i (sn_record_free). Several threads may read at once. A sample that is damaged is an error that says
 * where it stands; the others can still be read. Without `pictures` their bytes are left where they are. */
sn_status sn_dataset_read(const sn_dataset *dataset, size_t i, bool pictures, sn_record *out, sn_error *error);

/* Sample that stands at a place of an epoch: a permutation of 0 .. count - 1. */
uint64_t sn_shuffled(uint64_t seed, uint64_t epoch, uint64_t place, uint64_t count);

/* The paths that a pattern with ranges "{a..b}" stands for (each and the list by sn_free); numbers are as wide as the first
 * of their range. */
sn_status sn_expand_ranges(const char *pattern, char ***out, size_t *count, sn_error *error);

#endif
