/* Orders are made once by a stable comparison; everything else counts along them. */
#include "eval/ranking.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

typedef struct item {
    double key;
    int64_t index;
} item;

static int lowest_first(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

bool sn_order(const double *scores, int64_t count, bool low_first, int64_t *order) {
    item *items = sn_alloc((size_t)count + 1, sizeof *items);
    if (!items) return false;
    for (int64_t i = 0; i < count; i++) items[i] = (item){low_first ? scores[i] : -scores[i], i};
    qsort(items, (size_t)count, sizeof *items, lowest_first);
    for (int64_t i = 0; i < count; i++) order[i] = items[i].index;
    sn_free(items);
    return true;
}

int64_t sn_first_rank(const int64_t *order, int64_t count, const bool *relevant) {
    for (int64_t i = 0; i < count; i++)
        if (relevant[order[i]]) return i + 1;
    return 0;
}

double sn_average_precision_at(const int64_t *order, int64_t count, const bool *relevant) {
    int64_t found = 0;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        if (relevant[order[i]]) sum += (double)++found / (double)(i + 1);
    return found ? sum / (double)found : 0;
}

static double gain_along(const int64_t *order, const double *gain, int64_t k) {
    double sum = 0;
    for (int64_t i = 0; i < k; i++) sum += gain[order[i]] / log2((double)i + 2);
    return sum;
}

sn_status sn_ndcg(const int64_t *order, int64_t count, const double *gain, double *out, sn_error *error) {
    int64_t *ideal = sn_alloc((size_t)count + 1, sizeof *ideal), k = 0;
    *out = 0;
    if (!ideal || !sn_order(gain, count, false, ideal)) {
        sn_free(ideal);
        return sn_fail_memory(error);
    }
    for (int64_t i = 0; i < count; i++) k += gain[i] > 0;
    double best = gain_along(ideal, gain, k);
    if (best > 0) *out = gain_along(order, gain, k) / best;
    sn_free(ideal);
    return SN_OK;
}

double sn_recall_at(const int64_t *ranks, int64_t count, int64_t k) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) found += ranks[i] > 0 && ranks[i] <= k;
    return count ? (double)found / (double)count : 0;
}

double sn_mean_reciprocal(const int64_t *ranks, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += ranks[i] ? 1 / (double)ranks[i] : 0;
    return count ? sum / (double)count : 0;
}

double sn_mean_rank(const int64_t *ranks, int64_t count) {
    double sum = 0;
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)ranks[i], found += ranks[i] > 0;
    return found ? sum / (double)found : 0;
}

sn_status sn_median_rank(const int64_t *ranks, int64_t count, double *out, sn_error *error) {
    item *items = sn_alloc((size_t)count + 1, sizeof *items);
    int64_t n = 0;
    if (!items) return sn_fail_memory(error);
    for (int64_t i = 0; i < count; i++)
        if (ranks[i] > 0) items[n] = (item){(double)ranks[i], i}, n++;
    qsort(items, (size_t)n, sizeof *items, lowest_first);
    *out = n ? (items[(n - 1) / 2].key + items[n / 2].key) / 2 : 0;
    sn_free(items);
    return SN_OK;
}

sn_status sn_average_precision(const double *scores, const bool *labels, int64_t count, double *out, sn_error *error) {
    int64_t *order = sn_alloc((size_t)count + 1, sizeof *order), positives = 0, seen = 0;
    *out = 0;
    if (!order || !sn_order(scores, count, false, order)) {
        sn_free(order);
        return sn_fail_memory(error);
    }
    for (int64_t i = 0; i < count; i++) positives += labels[i];
    double before = 0;
    for (int64_t i = 0; i < count && positives; i++) {
        seen += labels[order[i]];
        if (i + 1 < count && scores[order[i + 1]] == scores[order[i]]) continue;
        double recall = (double)seen / (double)positives;
        *out += (recall - before) * (double)seen / (double)(i + 1);
        before = recall;
    }
    sn_free(order);
    return SN_OK;
}

bool sn_in_top(const double *scores, int64_t classes, int64_t wanted, int64_t k) {
    int64_t above = 0;
    for (int64_t i = 0; i < classes; i++) above += scores[i] > scores[wanted] || (scores[i] == scores[wanted] && i < wanted);
    return above < k;
}
