/* CLIP alone: pictures and texts to vectors. */
#include "encoders/clip_files.h"
#include "systems/clip.h"
#include "systems/parts.h"

#include <string.h>

static int recognise(const sn_model_files *files, const char **why) {
    const char *path = files->main ? files->main : files->vision;
    if (!path || files->llm || files->delta || files->base) return 0;
    json_t *config = NULL;
    int sure = 0;
    if (sn_is_directory(path) && !sn_model_json(path, "config.json", &config, NULL) && config) {
        const char *type = sn_json_string(config, "model_type");
        sure = type && (strcmp(type, "clip") == 0 || strcmp(type, "clip_vision_model") == 0) ? 5 : 0;
        if (sure) *why = "config.json: model_type clip";
    } else {
        sn_source *source = NULL;
        if (!sn_source_open(path, &source, NULL) && sn_source_find(source, "visual.conv1.weight")) sure = 5, *why = "visual.conv1.weight: OpenAI's layout";
        sn_source_close(source);
    }
    json_decref(config);
    return sure;
}

/* open_clip writes what a state dict lacks beside it: {"model_cfg": {"quick_gelu", "vision_cfg": {"head_width", "width"}}}. */
static void read_open_clip(const char *path, sn_clip_choice *choice) {
    char *folder = sn_is_directory(path) ? sn_strdup(path) : sn_path_parent(path);
    json_t *root = NULL;
    if (folder && !sn_model_json(folder, "open_clip_config.json", &root, NULL) && root) {
        const json_t *config = sn_json_at(root, "model_cfg") ? sn_json_at(root, "model_cfg") : root;
        int64_t width = 0, head = 64;
        (void)sn_json_integer("", config, "vision_cfg.width", 1, SN_CONFIG_MAX, &width, NULL);
        (void)sn_json_integer("", config, "vision_cfg.head_width", 1, SN_CONFIG_MAX, &head, NULL);
        if (!choice->heads && width) choice->heads = width / head;
        if (!choice->activation) choice->activation = sn_json_bool(config, "quick_gelu", false) ? "quick_gelu" : "gelu";
    }
    json_decref(root);
    sn_free(folder);
}

static void tell_assumed(sn_model *m, const char *path, const sn_clip_choice *choice, const sn_clip_vision_config *c) {
    if (choice->assumed)
        sn_model_warn(m, "%s: heads and activation of the tower are not in the file; %lld heads and %s are assumed (--heads and --activation say otherwise)", path, (long long)c->num_heads,
                      c->activation == SN_UNARY_GELU ? "gelu" : "quick_gelu");
}

/* Sizes: from the folder's config.json, or from the tensors. */
static sn_status read_tower_config(sn_model *m, const char *path, const sn_source *source, const char *prefix, sn_clip_choice *choice, sn_clip_vision_config *c, sn_error *error) {
    json_t *config = NULL;
    sn_status status = path && sn_is_directory(path) ? sn_model_json(path, "config.json", &config, error) : SN_OK;
    if (status) return status;
    const json_t *vision = sn_json_at(config, "vision_config");
    if (config) status = sn_clip_vision_config_hf("config.json of the vision tower", vision ? vision : config, c, error);
    else if (!(status = sn_clip_vision_config_tensors(source, prefix, choice, c, error))) tell_assumed(m, source->path, choice, c);
    json_decref(config);
    return status;
}

