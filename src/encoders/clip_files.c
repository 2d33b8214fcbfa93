/* Configuration keys and published names of CLIP. */
#include "encoders/clip_files.h"

#include <math.h>
#include <string.h>

#define BLOCK_HF                                                                              \
    {"layers.{l}.attention.q.weight", "encoder.layers.{l}.self_attn.q_proj.weight", 0, 0, 0, 0},     \
    {"layers.{l}.attention.q.bias", "encoder.layers.{l}.self_attn.q_proj.bias", 0, 0, 0, 0},         \
    {"layers.{l}.attention.k.weight", "encoder.layers.{l}.self_attn.k_proj.weight", 0, 0, 0, 0},     \
    {"layers.{l}.attention.k.bias", "encoder.layers.{l}.self_attn.k_proj.bias", 0, 0, 0, 0},         \
    {"layers.{l}.attention.v.weight", "encoder.layers.{l}.self_attn.v_proj.weight", 0, 0, 0, 0},     \
    {"layers.{l}.attention.v.bias", "encoder.layers.{l}.self_attn.v_proj.bias", 0, 0, 0, 0},         \
    {"layers.{l}.attention.out.weight", "encoder.layers.{l}.self_attn.out_proj.weight", 0, 0, 0, 0}, \
    {"layers.{l}.attention.out.bias", "encoder.layers.{l}.self_attn.out_proj.bias", 0, 0, 0, 0},     \
    {"layers.{l}.attention_norm.weight", "encoder.layers.{l}.layer_norm1.weight", 0, 0, 0, 0},       \
    {"layers.{l}.attention_norm.bias", "encoder.layers.{l}.layer_norm1.bias", 0, 0, 0, 0},           \
    {"layers.{l}.mlp_norm.weight", "encoder.layers.{l}.layer_norm2.weight", 0, 0, 0, 0},             \
    {"layers.{l}.mlp_norm.bias", "encoder.layers.{l}.layer_norm2.bias", 0, 0, 0, 0},                 \
    {"layers.{l}.mlp.up.weight", "encoder.layers.{l}.mlp.fc1.weight", 0, 0, 0, 0},                   \
    {"layers.{l}.mlp.up.bias", "encoder.layers.{l}.mlp.fc1.bias", 0, 0, 0, 0},                       \
    {"layers.{l}.mlp.down.weight", "encoder.layers.{l}.mlp.fc2.weight", 0, 0, 0, 0},                 \
    {"layers.{l}.mlp.down.bias", "encoder.layers.{l}.mlp.fc2.bias", 0, 0, 0, 0}

const sn_name_rule sn_clip_vision_names_hf[] = {
    {"class", "embeddings.class_embedding", 0, 0, 0, 0},
    {"patch.weight", "embeddings.patch_embedding.weight", 0, 0, 0, 0},
    {"position.weight", "embeddings.position_embedding.weight", 0, 0, 0, 0},
    {"pre_norm.weight", "pre_layrnorm.weight", 0, 0, 0, 0},
    {"pre_norm.bias", "pre_layrnorm.bias", 0, 0, 0, 0},
    {"post_norm.weight", "post_layernorm.weight", 0, 0, 0, 0},
    {"post_norm.bias", "post_layernorm.bias", 0, 0, 0, 0},
    BLOCK_HF,
    {NULL, "embeddings.position_ids", 0, 0, 0, 0},
    {0},
};
const sn_name_rule sn_clip_vision_extra_hf[] = {{"projection.weight", "visual_projection.weight", 0, 0, 0, 0}, {NULL, "logit_scale", 0, 0, 0, 0}, {0}};

const sn_name_rule sn_clip_text_names_hf[] = {
    {"token.weight", "embeddings.token_embedding.weight", 0, 0, 0, 0},
    {"position.weight", "embeddings.position_embedding.weight", 0, 0, 0, 0},
    {"final_norm.weight", "final_layer_norm.weight", 0, 0, 0, 0},
    {"final_norm.bias", "final_layer_norm.bias", 0, 0, 0, 0},
    BLOCK_HF,
    {NULL, "embeddings.position_ids", 0, 0, 0, 0},
    {0},
};
const sn_name_rule sn_clip_text_extra_hf[] = {{"projection.weight", "text_projection.weight", 0, 0, 0, 0}, {0}};

