/* Matrix products of every kind that a graph needs, in one driver.
 *
 *   c [m, n] = a [m, k] · bᵀ, b [n, k]     (+ bias [n], or + c)
 *
 * Either operand may be stored transposed; b may be a weight in its stored type, whose rows are converted
 * a panel at a time into cache. The order of summation of one output depends on k alone: of a chunk of
 * terms, lane l of a vector sums l, l + LANES, ..., then the lanes are added as a binary tree, then the chunks in order. So a row of `a` gives the same bits
 * whatever other rows stand beside it, and for any number of threads.
 *
 * Large products go to oneDNN where that is ahead (DENSE in product.c); its order of summation is its own, so the
 * promise holds for up to 16 rows of `a`, which never go there. */
#ifndef SN_COMPUTE_CPU_PRODUCT_H
#define SN_COMPUTE_CPU_PRODUCT_H

#include "compute/cpu/simd.h"
#include "tensor/weight.h"

typedef struct sn_operand {
    const sn_weight *weight; /* rows as stored, or NULL: */
    const float *data;       /* floats, */
    int64_t stride;          /* their rows that far apart */
    bool transposed;         /* the operand's rows are the stored columns */
    bool rounded;            /* floats: to bf16, before they are multiplied */
} sn_operand;

typedef struct sn_product {
    int64_t m, n, k;
    sn_operand a, b;   /* a: floats, no weight */
    const float *bias; /* or NULL */
    float *c;
    int64_t c_stride;
    bool add; /* to what is in c */
} sn_product;

/* Bytes of scratch for products of at most m x n results of k terms. */
#define sn_product_scratch SN_NAME(sn_product_scratch)
size_t sn_product_scratch(int64_t m, int64_t n, int64_t k, int threads);

#define sn_product_run SN_NAME(sn_product_run)
void sn_product_run(const sn_product *product, int threads, void *scratch);

#endif
