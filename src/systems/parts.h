/* What several systems do alike when they open their parts. */
#ifndef SN_SYSTEMS_PARTS_H
#define SN_SYSTEMS_PARTS_H

#include "base/json.h"
#include "decoders/llama.h"
#include "encoders/clip.h"
#include "systems/model.h"

/* A LLaMA in Hugging Face's layout whose names begin with `prefix` and whose head's with `head_prefix`. config is
 * the object that describes it, `where` its place for errors. Sets model->lm. */
sn_status sn_open_llama_hf(sn_model *model, const char *folder, const json_t *config, const char *where, sn_llama_config *out, const char *prefix,
                           const char *head_prefix, sn_error *error);

/* The tokenizer of a folder; its eos becomes a stop id. Refused where it has more tokens than the table rows. */
sn_status sn_open_tokenizer(sn_model *model, const char *path, sn_error *error);
void sn_check_special_ids(sn_model *model, const json_t *config);

/* A CLIP vision tower in a folder (Hugging Face) or file (OpenAI): its configuration, names, processor. */
sn_status sn_open_clip_tower(sn_model *model, const char *path, sn_clip_vision_config *out, sn_error *error);

/* A language model's graph, for its parameters. */
void sn_lm_parameters(sn_graph *g, const sn_lm *lm);

#endif
