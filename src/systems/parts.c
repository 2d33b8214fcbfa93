/* Opening what several systems are made of: LLaMA in its layouts, tokenizers, folders that a configuration names. */
#include "systems/parts.h"

#include "decoders/llama_files.h"
#include "decoders/opt_files.h"
#include "systems/adapter.h"
#include "systems/gguf_vocabulary.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- folders ---- */

bool sn_folder_holds(const char *folder, const char *name) {
    char *path = sn_path_join(folder, name);
    bool there = path && sn_is_file(path);
    sn_free(path);
    return there;
}

/* "folder/a" where that is a folder. `a` comes from a file: it must not climb. */
static char *folder_in(const char *folder, const char *name) {
    if (!folder || !folder[0] || !name[0] || strstr(name, "..")) return NULL;
    char *path = sn_path_join(folder, name);
    if (path && sn_is_directory(path)) return path;
    sn_free(path);
    return NULL;
}

/* The snapshot of "org/name" in a cache of Hugging Face's tools: the one that refs/main names, otherwise the first by
 * name. */
static char *snapshot_in(const char *cache, const char *name) {
    const char *slash = strchr(name, '/');
    if (!cache || !slash || strchr(slash + 1, '/')) return NULL;
    char *repository = sn_format("%s/models--%.*s--%s", cache, (int)(slash - name), name, slash + 1), *found = NULL, *text = NULL;
    char *reference = repository ? sn_path_join(repository, "refs/main") : NULL, *snapshots = repository ? folder_in(repository, "snapshots") : NULL;
    size_t length;
    if (reference && snapshots && sn_is_file(reference) && !sn_read_file(reference, 256, &text, &length, NULL)) {
        text[strcspn(text, "\r\n ")] = 0;
        found = strchr(text, '/') ? NULL : folder_in(snapshots, text);
    }
    DIR *dir = snapshots && !found ? opendir(snapshots) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char *other = e->d_name[0] == '.' ? NULL : folder_in(snapshots, e->d_name);
        if (other && (!found || strcmp(other, found) < 0)) {
            sn_free(found);
            found = other;
        } else {
            sn_free(other);
        }
    }
    if (dir) closedir(dir);
    sn_free(text);
    sn_free(reference);
    sn_free(snapshots);
    sn_free(repository);
    return found;
}

