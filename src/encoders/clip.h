/* CLIP's two halves (Radford et al., arXiv 2103.00020): a vision transformer and a text transformer. */
#ifndef SN_ENCODERS_CLIP_H
#define SN_ENCODERS_CLIP_H

#include "tensor/graph.h"

typedef struct sn_clip_vision_config {
    int64_t hidden_size, intermediate_size, num_layers, num_heads;
    int64_t image_size, patch_size, projection_dim;
    sn_unary activation;
    float layer_norm_eps;
} sn_clip_vision_config;

typedef struct sn_clip_text_config {
    int64_t hidden_size, intermediate_size, num_layers, num_heads;
    int64_t vocab_size, max_positions, projection_dim;
    sn_unary activation;
    float layer_norm_eps;
} sn_clip_text_config;

/* Patches of a picture, without the class token. */
static inline int64_t sn_clip_patches(const sn_clip_vision_config *c) {
    return (c->image_size / c->patch_size) * (c->image_size / c->patch_size);
}

/* Hidden state number `layer` (0 = after pre_layrnorm, num_layers = last; negative counts from the end, as in
 * hidden_states[-2]); later layers are not built.
 *   pixels [batch, 3, size, size] → [batch, 1 + patches, hidden]; names vision.hidden.{i}. */
sn_tensor sn_clip_vision_hidden(sn_graph *g, const sn_clip_vision_config *c, sn_tensor pixels, int64_t layer);

/* Pooled output: the class token of the last hidden state [batch, 1 + patches, hidden] after post_layernorm
 * → [batch, hidden], and its projection → [batch, projection_dim]. */
sn_tensor sn_clip_vision_pooled(sn_graph *g, const sn_clip_vision_config *c, sn_tensor hidden);
sn_tensor sn_clip_vision_projection(sn_graph *g, const sn_clip_vision_config *c, sn_tensor pooled);

/* Packed texts: ids i32 [tokens], positions i32 [tokens], row_starts i32 [texts + 1]; pooled_at i32 [texts] =
 * place of each text's end token → [texts, projection_dim]. */
sn_tensor sn_clip_text_embedding(sn_graph *g, const sn_clip_text_config *c, sn_tensor ids, sn_tensor positions,
                                 sn_tensor row_starts, sn_tensor pooled_at);

#endif
