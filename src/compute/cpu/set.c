/* The table of one instruction set's kernels. */
#include "compute/cpu/kernels.h"

const sn_kernel_set SN_NAME(sn_kernels) = {
    .kernel =
        {
            [SN_OP_LINEAR] = SN_NAME(sn_run_linear),
            [SN_OP_LINEAR_BACK_X] = SN_NAME(sn_run_linear_back_x),
            [SN_OP_LINEAR_BACK_WEIGHT] = SN_NAME(sn_run_linear_back_weight),
            [SN_OP_ATTENTION] = SN_NAME(sn_run_attention),
            [SN_OP_ATTENTION_BACK] = SN_NAME(sn_run_attention_back),
        },
    .scratch =
        {
            [SN_OP_LINEAR] = SN_NAME(sn_scratch_linear),
            [SN_OP_LINEAR_BACK_X] = SN_NAME(sn_scratch_linear),
            [SN_OP_LINEAR_BACK_WEIGHT] = SN_NAME(sn_scratch_linear_back_weight),
            [SN_OP_ATTENTION] = SN_NAME(sn_scratch_attention),
            [SN_OP_ATTENTION_BACK] = SN_NAME(sn_scratch_attention_back),
        },
};
