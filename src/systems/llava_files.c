/* How LLaVA is published: one folder in Hugging Face's layout; the authors' folder with CLIP elsewhere, or
 * inside; a projector in a file of its own; a delta; LoRA files. What it is is seen from configurations and tensor
 * names; the folder's name is only the last hint for the template. */
#include "decoders/llama_files.h"
#include "encoders/clip_files.h"
#include "encoders/clip_gguf.h"
#include "systems/llava.h"
#include "systems/parts.h"

#include <stdio.h>
#include <string.h>

static const sn_name_rule projector_linear[] = {{"0.weight", "weight", 0, 0, 0, 0}, {"0.bias", "bias", 0, 0, 0, 0}, {0}};
/* torch's Sequential counts the GELUs: layer i is number 2 i */
static const sn_name_rule projector_mlp[] = {
    {"0.weight", "0.weight", 0, 0, 0, 0}, {"0.bias", "0.bias", 0, 0, 0, 0}, {"1.weight", "2.weight", 0, 0, 0, 0}, {"1.bias", "2.bias", 0, 0, 0, 0},
    {"2.weight", "4.weight", 0, 0, 0, 0}, {"2.bias", "4.bias", 0, 0, 0, 0}, {"3.weight", "6.weight", 0, 0, 0, 0}, {"3.bias", "6.bias", 0, 0, 0, 0}, {0}};
const sn_name_rule sn_llava_projector_hf[] = {
    {"0.weight", "linear_1.weight", 0, 0, 0, 0}, {"0.bias", "linear_1.bias", 0, 0, 0, 0}, {"1.weight", "linear_2.weight", 0, 0, 0, 0}, {"1.bias", "linear_2.bias", 0, 0, 0, 0}, {0}};

/* ---- which of them ---- */

/* The files by what they are. `folder` holds the config.json that describes the projector and the tower. */
typedef struct release {
    const char *layout, *folder, *connector;
    const char *main; /* holds what is not LLaMA's own: tower, projector */
    sn_llama_files llm;
} release;

static bool is_adapter(const char *folder) { return folder && sn_folder_holds(folder, "adapter_config.json"); }

static const char *main_folder(const sn_model_files *files) { return files->delta ? files->delta : files->main ? files->main : files->llm; }

/* The first tensor whose name contains the text, or NULL. */
static const char *name_with(const sn_source *s, const char *text) {
    for (size_t i = 0; i < s->count; i++)
        if (strstr(s->tensors[i].name, text)) return s->tensors[i].name;
    return NULL;
}

/* Whether a folder's tensors tell of LLaVA where config.json does not. */
static bool has_projector(const char *folder) {
    sn_source *source = NULL;
    bool found = !sn_source_open(folder, &source, NULL) && name_with(source, "mm_projector.");
    sn_source_close(source);
    return found;
}

int sn_llava_recognise(const sn_model_files *files, const char **why) {
    const char *folder = main_folder(files);
    if (files->connector) {
        *why = "a projector file was given";
        return 10;
    }
    json_t *config = NULL;
    if (!folder || !sn_is_directory(folder) || sn_model_json(folder, "config.json", &config, NULL)) return 0;
    if (!config && is_adapter(folder) && files->base && sn_model_json(files->base, "config.json", &config, NULL)) return 0; /* PEFT writes none beside it */
    const char *type = sn_json_string(config, "model_type");
    int sure = 9;
    if (files->delta && (sn_json_at(config, "mm_vision_tower") || files->vision)) *why = "a base model and a delta were given";
    else if (is_adapter(folder) && (sn_json_at(config, "mm_vision_tower") || sn_folder_holds(folder, "non_lora_trainables.bin"))) *why = "adapter_config.json: LoRA files, with LLaVA's config.json or projector";
    else if (sn_json_at(config, "mm_vision_tower") || sn_json_at(config, "mm_projector_type")) *why = "config.json: mm_vision_tower";
    else if (type && strncmp(type, "llava", 5) == 0) *why = sn_json_at(config, "vision_config") ? "config.json: model_type llava with a vision_config" : "config.json: model_type llava";
    else if (type && strcmp(type, "llama") == 0 && !files->base && has_projector(folder)) *why = "the checkpoint holds mm_projector, though config.json says llama";
    else sure = 0;
    json_decref(config);
    return sure;
}

