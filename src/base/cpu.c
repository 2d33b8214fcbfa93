/* CPUID through the compiler, the cap from the environment, processors from the kernel. */
#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

static bool cpuid_bit(unsigned leaf, unsigned sub, int reg, int bit) {
    unsigned r[4] = {0};
    if (!__get_cpuid_count(leaf, sub, &r[0], &r[1], &r[2], &r[3])) return false;
    return r[reg] >> bit & 1;
}

static sn_cpu detect(void) {
    sn_cpu cpu = {0};
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !cpuid_bit(1, 0, 2, 29)) return cpu;
    cpu.level = SN_CPU_AVX2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return cpu;
    cpu.level = SN_CPU_AVX512;
    cpu.avx512_bf16 = cpuid_bit(7, 1, 0, 5);
    cpu.amx_bf16 = cpuid_bit(7, 0, 3, 22) && cpuid_bit(7, 0, 3, 24);
    if (cpu.amx_bf16) cpu.level = SN_CPU_AMX;
    return cpu;
}
#else
static sn_cpu detect(void) { return (sn_cpu){0}; }
#endif

static const char *const names[] = {"plain", "avx2", "avx512", "amx"};

const char *sn_cpu_level_name(sn_cpu_level level) { return names[level]; }

sn_cpu sn_cpu_features(void) {
    sn_cpu cpu = detect();
    const char *cap = getenv("SN_CPU");
    for (int i = 0; cap && i < 4; i++)
        if (strcmp(cap, names[i]) == 0 && cpu.level > (sn_cpu_level)i) cpu.level = (sn_cpu_level)i;
    if (cpu.level < SN_CPU_AVX512) cpu.avx512_bf16 = false;
    if (cpu.level < SN_CPU_AMX) cpu.amx_bf16 = false;
    return cpu;
}

int sn_cpu_count(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    long long quota, period;
    if (file && fscanf(file, "%lld %lld", &quota, &period) == 2 && period > 0 && quota > 0) {
        int allowed = (int)((quota + period - 1) / period);
        if (allowed < count) count = allowed;
    }
    if (file) fclose(file);
    return count > 0 ? count : 1;
}

int64_t sn_process_memory(const char *name) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %lld", &kilobytes) == 1) break;
    if (file) fclose(file);
    return kilobytes * 1024;
}
