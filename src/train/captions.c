/* The multitask objective in a run: captions of a batch as its passes, in half of the steps (or as often as the recipe says)
 * two of them behind each other. Whether a step joins follows from its number and the seed alone. */
#include "base/random.h"
#include "train/exchange.h"
#include "train/multitask.h"
#include "train/objective.h"

#include <stdio.h>
#include <string.h>

enum { LENGTH = 24 }; /* the authors' max_len */

static double word(const double *value, double otherwise) { return value ? *value : otherwise; }

static int64_t length_of(const sn_training *t) { return t->recipe->max_length ? t->recipe->max_length : LENGTH; }

static bool joins(const sn_training *t) {
    uint64_t stream = sn_hash("joined", 6, 0);
    return (double)sn_uniform(t->recipe->seed, stream, (uint64_t)t->state.step) < word(t->recipe->loss.joined, 0.5);
}

/* Two that may be joined are one process's. */
static unsigned neighbours(const sn_recipe *r) { return word(r->loss.joined, 0.5) > 0 ? 2 : 1; }

static sn_status check(const sn_training *t, sn_error *error) {
    const sn_recipe *r = t->recipe;
    for (size_t i = 0; i < t->trainer.count; i++)
        if (strncmp(t->trainer.trainables[i].entry->name, "decoder.", 8) == 0)
            return sn_fail(error, SN_ERROR_USAGE, "%s: %s would learn; FROMAGe's language model stays as it is, and its checkpoint has no place for another one", r->file, t->trainer.trainables[i].entry->published);
    if (t->trainer.lora.r) return sn_fail(error, SN_ERROR_USAGE, "%s: lora: FROMAGe's language model stays as it is", r->file);
    if (r->loss.count) return sn_fail(error, SN_ERROR_USAGE, "%s: loss.count: the losses of stage %s are means over a pass", r->file, r->stage);
    if (length_of(t) < 3 || 2 * (length_of(t) + t->model->media_positions) > t->model->lm.max_positions)
        return sn_fail(error, SN_ERROR_USAGE, "%s: max_length: found %lld, expected 3 to %lld: two captions with their pictures in a window of %lld", r->file, (long long)length_of(t),
                       (long long)(t->model->lm.max_positions / 2 - t->model->media_positions), (long long)t->model->lm.max_positions);
    return SN_OK;
}

/* Which captions stand behind another one: of places 2 i and 2 i + 1 of a step the second, where both can be used, so that neither the
 * number of processes nor a sample that is skipped makes other pairs of the rest. */
static const bool *neighbours_of(const sn_training *t, const sn_sample *samples, int n, sn_arena *arena) {
    bool *behind = sn_arena_alloc(arena, (size_t)n, sizeof *behind);
    for (int i = 1; i < n && behind; i++) behind[i] = samples[i].place % t->recipe->batch.size % 2 == 1 && samples[i - 1].place == samples[i].place - 1;
    return behind;
}

/* One pass: n samples from number `from` on, their pictures side by side (sn_free pass->pixels). */
static sn_status pass_of(const sn_training *t, const sn_batch *b, int from, int n, sn_arena *arena, sn_multitask *pass, sn_error *error) {
    sn_pass pictures;
    const bool *behind = neighbours_of(t, b->samples + from, n, arena);
    sn_status status = behind ? sn_multitask_lay_out(t->model, b->samples + from, n, length_of(t), joins(t) ? behind : NULL, arena, pass, error) : sn_fail_memory(error);
    if (!status) status = sn_batch_pass(t, b, from, n, &pictures, error);
    if (!status) pass->pixels = pictures.pixels;
    return status;
}

/* A pass of all processes, of which each has a part. */
typedef struct joint {
    sn_training *training;
    sn_ranks *ranks;
    int64_t *counts; /* pairs of each process */
    bool last;       /* of the step */
} joint;

static sn_status gather(void *context, const float *rows, int64_t columns, float *all, sn_error *error) {
    const joint *j = context;
    return sn_ranks_gather(j->ranks, rows, j->counts, columns, all, error);
}

/* Behind the last of them nothing but gradients is sent: they may be, from here on. */
static sn_status gather_back(void *context, const float *gradient, int64_t columns, float *rows, sn_error *error) {
    const joint *j = context;
    sn_status status = sn_ranks_gather_back(j->ranks, gradient, j->counts, columns, rows, error);
    if (j->last) sn_share_last(j->training->share);
    return status;
}

/* How many of its samples each process takes in the pass of that number; samples: those of the step. */
static void count_pairs(const double *samples, int ranks, int64_t micro, int64_t number, int64_t *counts) {
    for (int r = 0; r < ranks; r++) {
        int64_t left = (int64_t)samples[r] - number * micro;
        counts[r] = left < 0 ? 0 : left < micro ? left : micro;
    }
}

