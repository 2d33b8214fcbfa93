/* Configuration keys and published names of LLaMA. */
#include "decoders/llama_files.h"

#include <string.h>

const sn_name_rule sn_llama_names_hf[] = {
    {"embed.weight", "embed_tokens.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.q.weight", "layers.{l}.self_attn.q_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.k.weight", "layers.{l}.self_attn.k_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.v.weight", "layers.{l}.self_attn.v_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.out.weight", "layers.{l}.self_attn.o_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.gate.weight", "layers.{l}.mlp.gate_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.up.weight", "layers.{l}.mlp.up_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.down.weight", "layers.{l}.mlp.down_proj.weight", 0, 0, 0, 0},
    {"layers.{l}.attention_norm.weight", "layers.{l}.input_layernorm.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp_norm.weight", "layers.{l}.post_attention_layernorm.weight", 0, 0, 0, 0},
    {"norm.weight", "norm.weight", 0, 0, 0, 0},
    {NULL, "layers.{l}.self_attn.rotary_emb.inv_freq", 0, 0, 0, 0},
    {0},
};

const sn_name_rule sn_llama_head_hf[] = {{"head.weight", "lm_head.weight", 0, 0, 0, 0}, {0}};

const sn_name_rule sn_llama_names_meta[] = {
    {"embed.weight", "tok_embeddings.weight", 0, 0, 0, SN_JOIN_COLUMNS},
    {"layers.{l}.attention.q.weight", "layers.{l}.attention.wq.weight", 0, 0, 0, SN_JOIN_ROWS},
    {"layers.{l}.attention.k.weight", "layers.{l}.attention.wk.weight", 0, 0, 0, SN_JOIN_ROWS},
    {"layers.{l}.attention.v.weight", "layers.{l}.attention.wv.weight", 0, 0, 0, SN_JOIN_ROWS},
    {"layers.{l}.attention.out.weight", "layers.{l}.attention.wo.weight", 0, 0, 0, SN_JOIN_COLUMNS},
    {"layers.{l}.mlp.gate.weight", "layers.{l}.feed_forward.w1.weight", 0, 0, 0, SN_JOIN_ROWS},
    {"layers.{l}.mlp.up.weight", "layers.{l}.feed_forward.w3.weight", 0, 0, 0, SN_JOIN_ROWS},
    {"layers.{l}.mlp.down.weight", "layers.{l}.feed_forward.w2.weight", 0, 0, 0, SN_JOIN_COLUMNS},
    {"layers.{l}.attention_norm.weight", "layers.{l}.attention_norm.weight", 0, 0, 0, SN_JOIN_FIRST},
    {"layers.{l}.mlp_norm.weight", "layers.{l}.ffn_norm.weight", 0, 0, 0, SN_JOIN_FIRST},
    {"norm.weight", "norm.weight", 0, 0, 0, SN_JOIN_FIRST},
    {"head.weight", "output.weight", 0, 0, 0, SN_JOIN_ROWS},
    {NULL, "rope.freqs", 0, 0, 0, 0},
    {0},
};

static const sn_config_field fields_hf[] = {
    SN_CONFIG_SIZE(sn_llama_config, hidden_size, "hidden_size", 4096),
    SN_CONFIG_SIZE(sn_llama_config, intermediate_size, "intermediate_size", 11008),
    SN_CONFIG_DEPTH(sn_llama_config, num_layers, "num_hidden_layers", 32),
    SN_CONFIG_SIZE(sn_llama_config, num_heads, "num_attention_heads", 32),
    {"num_key_value_heads", offsetof(sn_llama_config, num_kv_heads), false, false, 0, 1, SN_CONFIG_MAX},
    {"head_dim", offsetof(sn_llama_config, head_dim), false, false, 0, 1, SN_CONFIG_MAX},
    SN_CONFIG_SIZE(sn_llama_config, vocab_size, "vocab_size", 32000),
    SN_CONFIG_SIZE(sn_llama_config, max_positions, "max_position_embeddings", 2048),
    SN_CONFIG_REAL(sn_llama_config, rms_norm_eps, "rms_norm_eps", 1e-6, 0, 1),
    SN_CONFIG_REAL(sn_llama_config, rope_theta, "rope_theta", 10000, 1, 1e9),
    SN_CONFIG_REAL(sn_llama_config, rope_theta, "rope_parameters.rope_theta", 0, 1, 1e9),
    {0},
};

