/* Element types of tensors and of weight storage, as one table of traits. */
#ifndef SN_TENSOR_TYPE_H
#define SN_TENSOR_TYPE_H

#include "base/error.h"

typedef enum sn_type {
    SN_TYPE_F32,
    SN_TYPE_F64,
    SN_TYPE_F16,
    SN_TYPE_BF16,
    SN_TYPE_Q8_0,
    SN_TYPE_Q4_0,
    SN_TYPE_Q4_1,
    SN_TYPE_Q5_0,
    SN_TYPE_Q5_1,
    SN_TYPE_Q4_K,
    SN_TYPE_Q5_K,
    SN_TYPE_Q6_K,
    SN_TYPE_I64,
    SN_TYPE_I32,
    SN_TYPE_I16,
    SN_TYPE_I8,
    SN_TYPE_U8,
    SN_TYPE_U16,
    SN_TYPE_U32,
    SN_TYPE_U64,
    SN_TYPE_BOOL,
    SN_TYPE_F8_E4M3,
    SN_TYPE_F8_E5M2,
    SN_TYPE_COUNT,
} sn_type;

/* A type is stored in blocks of `block` values that take `bytes` bytes. The conversions take whole blocks:
 * n is a multiple of block. They are NULL where a type is never used as a weight; from_float also where a
 * type is only read. */
typedef struct sn_type_traits {
    const char *name;    /* as printed: "f32" */
    const char *safetensors; /* as safetensors files write it: "F32"; NULL where they cannot */
    int block, bytes;
    bool is_float;
    void (*to_float)(const void *from, float *to, int64_t n);
    void (*from_float)(const float *from, void *to, int64_t n);
} sn_type_traits;

const sn_type_traits *sn_type_of(sn_type type);

/* Bytes of n values (a multiple of the block); false on overflow or where the block does not divide n. */
bool sn_type_bytes(sn_type type, int64_t n, int64_t *bytes);

/* The type of that printed name, or SN_TYPE_COUNT. */
sn_type sn_type_by_name(const char *name);

float sn_f16_to_f32(uint16_t half);
uint16_t sn_f32_to_f16(float value);  /* nearest even; infinity from 65520 on */
float sn_bf16_to_f32(uint16_t value);
uint16_t sn_f32_to_bf16(float value); /* nearest even; NaN made quiet */

/* q8_0: 32 values share one f16 scale (GGUF block, 34 bytes). */
typedef struct sn_q8_0 {
    uint16_t scale;
    int8_t q[32];
} sn_q8_0;

#endif
