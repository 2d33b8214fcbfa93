/* What a run leaves for people and programs: metrics.jsonl, one line a step, and report.html with its curves. */
#ifndef SN_TRAIN_REPORT_H
#define SN_TRAIN_REPORT_H

#include "base/memory.h"
#include "train/run.h"

#include <stdio.h>

typedef struct sn_metrics {
    FILE *file;
    double *loss, *lr; /* by step */
    size_t count, loss_capacity, lr_capacity;
} sn_metrics;

/* Opens folder/metrics.jsonl; lines of steps beyond `step` (a run that was killed after its last checkpoint) go. */
sn_status sn_metrics_open(const char *folder, int64_t step, sn_metrics *out, sn_error *error);
sn_status sn_metrics_add(sn_metrics *metrics, const sn_step_report *report, sn_error *error);
/* folder/report.html: loss and learning rate over the steps, as SVG. */
sn_status sn_metrics_report(const sn_metrics *metrics, const char *folder, sn_error *error);
void sn_metrics_close(sn_metrics *metrics);

#endif
