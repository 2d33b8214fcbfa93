/* Configuration keys and published names of OPT. */
#include "decoders/opt_files.h"

#include <string.h>

const sn_name_rule sn_opt_names_hf[] = {
    {"embed.weight", "embed_tokens.weight", 0, SN_SOME_ROWS, 0, 0}, /* a system may use fewer than the 50272 */
    {"position.weight", "embed_positions.weight", 2, SN_SOME_ROWS, 0, 0}, /* rows 0 and 1 were fairseq's pads */
    {"project_in.weight", "project_in.weight", 0, 0, 0, 0},
    {"project_out.weight", "project_out.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.q.weight", "layers.{l}.self_attn.q_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.q.bias", "layers.{l}.self_attn.q_proj.bias", 0, 0, 0, 0},
    {"layers.{l}.attention.k.weight", "layers.{l}.self_attn.k_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.k.bias", "layers.{l}.self_attn.k_proj.bias", 0, 0, 0, 0},
    {"layers.{l}.attention.v.weight", "layers.{l}.self_attn.v_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.v.bias", "layers.{l}.self_attn.v_proj.bias", 0, 0, 0, 0},
    {"layers.{l}.attention.out.weight", "layers.{l}.self_attn.out_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.out.bias", "layers.{l}.self_attn.out_proj.bias", 0, 0, 0, 0},
    {"layers.{l}.mlp.up.weight", "layers.{l}.fc1.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.up.bias", "layers.{l}.fc1.bias", 0, 0, 0, 0},
    {"layers.{l}.mlp.down.weight", "layers.{l}.fc2.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.down.bias", "layers.{l}.fc2.bias", 0, 0, 0, 0},
    {"layers.{l}.attention_norm.weight", "layers.{l}.self_attn_layer_norm.weight", 0, 0, 0, 0},
    {"layers.{l}.attention_norm.bias", "layers.{l}.self_attn_layer_norm.bias", 0, 0, 0, 0},
    {"layers.{l}.mlp_norm.weight", "layers.{l}.final_layer_norm.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp_norm.bias", "layers.{l}.final_layer_norm.bias", 0, 0, 0, 0},
    {"norm.weight", "final_layer_norm.weight", 0, 0, 0, 0},
    {"norm.bias", "final_layer_norm.bias", 0, 0, 0, 0},
    {0},
};

const sn_name_rule sn_opt_head_hf[] = {{NULL, "lm_head.weight", 0, 0, 0, 0}, {0}};

static const sn_config_field fields[] = {
    SN_CONFIG_SIZE(sn_opt_config, hidden_size, "hidden_size", 768),
    {"word_embed_proj_dim", offsetof(sn_opt_config, embed_size), false, false, 0, 1, SN_CONFIG_MAX},
    SN_CONFIG_SIZE(sn_opt_config, intermediate_size, "ffn_dim", 3072),
    SN_CONFIG_DEPTH(sn_opt_config, num_layers, "num_hidden_layers", 12),
    SN_CONFIG_SIZE(sn_opt_config, num_heads, "num_attention_heads", 12),
    SN_CONFIG_SIZE(sn_opt_config, vocab_size, "vocab_size", 50272),
    SN_CONFIG_SIZE(sn_opt_config, max_positions, "max_position_embeddings", 2048),
    {0},
};

sn_status sn_opt_config_hf(const char *where, const json_t *object, sn_opt_config *c, sn_error *error) {
    *c = (sn_opt_config){0};
    const char *model = sn_json_string(object, "model_type"), *activation = sn_json_string(object, "activation_function");
    if (model && strcmp(model, "opt") != 0) return sn_fail(error, SN_ERROR_SUPPORT, "%s: model_type: found %s, expected opt", where, model);
    sn_status status = sn_config_read(where, object, fields, c, error);
    if (status) return status;
    if (c->embed_size == 0) c->embed_size = c->hidden_size;
    if (c->hidden_size % c->num_heads)
        return sn_fail(error, SN_ERROR_INPUT, "%s: num_attention_heads: %lld heads over a hidden size of %lld do not fit", where, (long long)c->num_heads, (long long)c->hidden_size);
    if (activation && strcmp(activation, "relu") != 0 && strcmp(activation, "gelu") != 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: activation_function: found %s, expected relu or gelu", where, activation);
    if (!sn_json_bool(object, "enable_bias", true) || !sn_json_bool(object, "layer_norm_elementwise_affine", true) || !sn_json_bool(object, "tie_word_embeddings", true))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: enable_bias, layer_norm_elementwise_affine or tie_word_embeddings: found false, expected true", where);
    c->activation = activation && strcmp(activation, "gelu") == 0 ? SN_UNARY_GELU : SN_UNARY_RELU;
    c->norm_before = sn_json_bool(object, "do_layer_norm_before", true);
    c->final_norm = c->norm_before && !sn_json_bool(object, "_remove_final_layer_norm", false);
    return SN_OK;
}
