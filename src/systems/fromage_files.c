/* How FROMAGe is published: model_args.json, a checkpoint of what was trained, and the two models that its
 * arguments name. The checkpoint may be pruned or as training left it. */
#include "systems/fromage.h"

#include "base/file.h"
#include "systems/gguf_vocabulary.h"
#include "systems/parts.h"
#include "weights/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const sn_name_rule sn_fromage_names_projector[] = {{"0.weight", "visual_embeddings.weight", 0, 0, 0, 0}, {"0.bias", "visual_embeddings.bias", 0, 0, 0, 0}, {0}};
const sn_name_rule sn_fromage_names_retrieval[] = {
    {"image.weight", "visual_fc.weight", 0, 0, 0, 0},         {"image.bias", "visual_fc.bias", 0, 0, 0, 0},
    {"text.{l}.weight", "text_hidden_fcs.{l}.0.weight", 0, 0, 0, 0}, {"text.{l}.bias", "text_hidden_fcs.{l}.0.bias", 0, 0, 0, 0},
    {"logit_scale", "logit_scale", 0, 0, 0, 0},               {0}};
const sn_name_rule sn_fromage_names_row[] = {{"row", "ret_input_embeddings.weight", 0, 0, 0, 0}, {0}};
static const sn_name_rule names_table[] = {{"embed.weight", "input_embeddings.weight", 0, 0, 0, 0}, {0}}; /* its row count says whether it was cut already */

/* model_args.json: in the folder, or beside the checkpoint. NULL where there is none. */
static char *folder_of(const sn_model_files *files) {
    const char *at = files->main ? files->main : files->connector;
    if (!at || files->base || files->delta) return NULL;
    char *folder = sn_is_directory(at) ? sn_strdup(at) : sn_path_parent(at);
    if (folder && sn_folder_holds(folder, "model_args.json")) return folder;
    sn_free(folder);
    return NULL;
}

int sn_fromage_recognise(const sn_model_files *files, const char **why) {
    char *folder = folder_of(files);
    json_t *args = NULL;
    bool found = folder && !sn_model_json(folder, "model_args.json", &args, NULL) && sn_json_string(args, "opt_version");
    if (found) *why = "model_args.json: opt_version";
    json_decref(args);
    sn_free(folder);
    return found ? 11 : 0;
}

static char *checkpoint_of(const sn_model_files *files, const char *folder) {
    static const char *const names[] = {"pretrained_ckpt.pth.tar", "ckpt_best.pth.tar", "ckpt.pth.tar"};
    if (files->connector) return sn_strdup(files->connector);
    if (files->main && !sn_is_directory(files->main)) return sn_strdup(files->main);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sn_folder_holds(folder, names[i])) return sn_path_join(folder, names[i]);
    return NULL;
}

/* The folder of a base model: given, or found by the name in the arguments. */
static sn_status base_folder(const sn_model_files *files, const char *given, const char *folder, const json_t *args, const char *key, const char *option, char **out, sn_error *error) {
    const char *name = sn_json_string(args, key);
    *out = given ? sn_strdup(given) : name ? sn_find_folder(files, folder, name) : NULL;
    if (*out) return SN_OK;
    if (!name) return sn_fail(error, SN_ERROR_INPUT, "%s/model_args.json: %s: missing; give the folder with %s", folder, key, option);
    return sn_fail(error, SN_ERROR_INPUT, "%s: %s names %s, which is neither beside the model nor in the caches; give its folder with %s, or a folder that holds it with --models", folder, key, name, option);
}

/* text_emb_layers: numbers of hidden states, negative from the end. */
static sn_status read_layers(const json_t *args, int64_t depth, sn_retrieval_config *r, sn_error *error) {
    const json_t *list = sn_json_at(args, "text_emb_layers");
    size_t n = json_array_size(list);
    if (!list) r->layer[0] = depth, r->num_layers = 1;
    if (list && (n < 1 || n > SN_MAX_QUERY_LAYERS)) return sn_fail(error, SN_ERROR_INPUT, "model_args.json: text_emb_layers: expected a list of 1 to %d layers", SN_MAX_QUERY_LAYERS);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        int64_t layer = json_integer_value(item), from = layer < 0 ? layer + depth + 1 : layer;
        if (!json_is_integer(item) || from < 0 || from > depth)
            return sn_fail(error, SN_ERROR_INPUT, "model_args.json: text_emb_layers: found %lld, expected hidden states of %lld layers", (long long)layer, (long long)depth);
        r->layer[r->num_layers++] = from;
    }
    return SN_OK;
}

