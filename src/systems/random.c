/* The published sizes as a table, and a model opened from them: the same graphs as with files, with fresh weights. */
#include "systems/random.h"

#include "systems/clip.h"
#include "systems/llava.h"

#include <string.h>

static const sn_clip_vision_config vit_l_336 = {1024, 4096, 24, 16, 336, 14, 768, SN_UNARY_QUICK_GELU, 1e-5f};
static const sn_clip_vision_config vit_l_224 = {1024, 4096, 24, 16, 224, 14, 768, SN_UNARY_QUICK_GELU, 1e-5f};
static const sn_clip_vision_config vit_tiny = {64, 128, 3, 4, 56, 14, 32, SN_UNARY_QUICK_GELU, 1e-5f};
static const sn_llama_config tinyllama = {2048, 5632, 22, 32, 4, 64, 32000, 2048, 1e-5f, 10000, 1, SN_ROTARY_HALF, false};
static const sn_llama_config llama_7b = {4096, 11008, 32, 32, 32, 128, 32000, 4096, 1e-5f, 10000, 1, SN_ROTARY_HALF, false};
static const sn_llama_config llama_7b_4layers = {4096, 11008, 4, 32, 32, 128, 32000, 4096, 1e-5f, 10000, 1, SN_ROTARY_HALF, false};
static const sn_llama_config llama_13b = {5120, 13824, 40, 40, 40, 128, 32000, 4096, 1e-5f, 10000, 1, SN_ROTARY_HALF, false};
static const sn_llama_config llama_tiny = {64, 128, 2, 4, 2, 16, 97, 256, 1e-5f, 10000, 1, SN_ROTARY_HALF, false};

/* A system is what its parts are: a tower alone, a language model alone, or both with a two-layer projector. */
static const struct preset {
    const char *name;
    const sn_clip_vision_config *vision;
    const sn_llama_config *llama;
} presets[] = {
    {"clip-vit-l-336", &vit_l_336, NULL},
    {"clip-vit-l-224", &vit_l_224, NULL},
    {"tinyllama", NULL, &tinyllama},
    {"llama-7b-4layers", NULL, &llama_7b_4layers},
    {"llama-7b", NULL, &llama_7b},
    {"llama-13b", NULL, &llama_13b},
    {"llava-7b-4layers", &vit_l_336, &llama_7b_4layers},
    {"llava-7b", &vit_l_336, &llama_7b},
    {"llava-tiny", &vit_tiny, &llama_tiny},
};
enum { NUM_PRESETS = sizeof presets / sizeof *presets };

void sn_random_names(sn_buf *out) {
    for (int i = 0; i < NUM_PRESETS; i++) sn_buf_printf(out, "%s%s", i ? ", " : "", presets[i].name);
}

static const sn_system *system_of(const struct preset *p) {
    const char *name = !p->llama ? "clip" : !p->vision ? "llama" : "llava";
    int i = 0;
    while (sn_systems[i] && strcmp(sn_systems[i]->name, name) != 0) i++;
    return sn_systems[i];
}

/* The system's own configuration, as its `open` would have filled it. */
static bool configure(sn_model *m, const struct preset *p) {
    if (p->vision && p->llama) {
        sn_llava *c = m->own = sn_arena_alloc(m->arena, 1, sizeof *c);
        if (!c) return false;
        *c = (sn_llava){.vision = *p->vision, .llama = *p->llama, .select_layer = -2,
                        .projector = {.in = p->vision->hidden_size, .out = p->llama->hidden_size, .depth = 2, .bias = true}};
        m->media_positions = sn_clip_patches(p->vision);
    } else if (p->vision) {
        sn_clip *c = m->own = sn_arena_alloc(m->arena, 1, sizeof *c);
        if (!c) return false;
        *c = (sn_clip){.vision = *p->vision, .has_projection = true, .logit_scale = 1};
    } else {
        sn_llama_config *c = m->own = sn_arena_alloc(m->arena, 1, sizeof *c);
        if (!c) return false;
        *c = *p->llama;
    }
    if (p->llama) m->lm = sn_llama(p->llama), m->has_lm = true;
    if (p->vision) m->has_vision = true, m->image_size = p->vision->image_size;
    return true;
}

static sn_status fill(sn_model *m, sn_type type, uint64_t seed, sn_error *error) {
    sn_graph *g = sn_graph_new();
    if (!g) return sn_fail_memory(error);
    m->system->parameters(g, m);
    sn_status status = g->error.status ? sn_fail(error, g->error.status, "%s", g->error.message) : SN_OK;
    for (size_t i = 0; i < g->num_params && !status; i++) {
        const sn_parameter *p = &g->params[i];
        sn_shape shape = g->nodes[p->tensor].shape;
        int64_t columns = shape.rank > 1 ? sn_shape_count(&shape) / shape.dim[0] : 0, bytes;
        bool blocks = sn_type_of(type)->block > 1, fits = shape.rank > 1 && sn_type_bytes(type, columns, &bytes);
        /* Normal draws would take most of the time and speed depends on no value: uniform ones instead. */
        sn_init init = p->init == SN_INIT_NORMAL ? SN_INIT_UNIFORM : p->init;
        status = sn_store_add_fresh_as(m->store, blocks && !fits ? SN_TYPE_F32 : type, p->name, "", shape, init, seed, error);
    }
    sn_graph_free(g);
    return status;
}

sn_status sn_model_random(sn_engine *engine, const char *preset, sn_type type, uint64_t seed, sn_model **out, sn_error *error) {
    *out = NULL;
    const struct preset *p = NULL;
    for (int i = 0; i < NUM_PRESETS; i++)
        if (strcmp(presets[i].name, preset) == 0) p = &presets[i];
    if (!p) {
        sn_buf names = {0};
        sn_random_names(&names);
        sn_status status = sn_fail(error, SN_ERROR_USAGE, "--random: found %s, expected one of %s", preset, names.data ? names.data : "");
        sn_buf_free(&names);
        return status;
    }
    sn_model *m = sn_alloc(1, sizeof *m);
    if (!m) return sn_fail_memory(error);
    m->system = system_of(p), m->engine = engine, m->layout = "random weights", m->why = p->name, m->media_id = m->query_id = m->cut_id = -1;
    m->arena = sn_arena_new();
    m->store = sn_store_new();
    sn_status status = m->system && m->arena && m->store && configure(m, p) ? fill(m, type, seed, error) : sn_fail_memory(error);
    if (status)
        sn_model_close(m);
    else
        *out = m;
    return status;
}
