/* OPT alone: a decoder and its tokenizer, no template. */
#include "systems/parts.h"

#include "base/json.h"

#include <string.h>

static const char *folder_of(const sn_model_files *files) { return files->main ? files->main : files->llm; }

static int recognise(const sn_model_files *files, const char **why) {
    const char *folder = folder_of(files);
    json_t *config = NULL;
    if (!folder || files->delta || files->base || files->connector || !sn_is_directory(folder) || sn_model_json(folder, "config.json", &config, NULL)) return 0;
    const char *type = sn_json_string(config, "model_type");
    bool found = type && strcmp(type, "opt") == 0;
    if (found) *why = "config.json: model_type opt";
    json_decref(config);
    return found ? 5 : 0;
}

static sn_status open(sn_model *m, const sn_model_files *files, sn_error *error) {
    sn_opt_config *c = m->own = sn_arena_alloc(m->arena, 1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    json_t *config = NULL;
    const char *folder = folder_of(files);
    m->layout = "Hugging Face", m->ids_known = true;
    sn_status status = sn_open_opt(folder, "config.json", c, &config, error);
    if (!status) status = sn_open_opt_weights(m, folder, "config.json", c, error);
    if (!status) status = sn_open_tokenizer(m, files->tokenizer ? files->tokenizer : folder, error);
    if (!status) sn_read_stop_ids(m, folder, config);
    json_decref(config);
    return status;
}

static void parameters(sn_graph *g, const void *context) { sn_lm_parameters(g, &((const sn_model *)context)->lm); }

/* A text by itself, all of it learnt, with </s> in front: answers of a conversation are such texts, one behind the other. */
static sn_status sample(const sn_model *m, const char *conversation, const json_t *sample, sn_sample *out, sn_error *error) {
    const json_t *turns = sn_json_at(sample, "conversations");
    int32_t bos = sn_tokenizer_about(m->tokenizer)->bos;
    sn_status status = SN_OK;
    *out = (sn_sample){0};
    if (conversation && strcmp(conversation, "text") != 0) return sn_fail(error, SN_ERROR_USAGE, "template: found %s; OPT learns texts, which have none", conversation);
    if (bos >= 0 && !sn_ids_add(&out->ids, bos)) return sn_fail_memory(error);
    for (size_t i = 1; i < json_array_size(turns) && !status; i += 2) {
        const char *text = sn_json_string(json_array_get(turns, i), "value");
        if (text) status = sn_tokenizer_encode(m->tokenizer, text, strlen(text), NULL, 0, &out->ids, error);
    }
    if (!status && !sn_ids_add(&out->ids, sn_tokenizer_about(m->tokenizer)->eos)) status = sn_fail_memory(error);
    for (size_t i = 0; i < out->ids.count && !status; i++)
        if (!sn_ids_add(&out->labels, out->ids.data[i])) status = sn_fail_memory(error);
    if (status) sn_ids_free(&out->ids), sn_ids_free(&out->labels);
    return status;
}

static const char *const all[] = {"decoder.*", NULL};
static const sn_stage stages[] = {{.name = "texts", .trainable = all}, {0}};

const sn_system sn_system_opt = {.name = "opt", .title = "OPT", .paper = "arXiv 2205.01068", .recognise = recognise, .open = open, .parameters = parameters, .prompt = sn_text_prompt, .stages = stages, .sample = sample};
