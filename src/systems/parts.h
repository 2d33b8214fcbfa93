/* What several systems do alike when they open their parts. */
#ifndef SN_SYSTEMS_PARTS_H
#define SN_SYSTEMS_PARTS_H

#include "base/json.h"
#include "decoders/llama.h"
#include "decoders/opt.h"
#include "encoders/clip.h"
#include "systems/model.h"

/* Whether a folder holds a file of that name. */
bool sn_folder_holds(const char *folder, const char *name);

/* The folder that a configuration names ("openai/clip-vit-large-patch14", or a path): the path itself, beside or in
 * `folder`, in files->models, in the caches that Hugging Face's tools keep (HF_HUB_CACHE, HF_HOME,
 * ~/.cache/huggingface/hub; the snapshot that refs/main names). Allocated; NULL where there is none. */
char *sn_find_folder(const sn_model_files *files, const char *folder, const char *name);

/* Where a LLaMA's weights come from. */
typedef struct sn_llama_files {
    const char *path;    /* Hugging Face's folder, or Meta's with params.json */
    const char *delta;   /* a folder that is added to it, or NULL */
    const char *adapter; /* a folder with adapter_config.json and adapter_model, or NULL */
} sn_llama_files;

/* Opens them: adds the names, sets model->lm. config describes a LLaMA in Hugging Face's layout and `where` is its place
 * for errors; without a config the folder is Meta's. How the names begin is seen from the names. *source (may be NULL)
 * gets the checkpoint that holds what is not LLaMA's own (the delta, if there is one). */
sn_status sn_open_llama(sn_model *model, const sn_llama_files *files, const json_t *config, const char *where, sn_llama_config *out, sn_source **source,
                        sn_error *error);

/* An OPT in Hugging Face's layout: first what its config.json says (*config is the caller's), then, with the vocabulary
 * that is wanted, names and model->lm. */
sn_status sn_open_opt(const char *folder, const char *where, sn_opt_config *out, json_t **config, sn_error *error);
sn_status sn_open_opt_weights(sn_model *model, const char *folder, const char *where, const sn_opt_config *config, sn_error *error);

/* The tokenizer of a folder; its eos becomes a stop id. Refused where it has more tokens than the table rows. */
sn_status sn_open_tokenizer(sn_model *model, const char *path, sn_error *error);

/* Further stop ids: those that config.json, its text part and generation_config.json name.
 * Ids that contradict the tokenizer do not win and are reported once. */
void sn_read_stop_ids(sn_model *model, const char *folder, const json_t *config);

/* A CLIP vision tower: its configuration, names, processor.
 *   path    a folder in Hugging Face's layout, or a file in OpenAI's; NULL: there is only `inside`
 *   inside  a checkpoint of something else that holds a tower under `prefix`: its tensors are taken, sizes come from
 *           path's config.json, or from the tensors; NULL: the tensors of path are taken */
sn_status sn_open_clip_tower(sn_model *model, const sn_model_files *files, const char *path, sn_source *inside, const char *prefix, sn_clip_vision_config *out,
                             sn_error *error);

/* CLIP's repository holds the whole of CLIP; where only the tower is wanted, the rest is known and not needed. */
void sn_skip_rest_of_clip(sn_model *model, const char *path);
/* Copies of frozen models inside a checkpoint that are not used: known, and no surprise. False without memory. */
bool sn_skip_clip_tower(sn_model *model, const char *prefix, sn_source *source);
bool sn_skip_opt(sn_model *model, const char *prefix, const char *head_prefix, sn_source *source);

/* Whether the final norm is that of a whole model: one far from 1 is a delta that nothing was added to, or one
 * added to another base. */
sn_status sn_check_final_norm(const sn_model *model, bool is_delta, sn_error *error);

/* sn_system's prompt of a model that takes text alone: texts one behind the other, no template. */
sn_status sn_text_prompt(const sn_model *model, const sn_request *request, sn_prompt *out, sn_error *error);

/* A language model's graph, for its parameters. */
void sn_lm_parameters(sn_graph *g, const sn_lm *lm);

#endif
