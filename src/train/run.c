/* The loop. A step's samples are known from its number alone, so a run that goes on from a checkpoint takes the same
 * samples in the same order and ends with the same bits as one that never stopped. */
#include "train/run.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/folder.h"
#include "systems/compose.h"
#include "systems/fromage_compose.h"
#include "train/batches.h"
#include "train/exchange.h"
#include "train/objective.h"
#include "train/report.h"
#include "train/schedule.h"
#include "train/timeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void sn_training_close(sn_training *t) {
    sn_data_close(t); /* its threads look at the rest */
    sn_share_close(t->share);
    sn_trainer_close(&t->trainer);
    sn_free(t->groups);
    sn_model_close(t->model);
    sn_free(t->composed);
    sn_engine_free(t->engine);
    *t = (sn_training){0};
}

/* A FROMAGe between two models, or an OPT. */
static sn_status compose_fromage(const sn_training *t, sn_error *error) {
    const sn_recipe_model *m = &t->recipe->model;
    const sn_recipe_fresh_opt *l = &m->fresh.opt;
    const sn_recipe_fresh_retrieval *f = &m->fresh.retrieval;
    const sn_opt_config sizes = {.hidden_size = l->hidden_size, .intermediate_size = l->intermediate_size, .num_layers = l->layers, .num_heads = l->heads, .max_positions = l->context};
    const sn_fromage_composition c = {.llm = m->llm, .vision = m->vision, .size = f->size, .visual_tokens = f->visual_tokens ? f->visual_tokens : 1, .seed = t->recipe->seed};
    if (l->hidden_size && f->size) return sn_fail(error, SN_ERROR_USAGE, "model.fresh: opt and retrieval exclude each other: FROMAGe's language model stays as it is, so it is taught before");
    return f->size ? sn_fromage_compose(t->engine, &c, t->composed, error) : sn_opt_compose(&sizes, m->tokenizer, t->recipe->seed, t->composed, error);
}

/* A model with fresh parts is made once, in save.folder/model, and opened from there ever after. */
static sn_status compose(sn_training *t, bool fresh, sn_model_files *files, sn_error *error) {
    const sn_recipe_model *m = &t->recipe->model;
    const sn_recipe_fresh_vision *v = &m->fresh.vision;
    const sn_recipe_fresh_llm *l = &m->fresh.llm;
    bool fromage = m->fresh.opt.hidden_size || m->fresh.retrieval.size;
    if (!v->hidden_size && !l->hidden_size && !m->fresh.connector && !fromage) return SN_OK;
    if (m->path) return sn_fail(error, SN_ERROR_USAGE, "model: path and fresh exclude each other; parts are given as vision, llm, connector");
    if (!(t->composed = sn_path_join(t->recipe->save.folder, "model"))) return sn_fail_memory(error);
    char *weights = sn_path_join(t->composed, m->fresh.retrieval.size ? "pretrained_ckpt.pth.tar" : "model.safetensors");
    bool there = weights && sn_is_file(weights) && !fresh;
    sn_free(weights);
    *files = (sn_model_files){.main = t->composed};
    if (fromage) return there ? SN_OK : compose_fromage(t, error);
    sn_composition c = {.vision = v->hidden_size ? NULL : m->vision, .llm = l->hidden_size ? NULL : m->llm, .connector = m->fresh.connector ? NULL : m->connector, .tokenizer = m->tokenizer, .seed = t->recipe->seed};
    c.fresh_vision = (sn_clip_vision_config){v->hidden_size, v->intermediate_size, v->layers, v->heads, v->image_size, v->patch_size, v->hidden_size, SN_UNARY_QUICK_GELU, 1e-5f};
    c.fresh_llama = (sn_llama_config){l->hidden_size, l->intermediate_size, l->layers, l->heads, l->heads, l->heads ? l->hidden_size / l->heads : 0, 0, l->context, 1e-5f, 10000, 1, SN_ROTARY_HALF, l->tied};
    return there ? SN_OK : sn_compose(t->engine, &c, t->composed, error);
}

/* The recipe's words, as the trainer takes them. */
static sn_status read_learning(sn_training *t, sn_error *error) {
    const sn_recipe *r = t->recipe;
    if (!(t->groups = sn_alloc(r->train_count + 1, sizeof *t->groups))) return sn_fail_memory(error);
    for (unsigned i = 0; i < r->train_count; i++)
        t->groups[i] = (sn_learning_group){r->train[i].pattern, r->train[i].lr ? *r->train[i].lr : -1, r->train[i].weight_decay ? *r->train[i].weight_decay : -1};
    t->lora = (sn_lora_options){.targets = (const char *const *)r->lora.targets, .num_targets = (int)r->lora.targets_count, .r = r->lora.r, .alpha = r->lora.alpha, .dropout = r->lora.dropout};
    t->learning = (sn_learning){.stage = r->stage, .train = t->groups, .num_train = (int)r->train_count, .freeze = (const char *const *)r->freeze, .num_freeze = (int)r->freeze_count,
                                .lora = r->lora.r ? &t->lora : NULL, .seed = r->seed};
    return SN_OK;
}

