/* What an answer will take of memory, before it is asked for. */
#ifndef SN_GENERATE_FOOTPRINT_H
#define SN_GENERATE_FOOTPRINT_H

#include "systems/model.h"

/* Bytes. The process itself (code, libraries, directories of the files) comes on top. */
typedef struct sn_footprint {
    int64_t weights; /* of the mapped files, as far as a run touches them */
    int64_t derived; /* weights that are made: base + delta, merged LoRA, what archives hold compressed */
    int64_t floats;  /* float copies of norms, biases and position tables */
    int64_t plan;    /* values inside the largest graph: one picture, or the whole prompt at once */
    int64_t cache;   /* keys and values of all positions */
    int64_t buffers; /* pixels, a picture's rows, logits */
} sn_footprint;
int64_t sn_footprint_total(const sn_footprint *f);

/* Of a prompt of so many positions, one picture's among them where the model takes pictures. All parameters must be
 * there. */
sn_status sn_footprint_of(sn_model *model, int64_t positions, sn_footprint *out, sn_error *error);

#endif