/* The pass of that number, with what other processes have of it. */
static sn_status run_pass(sn_training *t, const sn_batch *b, joint *j, int number, int passes, bool look, sn_multitask_losses *losses, sn_error *error) {
    int rank = sn_ranks_rank(j->ranks), from = number * (int)t->recipe->batch.micro, n = (int)j->counts[rank];
    sn_multitask_others others = {.context = j, .gather = gather, .gather_back = gather_back};
    for (int r = 0; r < sn_ranks_count(j->ranks); r++) others.pairs += j->counts[r], others.before += r < rank ? j->counts[r] : 0;
    sn_multitask pass = {.caption_scale = (float)(word(t->recipe->loss.captioning, 1) / passes), .query_scale = (float)(word(t->recipe->loss.retrieval, 1) / passes),
                         .contrast_share = t->recipe->loss.gather ? 1 / (float)sn_ranks_count(j->ranks) : 1, .others = j->ranks ? &others : NULL};
    sn_arena *arena = sn_arena_new();
    sn_status status = arena ? SN_OK : sn_fail_memory(error);
    if (!status && n) status = pass_of(t, b, from, n, arena, &pass, error);
    status = sn_ranks_agree(j->ranks, status, NULL, 0, error);
    double learnt[] = {(double)pass.learnt, (double)pass.learnt_alone};
    if (!status) status = sn_ranks_sum(j->ranks, learnt, 2, error);
    pass.learnt = (int64_t)learnt[0], pass.learnt_alone = (int64_t)learnt[1];
    bool waited_for = status == SN_OK;
    if (!status && !n) status = sn_multitask_stand_by(t->model, &others, error);
    else if (!status && look) status = sn_multitask_find_bad(&t->trainer, &pass, error);
    else if (!status) status = sn_multitask_gradients(&t->trainer, &pass, from > 0, losses, error);
    if (status && waited_for) sn_ranks_leave(j->ranks);
    sn_free((void *)(uintptr_t)pass.pixels);
    sn_arena_free(arena);
    return status;
}

/* While it is looked for what is not finite, a process is alone with its own samples. */
static sn_status gradients(sn_training *t, const sn_batch *b, bool look, sn_losses *losses, sn_error *error) {
    joint j = {.training = t, .ranks = look ? NULL : t->hooks.ranks};
    int n = sn_ranks_count(j.ranks), micro = (int)t->recipe->batch.micro, passes = 0;
    double sums[6] = {0}, *samples = sn_alloc((size_t)n, sizeof *samples);
    j.counts = sn_alloc((size_t)n, sizeof *j.counts);
    sn_status status = sn_ranks_agree(j.ranks, samples && j.counts ? SN_OK : sn_fail_memory(error), NULL, 0, error);
    if (!status) samples[sn_ranks_rank(j.ranks)] = b->count, status = sn_ranks_sum(j.ranks, samples, n, error);
    for (int r = 0; r < n && !status; r++)
        if ((int)samples[r] > passes * micro) passes = ((int)samples[r] + micro - 1) / micro;
    for (int k = 0; k < passes && !status; k++) {
        sn_multitask_losses l = {0};
        count_pairs(samples, n, micro, k, j.counts);
        j.last = k + 1 == passes;
        status = run_pass(t, b, &j, k, passes, look, &l, error);
        if (look && status == SN_ERROR_NUMERIC && strstr(error->message, "computed again")) status = SN_OK; /* not this pass */
        const float of[] = {l.captioning, l.query, l.contrastive, l.picture_found, l.caption_found};
        for (int i = 0; i < 5; i++) sums[i] += (double)of[i] / passes;
        losses->total += (double)l.total;
    }
    static const char *const names[] = {"captioning", "retrieval_ce", "contrastive", "picture_found", "caption_found"};
    losses->count = 5;
    for (int i = 0; i < 5; i++) losses->part[i].name = names[i], losses->part[i].value = sums[i];
    sn_free(samples);
    sn_free(j.counts);
    return status;
}

static sn_status memory(sn_training *t, int64_t longest, int64_t pictures, size_t *bytes, sn_error *error) {
    (void)longest, (void)pictures;
    unsigned from, share, size = t->recipe->batch.size;
    sn_exchange_share(size, neighbours(t->recipe), 0, sn_ranks_count(t->hooks.ranks), &from, &share);
    int64_t n = share < t->recipe->batch.micro ? share : t->recipe->batch.micro, all = n * sn_ranks_count(t->hooks.ranks), length = length_of(t);
    const sn_multitask_others others = {.pairs = all < size ? all : size};
    sn_multitask sizes = {.rows = n, .row_length = length + t->model->media_positions, .pictures = n, .length = length, .others = t->hooks.ranks ? &others : NULL};
    return sn_multitask_memory(&t->trainer, &sizes, bytes, error);
}

const sn_objective sn_objective_multitask = {.name = "multitask", .contrast = true, .max_length = LENGTH, .neighbours = neighbours, .check = check, .gradients = gradients, .after_step = sn_multitask_after_step, .memory = memory};
