/* Written once with vectors of the compiler, compiled for the plain machine and for AVX2. */
#include "media/passes.h"

#include "base/cpu.h"

#include <string.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1) };

/* ---- weights ---- */

void sn_kernel_free(sn_kernel *k) {
    sn_free(k->begin);
    sn_free(k->length);
    sn_free(k->wide_begin);
    sn_free(k->flat);
    sn_free(k->wide);
    *k = (sn_kernel){0};
}

/* Blocks are read whole: where they would reach beyond the line they begin earlier, with zeros in front. */
static void fill_wide(sn_kernel *k, int64_t width) {
    size_t stride = (size_t)k->blocks * SN_PASS_BLOCK, channels = (size_t)k->channels;
    int room = sn_kernel_line(k), latest = width > room ? (int)width - room : 0;
    for (int i = 0; i < k->count; i++) {
        k->wide_begin[i] = k->begin[i] < latest ? k->begin[i] : latest;
        int32_t *to = k->wide + (size_t)i * stride + (size_t)(k->begin[i] - k->wide_begin[i]) * channels;
        for (size_t j = 0; j < (size_t)k->length[i] * channels; j++) to[j] = k->flat[(size_t)i * (size_t)k->most + j / channels];
    }
}

bool sn_kernel_new(const sn_taps *t, int origin, int64_t width, int channels, sn_kernel *k) {
    *k = (sn_kernel){.count = t->count, .most = t->most, .channels = channels};
    size_t count = (size_t)t->count;
    k->blocks = width ? (t->most * channels + SN_PASS_BLOCK - 1) / SN_PASS_BLOCK : 0;
    k->begin = sn_alloc(count, sizeof *k->begin);
    k->length = sn_alloc(count, sizeof *k->length);
    k->flat = sn_alloc(count, (size_t)t->most * sizeof *k->flat);
    k->wide_begin = width ? sn_alloc(count, sizeof *k->wide_begin) : NULL;
    k->wide = width ? sn_alloc(count, (size_t)k->blocks * SN_PASS_BLOCK * sizeof *k->wide) : NULL;
    if (!k->begin || !k->length || !k->flat || (width && (!k->wide_begin || !k->wide))) {
        sn_kernel_free(k);
        return false;
    }
    for (size_t i = 0; i < count; i++) k->begin[i] = t->begin[i] - origin;
    memcpy(k->length, t->length, count * sizeof *k->length);
    for (size_t i = 0; i < count * (size_t)t->most; i++) k->flat[i] = (int32_t)(t->weight[i] * (1 << PRECISION) + (t->weight[i] < 0 ? -0.5 : 0.5));
    if (width) fill_wide(k, width);
    return true;
}

/* ---- loops ---- */

#define INLINE static inline __attribute__((always_inline))

typedef int32_t ints __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint8_t bytes8 __attribute__((vector_size(8), aligned(1), may_alias));

INLINE uint8_t clipped(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

INLINE void horizontal(const sn_kernel *k, int from, int to, const uint8_t *line, uint8_t *out) {
    int channels = k->channels, blocks = k->blocks;
    for (int x = from; x < to; x++) {
        const int32_t *w = k->wide + (size_t)x * (size_t)blocks * SN_PASS_BLOCK;
        const uint8_t *p = line + k->wide_begin[x] * channels;
        ints a = {0}, b = {0}, c = {0};
        for (int i = 0; i < blocks; i++, p += SN_PASS_BLOCK, w += SN_PASS_BLOCK) {
            a += __builtin_convertvector(*(const bytes8 *)p, ints) * *(const ints *)w;
            b += __builtin_convertvector(*(const bytes8 *)(p + 8), ints) * *(const ints *)(w + 8);
            c += __builtin_convertvector(*(const bytes8 *)(p + 16), ints) * *(const ints *)(w + 16);
        }
        int32_t lanes[SN_PASS_BLOCK];
        memcpy(lanes, &a, 32), memcpy(lanes + 8, &b, 32), memcpy(lanes + 16, &c, 32);
        for (int n = 0; n < channels; n++) {
            int32_t sum = HALF;
            for (int i = n; i < SN_PASS_BLOCK; i += channels) sum += lanes[i];
            out[x * channels + n] = clipped(sum);
        }
    }
}

/* Four vectors of eight outputs at a time; the last ones overlap those before. */
INLINE void vertical(const sn_kernel *k, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out) {
    enum { STEP = 32 };
    const int32_t *w = k->flat + (size_t)row * (size_t)k->most;
    int length = k->length[row];
    lines += k->begin[row];
    if (bytes < STEP) {
        for (size_t x = 0; x < bytes; x++) {
            int32_t sum = HALF;
            for (int i = 0; i < length; i++) sum += lines[i][offset + x] * w[i];
            out[x] = clipped(sum);
        }
        return;
    }
    for (size_t x = 0; x < bytes; x += STEP) {
        if (x > bytes - STEP) x = bytes - STEP;
        ints sum[STEP / 8];
        for (int n = 0; n < STEP / 8; n++) sum[n] = (ints){0} + HALF;
        for (int i = 0; i < length; i++) {
            const uint8_t *p = lines[i] + offset + x;
            for (int n = 0; n < STEP / 8; n++) sum[n] += __builtin_convertvector(*(const bytes8 *)(p + 8 * n), ints) * w[i];
        }
        for (int n = 0; n < STEP / 8; n++) {
            ints value = sum[n] >> PRECISION;
            value &= ~(value >> 31);
            ints over = value > 255;
            value = (value & ~over) | (over & 255);
            *(bytes8 *)(out + x + 8 * n) = __builtin_convertvector(value, bytes8);
        }
    }
}

static void horizontal_plain(const sn_kernel *k, int from, int to, const uint8_t *line, uint8_t *out) { horizontal(k, from, to, line, out); }
static void vertical_plain(const sn_kernel *k, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out) {
    vertical(k, row, lines, offset, bytes, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void horizontal_avx2(const sn_kernel *k, int from, int to, const uint8_t *line, uint8_t *out) {
    if (k->channels == 3) horizontal(k, from, to, line, out); /* known to the compiler below */
    else horizontal(k, from, to, line, out);
}
__attribute__((target("avx2"))) static void vertical_avx2(const sn_kernel *k, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out) {
    vertical(k, row, lines, offset, bytes, out);
}
#endif

const sn_passes *sn_passes_of_cpu(void) {
    static const sn_passes plain = {horizontal_plain, vertical_plain};
#if defined(__x86_64__)
    static const sn_passes avx2 = {horizontal_avx2, vertical_avx2};
    if (sn_cpu_features().level >= SN_CPU_AVX2) return &avx2;
#endif
    return &plain;
}
