/* Written once with vectors of the compiler, compiled for the plain machine and for AVX2. */
#include "media/passes.h"

#include "base/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <string.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1), LOW_BITS = 12 };

/* ---- weights ---- */

void sn_kernel_free(sn_kernel *k) {
    sn_free(k->begin);
    sn_free(k->length);
    sn_free(k->flat);
    sn_free(k->halves);
    *k = (sn_kernel){0};
}

bool sn_kernel_new(const sn_taps *t, int origin, int channels, sn_kernel *k) {
    *k = (sn_kernel){.count = t->count, .most = t->most, .channels = channels, .groups = (t->most + 2 * SN_PASS_GROUP - 2) / SN_PASS_GROUP};
    size_t count = (size_t)t->count, most = (size_t)t->most, stride = channels ? 2 * SN_PASS_GROUP * (size_t)k->groups : 0;
    k->begin = sn_alloc(count, sizeof *k->begin);
    k->length = sn_alloc(count, sizeof *k->length);
    k->flat = sn_alloc(count, most * sizeof *k->flat);
    k->halves = sn_alloc(count, stride * sizeof *k->halves);
    if (!k->begin || !k->length || !k->flat || !k->halves) {
        sn_kernel_free(k);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        k->begin[i] = t->begin[i] - origin, k->length[i] = t->length[i];
        for (size_t j = 0; j < most; j++) {
            double weight = t->weight[i * most + j];
            k->flat[i * most + j] = (int32_t)(weight * (1 << PRECISION) + (weight < 0 ? -0.5 : 0.5));
        }
        for (size_t j = 0; j < most && channels; j++) {
            size_t place = (size_t)(k->begin[i] % SN_PASS_GROUP) + j, at = i * stride + place / SN_PASS_GROUP * 2 * SN_PASS_GROUP + place % SN_PASS_GROUP;
            k->halves[at] = (int16_t)(k->flat[i * most + j] >> LOW_BITS);
            k->halves[at + SN_PASS_GROUP] = (int16_t)(k->flat[i * most + j] & ((1 << LOW_BITS) - 1));
        }
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

typedef int16_t shorts __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint8_t bytes16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef int64_t pairs __attribute__((vector_size(16), may_alias));
typedef uint32_t sums __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t signed_sums __attribute__((vector_size(16), aligned(4), may_alias));

/* Products of eight pairs of 16 bits, neighbours added. */
INLINE sums products(shorts a, shorts b) {
#if defined(__SSE2__)
    return (sums)__builtin_ia32_pmaddwd128(a, b);
#else
    sums out;
    for (int i = 0; i < 4; i++) out[i] = (uint32_t)(a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]);
    return out;
#endif
}

/* Pixels [from, to) of those that stand from place `at` on. */
INLINE void pack_singly(const uint8_t *pixels, int from, int to, int channels, int at, uint8_t *line) {
    for (int i = from; i < to; i++)
        for (int c = 0; c < channels; c++)
            line[(unsigned)(at + i) / SN_PASS_GROUP * SN_PASS_GROUP_BYTES + (unsigned)(SN_PASS_GROUP * c) + (unsigned)(at + i) % SN_PASS_GROUP] = pixels[(size_t)i * (size_t)channels + (size_t)c];
}

INLINE void pack(const uint8_t *from, int pixels, int channels, int at, uint8_t *line) {
    const bytes16 none = {0};
    int i = channels == 3 ? -at & (SN_PASS_GROUP - 1) : pixels; /* the first whole group */
    if (i > pixels) i = pixels;
    pack_singly(from, 0, i, channels, at, line);
    uint8_t *group = line + (size_t)((unsigned)(at + i) / SN_PASS_GROUP) * SN_PASS_GROUP_BYTES;
    const uint8_t *p = from + 3 * (size_t)i;
    for (; pixels - i >= 6; i += SN_PASS_GROUP, p += 3 * SN_PASS_GROUP, group += SN_PASS_GROUP_BYTES) /* sixteen bytes are read, twelve taken */
        *(bytes16 *)group = __builtin_shufflevector(*(const bytes16 *)p, none, 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 16, 16, 16, 16);
    pack_singly(from, i, pixels, channels, at, line);
}

/* The sums of one output over its groups: {r01, r23, g01, g23, b01, b23, a01, a23}, which lack but the addition of neighbours.
 * They wrap like those of 32 bits that they stand for: high halves count 2^12 times. */
typedef void accumulate(const uint8_t *groups, const int16_t *halves, int count, sums to[2]);

static inline void accumulate_plain(const uint8_t *p, const int16_t *w, int count, sums to[2]) {
    const bytes16 zero = {0};
    sums high_rg = {0}, low_rg = {0}, high_ba = {0}, low_ba = {0};
    for (int i = 0; i < count; i++, p += SN_PASS_GROUP_BYTES, w += 2 * SN_PASS_GROUP) {
        int64_t word[2];
        memcpy(word, w, sizeof word);
        bytes16 group = *(const bytes16 *)p;
        shorts rg = (shorts)__builtin_shufflevector(group, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        shorts ba = (shorts)__builtin_shufflevector(group, zero, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        shorts high = (shorts)(pairs){word[0], word[0]}, low = (shorts)(pairs){word[1], word[1]};
        high_rg += products(rg, high), low_rg += products(rg, low);
        high_ba += products(ba, high), low_ba += products(ba, low);
    }
    to[0] = (high_rg << LOW_BITS) + low_rg, to[1] = (high_ba << LOW_BITS) + low_ba;
}

#if defined(__x86_64__)
typedef int16_t shorts16 __attribute__((vector_size(32)));
typedef int64_t quads __attribute__((vector_size(32)));
typedef uint32_t sums8 __attribute__((vector_size(32)));

__attribute__((target("avx2"))) static inline void accumulate_avx2(const uint8_t *p, const int16_t *w, int count, sums to[2]) {
    sums8 high = {0}, low = {0};
    for (int i = 0; i < count; i++, p += SN_PASS_GROUP_BYTES, w += 2 * SN_PASS_GROUP) {
        int64_t word[2];
        memcpy(word, w, sizeof word);
        shorts16 group = (shorts16)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)); /* GCC 12 makes four instructions of a conversion */
        high += (sums8)__builtin_ia32_pmaddwd256(group, (shorts16)(quads){word[0], word[0], word[0], word[0]});
        low += (sums8)__builtin_ia32_pmaddwd256(group, (shorts16)(quads){word[1], word[1], word[1], word[1]});
    }
    low += high << LOW_BITS;
    memcpy(to, &low, sizeof low);
}
#endif

INLINE void horizontal(const sn_kernel *k, int channels, int from, int to, const uint8_t *line, uint8_t *out, accumulate *add_up) {
    for (int x = from; x < to; x++) {
        unsigned begin = (unsigned)k->begin[x], groups = (begin % SN_PASS_GROUP + (unsigned)k->length[x] + SN_PASS_GROUP - 1) / SN_PASS_GROUP;
        sums sum[2];
        add_up(line + begin / SN_PASS_GROUP * SN_PASS_GROUP_BYTES, k->halves + (size_t)x * (size_t)k->groups * 2 * SN_PASS_GROUP, (int)groups, sum);
        sums even = __builtin_shufflevector(sum[0], sum[1], 0, 2, 4, 6), odd = __builtin_shufflevector(sum[0], sum[1], 1, 3, 5, 7);
        signed_sums value = (signed_sums)(even + odd + HALF) >> PRECISION;
        value &= ~(value >> 31);
        signed_sums over = value > 255;
        value = (value & ~over) | (over & 255);
        bytes16 whole = (bytes16)value, pixel = __builtin_shufflevector(whole, whole, 0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        memcpy(out + (size_t)x * (size_t)channels, &pixel, (size_t)channels);
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
    attribute static void pack_##name(const uint8_t *from, int pixels, int channels, int at, uint8_t *line) { pack(from, pixels, channels, at, line); }      \
    attribute static void horizontal_##name(const sn_kernel *k, int from, int to, const uint8_t *line, uint8_t *out) {                                       \
        if (k->channels == 3) horizontal(k, 3, from, to, line, out, accumulate_##name);                                                                                         \
        else horizontal(k, k->channels, from, to, line, out, accumulate_##name);                                                                                                \
    }                                                                                                                                                        \
    attribute static void vertical_##name(const sn_kernel *k, int row, const uint8_t *const *lines, size_t offset, size_t bytes, uint8_t *out) {             \
        vertical(k, row, lines, offset, bytes, out);                                                                                                         \
    }                                                                                                                                                        \
    static const sn_passes passes_##name = {pack_##name, horizontal_##name, vertical_##name};

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
