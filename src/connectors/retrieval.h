/* A picture and a place in a text as vectors of one space (Koh et al., arXiv 2301.13823 section 3.2): W_i of the pooled
 * picture, the sum of W_t of chosen hidden states; similarity is exp(s) times the cosine. */
#ifndef SN_CONNECTORS_RETRIEVAL_H
#define SN_CONNECTORS_RETRIEVAL_H

#include "tensor/graph.h"

enum { SN_MAX_QUERY_LAYERS = 16 };

typedef struct sn_retrieval_config {
    int64_t size;       /* of the shared space */
    bool text_identity; /* no W_t: hidden states are summed as they are */
    int num_layers;
    int64_t layer[SN_MAX_QUERY_LAYERS]; /* hidden states by number: 0 enters the first layer; the language model's depth is the last */
} sn_retrieval_config;

/* pooled [pictures, n] → [pictures, size], not normalised. Parameters retrieval.image.weight/.bias. */
sn_tensor sn_retrieval_key(sn_graph *g, const sn_retrieval_config *c, sn_tensor pooled);

/* hidden[l] [tokens, n] entered layer l of `depth`, last [tokens, n] came out → [tokens, size] of length 1. Parameters
 * retrieval.text.{j}.weight/.bias. */
sn_tensor sn_retrieval_query(sn_graph *g, const sn_retrieval_config *c, const sn_tensor *hidden, int64_t depth, sn_tensor last);

/* s, a scalar: retrieval.logit_scale. */
sn_tensor sn_retrieval_scale(sn_graph *g);

#endif
