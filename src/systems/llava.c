/* LLaVA (Liu et al., arXiv 2304.08485 and 2310.03744): CLIP's patches through a projector into the place of the
 * picture in LLaMA's sequence. */
#include "systems/llava.h"

#include "decoders/llama_files.h"
#include "encoders/clip_files.h"
#include "systems/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the model ---- */

/* vision.output = a hidden state of the tower, without the class token; connector.output = its projection. */
static sn_tensor encode(sn_graph *g, const sn_model *m, sn_tensor pixels) {
    const sn_llava *c = m->own;
    sn_tensor features = sn_clip_vision_hidden(g, &c->vision, pixels, c->select_layer);
    if (!c->keep_class) features = sn_slice(g, features, 1, 1, sn_clip_patches(&c->vision));
    sn_name(g, features, "vision.output");
    sn_tensor rows = sn_projector(g, &c->projector, features);
    sn_name(g, rows, "connector.output");
    return rows;
}

static void parameters(sn_graph *g, const void *context) {
    const sn_model *m = context;
    encode(g, m, sn_input(g, SN_TYPE_F32, SN_SHAPE(1, 3, m->image_size, m->image_size)));
    sn_lm_parameters(g, &m->lm);
}

/* ---- how it is published ---- */

static const sn_name_rule projector_linear[] = {{"0.weight", "weight", 0, 0, 0, 0}, {"0.bias", "bias", 0, 0, 0, 0}, {0}};
/* torch's Sequential counts the GELUs: layer i is number 2 i */
static const sn_name_rule projector_mlp[] = {
    {"0.weight", "0.weight", 0, 0, 0, 0}, {"0.bias", "0.bias", 0, 0, 0, 0}, {"1.weight", "2.weight", 0, 0, 0, 0}, {"1.bias", "2.bias", 0, 0, 0, 0},
    {"2.weight", "4.weight", 0, 0, 0, 0}, {"2.bias", "4.bias", 0, 0, 0, 0}, {"3.weight", "6.weight", 0, 0, 0, 0}, {"3.bias", "6.bias", 0, 0, 0, 0}, {0}};
static const sn_name_rule projector_hf[] = {
    {"0.weight", "linear_1.weight", 0, 0, 0, 0}, {"0.bias", "linear_1.bias", 0, 0, 0, 0}, {"1.weight", "linear_2.weight", 0, 0, 0, 0}, {"1.bias", "linear_2.bias", 0, 0, 0, 0}, {0}};
/* A tower that users' training runs saved along (llava.md 4.1) is known and not wanted. */
static const sn_name_rule ignored_tower[] = {
    {NULL, "embeddings.class_embedding", 0, 0, 0, 0}, {NULL, "embeddings.patch_embedding.weight", 0, 0, 0, 0}, {NULL, "embeddings.position_embedding.weight", 0, 0, 0, 0},
    {NULL, "embeddings.position_ids", 0, 0, 0, 0}, {NULL, "pre_layrnorm.weight", 0, 0, 0, 0}, {NULL, "pre_layrnorm.bias", 0, 0, 0, 0},
    {NULL, "post_layernorm.weight", 0, 0, 0, 0}, {NULL, "post_layernorm.bias", 0, 0, 0, 0}, {0}};

static int recognise(const sn_model_files *files, const char **why) {
    if (files->delta) {
        *why = "a base model and a delta were given";
        return 10;
    }
    const char *folder = files->main ? files->main : files->llm;
    if (files->connector) {
        *why = "a projector file was given";
        return 10;
    }
    json_t *config = NULL;
    if (!folder || sn_model_json(folder, "config.json", &config, NULL) || !config) return 0;
    const char *type = sn_json_string(config, "model_type");
    int sure = 0;
    if (sn_json_at(config, "mm_vision_tower") || sn_json_at(config, "mm_projector_type")) sure = 9, *why = "config.json: mm_vision_tower";
    else if (type && strncmp(type, "llava", 5) == 0) sure = 9, *why = sn_json_at(config, "vision_config") ? "config.json: model_type llava with a vision_config" : "config.json: model_type llava";
    json_decref(config);
    return sure;
}