char *sn_find_folder(const sn_model_files *files, const char *folder, const char *name) {
    if (!name[0]) return NULL;
    if (sn_is_directory(name)) return sn_strdup(name);
    char *last = sn_path_name(name), *parent = sn_path_parent(folder), *found = NULL;
    const char *const places[] = {folder, parent, files->models};
    for (size_t i = 0; i < 3 && !found && last; i++) {
        if (!places[i]) continue;
        found = folder_in(places[i], name[0] == '/' ? last : name);
        if (!found) found = folder_in(places[i], last);
        if (!found) found = snapshot_in(places[i], name);
    }
    static const struct { const char *variable, *below; } caches[] = {{"HF_HUB_CACHE", ""}, {"HUGGINGFACE_HUB_CACHE", ""}, {"HF_HOME", "/hub"}, {"XDG_CACHE_HOME", "/huggingface/hub"}, {"HOME", "/.cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof caches / sizeof *caches && !found; i++) {
        const char *value = getenv(caches[i].variable);
        char *cache = value && value[0] ? sn_format("%s%s", value, caches[i].below) : NULL;
        if (cache) found = snapshot_in(cache, name);
        sn_free(cache);
    }
    sn_free(last);
    sn_free(parent);
    return found;
}

/* ---- LLaMA ---- */

/* A configuration that the checkpoint clearly cannot hold is refused before anything is built from it. */
static sn_status check_layers(const char *where, int64_t num_layers, const sn_source *source, const char *prefix, sn_error *error) {
    char *layers = sn_format("%slayers.", prefix);
    if (!layers) return sn_fail_memory(error);
    int64_t stored = sn_source_count(source, layers);
    sn_free(layers);
    if (num_layers > stored + 64)
        return sn_fail(error, SN_ERROR_INPUT, "%s: number of layers: found %lld, but %s holds %lld", where, (long long)num_layers, source->path, (long long)stored);
    return SN_OK;
}

static sn_status open_meta(sn_model *m, const char *folder, sn_llama_config *c, sn_error *error) {
    json_t *params;
    sn_status status = sn_model_json(folder, "params.json", &params, error);
    if (status) return status;
    if (!params) return sn_fail(error, SN_ERROR_INPUT, "%s: found neither config.json nor params.json", folder);
    status = sn_llama_config_meta("params.json", params, c, error);
    json_decref(params);
    sn_source *shards[SN_MAX_PARTS];
    int n = 0;
    for (; n < SN_MAX_PARTS && !status; n++) {
        char name[32];
        snprintf(name, sizeof name, "consolidated.%02d.pth", n);
        if (!sn_folder_holds(folder, name)) break;
        char *path = sn_path_join(folder, name);
        status = path ? sn_model_source(m, path, &shards[n], error) : sn_fail_memory(error);
        sn_free(path);
    }
    if (status) return status;
    if (n == 0) return sn_fail(error, SN_ERROR_INPUT, "%s: params.json without consolidated.00.pth", folder);
    const sn_source_tensor *table = sn_source_find(shards[0], "tok_embeddings.weight"); /* split by columns: it has all rows */
    if (c->vocab_size < 1) c->vocab_size = table && table->shape.rank == 2 ? table->shape.dim[0] : 0;
    if (c->vocab_size < 1 || c->vocab_size > SN_CONFIG_MAX) return sn_fail(error, SN_ERROR_INPUT, "%s: params.json: vocab_size: not given, and there is no tok_embeddings.weight", folder);
    if ((status = check_layers("params.json", c->num_layers, shards[0], "", error))) return status;
    sn_model_names(m, sn_llama_names_meta, "decoder.", "", shards, n);
    return SN_OK;
}

/* The low-rank updates of `base`, the checkpoint that is given as base_path. */
static sn_status open_adapter(sn_model *m, const char *folder, const sn_source *base, const char *base_path, const sn_lora **out, sn_error *error) {
    sn_adapter *adapter = sn_arena_alloc(m->arena, 1, sizeof *adapter);
    sn_source *source;
    char *path = NULL;
    sn_status status = adapter ? sn_adapter_file(folder, &path, error) : sn_fail_memory(error);
    if (!status) status = sn_model_source(m, path, &source, error);
    if (!status) status = sn_adapter_read(folder, source, base, base_path, m->arena, adapter, error);
    if (!status && adapter->made_for) sn_model_warn(m, "adapter_config.json: made for the base model %s, given is %s", adapter->made_for, base_path);
    sn_free(path);
    *out = &adapter->lora;
    return status;
}

sn_status sn_open_llama(sn_model *m, const sn_llama_files *files, const json_t *config, const char *where, sn_llama_config *c, sn_source **source, sn_error *error) {
    sn_source *base, *main;
    const sn_lora *lora = NULL;
    const char *prefix = NULL, *head = NULL;
    sn_status status;
    if (config && sn_folder_holds(files->path, "consolidated.00.pth") && (sn_folder_holds(files->path, "pytorch_model.bin.index.json") || sn_folder_holds(files->path, "pytorch_model.bin") ||
                                                                         sn_folder_holds(files->path, "model.safetensors.index.json") || sn_folder_holds(files->path, "model.safetensors")))
        return sn_fail(error, SN_ERROR_INPUT, "%s: holds a model in Hugging Face's layout (config.json) and one in Meta's (consolidated.00.pth); move one of them away", files->path);
    if (!config) {
        if (files->delta || files->adapter) return sn_fail(error, SN_ERROR_SUPPORT, "%s: a delta or an adapter on Meta's layout; expected the base in Hugging Face's", files->path);
        if ((status = open_meta(m, files->path, c, error))) return status;
        m->lm = sn_llama(c), m->has_lm = true;
        if (source) *source = m->sources[0];
        return SN_OK;
    }
    if ((status = sn_llama_config_hf(where, config, c, error))) return status;
    if ((status = sn_model_source(m, files->delta ? files->delta : files->path, &main, error))) return status;
    base = main;
    if (files->delta && (status = sn_model_source(m, files->path, &base, error))) return status;
    if ((status = sn_source_prefix(main, "embed_tokens.weight", m->arena, &prefix, error))) return status;
    if ((status = sn_source_prefix(main, "lm_head.weight", m->arena, &head, error))) return status;
    if (!prefix) prefix = "model.";
    if (!head) head = strncmp(prefix, "language_model.", 15) == 0 ? "language_model." : "";
    if ((status = check_layers(where, c->num_layers, main, prefix, error))) return status;
    if (files->adapter && (status = open_adapter(m, files->adapter, main, files->path, &lora, error))) return status;
    sn_names *names[] = {sn_model_names(m, sn_llama_names_hf, "decoder.", prefix, &base, 1), sn_model_names(m, sn_llama_head_hf, "decoder.", head, &base, 1)};
    for (int i = 0; i < 2; i++) {
        if (!names[i]) return sn_fail_memory(error);
        names[i]->delta = files->delta ? main : NULL, names[i]->lora = lora;
        names[i]->partial = i == 1 && c->tied_head; /* a tied head may be written along */
    }
    m->lm = sn_llama(c), m->has_lm = true;
    if (source) *source = main;
    return SN_OK;
}

sn_status sn_check_final_norm(const sn_model *m, bool is_delta, sn_error *error) {
    sn_store_entry *entry = sn_store_find(m->store, "decoder.norm.weight");
    if (!entry) return SN_OK;
    sn_status status = sn_weight_ready(&entry->weight, error);
    const float *values = status ? NULL : sn_weight_floats(&entry->weight);
    if (!values) return status ? status : sn_fail_memory(error);
    double sum = 0;
    int64_t n = sn_shape_count(&entry->weight.shape);
    for (int64_t i = 0; i < n; i++) sum += fabs(values[i]);
    double mean = sum / (double)n;
    if (is_delta && (mean < 0.25 || mean > 4))
        return sn_fail(error, SN_ERROR_INPUT, "%s: base + delta is %.3g on average, expected about 1: this is not the base model that the delta was made from", entry->published, mean);
    if (!is_delta && mean < 0.02)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s is %.3g on average, expected about 1: the file looks like a delta; give the model it is added to with --base", entry->file, entry->published, mean);
    return SN_OK;
}

/* ---- OPT ---- */

sn_status sn_open_opt(const char *folder, const char *where, sn_opt_config *c, json_t **config, sn_error *error) {
    sn_status status = sn_model_json(folder, "config.json", config, error);
    if (!status && !*config) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no config.json", folder);
    return status ? status : sn_opt_config_hf(where, *config, c, error);
}

sn_status sn_open_opt_weights(sn_model *m, const char *folder, const char *where, const sn_opt_config *c, sn_error *error) {
    sn_source *source;
    const char *prefix;
    sn_status status = sn_model_source(m, folder, &source, error);
    if (!status) status = sn_source_prefix(source, "embed_tokens.weight", m->arena, &prefix, error);
    if (!status && !prefix) prefix = "model.decoder.";
    if (!status) status = check_layers(where, c->num_layers, source, prefix, error);
    if (status) return status;
    if (!sn_model_names(m, sn_opt_names_hf, "decoder.", prefix, &source, 1) || !sn_model_names(m, sn_opt_head_hf, "decoder.", "", &source, 1)) return sn_fail_memory(error);
    m->lm = sn_opt(c), m->has_lm = true;
    return SN_OK;
}

bool sn_skip_opt(sn_model *m, const char *prefix, const char *head_prefix, sn_source *source) {
    return sn_model_skip(m, sn_opt_names_hf, prefix, source) && sn_model_skip(m, sn_opt_head_hf, head_prefix, source);
}

/* ---- tokenizer and stop ids ---- */

static void add_stop_id(sn_model *m, int64_t id) {
    for (int i = 0; i < m->num_eos; i++)
        if (m->eos[i] == id) return;
    if (m->num_eos < (int)(sizeof m->eos / sizeof *m->eos)) m->eos[m->num_eos++] = (int32_t)id;
}

sn_status sn_open_tokenizer(sn_model *m, const char *path, sn_error *error) {
    sn_status status = sn_open_any_tokenizer(path, true, &m->tokenizer, error);
    if (status) return status;
    const sn_tokenizer_info *info = sn_tokenizer_about(m->tokenizer);
    size_t length = 0;
    const char *piece = sn_tokenizer_piece(m->tokenizer, info->vocab_size - 1, &length);
    if (m->has_lm && info->vocab_size > m->lm.vocab_size)
        return sn_fail(error, SN_ERROR_INPUT, "%s: token %.*s has id %d, the table %lld rows", path, (int)length, piece ? piece : "", info->vocab_size - 1, (long long)m->lm.vocab_size);
    if (info->eos >= 0) add_stop_id(m, info->eos);
    return SN_OK;
}

/* One place of eos_token_id, a number or a list; negative means none. What names the beginning or the unknown token
 * cannot end a text: false where such an id stands. */
static bool take_stop_ids(sn_model *m, const json_t *value) {
    const sn_tokenizer_info *info = sn_tokenizer_about(m->tokenizer);
    bool agrees = true, is_list = json_is_array(value);
    for (size_t i = 0; i < (is_list ? json_array_size(value) : value ? 1 : 0); i++) {
        const json_t *one = is_list ? json_array_get(value, i) : value;
        int64_t id = json_is_integer(one) ? json_integer_value(one) : -1;
        if (id < 0) continue;
        if (((id == info->bos || id == info->unk) && id != info->eos) || id >= m->lm.vocab_size) agrees = false;
        else add_stop_id(m, id);
    }
    return agrees;
}

void sn_read_stop_ids(sn_model *m, const char *folder, const json_t *config) {
    const sn_tokenizer_info *info = sn_tokenizer_about(m->tokenizer);
    json_t *generation = NULL;
    if (sn_is_directory(folder)) (void)sn_model_json(folder, "generation_config.json", &generation, NULL);
    const struct { const char *file; const json_t *object; } places[] = {
        {"config.json", config}, {"config.json: text_config", sn_json_at(config, "text_config")}, {"generation_config.json", generation}};
    bool told = false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const json_t *bos = sn_json_at(places[i].object, "bos_token_id"), *eos = sn_json_at(places[i].object, "eos_token_id");
        bool agrees = take_stop_ids(m, eos);
        if (json_is_integer(bos) && json_integer_value(bos) >= 0 && info->bos >= 0) agrees &= json_integer_value(bos) == info->bos;
        if (agrees || told) continue;
        sn_model_warn(m, "%s names bos %lld and eos %lld, the tokenizer has %d and %d; the tokenizer's are used", places[i].file, json_is_integer(bos) ? (long long)json_integer_value(bos) : -1LL,
                      json_is_integer(eos) ? (long long)json_integer_value(eos) : -1LL, info->bos, info->eos);
        told = true;
    }
    json_decref(generation);
}

