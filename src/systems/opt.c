/* OPT alone: a decoder and its tokenizer, no template. */
#include "systems/parts.h"

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

const sn_system sn_system_opt = {.name = "opt", .title = "OPT", .paper = "arXiv 2205.01068", .recognise = recognise, .open = open, .parameters = parameters, .prompt = sn_text_prompt};