/* ---- which template ---- */

static sn_status choose_template(sn_model *m, const json_t *config, const char *path, sn_error *error) {
    sn_llava *c = m->own;
    const char *projector = sn_json_string(config, "mm_projector_type"), *aspect = sn_json_string(config, "image_aspect_ratio"), *name;
    char *folder = sn_path_name(path);
    if (!folder) return sn_fail_memory(error);
    if (c->code_of_may_2023) name = "multimodal", m->template_reason = "base + delta of the first release";
    else if (strcmp(m->layout, "Hugging Face") == 0) name = "hf", m->template_reason = "Hugging Face layout";
    else if (projector && strncmp(projector, "mlp", 3) == 0) name = "llava_v1", m->template_reason = "mm_projector_type is an MLP (version 1.5)";
    else if (aspect && strcmp(aspect, "pad") == 0) name = "llava_v1", m->template_reason = "image_aspect_ratio is pad (version 1.5)";
    else if (c->use_im_start_end && c->llama.vocab_size >= 32003) name = "llava_v0", m->template_reason = "mm_use_im_start_end with added rows (first release)";
    else if (strstr(folder, "llama-2")) name = "llava_llama_2", m->template_reason = "the folder's name contains llama-2";
    else if (strstr(folder, "v1")) name = "llava_v1", m->template_reason = "the folder's name contains v1";
    else name = "llava_v0", m->template_reason = "nothing speaks for a later one";
    sn_free(folder);
    c->template = sn_template_find(name, c->code_of_may_2023);
    m->template_name = name;
    return SN_OK;
}

/* ---- opening ---- */

static sn_status read_projector_type(const json_t *config, sn_projector_config *p, sn_error *error) {
    const char *type = sn_json_string(config, "mm_projector_type");
    int depth = 0, used = 0;
    if (!type || strcmp(type, "linear") == 0) p->depth = 1;
    else if (strcmp(type, "identity") == 0) p->depth = 0;
    else if (sscanf(type, "mlp%dx_gelu%n", &depth, &used) == 1 && type[used] == 0 && depth >= 1 && depth <= 4) p->depth = depth;
    else return sn_fail(error, SN_ERROR_SUPPORT, "config.json: mm_projector_type: found %s, expected linear, identity or mlp{1..4}x_gelu", type);
    const char *merge = sn_json_string(config, "mm_patch_merge_type");
    if (merge && strcmp(merge, "flat") != 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "config.json: mm_patch_merge_type: found %s, expected flat; LLaVA-1.6 (anyres) is not supported", merge);
    p->bias = true;
    return SN_OK;
}

/* What the three parts must agree on. */
static sn_status join_parts(sn_model *m, sn_error *error) {
    sn_llava *c = m->own;
    int64_t layers = c->vision.num_layers, layer = c->select_layer < 0 ? c->select_layer + layers + 1 : c->select_layer;
    if (layer < 0 || layer > layers) return sn_fail(error, SN_ERROR_INPUT, "config.json: the selected vision layer %lld lies outside the tower's %lld layers", (long long)c->select_layer, (long long)layers);
    c->projector.in = c->vision.hidden_size, c->projector.out = c->llama.hidden_size;
    m->media_positions = sn_clip_patches(&c->vision) + c->keep_class;
    m->strip_answer = true;
    return SN_OK;
}

static const char *hf_prefix(const sn_source *s, const char *const *prefixes, const char *probe) {
    for (; *prefixes; prefixes++) {
        char *name = sn_format("%s%s", *prefixes, probe);
        bool found = name && sn_source_find(s, name);
        sn_free(name);
        if (found) return *prefixes;
    }
    return NULL;
}