sn_status sn_open_clip_tower(sn_model *m, const sn_model_files *files, const char *path, sn_source *inside, const char *inside_prefix, sn_clip_vision_config *c,
                             sn_error *error) {
    sn_source *source = inside;
    sn_clip_choice choice = {.heads = files->heads, .activation = files->activation};
    const char *prefix = inside_prefix;
    sn_status status = inside ? SN_OK : sn_model_source(m, path, &source, error);
    if (status) return status;
    sn_names *names;
    bool openai = !inside && sn_source_find(source, "visual.conv1.weight");
    if (openai) {
        read_open_clip(path, &choice);
        if ((status = sn_clip_config_openai(source, &choice, c, NULL, error))) return status;
        tell_assumed(m, path, &choice, c);
        names = sn_model_names(m, sn_clip_vision_names_openai, "vision.", "visual.", &source, 1);
    } else {
        if (!inside && (status = sn_source_prefix(source, "embeddings.class_embedding", m->arena, &prefix, error))) return status;
        if (!prefix) return sn_fail(error, SN_ERROR_INPUT, "%s: found no vision_model.embeddings.class_embedding: not a CLIP vision tower", path);
        if ((status = read_tower_config(m, path, source, prefix, &choice, c, error))) return status;
        names = sn_model_names(m, sn_clip_vision_names_hf, "vision.", prefix, &source, 1);
    }
    char *layers = sn_format(openai ? "visual.transformer.resblocks." : "%sencoder.layers.", prefix);
    if (!names || !layers) {
        sn_free(layers);
        return sn_fail_memory(error);
    }
    m->has_vision = true, m->image_size = c->image_size;
    m->vision_blocks = m->vision_blocks_run = sn_source_count(source, layers);
    sn_free(layers);
    if (c->num_layers > m->vision_blocks + 64)
        return sn_fail(error, SN_ERROR_INPUT, "config.json of the vision tower: num_hidden_layers: found %lld, but %s holds %lld", (long long)c->num_layers, source->path, (long long)m->vision_blocks);
    m->processor = sn_image_processor_clip((int)c->image_size);
    char *file = path ? sn_path_join(path, "preprocessor_config.json") : NULL;
    if (file && sn_is_file(file)) status = sn_image_processor_read(file, &m->processor, error);
    sn_free(file);
    if (!status && (m->processor.width != c->image_size || m->processor.height != c->image_size))
        status = sn_fail(error, SN_ERROR_INPUT, "%s: preprocessor_config.json makes pictures of %d x %d, the tower takes %lld", path, m->processor.width, m->processor.height,
                         (long long)c->image_size);
    return status;
}

void sn_skip_rest_of_clip(sn_model *m, const char *path) {
    sn_source *source;
    if (sn_model_source(m, path, &source, NULL)) return;
    sn_model_skip(m, sn_clip_vision_extra_hf, "", source);
    sn_model_skip(m, sn_clip_text_names_hf, "text_model.", source);
    sn_model_skip(m, sn_clip_text_extra_hf, "", source);
    if (sn_source_find(source, "visual.conv1.weight")) sn_model_skip(m, sn_clip_text_names_openai, "", source);
}

bool sn_skip_clip_tower(sn_model *m, const char *prefix, sn_source *source) { return sn_model_skip(m, sn_clip_vision_names_hf, prefix, source); }

static sn_status open_openai(sn_model *m, const sn_model_files *files, const char *path, sn_source *source, sn_clip *c, sn_error *error) {
    m->layout = "OpenAI";
    sn_clip_choice choice = {.heads = files->heads, .activation = files->activation};
    read_open_clip(path, &choice);
    sn_status status = sn_clip_config_openai(source, &choice, &c->vision, &c->text, error);
    c->has_text = c->text.hidden_size > 0;
    sn_names *names = sn_model_names(m, sn_clip_text_names_openai, "text.", "", &source, 1);
    if (names) names->partial = true; /* `visual.` ends like the text half's names */
    return status ? status : names ? SN_OK : sn_fail_memory(error);
}

