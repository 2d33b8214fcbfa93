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

#if defined(__x86_64__)

static sn_backend avx2, avx512; /* made once, then constant */

static void make_backends(void) {
    avx2 = sn_backend_with("avx2", &sn_kernels_avx2);
    avx512 = sn_backend_with("avx512", &sn_kernels_avx512);
}

const sn_backend *sn_backend_at(sn_cpu_level level) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_backends);
    return level >= SN_CPU_AVX512 ? &avx512 : level == SN_CPU_AVX2 ? &avx2 : sn_backend_reference();
}

#else

const sn_backend *sn_backend_at(sn_cpu_level level) { return sn_backend_reference(); }

#endif

const sn_backend *sn_backend_cpu(void) { return sn_backend_at(sn_cpu_features().level); }