/* One folder with all parts, key names of three ages (llava.md 4.2). */
static sn_status open_hf(sn_model *m, const char *folder, const json_t *config, sn_error *error) {
    static const char *const towers[] = {"vision_tower.vision_model.", "model.vision_tower.vision_model.", "model.vision_tower.", "vision_tower.", NULL};
    static const char *const decoders[] = {"language_model.model.", "model.language_model.", NULL};
    static const char *const projectors[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
    sn_llava *c = m->own;
    sn_source *source;
    m->layout = "Hugging Face", m->ids_known = true;
    const json_t *vision = sn_json_at(config, "vision_config"), *text = sn_json_at(config, "text_config");
    if (!json_is_object(vision) || !json_is_object(text)) return sn_fail(error, SN_ERROR_INPUT, "%s/config.json: expected the objects vision_config and text_config", folder);
    sn_status status = sn_model_source(m, folder, &source, error);
    if (!status) status = sn_clip_vision_config_hf("config.json: vision_config", vision, &c->vision, error);
    if (status) return status;
    const char *tower = hf_prefix(source, towers, "embeddings.class_embedding"), *decoder = hf_prefix(source, decoders, "embed_tokens.weight"),
               *projector = hf_prefix(source, projectors, "linear_1.weight");
    if (!tower) tower = towers[0];
    if (!decoder) decoder = decoders[0];
    if (!projector) projector = projectors[0];
    status = sn_open_llama_hf(m, folder, text, "config.json: text_config", &c->llama, decoder, sn_source_find(source, "language_model.lm_head.weight") ? "language_model." : "", error);
    if (status) return status;
    sn_model_names(m, sn_clip_vision_names_hf, "vision.", tower, &source, 1);
    sn_model_names(m, projector_hf, "projector.", projector, &source, 1);
    c->projector = (sn_projector_config){.depth = 2, .bias = sn_json_bool(config, "multimodal_projector_bias", true)};
    const char *act = sn_json_string(config, "projector_hidden_act"), *strategy = sn_json_string(config, "vision_feature_select_strategy");
    if (act && strcmp(act, "gelu") != 0) return sn_fail(error, SN_ERROR_SUPPORT, "config.json: projector_hidden_act: found %s, expected gelu", act);
    if (strategy && strcmp(strategy, "default") != 0 && strcmp(strategy, "full") != 0)
        return sn_fail(error, SN_ERROR_INPUT, "config.json: vision_feature_select_strategy: found %s, expected default or full", strategy);
    c->keep_class = strategy && strcmp(strategy, "full") == 0;
    c->select_layer = -2;
    status = sn_json_integer("config.json", config, "vision_feature_layer", -1000, 1000, &c->select_layer, error);
    int64_t image_id = -1;
    if (!status) status = sn_json_integer("config.json", config, "image_token_index", 0, INT32_MAX, &image_id, error);
    if (!status) status = sn_json_integer("config.json", config, "image_token_id", 0, INT32_MAX, &image_id, error);
    m->media_id = (int32_t)image_id;
    m->has_vision = true, m->image_size = c->vision.image_size;
    m->processor = sn_image_processor_clip((int)m->image_size);
    char *file = sn_path_join(folder, "preprocessor_config.json");
    if (!status && file && sn_is_file(file)) status = sn_image_processor_read(file, &m->processor, error);
    sn_free(file);
    if (!status && (m->processor.width != m->image_size || m->processor.height != m->image_size))
        status = sn_fail(error, SN_ERROR_INPUT, "%s: preprocessor_config.json makes pictures of %d x %d, the tower takes %lld", folder, m->processor.width, m->processor.height, (long long)m->image_size);
    return status;
}

/* The tower's folder: given, or found by the name in config.json beside the model. */
static sn_status find_tower(const sn_model_files *files, const char *folder, const json_t *config, char **out, sn_error *error) {
    *out = NULL;
    if (files->vision) {
        *out = sn_strdup(files->vision);
        return *out ? SN_OK : sn_fail_memory(error);
    }
    const char *name = sn_json_string(config, "mm_vision_tower");
    if (!name) return sn_fail(error, SN_ERROR_INPUT, "%s/config.json: mm_vision_tower: missing; give the tower's folder with --vision", folder);
    const char *last = strrchr(name, '/');
    last = last ? last + 1 : name;
    char *parent = sn_path_parent(folder);
    const char *places[] = {folder, parent};
    for (int i = 0; i < 2 && !*out && parent; i++) {
        char *path = sn_path_join(places[i], last);
        if (path && sn_is_directory(path)) *out = path;
        else sn_free(path);
    }
    sn_free(parent);
    if (!*out && sn_is_directory(name)) *out = sn_strdup(name);
    return *out ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: the vision tower %s is not beside the model; give its folder with --vision", folder, name);
}

/* The authors' layout: a LLaMA folder with the projector in it or in a file of its own, CLIP elsewhere. */
static sn_status open_authors(sn_model *m, const sn_model_files *files, const char *folder, const json_t *config, const json_t *llm_config, sn_error *error) {
    sn_llava *c = m->own;
    m->layout = files->delta ? "authors' delta on a base model" : files->connector ? "authors' projector on a base model" : "authors' directory";
    const char *llm = files->delta ? files->delta : folder;
    sn_status status = sn_open_llama_hf(m, llm, llm_config, "config.json", &c->llama, "model.", "", error);
    if (status) return status;
    sn_source *lm_source = m->sources[0], *projector_source = lm_source;
    if (files->delta) {
        sn_source *base;
        if ((status = sn_model_source(m, files->base, &base, error))) return status;
        for (int i = 0; i < m->num_names; i++) {
            sn_source **both = sn_arena_alloc(m->arena, 1, sizeof *both);
            if (!both) return sn_fail_memory(error);
            both[0] = base;
            m->names[i].delta = lm_source, m->names[i].sources = both;
        }
    }
    if (files->connector && (status = sn_model_source(m, files->connector, &projector_source, error))) return status;
    if ((status = read_projector_type(config, &c->projector, error))) return status;
    /* everything after "mm_projector." counts; what stands before it varies */
    static const char *const prefixes[] = {"model.mm_projector.", "mm_projector.", "base_model.model.model.mm_projector.", "base_model.model.mm_projector.", "module.model.mm_projector."};
    const char *prefix = prefixes[0];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        char *a = sn_format("%sweight", prefixes[i]), *b = sn_format("%s0.weight", prefixes[i]);
        if ((a && sn_source_find(projector_source, a)) || (b && sn_source_find(projector_source, b))) prefix = prefixes[i];
        sn_free(a);
        sn_free(b);
    }
    sn_model_names(m, c->projector.depth == 1 && !(sn_json_string(config, "mm_projector_type") && strncmp(sn_json_string(config, "mm_projector_type"), "mlp", 3) == 0) ? projector_linear : projector_mlp,
                   "projector.", prefix, &projector_source, 1);
    sn_model_names(m, ignored_tower, "ignored.", "model.vision_tower.vision_tower.vision_model.", &lm_source, 1);
    char *tower;
    if ((status = find_tower(files, folder, config, &tower, error))) return status;
    status = sn_open_clip_tower(m, tower, &c->vision, error);
    sn_free(tower);
    if (status) return status;
    const char *feature = sn_json_string(config, "mm_vision_select_feature"), *aspect = sn_json_string(config, "image_aspect_ratio");
    c->keep_class = feature && strcmp(feature, "cls_patch") == 0;
    c->use_im_start_end = sn_json_bool(config, "mm_use_im_start_end", false);
    c->code_of_may_2023 = files->delta != NULL;
    c->select_layer = -2;
    status = sn_json_integer("config.json", config, "mm_vision_select_layer", -1000, 1000, &c->select_layer, error);
    if (aspect && strcmp(aspect, "pad") == 0) m->processor.pad_square = true;
    else if (aspect && strcmp(aspect, "square") != 0 && strcmp(aspect, "keep") != 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "config.json: image_aspect_ratio: found %s, expected square or pad; LLaVA-1.6 (anyres) is not supported", aspect);
    int64_t width = c->vision.hidden_size;
    if (!status) status = sn_json_integer("config.json", config, "mm_hidden_size", 1, SN_CONFIG_MAX, &width, error);
    if (!status && width != c->vision.hidden_size)
        status = sn_fail(error, SN_ERROR_INPUT, "config.json: mm_hidden_size: found %lld, but the tower's width is %lld: another tower?", (long long)width, (long long)c->vision.hidden_size);
    return status;
}

