/* One pass for each category and range of areas: in every image the found boxes, best first, take the true boxes they
 * overlap most; then all images' boxes together, best first, give precision against recall. */
#include "eval/detection.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THRESHOLDS = 10, RECALLS = 101, MOST = 100, AREAS = 4, LIMITS = 3 };
static const double areas[AREAS][2] = {{0, 1e10}, {0, 1024}, {1024, 9216}, {9216, 1e10}};
static const int limits[LIMITS] = {1, 10, MOST};

double sn_box_overlap(const double d[4], const double g[4], bool crowd) {
    double w = fmin(d[0] + d[2], g[0] + g[2]) - fmax(d[0], g[0]), h = fmin(d[1] + d[3], g[1] + g[3]) - fmax(d[1], g[1]);
    if (!(w > 0) || !(h > 0)) return 0;
    double own = d[2] * d[3], inter = w * h;
    return inter / (crowd ? own : own + g[2] * g[3] - inter);
}

/* A found box after matching in its image. */
typedef struct judged {
    double score;
    int64_t order; /* where it stood: equal scores keep it */
    int rank;      /* in its image and category, from 0 */
    bool right[THRESHOLDS], ignored[THRESHOLDS];
} judged;

typedef struct task {
    const sn_true_box *truth;
    const sn_found_box *found;
    int64_t num_truth, num_found;
    const int64_t *truth_order, *found_order; /* by category, image; then as given, or by falling score */
    double precision[AREAS][THRESHOLDS], recall[AREAS][LIMITS][THRESHOLDS]; /* sums over categories */
    int64_t with_objects[AREAS];                                           /* categories that have some */
} task;

static double threshold(int t) { return t == THRESHOLDS - 1 ? 0.95 : 0.5 + t * ((0.95 - 0.5) / (THRESHOLDS - 1)); }
static double recall_at(int r) { return r == RECALLS - 1 ? 1 : r * 0.01; }
static bool outside(double area, int a) { return area < areas[a][0] || area > areas[a][1]; }

/* Matches one image's boxes at one threshold. ignored [num_truth]: crowds and boxes of other areas, which stand last. */
static void match(const task *k, const int64_t *found, int64_t num_found, const int64_t *truth, int64_t num_truth, const bool *ignored, int area, int t, bool *taken, judged *out) {
    memset(taken, 0, (size_t)num_truth);
    for (int64_t d = 0; d < num_found; d++) {
        const sn_found_box *box = &k->found[found[d]];
        double best = fmin(threshold(t), 1 - 1e-10);
        int64_t m = -1;
        for (int64_t g = 0; g < num_truth; g++) {
            const sn_true_box *theirs = &k->truth[truth[g]];
            if (taken[g] && !theirs->crowd) continue;
            if (m >= 0 && !ignored[m] && ignored[g]) break; /* a real object is never given up for an ignored one */
            double overlap = sn_box_overlap(box->box, theirs->box, theirs->crowd);
            if (overlap < best) continue;
            best = overlap, m = g;
        }
        if (m >= 0) taken[m] = true;
        out[d].right[t] = m >= 0 && !ignored[m];
        out[d].ignored[t] = m >= 0 ? ignored[m] : outside(box->box[2] * box->box[3], area);
    }
}

