/* Low-rank updates in a file of their own (Hu et al., arXiv 2106.09685): W + scale B A, A [rank, in], B [out, rank]. */
#ifndef SN_WEIGHTS_LORA_H
#define SN_WEIGHTS_LORA_H

#include "weights/source.h"

/* Of one update: scale = alpha / rank, or what else its configuration says. */
typedef struct sn_lora_size {
    int64_t rank;
    float scale;
} sn_lora_size;

/* The module of tensor "model.layers.0.self_attn.q_proj.weight" is found as prefix + "model.layers.0.self_attn.q_proj"
 * + ".lora_A" + infix + ".weight". */
typedef struct sn_lora {
    sn_source *source;
    const char *prefix, *infix; /* "base_model.model.", ".default" or "" */
    const sn_lora_size *sizes;  /* of the source's tensors, by their places; those of lora_A count */
} sn_lora;

typedef struct sn_update {
    const sn_source_tensor *from[2]; /* A and B; NULL = this tensor has no update */
    sn_weight down, up;              /* their values: A, B */
    float scale;
} sn_update;

/* The update of the tensor of that name and shape; one that does not fit it is an error. */
sn_status sn_lora_find(const sn_lora *lora, const char *published, const sn_shape *base, sn_arena *arena, sn_update *out, sn_error *error);

/* What rounding to the stored type takes from updates: sums of |scale B A| and of |stored - exact|. */
typedef struct sn_rounding {
    double update, error;
} sn_rounding;
/* The share of the update that is lost, 0 to 1. */
double sn_rounding_lost(const sn_rounding *rounding);

/* W + scale B A in float32, rounded once to `type`, into rows of W's size. The weights are ready. rounding (may be NULL) is
 * added to. */
sn_status sn_lora_merge(const sn_weight *base, const sn_weight *down, const sn_weight *up, float scale, sn_type type, void *to, sn_rounding *rounding, sn_error *error);

/* The same as a weight that is made when it is needed; what is pointed at must outlive it. */
sn_status sn_lora_weight(const sn_weight *base, const sn_update *update, sn_type type, sn_rounding *rounding, sn_arena *arena, sn_weight *out, sn_error *error);

#endif