/* A pattern that fits nothing: the error names its line of the recipe. */
static sn_status open_trainer(sn_training *t, sn_error *error) {
    const char *pattern = NULL;
    sn_error inner = {0};
    sn_status status = sn_learning_check(&t->learning, t->model, &pattern, &inner);
    if (!status) status = sn_trainer_open(t->model, &t->learning, &t->trainer, &inner);
    for (int i = 0; i < t->lora.num_targets && status && !pattern; i++)
        if (strstr(inner.message, t->lora.targets[i])) pattern = t->lora.targets[i];
    if (status && pattern) return sn_fail(error, status, "%s: %s%s", t->recipe->file, sn_recipe_line_with(t->recipe, pattern).text, inner.message);
    return status ? sn_fail(error, status, "%s%s%s", status == SN_ERROR_USAGE ? t->recipe->file : "", status == SN_ERROR_USAGE ? ": " : "", inner.message) : SN_OK;
}

sn_status sn_training_open(const sn_recipe *r, int threads, bool fresh, const sn_run_hooks *hooks, sn_training *out, sn_error *error) {
    *out = (sn_training){.recipe = r, .hooks = *hooks};
    const sn_recipe_model *m = &r->model;
    sn_model_files files = {.main = m->path, .llm = m->llm, .vision = m->vision, .connector = m->connector, .base = m->base, .delta = m->delta, .tokenizer = m->tokenizer};
    bool found = false;
    sn_status status = sn_engine_new(threads, &out->engine, error);
    if (!status) sn_engine_set_compute(out->engine, (sn_compute)r->compute);
    if (!status) status = sn_make_folder(r->save.folder, error);
    if (!status) status = sn_data_open(out, error);
    if (!status && sn_ranks_rank(hooks->ranks) == 0) status = compose(out, fresh, &files, error);
    status = sn_ranks_agree(hooks->ranks, status, NULL, 0, error); /* what rank 0 made is there now */
    if (!status && sn_ranks_rank(hooks->ranks) > 0) status = compose(out, false, &files, error);
    if (!status) status = sn_model_open(out->engine, &files, &out->model, error);
    if (!status && !out->model->system->sample) status = sn_fail(error, SN_ERROR_SUPPORT, "%s cannot be trained", out->model->system->title);
    if (!status) status = read_learning(out, error);
    if (!status) status = open_trainer(out, error);
    if (!status && !(out->objective = sn_objective_find(out, error))) status = SN_ERROR_USAGE;
    if (!status) out->trainer.recompute = r->recompute;
    if (!status) status = sn_share_open(hooks->ranks, &out->trainer, &out->share, error);
    uint64_t hash = sn_recipe_hash(r);
    out->state.rest = sn_recipe_hash_but_rates(r), out->state.new_rates = r->new_rates;
    if (!status && !fresh) status = sn_checkpoint_read(r->save.folder, &out->trainer, hash, &out->state, &found, error);
    if (!found) out->state.step = 0, out->state.skipped = 0, out->state.recipe = hash;
    out->kept = out->state.step;
    if (!status) status = sn_data_resume(out, error);
    out->trainer.step = out->state.step;
    status = sn_ranks_agree(hooks->ranks, status, NULL, 0, error);
    if (status) sn_training_close(out);
    return status;
}

/* ---- one step ---- */

/* The error of a step whose loss or gradients are not finite: which tensor was the first. */
static sn_status not_finite(sn_training *t, const sn_batch *b, const sn_step_report *report, sn_error *error) {
    sn_error where = {0};
    sn_losses losses = {0};
    char advice[400] = "there is no checkpoint yet: begin again with a lower optimizer.lr";
    if (t->kept) snprintf(advice, sizeof advice, "%s/step-%lld stays: with --new-rates a lower optimizer.lr goes on from it", t->recipe->save.folder, (long long)t->kept);
    sn_status found = t->objective->gradients(t, b, true, &losses, &where);
    if (sn_ranks_agree(t->hooks.ranks, found, NULL, 0, &where) == SN_OK) where = (sn_error){0};
    return sn_fail(error, SN_ERROR_NUMERIC, "step %lld: the loss is %g and the gradient's norm %g%s%s; %s", (long long)t->state.step + 1, report->loss.total, report->grad_norm, where.message[0] ? "; " : "", where.message, advice);
}

