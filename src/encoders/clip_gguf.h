/* CLIP towers in GGUF files of LLaVA ("mmproj"): what llama.cpp's converter writes. */
#ifndef SN_ENCODERS_CLIP_GGUF_H
#define SN_ENCODERS_CLIP_GGUF_H

#include "encoders/clip.h"
#include "weights/layout.h"

/* The names under "v.". Older files call the two matrices of the MLP the other way round; *names is the table that fits
 * the shapes. num_layers = stored blocks; `layer` = the hidden state that the file means, as in sn_clip_vision_hidden:
 * the last stored block's, unless clip.vision.feature_layer says otherwise. */
sn_status sn_clip_vision_config_gguf(const sn_source *source, sn_clip_vision_config *c, int64_t *layer, const sn_name_rule **names, sn_error *error);

#endif
