/* What the files of one instruction set share. Private to compute/cpu. */
#ifndef SN_COMPUTE_CPU_KERNELS_H
#define SN_COMPUTE_CPU_KERNELS_H

#include "compute/cpu/backend.h"
#include "compute/rows.h"

/* The kernels of one instruction set; NULL where the reference's is as good. */
typedef struct sn_kernel_set {
    sn_kernel *kernel[SN_OP_COUNT];
    sn_scratch_size *scratch[SN_OP_COUNT];
    sn_rows_kernel rows;
} sn_kernel_set;

/* Constants, not functions: choosing between sets runs no code of a set. */
extern const sn_kernel_set sn_kernels_avx2, sn_kernels_avx512, sn_kernels_wide;

/* The reference with a set's kernels in their places. */
sn_backend sn_backend_with(const char *name, const sn_kernel_set *set);

static inline const sn_node *sn_run_node(const sn_run *run, sn_tensor t) { return &run->plan->graph->nodes[t]; }
static inline float *sn_matrix_row(sn_matrix m, int64_t i) { return (float *)m.data + i * m.stride; }

/* Threads worth starting for that much work, in units of about a nanosecond: below some 20 us, one. */
static inline int sn_threads_for(const sn_run *run, int64_t nanoseconds) {
    return nanoseconds < 20000 ? 1 : run->plan->threads;
}

#ifdef SN_ISA /* set by the build for each instruction set (simd.h) */
#include "compute/cpu/simd.h"

sn_kernel SN_NAME(sn_run_linear), SN_NAME(sn_run_linear_back_x), SN_NAME(sn_run_linear_back_weight);
sn_scratch_size SN_NAME(sn_scratch_linear), SN_NAME(sn_scratch_linear_back_weight);
sn_kernel SN_NAME(sn_run_head_loss);
sn_scratch_size SN_NAME(sn_scratch_head_loss);
sn_kernel SN_NAME(sn_run_binary), SN_NAME(sn_run_scale), SN_NAME(sn_run_dropout), SN_NAME(sn_run_sum_leading), SN_NAME(sn_run_unary), SN_NAME(sn_run_unary_back),
    SN_NAME(sn_run_gated), SN_NAME(sn_run_gated_back), SN_NAME(sn_run_norm), SN_NAME(sn_run_norm_back_x), SN_NAME(sn_run_norm_back_weight);
sn_scratch_size SN_NAME(sn_scratch_norm_back_weight);
sn_kernel SN_NAME(sn_run_attention), SN_NAME(sn_run_attention_back);
sn_scratch_size SN_NAME(sn_scratch_attention), SN_NAME(sn_scratch_attention_back);
sn_rows_function SN_NAME(sn_rows_product);
size_t SN_NAME(sn_rows_scratch)(int64_t queries, int64_t rows, int64_t width);
#endif

#endif
