/* The multitask objective in a run: captions of a batch as its passes, in half of the steps (or as often as the recipe says)
 * two of them behind each other. Whether a step joins follows from its number and the seed alone. */
#include "base/random.h"
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

/* One pass: n samples from number `from` on, their pictures side by side (sn_free pass->pixels). */
static sn_status pass_of(const sn_training *t, const sn_batch *b, int from, int n, int passes, sn_arena *arena, sn_multitask *pass, sn_error *error) {
    sn_pass pictures;
    sn_status status = sn_multitask_lay_out(t->model, b->samples + from, n, length_of(t), joins(t), arena, pass, error);
    if (!status) status = sn_batch_pass(t, b, from, n, &pictures, error);
    if (status) return status;
    pass->pixels = pictures.pixels;
    pass->caption_scale = (float)(word(t->recipe->loss.captioning, 1) / passes), pass->query_scale = (float)(word(t->recipe->loss.retrieval, 1) / passes);
    return SN_OK;
}

static sn_status gradients(sn_training *t, const sn_batch *b, bool look, sn_losses *losses, sn_error *error) {
    int micro = (int)t->recipe->batch.micro, passes = (b->count + micro - 1) / micro;
    double sums[6] = {0};
    sn_status status = SN_OK;
    for (int from = 0; from < b->count && !status; from += micro) {
        int n = b->count - from < micro ? b->count - from : micro;
        sn_multitask pass = {0};
        sn_multitask_losses l = {0};
        sn_arena *arena = sn_arena_new();
        status = arena ? pass_of(t, b, from, n, passes, arena, &pass, error) : sn_fail_memory(error);
        if (!status && look) status = sn_multitask_find_bad(&t->trainer, &pass, error);
        else if (!status) status = sn_multitask_gradients(&t->trainer, &pass, from > 0, &l, error);
        if (look && status == SN_ERROR_NUMERIC && strstr(error->message, "computed again")) status = SN_OK; /* not this pass */
        const float of[] = {l.captioning, l.query, l.contrastive, l.picture_found, l.caption_found};
        for (int i = 0; i < 5; i++) sums[i] += (double)of[i] / passes;
        losses->total += (double)l.total;
        sn_free((void *)(uintptr_t)pass.pixels);
        sn_arena_free(arena);
    }
    static const char *const names[] = {"captioning", "retrieval_ce", "contrastive", "picture_found", "caption_found"};
    losses->count = 5;
    for (int i = 0; i < 5; i++) losses->part[i].name = names[i], losses->part[i].value = sums[i];
    return status;
}

static sn_status memory(sn_training *t, int64_t longest, int64_t pictures, size_t *bytes, sn_error *error) {
    (void)longest, (void)pictures;
    int64_t n = t->recipe->batch.micro, length = length_of(t);
    sn_multitask sizes = {.rows = n, .row_length = length + t->model->media_positions, .pictures = n, .length = length};
    return sn_multitask_memory(&t->trainer, &sizes, bytes, error);
}

const sn_objective sn_objective_multitask = {.name = "multitask", .contrast = true, .max_length = LENGTH, .check = check, .gradients = gradients, .after_step = sn_multitask_after_step, .memory = memory};
