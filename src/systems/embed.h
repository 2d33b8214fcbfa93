/* Vectors that can be compared: what a system gives for pictures and for texts, where it gives any. */
#ifndef SN_SYSTEMS_EMBED_H
#define SN_SYSTEMS_EMBED_H

#include "systems/model.h"

/* The vectors are not normalised. A function that is NULL: the system has no such vectors. */
struct sn_embedder {
    int64_t (*width)(const sn_model *model); /* 0: these files have no part that makes them */
    /* pixel_values [pictures, 3, H, W] → vectors [pictures, width] */
    sn_status (*pictures)(sn_model *model, const float *pixels, int pictures, float *vectors, sn_error *error);
    /* → vector [width] */
    sn_status (*text)(sn_model *model, const char *text, float *vector, sn_error *error);
};

#endif
