/* COCO's average precision and recall of boxes (Lin et al., ECCV 2014), as pycocotools computes them. */
#ifndef SN_EVAL_DETECTION_H
#define SN_EVAL_DETECTION_H

#include "base/error.h"

/* A box is x, y, width, height in pixels. */
typedef struct sn_true_box {
    int64_t image, category;
    double box[4], area;
    bool crowd; /* may be found many times, and counts for nothing */
} sn_true_box;

typedef struct sn_found_box {
    int64_t image, category;
    double box[4], score;
} sn_found_box;

/* AP over thresholds 0.50:0.05:0.95; s, m, l: areas below 32^2, between, above 96^2. -1 = there were no such objects. */
typedef struct sn_detection_scores {
    double ap, ap50, ap75, ap_small, ap_medium, ap_large;
    double ar1, ar10, ar100, ar_small, ar_medium, ar_large;
} sn_detection_scores;

sn_status sn_detection_score(const sn_true_box *truth, int64_t num_truth, const sn_found_box *found, int64_t num_found, sn_detection_scores *out, sn_error *error);

/* Intersection over union; of a crowd, over the found box alone. */
double sn_box_overlap(const double found[4], const double truth[4], bool crowd);

#endif
