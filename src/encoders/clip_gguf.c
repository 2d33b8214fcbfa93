/* Keys and names of mmproj files. */
#include "encoders/clip_gguf.h"

#include "weights/config.h"
#include "weights/gguf.h"

#include <string.h>

#define ATTENTION                                                                     \
    {"class", "class_embd", 0, 0, 0, 0},                                              \
    {"patch.weight", "patch_embd.weight", 0, 0, 0, 0},                                \
    {"position.weight", "position_embd.weight", 0, 0, 0, 0},                          \
    {"pre_norm.weight", "pre_ln.weight", 0, 0, 0, 0},                                 \
    {"pre_norm.bias", "pre_ln.bias", 0, 0, 0, 0},                                     \
    {"post_norm.weight", "post_ln.weight", 0, 0, 0, 0},                               \
    {"post_norm.bias", "post_ln.bias", 0, 0, 0, 0},                                   \
    {"layers.{l}.attention.q.weight", "blk.{l}.attn_q.weight", 0, 0, 0, 0},           \
    {"layers.{l}.attention.q.bias", "blk.{l}.attn_q.bias", 0, 0, 0, 0},               \
    {"layers.{l}.attention.k.weight", "blk.{l}.attn_k.weight", 0, 0, 0, 0},           \
    {"layers.{l}.attention.k.bias", "blk.{l}.attn_k.bias", 0, 0, 0, 0},               \
    {"layers.{l}.attention.v.weight", "blk.{l}.attn_v.weight", 0, 0, 0, 0},           \
    {"layers.{l}.attention.v.bias", "blk.{l}.attn_v.bias", 0, 0, 0, 0},               \
    {"layers.{l}.attention.out.weight", "blk.{l}.attn_out.weight", 0, 0, 0, 0},       \
    {"layers.{l}.attention.out.bias", "blk.{l}.attn_out.bias", 0, 0, 0, 0},           \
    {"layers.{l}.attention_norm.weight", "blk.{l}.ln1.weight", 0, 0, 0, 0},           \
    {"layers.{l}.attention_norm.bias", "blk.{l}.ln1.bias", 0, 0, 0, 0},               \
    {"layers.{l}.mlp_norm.weight", "blk.{l}.ln2.weight", 0, 0, 0, 0},                 \
    {"layers.{l}.mlp_norm.bias", "blk.{l}.ln2.bias", 0, 0, 0, 0}

static const sn_name_rule names_new[] = {
    ATTENTION,
    {"layers.{l}.mlp.up.weight", "blk.{l}.ffn_up.weight", 0, 0, 0, 0}, {"layers.{l}.mlp.up.bias", "blk.{l}.ffn_up.bias", 0, 0, 0, 0},
    {"layers.{l}.mlp.down.weight", "blk.{l}.ffn_down.weight", 0, 0, 0, 0}, {"layers.{l}.mlp.down.bias", "blk.{l}.ffn_down.bias", 0, 0, 0, 0}, {0}};
static const sn_name_rule names_old[] = {
    ATTENTION,
    {"layers.{l}.mlp.up.weight", "blk.{l}.ffn_down.weight", 0, 0, 0, 0}, {"layers.{l}.mlp.up.bias", "blk.{l}.ffn_down.bias", 0, 0, 0, 0},
    {"layers.{l}.mlp.down.weight", "blk.{l}.ffn_up.weight", 0, 0, 0, 0}, {"layers.{l}.mlp.down.bias", "blk.{l}.ffn_up.bias", 0, 0, 0, 0}, {0}};

static sn_status integer(const sn_source *s, const char *key, int64_t low, int64_t high, int64_t *out, sn_error *error) {
    if (!sn_gguf_integer(s->gguf, key, out)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: missing", s->path, key);
    if (*out < low || *out > high) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %lld, expected %lld to %lld", s->path, key, (long long)*out, (long long)low, (long long)high);
    return SN_OK;
}

/* One number, or a list of one. */
static sn_status read_layer(const sn_source *s, const sn_clip_vision_config *c, int64_t *layer, sn_error *error) {
    static const char key[] = "clip.vision.feature_layer";
    sn_gguf_value value;
    int64_t more;
    *layer = c->num_layers;
    if (!sn_gguf_find(s->gguf, key, &value)) return SN_OK;
    if (!sn_gguf_next_integer(&value, layer) || sn_gguf_next_integer(&value, &more) || *layer > c->num_layers || *layer < -c->num_layers - 1)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected one hidden state of %lld blocks", s->path, key, (long long)c->num_layers);
    return SN_OK;
}

sn_status sn_clip_vision_config_gguf(const sn_source *s, sn_clip_vision_config *c, int64_t *layer, const sn_name_rule **names, sn_error *error) {
    *c = (sn_clip_vision_config){.projection_dim = 1, .activation = SN_UNARY_QUICK_GELU, .layer_norm_eps = 1e-5f};
    const struct { const char *key; int64_t high, *place; } fields[] = {
        {"clip.vision.embedding_length", SN_CONFIG_MAX, &c->hidden_size}, {"clip.vision.feed_forward_length", SN_CONFIG_MAX, &c->intermediate_size},
        {"clip.vision.block_count", SN_CONFIG_LAYERS, &c->num_layers},    {"clip.vision.attention.head_count", SN_CONFIG_MAX, &c->num_heads},
        {"clip.vision.image_size", 4096, &c->image_size},                 {"clip.vision.patch_size", 4096, &c->patch_size}};
    sn_status status = SN_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !status; i++) status = integer(s, fields[i].key, 1, fields[i].high, fields[i].place, error);
    if (status) return status;
    if (c->hidden_size % c->num_heads || c->patch_size > c->image_size) return sn_fail(error, SN_ERROR_INPUT, "%s: a tower of width %lld with %lld heads, patches of %lld on %lld pixels does not fit", s->path, (long long)c->hidden_size, (long long)c->num_heads, (long long)c->patch_size, (long long)c->image_size);
    int64_t stored = sn_source_count(s, "v.blk.");
    if (stored != c->num_layers) return sn_fail(error, SN_ERROR_INPUT, "%s: clip.vision.block_count: found %lld, but the file holds %lld blocks", s->path, (long long)c->num_layers, (long long)stored);
    double eps = 1e-5;
    if (sn_gguf_number(s->gguf, "clip.vision.attention.layer_norm_epsilon", &eps) && eps > 0 && eps < 1) c->layer_norm_eps = (float)eps;
    int64_t gelu = 0;
    if (sn_gguf_integer(s->gguf, "clip.use_gelu", &gelu) && gelu) c->activation = SN_UNARY_GELU;
    const sn_source_tensor *up = sn_source_find(s, "v.blk.0.ffn_up.weight");
    *names = up && up->shape.rank == 2 && up->shape.dim[0] == c->hidden_size && c->hidden_size != c->intermediate_size ? names_old : names_new;
    return read_layer(s, c, layer, error);
}
