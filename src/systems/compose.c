/* The parameters are listed by the same graph that will run; each is taken from the part that has it or made fresh, and
 * written under its published name beside a configuration that describes the whole. */
#include "systems/compose.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "decoders/llama_files.h"
#include "encoders/clip_files.h"
#include "systems/clip.h"
#include "systems/llava.h"
#include "systems/parts.h"
#include "weights/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct work {
    const sn_composition *composition;
    const char *folder;
    sn_model *vision, *llm, *connector; /* opened parts, or NULL */
    sn_llava whole;
    sn_type type;
    const char *words; /* the tokenizer's folder */
    bool adds_tokens;  /* <image> and <pad> are new */
    int64_t image_id, pad_id;
} work;

static const char *const configuration[] = {"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
                                            "added_tokens.json", "special_tokens_map.json"};

static sn_status copy_file(const char *from, const char *to, const char *name, bool needed, sn_error *error) {
    char *source = sn_path_join(from, name), *target = sn_path_join(to, name), *bytes = NULL;
    size_t length = 0;
    sn_status status = source && target ? SN_OK : sn_fail_memory(error);
    if (!status && (needed || sn_is_file(source))) {
        status = sn_read_file(source, (size_t)1 << 30, &bytes, &length, error);
        if (!status) status = sn_write_file(target, bytes, length, error);
    }
    sn_free(bytes);
    sn_free(source);
    sn_free(target);
    return status;
}

sn_status sn_copy_configuration(const char *from, const char *to, sn_error *error) {
    sn_status status = SN_OK;
    for (size_t i = 0; i < sizeof configuration / sizeof *configuration && !status; i++) status = copy_file(from, to, configuration[i], false, error);
    return status;
}

/* ---- the parts ---- */

static bool is(const sn_model *m, const char *system) { return strcmp(m->system->name, system) == 0; }

static sn_status open_part(sn_engine *engine, const char *path, sn_model **out, sn_error *error) {
    return path ? sn_model_open(engine, &(sn_model_files){.main = path}, out, error) : SN_OK;
}

/* The layer whose output is taken: the last one of a tower that learns with the rest, the last but one of CLIP's (2304.08485, 4.1). */
static sn_status choose_vision(work *w, sn_error *error) {
    sn_llava *c = &w->whole;
    if (!w->vision) {
        c->vision = w->composition->fresh_vision, c->select_layer = -1;
    } else if (is(w->vision, "llava")) {
        const sn_llava *from = w->vision->own;
        c->vision = from->vision, c->select_layer = from->select_layer, c->keep_class = from->keep_class;
    } else if (w->vision->has_vision) {
        c->vision = ((const sn_clip *)w->vision->own)->vision, c->select_layer = -2;
    } else {
        return sn_fail(error, SN_ERROR_INPUT, "%s: holds no vision tower", w->composition->vision);
    }
    const sn_clip_vision_config *v = &c->vision;
    if (v->hidden_size < 1 || v->num_layers < 1 || v->num_heads < 1 || v->intermediate_size < 1 || v->patch_size < 1 || v->image_size < v->patch_size || v->hidden_size % v->num_heads)
        return sn_fail(error, SN_ERROR_USAGE, "fresh.vision: expected hidden_size (a multiple of heads), intermediate_size, layers, heads, image_size, patch_size");
    return SN_OK;
}

