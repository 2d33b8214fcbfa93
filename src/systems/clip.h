/* CLIP as a system of its own: both halves and what they compute together. */
#ifndef SN_SYSTEMS_CLIP_H
#define SN_SYSTEMS_CLIP_H

#include "encoders/clip.h"
#include "systems/model.h"

typedef struct sn_clip {
    sn_clip_vision_config vision;
    sn_clip_text_config text;
    bool has_text, has_projection;
    float logit_scale; /* before exp */
} sn_clip;

/* pixel_values [pictures, 3, H, W] → vision.hidden.{i}, vision.pooled, embed.image [pictures, projection] */
typedef struct sn_clip_image_program {
    const sn_model *model;
    int64_t pictures;
} sn_clip_image_program;
void sn_clip_build_image(sn_graph *g, const void *context);

/* ids, positions, row starts, places of the end tokens → embed.text [texts, projection] */
typedef struct sn_clip_text_program {
    const sn_model *model;
    int64_t tokens, texts;
} sn_clip_text_program;
void sn_clip_build_text(sn_graph *g, const void *context);

/* One run each. pixels [count, 3, H, W] → vectors [count, projection], without a projection what the tower pools; texts →
 * [count, projection]. Not normalised. */
sn_status sn_clip_embed_pictures(sn_model *model, const float *pixels, int count, float *vectors, sn_error *error);
sn_status sn_clip_embed_texts(sn_model *model, const char *const *texts, int count, float *vectors, sn_error *error);

extern const sn_embedder sn_clip_embedder;

#endif
