/* LLaMA and Vicuna alone: a decoder, its tokenizer, no template (llama.md). */
#include "decoders/llama_files.h"
#include "systems/parts.h"

#include <stdio.h>
#include <string.h>

static int recognise(const sn_model_files *files, const char **why) {
    if (!files->main || files->delta) return 0;
    char *params = sn_path_join(files->main, "params.json");
    bool meta = params && sn_is_file(params);
    sn_free(params);
    if (meta) {
        *why = "params.json: Meta's layout";
        return 5;
    }
    json_t *config = NULL;
    if (sn_model_json(files->main, "config.json", &config, NULL) || !config) return 0;
    const char *type = sn_json_string(config, "model_type");
    int sure = type && strcmp(type, "llama") == 0 && !sn_json_at(config, "mm_vision_tower") ? 5 : 0;
    if (sure) *why = "config.json: model_type llama";
    json_decref(config);
    return sure;
}

sn_status sn_open_llama_hf(sn_model *m, const char *folder, const json_t *config, const char *where, sn_llama_config *c, const char *prefix, const char *head_prefix,
                           sn_error *error) {
    sn_source *source;
    sn_status status = sn_llama_config_hf(where, config, c, error);
    if (!status) status = sn_model_source(m, folder, &source, error);
    if (status) return status;
    sn_model_names(m, sn_llama_names_hf, "decoder.", prefix, &source, 1);
    sn_model_names(m, sn_llama_head_hf, "decoder.", head_prefix, &source, 1);
    m->lm = sn_llama(c), m->has_lm = true;
    return SN_OK;
}

sn_status sn_open_tokenizer(sn_model *m, const char *path, sn_error *error) {
    sn_status status = sn_tokenizer_open(path, true, &m->tokenizer, error);
    if (status) return status;
    const sn_tokenizer_info *info = sn_tokenizer_about(m->tokenizer);
    if (m->has_lm && m->lm.vocab_size > 0 && info->vocab_size > m->lm.vocab_size)
        return sn_fail(error, SN_ERROR_INPUT, "%s: the tokenizer has %d tokens (the last has id %d), the embedding table %lld rows", path, info->vocab_size, info->vocab_size - 1,
                       (long long)m->lm.vocab_size);
    if (info->eos >= 0) m->eos[m->num_eos++] = info->eos;
    return SN_OK;
}

/* Ids in config.json that contradict the tokenizer's do not win (users/llava.md 19). */
void sn_check_special_ids(sn_model *m, const json_t *config) {
    const sn_tokenizer_info *info = sn_tokenizer_about(m->tokenizer);
    int64_t bos = info->bos, eos = info->eos;
    if (json_is_integer(sn_json_at(config, "bos_token_id"))) bos = json_integer_value(sn_json_at(config, "bos_token_id"));
    if (json_is_integer(sn_json_at(config, "eos_token_id"))) eos = json_integer_value(sn_json_at(config, "eos_token_id"));
    if (bos != info->bos || eos != info->eos)
        sn_model_warn(m, "config.json names bos %lld and eos %lld, the tokenizer has %d and %d; the tokenizer's are used", (long long)bos, (long long)eos, info->bos, info->eos);
}

static sn_status open_meta(sn_model *m, const char *folder, sn_llama_config *c, sn_error *error) {
    json_t *params;
    sn_status status = sn_model_json(folder, "params.json", &params, error);
    if (status) return status;
    status = sn_llama_config_meta("params.json", params, c, error);
    json_decref(params);
    sn_source *shards[SN_MAX_PARTS];
    int n = 0;
    for (; n < SN_MAX_PARTS && !status; n++) {
        char name[32];
        snprintf(name, sizeof name, "consolidated.%02d.pth", n);
        char *path = sn_path_join(folder, name);
        if (!path) return sn_fail_memory(error);
        bool there = sn_is_file(path);
        if (there) status = sn_model_source(m, path, &shards[n], error);
        else if (n == 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: params.json without consolidated.00.pth", folder);
        sn_free(path);
        if (!there) break;
    }
    if (status) return status;
    sn_model_names(m, sn_llama_names_meta, "decoder.", "", shards, n);
    m->layout = "Meta", m->has_lm = true;
    if ((status = sn_open_tokenizer(m, folder, error))) return status;
    if (c->vocab_size < 1) c->vocab_size = sn_tokenizer_about(m->tokenizer)->vocab_size;
    m->lm = sn_llama(c);
    return SN_OK;
}

static sn_status open(sn_model *m, const sn_model_files *files, sn_error *error) {
    sn_llama_config *c = sn_arena_alloc(m->arena, 1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    m->own = c, m->ids_known = true;
    json_t *config;
    sn_status status = sn_model_json(files->main, "config.json", &config, error);
    if (status) return status;
    if (!config) return open_meta(m, files->main, c, error);
    m->layout = "Hugging Face";
    status = sn_open_llama_hf(m, files->main, config, "config.json", c, "model.", "", error);
    if (!status) status = sn_open_tokenizer(m, files->tokenizer ? files->tokenizer : files->main, error);
    if (!status) sn_check_special_ids(m, config);
    json_decref(config);
    return status;
}

void sn_lm_parameters(sn_graph *g, const sn_lm *lm) {
    sn_tensor one = sn_input(g, SN_TYPE_I32, SN_SHAPE(1)), starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(2));
    sn_tensor x = lm->forward(g, lm->config, lm->embed(g, lm->config, one), &(sn_lm_inputs){.positions = one, .row_starts = starts});
    sn_linear(g, x, lm->head(g, lm->config), SN_NONE);
}

static void parameters(sn_graph *g, const void *context) { sn_lm_parameters(g, &((const sn_model *)context)->lm); }

static sn_status prompt(const sn_model *m, const sn_request *request, sn_prompt *out, sn_error *error) {
    sn_prompt_text text = {0};
    for (int i = 0; i < request->num_prompt; i++) {
        if (request->prompt[i].is_media) return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", request->prompt[i].text);
        sn_prompt_text_add(&text, request->prompt[i].text, request->literal);
    }
    for (int i = 0; i < request->num_messages; i++)
        for (int j = 0; j < request->messages[i].count; j++) {
            if (request->messages[i].content[j].is_media) {
                sn_prompt_text_free(&text);
                return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", request->messages[i].content[j].text);
            }
            sn_prompt_text_add(&text, request->messages[i].content[j].text, request->literal);
        }
    sn_status status = sn_prompt_encode(&text, m->tokenizer, 0, out, error);
    sn_prompt_text_free(&text);
    return status;
}

const sn_system sn_system_llama = {
    .name = "llama", .title = "LLaMA / Vicuna", .paper = "arXiv 2302.13971", .recognise = recognise, .open = open, .parameters = parameters, .prompt = prompt};