static sn_status choose_llm(work *w, sn_error *error) {
    sn_llama_config *c = &w->whole.llama;
    if (w->llm && !is(w->llm, "llama") && !is(w->llm, "llava")) return sn_fail(error, SN_ERROR_INPUT, "%s: expected a LLaMA, found %s", w->composition->llm, w->llm->system->title);
    *c = w->llm ? *(const sn_llama_config *)w->llm->lm.config : w->composition->fresh_llama;
    w->type = SN_TYPE_F16;
    if (w->llm) {
        const sn_store_entry *table = sn_store_find(w->llm->store, "decoder.embed.weight");
        if (table && (table->weight.type == SN_TYPE_F32 || table->weight.type == SN_TYPE_BF16)) w->type = table->weight.type;
    }
    if (c->rotary != SN_ROTARY_HALF || c->rope_scale != 1)
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: a LLaMA in Meta's layout, or with scaled positions, cannot be written in Hugging Face's", w->composition->llm);
    if (c->hidden_size < 1 || c->num_layers < 1 || c->num_heads < 1 || c->num_kv_heads < 1 || c->num_heads % c->num_kv_heads || c->intermediate_size < 1 || c->max_positions < 1 || c->head_dim < 2 || c->head_dim % 2)
        return sn_fail(error, SN_ERROR_USAGE, "fresh.llm: expected hidden_size, intermediate_size, layers, heads (over which hidden_size splits into even parts), context");
    return SN_OK;
}

static sn_status choose_words(work *w, sn_error *error) {
    sn_tokenizer *words;
    w->words = w->composition->tokenizer ? w->composition->tokenizer : w->composition->llm;
    if (!w->words) return sn_fail(error, SN_ERROR_USAGE, "model.tokenizer: missing; a fresh language model needs a vocabulary");
    if (!sn_folder_holds(w->words, "tokenizer.model")) return sn_fail(error, SN_ERROR_SUPPORT, "%s: expected a folder with tokenizer.model", w->words);
    sn_status status = sn_tokenizer_open(w->words, true, &words, error);
    if (status) return status;
    int64_t size = sn_tokenizer_about(words)->vocab_size, *rows = &w->whole.llama.vocab_size;
    w->image_id = sn_tokenizer_find(words, "<image>"), w->pad_id = sn_tokenizer_find(words, "<pad>");
    sn_tokenizer_close(words);
    w->adds_tokens = w->image_id < 0;
    if (w->adds_tokens) w->image_id = size, w->pad_id = size + 1, size += 2;
    if (!w->llm || *rows < size) *rows = size;
    return SN_OK;
}

/* ---- the weights ---- */

static void list_parameters(sn_graph *g, const sn_llava *c) {
    sn_tensor hidden = sn_clip_vision_hidden(g, &c->vision, sn_input(g, SN_TYPE_F32, SN_SHAPE(1, 3, c->vision.image_size, c->vision.image_size)), c->vision.num_layers);
    sn_clip_vision_pooled(g, &c->vision, hidden); /* transformers' tower has the last norm, which LLaVA does not use */
    sn_projector(g, &c->projector, hidden);
    sn_lm lm = sn_llama(&c->llama);
    sn_lm_parameters(g, &lm);
}

static sn_store_entry *find_part(const work *w, const char *name) {
    const sn_model *part = strncmp(name, "vision.", 7) == 0 ? w->vision : strncmp(name, "decoder.", 8) == 0 ? w->llm : w->connector;
    return part ? sn_store_find(part->store, name) : NULL;
}

/* A part's values in that shape; a table that grows gets rows that are the mean of those it has. */
static sn_status take(sn_store_entry *e, const sn_shape *shape, float *to, sn_error *error) {
    sn_status status = sn_weight_ready(&e->weight, error);
    if (status) return status;
    int64_t columns = e->weight.columns, rows = e->weight.rows, count = sn_shape_count(shape);
    bool grows = shape->rank == 2 && e->weight.shape.rank == 2 && shape->dim[1] == columns && shape->dim[0] >= rows;
    if (!grows && rows * columns != count) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %lld values, expected %lld", e->file, e->published, (long long)(rows * columns), (long long)count);
    for (int64_t r = 0; r < rows; r++) sn_weight_row_floats(&e->weight, r, to + r * columns);
    for (int64_t i = rows * columns; i < count; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += (double)to[r * columns + i % columns];
        to[i] = (float)(sum / (double)rows);
    }
    return SN_OK;
}

