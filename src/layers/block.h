/* The vocabulary of transformer blocks, shared by encoders and decoders. Each function adds to a graph, takes
 * its parameters by canonical name in the current scope, and says its shapes. */
#ifndef SN_LAYERS_BLOCK_H
#define SN_LAYERS_BLOCK_H

#include "tensor/graph.h"

/* x [.., in] → [.., out]: parameters {name}.weight [out, in] and, with bias, {name}.bias [out]. */
sn_tensor sn_linear_layer(sn_graph *g, const char *name, sn_tensor x, int64_t out, bool bias);

/* Parameters {name}.weight and {name}.bias [n]. */
sn_tensor sn_layer_norm(sn_graph *g, const char *name, sn_tensor x, float eps);
/* Parameter {name}.weight [n]. */
sn_tensor sn_rms_norm(sn_graph *g, const char *name, sn_tensor x, float eps);

/* Self-attention: projections q, k, v (scope `attention`), attention, projection out. `in` holds all inputs but
 * q, k, v. x [.., hidden]. */
sn_tensor sn_self_attention(sn_graph *g, sn_tensor x, const sn_attention_attributes *attributes,
                            const sn_attention_inputs *in, bool bias);

/* up → activation → down, both with bias (scope `mlp`). */
sn_tensor sn_mlp(sn_graph *g, sn_tensor x, int64_t intermediate_size, sn_unary activation);
/* down(activation(gate) * up), without biases (scope `mlp`): SwiGLU with SiLU (Shazeer, arXiv 2002.05202). */
sn_tensor sn_gated_mlp(sn_graph *g, sn_tensor x, int64_t intermediate_size, sn_unary activation);

#endif
