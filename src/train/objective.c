/* The objectives by name, and the one that most stages share: the loss of the next token. */
#include "train/objective.h"

#include "train/exchange.h"

#include <string.h>

/* All passes of a step; with `look`, the first tensor that is not finite is the error. */
static sn_status gradients(sn_training *t, const sn_batch *b, bool look, sn_losses *losses, sn_error *error) {
    sn_status status = SN_OK;
    for (int from = 0, n; from < b->count && !status; from += n) {
        sn_pass pass;
        n = sn_batch_next(t, b, from);
        if (!look && from + n == b->count) sn_share_last(t->share);
        float part = 0;
        if ((status = sn_batch_pass(t, b, from, n, &pass, error))) break;
        if (look) status = sn_trainer_find_bad(&t->trainer, &pass, error);
        else status = sn_trainer_gradients(&t->trainer, &pass, from > 0, &part, error);
        if (look && status == SN_ERROR_NUMERIC && strstr(error->message, "computed again")) status = SN_OK; /* not this pass */
        losses->total += (double)part;
        sn_free((void *)(uintptr_t)pass.pixels);
    }
    return status;
}

static sn_status memory(sn_training *t, int64_t longest, int64_t pictures, size_t *bytes, sn_error *error) {
    unsigned rows = t->recipe->batch.micro;
    return sn_trainer_memory(&t->trainer, longest * rows, rows, pictures * rows, bytes, error);
}

static const sn_objective next_token = {.name = "next token", .gradients = gradients, .memory = memory};

static const sn_objective *const objectives[] = {&next_token, &sn_objective_multitask};

const sn_objective *sn_objective_find(const sn_training *t, sn_error *error) {
    const char *name = t->trainer.stage->objective ? t->trainer.stage->objective : next_token.name;
    const sn_recipe *r = t->recipe;
    const sn_objective *found = NULL;
    for (size_t i = 0; i < sizeof objectives / sizeof *objectives; i++)
        if (strcmp(objectives[i]->name, name) == 0) found = objectives[i];
    sn_status status = found ? SN_OK : sn_fail(error, SN_ERROR_SUPPORT, "stage %s: minimises %s, which is not known", r->stage, name);
    unsigned from, share;
    if (!status) sn_exchange_share(r->batch.size, found->neighbours ? found->neighbours(r) : 1, 0, sn_ranks_count(t->hooks.ranks), &from, &share);
    if (!status && found->contrast && r->batch.micro < share && !r->loss.contrast)
        status = sn_fail(error, SN_ERROR_USAGE, "%s: batch.micro: %u of a process's %u samples in a pass: the contrast would see no more than those of one pass; make them equal, or say loss: {contrast: micro}",
                         r->file, r->batch.micro, share);
    if (!status && !found->contrast && (r->loss.contrast || r->loss.gather || r->loss.captioning || r->loss.retrieval || r->loss.joined))
        status = sn_fail(error, SN_ERROR_USAGE, "%s: loss: captioning, retrieval, joined, contrast and gather belong to the stage multitask, not to %s", r->file, r->stage);
    if (!status && found->check) status = found->check(t, error);
    return status ? NULL : found;
}
