/* LLaVA's connector (Liu et al., arXiv 2304.08485 section 4.1; 2310.03744 section 3.2): one linear layer, or an
 * MLP with exact GELU between its layers. */
#ifndef SN_CONNECTORS_PROJECTOR_H
#define SN_CONNECTORS_PROJECTOR_H

#include "tensor/graph.h"

typedef struct sn_projector_config {
    int64_t in, out;
    int depth; /* 0 = identity, 1 = linear, n = "mlp{n}x_gelu" */
    bool bias;
} sn_projector_config;

/* x [.., in] → [.., out]; parameters projector.{i}.weight/.bias, i = 0 .. depth - 1. */
sn_tensor sn_projector(sn_graph *g, const sn_projector_config *c, sn_tensor x);

#endif
