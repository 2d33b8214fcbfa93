/* FROMAGe's configuration: a frozen OPT, CLIP's class token as tokens of the prompt and as key of a gallery, and the token
 * [RET], whose hidden state is the query. */
#ifndef SN_SYSTEMS_FROMAGE_H
#define SN_SYSTEMS_FROMAGE_H

#include "connectors/projector.h"
#include "connectors/retrieval.h"
#include "decoders/opt.h"
#include "encoders/clip.h"
#include "systems/finder.h"
#include "systems/model.h"

typedef struct sn_fromage {
    sn_clip_vision_config vision;
    sn_projector_config projector; /* W_c: to visual_tokens rows of the token table's width at once */
    sn_retrieval_config retrieval; /* W_i and W_t */
    sn_opt_config opt;
    int64_t visual_tokens;
    const char *folder; /* that holds model_args.json */
} sn_fromage;

/* How it is published: sn_system's recognise, open and check. */
int sn_fromage_recognise(const sn_model_files *files, const char **why);
sn_status sn_fromage_open(sn_model *model, const sn_model_files *files, sn_error *error);
sn_status sn_fromage_check(const sn_model *model, sn_error *error);
/* Its galleries: sn_system's gallery. */
sn_status sn_fromage_gallery(const sn_model *model, const char *path, sn_finder *out, sn_error *error);

/* sn_system's sample: one caption and its picture. ids and labels: </s>, its words, [RET]. */
sn_status sn_fromage_sample(const sn_model *model, const char *conversation, const json_t *sample, sn_sample *out, sn_error *error);
sn_status sn_fromage_words(const sn_model *model, const char *caption, sn_ids *ids, sn_error *error);

/* Such ids cut or padded to `length`, the last one never a word. Returns how many are no pads. */
int64_t sn_fromage_pad(const sn_model *model, const sn_ids *words, int64_t length, int32_t *ids);

/* One row of the captioning pass: num captions of `length` ids behind their pictures (first_picture …), what stands from
 * [RET] on behind them all: num * (length + visual tokens) ids and labels. */
void sn_fromage_row(const sn_model *model, const int32_t *const *captions, const int64_t *counts, int num, int64_t length, int64_t first_picture, int32_t *ids, int32_t *labels);

/* sn_system's arguments: model_args.json. */
sn_status sn_fromage_arguments(const sn_model *model, const char *folder, const char *tower, sn_error *error);

extern const sn_name_rule sn_fromage_names_projector[], sn_fromage_names_retrieval[], sn_fromage_names_row[];

#endif