static sn_status add_parameter(work *w, sn_store *store, const sn_parameter *p, const sn_shape *shape, const sn_names *names, int num_names, sn_error *error) {
    char published[512] = "";
    const sn_name_rule *rule;
    int i = 0;
    while (i < num_names && !sn_published_name(&names[i], p->name, published, sizeof published, &rule)) i++;
    if (i == num_names) return sn_fail(error, SN_ERROR_SUPPORT, "%s: has no name in Hugging Face's layout", p->name);
    sn_store_entry *part = find_part(w, p->name);
    if (!part) return sn_store_add_fresh(store, p->name, published, *shape, p->init, w->composition->seed, error);
    float *values = sn_alloc((size_t)sn_shape_count(shape), sizeof *values);
    sn_status status = values ? take(part, shape, values, error) : sn_fail_memory(error);
    sn_weight weight = sn_weight_view(SN_TYPE_F32, *shape, values);
    weight.owned = values;
    if (!status && sn_store_add(store, p->name, published, "", &weight)) return SN_OK;
    sn_free(values);
    return status ? status : sn_fail_memory(error);
}

static sn_status write_store(const work *w, const sn_store *store, sn_error *error) {
    sn_arena *arena = sn_arena_new();
    char *path = sn_path_join(w->folder, "model.safetensors");
    sn_tensor_out *tensors = sn_alloc(store->count + 1, sizeof *tensors);
    sn_status status = arena && path && tensors ? SN_OK : sn_fail_memory(error);
    for (size_t i = 0; i < store->count && !status; i++) {
        const sn_weight *weight = &store->entries[i]->weight;
        int64_t count = sn_shape_count(&weight->shape), bytes = 0;
        void *stored = sn_type_bytes(w->type, count, &bytes) ? sn_arena_alloc(arena, (size_t)bytes, 1) : NULL;
        if (!stored) status = sn_fail_memory(error);
        else sn_type_of(w->type)->from_float(weight->owned, stored, count);
        tensors[i] = (sn_tensor_out){store->entries[i]->published, w->type, weight->shape, stored};
    }
    if (!status) status = sn_safetensors_write(path, tensors, store->count, error);
    sn_free(tensors);
    sn_free(path);
    sn_arena_free(arena);
    return status;
}

static sn_status write_parameters(work *w, sn_graph *g, const sn_names *names, int num_names, sn_error *error) {
    sn_store *store = sn_store_new();
    sn_status status = store ? SN_OK : sn_fail_memory(error);
    if (!status && g->error.status) status = sn_fail(error, g->error.status, "%s", g->error.message);
    for (size_t i = 0; !status && i < g->num_params; i++)
        status = add_parameter(w, store, &g->params[i], &g->nodes[g->params[i].tensor].shape, names, num_names, error);
    if (!status) status = write_store(w, store, error);
    sn_store_free(store);
    return status;
}

static sn_status write_weights(work *w, sn_error *error) {
    const sn_names names[] = {{.rules = sn_clip_vision_names_hf, .canonical_prefix = "vision.", .published_prefix = "vision_tower.vision_model."},
                              {.rules = sn_llava_projector_hf, .canonical_prefix = "projector.", .published_prefix = "multi_modal_projector."},
                              {.rules = sn_llama_names_hf, .canonical_prefix = "decoder.", .published_prefix = "language_model.model."},
                              {.rules = sn_llama_head_hf, .canonical_prefix = "decoder.", .published_prefix = "language_model."}};
    sn_graph *g = sn_graph_new();
    if (!g) return sn_fail_memory(error);
    list_parameters(g, &w->whole);
    sn_status status = write_parameters(w, g, names, sizeof names / sizeof *names, error);
    sn_graph_free(g);
    return status;
}

/* ---- the files beside them ---- */

/* Takes over the object. */
static sn_status write_json(const work *w, const char *name, json_t *object, sn_error *error) {
    char *path = sn_path_join(w->folder, name), *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    sn_status status = path && text ? sn_write_file(path, text, strlen(text), error) : sn_fail_memory(error);
    json_decref(object);
    free(text);
    sn_free(path);
    return status;
}

