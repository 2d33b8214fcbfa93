/* Reading and writing of quantized blocks, byte by byte, so that alignment and padding play no part. */
#include "tensor/blocks.h"

#include "tensor/type.h"

#include <math.h>
#include <string.h>

static float half_at(const uint8_t *p) { return sn_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

static void put_half(uint8_t *p, float value) {
    uint16_t half = sn_f32_to_f16(value);
    p[0] = (uint8_t)half, p[1] = (uint8_t)(half >> 8);
}

/* ---- 32 values: d, perhaps m, perhaps the fifth bits, nibbles (value j low, value j + 16 high) ---- */

static void nibbles_to_float(const uint8_t *from, float *to, int64_t n, bool has_min, bool has_fifth) {
    int offset = has_min ? 0 : has_fifth ? 16 : 8;
    for (int64_t i = 0; i < n; i += 32, to += 32) {
        float d = half_at(from), m = 0;
        from += 2;
        if (has_min) m = half_at(from), from += 2;
        uint32_t fifth = 0;
        if (has_fifth) {
            fifth = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
            from += 4;
        }
        for (int j = 0; j < 16; j++) {
            int low = (from[j] & 15) | (int)(fifth >> j & 1) << 4, high = from[j] >> 4 | (int)(fifth >> (j + 16) & 1) << 4;
            to[j] = d * (float)(low - offset) + m;
            to[j + 16] = d * (float)(high - offset) + m;
        }
        from += 16;
    }
}

void sn_q4_0_to_float(const void *from, float *to, int64_t n) { nibbles_to_float(from, to, n, false, false); }
void sn_q4_1_to_float(const void *from, float *to, int64_t n) { nibbles_to_float(from, to, n, true, false); }
void sn_q5_0_to_float(const void *from, float *to, int64_t n) { nibbles_to_float(from, to, n, false, true); }
void sn_q5_1_to_float(const void *from, float *to, int64_t n) { nibbles_to_float(from, to, n, true, true); }

void sn_q8_0_to_float(const void *from, float *to, int64_t n) {
    const uint8_t *p = from;
    for (int64_t i = 0; i < n; i += 32, p += 34) {
        float d = half_at(p);
        for (int j = 0; j < 32; j++) to[i + j] = d * (float)(int8_t)p[2 + j];
    }
}

/* q from the float scale, not from the rounded one that is stored. */
void sn_q8_0_from_float(const float *from, void *to, int64_t n) {
    uint8_t *p = to;
    for (int64_t i = 0; i < n; i += 32, p += 34) {
        float largest = 0;
        for (int j = 0; j < 32; j++) largest = fmaxf(largest, fabsf(from[i + j]));
        float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
        put_half(p, d);
        for (int j = 0; j < 32; j++) p[2 + j] = (uint8_t)(int8_t)roundf(fminf(fmaxf(from[i + j] * inverse, -127), 127));
    }
}

static int nibble_of(float scaled) { return (int)fmaxf(0, fminf(15, scaled + 8.5f)); }

/* The value of largest magnitude becomes exactly -8 d. */
void sn_q4_0_from_float(const float *from, void *to, int64_t n) {
    uint8_t *p = to;
    for (int64_t i = 0; i < n; i += 32, p += 18) {
        float extreme = 0;
        for (int j = 0; j < 32; j++)
            if (fabsf(from[i + j]) > fabsf(extreme)) extreme = from[i + j];
        float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
        put_half(p, d);
        for (int j = 0; j < 16; j++) {
            int low = nibble_of(from[i + j] * inverse), high = nibble_of(from[i + j + 16] * inverse);
            p[2 + j] = (uint8_t)(low | high << 4);
        }
    }
}

/* ---- 256 values ---- */

/* Twelve bytes hold eight six-bit scales and eight six-bit minima. */
static void k_scales(const uint8_t *s, uint8_t scale[8], uint8_t minimum[8]) {
    for (int i = 0; i < 4; i++) {
        scale[i] = s[i] & 63, minimum[i] = s[i + 4] & 63;
        scale[i + 4] = (uint8_t)((s[i + 8] & 15) | (s[i] >> 6) << 4);
        minimum[i + 4] = (uint8_t)(s[i + 8] >> 4 | (s[i + 4] >> 6) << 4);
    }
}

static void k45_to_float(const uint8_t *from, float *to, int64_t n, bool has_fifth) {
    for (int64_t block = 0; block < n; block += 256) {
        float d = half_at(from), dmin = half_at(from + 2);
        uint8_t scale[8], minimum[8];
        k_scales(from + 4, scale, minimum);
        const uint8_t *fifth = from + 16, *q = from + (has_fifth ? 48 : 16);
        for (int i = 0; i < 8; i++) {
            float a = d * (float)scale[i], b = dmin * (float)minimum[i];
            for (int l = 0; l < 32; l++) {
                int value = q[32 * (i / 2) + l] >> 4 * (i % 2) & 15;
                if (has_fifth) value |= (fifth[l] >> i & 1) << 4;
                *to++ = a * (float)value - b;
            }
        }
        from = q + 128;
    }
}

void sn_q4_k_to_float(const void *from, float *to, int64_t n) { k45_to_float(from, to, n, false); }
void sn_q5_k_to_float(const void *from, float *to, int64_t n) { k45_to_float(from, to, n, true); }

void sn_q6_k_to_float(const void *from, float *to, int64_t n) {
    const uint8_t *p = from;
    for (int64_t block = 0; block < n; block += 256, p += 210) {
        const uint8_t *low = p, *high = p + 128;
        const int8_t *scale = (const int8_t *)p + 192;
        float d = half_at(p + 208);
        for (int i = 0; i < 256; i++) { /* i = 128 a + 32 b + l */
            int a = i >> 7, b = i >> 5 & 3, l = i & 31;
            int value = (low[64 * a + 32 * (b & 1) + l] >> (b < 2 ? 0 : 4) & 15) | (high[32 * a + l] >> 2 * b & 3) << 4;
            *to++ = d * (float)scale[i / 16] * (float)(value - 32);
        }
    }
}
