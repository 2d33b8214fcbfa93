/* Vectors of floats, as GCC's vector extension gives them: one source for every width.
 *
 * The files that include this are compiled several times (src/meson.build), each time with
 *   SN_ISA           the suffix of all names that leave the file (avx2, avx512, ...)
 *   SN_VECTOR_BYTES  the width of a vector: 32 or 64
 * and the compiler's flags for that instruction set. Only conversions from half precision need an
 * instruction's name. Loads and stores take any address that is aligned for one element. */
#ifndef SN_COMPUTE_CPU_SIMD_H
#define SN_COMPUTE_CPU_SIMD_H

#include "tensor/type.h"

#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#define SN_PASTE_(a, b) a##_##b
#define SN_PASTE(a, b) SN_PASTE_(a, b)
#define SN_NAME(name) SN_PASTE(name, SN_ISA)
#define SN_INLINE static inline __attribute__((always_inline))

enum { LANES = SN_VECTOR_BYTES / 4 };

typedef float vf __attribute__((vector_size(SN_VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(SN_VECTOR_BYTES)));
typedef uint16_t vh __attribute__((vector_size(SN_VECTOR_BYTES / 2)));
typedef int8_t vb __attribute__((vector_size(SN_VECTOR_BYTES / 4)));
typedef float vf_any __attribute__((vector_size(SN_VECTOR_BYTES), aligned(1), may_alias)); /* rows of a mapped file may lie anywhere */

SN_INLINE vf vf_load(const float *p) { return *(const vf_any *)p; }
SN_INLINE void vf_store(float *p, vf v) { *(vf_any *)p = v; }
SN_INLINE vf vf_all(float x) { return x - (vf){0}; }
SN_INLINE vi vi_all(int32_t x) { return x - (vi){0}; }
SN_INLINE vf vf_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
SN_INLINE vf vf_max(vf a, vf b) { return vf_select(a > b, a, b); }
SN_INLINE vf vf_min(vf a, vf b) { return vf_select(a < b, a, b); }

/* Loaded once: left alone, the compiler reads an operand of several multiply-adds from memory for each. */
SN_INLINE vf vf_in_register(vf v) {
#if defined(__AVX512F__) || (defined(__AVX2__) && SN_VECTOR_BYTES == 32)
    __asm__("" : "+v"(v));
#endif
    return v;
}

/* The first n (0 < n < LANES) elements, zeros behind them; nothing else is touched. */
SN_INLINE vf vf_load_part(const float *p, int64_t n) {
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}
SN_INLINE void vf_store_part(float *p, vf v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof(float)); }

/* ---- sums of lanes, always in the order of a binary tree ---- */

typedef float v4 __attribute__((vector_size(16)));
typedef float v8 __attribute__((vector_size(32)));

SN_INLINE v4 vf_fold(vf v) {
#if SN_VECTOR_BYTES == 64
    v8 lo, hi;
    memcpy(&lo, &v, 32);
    memcpy(&hi, (char *)&v + 32, 32);
    v8 w = lo + hi;
#else
    v8 w = (v8)v;
#endif
    v4 a, b;
    memcpy(&a, &w, 16);
    memcpy(&b, (char *)&w + 16, 16);
    return a + b;
}

SN_INLINE float vf_sum(vf v) {
    v4 a = vf_fold(v);
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* The sums of four vectors; each the same bits as vf_sum gives. */
SN_INLINE v4 vf_sum4(vf a, vf b, vf c, vf d) {
    v4 p = vf_fold(a), q = vf_fold(b), r = vf_fold(c), s = vf_fold(d);
    typedef int32_t i4 __attribute__((vector_size(16)));
    v4 pq = __builtin_shuffle(p, q, (i4){0, 4, 1, 5}) + __builtin_shuffle(p, q, (i4){2, 6, 3, 7});
    v4 rs = __builtin_shuffle(r, s, (i4){0, 4, 1, 5}) + __builtin_shuffle(r, s, (i4){2, 6, 3, 7});
    return __builtin_shuffle(pq, rs, (i4){0, 1, 4, 5}) + __builtin_shuffle(pq, rs, (i4){2, 3, 6, 7});
}

SN_INLINE float vf_top(vf v) {
    float top = v[0];
    for (int i = 1; i < LANES; i++) top = v[i] > top ? v[i] : top;
    return top;
}

/* ---- stored types to floats ---- */

SN_INLINE vf vf_from_f16(const void *p) {
#if defined(__AVX512F__) && SN_VECTOR_BYTES == 64
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif defined(__F16C__)
    vf v;
    for (int i = 0; i < SN_VECTOR_BYTES / 32; i++) {
        __m256 part = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + i));
        memcpy((char *)&v + 32 * i, &part, 32);
    }
    return v;
