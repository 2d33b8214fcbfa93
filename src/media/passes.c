/* Written once with vectors of the compiler, compiled for the plain machine and for AVX2. */
#include "media/passes.h"

#include "base/cpu.h"

#include <string.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1) };

/* ---- weights ---- */

void sn_kernel_free(sn_kernel *k) {
    sn_free(k->begin);
    sn_free(k->length);
    sn_free(k->flat);
    sn_free(k->wide);
    *k = (sn_kernel){0};
}

bool sn_kernel_new(const sn_taps *t, int origin, int channels, sn_kernel *k) {
    *k = (sn_kernel){.count = t->count, .most = t->most, .channels = channels, .blocks = (t->most * channels + SN_PASS_BLOCK - 1) / SN_PASS_BLOCK};
    size_t count = (size_t)t->count, most = (size_t)t->most, stride = (size_t)k->blocks * SN_PASS_BLOCK;
    k->begin = sn_alloc(count, sizeof *k->begin);
    k->length = sn_alloc(count, sizeof *k->length);
    k->flat = sn_alloc(count, most * sizeof *k->flat);
    k->wide = sn_alloc(count, stride * sizeof *k->wide);
    if (!k->begin || !k->length || !k->flat || !k->wide) {
        sn_kernel_free(k);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        k->begin[i] = t->begin[i] - origin, k->length[i] = t->length[i];
        for (size_t j = 0; j < most; j++) {
            double weight = t->weight[i * most + j];
            k->flat[i * most + j] = (int32_t)(weight * (1 << PRECISION) + (weight < 0 ? -0.5 : 0.5));
        }
        for (size_t j = 0; j < most * (size_t)channels; j++) k->wide[i * stride + j] = k->flat[i * most + j / (size_t)channels];
    }
    return true;
}

/* ---- loops ---- */

#define INLINE static inline __attribute__((always_inline))

typedef int32_t ints __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(32), aligned(1), may_alias));

INLINE uint8_t clipped(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

INLINE void widen(const uint8_t *from, size_t count, int32_t *to) {
    for (size_t i = 0; i < count; i++) to[i] = from[i];
}

INLINE void horizontal(const sn_kernel *k, int channels, int from, int to, const int32_t *line, uint8_t *out) {
    int blocks = k->blocks;
    for (int x = from; x < to; x++) {
        const int32_t *w = k->wide + (size_t)x * (size_t)blocks * SN_PASS_BLOCK, *p = line + k->begin[x] * channels;
        ints a = {0}, b = {0}, c = {0};
        for (int i = 0; i < blocks; i++, p += SN_PASS_BLOCK, w += SN_PASS_BLOCK) {
            a += *(const ints *)p * *(const ints *)w;
            b += *(const ints *)(p + 8) * *(const ints *)(w + 8);
            c += *(const ints *)(p + 16) * *(const ints *)(w + 16);
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

INLINE void clip_all(ints *sum) {
    ints value = *sum >> PRECISION;
    value &= ~(value >> 31);
    ints over = value > 255;
    *sum = (value & ~over) | (over & 255);
}

/* Thirty-two bytes at a time: eight words, whose first, second, third and fourth bytes make four vectors. The last
 * thirty-two overlap those before. */
INLINE void vertical(const sn_kernel *k, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out) {
    const int32_t *w = k->flat + (size_t)row * (size_t)k->most;
    int length = k->length[row];
    lines += k->begin[row];
    for (size_t x = 0; x < bytes && bytes < sizeof(words); x++) {
        int32_t sum = HALF;
        for (int i = 0; i < length; i++) sum += lines[i][offset + x] * w[i];
        out[x] = clipped(sum);
    }
    for (size_t x = 0; x < bytes && bytes >= sizeof(words); x += sizeof(words)) {
        if (x > bytes - sizeof(words)) x = bytes - sizeof(words);
        ints a = (ints){0} + HALF, b = a, c = a, d = a;
        for (int i = 0; i < length; i++) {
            words four = *(const words *)(lines[i] + offset + x);
            a += (ints)(four & 255) * w[i];
            b += (ints)(four >> 8 & 255) * w[i];
            c += (ints)(four >> 16 & 255) * w[i];
            d += (ints)(four >> 24) * w[i];
        }
        clip_all(&a), clip_all(&b), clip_all(&c), clip_all(&d);
        *(words *)(out + x) = (words)(a | b << 8 | c << 16 | d << 24);
    }
}

#define BUILD(name, attribute)                                                                                                                               \
    attribute static void widen_##name(const uint8_t *from, size_t count, int32_t *to) { widen(from, count, to); }                                          \
    attribute static void horizontal_##name(const sn_kernel *k, int from, int to, const int32_t *line, uint8_t *out) {                                       \
        if (k->channels == 3) horizontal(k, 3, from, to, line, out);                                                                                         \
        else horizontal(k, k->channels, from, to, line, out);                                                                                                \
    }                                                                                                                                                        \
    attribute static void vertical_##name(const sn_kernel *k, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out) {             \
        vertical(k, row, lines, offset, bytes, out);                                                                                                         \
    }                                                                                                                                                        \
    static const sn_passes passes_##name = {widen_##name, horizontal_##name, vertical_##name};

BUILD(plain, )
#if defined(__x86_64__)
BUILD(avx2, __attribute__((target("avx2"))))
#endif

const sn_passes *sn_passes_of_cpu(void) {
#if defined(__x86_64__)
    if (sn_cpu_features().level >= SN_CPU_AVX2) return &passes_avx2;
#endif
    return &passes_plain;
}