/* q, k and v are blocks of rows of one matrix; the projections are stored [in, out]. */
#define BLOCK_OPENAI                                                                                          \
    {"layers.{l}.attention.q.weight", "transformer.resblocks.{l}.attn.in_proj_weight", 0, 3, 0, 0},           \
    {"layers.{l}.attention.q.bias", "transformer.resblocks.{l}.attn.in_proj_bias", 0, 3, 0, 0},               \
    {"layers.{l}.attention.k.weight", "transformer.resblocks.{l}.attn.in_proj_weight", 1, 3, 0, 0},           \
    {"layers.{l}.attention.k.bias", "transformer.resblocks.{l}.attn.in_proj_bias", 1, 3, 0, 0},               \
    {"layers.{l}.attention.v.weight", "transformer.resblocks.{l}.attn.in_proj_weight", 2, 3, 0, 0},           \
    {"layers.{l}.attention.v.bias", "transformer.resblocks.{l}.attn.in_proj_bias", 2, 3, 0, 0},               \
    {"layers.{l}.attention.out.weight", "transformer.resblocks.{l}.attn.out_proj.weight", 0, 0, 0, 0},        \
    {"layers.{l}.attention.out.bias", "transformer.resblocks.{l}.attn.out_proj.bias", 0, 0, 0, 0},            \
    {"layers.{l}.attention_norm.weight", "transformer.resblocks.{l}.ln_1.weight", 0, 0, 0, 0},                \
    {"layers.{l}.attention_norm.bias", "transformer.resblocks.{l}.ln_1.bias", 0, 0, 0, 0},                    \
    {"layers.{l}.mlp_norm.weight", "transformer.resblocks.{l}.ln_2.weight", 0, 0, 0, 0},                      \
    {"layers.{l}.mlp_norm.bias", "transformer.resblocks.{l}.ln_2.bias", 0, 0, 0, 0},                          \
    {"layers.{l}.mlp.up.weight", "transformer.resblocks.{l}.mlp.c_fc.weight", 0, 0, 0, 0},                    \
    {"layers.{l}.mlp.up.bias", "transformer.resblocks.{l}.mlp.c_fc.bias", 0, 0, 0, 0},                        \
    {"layers.{l}.mlp.down.weight", "transformer.resblocks.{l}.mlp.c_proj.weight", 0, 0, 0, 0},                \
    {"layers.{l}.mlp.down.bias", "transformer.resblocks.{l}.mlp.c_proj.bias", 0, 0, 0, 0}

const sn_name_rule sn_clip_vision_names_openai[] = {
    {"class", "class_embedding", 0, 0, 0, 0},
    {"patch.weight", "conv1.weight", 0, 0, 0, 0},
    {"position.weight", "positional_embedding", 0, 0, 0, 0},
    {"pre_norm.weight", "ln_pre.weight", 0, 0, 0, 0},
    {"pre_norm.bias", "ln_pre.bias", 0, 0, 0, 0},
    {"post_norm.weight", "ln_post.weight", 0, 0, 0, 0},
    {"post_norm.bias", "ln_post.bias", 0, 0, 0, 0},
    {"projection.weight", "proj", 0, 0, true, 0},
    BLOCK_OPENAI,
    {0},
};

const sn_name_rule sn_clip_text_names_openai[] = {
    {"token.weight", "token_embedding.weight", 0, 0, 0, 0},
    {"position.weight", "positional_embedding", 0, 0, 0, 0},
    {"final_norm.weight", "ln_final.weight", 0, 0, 0, 0},
    {"final_norm.bias", "ln_final.bias", 0, 0, 0, 0},
    {"projection.weight", "text_projection", 0, 0, true, 0},
    BLOCK_OPENAI,
    {NULL, "logit_scale", 0, 0, 0, 0},
    {NULL, "input_resolution", 0, 0, 0, 0},
    {NULL, "context_length", 0, 0, 0, 0},
    {NULL, "vocab_size", 0, 0, 0, 0},
    {0},
};

static const sn_config_field vision_fields[] = {
    SN_CONFIG_SIZE(sn_clip_vision_config, hidden_size, "hidden_size", 768),
    SN_CONFIG_SIZE(sn_clip_vision_config, intermediate_size, "intermediate_size", 3072),
    SN_CONFIG_DEPTH(sn_clip_vision_config, num_layers, "num_hidden_layers", 12),
    SN_CONFIG_SIZE(sn_clip_vision_config, num_heads, "num_attention_heads", 12),
    {"image_size", offsetof(sn_clip_vision_config, image_size), false, false, 224, 1, 4096},
    {"patch_size", offsetof(sn_clip_vision_config, patch_size), false, false, 32, 1, 4096},
    SN_CONFIG_SIZE(sn_clip_vision_config, projection_dim, "projection_dim", 512),
    SN_CONFIG_REAL(sn_clip_vision_config, layer_norm_eps, "layer_norm_eps", 1e-5, 0, 1),
    {0},
};

