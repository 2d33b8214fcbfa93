/* LLaMA: x = x + attention(norm(x)); x = x + swiglu(norm(x)); RMS norms, rotary positions, grouped queries. */
#include "decoders/llama.h"

#include "layers/block.h"

#include <math.h>

static sn_tensor token_table(sn_graph *g, const sn_llama_config *c) {
    int32_t scope = sn_scope_enter(g, "decoder");
    sn_tensor table = sn_param(g, "embed.weight", SN_SHAPE(c->vocab_size, c->hidden_size), SN_INIT_NORMAL);
    sn_scope_leave(g, scope);
    return table;
}

static sn_tensor embed(sn_graph *g, const void *config, sn_tensor ids) {
    return sn_gather_rows(g, token_table(g, config), ids);
}

static sn_tensor head(sn_graph *g, const void *config) {
    const sn_llama_config *c = config;
    if (c->tied_head) return token_table(g, c);
    int32_t scope = sn_scope_enter(g, "decoder");
    sn_tensor weight = sn_param(g, "head.weight", SN_SHAPE(c->vocab_size, c->hidden_size), SN_INIT_NORMAL);
    sn_scope_leave(g, scope);
    return weight;
}

static sn_tensor forward(sn_graph *g, const void *config, sn_tensor x, const sn_lm_inputs *in) {
    const sn_llama_config *c = config;
    sn_attention_attributes attention = {
        .num_heads = c->num_heads, .num_kv_heads = c->num_kv_heads, .head_dim = c->head_dim,
        .scale = 1 / sqrtf((float)c->head_dim), .mask = SN_MASK_CAUSAL,
        .rotary = c->rotary, .rope_theta = c->rope_theta, .rope_scale = c->rope_scale,
    };
    sn_attention_inputs inputs = {.positions = in->positions, .row_starts = in->row_starts,
                                  .page_table = in->page_table, .lengths = in->lengths};
    int32_t outer = sn_scope_enter(g, "decoder");
    for (int64_t l = 0; l < c->num_layers; l++) {
        if (in->hidden) in->hidden[l] = x;
        int32_t scope = sn_scope_enter(g, "layers.%lld", (long long)l);
        attention.cache_layer = in->page_table == SN_NONE ? -1 : (int)l;
        x = sn_add(g, x, sn_self_attention(g, sn_rms_norm(g, "attention_norm", x, c->rms_norm_eps), &attention, &inputs, false));
        x = sn_add(g, x, sn_gated_mlp(g, sn_rms_norm(g, "mlp_norm", x, c->rms_norm_eps), c->intermediate_size, SN_UNARY_SILU));
        sn_scope_leave(g, scope);
        sn_name(g, x, "lm.hidden.%lld", (long long)l + 1);
    }
    x = sn_rms_norm(g, "norm", x, c->rms_norm_eps);
    sn_scope_leave(g, outer);
    return x;
}

sn_lm sn_llama(const sn_llama_config *c) {
    return (sn_lm){.hidden_size = c->hidden_size, .vocab_size = c->vocab_size, .num_layers = c->num_layers,
                   .num_kv_heads = c->num_kv_heads, .head_dim = c->head_dim, .max_positions = c->max_positions,
                   .config = c, .embed = embed, .forward = forward, .head = head};
}
