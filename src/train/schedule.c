/* Warm-up, then constant, linear, cosine or falling in steps. */
#include "train/schedule.h"

#include <math.h>

double sn_schedule_factor(const sn_schedule *s, int64_t step, int64_t steps) {
    if (s->steps) steps = s->steps;
    int64_t warm = s->warmup_steps ? s->warmup_steps : (int64_t)ceil(s->warmup_ratio * (double)steps), rest = steps - warm > 0 ? steps - warm : 1;
    if (step < warm) return (double)step / (double)warm;
    double progress = (double)(step - warm) / (double)rest;
    if (s->name == SN_SCHEDULE_LINEAR) return progress < 1 ? 1 - progress : 0;
    if (s->name == SN_SCHEDULE_COSINE) return 0.5 * (1 + cos(M_PI * fmin(progress, 1)));
    if (s->name == SN_SCHEDULE_STEP) return pow(s->factor, (double)((step - warm) / s->every));
    return 1;
}
