/* LLaMA and Vicuna alone: a decoder, its tokenizer, no template. */
#include "decoders/llama_gguf.h"
#include "systems/gguf_vocabulary.h"
#include "systems/parts.h"

#include <string.h>

/* A GGUF file of LLaMA: opened, it says so itself. */
static bool is_gguf(const char *path) {
    sn_source *source = NULL;
    const char *text = NULL;
    size_t length = 0;
    bool found = !sn_is_directory(path) && !sn_source_open(path, &source, NULL) && source->gguf && sn_gguf_text(source->gguf, "general.architecture", &text, &length) && length == 5 &&
                 memcmp(text, "llama", 5) == 0;
    sn_source_close(source);
    return found;
}

/* One file with everything: hyper-parameters, tensors, vocabulary (another tokenizer may be given). */
static sn_status open_gguf(sn_model *m, const sn_model_files *files, const char *path, sn_llama_config *c, sn_error *error) {
    sn_source *source;
    m->layout = "GGUF";
    sn_status status = sn_model_source(m, path, &source, error);
    if (!status) status = sn_llama_config_gguf(source, c, error);
    if (status) return status;
    if (!sn_model_names(m, sn_llama_names_gguf, "decoder.", "", &source, 1)) return sn_fail_memory(error);
    m->lm = sn_llama(c), m->has_lm = true;
    if (files->tokenizer) return sn_open_tokenizer(m, files->tokenizer, error);
    sn_gguf_value vocabulary;
    if (!sn_gguf_find(source->gguf, "tokenizer.ggml.model", &vocabulary)) {
        sn_model_warn(m, "%s holds no vocabulary; give one with --tokenizer to answer with it", path);
        return SN_OK;
    }
    if ((status = sn_gguf_tokenizer(path, source->gguf, &m->tokenizer, error))) return status;
    if (sn_tokenizer_about(m->tokenizer)->eos >= 0) m->eos[m->num_eos++] = sn_tokenizer_about(m->tokenizer)->eos;
    return SN_OK;
}

static int recognise(const sn_model_files *files, const char **why) {
    const char *folder = files->delta ? files->delta : files->main ? files->main : files->llm;
    if (!folder || files->connector || files->vision) return 0;
    if (!files->base && sn_folder_holds(folder, "params.json") && !sn_folder_holds(folder, "config.json")) {
        *why = "params.json: Meta's layout";
        return 5;
    }
    if (is_gguf(folder)) {
        *why = "general.architecture llama: a GGUF file";
        return 5;
    }
    json_t *config = NULL;
    if (!sn_is_directory(folder) || sn_model_json(folder, "config.json", &config, NULL)) return 0;
    const char *type = sn_json_string(config, "model_type");
    int sure = 0;
    if (type && strcmp(type, "llama") == 0 && !sn_json_at(config, "mm_vision_tower")) sure = 5, *why = files->base ? "config.json: model_type llama, on a base model" : "config.json: model_type llama";
    else if (!config && sn_folder_holds(folder, "adapter_config.json")) sure = 5, *why = "adapter_config.json: LoRA files of a language model";
    json_decref(config);
    return sure;
}

static sn_status open(sn_model *m, const sn_model_files *files, sn_error *error) {
    sn_llama_config *c = sn_arena_alloc(m->arena, 1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    m->own = c, m->ids_known = true;
    const char *folder = files->delta ? files->delta : files->main ? files->main : files->llm, *config_folder = folder;
    if (is_gguf(folder)) return open_gguf(m, files, folder, c, error);
    if (files->delta && !files->base) return sn_fail(error, SN_ERROR_USAGE, "%s: a delta needs its base model; give it with --base", folder);
    sn_llama_files parts = {.path = folder};
    if (sn_folder_holds(folder, "adapter_config.json")) {
        if (!files->base) return sn_fail(error, SN_ERROR_USAGE, "%s: LoRA files need their base model; give it with --base", folder);
        parts = (sn_llama_files){.path = files->base, .adapter = folder}, config_folder = files->base;
    } else if (files->base) {
        parts = (sn_llama_files){.path = files->base, .delta = folder};
    }
    json_t *config;
    sn_status status = sn_model_json(config_folder, "config.json", &config, error);
    if (status) return status;
    m->layout = parts.delta ? "Hugging Face, a delta on a base model" : parts.adapter ? "Hugging Face, LoRA on a base model" : config ? "Hugging Face" : "Meta";
    status = sn_open_llama(m, &parts, config, "config.json", c, NULL, error);
    if (!status) status = sn_open_tokenizer(m, files->tokenizer ? files->tokenizer : config_folder, error);
    if (!status) sn_read_stop_ids(m, config_folder, config);
    json_decref(config);
    return status;
}

static sn_status check(const sn_model *m, sn_error *error) { return sn_check_final_norm(m, m->num_names && m->names[0].delta, error); }

static void parameters(sn_graph *g, const void *context) { sn_lm_parameters(g, &((const sn_model *)context)->lm); }

const sn_system sn_system_llama = {
    .name = "llama", .title = "LLaMA / Vicuna", .paper = "arXiv 2302.13971", .recognise = recognise, .open = open, .parameters = parameters, .check = check, .prompt = sn_text_prompt};