static sn_status sort_files(const sn_model_files *files, release *r, sn_error *error) {
    const char *main = main_folder(files);
    if (files->delta && !files->base) return sn_fail(error, SN_ERROR_USAGE, "%s: a delta needs its base model; give it with --base", files->delta);
    if (is_adapter(main) && !files->base) return sn_fail(error, SN_ERROR_USAGE, "%s: LoRA files need their base model; give it with --base", main);
    if (!main) return sn_fail(error, SN_ERROR_USAGE, "%s: a projector needs its language model; give it with --llm", files->connector);
    *r = (release){.folder = main, .main = main, .connector = files->connector};
    if (is_adapter(main)) {
        r->layout = "authors' LoRA on a base model", r->main = files->base;
        r->llm = (sn_llama_files){.path = files->base, .adapter = main};
    } else if (files->base) {
        r->layout = "authors' delta on a base model";
        r->llm = (sn_llama_files){.path = files->base, .delta = main};
    } else {
        r->layout = files->connector ? "authors' projector on a base model" : "authors' directory";
        r->llm = (sn_llama_files){.path = main};
    }
    return SN_OK;
}

/* ---- which template ---- */

/* A Jinja template is not executed; one that does not write what ours does is named. */
static void check_chat_template(sn_model *m, const char *folder) {
    static const char *const files[] = {"chat_template.json", "tokenizer_config.json"};
    for (size_t i = 0; i < 2; i++) {
        json_t *root = NULL;
        if (sn_model_json(folder, files[i], &root, NULL) || !root) continue;
        const char *text = sn_json_string(root, "chat_template");
        if (text && !(strstr(text, "ASSISTANT:") && (strstr(text, "USER:") || strstr(text, "role'].upper()") || strstr(text, "role'] | upper") || strstr(text, "role']|upper"))))
            sn_model_warn(m, "%s: chat_template is another one than LLaVA's and is not executed; %s is used (--template names another)", files[i], m->template_name);
        json_decref(root);
    }
}

/* By evidence first; the folder's name decides only where nothing else does, and that is said. */
static sn_status choose_template(sn_model *m, const json_t *config, const char *path, sn_error *error) {
    static const struct { const char *part, *template; } by_name[] = {{"llama-2", "llava_llama_2"}, {"v1", "llava_v1"}};
    sn_llava *c = m->own;
    const char *projector = sn_json_string(config, "mm_projector_type"), *aspect = sn_json_string(config, "image_aspect_ratio"), *name = NULL;
    char *folder = sn_path_name(path);
    if (!folder) return sn_fail_memory(error);
    if (c->code_of_may_2023) name = "multimodal", m->template_reason = "base + delta of the first release";
    else if (strncmp(m->layout, "Hugging Face", strlen("Hugging Face")) == 0) name = "hf", m->template_reason = "Hugging Face layout";
    else if (projector && strncmp(projector, "mlp", 3) == 0) name = "llava_v1", m->template_reason = "mm_projector_type is an MLP (version 1.5)";
    else if (aspect && strcmp(aspect, "pad") == 0) name = "llava_v1", m->template_reason = "image_aspect_ratio is pad (version 1.5)";
    else if (c->use_im_start_end && c->llama.vocab_size >= 32003) name = "llava_v0", m->template_reason = "mm_use_im_start_end with added rows (first release)";
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name && !name; i++)
        if (strstr(folder, by_name[i].part)) {
            name = by_name[i].template;
            m->template_reason = sn_arena_format(m->arena, "nothing but the folder's name %s tells, which contains %s", folder, by_name[i].part);
        }
    if (!name) name = "llava_v0", m->template_reason = "nothing speaks for a later one";
    sn_free(folder);
    if (!m->template_reason) return sn_fail_memory(error);
    c->template = sn_template_find(name, c->code_of_may_2023);
    m->template_name = name;
    check_chat_template(m, path);
    return SN_OK;
}

/* ---- opening ---- */

static sn_status read_projector_type(const json_t *config, sn_projector_config *p, bool *sequential, sn_error *error) {
    const char *type = sn_json_string(config, "mm_projector_type");
    int depth = 0, used = 0;
    *sequential = false;
    p->bias = true;
    if (!type || strcmp(type, "linear") == 0) p->depth = 1;
    else if (strcmp(type, "identity") == 0) p->depth = 0;
    else if (sscanf(type, "mlp%dx_gelu%n", &depth, &used) == 1 && type[used] == 0 && depth >= 1 && depth <= 4) p->depth = depth, *sequential = true;
    else return sn_fail(error, SN_ERROR_SUPPORT, "config.json: mm_projector_type: found %s, expected linear, identity or mlp{1..4}x_gelu", type);
    return SN_OK;
}