/* The present step's samples, on all processes or on none. */
static sn_status load(sn_training *t, sn_batch *b, sn_error *error) {
    *b = (sn_batch){0};
    t->skips = t->share ? json_array() : NULL;
    sn_status status = t->skips || !t->share ? sn_batch_load(t, b, error) : sn_fail_memory(error);
    status = sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error);
    if (!status) status = sn_exchange_batch(t, b, error);
    json_decref(t->skips);
    t->skips = NULL;
    if (status) sn_batch_free(b);
    return status;
}

/* Loss, gradients and their norm over all processes. */
static sn_status learn(sn_training *t, const sn_batch *b, sn_step_report *report, double begun, sn_error *error) {
    sn_error lost = {0};
    sn_share_begin(t->share);
    sn_status status = t->objective->gradients(t, b, false, &report->loss, error);
    report->times.passes = sn_seconds() - begun;
    if (status && !sn_ranks_agreed(t->hooks.ranks)) return status; /* nobody adds anything up any more */
    if (sn_share_finish(t->share, &lost) && !status) status = sn_fail(error, lost.status, "%s", lost.message);
    report->times.summed = sn_seconds() - begun;
    sn_share_passes(t->share, &report->summing, &report->hidden);
    if ((status = sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error))) return status;
    double sums[2 + SN_MAX_LOSSES] = {report->loss.total, sn_trainer_squares(&t->trainer)};
    for (int i = 0; i < SN_MAX_LOSSES; i++) sums[2 + i] = report->loss.part[i].value;
    status = sn_ranks_sum(t->hooks.ranks, sums, 2 + SN_MAX_LOSSES, error);
    report->loss.total = sums[0], report->grad_norm = sqrt(sums[1]);
    for (int i = 0; i < SN_MAX_LOSSES; i++) report->loss.part[i].value = sums[2 + i];
    if (!status && (!isfinite(report->loss.total) || !isfinite(report->grad_norm))) status = not_finite(t, b, report, error);
    return status;
}

sn_status sn_training_time(sn_training *t, double *seconds, sn_error *error) {
    double begun = sn_seconds();
    sn_losses losses = {0};
    int64_t skipped = t->state.skipped;
    sn_batch b;
    const sn_mixture_state before = t->state.mixture.state;
    const sn_run_hooks hooks = t->hooks;
    t->hooks.on_skip = NULL; /* what is skipped the survey has named */
    sn_status status = load(t, &b, error);
    t->hooks = hooks;
    t->state.skipped = skipped;
    sn_data_rewind(t, &before);
    if (status) return status;
    int count = b.count;
    sn_batch_cut(&b, (int)t->recipe->batch.micro);
    if (b.count || t->objective->contrast) status = t->objective->gradients(t, &b, false, &losses, error);
    *seconds = b.count ? (sn_seconds() - begun) * count / b.count : 0;
    sn_batch_free(&b);
    return status;
}

static sn_status run_step(sn_training *t, sn_step_report *report, sn_error *error) {
    const sn_recipe *r = t->recipe;
    double begun = sn_seconds(), factor = sn_schedule_factor(&r->schedule, t->state.step, t->steps);
    sn_optimizer_options o = {.kind = (sn_optimizer_kind)r->optimizer.name, .momentum = r->optimizer.momentum, .nesterov = r->optimizer.nesterov, .lr = *r->optimizer.lr, .beta1 = r->optimizer.beta1, .beta2 = r->optimizer.beta2, .eps = r->optimizer.eps,
                              .weight_decay = r->optimizer.weight_decay, .max_grad_norm = r->optimizer.max_grad_norm, .connector_lr = r->optimizer.connector_lr};
    sn_batch b;
    sn_status status = load(t, &b, error);
    if (status) return status;
    status = sn_training_check_skipped(t, error);
    *report = (sn_step_report){.lr = o.lr * factor, .samples = json_incref(b.ids), .tokens = b.tokens, .learnt = b.learnt, .pictures = b.pictures, .empty = b.total == 0, .times.loaded = sn_seconds() - begun};
    if (!status && b.total) status = learn(t, &b, report, begun, error);
    if (!status && b.total) sn_trainer_update(&t->trainer, &o, factor, report->grad_norm);
    report->times.updated = sn_seconds() - begun;
    if (!status && b.total) status = sn_share_spread(t->share, error);
    if (!status && b.total && t->objective->after_step) status = t->objective->after_step(&t->trainer, error);
    report->times.spread = sn_seconds() - begun;
    sn_batch_free(&b);
    if (status) return status;
    t->state.step++;
    report->step = t->state.step, report->steps = t->steps, report->seconds = sn_seconds() - begun;
    return SN_OK;
}

