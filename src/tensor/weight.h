/* A weight: where a parameter's values are and how they are stored.
 *
 * A weight is a matrix [rows, columns] (a vector is one row) in the type of its file, usually mapped and
 * never converted whole. Parts follow each other by rows: that is how model-parallel shards are joined
 * without a copy. What cannot be a view (base + delta, shards joined by columns) is *derived*: its `make`
 * is called once, at first use. A float copy of a small weight (norms, biases, position tables) is kept
 * beside it, also made at first use. Both are once-only and safe from several threads. */
#ifndef SN_TENSOR_WEIGHT_H
#define SN_TENSOR_WEIGHT_H

#include "tensor/graph.h"

enum { SN_MAX_PARTS = 8 };

typedef struct sn_weight_part {
    const void *data;
    int64_t rows, row_bytes; /* distance between rows */
} sn_weight_part;

typedef struct sn_weight sn_weight;
struct sn_weight {
    sn_type type;
    sn_shape shape;        /* as the model's code sees it; rows = dim[0], columns = the rest flattened */
    int64_t rows, columns;
    int num_parts;
    sn_weight_part part[SN_MAX_PARTS];
    /* Derived weights: fills rows x columns values of `type` into memory the weight then owns. */
    sn_status (*make)(const void *recipe, void *to, sn_error *error);
    const void *recipe;
    void *owned;           /* set by sn_weight_ready */
    float *floats;         /* set by sn_weight_floats */
};

/* A weight over memory at hand: contiguous rows. */
sn_weight sn_weight_view(sn_type type, sn_shape shape, const void *data);

/* Makes a derived weight if it is not made yet. */
sn_status sn_weight_ready(sn_weight *weight, sn_error *error);

/* All values as floats: the mapped ones where they are contiguous f32, else a copy that is made once.
 * NULL when memory cannot be had. */
const float *sn_weight_floats(sn_weight *weight);

/* Address of one row; conversion of one row. */
const void *sn_weight_row(const sn_weight *weight, int64_t row);
void sn_weight_row_floats(const sn_weight *weight, int64_t row, float *to);

/* Frees what was derived or converted; the mapped data stay. */
void sn_weight_release(sn_weight *weight);

#endif