/* What the checkpoint's shapes say and the arguments must agree with. */
static sn_status read_args(sn_model *m, const json_t *args, const sn_source *checkpoint, const char *prefix, sn_error *error) {
    sn_fromage *c = m->own;
    char *name = sn_format("%svisual_fc.weight", prefix);
    const sn_source_tensor *image = name ? sn_source_find(checkpoint, name) : NULL;
    sn_free(name);
    c->visual_tokens = 1;
    sn_status status = sn_json_integer("model_args.json", args, "n_visual_tokens", 1, 4096, &c->visual_tokens, error);
    if (!status) status = read_layers(args, c->opt.num_layers, &c->retrieval, error);
    if (status) return status;
    c->retrieval.size = image && image->shape.rank == 2 ? image->shape.dim[0] : 256;
    c->retrieval.text_identity = json_is_null(json_object_get(args, "shared_emb_dim"));
    if (c->retrieval.size < 1 || c->retrieval.size > SN_CONFIG_MAX) return sn_fail(error, SN_ERROR_INPUT, "%s: visual_fc.weight: found %lld rows", checkpoint->path, (long long)c->retrieval.size);
    if (!c->retrieval.text_identity && (status = sn_json_integer("model_args.json", args, "shared_emb_dim", 1, SN_CONFIG_MAX, &c->retrieval.size, error))) return status;
    if (c->visual_tokens * c->opt.embed_size > SN_CONFIG_MAX * (int64_t)64) return sn_fail(error, SN_ERROR_INPUT, "model_args.json: n_visual_tokens: found %lld", (long long)c->visual_tokens);
    c->projector = (sn_projector_config){.in = c->vision.hidden_size, .out = c->visual_tokens * c->opt.embed_size, .depth = 1, .bias = true};
    return SN_OK;
}

static sn_tensor query(sn_graph *g, const void *config, const sn_tensor *hidden, sn_tensor last) {
    const sn_fromage *c = config;
    return sn_retrieval_query(g, &c->retrieval, hidden, c->opt.num_layers, last);
}

/* The checkpoint's tables. Training leaves the frozen models in it as well: known, and the published ones are used. */
static sn_status checkpoint_names(sn_model *m, sn_source *checkpoint, const char *prefix, sn_error *error) {
    size_t inner = strlen(prefix), model = strlen("model.");
    const char *outer = inner >= model && strcmp(prefix + inner - model, "model.") == 0 ? sn_arena_format(m->arena, "%.*s", (int)(inner - model), prefix) : prefix;
    char *row = sn_format("%sret_input_embeddings.weight", outer ? outer : ""), *table = sn_format("%sinput_embeddings.weight", prefix);
    sn_status status = outer && row && table ? SN_OK : sn_fail_memory(error);
    bool has_row = row && sn_source_find(checkpoint, row), has_table = table && sn_source_find(checkpoint, table);
    sn_free(row);
    sn_free(table);
    if (status) return status;
    sn_name_rule *from_table = sn_arena_alloc(m->arena, 2, sizeof *from_table);
    if (!from_table) return sn_fail_memory(error);
    from_table[0] = (sn_name_rule){"row", "input_embeddings.weight", m->query_id, SN_SOME_ROWS, 0, 0};
    bool ok = sn_model_names(m, sn_fromage_names_projector, "projector.", prefix, &checkpoint, 1) && sn_model_names(m, sn_fromage_names_retrieval, "retrieval.", prefix, &checkpoint, 1);
    if (ok && has_table) ok = sn_model_names(m, names_table, "decoder.", prefix, &checkpoint, 1);
    if (ok) ok = has_row || !has_table ? sn_model_names(m, sn_fromage_names_row, "retrieval.", outer, &checkpoint, 1) : sn_model_names(m, from_table, "retrieval.", prefix, &checkpoint, 1);
    char *lm = sn_format("%slm.model.decoder.", prefix), *head = sn_format("%slm.", prefix), *tower = sn_format("%svisual_model.vision_model.", prefix);
    if (ok) ok = lm && head && tower && sn_skip_opt(m, lm, head, checkpoint) && sn_skip_clip_tower(m, tower, checkpoint);
    sn_free(lm);
    sn_free(head);
    sn_free(tower);
    return ok ? SN_OK : sn_fail_memory(error);
}