/* What the recipe wants of low-rank updates, and the folder that they belong to. */
static sn_status leave_result(sn_training *t, sn_export *out, sn_error *error) {
    const sn_recipe *r = t->recipe;
    const sn_recipe_model *m = &r->model;
    *out = (sn_export){.adapter = r->lora.export != SN_EXPORT_MERGED, .merged = r->lora.export != SN_EXPORT_ADAPTER, .base = m->llm ? m->llm : m->base ? m->base : m->path};
    if (!t->composed) out->folders[0] = m->base, out->folders[1] = m->llm, out->folders[2] = m->path, out->folders[3] = m->delta, out->connector = m->connector;
    return sn_checkpoint_export(r->save.folder, &t->trainer, out, error);
}

sn_status sn_training_export(sn_training *t, sn_export *exported, sn_error *error) {
    *exported = (sn_export){0};
    if (t->state.step == 0) return sn_fail(error, SN_ERROR_USAGE, "%s: found no checkpoint to export; a run leaves one", t->recipe->save.folder);
    sn_status status = sn_ranks_rank(t->hooks.ranks) == 0 ? leave_result(t, exported, error) : SN_OK;
    return sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error);
}

/* A step with what is written of it. *stop: somebody wishes to end; *saved: when the last checkpoint was written. */
static sn_status step_and_save(sn_training *t, sn_metrics *metrics, sn_timeline *timeline, bool *stop, double *saved, sn_error *error) {
    const sn_recipe *r = t->recipe;
    sn_ranks *ranks = t->hooks.ranks;
    bool first = sn_ranks_rank(ranks) == 0;
    double began = sn_seconds();
    sn_step_report report = {0};
    sn_status status = run_step(t, &report, error);
    bool flags[SN_RANKS_FLAGS] = {t->hooks.cancel && atomic_load(t->hooks.cancel), first && r->save.minutes > 0 && sn_seconds() - *saved >= 60 * r->save.minutes};
    if (!status && first) status = sn_metrics_add(metrics, &report, error);
    status = sn_ranks_agree(ranks, status, flags, SN_RANKS_FLAGS, error);
    *stop = flags[0];
    report.checkpoint = *stop || flags[1] || t->state.step == t->steps || (r->save.every && t->state.step % r->save.every == 0);
    if (!status && report.checkpoint) {
        if (t->hooks.on_save) t->hooks.on_save(t->hooks.context, t->state.step);
        sn_error inner = {0};
        status = sn_checkpoint_write(r->save.folder, &t->trainer, t->share, &t->state, r->save.keep, &inner);
        if (status && t->kept) status = sn_fail(error, status, "%s; %s/step-%lld stays, and the same command goes on from it", inner.message, r->save.folder, (long long)t->kept);
        else if (status) status = sn_fail(error, status, "%s", inner.message);
        if (!status && first && t->state.step < t->steps) status = sn_metrics_report(metrics, r->save.folder, error);
        status = sn_ranks_agree(ranks, status, NULL, 0, error);
        if (!status) t->kept = t->state.step;
        *saved = sn_seconds();
    }
    if (!status && t->hooks.timeline) status = sn_timeline_add(timeline, t, &report, began, t->hooks.timeline, error);
    if (!status && t->hooks.on_step) t->hooks.on_step(t->hooks.context, &report);
    json_decref(report.samples);
    return status;
}

sn_status sn_training_run(sn_training *t, sn_export *exported, sn_error *error) {
    sn_metrics metrics = {0};
    sn_timeline timeline = {0};
    bool first = sn_ranks_rank(t->hooks.ranks) == 0, stop = false;
    double saved = sn_seconds();
    *exported = (sn_export){0};
    sn_status status = first ? sn_metrics_open(t->recipe->save.folder, t->state.step, &metrics, error) : SN_OK;
    status = sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error);
    while (!status && t->state.step < t->steps && !stop) status = step_and_save(t, &metrics, &timeline, &stop, &saved, error);
    if (!status && first && t->state.step == t->steps) status = sn_metrics_report(&metrics, t->recipe->save.folder, error); /* also of a run that was killed before it */
    sn_metrics_close(&metrics);
    sn_timeline_free(&timeline);
    if (!status && stop && t->state.step < t->steps) return sn_fail(error, SN_ERROR_CANCELLED, "stopped after step %lld; the same command goes on from there", (long long)t->state.step);
    if (!status && first) status = leave_result(t, exported, error);
    return sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error);
}
