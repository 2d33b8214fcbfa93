/* Two loops that do nothing but what they measure: loads that fill a register with sums, and chains of fused
 * multiply-adds that are long enough to hide their latency. Threads of one's own, not OpenMP's: those belong to the
 * engine's compute thread. */
#include "cli/probe.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_THREADS = 256, CHAINS = 12, ROUNDS = 1 << 22, PASSES = 4, SMALLEST = 256 << 20 };

/* Runs work(context, i) on threads i = 0 … n - 1 and gives the seconds until the last is done. */
typedef void part_work(void *context, int part, int parts);
typedef struct part {
    part_work *work;
    void *context;
    int index, count;
} part;

static void *run_part(void *context) {
    part *p = context;
    p->work(p->context, p->index, p->count);
    return NULL;
}

static double in_parallel(int threads, part_work *work, void *context) {
    pthread_t thread[MAX_THREADS];
    part parts[MAX_THREADS];
    bool started[MAX_THREADS] = {false};
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    double begin = sn_seconds();
    for (int i = 0; i < threads; i++) {
        parts[i] = (part){work, context, i, threads};
        if (i > 0) started[i] = pthread_create(&thread[i], NULL, run_part, &parts[i]) == 0;
        if (i > 0 && !started[i]) run_part(&parts[i]);
    }
    run_part(&parts[0]);
    for (int i = 1; i < threads; i++)
        if (started[i]) pthread_join(thread[i], NULL);
    return sn_seconds() - begin;
}

/* ---- reading ---- */

typedef uint64_t lanes __attribute__((vector_size(32), aligned(1)));

/* Sums in eight registers, so that only the loads can be what it waits for. */
static uint64_t read_all(const char *data, size_t bytes) {
    lanes sum[8] = {0};
    size_t i = 0;
    for (; i + sizeof sum <= bytes; i += sizeof sum)
        for (int k = 0; k < 8; k++) sum[k] += *(const lanes *)(const void *)(data + i + (size_t)k * sizeof *sum);
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    return sum[0][0] + sum[0][1] + sum[0][2] + sum[0][3];
}

typedef struct reading {
    const sn_store *store;
    const char *memory; /* in place of the store's weights, where not NULL */
    uint64_t sums[MAX_THREADS];
} reading;

static size_t part_bytes(const sn_weight *w, int p) { return (size_t)(w->part[p].rows * w->part[p].row_bytes); }

static void read_part(void *context, int index, int count) {
    reading *r = context;
    uint64_t sum = 0;
    if (r->memory) {
        size_t share = SMALLEST / (size_t)count;
        sum = read_all(r->memory + (size_t)index * share, share);
    }
    for (size_t e = 0; !r->memory && e < r->store->count; e++) {
        const sn_weight *w = &r->store->entries[e]->weight;
        for (int p = 0; p < w->num_parts; p++) {
            size_t share = part_bytes(w, p) / (size_t)count;
            sum += read_all((const char *)w->part[p].data + (size_t)index * share, share);
        }
    }
    r->sums[index] = sum;
}

double sn_probe_read(const sn_store *store, int threads) {
    reading r = {.store = store};
    size_t bytes = 0;
    bool ready = true;
    for (size_t e = 0; e < store->count; e++)
        for (int p = 0; p < store->entries[e]->weight.num_parts; p++) {
            ready = ready && store->entries[e]->weight.part[p].data;
            bytes += part_bytes(&store->entries[e]->weight, p);
        }
    char *memory = NULL;
    if (bytes < SMALLEST || !ready) {
        r.memory = memory = sn_alloc(1, SMALLEST);
        if (!memory) return 0;
        memset(memory, 1, bytes = SMALLEST);
    }
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double rate = (double)bytes / in_parallel(threads, read_part, &r);
        if (rate > best) best = rate;
    }
    /* the sums are used, so that the loop cannot be left out */
    if (r.sums[0] == 1 && bytes == 0) best = 0;
    sn_free(memory);
    return best;
}

/* ---- multiplying ---- */

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float multiply_avx2(void) {
    __m256 a[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (int k = 0; k < CHAINS; k++) a[k] = _mm256_set1_ps((float)k);
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < CHAINS; k++) a[k] = _mm256_fmadd_ps(a[k], x, y);
    for (int k = 1; k < CHAINS; k++) a[0] = _mm256_add_ps(a[0], a[k]);
    return _mm256_cvtss_f32(a[0]);
}

__attribute__((target("avx512f"))) static float multiply_avx512(void) {
    __m512 a[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (int k = 0; k < CHAINS; k++) a[k] = _mm512_set1_ps((float)k);
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < CHAINS; k++) a[k] = _mm512_fmadd_ps(a[k], x, y);
    for (int k = 1; k < CHAINS; k++) a[0] = _mm512_add_ps(a[0], a[k]);
    return _mm512_cvtss_f32(a[0]);
}
#endif

typedef float floats __attribute__((vector_size(16)));

static float multiply_plain(void) {
    floats a[CHAINS];
    for (int k = 0; k < CHAINS; k++) a[k] = (floats){(float)k, 1, 2, 3};
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < CHAINS; k++) a[k] = a[k] * 0.999f + 0.001f;
    for (int k = 1; k < CHAINS; k++) a[0] += a[k];
    return a[0][0];
}

typedef struct multiplying {
    sn_cpu_level level;
    float results[MAX_THREADS];
} multiplying;

static void multiply_part(void *context, int index, int count) {
    multiplying *m = context;
    (void)count;
#if defined(__x86_64__)
    if (m->level >= SN_CPU_AVX2) {
        m->results[index] = m->level >= SN_CPU_AVX512 ? multiply_avx512() : multiply_avx2();
        return;
    }
#endif
    m->results[index] = multiply_plain();
}

double sn_probe_multiply(int threads) {
    multiplying m = {.level = sn_cpu_features().level};
    int lanes_of[] = {[SN_CPU_PLAIN] = 4, [SN_CPU_AVX2] = 8, [SN_CPU_AVX512] = 16, [SN_CPU_AMX] = 16};
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double rate = 2.0 * ROUNDS * CHAINS * lanes_of[m.level] * threads / in_parallel(threads, multiply_part, &m);
        if (rate > best) best = rate;
    }
    return best;
}