static int best_first(const void *a, const void *b) {
    const judged *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Of the judged boxes within the limit: recall at the end, and mean precision at 101 recalls. */
static void accumulate(const judged *all, int64_t count, int limit, int t, int64_t objects, double *curve, double *recall, double *precision) {
    int64_t right = 0, wrong = 0, n = 0;
    *recall = 0, *precision = 0;
    double *recalls = curve, *precisions = curve + count;
    for (int64_t i = 0; i < count; i++) {
        if (all[i].rank >= limit) continue;
        right += all[i].right[t], wrong += !all[i].right[t] && !all[i].ignored[t];
        recalls[n] = (double)right / (double)objects;
        precisions[n++] = (double)right / ((double)(right + wrong) + 2.220446049250313e-16);
    }
    if (n) *recall = recalls[n - 1];
    for (int64_t i = n - 1; i > 0; i--) precisions[i - 1] = fmax(precisions[i - 1], precisions[i]);
    int64_t at = 0;
    for (int r = 0; r < RECALLS; r++) {
        while (at < n && recalls[at] < recall_at(r)) at++;
        if (at < n) *precision += precisions[at] / RECALLS;
    }
}

/* Boxes of one category: found [begin, end) and truth [begin, end) of the orders. */
typedef struct range {
    int64_t found, found_end, truth, truth_end;
} range;

static int64_t same_image(const task *k, const int64_t *order, int64_t at, int64_t end, int64_t image, bool truth) {
    while (at < end && (truth ? k->truth[order[at]].image : k->found[order[at]].image) == image) at++;
    return at;
}

static sn_status score_category(task *k, range c, int area, sn_error *error) {
    size_t num_found = (size_t)(c.found_end - c.found), num_truth = (size_t)(c.truth_end - c.truth);
    judged *all = sn_alloc(num_found + 1, sizeof *all);
    int64_t *truth = sn_alloc(num_truth + 1, sizeof *truth), objects = 0, kept = 0;
    bool *ignored = sn_alloc(num_truth + 1, 1), *taken = sn_alloc(num_truth + 1, 1);
    double *curve = sn_alloc(2 * num_found + 1, sizeof *curve);
    sn_status status = all && truth && ignored && taken && curve ? SN_OK : sn_fail_memory(error);
    for (int64_t f = c.found, g = c.truth; !status && (f < c.found_end || g < c.truth_end);) {
        int64_t image_f = f < c.found_end ? k->found[k->found_order[f]].image : INT64_MAX, image_g = g < c.truth_end ? k->truth[k->truth_order[g]].image : INT64_MAX;
        int64_t image = image_f < image_g ? image_f : image_g;
        int64_t f_end = same_image(k, k->found_order, f, c.found_end, image, false), g_end = same_image(k, k->truth_order, g, c.truth_end, image, true), n = 0;
        for (int pass = 0; pass < 2; pass++) /* those that count first */
            for (int64_t i = g; i < g_end; i++) {
                const sn_true_box *box = &k->truth[k->truth_order[i]];
                bool ignore = box->crowd || outside(box->area, area);
                if (ignore == (pass == 1)) truth[n] = k->truth_order[i], ignored[n++] = ignore;
                objects += pass == 0 && !ignore;
            }
        int64_t most = f_end - f < MOST ? f_end - f : MOST;
        for (int64_t d = 0; d < most; d++) all[kept + d] = (judged){.score = k->found[k->found_order[f + d]].score, .order = kept + d, .rank = (int)d};
        for (int t = 0; t < THRESHOLDS; t++) match(k, k->found_order + f, most, truth, n, ignored, area, t, taken, all + kept);
        kept += most, f = f_end, g = g_end;
    }
    if (!status && objects) {
        qsort(all, (size_t)kept, sizeof *all, best_first);
        k->with_objects[area]++;
        for (int t = 0; t < THRESHOLDS; t++)
            for (int l = 0; l < LIMITS; l++) {
                double recall, precision;
                accumulate(all, kept, limits[l], t, objects, curve, &recall, &precision);
                k->recall[area][l][t] += recall;
                if (l == LIMITS - 1) k->precision[area][t] += precision;
            }
    }
    sn_free(all);
    sn_free(truth);
    sn_free(ignored);
    sn_free(taken);
    sn_free(curve);
    return status;
}

/* ---- orders ---- */

typedef struct place {
    int64_t category, image, index;
    double key;
} place;

static int by_place(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->category != y->category) return x->category < y->category ? -1 : 1;
    if (x->image != y->image) return x->image < y->image ? -1 : 1;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static int64_t *order_of(const task *k, bool truth) {
    int64_t count = truth ? k->num_truth : k->num_found;
    place *places = sn_alloc((size_t)count + 1, sizeof *places);
    int64_t *order = sn_alloc((size_t)count + 1, sizeof *order);
    for (int64_t i = 0; i < count && places && order; i++)
        places[i] = truth ? (place){k->truth[i].category, k->truth[i].image, i, 0} : (place){k->found[i].category, k->found[i].image, i, -k->found[i].score};
    if (places && order) qsort(places, (size_t)count, sizeof *places, by_place);
    for (int64_t i = 0; i < count && places && order; i++) order[i] = places[i].index;
    if (!places) {
        sn_free(order);
        order = NULL;
    }
    sn_free(places);
    return order;
}

static double over(double sum, int64_t count) { return count ? sum / (double)count : -1; }

static double mean_precision(const task *k, int area, int from, int to) {
    double sum = 0;
    for (int t = from; t < to; t++) sum += k->precision[area][t];
    return over(sum / (to - from), k->with_objects[area]);
}

static double mean_recall(const task *k, int area, int limit) {
    double sum = 0;
    for (int t = 0; t < THRESHOLDS; t++) sum += k->recall[area][limit][t];
    return over(sum / THRESHOLDS, k->with_objects[area]);
}

sn_status sn_detection_score(const sn_true_box *truth, int64_t num_truth, const sn_found_box *found, int64_t num_found, sn_detection_scores *out, sn_error *error) {
    task k = {.truth = truth, .found = found, .num_truth = num_truth, .num_found = num_found};
    int64_t *truth_order = order_of(&k, true), *found_order = order_of(&k, false), f = 0;
    k.truth_order = truth_order, k.found_order = found_order;
    sn_status status = truth_order && found_order ? SN_OK : sn_fail_memory(error);
    for (int64_t g = 0; g < num_truth && !status;) { /* a category without objects has no score */
        int64_t category = truth[truth_order[g]].category, end = g;
        while (end < num_truth && truth[truth_order[end]].category == category) end++;
        while (f < num_found && found[found_order[f]].category < category) f++;
        int64_t found_end = f;
        while (found_end < num_found && found[found_order[found_end]].category == category) found_end++;
        for (int area = 0; area < AREAS && !status; area++) status = score_category(&k, (range){f, found_end, g, end}, area, error);
        g = end, f = found_end;
    }
    *out = (sn_detection_scores){.ap = mean_precision(&k, 0, 0, THRESHOLDS), .ap50 = mean_precision(&k, 0, 0, 1), .ap75 = mean_precision(&k, 0, 5, 6),
                                 .ap_small = mean_precision(&k, 1, 0, THRESHOLDS), .ap_medium = mean_precision(&k, 2, 0, THRESHOLDS), .ap_large = mean_precision(&k, 3, 0, THRESHOLDS),
                                 .ar1 = mean_recall(&k, 0, 0), .ar10 = mean_recall(&k, 0, 1), .ar100 = mean_recall(&k, 0, 2),
                                 .ar_small = mean_recall(&k, 1, 2), .ar_medium = mean_recall(&k, 2, 2), .ar_large = mean_recall(&k, 3, 2)};
    sn_free(truth_order);
    sn_free(found_order);
    return status;
}
