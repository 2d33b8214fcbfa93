/* Learning rates over the steps of a run. */
#ifndef SN_TRAIN_SCHEDULE_H
#define SN_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef enum sn_schedule_kind { SN_SCHEDULE_CONSTANT, SN_SCHEDULE_LINEAR, SN_SCHEDULE_COSINE } sn_schedule_kind;

/* Factor on the base rate at step s = 0, 1, … of `steps`, with warm = ceil(warmup_ratio * steps): s / warm while
 * s < warm; then 1, (steps - s) / (steps - warm), or (1 + cos(pi (s - warm) / (steps - warm))) / 2. */
double sn_schedule_factor(sn_schedule_kind kind, double warmup_ratio, int64_t step, int64_t steps);

#endif
