/* How OPT is published: Hugging Face's config.json and names. */
#ifndef SN_DECODERS_OPT_FILES_H
#define SN_DECODERS_OPT_FILES_H

#include "decoders/opt.h"
#include "weights/config.h"
#include "weights/layout.h"

sn_status sn_opt_config_hf(const char *where, const json_t *object, sn_opt_config *c, sn_error *error);

extern const sn_name_rule sn_opt_names_hf[]; /* prefix "model.decoder." or "decoder." */
extern const sn_name_rule sn_opt_head_hf[];  /* lm_head.weight: the table once more, where it is written along */

#endif
