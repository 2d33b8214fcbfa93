/* The table of types and the exact conversions. */
#include "tensor/type.h"

#include "tensor/blocks.h"

#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float sn_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f; /* zero and subnormals are exact multiples of 2^-24 */
    return from_bits(sign | bits_of(magnitude));
}

uint16_t sn_f32_to_f16(float value) {
    uint32_t x = bits_of(value), sign = x >> 16 & 0x8000, magnitude = x & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff)); /* NaN */
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                             /* from 65520 on */
    if (magnitude < 0x38800000) { /* below 2^-14: subnormal; adding 0.5 lets the FPU round to 2^-24 */
        float shifted = from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - bits_of(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

float sn_bf16_to_f32(uint16_t value) { return from_bits((uint32_t)value << 16); }

uint16_t sn_f32_to_bf16(float value) {
    uint32_t x = bits_of(value);
    if ((x & 0x7fffffff) > 0x7f800000) return (uint16_t)(x >> 16 | 0x40);
    return (uint16_t)((x + 0x7fff + (x >> 16 & 1)) >> 16);
}

#define CONVERSIONS(name, ctype, to, from)                                        \
    static void name##_to_float(const void *source, float *target, int64_t n) {  \
        for (int64_t i = 0; i < n; i++) {                                         \
            ctype v;                                                              \
            memcpy(&v, (const char *)source + i * (int64_t)sizeof v, sizeof v);   \
            target[i] = to(v);                                                    \
        }                                                                         \
    }                                                                             \
    static void name##_from_float(const float *source, void *target, int64_t n) { \
        for (int64_t i = 0; i < n; i++) {                                         \
            ctype v = from(source[i]);                                            \
            memcpy((char *)target + i * (int64_t)sizeof v, &v, sizeof v);         \
        }                                                                         \
    }

CONVERSIONS(f32, float, (float), (float))
CONVERSIONS(f64, double, (float), (double))
CONVERSIONS(f16, uint16_t, sn_f16_to_f32, sn_f32_to_f16)
CONVERSIONS(bf16, uint16_t, sn_bf16_to_f32, sn_f32_to_bf16)

static const sn_type_traits traits[SN_TYPE_COUNT] = {
    [SN_TYPE_F32] = {"f32", "F32", 1, 4, true, f32_to_float, f32_from_float},
    [SN_TYPE_F64] = {"f64", "F64", 1, 8, true, f64_to_float, f64_from_float},
    [SN_TYPE_F16] = {"f16", "F16", 1, 2, true, f16_to_float, f16_from_float},
    [SN_TYPE_BF16] = {"bf16", "BF16", 1, 2, true, bf16_to_float, bf16_from_float},
    [SN_TYPE_Q8_0] = {"q8_0", NULL, 32, 34, true, sn_q8_0_to_float, sn_q8_0_from_float},
    [SN_TYPE_Q4_0] = {"q4_0", NULL, 32, 18, true, sn_q4_0_to_float, sn_q4_0_from_float},
    [SN_TYPE_Q4_1] = {"q4_1", NULL, 32, 20, true, sn_q4_1_to_float},
    [SN_TYPE_Q5_0] = {"q5_0", NULL, 32, 22, true, sn_q5_0_to_float},
    [SN_TYPE_Q5_1] = {"q5_1", NULL, 32, 24, true, sn_q5_1_to_float},
    [SN_TYPE_Q4_K] = {"q4_k", NULL, 256, 144, true, sn_q4_k_to_float},
    [SN_TYPE_Q5_K] = {"q5_k", NULL, 256, 176, true, sn_q5_k_to_float},
    [SN_TYPE_Q6_K] = {"q6_k", NULL, 256, 210, true, sn_q6_k_to_float},
    [SN_TYPE_I64] = {"i64", "I64", 1, 8},
    [SN_TYPE_I32] = {"i32", "I32", 1, 4},
    [SN_TYPE_I16] = {"i16", "I16", 1, 2},
    [SN_TYPE_I8] = {"i8", "I8", 1, 1},
    [SN_TYPE_U8] = {"u8", "U8", 1, 1},
    [SN_TYPE_U16] = {"u16", "U16", 1, 2},
    [SN_TYPE_U32] = {"u32", "U32", 1, 4},
    [SN_TYPE_U64] = {"u64", "U64", 1, 8},
    [SN_TYPE_BOOL] = {"bool", "BOOL", 1, 1},
    [SN_TYPE_F8_E4M3] = {"f8_e4m3", "F8_E4M3", 1, 1},
    [SN_TYPE_F8_E5M2] = {"f8_e5m2", "F8_E5M2", 1, 1},
};

const sn_type_traits *sn_type_of(sn_type type) { return &traits[type]; }

bool sn_type_bytes(sn_type type, int64_t n, int64_t *bytes) {
    const sn_type_traits *t = &traits[type];
    return n >= 0 && n % t->block == 0 && !__builtin_mul_overflow(n / t->block, (int64_t)t->bytes, bytes);
}

sn_type sn_type_by_name(const char *name) {
    int i = 0;
    while (i < SN_TYPE_COUNT && strcmp(traits[i].name, name) != 0) i++;
    return (sn_type)i;
}
