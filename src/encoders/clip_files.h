/* How CLIP is published: configuration and names. */
#ifndef SN_ENCODERS_CLIP_FILES_H
#define SN_ENCODERS_CLIP_FILES_H

#include "encoders/clip.h"
#include "weights/config.h"
#include "weights/layout.h"

/* A vision_config or text_config object, or a whole config.json of a vision-only model. */
sn_status sn_clip_vision_config_hf(const char *where, const json_t *object, sn_clip_vision_config *c, sn_error *error);
sn_status sn_clip_text_config_hf(const char *where, const json_t *object, sn_clip_text_config *c, sn_error *error);

/* What a state dict does not say: heads and activation. 0 and NULL = by the published sizes of that width,
 * otherwise heads of 64 and quick_gelu. */
typedef struct sn_clip_choice {
    int64_t heads;          /* of the vision half */
    const char *activation; /* "quick_gelu" or "gelu", both halves */
    bool assumed;           /* out: neither given nor published for these sizes */
} sn_clip_choice;

/* Sizes from the tensors of OpenAI's layout. text may be NULL; a file without text half leaves it zero. */
sn_status sn_clip_config_openai(const sn_source *source, sn_clip_choice *choice, sn_clip_vision_config *vision, sn_clip_text_config *text, sn_error *error);
/* The same for a tower with Hugging Face's names under `prefix` and no configuration. */
sn_status sn_clip_vision_config_tensors(const sn_source *source, const char *prefix, sn_clip_choice *choice, sn_clip_vision_config *c, sn_error *error);

extern const sn_name_rule sn_clip_vision_names_hf[];  /* published prefix up to "…vision_model." */
extern const sn_name_rule sn_clip_vision_extra_hf[];  /* visual_projection.weight, without prefix */
extern const sn_name_rule sn_clip_text_names_hf[];    /* "text_model." */
extern const sn_name_rule sn_clip_text_extra_hf[];    /* text_projection.weight */
extern const sn_name_rule sn_clip_vision_names_openai[];
extern const sn_name_rule sn_clip_text_names_openai[];

#endif
