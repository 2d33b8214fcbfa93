/* CLIP. Pre-norm blocks in both halves; the text half is causal. Parameters live in the scopes `vision` and
 * `text`. */
#include "encoders/clip.h"

#include "layers/block.h"

/* x + attention(norm(x)), then x + mlp(norm(x)) */
static sn_tensor block(sn_graph *g, sn_tensor x, int64_t layer, const sn_attention_attributes *attention,
                       const sn_attention_inputs *in, int64_t intermediate_size, sn_unary activation, float eps) {
    int32_t scope = sn_scope_enter(g, "layers.%lld", (long long)layer);
    x = sn_add(g, x, sn_self_attention(g, sn_layer_norm(g, "attention_norm", x, eps), attention, in, true));
    x = sn_add(g, x, sn_mlp(g, sn_layer_norm(g, "mlp_norm", x, eps), intermediate_size, activation));
    sn_scope_leave(g, scope);
    return x;
}

static sn_attention_attributes attention_of(int64_t hidden_size, int64_t num_heads) {
    int64_t head_dim = num_heads > 0 ? hidden_size / num_heads : 0;
    float scale = head_dim > 0 ? 1 / __builtin_sqrtf((float)head_dim) : 0;
    return (sn_attention_attributes){.num_heads = num_heads, .num_kv_heads = num_heads, .head_dim = head_dim, .scale = scale, .cache_layer = -1};
}

sn_tensor sn_clip_vision_hidden(sn_graph *g, const sn_clip_vision_config *c, sn_tensor pixels, int64_t layer) {
    if (layer < 0) layer += c->num_layers + 1;
    if (layer < 0 || layer > c->num_layers)
        return sn_graph_fail(g, "hidden state %lld of %lld layers", (long long)layer, (long long)c->num_layers);
    int64_t hidden = c->hidden_size, patches = sn_clip_patches(c), batch = sn_dim(g, pixels, 0);
    int32_t scope = sn_scope_enter(g, "vision");
    sn_tensor kernel = sn_param(g, "patch.weight", SN_SHAPE(hidden, 3, c->patch_size, c->patch_size), SN_INIT_NORMAL);
    sn_tensor x = sn_linear(g, sn_unfold(g, pixels, c->patch_size), kernel, SN_NONE);
    /* the class token stands first; a picture's row is 1 + patches tokens */
    sn_tensor table = sn_param(g, "position.weight", SN_SHAPE(1 + patches, hidden), SN_INIT_NORMAL);
    sn_tensor class_token = sn_reshape(g, sn_param(g, "class", SN_SHAPE(hidden), SN_INIT_NORMAL), SN_SHAPE(1, 1, hidden));
    sn_tensor classes = class_token;
    for (int64_t i = 1; i < batch; i++) classes = sn_concat(g, classes, class_token, 0);
    x = sn_add(g, sn_concat(g, classes, x, 1), table);
    x = sn_layer_norm(g, "pre_norm", x, c->layer_norm_eps);
    sn_name(g, x, "vision.hidden.0");
    sn_attention_attributes attention = attention_of(hidden, c->num_heads);
    attention.row_length = 1 + patches;
    for (int64_t l = 0; l < layer; l++) {
        x = block(g, x, l, &attention, &(sn_attention_inputs){0}, c->intermediate_size, c->activation, c->layer_norm_eps);
        sn_name(g, x, "vision.hidden.%lld", (long long)l + 1);
    }
    sn_scope_leave(g, scope);
    return x;
}

sn_tensor sn_clip_vision_pooled(sn_graph *g, const sn_clip_vision_config *c, sn_tensor hidden) {
    int32_t scope = sn_scope_enter(g, "vision");
    sn_tensor first = sn_reshape(g, sn_slice(g, hidden, 1, 0, 1), SN_SHAPE(sn_dim(g, hidden, 0), c->hidden_size));
    sn_tensor pooled = sn_layer_norm(g, "post_norm", first, c->layer_norm_eps);
    sn_scope_leave(g, scope);
    return pooled;
}

sn_tensor sn_clip_vision_projection(sn_graph *g, const sn_clip_vision_config *c, sn_tensor pooled) {
    int32_t scope = sn_scope_enter(g, "vision");
    sn_tensor y = sn_linear_layer(g, "projection", pooled, c->projection_dim, false);
    sn_scope_leave(g, scope);
    return y;
}

sn_tensor sn_clip_text_embedding(sn_graph *g, const sn_clip_text_config *c, sn_tensor ids, sn_tensor positions,
                                 sn_tensor row_starts, sn_tensor pooled_at) {
    int32_t scope = sn_scope_enter(g, "text");
    sn_tensor tokens = sn_param(g, "token.weight", SN_SHAPE(c->vocab_size, c->hidden_size), SN_INIT_NORMAL);
    sn_tensor table = sn_param(g, "position.weight", SN_SHAPE(c->max_positions, c->hidden_size), SN_INIT_NORMAL);
    sn_tensor x = sn_add(g, sn_gather_rows(g, tokens, ids), sn_gather_rows(g, table, positions));
    sn_attention_attributes attention = attention_of(c->hidden_size, c->num_heads);
    attention.mask = SN_MASK_CAUSAL;
    sn_attention_inputs in = {.row_starts = row_starts};
    for (int64_t l = 0; l < c->num_layers; l++)
        x = block(g, x, l, &attention, &in, c->intermediate_size, c->activation, c->layer_norm_eps);
    x = sn_layer_norm(g, "final_norm", x, c->layer_norm_eps);
    sn_tensor y = sn_linear_layer(g, "projection", sn_gather_rows(g, x, pooled_at), c->projection_dim, false);
    sn_scope_leave(g, scope);
    return y;
}