/* OPT's words, <|image|> (never said) and [RET]; the table is cut to them. */
static sn_status open_words(sn_model *m, const sn_model_files *files, const char *llm, sn_error *error) {
    sn_fromage *c = m->own;
    int64_t rows = c->opt.vocab_size;
    int32_t image;
    sn_status status = sn_open_any_tokenizer(files->tokenizer ? files->tokenizer : llm, false, &m->tokenizer, error);
    if (!status) status = sn_tokenizer_add(m->tokenizer, "<|image|>", true, &image, error);
    if (!status) status = sn_tokenizer_add(m->tokenizer, "[RET]", false, &m->query_id, error);
    if (status) return status;
    c->opt.vocab_size = sn_tokenizer_about(m->tokenizer)->vocab_size;
    if (c->opt.vocab_size > rows)
        return sn_fail(error, SN_ERROR_INPUT, "%s: with [RET] the vocabulary has %lld tokens, the table %lld rows", llm, (long long)c->opt.vocab_size, (long long)rows);
    if (sn_tokenizer_about(m->tokenizer)->bos < 0) return sn_fail(error, SN_ERROR_INPUT, "%s: the tokenizer has no </s>", llm);
    sn_ids line = {0};
    status = sn_tokenizer_encode(m->tokenizer, "\n", 1, NULL, 0, &line, error);
    m->cut_id = line.count ? line.data[0] : -1;
    sn_ids_free(&line);
    return status;
}

static sn_status open_parts(sn_model *m, const sn_model_files *files, const char *folder, const char *path, const json_t *args, const char *llm, const char *vision, sn_error *error) {
    sn_fromage *c = m->own;
    sn_source *checkpoint;
    const char *prefix = NULL;
    json_t *config = NULL;
    sn_status status = sn_open_opt(llm, "config.json of the language model", &c->opt, &config, error);
    json_decref(config);
    if (!status) status = sn_model_source(m, path, &checkpoint, error);
    if (!status) status = sn_source_prefix(checkpoint, "logit_scale", m->arena, &prefix, error);
    if (!status && !prefix) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no logit_scale: not a checkpoint of FROMAGe", path);
    if (!status) status = open_words(m, files, llm, error);
    if (!status) status = checkpoint_names(m, checkpoint, prefix, error);
    if (!status) status = sn_open_opt_weights(m, llm, "config.json of the language model", &c->opt, error);
    for (int i = 0; i < m->num_names && !status; i++) /* the checkpoint's table may stand for it */
        m->names[i].partial |= strcmp(m->names[i].canonical_prefix, "decoder.") == 0;
    if (!status) status = sn_open_clip_tower(m, files, vision, NULL, NULL, &c->vision, error);
    if (!status) sn_skip_rest_of_clip(m, vision);
    if (!status) status = read_args(m, args, checkpoint, prefix, error);
    if (status) return status;
    m->vision_from = sn_arena_strdup(m->arena, vision);
    c->folder = sn_arena_strdup(m->arena, folder);
    m->media_positions = c->visual_tokens;
    m->lm.query = query, m->lm.query_config = c, m->lm.query_size = c->retrieval.size;
    m->layout = strncmp(prefix, "module.", 7) == 0 ? "authors', as training left it" : "authors'";
    return m->vision_from && c->folder ? SN_OK : sn_fail_memory(error);
}

sn_status sn_fromage_open(sn_model *m, const sn_model_files *files, sn_error *error) {
    if (!(m->own = sn_arena_alloc(m->arena, 1, sizeof(sn_fromage)))) return sn_fail_memory(error);
    json_t *args = NULL;
    char *folder = folder_of(files), *llm = NULL, *vision = NULL, *path = folder ? checkpoint_of(files, folder) : NULL;
    sn_status status = folder ? sn_model_json(folder, "model_args.json", &args, error) : sn_fail(error, SN_ERROR_INPUT, "found no model_args.json of FROMAGe");
    if (!status && !path) status = sn_fail(error, SN_ERROR_INPUT, "%s: model_args.json without pretrained_ckpt.pth.tar", folder);
    if (!status) status = base_folder(files, files->llm, folder, args, "opt_version", "--llm", &llm, error);
    if (!status) status = base_folder(files, files->vision, folder, args, "visual_encoder", "--vision", &vision, error);
    if (!status) status = open_parts(m, files, folder, path, args, llm, vision, error);
    json_decref(args);
    sn_free(folder);
    sn_free(llm);
    sn_free(vision);
    sn_free(path);
    return status;
}