/* Kinds of LLaVA that came later are refused, not run wrong. */
static sn_status refuse_later_kinds(const json_t *config, sn_error *error) {
    const char *type = sn_json_string(config, "model_type"), *merge = sn_json_string(config, "mm_patch_merge_type"), *aspect = sn_json_string(config, "image_aspect_ratio");
    if (type && strncmp(type, "llava", 5) == 0 && strcmp(type, "llava") != 0 && strcmp(type, "llava_llama") != 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "config.json: model_type: found %s, expected llava or llava_llama", type);
    if (merge && strcmp(merge, "flat") != 0) return sn_fail(error, SN_ERROR_SUPPORT, "config.json: mm_patch_merge_type: found %s, expected flat; LLaVA-1.6 (anyres) is not supported", merge);
    if (aspect && strcmp(aspect, "pad") != 0 && strcmp(aspect, "square") != 0 && strcmp(aspect, "keep") != 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "config.json: image_aspect_ratio: found %s, expected square or pad; LLaVA-1.6 (anyres) is not supported", aspect);
    return SN_OK;
}

/* What the three parts must agree on. */
static sn_status join_parts(sn_model *m, sn_error *error) {
    sn_llava *c = m->own;
    int64_t layers = c->vision.num_layers, layer = c->select_layer < 0 ? c->select_layer + layers + 1 : c->select_layer;
    if (layer < 0 || layer > layers) return sn_fail(error, SN_ERROR_INPUT, "config.json: the selected vision layer %lld lies outside the tower's %lld layers", (long long)c->select_layer, (long long)layers);
    c->projector.in = c->vision.hidden_size, c->projector.out = c->llama.hidden_size;
    if (c->projector.depth == 0 && c->projector.in != c->projector.out)
        return sn_fail(error, SN_ERROR_INPUT, "config.json: mm_projector_type identity, but the tower's width is %lld and the language model's %lld", (long long)c->projector.in, (long long)c->projector.out);
    m->media_positions = sn_clip_patches(&c->vision) + c->keep_class;
    m->vision_blocks_run = layer;
    m->strip_answer = true;
    for (int i = 0; i < m->num_names; i++) /* blocks behind the selected layer are not asked for */
        if (strcmp(m->names[i].canonical_prefix, "vision.") == 0) m->names[i].partial = true;
    return SN_OK;
}

/* Tower and projector in one GGUF file, as llama.cpp takes them; *layer is the hidden state that the file means. The
 * model's own copies are known and not needed. */
static sn_status open_mmproj(sn_model *m, const char *path, int64_t *layer, sn_error *error) {
    sn_llava *c = m->own;
    sn_source *source;
    const sn_name_rule *names;
    sn_status status = sn_model_source(m, path, &source, error);
    if (!status && !source->gguf) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: a tower beside a model in Hugging Face's layout: expected a GGUF file with the projector (mmproj)", path);
    if (!status) status = sn_clip_vision_config_gguf(source, &c->vision, layer, &names, error);
    if (status) return status;
    c->projector = (sn_projector_config){.depth = sn_source_find(source, "mm.2.weight") ? 2 : 1, .bias = true};
    if (!sn_model_names(m, names, "vision.", "v.", &source, 1) || !sn_model_names(m, projector_mlp, "projector.", "mm.", &source, 1)) return sn_fail_memory(error);
    m->has_vision = true, m->image_size = c->vision.image_size, m->vision_blocks = c->vision.num_layers;
    m->processor = sn_image_processor_clip((int)m->image_size);
    m->vision_from = sn_arena_strdup(m->arena, path);
    return SN_OK;
}

static bool is_mmproj(const char *path) {
    sn_source *source = NULL;
    bool found = path && sn_is_file(path) && !sn_source_open(path, &source, NULL) && source->gguf && sn_source_find(source, "v.patch_embd.weight");
    sn_source_close(source);
    return found;
}

