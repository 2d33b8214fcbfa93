/* What this machine can do: instruction sets, processors, and what a person allows of them. */
#ifndef SN_BASE_CPU_H
#define SN_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sn_cpu_level { SN_CPU_PLAIN, SN_CPU_AVX2, SN_CPU_AVX512, SN_CPU_AMX } sn_cpu_level;

typedef struct sn_cpu {
    sn_cpu_level level; /* the highest usable one; SN_CPU=plain|avx2|avx512|amx caps it */
    bool avx512_bf16, amx_bf16;
} sn_cpu;

sn_cpu sn_cpu_features(void);
const char *sn_cpu_level_name(sn_cpu_level level);

/* Processors this process may use: affinity and cgroup quota; at least 1. */
int sn_cpu_count(void);

/* Bytes that a line of /proc/self/status names (VmRSS, VmHWM, …); 0 where there is none. */
int64_t sn_process_memory(const char *name);

#endif
