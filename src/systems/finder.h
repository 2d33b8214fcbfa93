/* Where a model's answer finds pictures: rows as the model's keys are, and where each picture is. Made by a system from what
 * was published with it (sn_system's gallery), or from a gallery of one's own. */
#ifndef SN_SYSTEMS_FINDER_H
#define SN_SYSTEMS_FINDER_H

#include "tensor/weight.h"

typedef struct sn_finder sn_finder;
struct sn_finder {
    sn_weight rows;       /* [n, query_size] */
    const float *scale;   /* [n]: 1 / norm of each row; NULL: they are of length 1 */
    const uint64_t *skip; /* one bit a row, set: no picture belongs to it; or NULL */
    /* The path or address of a row's picture, freed by sn_free; NULL in *path where it has none any more. */
    sn_status (*path)(const sn_finder *finder, int64_t row, char **path, sn_error *error);
    void (*close)(sn_finder *finder);
    void *own;
};

static inline void sn_finder_close(sn_finder *finder) {
    if (finder->close) finder->close(finder);
    *finder = (sn_finder){0};
}

#endif
