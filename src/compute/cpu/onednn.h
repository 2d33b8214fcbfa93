/* Dense products by oneDNN, where the build has it. Private to compute/cpu; onednn.c alone includes its header. */
#ifndef SN_COMPUTE_CPU_ONEDNN_H
#define SN_COMPUTE_CPU_ONEDNN_H

#include "tensor/type.h"

/* A matrix as stored: row i, column j is data[i * row + j * column], in elements. */
typedef struct sn_dense {
    const void *data;
    int64_t row, column;
} sn_dense;

/* Whether products of that type (f32, bf16) are worth handing over on this machine: bf16 only with instructions for
 * it. Never with SN_CPU=plain. */
bool sn_onednn_has(sn_type type);

/* c [m, n] = a [m, k] · b [k, n] (+ c where add): a and b of that type, c f32 with rows c_stride apart. False when
 * oneDNN cannot do it; c is untouched then. Called on the thread whose OpenMP team computes. */
bool sn_onednn_multiply(sn_type type, int64_t m, int64_t n, int64_t k, sn_dense a, sn_dense b, float *c, int64_t c_stride, bool add,
                        int threads);

#endif