/* What was trained beside the low-rank updates: the projector, and perhaps whole tensors, which win over the base's. */
static sn_status open_trainables(sn_model *m, const char *folder, sn_source **out, sn_error *error) {
    const char *table, *head;
    char *path = sn_path_join(folder, "non_lora_trainables.bin");
    if (!path) return sn_fail_memory(error);
    sn_status status = sn_is_file(path) ? sn_model_source(m, path, out, error)
                                        : sn_fail(error, SN_ERROR_INPUT, "%s: projector missing: non_lora_trainables.bin, which training writes beside adapter_model.bin, is not there", folder);
    sn_free(path);
    if (!status) status = sn_source_prefix(*out, "embed_tokens.weight", m->arena, &table, error);
    if (!status) status = sn_source_prefix(*out, "lm_head.weight", m->arena, &head, error);
    sn_names *names[] = {!status && table ? sn_model_names(m, sn_llama_names_hf, "decoder.", table, out, 1) : NULL, !status && head ? sn_model_names(m, sn_llama_head_hf, "decoder.", head, out, 1) : NULL};
    for (int i = 0; i < 2; i++)
        if (names[i]) names[i]->partial = true;
    return status;
}

/* The projector in Hugging Face's names: of the base, or of what was trained beside updates of it (NULL where nothing was). */
static sn_status open_projector_hf(sn_model *m, sn_source *base, sn_source *trained, sn_error *error) {
    const char *prefix, *own = NULL;
    sn_status status = sn_source_prefix(base, "linear_1.weight", m->arena, &prefix, error);
    if (!status && trained) status = sn_source_prefix(trained, "linear_1.weight", m->arena, &own, error);
    if (status) return status;
    if (!prefix) prefix = "multi_modal_projector.";
    if (own && !sn_model_skip(m, sn_llava_projector_hf, prefix, base)) return sn_fail_memory(error);
    return sn_model_names(m, sn_llava_projector_hf, "projector.", own ? own : prefix, own ? &trained : &base, 1) ? SN_OK : sn_fail_memory(error);
}

/* One folder with all parts, key names of three ages; perhaps with low-rank updates from another. */
static sn_status open_hf(sn_model *m, const sn_model_files *files, const release *r, const json_t *config, sn_error *error) {
    sn_llava *c = m->own;
    sn_source *source, *trained = NULL;
    const char *folder = r->main, *tower, *projector, *act = sn_json_string(config, "projector_hidden_act"), *strategy = sn_json_string(config, "vision_feature_select_strategy");
    int64_t layer = -2, image_id = -1;
    m->layout = r->llm.adapter ? "Hugging Face, LoRA on a base model" : "Hugging Face", m->ids_known = true;
    /* tokenizer.json's normaliser puts a blank in front of every stretch between special tokens; a model that was
     * trained with tokenizer.model alone has seen it at the beginning only (models/demo) */
    char *fast = sn_path_join(files->tokenizer ? files->tokenizer : folder, "tokenizer.json");
    if (!fast) return sn_fail_memory(error);
    c->one_text = !sn_is_file(fast);
    sn_free(fast);
    const json_t *vision = sn_json_at(config, "vision_config"), *text = sn_json_at(config, "text_config");
    if (!json_is_object(vision) || !json_is_object(text)) return sn_fail(error, SN_ERROR_INPUT, "%s/config.json: expected the objects vision_config and text_config", folder);
    if (act && strcmp(act, "gelu") != 0) return sn_fail(error, SN_ERROR_SUPPORT, "config.json: projector_hidden_act: found %s, expected gelu", act);
    if (strategy && strcmp(strategy, "default") != 0 && strcmp(strategy, "full") != 0)
        return sn_fail(error, SN_ERROR_INPUT, "config.json: vision_feature_select_strategy: found %s, expected default or full", strategy);
    sn_status status = r->llm.adapter && sn_folder_holds(r->llm.adapter, "non_lora_trainables.bin") ? open_trainables(m, r->llm.adapter, &trained, error) : SN_OK; /* first: what was trained wins */
    if (!status) status = sn_open_llama(m, &(sn_llama_files){.path = folder, .adapter = r->llm.adapter}, text, "config.json: text_config", &c->llama, &source, error);
    if (!status) status = sn_source_prefix(source, "embeddings.class_embedding", m->arena, &tower, error);
    if (!status) status = sn_source_prefix(source, "linear_1.weight", m->arena, &projector, error);
    if (status) return status;
    if (!tower) tower = "vision_tower.vision_model.";
    if (!projector) projector = "multi_modal_projector.";
    if (files->vision) {
        status = open_mmproj(m, files->vision, &layer, error);
        sn_model_skip(m, sn_clip_vision_names_hf, tower, source);
        sn_model_skip(m, sn_llava_projector_hf, projector, source);
    } else {
        status = sn_open_clip_tower(m, files, folder, source, tower, &c->vision, error);
        m->vision_from = "the model's own folder";
        if (!status) status = open_projector_hf(m, source, trained, error);
        c->projector = (sn_projector_config){.depth = 2, .bias = sn_json_bool(config, "multimodal_projector_bias", true)};
        if (!status) status = sn_json_integer("config.json", config, "vision_feature_layer", -1000, 1000, &layer, error);
    }
    if (status) return status;
    c->keep_class = strategy && strcmp(strategy, "full") == 0;
    c->select_layer = layer;
    if (!status) status = sn_json_integer("config.json", config, "image_token_index", 0, INT32_MAX, &image_id, error);
    if (!status) status = sn_json_integer("config.json", config, "image_token_id", 0, INT32_MAX, &image_id, error);
    m->media_id = (int32_t)image_id;
    return status;
}