static sn_status open_hf(sn_model *m, const char *path, sn_source *source, sn_clip *c, sn_error *error) {
    m->layout = "Hugging Face";
    json_t *config;
    sn_status status = sn_model_json(path, "config.json", &config, error);
    if (status) return status;
    const json_t *text = sn_json_at(config, "text_config");
    c->has_text = text && sn_source_find(source, "text_model.embeddings.token_embedding.weight");
    if (c->has_text) status = sn_clip_text_config_hf("config.json", text, &c->text, error);
    int64_t projection = 0;
    if (!status) status = sn_json_integer("config.json", config, "projection_dim", 1, SN_CONFIG_MAX, &projection, error);
    if (projection) c->vision.projection_dim = c->text.projection_dim = projection;
    json_decref(config);
    if (status) return status;
    sn_model_names(m, sn_clip_vision_extra_hf, "vision.", "", &source, 1);
    sn_model_names(m, sn_clip_text_names_hf, "text.", "text_model.", &source, 1);
    sn_model_names(m, sn_clip_text_extra_hf, "text.", "", &source, 1);
    return SN_OK;
}

static sn_status open(sn_model *m, const sn_model_files *files, sn_error *error) {
    sn_clip *c = sn_arena_alloc(m->arena, 1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    m->own = c;
    const char *path = files->main ? files->main : files->vision;
    sn_status status = sn_open_clip_tower(m, files, path, NULL, NULL, &c->vision, error);
    if (status) return status;
    sn_source *source = m->sources[0];
    bool openai = sn_source_find(source, "visual.conv1.weight") != NULL;
    if ((status = openai ? open_openai(m, files, path, source, c, error) : open_hf(m, path, source, c, error))) return status;
    c->has_projection = sn_source_find(source, "visual_projection.weight") || sn_source_find(source, "visual.proj");
    const char *tokenizer = files->tokenizer ? files->tokenizer : path;
    if (c->has_text && sn_is_directory(tokenizer) && sn_tokenizer_open(tokenizer, false, &m->tokenizer, NULL))
        sn_model_warn(m, "%s: no tokenizer for the text half", tokenizer);
    const sn_source_tensor *scale = sn_source_find(source, "logit_scale");
    c->logit_scale = 1;
    if (scale && scale->data && scale->shape.rank == 0 && sn_type_of(scale->type)->is_float) sn_type_of(scale->type)->to_float(scale->data, &c->logit_scale, 1);
    return SN_OK;
}

/* Context: the model. Inputs: pixel_values. Names vision.hidden.{i}, vision.pooled, embed.image. */
void sn_clip_build_image(sn_graph *g, const void *context) {
    const sn_clip_image_program *p = context;
    const sn_clip *c = p->model->own;
    sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(p->pictures, 3, c->vision.image_size, c->vision.image_size));
    sn_tensor hidden = sn_clip_vision_hidden(g, &c->vision, pixels, c->vision.num_layers);
    sn_tensor pooled = sn_clip_vision_pooled(g, &c->vision, hidden);
    sn_name(g, pooled, "vision.pooled");
    if (c->has_projection) sn_name(g, sn_clip_vision_projection(g, &c->vision, pooled), "embed.image");
}

void sn_clip_build_text(sn_graph *g, const void *context) {
    const sn_clip_text_program *p = context;
    const sn_clip *c = p->model->own;
    sn_tensor ids = sn_input(g, SN_TYPE_I32, SN_SHAPE(p->tokens)), positions = sn_input(g, SN_TYPE_I32, SN_SHAPE(p->tokens));
    sn_tensor starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(p->texts + 1)), at = sn_input(g, SN_TYPE_I32, SN_SHAPE(p->texts));
    sn_name(g, sn_clip_text_embedding(g, &c->text, ids, positions, starts, at), "embed.text");
}

static void parameters(sn_graph *g, const void *context) {
    const sn_model *m = context;
    const sn_clip *c = m->own;
    sn_clip_build_image(g, &(sn_clip_image_program){m, 1});
    if (c->has_text) sn_clip_build_text(g, &(sn_clip_text_program){m, 1, 1});
}

const sn_system sn_system_clip = {.name = "clip", .title = "CLIP", .paper = "arXiv 2103.00020", .recognise = recognise, .open = open, .parameters = parameters,
                                    .embedder = &sn_clip_embedder};
