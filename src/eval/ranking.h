/* Metrics of orders: retrieval, classification, perplexity. Where scores are equal, the lower index comes first. */
#ifndef SN_EVAL_RANKING_H
#define SN_EVAL_RANKING_H

#include "base/error.h"

/* order [count]: indices by falling score (rising where `low_first`); false without memory. */
bool sn_order(const double *scores, int64_t count, bool low_first, int64_t *order);

/* Rank (from 1) of the best relevant item, 0 where none is relevant; average precision over the relevant ones. */
int64_t sn_first_rank(const int64_t *order, int64_t count, const bool *relevant);
double sn_average_precision_at(const int64_t *order, int64_t count, const bool *relevant);

/* VisDial's: over the first k places, k = items with a gain; divided by the best order's. 0 where nothing has a gain. */
sn_status sn_ndcg(const int64_t *order, int64_t count, const double *gain, double *out, sn_error *error);

/* Over queries: ranks [count], 0 = nothing relevant (never found; left out of median and mean). */
double sn_recall_at(const int64_t *ranks, int64_t count, int64_t k);
double sn_mean_reciprocal(const int64_t *ranks, int64_t count);
double sn_mean_rank(const int64_t *ranks, int64_t count);
sn_status sn_median_rank(const int64_t *ranks, int64_t count, double *out, sn_error *error);

/* Step-wise average precision of a two-class score: equal scores enter together. 0 where no label is set. */
sn_status sn_average_precision(const double *scores, const bool *labels, int64_t count, double *out, sn_error *error);

/* Whether a class is among the k of highest score. */
bool sn_in_top(const double *scores, int64_t classes, int64_t wanted, int64_t k);

#endif