/* The projector: everything after "mm_projector." counts, what stands before it varies with the tool that saved it. One
 * in a file of its own wins over the language model's. */
static sn_status open_projector(sn_model *m, const json_t *config, sn_source *source, sn_source *lm, sn_error *error) {
    sn_llava *c = m->own;
    bool sequential;
    sn_status status = read_projector_type(config, &c->projector, &sequential, error);
    const sn_name_rule *rules = sequential ? projector_mlp : projector_linear;
    sn_source *places[] = {source, lm};
    for (int i = 0; i < 2 && !status && c->projector.depth && (i == 0 || lm != source); i++) {
        const char *name = name_with(places[i], "mm_projector."), *prefix = i ? NULL : "model.mm_projector.";
        if (name) prefix = sn_arena_format(m->arena, "%.*smm_projector.", (int)(strstr(name, "mm_projector.") - name), name);
        if (i && prefix) sn_model_skip(m, rules, prefix, lm);
        else if (!i && (!prefix || !sn_model_names(m, rules, "projector.", prefix, &source, 1))) status = sn_fail_memory(error);
    }
    return status;
}

/* The tower: a folder's, unless the checkpoint holds a copy that was trained along or is all there is. */
static sn_status open_tower(sn_model *m, const sn_model_files *files, const char *folder, const json_t *config, sn_source *lm, sn_error *error) {
    sn_llava *c = m->own;
    const char *name = sn_json_string(config, "mm_vision_tower"), *inner;
    sn_status status = sn_source_prefix(lm, "embeddings.class_embedding", m->arena, &inner, error);
    if (status) return status;
    char *tower = files->vision ? sn_strdup(files->vision) : name ? sn_find_folder(files, folder, name) : NULL;
    bool trained = inner && sn_json_bool(config, "unfreeze_mm_vision_tower", false);
    sn_source *weights = NULL;
    if (!tower && !inner)
        status = name ? sn_fail(error, SN_ERROR_INPUT, "%s: the vision tower %s is neither beside the model nor in the caches; give its folder with --vision, or a folder that holds it with --models", folder, name)
                      : sn_fail(error, SN_ERROR_INPUT, "%s/config.json: mm_vision_tower: missing; give the tower's folder with --vision", folder);
    else if (tower && inner && !trained && sn_model_source(m, tower, &weights, NULL)) trained = true; /* its folder has a configuration only */
    if (!status && inner && (trained || !tower)) {
        status = sn_open_clip_tower(m, files, tower, lm, inner, &c->vision, error);
        m->vision_from = !tower ? "the checkpoint itself: no folder of the tower was found" : "the checkpoint itself: it was trained along, or its folder holds no weights";
    } else if (!status) {
        status = sn_open_clip_tower(m, files, tower, NULL, NULL, &c->vision, error);
        m->vision_from = sn_arena_format(m->arena, "%s%s", tower, inner ? " (the checkpoint's own copy is not used)" : "");
        if (inner && !status) sn_model_skip(m, sn_clip_vision_names_hf, inner, lm);
        if (!status) sn_skip_rest_of_clip(m, tower);
    }
    sn_free(tower);
    return status;
}

