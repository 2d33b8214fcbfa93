/* Warm-up, then constant, linear or cosine. */
#include "train/schedule.h"

#include <math.h>

double sn_schedule_factor(sn_schedule_kind kind, double warmup_ratio, int64_t step, int64_t steps) {
    int64_t warm = (int64_t)ceil(warmup_ratio * (double)steps), rest = steps - warm > 0 ? steps - warm : 1;
    if (step < warm) return (double)step / (double)warm;
    double progress = (double)(step - warm) / (double)rest;
    if (kind == SN_SCHEDULE_LINEAR) return progress < 1 ? 1 - progress : 0;
    if (kind == SN_SCHEDULE_COSINE) return 0.5 * (1 + cos(M_PI * progress));
    return 1;
}