static sn_status open(sn_model *m, const sn_model_files *files, sn_error *error) {
    sn_llava *c = m->own = sn_arena_alloc(m->arena, 1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    const char *folder = files->delta ? files->delta : files->llm ? files->llm : files->main;
    if (files->delta && !files->base) return sn_fail(error, SN_ERROR_USAGE, "%s: a delta needs its base model; give it with --base", files->delta);
    if (!folder) return sn_fail(error, SN_ERROR_USAGE, "%s: a projector needs its language model; give it with --llm", files->connector);
    json_t *llm_config = NULL, *config = NULL;
    sn_status status = sn_model_json(folder, "config.json", &llm_config, error);
    if (!status && !llm_config) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no config.json", folder);
    if (!status && files->connector) { /* the projector's own config.json decides about the projector */
        char *beside = sn_path_parent(files->connector);
        status = beside ? sn_model_json(beside, "config.json", &config, error) : sn_fail_memory(error);
        sn_free(beside);
    }
    if (!status && !config) config = json_incref(llm_config);
    if (!status) status = sn_json_at(config, "vision_config") && !files->connector && !files->delta ? open_hf(m, folder, config, error)
                                                                                                      : open_authors(m, files, folder, config, llm_config, error);
    if (!status) status = join_parts(m, error);
    if (!status) status = sn_open_tokenizer(m, files->tokenizer ? files->tokenizer : folder, error);
    if (!status) sn_check_special_ids(m, llm_config);
    if (!status) status = choose_template(m, config, folder, error);
    json_decref(config);
    json_decref(llm_config);
    return status;
}

/* ---- prompts ---- */

static sn_status prompt(const sn_model *m, const sn_request *request, sn_prompt *out, sn_error *error) {
    const sn_llava *c = m->own;
    const sn_template *t = c->template;
    if (request->template_name && !(t = sn_template_find(request->template_name, c->code_of_may_2023))) {
        sn_buf names = {0};
        sn_template_names(&names);
        sn_status status = sn_fail(error, SN_ERROR_USAGE, "template: found %s, expected one of %s", request->template_name, names.data ? names.data : "");
        sn_buf_free(&names);
        return status;
    }
    sn_prompt_text text = {0};
    for (int i = 0; i < request->num_prompt; i++) {
        if (request->prompt[i].is_media) sn_prompt_text_media(&text, request->prompt[i].text);
        else sn_prompt_text_add(&text, request->prompt[i].text, request->literal);
    }
    bool wrapped = c->use_im_start_end && sn_tokenizer_find(m->tokenizer, "<im_start>") >= 0;
    if (request->num_messages) sn_template_render(t, request, wrapped ? "<im_start>" : "", wrapped ? "<im_end>" : "", &text);
    sn_status status = sn_prompt_encode(&text, m->tokenizer, m->media_positions, out, error);
    sn_prompt_text_free(&text);
    if (!status && request->num_messages) out->stop = t->stop;
    return status;
}

static const char *const stage1[] = {"projector.*", NULL};
static const char *const stage2[] = {"projector.*", "decoder.*", NULL};
static const sn_stage stages[] = {{"stage1", stage1}, {"stage2", stage2}, {0}};

const sn_system sn_system_llava = {
    .name = "llava", .title = "LLaVA", .paper = "arXiv 2304.08485, 2310.03744", .recognise = recognise, .open = open,
    .parameters = parameters, .encode = encode, .prompt = prompt, .temperature = 0.2, .stages = stages, .sample = sn_llava_sample};