/* A projector's file; where stage 1 trained <im_start> and <im_end>, it holds the token table too. */
static sn_status open_marks(sn_model *m, const char *path, sn_source **out, sn_error *error) {
    static const sn_name_rule table[] = {{"table.weight", "embed_tokens.weight", 0, 0, 0, 0}, {0}};
    const char *prefix;
    sn_status status = sn_model_source(m, path, out, error);
    if (!status) status = sn_source_prefix(*out, "embed_tokens.weight", m->arena, &prefix, error);
    if (status || !prefix) return status;
    char *name = sn_arena_format(m->arena, "%sembed_tokens.weight", prefix);
    if (!name) return sn_fail_memory(error);
    ((sn_llava *)m->own)->marks = sn_source_find(*out, name);
    return sn_model_skip(m, table, prefix, *out) ? SN_OK : sn_fail_memory(error);
}

/* The authors' layout: a LLaMA folder with the projector in it or in a file of its own, CLIP elsewhere. */
static sn_status open_authors(sn_model *m, const sn_model_files *files, const release *r, const json_t *config, const json_t *llm_config, sn_error *error) {
    sn_llava *c = m->own;
    sn_source *lm, *projector;
    m->layout = r->layout;
    sn_status status = r->llm.adapter ? open_trainables(m, r->llm.adapter, &projector, error) : SN_OK; /* first: what was trained wins */
    if (!status) status = sn_open_llama(m, &r->llm, llm_config, "config.json", &c->llama, &lm, error);
    if (status) return status;
    if (!r->llm.adapter || !name_with(projector, "mm_projector.")) projector = lm;
    if (r->connector) status = open_marks(m, r->connector, &projector, error);
    int64_t layer = -2;
    if (!status && is_mmproj(files->vision)) {
        status = open_mmproj(m, files->vision, &layer, error);
        sn_model_skip(m, projector_mlp, "model.mm_projector.", lm);
        sn_model_skip(m, projector_linear, "model.mm_projector.", lm);
    } else if (!status) {
        if (!(status = open_projector(m, config, projector, lm, error))) status = open_tower(m, files, r->folder, config, lm, error);
        if (!status) status = sn_json_integer("config.json", config, "mm_vision_select_layer", -1000, 1000, &layer, error);
    }
    if (status) return status;
    const char *feature = sn_json_string(config, "mm_vision_select_feature"), *aspect = sn_json_string(config, "image_aspect_ratio");
    if (feature && strcmp(feature, "patch") != 0 && strcmp(feature, "cls_patch") != 0)
        return sn_fail(error, SN_ERROR_INPUT, "config.json: mm_vision_select_feature: found %s, expected patch or cls_patch", feature);
    c->keep_class = feature && strcmp(feature, "cls_patch") == 0;
    c->use_im_start_end = sn_json_bool(config, "mm_use_im_start_end", false);
    c->code_of_may_2023 = r->llm.delta != NULL;
    m->processor.pad_square |= aspect && strcmp(aspect, "pad") == 0;
    c->select_layer = layer;
    int64_t width = c->vision.hidden_size;
    if (!status) status = sn_json_integer("config.json", config, "mm_hidden_size", 1, SN_CONFIG_MAX, &width, error);
    if (!status && width != c->vision.hidden_size)
        status = sn_fail(error, SN_ERROR_INPUT, "config.json: mm_hidden_size: found %lld, but the tower's width is %lld: another tower?", (long long)width, (long long)c->vision.hidden_size);
    return status;
}

/* Hugging Face's layout, or the authors': configuration and tensor names must say the same. */
static sn_status tell_layout(sn_model *m, const release *r, const json_t *config, bool *is_hf, sn_error *error) {
    bool says_hf = sn_json_at(config, "vision_config") != NULL, says_authors = sn_json_at(config, "mm_vision_tower") != NULL;
    *is_hf = says_hf && !r->connector && !r->llm.delta && (!r->llm.adapter || !says_authors);
    if (r->connector || r->llm.delta || r->llm.adapter) return SN_OK;
    sn_source *source;
    sn_status status = sn_model_source(m, r->main, &source, error);
    if (status) return status;
    const char *hf = name_with(source, "multi_modal_projector."), *authors = name_with(source, "mm_projector.");
    if (hf && authors) return sn_fail(error, SN_ERROR_INPUT, "%s: holds %s (Hugging Face's layout) and %s (the authors'); only one of them can be meant", r->main, hf, authors);
    if ((hf && !says_hf) || (authors && says_hf && !says_authors))
        return sn_fail(error, SN_ERROR_INPUT, "%s: the tensors are named as in %s layout (%s), config.json is of the other", r->main, hf ? "Hugging Face's" : "the authors'", hf ? hf : authors);
    if (hf || authors) *is_hf = hf != NULL;
    return SN_OK;
}