/* The number whose decimal is the shortest that gives this float: 1e-5 where the float's own is 9.9999997473787516e-6. */
static double shortest(float value) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return strtod(text, NULL);
}

static json_t *describe_vision(const sn_clip_vision_config *v) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f}", "model_type", "clip_vision_model", "hidden_size", (json_int_t)v->hidden_size, "intermediate_size",
                               (json_int_t)v->intermediate_size, "num_hidden_layers", (json_int_t)v->num_layers, "num_attention_heads", (json_int_t)v->num_heads, "image_size",
                               (json_int_t)v->image_size, "patch_size", (json_int_t)v->patch_size, "projection_dim", (json_int_t)v->hidden_size, "hidden_act",
                               v->activation == SN_UNARY_GELU ? "gelu" : "quick_gelu", "layer_norm_eps", shortest(v->layer_norm_eps));
}

static json_t *describe(const work *w) {
    const sn_clip_vision_config *v = &w->whole.vision;
    const sn_llama_config *t = &w->whole.llama;
    json_t *text = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:b, s:i, s:i, s:I}", "model_type", "llama", "hidden_size", (json_int_t)t->hidden_size,
                             "intermediate_size", (json_int_t)t->intermediate_size, "num_hidden_layers", (json_int_t)t->num_layers, "num_attention_heads", (json_int_t)t->num_heads,
                             "num_key_value_heads", (json_int_t)t->num_kv_heads, "head_dim", (json_int_t)t->head_dim, "vocab_size", (json_int_t)t->vocab_size, "max_position_embeddings",
                             (json_int_t)t->max_positions, "hidden_act", "silu", "rms_norm_eps", shortest(t->rms_norm_eps), "rope_theta", (double)t->rope_theta, "tie_word_embeddings", t->tied_head,
                             "bos_token_id", 1, "eos_token_id", 2, "pad_token_id", (json_int_t)w->pad_id);
    return json_pack("{s:[s], s:s, s:I, s:I, s:s, s:b, s:I, s:s, s:b, s:s, s:o, s:o}", "architectures", "LlavaForConditionalGeneration", "model_type", "llava", "image_token_index",
                     (json_int_t)w->image_id, "image_seq_length", (json_int_t)(sn_clip_patches(v) + w->whole.keep_class), "projector_hidden_act", "gelu", "multimodal_projector_bias", 1,
                     "vision_feature_layer", (json_int_t)w->whole.select_layer, "vision_feature_select_strategy", w->whole.keep_class ? "full" : "default", "tie_word_embeddings", t->tied_head,
                     "dtype", sn_type_of(w->type)->name[0] == 'b' ? "bfloat16" : w->type == SN_TYPE_F32 ? "float32" : "float16", "vision_config", describe_vision(v), "text_config", text);
}

static json_t *describe_words(const work *w) {
    json_t *added = json_object(), *out;
    const struct { int64_t id; const char *content; } tokens[] = {{0, "<unk>"}, {1, "<s>"}, {2, "</s>"}, {w->image_id, "<image>"}, {w->pad_id, "<pad>"}};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)tokens[i].id);
        json_object_set_new(added, id, json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", tokens[i].content, "lstrip", 0, "rstrip", 0, "normalized", 0, "single_word", 0, "special", 1));
    }
    out = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:b, s:I, s:o}", "bos_token", "<s>", "eos_token", "</s>", "unk_token", "<unk>", "pad_token", "<pad>", "add_bos_token", 1, "add_eos_token", 0,
                    "tokenizer_class", "LlamaTokenizer", "legacy", 1, "model_max_length", (json_int_t)w->whole.llama.max_positions, "added_tokens_decoder", added);
    return out;
}

static sn_status write_words(const work *w, sn_error *error) {
    sn_status status = copy_file(w->words, w->folder, "tokenizer.model", true, error);
    if (!status && !w->adds_tokens) status = copy_file(w->words, w->folder, "added_tokens.json", false, error);
    if (!status && !w->adds_tokens) return copy_file(w->words, w->folder, "tokenizer_config.json", false, error);
    if (!status) status = write_json(w, "added_tokens.json", json_pack("{s:I, s:I}", "<image>", (json_int_t)w->image_id, "<pad>", (json_int_t)w->pad_id), error);
    return status ? status : write_json(w, "tokenizer_config.json", describe_words(w), error);
}

