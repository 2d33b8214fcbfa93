/* Exact search: the k rows of most similar direction or largest product, without a list of all scores.
 *
 * Rows are read in blocks by several threads, each keeping the best k of what it saw; the result does not depend on
 * how the blocks fell to the threads. Rows may be in any type that a weight can have, so a published table is
 * searched where it is mapped. */
#ifndef SN_VECTORS_SEARCH_H
#define SN_VECTORS_SEARCH_H

#include "tensor/weight.h"

typedef struct sn_hit {
    int64_t row;
    float score;
} sn_hit;

/* Scores between -1 and 1 counted in equal steps: where a result lies among all that there is. */
enum { SN_SPREAD_STEPS = 4096 };
typedef struct sn_spread {
    int64_t count[SN_SPREAD_STEPS], total;
} sn_spread;

/* The score below which that share (0..1) of the counted ones lies, to 1 / 2048. 0 where nothing was counted. */
double sn_spread_at(const sn_spread *spread, double share);

typedef struct sn_search {
    const sn_weight *rows; /* [rows, width], ready */
    const float *scale;    /* [rows]: what each score is multiplied by (1 / norm of the row), or NULL */
    const uint64_t *skip;  /* one bit a row, set: the row is no candidate; or NULL */
    bool clamp;            /* scores of unit vectors: rounding never makes them more than 1 or less than -1 */
    int64_t k;             /* rows wanted; more than there are gives all of them */
    int threads;           /* 0 = as many as this process may use */
} sn_search;

/* queries [count, width] → hits [count, k] by falling score, equal scores by lower row; found[i] (at most k) says how
 * many each query has. A score that is not a number is never a hit. spread (NULL, or one for each query) is added to.
 * SN_ERROR_USAGE where the widths differ is the caller's to prevent: queries are rows->columns wide. */
sn_status sn_search_rows(const sn_search *search, const float *queries, int64_t count, sn_hit *hits, int64_t *found, sn_spread *spread, sn_error *error);

/* 1 / norm of every row, for `scale`. A row without length gets 0; *zero (may be NULL) is the first such row or -1. */
void sn_row_scales(const sn_weight *rows, float *scale, int64_t *zero);

/* Makes a vector's length 1. False where it is zero or not finite: then it is left alone. */
bool sn_unit(float *vector, int64_t width);

#endif
