/* Block types of quantized weights: the bytes that GGUF files hold.
 *
 * 32 values share one scale (q4_0, q5_0, q8_0) or a scale and a minimum (q4_1, q5_1); in the K types 256 values
 * share f16 scales, refined by six-bit or eight-bit ones for each 16 or 32 of them. The conversions take n, a
 * multiple of the block. Products are made in float32, scale first. Nothing needs to be aligned. */
#ifndef SN_TENSOR_BLOCKS_H
#define SN_TENSOR_BLOCKS_H

#include <stdint.h>

void sn_q4_0_to_float(const void *from, float *to, int64_t n);
void sn_q4_1_to_float(const void *from, float *to, int64_t n);
void sn_q5_0_to_float(const void *from, float *to, int64_t n);
void sn_q5_1_to_float(const void *from, float *to, int64_t n);
void sn_q8_0_to_float(const void *from, float *to, int64_t n);
void sn_q4_k_to_float(const void *from, float *to, int64_t n);
void sn_q5_k_to_float(const void *from, float *to, int64_t n);
void sn_q6_k_to_float(const void *from, float *to, int64_t n);

/* Same bytes as the published quantizers. */
void sn_q8_0_from_float(const float *from, void *to, int64_t n);
void sn_q4_0_from_float(const float *from, void *to, int64_t n);

#endif
