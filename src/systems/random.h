/* Models of real widths with random weights: what `bench` measures where no checkpoint is at hand. */
#ifndef SN_SYSTEMS_RANDOM_H
#define SN_SYSTEMS_RANDOM_H

#include "systems/model.h"

/* Names of the presets, "clip-vit-l-336, llama-7b, …", for an error or a help text. */
void sn_random_names(sn_buf *out);

/* The model of that name, without a tokenizer. Its parameters are those its graph asks for; matrices are stored as
 * `type` (f32 where a row is no whole number of blocks), and so is everything else unless the type has blocks. */
sn_status sn_model_random(sn_engine *engine, const char *preset, sn_type type, uint64_t seed, sn_model **out, sn_error *error);

#endif
