/* LLaMA (Touvron et al., arXiv 2302.13971 and 2307.09288); Vicuna has the same architecture. */
#ifndef SN_DECODERS_LLAMA_H
#define SN_DECODERS_LLAMA_H

#include "decoders/lm.h"

typedef struct sn_llama_config {
    int64_t hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads, head_dim;
    int64_t vocab_size, max_positions;
    float rms_norm_eps, rope_theta;
    float rope_scale;  /* positions times this: 1 / factor of linear rope scaling */
    sn_rotary rotary;  /* HALF in Hugging Face's row order, INTERLEAVED in Meta's */
    bool tied_head;
} sn_llama_config;

/* The language model of that configuration, which must live as long. Parameters in the scope `decoder`. */
sn_lm sn_llama(const sn_llama_config *config);

#endif
