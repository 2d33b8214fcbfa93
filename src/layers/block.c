/* Linear layers, norms, self-attention and feed-forward blocks as compositions of operators. */
#include "layers/block.h"

#include <stdio.h>

static int64_t width(const sn_graph *g, sn_tensor x) {
    return x == SN_NONE ? 0 : sn_dim(g, x, sn_at(g, x)->shape.rank - 1);
}

static sn_tensor named(sn_graph *g, const char *name, const char *kind, sn_shape shape, sn_init init) {
    char path[96];
    snprintf(path, sizeof path, "%s.%s", name, kind);
    return sn_param(g, path, shape, init);
}

sn_tensor sn_linear_layer(sn_graph *g, const char *name, sn_tensor x, int64_t out, bool bias) {
    sn_tensor weight = named(g, name, "weight", SN_SHAPE(out, width(g, x)), SN_INIT_UNIFORM);
    return sn_linear(g, x, weight, bias ? named(g, name, "bias", SN_SHAPE(out), SN_INIT_ZERO) : SN_NONE);
}

sn_tensor sn_layer_norm(sn_graph *g, const char *name, sn_tensor x, float eps) {
    sn_tensor weight = named(g, name, "weight", SN_SHAPE(width(g, x)), SN_INIT_ONE);
    return sn_norm_op(g, SN_NORM_LAYER, x, weight, named(g, name, "bias", SN_SHAPE(width(g, x)), SN_INIT_ZERO), eps);
}

sn_tensor sn_rms_norm(sn_graph *g, const char *name, sn_tensor x, float eps) {
    return sn_norm_op(g, SN_NORM_RMS, x, named(g, name, "weight", SN_SHAPE(width(g, x)), SN_INIT_ONE), SN_NONE, eps);
}

sn_tensor sn_self_attention(sn_graph *g, sn_tensor x, const sn_attention_attributes *a, const sn_attention_inputs *in,
                            bool bias) {
    int32_t scope = sn_scope_enter(g, "attention");
    sn_attention_inputs all = *in;
    all.q = sn_linear_layer(g, "q", x, a->num_heads * a->head_dim, bias);
    all.k = sn_linear_layer(g, "k", x, a->num_kv_heads * a->head_dim, bias);
    all.v = sn_linear_layer(g, "v", x, a->num_kv_heads * a->head_dim, bias);
    sn_tensor y = sn_linear_layer(g, "out", sn_attention(g, &all, a), width(g, x), bias);
    sn_scope_leave(g, scope);
    return y;
}

sn_tensor sn_mlp(sn_graph *g, sn_tensor x, int64_t intermediate_size, sn_unary activation) {
    int32_t scope = sn_scope_enter(g, "mlp");
    sn_tensor h = sn_unary_op(g, activation, sn_linear_layer(g, "up", x, intermediate_size, true));
    sn_tensor y = sn_linear_layer(g, "down", h, width(g, x), true);
    sn_scope_leave(g, scope);
    return y;
}

sn_tensor sn_gated_mlp(sn_graph *g, sn_tensor x, int64_t intermediate_size, sn_unary activation) {
    int32_t scope = sn_scope_enter(g, "mlp");
    sn_tensor gate = sn_linear_layer(g, "gate", x, intermediate_size, false);
    sn_tensor up = sn_linear_layer(g, "up", x, intermediate_size, false);
    sn_tensor y = sn_linear_layer(g, "down", sn_gated(g, activation, gate, up), width(g, x), false);
    sn_scope_leave(g, scope);
    return y;
}