/* A part that was found beside the model that learnt, and is not found from the new folder, is named by its whole path. */
static sn_status keep_found(json_t *args, const char *key, const char *before, const char *now, sn_error *error) {
    const char *name = sn_json_string(args, key);
    char *from_now = name ? sn_find_folder(&(sn_model_files){0}, now, name) : NULL, *from_before = name && !from_now ? sn_find_folder(&(sn_model_files){0}, before, name) : NULL;
    char *whole = from_before ? realpath(from_before, NULL) : NULL;
    bool failed = whole && json_object_set_new(args, key, json_string(whole)) != 0;
    free(whole);
    sn_free(from_now);
    sn_free(from_before);
    return failed ? sn_fail_memory(error) : SN_OK;
}

sn_status sn_fromage_arguments(const sn_model *m, const char *folder, const char *tower, sn_error *error) {
    json_t *args = NULL;
    const char *before = ((const sn_fromage *)m->own)->folder;
    sn_status status = sn_model_json(before, "model_args.json", &args, error);
    if (!status) status = keep_found(args, "opt_version", before, folder, error);
    if (!status) status = tower ? SN_OK : keep_found(args, "visual_encoder", before, folder, error);
    if (tower) json_object_set_new(args, "visual_encoder", json_string(tower));
    json_object_set_new(args, "retrieval_token_idx", json_integer(m->query_id));
    char *text = args ? json_dumps(args, JSON_INDENT(1)) : NULL, *path = sn_path_join(folder, "model_args.json");
    if (!status) status = text && path ? sn_write_file(path, text, strlen(text), error) : sn_fail_memory(error);
    json_decref(args);
    free(text);
    sn_free(path);
    return status;
}

/* The row of [RET] into the table, which stays where it is mapped: a weight of three parts. And the scale as a number. */
sn_status sn_fromage_check(const sn_model *m, sn_error *error) {
    sn_store_entry *table = sn_store_find(m->store, "decoder.embed.weight"), *row = sn_store_find(m->store, "retrieval.row"), *scale = sn_store_find(m->store, "retrieval.logit_scale");
    if (!table || !row || !scale) return SN_OK; /* reported as missing */
    sn_weight *w = &table->weight;
    int64_t bytes = 0, at = m->query_id, width = w->columns;
    sn_status status = sn_weight_ready(w, error);
    if (!status) status = sn_weight_ready(&row->weight, error);
    if (!status) status = sn_weight_ready(&scale->weight, error);
    if (status) return status;
    float *values = sn_arena_alloc(m->arena, (size_t)width, sizeof *values);
    if (!values || !sn_type_of(w->type)->from_float || !sn_type_bytes(w->type, width, &bytes)) return sn_fail_memory(error);
    void *stored = sn_arena_alloc(m->arena, (size_t)bytes, 1);
    const float *s = sn_weight_floats(&scale->weight);
    if (!stored || !s) return sn_fail_memory(error);
    sn_weight_row_floats(&row->weight, 0, values);
    sn_type_of(w->type)->from_float(values, stored, width);
    sn_weight_part before = w->part[0], behind = w->part[0];
    before.rows = at, behind.rows = w->rows - at - 1;
    behind.data = (const char *)behind.data + (at + 1) * behind.row_bytes;
    w->num_parts = 0;
    if (before.rows) w->part[w->num_parts++] = before;
    w->part[w->num_parts++] = (sn_weight_part){stored, 1, bytes};
    if (behind.rows) w->part[w->num_parts++] = behind;
    ((sn_model *)m)->query_scale = expf(s[0]);
    return isfinite(m->query_scale) ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %g, exp of which is no number", scale->file, scale->published, (double)s[0]);
}
