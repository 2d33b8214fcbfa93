/* Choice of kernels at run time. */
#include "base/cpu.h"
#include "compute/cpu/kernels.h"

#include <pthread.h>

sn_backend sn_backend_with(const char *name, const sn_kernel_set *set) {
    sn_backend backend = *sn_backend_reference();
    backend.name = name;
    for (int i = 0; i < SN_OP_COUNT; i++)
        if (set->kernel[i]) backend.kernel[i] = set->kernel[i], backend.scratch[i] = set->scratch[i];
    return backend;
}

/* One row at a time, made to floats in the scratch; terms are added in their order. */
static size_t plain_scratch(int64_t queries, int64_t rows, int64_t width) { return (size_t)width * sizeof(float); }

static void plain_product(const sn_weight *rows, const float *queries, int64_t count, float *scores, void *scratch) {
    float *row = scratch;
    for (int64_t j = 0; j < rows->rows; j++) {
        sn_weight_row_floats(rows, j, row);
        for (int64_t i = 0; i < count; i++) {
            float sum = 0;
            for (int64_t k = 0; k < rows->columns; k++) sum += row[k] * queries[i * rows->columns + k];
            scores[i * rows->rows + j] = sum;
        }
    }
}

static const sn_rows_kernel plain_rows = {plain_product, plain_scratch};

static sn_backend bf16; /* made once, then constant */

static void make_bf16(void) {
    bf16 = *sn_backend_reference();
    bf16.compute = SN_TYPE_BF16;
}

const sn_backend *sn_backend_plain(sn_type compute) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bf16);
    return compute == SN_TYPE_BF16 ? &bf16 : sn_backend_reference();
}

#if defined(__x86_64__)

static sn_backend avx2[2], avx512[2]; /* f32, bf16; made once, then constant */

static void make_backends(void) {
    for (int i = 0; i < 2; i++) {
        avx2[i] = sn_backend_with("avx2", &sn_kernels_avx2);
        avx512[i] = sn_backend_with("avx512", &sn_kernels_avx512);
    }
    avx2[1].compute = avx512[1].compute = SN_TYPE_BF16;
}

const sn_backend *sn_backend_at(sn_cpu_level level, sn_type compute) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_backends);
    int which = compute == SN_TYPE_BF16;
    return level >= SN_CPU_AVX512 ? &avx512[which] : level == SN_CPU_AVX2 ? &avx2[which] : sn_backend_plain(compute);
}

static sn_rows_kernel fast_rows(sn_cpu_level level) { return level >= SN_CPU_AVX512 ? sn_kernels_avx512.rows : sn_kernels_avx2.rows; }

#else

const sn_backend *sn_backend_at(sn_cpu_level level, sn_type compute) { return sn_backend_plain(compute); }

static sn_rows_kernel fast_rows(sn_cpu_level level) { return plain_rows; }

#endif

const sn_backend *sn_backend_cpu(sn_type compute) { return sn_backend_at(sn_cpu_features().level, compute); }

sn_rows_kernel sn_rows_kernel_cpu(void) {
    sn_cpu_level level = sn_cpu_features().level;
    return level == SN_CPU_PLAIN ? plain_rows : fast_rows(level);
}