static const sn_config_field text_fields[] = {
    SN_CONFIG_SIZE(sn_clip_text_config, hidden_size, "hidden_size", 512),
    SN_CONFIG_SIZE(sn_clip_text_config, intermediate_size, "intermediate_size", 2048),
    SN_CONFIG_DEPTH(sn_clip_text_config, num_layers, "num_hidden_layers", 12),
    SN_CONFIG_SIZE(sn_clip_text_config, num_heads, "num_attention_heads", 8),
    SN_CONFIG_SIZE(sn_clip_text_config, vocab_size, "vocab_size", 49408),
    SN_CONFIG_SIZE(sn_clip_text_config, max_positions, "max_position_embeddings", 77),
    SN_CONFIG_SIZE(sn_clip_text_config, projection_dim, "projection_dim", 512),
    SN_CONFIG_REAL(sn_clip_text_config, layer_norm_eps, "layer_norm_eps", 1e-5, 0, 1),
    {0},
};

static sn_status read_activation(const char *where, const json_t *object, sn_unary *out, sn_error *error) {
    const char *act = sn_json_string(object, "hidden_act");
    if (!act || strcmp(act, "quick_gelu") == 0) *out = SN_UNARY_QUICK_GELU;
    else if (strcmp(act, "gelu") == 0) *out = SN_UNARY_GELU;
    else return sn_fail(error, SN_ERROR_SUPPORT, "%s: hidden_act: found %s, expected quick_gelu or gelu", where, act);
    return SN_OK;
}

sn_status sn_clip_vision_config_hf(const char *where, const json_t *object, sn_clip_vision_config *c, sn_error *error) {
    *c = (sn_clip_vision_config){0};
    const char *type = sn_json_string(object, "model_type");
    if (type && strncmp(type, "clip", 4) != 0) return sn_fail(error, SN_ERROR_SUPPORT, "%s: model_type: found %s, expected clip_vision_model", where, type);
    sn_status status = sn_config_read(where, object, vision_fields, c, error);
    if (!status) status = read_activation(where, object, &c->activation, error);
    if (!status && (c->hidden_size % c->num_heads || c->patch_size > c->image_size))
        return sn_fail(error, SN_ERROR_INPUT, "%s: a tower of width %lld with %lld heads, patches of %lld on %lld pixels does not fit", where,
                       (long long)c->hidden_size, (long long)c->num_heads, (long long)c->patch_size, (long long)c->image_size);
    return status;
}

sn_status sn_clip_text_config_hf(const char *where, const json_t *object, sn_clip_text_config *c, sn_error *error) {
    *c = (sn_clip_text_config){0};
    sn_status status = sn_config_read(where, object, text_fields, c, error);
    if (!status) status = read_activation(where, object, &c->activation, error);
    if (!status && c->hidden_size % c->num_heads) return sn_fail(error, SN_ERROR_INPUT, "%s: text: heads do not divide the width", where);
    return status;
}

/* ---- sizes from tensors ---- */

static int64_t dim(const sn_source *source, const char *prefix, const char *name, int axis) {
    char *full = sn_format("%s%s", prefix, name);
    const sn_source_tensor *t = full ? sn_source_find(source, full) : NULL;
    sn_free(full);
    return t && axis < t->shape.rank ? t->shape.dim[axis] : 0;
}

static int64_t count_layers(const sn_source *source, const char *prefix, const char *name) {
    char *full = sn_format("%s%s", prefix, name);
    int64_t count = full ? sn_source_count(source, full) : 0;
    sn_free(full);
    return count;
}

/* Published towers whose heads or activation are not what the width suggests, and those where it is. */
static const struct { int64_t width, heads; sn_unary activation; } published[] = {
    {768, 12, SN_UNARY_QUICK_GELU}, {1024, 16, SN_UNARY_QUICK_GELU}, {1280, 16, SN_UNARY_GELU}, {1664, 16, SN_UNARY_GELU}};

