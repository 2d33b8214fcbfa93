/* Products of a few queries with many stored rows: what a search is made of. */
#ifndef SN_COMPUTE_ROWS_H
#define SN_COMPUTE_ROWS_H

#include "tensor/weight.h"

/* scores [count, rows] = queries [count, columns] · rowsᵀ, rows [rows, columns] in any type that has to_float. On the
 * calling thread alone. A score has the same bits whatever other rows and queries stand beside it.
 * `scratch` has as many bytes as the kernel's scratch function says. */
typedef void sn_rows_function(const sn_weight *rows, const float *queries, int64_t count, float *scores, void *scratch);

typedef struct sn_rows_kernel {
    sn_rows_function *product;
    size_t (*scratch)(int64_t queries, int64_t rows, int64_t width);
} sn_rows_kernel;

/* The fastest that this machine and SN_CPU allow. */
sn_rows_kernel sn_rows_kernel_cpu(void);

#endif