/* The base must be LLaMA itself: one with more rows than its vocabulary has pieces was trained further. */
static sn_status check_base_rows(sn_model *m, const release *r, sn_error *error) {
    const sn_source *base = m->names[0].sources[0];
    char name[512], *path = sn_path_join(sn_folder_holds(r->llm.path, "tokenizer.model") ? r->llm.path : r->folder, "tokenizer.model");
    const sn_source_tensor *table = sn_published_name(&m->names[0], "decoder.embed.weight", name, sizeof name, NULL) ? sn_source_find(base, name) : NULL;
    sn_tokenizer *pieces = NULL;
    sn_status status = SN_OK;
    if (path && table && table->shape.rank == 2 && sn_is_file(path) && !sn_tokenizer_open(path, true, &pieces, NULL) && table->shape.dim[0] > sn_tokenizer_about(pieces)->vocab_size)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: wrong base model: its table has %lld rows, LLaMA's vocabulary %d tokens; a delta is added to LLaMA itself, not to Vicuna", r->llm.path,
                         (long long)table->shape.dim[0], sn_tokenizer_about(pieces)->vocab_size);
    sn_tokenizer_close(pieces);
    sn_free(path);
    return status;
}

/* config.json of the files: `config` describes projector and tower, `llm` the language model (NULL: Meta's layout). */
static sn_status read_configs(const release *r, json_t **config, json_t **llm, sn_error *error) {
    const char *llm_folder = r->llm.delta ? r->llm.delta : r->llm.path;
    sn_status status = sn_model_json(llm_folder, "config.json", llm, error);
    if (!status && !*llm && !sn_folder_holds(llm_folder, "params.json")) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no config.json", llm_folder);
    if (!status && r->connector) { /* the projector's own config.json decides about the projector */
        char *beside = sn_path_parent(r->connector);
        status = beside ? sn_model_json(beside, "config.json", config, error) : sn_fail_memory(error);
        sn_free(beside);
    } else if (!status && r->llm.adapter) {
        status = sn_model_json(r->llm.adapter, "config.json", config, error);
    }
    if (!status && !*config) *config = json_incref(*llm);
    if (!status && !*config) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no config.json that describes the projector", r->connector ? r->connector : r->folder);
    return status;
}

/* The tokenizer: LoRA files come without one, the base's counts. */
static const char *words_of(const sn_model_files *files, const release *r) {
    if (files->tokenizer) return files->tokenizer;
    return sn_folder_holds(r->folder, "tokenizer.model") || sn_folder_holds(r->folder, "tokenizer.json") ? r->folder : r->llm.path;
}

sn_status sn_llava_open(sn_model *m, const sn_model_files *files, sn_error *error) {
    sn_llava *c = m->own = sn_arena_alloc(m->arena, 1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    release r = {0};
    json_t *llm_config = NULL, *config = NULL;
    bool is_hf = false;
    sn_status status = sort_files(files, &r, error);
    if (!status && r.connector && sn_folder_holds(r.connector, "mm_projector.bin") && !(r.connector = sn_arena_format(m->arena, "%s/mm_projector.bin", r.connector))) status = sn_fail_memory(error);
    if (!status) status = read_configs(&r, &config, &llm_config, error);
    if (!status) status = refuse_later_kinds(config, error);
    if (!status) status = tell_layout(m, &r, config, &is_hf, error);
    if (!status) status = is_hf ? open_hf(m, files, &r, config, error) : open_authors(m, files, &r, config, llm_config, error);
    if (!status && r.llm.delta) status = check_base_rows(m, &r, error);
    if (!status) status = join_parts(m, error);
    if (!status) status = sn_open_tokenizer(m, words_of(files, &r), error);
    if (!status) sn_read_stop_ids(m, is_hf ? r.main : r.folder, llm_config);
    if (!status) status = choose_template(m, config, r.folder, error);
    json_decref(config);
    json_decref(llm_config);
    return status;
}