#else
    uint16_t h[LANES];
    vf v;
    memcpy(h, p, sizeof h);
    for (int i = 0; i < LANES; i++) v[i] = sn_f16_to_f32(h[i]);
    return v;
#endif
}

SN_INLINE float float_from_f16(uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    return sn_f16_to_f32(h);
#endif
}

SN_INLINE vf vf_from_bf16(const void *p) {
    vh h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vi) << 16);
}

/* To the nearest bf16, halves to even, as floats; NaN stays. */
SN_INLINE vf vf_round_bf16(vf x) {
    vi bits = (vi)x;
    vi rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & (int32_t)0xffff0000;
    return vf_select(x != x, x, (vf)rounded);
}

SN_INLINE vf vf_from_i8(const void *p) {
#if defined(__AVX512F__) && SN_VECTOR_BYTES == 64
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
#elif defined(__AVX2__) && SN_VECTOR_BYTES == 32
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
#else
    vb b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(__builtin_convertvector(b, vi), vf);
#endif
}

/* LANES values of a row from the k-th on; k is a multiple of LANES. q8_0's product scale * q is exact. */
SN_INLINE vf vf_from_row(sn_type type, const char *row, int64_t k) {
    switch (type) {
    case SN_TYPE_F16: return vf_from_f16(row + k * 2);
    case SN_TYPE_BF16: return vf_from_bf16(row + k * 2);
    case SN_TYPE_Q8_0: {
        const char *block = row + k / 32 * (int64_t)sizeof(sn_q8_0);
        uint16_t scale;
        memcpy(&scale, block, sizeof scale);
        return vf_all(float_from_f16(scale)) * vf_from_i8(block + offsetof(sn_q8_0, q) + k % 32);
    }
    default: return vf_load((const float *)row + k);
    }
}

/* The last n (0 < n < LANES) values of a row, zeros behind them. Blocks are never cut. */
SN_INLINE vf vf_from_row_part(sn_type type, const char *row, int64_t k, int64_t n) {
    int64_t size = type == SN_TYPE_F32 ? 4 : 2;
    char copy[LANES * 4] = {0};
    memcpy(copy, row + k * size, (size_t)(n * size));
    return vf_from_row(type, copy, 0);
}

/* ---- functions ---- */

/* e^x within 2 ulp where the result is a normal number; 0 below -87, infinity from 88.73 on; NaN stays. x = n ln 2 + r, |r| <= ln 2 / 2. */
SN_INLINE vf vf_exp(vf x) {
    vf magic = vf_all(0x1.8p23f); /* adding it rounds to an integer, which is then in the low bits */
    vf clamped = vf_min(vf_all(89), vf_max(x, vf_all(-87)));
    clamped = vf_select(x != x, x, clamped);
    vf shifted = clamped * 1.44269504f + magic, n = shifted - magic;
    vf r = clamped - n * 0.693145752f - n * 1.42860677e-6f;
    vf p = ((0.00139412421f * r + 0.00836324886f) * r + 0.0416663738f) * r + 0.166665766f;
    p = (p * r + 0.500000003f) * (r * r) + r + 1;
    vi half = ((vi)shifted - (vi)magic) >> 1, rest = ((vi)shifted - (vi)magic) - half; /* 2^128 is not a float */
    vf y = p * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
    y = vf_select(x < vf_all(-87), (vf){0}, y);
    return vf_select(x != x, x, y);
}

SN_INLINE vf vf_sigmoid(vf x) { return 1 / (1 + vf_exp(-x)); }

/* The normal distribution's share below x, (1 + erf(x / sqrt 2)) / 2. With t = |x| / sqrt 2: a polynomial of
 * erf(t) / t below 1; above, erfc(t) = e^-q(t), which keeps the lower tail's relative precision. */
SN_INLINE vf vf_normal(vf x) {
    vf t = x * 0.707106781f, s = t * t;
    vf a = ((7.88912283e-05f * s - 0.000802084227f) * s + 0.00518953545f) * s - 0.0268544446f;
    a = ((a * s + 0.112836002f) * s - 0.376126271f) * s + 0.128379166f;
    vf inner = 0.5f + 0.5f * (a * t + t);
    vf u = vf_select(t < 0, -t, t);
    u = vf_min(u, vf_all(4));
    vf q = ((6.07114669e-06f * u - 5.92629252e-05f) * u + 1.94805356e-05f) * u + 0.00274120049f;
    q = (((q * u - 0.0223714779f) * u + 0.104978759f) * u + 0.635769813f) * u + 0.128520928f;
    vf tail = 0.5f * vf_exp(-(q * u + u));
    return vf_select(s < 1, inner, vf_select(t < 0, tail, 1 - tail));
}

#endif
