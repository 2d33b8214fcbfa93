/* Learning rates over the steps of a run. */
#ifndef SN_TRAIN_SCHEDULE_H
#define SN_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef enum sn_schedule_kind { SN_SCHEDULE_CONSTANT, SN_SCHEDULE_LINEAR, SN_SCHEDULE_COSINE, SN_SCHEDULE_STEP } sn_schedule_kind;

typedef struct sn_schedule {
    int name; /* sn_schedule_kind */
    double warmup_ratio;
    unsigned warmup_steps; /* in place of the ratio where it is not 0 */
    unsigned every;        /* of step: after each so many steps … */
    double factor;         /* … the rate is multiplied by this */
    unsigned steps;        /* that it is made for, where the run ends sooner; 0: the run's */
} sn_schedule;

/* Factor on the base rate at step s = 0, 1, … of `steps`, or of the schedule's own, with warm = warmup_steps, or ceil(warmup_ratio * steps): s / warm while
 * s < warm; then 1, (steps - s) / (steps - warm), (1 + cos(pi (s - warm) / (steps - warm))) / 2, or
 * factor ^ floor((s - warm) / every). */
double sn_schedule_factor(const sn_schedule *schedule, int64_t step, int64_t steps);

#endif