void sn_lm_parameters(sn_graph *g, const sn_lm *lm) {
    sn_tensor one = sn_input(g, SN_TYPE_I32, SN_SHAPE(1)), starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(2));
    sn_tensor *hidden = sn_arena_alloc(g->arena, (size_t)lm->num_layers + 1, sizeof *hidden);
    sn_tensor x = lm->forward(g, lm->config, lm->embed(g, lm->config, one), &(sn_lm_inputs){.positions = one, .row_starts = starts, .hidden = hidden});
    sn_linear(g, x, lm->head(g, lm->config), SN_NONE);
    if (lm->query && hidden) lm->query(g, lm->query_config, hidden, x);
}

sn_status sn_text_prompt(const sn_model *m, const sn_request *request, sn_prompt *out, sn_error *error) {
    sn_prompt_text text = {0};
    sn_status status = m->tokenizer ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "the model has no vocabulary; give one with --tokenizer");
    for (int i = -1; i < request->num_messages && !status; i++) {
        const sn_content *content = i < 0 ? request->prompt : request->messages[i].content;
        int count = i < 0 ? request->num_prompt : request->messages[i].count;
        for (int j = 0; j < count && !status; j++) {
            if (content[j].is_media) status = sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", content[j].text);
            else sn_prompt_text_add(&text, content[j].text, request->literal);
        }
    }
    if (!status) status = sn_prompt_encode(&text, m->tokenizer, 0, out, error);
    sn_prompt_text_free(&text);
    return status;
}