static sn_status check(const char *where, sn_llama_config *c, sn_error *error) {
    if (c->num_kv_heads == 0) c->num_kv_heads = c->num_heads;
    if (c->head_dim == 0) c->head_dim = c->hidden_size / c->num_heads;
    if (c->head_dim < 1 || c->head_dim % 2 || c->num_heads % c->num_kv_heads || c->head_dim * c->num_heads > SN_CONFIG_MAX)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %lld heads (%lld for keys) over a hidden size of %lld do not fit", where, (long long)c->num_heads,
                       (long long)c->num_kv_heads, (long long)c->hidden_size);
    return SN_OK;
}

sn_status sn_llama_config_hf(const char *where, const json_t *object, sn_llama_config *c, sn_error *error) {
    *c = (sn_llama_config){.rope_scale = 1, .rotary = SN_ROTARY_HALF};
    const char *model = sn_json_string(object, "model_type");
    if (model && strcmp(model, "llama") != 0 && strcmp(model, "llava") != 0 && strcmp(model, "llava_llama") != 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: model_type: found %s, expected llama", where, model);
    sn_status status = sn_config_read(where, object, fields_hf, c, error);
    if (status) return status;
    if (c->rope_theta == 0) { /* the newer place is absent: read the older one again */
        double theta = 10000;
        if ((status = sn_json_number(where, object, "rope_theta", 1, 1e9, &theta, error))) return status;
        c->rope_theta = (float)theta;
    }
    const char *act = sn_json_string(object, "hidden_act");
    if (act && strcmp(act, "silu") != 0) return sn_fail(error, SN_ERROR_SUPPORT, "%s: hidden_act: found %s, expected silu", where, act);
    if (sn_json_bool(object, "attention_bias", false) || sn_json_bool(object, "mlp_bias", false))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: attention_bias or mlp_bias: found true, expected false", where);
    const json_t *scaling = sn_json_at(object, "rope_scaling");
    if (!scaling) scaling = sn_json_at(object, "rope_parameters"); /* the newer place */
    if (scaling) {
        const char *type = sn_json_string(scaling, "type");
        if (!type) type = sn_json_string(scaling, "rope_type");
        double factor = 1;
        if (type && strcmp(type, "linear") == 0) {
            if ((status = sn_json_number(where, scaling, "factor", 1, 1e4, &factor, error))) return status;
            c->rope_scale = (float)(1 / factor);
        } else if (type && strcmp(type, "default") != 0 && strcmp(type, "dynamic") != 0) {
            /* dynamic (NTK) changes nothing within max_position_embeddings, which is the window here */
            return sn_fail(error, SN_ERROR_SUPPORT, "%s: rope_scaling: found type %s, expected linear or dynamic", where, type);
        }
    }
    c->tied_head = sn_json_bool(object, "tie_word_embeddings", false);
    return check(where, c, error);
}

static const sn_config_field fields_meta[] = {
    SN_CONFIG_NEED(sn_llama_config, hidden_size, "dim"),
    {"n_layers", offsetof(sn_llama_config, num_layers), false, true, 0, 1, SN_CONFIG_LAYERS},
    SN_CONFIG_NEED(sn_llama_config, num_heads, "n_heads"),
    {"n_kv_heads", offsetof(sn_llama_config, num_kv_heads), false, false, 0, 1, SN_CONFIG_MAX},
    {"vocab_size", offsetof(sn_llama_config, vocab_size), false, false, -1, -1, SN_CONFIG_MAX},
    {"multiple_of", offsetof(sn_llama_config, intermediate_size), false, true, 0, 1, SN_CONFIG_MAX},
    SN_CONFIG_REAL(sn_llama_config, rms_norm_eps, "norm_eps", 1e-5, 0, 1),
    SN_CONFIG_REAL(sn_llama_config, rope_theta, "rope_theta", 10000, 1, 1e9),
    {0},
};

sn_status sn_llama_config_meta(const char *where, const json_t *object, sn_llama_config *c, sn_error *error) {
    *c = (sn_llama_config){.rope_scale = 1, .rotary = SN_ROTARY_INTERLEAVED, .max_positions = 2048};
    double multiplier = 1;
    sn_status status = sn_config_read(where, object, fields_meta, c, error);
    if (!status) status = sn_json_number(where, object, "ffn_dim_multiplier", 0.01, 100, &multiplier, error);
    if (status) return status;
    /* multiple_of * ceil(int(multiplier * int(8 dim / 3)) / multiple_of), as Meta's code truncates */
    int64_t multiple = c->intermediate_size, width = (int64_t)(multiplier * (double)(8 * c->hidden_size / 3));
    c->intermediate_size = (width + multiple - 1) / multiple * multiple;
    return check(where, c, error);
}
