/* OPT: learned positions, biases everywhere, ReLU between two linears, layer norms in front of each half of a block
 * (350m: behind it), logits from the token table itself. */
#include "decoders/opt.h"

#include "layers/block.h"

static const float EPS = 1e-5f; /* nn.LayerNorm's own; the configuration does not name it */

static sn_tensor token_table(sn_graph *g, const void *config) {
    const sn_opt_config *c = config;
    int32_t scope = sn_scope_enter(g, "decoder");
    sn_tensor table = sn_param(g, "embed.weight", SN_SHAPE(c->vocab_size, c->embed_size), SN_INIT_NORMAL);
    sn_scope_leave(g, scope);
    return table;
}

static sn_tensor embed(sn_graph *g, const void *config, sn_tensor ids) { return sn_gather_rows(g, token_table(g, config), ids); }

/* x = x + f(norm(x)), or norm(x + f(x)) */
static sn_tensor residual(sn_graph *g, const sn_opt_config *c, const char *norm, sn_tensor x, const sn_attention_attributes *attention, const sn_attention_inputs *in) {
    sn_tensor y = c->norm_before ? sn_layer_norm(g, norm, x, EPS) : x;
    y = attention ? sn_self_attention(g, y, attention, in, true) : sn_mlp(g, y, c->intermediate_size, c->activation);
    x = sn_add(g, x, y);
    return c->norm_before ? x : sn_layer_norm(g, norm, x, EPS);
}

static sn_tensor forward(sn_graph *g, const void *config, sn_tensor x, const sn_lm_inputs *in) {
    const sn_opt_config *c = config;
    int64_t head_dim = c->hidden_size / c->num_heads;
    sn_attention_attributes attention = {.num_heads = c->num_heads, .num_kv_heads = c->num_heads, .head_dim = head_dim, .scale = 1 / __builtin_sqrtf((float)head_dim),
                                         .mask = SN_MASK_CAUSAL};
    sn_attention_inputs inputs = {.row_starts = in->row_starts, .page_table = in->page_table, .lengths = in->lengths};
    int32_t outer = sn_scope_enter(g, "decoder");
    if (c->embed_size != c->hidden_size) x = sn_linear_layer(g, "project_in", x, c->hidden_size, false);
    x = sn_add(g, x, sn_gather_rows(g, sn_param(g, "position.weight", SN_SHAPE(c->max_positions, c->hidden_size), SN_INIT_NORMAL), in->positions));
    for (int64_t l = 0; l < c->num_layers; l++) {
        sn_name(g, x, "lm.hidden.%lld", (long long)l);
        if (in->hidden) in->hidden[l] = x;
        int32_t scope = sn_scope_enter(g, "layers.%lld", (long long)l);
        attention.cache_layer = in->page_table == SN_NONE ? -1 : (int)l;
        x = residual(g, c, "attention_norm", x, &attention, &inputs);
        x = residual(g, c, "mlp_norm", x, NULL, NULL);
        sn_scope_leave(g, scope);
    }
    if (c->final_norm) x = sn_layer_norm(g, "norm", x, EPS);
    if (c->embed_size != c->hidden_size) x = sn_linear_layer(g, "project_out", x, c->embed_size, false);
    sn_scope_leave(g, outer);
    return x;
}

sn_lm sn_opt(const sn_opt_config *c) {
    return (sn_lm){.hidden_size = c->embed_size, .vocab_size = c->vocab_size, .num_layers = c->num_layers, .num_kv_heads = c->num_heads,
                   .head_dim = c->num_heads ? c->hidden_size / c->num_heads : 0, .max_positions = c->max_positions, .config = c, .embed = embed, .forward = forward, .head = token_table};
}