static sn_status write_processor(const work *w, sn_error *error) {
    const char *vision = w->composition->vision;
    if (vision && sn_is_directory(vision) && sn_folder_holds(vision, "preprocessor_config.json")) return copy_file(vision, w->folder, "preprocessor_config.json", true, error);
    json_int_t size = (json_int_t)w->whole.vision.image_size;
    return write_json(w, "preprocessor_config.json",
                      json_pack("{s:s, s:b, s:{s:I}, s:i, s:b, s:{s:I, s:I}, s:b, s:f, s:b, s:b, s:[f,f,f], s:[f,f,f]}", "image_processor_type", "CLIPImageProcessor", "do_resize", 1, "size",
                                "shortest_edge", size, "resample", 3, "do_center_crop", 1, "crop_size", "height", size, "width", size, "do_rescale", 1, "rescale_factor", 1.0 / 255, "do_normalize", 1,
                                "do_convert_rgb", 1, "image_mean", 0.48145466, 0.4578275, 0.40821073, "image_std", 0.26862954, 0.26130258, 0.27577711),
                      error);
}

sn_status sn_compose(sn_engine *engine, const sn_composition *c, const char *folder, sn_error *error) {
    work w = {.composition = c, .folder = folder};
    sn_status status = open_part(engine, c->vision, &w.vision, error);
    if (!status) status = open_part(engine, c->llm, &w.llm, error);
    if (!status) status = open_part(engine, c->connector, &w.connector, error);
    if (!status) status = choose_vision(&w, error);
    if (!status) status = choose_llm(&w, error);
    if (!status) status = choose_words(&w, error);
    w.whole.projector = (sn_projector_config){.in = w.whole.vision.hidden_size, .out = w.whole.llama.hidden_size, .depth = 2, .bias = true};
    if (!status) status = sn_make_folder(folder, error);
    if (!status) status = write_words(&w, error);
    if (!status) status = write_processor(&w, error);
    if (!status) status = write_json(&w, "generation_config.json", json_pack("{s:i, s:i, s:I}", "bos_token_id", 1, "eos_token_id", 2, "pad_token_id", (json_int_t)w.pad_id), error);
    if (!status) status = write_json(&w, "config.json", describe(&w), error);
    if (!status) status = write_weights(&w, error); /* last: a folder with weights is whole */
    sn_model_close(w.vision);
    sn_model_close(w.llm);
    sn_model_close(w.connector);
    return status;
}

sn_status sn_compose_tower(sn_engine *engine, const char *vision, const char *folder, sn_error *error) {
    const sn_names names[] = {{.rules = sn_clip_vision_names_hf, .canonical_prefix = "vision.", .published_prefix = "vision_model."}};
    const sn_composition c = {.vision = vision};
    work w = {.composition = &c, .folder = folder, .type = SN_TYPE_F32};
    sn_graph *g = sn_graph_new();
    sn_status status = g ? open_part(engine, vision, &w.vision, error) : sn_fail_memory(error);
    if (!status) status = choose_vision(&w, error);
    if (!status) status = sn_make_folder(folder, error);
    if (!status) status = write_processor(&w, error);
    if (!status) status = write_json(&w, "config.json", describe_vision(&w.whole.vision), error);
    if (!status) {
        const sn_clip_vision_config *v = &w.whole.vision;
        sn_clip_vision_pooled(g, v, sn_clip_vision_hidden(g, v, sn_input(g, SN_TYPE_F32, SN_SHAPE(1, 3, v->image_size, v->image_size)), v->num_layers));
        status = write_parameters(&w, g, names, 1, error);
    }
    sn_model_close(w.vision);
    sn_graph_free(g);
    return status;
}
