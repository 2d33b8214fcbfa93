/* Events as JSON text, joined by rank 0. */
#include "train/timeline.h"

#include "base/file.h"

#include <string.h>

static void event(sn_buf *out, int rank, int line, double begin, double end, const char *name) {
    sn_buf_printf(out, ",\n{\"name\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %d, \"ts\": %.1f, \"dur\": %.1f}", name, rank, line, 1e6 * begin, 1e6 * (end - begin));
}

static void step_events(sn_buf *out, const sn_training *t, const sn_step_report *r, double at) {
    int rank = sn_ranks_rank(t->hooks.ranks);
    const sn_step_times *s = &r->times;
    const sn_share_sum *sums;
    char name[64];
    event(out, rank, 0, at, at + s->loaded, "load samples");
    event(out, rank, 0, at + s->loaded, at + s->passes, "forward and backward");
    event(out, rank, 0, at + s->passes, at + s->summed, "wait for sums");
    event(out, rank, 0, at + s->summed, at + s->updated, "optimizer");
    event(out, rank, 0, at + s->updated, at + s->spread, "gather values");
    for (int n = sn_share_sums(t->share, &sums), k = 0; k < n; k++) {
        snprintf(name, sizeof name, "sum gradients %d (%.3g MB)", k, 4e-6 * (double)sums[k].values);
        event(out, rank, 1, at + s->loaded + sums[k].begin, at + s->loaded + sums[k].end, name);
        snprintf(name, sizeof name, "gradients %d whole", k);
        event(out, rank, 2, at + s->loaded + sums[k].whole, at + s->loaded + sums[k].whole, name);
    }
}

sn_status sn_timeline_add(sn_timeline *l, sn_training *t, const sn_step_report *r, double began, const char *path, sn_error *error) {
    sn_buf own = {0}, all = {0};
    char **texts = NULL;
    if (l->steps == SN_TIMELINE_STEPS) return SN_OK;
    if (l->steps++ == 0) l->begun = began;
    step_events(&own, t, r, began - l->begun);
    sn_status status = sn_ranks_gather_text(t->hooks.ranks, own.data ? own.data : "", &texts, error);
    for (int i = 0; i < sn_ranks_count(t->hooks.ranks) && !status; i++) sn_buf_puts(&l->events, texts[i]);
    sn_buf_printf(&all, "[%s\n]\n", l->events.data ? l->events.data + 1 : ""); /* without the first comma */
    if (!status && (own.failed || all.failed || l->events.failed)) status = sn_fail_memory(error);
    if (!status && sn_ranks_rank(t->hooks.ranks) == 0) status = sn_write_file(path, all.data, all.length, error);
    sn_buf_free(&own);
    sn_buf_free(&all);
    sn_free(texts);
    return status;
}

void sn_timeline_free(sn_timeline *l) { sn_buf_free(&l->events); }
