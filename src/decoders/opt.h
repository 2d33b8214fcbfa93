/* OPT (Zhang et al., arXiv 2205.01068), every published size: 350m differs in the place of its norms and in projections
 * around narrower token embeddings. */
#ifndef SN_DECODERS_OPT_H
#define SN_DECODERS_OPT_H

#include "decoders/lm.h"

typedef struct sn_opt_config {
    int64_t hidden_size, embed_size; /* width of the blocks; of the token table (350m: 1024 and 512) */
    int64_t intermediate_size, num_layers, num_heads;
    int64_t vocab_size, max_positions;
    sn_unary activation;
    bool norm_before; /* false (350m): each norm stands behind its residual sum, and there is none at the end */
    bool final_norm;
} sn_opt_config;

/* The language model of that configuration, which must live as long. Parameters in the scope `decoder`; the head is the
 * token table. Position i takes row i + 2 of the published position table. */
sn_lm sn_opt(const sn_opt_config *config);

#endif
