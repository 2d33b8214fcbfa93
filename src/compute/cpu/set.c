/* The table of one instruction set's kernels. */
#include "compute/cpu/kernels.h"

const sn_kernel_set SN_NAME(sn_kernels) = {
    .kernel =
        {
            [SN_OP_LINEAR] = SN_NAME(sn_run_linear),
            [SN_OP_LINEAR_BACK_X] = SN_NAME(sn_run_linear_back_x),
            [SN_OP_LINEAR_BACK_WEIGHT] = SN_NAME(sn_run_linear_back_weight),
        },
    .scratch =
        {
            [SN_OP_LINEAR] = SN_NAME(sn_scratch_linear),
            [SN_OP_LINEAR_BACK_X] = SN_NAME(sn_scratch_linear),
            [SN_OP_LINEAR_BACK_WEIGHT] = SN_NAME(sn_scratch_linear_back_weight),
        },
};