static sn_status choose(const sn_source *s, sn_clip_choice *choice, sn_clip_vision_config *v, sn_error *error) {
    v->num_heads = choice->heads, v->activation = SN_UNARY_QUICK_GELU;
    choice->assumed = !choice->heads || !choice->activation;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        if (published[i].width != v->hidden_size) continue;
        choice->assumed = false, v->activation = published[i].activation;
        if (!v->num_heads) v->num_heads = published[i].heads;
    }
    if (!v->num_heads) v->num_heads = v->hidden_size / 64;
    if (choice->activation && strcmp(choice->activation, "gelu") == 0) v->activation = SN_UNARY_GELU;
    else if (choice->activation && strcmp(choice->activation, "quick_gelu") == 0) v->activation = SN_UNARY_QUICK_GELU;
    else if (choice->activation) return sn_fail(error, SN_ERROR_USAGE, "activation: found %s, expected quick_gelu or gelu", choice->activation);
    if (!v->num_heads || v->hidden_size % v->num_heads)
        return sn_fail(error, SN_ERROR_INPUT, "%s: a tower of width %lld without a configuration: how many heads it has cannot be told; give them with --heads, or a folder with config.json with --vision",
                       s->path, (long long)v->hidden_size);
    return SN_OK;
}

/* The picture's side follows from the rows of the position table: 1 + (size / patch)². */
static sn_status finish_vision(const sn_source *s, int64_t rows, sn_clip_choice *choice, sn_clip_vision_config *v, sn_error *error) {
    int64_t side = rows > 1 && rows < 1 << 24 ? (int64_t)llround(sqrt((double)(rows - 1))) : 0;
    v->layer_norm_eps = 1e-5f;
    if (v->hidden_size < 1 || v->hidden_size > SN_CONFIG_MAX || v->intermediate_size < 1 || v->intermediate_size > SN_CONFIG_MAX || v->num_layers < 1 || v->num_layers > SN_CONFIG_LAYERS ||
        v->patch_size < 1 || v->patch_size > 4096 || side < 1 || side * side + 1 != rows || side * v->patch_size > 4096)
        return sn_fail(error, SN_ERROR_INPUT, "%s: the tensors do not describe a CLIP tower", s->path);
    v->image_size = side * v->patch_size;
    return choose(s, choice, v, error);
}

sn_status sn_clip_vision_config_tensors(const sn_source *s, const char *prefix, sn_clip_choice *choice, sn_clip_vision_config *v, sn_error *error) {
    *v = (sn_clip_vision_config){
        .hidden_size = dim(s, prefix, "embeddings.patch_embedding.weight", 0), .patch_size = dim(s, prefix, "embeddings.patch_embedding.weight", 3),
        .intermediate_size = dim(s, prefix, "encoder.layers.0.mlp.fc1.weight", 0), .projection_dim = 1, .num_layers = count_layers(s, prefix, "encoder.layers.")};
    return finish_vision(s, dim(s, prefix, "embeddings.position_embedding.weight", 0), choice, v, error);
}

sn_status sn_clip_config_openai(const sn_source *s, sn_clip_choice *choice, sn_clip_vision_config *v, sn_clip_text_config *t, sn_error *error) {
    *v = (sn_clip_vision_config){
        .hidden_size = dim(s, "visual.", "conv1.weight", 0), .patch_size = dim(s, "visual.", "conv1.weight", 3),
        .intermediate_size = dim(s, "visual.", "transformer.resblocks.0.mlp.c_fc.weight", 0), .projection_dim = dim(s, "visual.", "proj", 1),
        .num_layers = count_layers(s, "visual.", "transformer.resblocks.")};
    sn_status status = finish_vision(s, dim(s, "visual.", "positional_embedding", 0), choice, v, error);
    if (sn_source_find(s, "input_resolution")) choice->assumed = false; /* OpenAI's own archives all follow the rule */
    if (status || !t) return status;
    *t = (sn_clip_text_config){
        .hidden_size = dim(s, "", "ln_final.weight", 0), .vocab_size = dim(s, "", "token_embedding.weight", 0), .max_positions = dim(s, "", "positional_embedding", 0),
        .intermediate_size = dim(s, "", "transformer.resblocks.0.mlp.c_fc.weight", 0), .projection_dim = dim(s, "", "text_projection", 1),
        .num_layers = count_layers(s, "", "transformer.resblocks."), .activation = v->activation, .layer_norm_eps = 1e-5f};
    t->num_heads = t->hidden_size / 64;
    if (t->hidden_size && (!t->num_heads || t->hidden_size % 64 || !t->num_layers || t->num_layers > SN_CONFIG_LAYERS || t->vocab_size < 1 || t->intermediate_size < 1 || t->max_positions < 1 || t->projection_dim < 1))
        return sn_fail(error, SN_ERROR_INPUT, "%s: the tensors do not describe a CLIP text half", s->path);
    return SN_OK;
}
