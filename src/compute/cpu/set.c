/* The table of one instruction set's kernels. */
#include "compute/cpu/kernels.h"

const sn_kernel_set SN_NAME(sn_kernels) = {
    .kernel =
        {
            [SN_OP_ADD] = SN_NAME(sn_run_binary),
            [SN_OP_MUL] = SN_NAME(sn_run_binary),
            [SN_OP_SCALE] = SN_NAME(sn_run_scale),
            [SN_OP_DROPOUT] = SN_NAME(sn_run_dropout),
            [SN_OP_SUM_LEADING] = SN_NAME(sn_run_sum_leading),
            [SN_OP_UNARY] = SN_NAME(sn_run_unary),
            [SN_OP_UNARY_BACK] = SN_NAME(sn_run_unary_back),
            [SN_OP_GATED] = SN_NAME(sn_run_gated),
            [SN_OP_GATED_BACK] = SN_NAME(sn_run_gated_back),
            [SN_OP_NORM] = SN_NAME(sn_run_norm),
            [SN_OP_NORM_BACK_X] = SN_NAME(sn_run_norm_back_x),
            [SN_OP_NORM_BACK_WEIGHT] = SN_NAME(sn_run_norm_back_weight),
            [SN_OP_LINEAR] = SN_NAME(sn_run_linear),
            [SN_OP_LINEAR_BACK_X] = SN_NAME(sn_run_linear_back_x),
            [SN_OP_LINEAR_BACK_WEIGHT] = SN_NAME(sn_run_linear_back_weight),
            [SN_OP_ATTENTION] = SN_NAME(sn_run_attention),
            [SN_OP_ATTENTION_BACK] = SN_NAME(sn_run_attention_back),
            [SN_OP_HEAD_LOSS] = SN_NAME(sn_run_head_loss),
        },
    .scratch =
        {
            [SN_OP_NORM_BACK_WEIGHT] = SN_NAME(sn_scratch_norm_back_weight),
            [SN_OP_LINEAR] = SN_NAME(sn_scratch_linear),
            [SN_OP_LINEAR_BACK_X] = SN_NAME(sn_scratch_linear),
            [SN_OP_LINEAR_BACK_WEIGHT] = SN_NAME(sn_scratch_linear_back_weight),
            [SN_OP_ATTENTION] = SN_NAME(sn_scratch_attention),
            [SN_OP_ATTENTION_BACK] = SN_NAME(sn_scratch_attention_back),
            [SN_OP_HEAD_LOSS] = SN_NAME(sn_scratch_head_loss),
        },
    .rows = {SN_NAME(sn_rows_product), SN_NAME(sn_rows_scratch)},
};
