/* Keys, names and row order of LLaMA's GGUF files. */
#include "decoders/llama_gguf.h"

#include "weights/config.h"

#include <string.h>

const sn_name_rule sn_llama_names_gguf[] = {
    {"embed.weight", "token_embd.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.q.weight", "blk.{l}.attn_q.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.k.weight", "blk.{l}.attn_k.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.v.weight", "blk.{l}.attn_v.weight", 0, 0, 0, 0},
    {"layers.{l}.attention.out.weight", "blk.{l}.attn_output.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.gate.weight", "blk.{l}.ffn_gate.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.up.weight", "blk.{l}.ffn_up.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp.down.weight", "blk.{l}.ffn_down.weight", 0, 0, 0, 0},
    {"layers.{l}.attention_norm.weight", "blk.{l}.attn_norm.weight", 0, 0, 0, 0},
    {"layers.{l}.mlp_norm.weight", "blk.{l}.ffn_norm.weight", 0, 0, 0, 0},
    {"norm.weight", "output_norm.weight", 0, 0, 0, 0},
    {"head.weight", "output.weight", 0, 0, 0, 0},
    {NULL, "rope_freqs.weight", 0, 0, 0, 0},
    {0},
};

static sn_status whole(const sn_source *s, const char *key, int64_t fallback, int64_t high, int64_t *out, sn_error *error) {
    int64_t value = fallback;
    sn_gguf_value found;
    if (sn_gguf_find(s->gguf, key, &found) && !sn_gguf_integer(s->gguf, key, &value)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected a whole number", s->path, key);
    if (value < 1 || value > high) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %lld, expected 1 to %lld", s->path, key, (long long)value, (long long)high);
    *out = value;
    return SN_OK;
}

static sn_status real(const sn_source *s, const char *key, double fallback, double high, float *out, sn_error *error) {
    double value = fallback;
    sn_gguf_number(s->gguf, key, &value);
    if (!(value > 0 && value <= high)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %g, expected a number up to %g", s->path, key, value, high);
    *out = (float)value;
    return SN_OK;
}

sn_status sn_llama_config_gguf(const sn_source *s, sn_llama_config *c, sn_error *error) {
    *c = (sn_llama_config){.rope_scale = 1, .rotary = SN_ROTARY_INTERLEAVED};
    const sn_source_tensor *table = sn_source_find(s, "token_embd.weight");
    if (!table || table->shape.rank != 2) return sn_fail(error, SN_ERROR_INPUT, "%s: found no token_embd.weight of two dimensions", s->path);
    c->vocab_size = table->shape.dim[0];
    sn_status status = whole(s, "llama.embedding_length", 0, SN_CONFIG_MAX, &c->hidden_size, error);
    if (!status) status = whole(s, "llama.block_count", 0, 4096, &c->num_layers, error);
    if (!status) status = whole(s, "llama.feed_forward_length", 0, SN_CONFIG_MAX, &c->intermediate_size, error);
    if (!status) status = whole(s, "llama.attention.head_count", 0, SN_CONFIG_MAX, &c->num_heads, error);
    if (!status) status = whole(s, "llama.attention.head_count_kv", c->num_heads, SN_CONFIG_MAX, &c->num_kv_heads, error);
    if (!status) status = whole(s, "llama.context_length", 2048, SN_CONFIG_MAX, &c->max_positions, error);
    if (!status) status = whole(s, "llama.attention.key_length", c->hidden_size / c->num_heads, SN_CONFIG_MAX, &c->head_dim, error);
    if (!status) status = real(s, "llama.attention.layer_norm_rms_epsilon", 1e-5, 1, &c->rms_norm_eps, error);
    if (!status) status = real(s, "llama.rope.freq_base", 10000, 1e9, &c->rope_theta, error);
    float factor = 1;
    const char *type;
    size_t length;
    if (!status) status = real(s, "llama.rope.scaling.factor", 1, 1e4, &factor, error);
    if (!status && sn_gguf_text(s->gguf, "llama.rope.scaling.type", &type, &length)) {
        if (length == 6 && memcmp(type, "linear", 6) == 0) c->rope_scale = 1 / factor;
        else if (!(length == 4 && memcmp(type, "none", 4) == 0)) return sn_fail(error, SN_ERROR_SUPPORT, "%s: llama.rope.scaling.type: found %.*s, expected linear", s->path, (int)length, type);
    }
    c->tied_head = !sn_source_find(s, "output.weight");
    if (!status && (c->head_dim % 2 || c->num_heads % c->num_kv_heads || c->head_dim * c->num_heads > SN_CONFIG_MAX))
        status = sn_fail(error, SN_ERROR_INPUT, "%s: %lld heads (%lld for keys) of %lld do not fit", s->path, (long long)c->num_heads, (long long)c->num_kv_heads, (long long)c->head_dim);
    return status;
}

typedef struct reorder {
    sn_weight *from;
    int64_t heads;
    bool to_pairs;
} reorder;

static sn_status make_reordered(const void *recipe, void *to, sn_error *error) {
    const reorder *r = recipe;
    sn_status status = sn_weight_ready(r->from, error);
    int64_t bytes = 0, dim = r->from->rows / r->heads, half = dim / 2;
    if (status || !sn_type_bytes(r->from->type, r->from->columns, &bytes)) return status;
    for (int64_t row = 0; row < r->from->rows; row++) {
        int64_t head = row / dim, i = row % dim; /* row i of the halves is row 2 i, or 2 (i - half) + 1, of the pairs */
        int64_t pair = i < half ? 2 * i : 2 * (i - half) + 1;
        int64_t source = head * dim + (r->to_pairs ? i : pair), target = head * dim + (r->to_pairs ? pair : i);
        memcpy((char *)to + target * bytes, sn_weight_row(r->from, source), (size_t)bytes);
    }
    return SN_OK;
}

sn_weight *sn_rotary_rows(sn_arena *arena, sn_weight *weight, int64_t heads, bool to_pairs) {
    reorder *r = sn_arena_alloc(arena, 1, sizeof *r);
    sn_weight *out = sn_arena_alloc(arena, 1, sizeof *out);
    if (!r || !out) return NULL;
    *r = (reorder){weight, heads, to_pairs};
    *out = sn_weight_view(weight->type, weight->shape, NULL);
    out->make = make_reordered, out->recipe = r;
    return out;
}
