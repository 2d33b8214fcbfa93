/* train_step of FROMAGe: captions with their pictures, steps of the multitask stage over one batch. */
#include "cli/trace.h"
#include "generate/answer.h"
#include "systems/fromage.h"
#include "train/multitask.h"

#include <string.h>

/* The captions of the batch and their pictures. */
typedef struct captions {
    int64_t count, length;
    sn_sample *samples;
    float *pixels;
} captions;

static sn_status read_captions(sn_tracer *t, captions *c) {
    const json_t *batch = sn_json_at(t->request, "batch");
    *c = (captions){.count = (int64_t)json_array_size(batch), .length = 24};
    sn_status status = sn_json_integer("request.json", t->options, "max_len", 2, 1 << 16, &c->length, t->error);
    if (status) return status;
    const char **paths = sn_arena_alloc(t->arena, (size_t)c->count + 1, sizeof *paths);
    if (!paths || !(c->samples = sn_arena_alloc(t->arena, (size_t)c->count + 1, sizeof *c->samples))) return sn_fail_memory(t->error);
    for (int64_t i = 0; i < c->count && !status; i++) {
        const json_t *sample = json_array_get(batch, (size_t)i);
        const char *text = sn_json_string(sample, "text"), *image = sn_json_string(sample, "image");
        if (!text) text = sn_json_string(sample, "caption");
        if (!text || !image) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: batch[%lld]: expected image and text", (long long)i);
        if (!(paths[i] = sn_arena_format(t->arena, "%s/%s", t->folder, image))) return sn_fail_memory(t->error);
        status = sn_fromage_words(t->model, text, &c->samples[i].ids, t->error);
    }
    return status ? status : sn_load_pictures(t->model, paths, (int)c->count, NULL, &c->pixels, t->error);
}

/* The captioning pass of a step: captions alone, or neighbours behind each other. */
static sn_status lay_out(sn_tracer *t, const captions *c, bool joined, sn_multitask *b) {
    if (c->count < 1 || (joined && c->count % 2)) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: batch: found %lld samples, expected an even number: neighbours are joined", (long long)c->count);
    bool *behind = sn_arena_alloc(t->arena, (size_t)c->count, sizeof *behind);
    if (!behind) return sn_fail_memory(t->error);
    for (int64_t i = 0; i < c->count; i++) behind[i] = i % 2 == 1;
    b->pixels = c->pixels, b->padded = true;
    return sn_multitask_lay_out(t->model, c->samples, c->count, c->length, joined ? behind : NULL, t->arena, b, t->error);
}

static void put_ids(sn_tracer *t, const char *name, int64_t rows, int64_t columns, const int32_t *from) {
    int64_t *ids = sn_arena_alloc(t->arena, (size_t)(rows * columns) + 1, sizeof *ids);
    for (int64_t i = 0; ids && i < rows * columns; i++) ids[i] = from[i];
    if (ids) sn_trace_put(&t->trace, name, SN_TYPE_I64, SN_SHAPE(rows, columns), ids);
}

static void put_parameters(sn_tracer *t, const sn_trainer *trainer, bool gradients) {
    for (size_t i = 0; i < trainer->count; i++) {
        const sn_trainable *p = &trainer->trainables[i];
        sn_trace_put(&t->trace, sn_arena_format(t->arena, "%s.%s", gradients ? "grad" : "param", p->entry->published), SN_TYPE_F32, p->entry->weight.shape, gradients ? p->gradient : p->value);
    }
}

sn_status sn_trace_multitask(sn_tracer *t) {
    const json_t *joined = sn_json_at(t->options, "concat_captions");
    const char *stage = sn_json_string(t->request, "stage");
    int64_t steps = 1;
    double caption_scale = 1, query_scale = 1;
    sn_optimizer_options optimizer;
    sn_trainer trainer = {0};
    captions c = {0};
    sn_status status = stage && strcmp(t->model->system->name, "fromage") == 0 ? SN_OK : sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: concat_captions: expected a stage of FROMAGe");
    if (!status) status = sn_trace_optimizer(t, &optimizer);
    if (!status) status = sn_json_integer("request.json", t->request, "steps", 1, 100000, &steps, t->error);
    if (!status) status = sn_json_number("request.json", t->options, "cap_loss_scale", 0, 1e6, &caption_scale, t->error);
    if (!status) status = sn_json_number("request.json", t->options, "ret_loss_scale", 0, 1e6, &query_scale, t->error);
    if (!status) status = read_captions(t, &c);
    if (!status) status = sn_trainer_open(t->model, &(sn_learning){.stage = stage}, &trainer, t->error);
    float *values = status ? NULL : sn_arena_alloc(t->arena, (size_t)steps * 5, sizeof *values);
    if (!status && !values) status = sn_fail_memory(t->error);
    for (int64_t s = 0; s < steps && !status; s++) {
        sn_multitask batch = {.caption_scale = (float)caption_scale, .query_scale = (float)query_scale, .contrast_share = 1};
        sn_multitask_losses losses;
        status = lay_out(t, &c, json_is_true(json_is_array(joined) ? json_array_get(joined, (size_t)s) : joined), &batch);
        if (!status) sn_engine_set_trace(t->engine, s ? NULL : &t->trace);
        if (!status) status = sn_multitask_gradients(&trainer, &batch, false, &losses, t->error);
        if (status) break;
        double norm = sn_trainer_norm(&trainer);
        float *const row[] = {values, values + steps, values + 2 * steps, values + 3 * steps, values + 4 * steps};
        row[0][s] = losses.captioning, row[1][s] = losses.query, row[2][s] = losses.contrastive, row[3][s] = losses.total, row[4][s] = (float)norm;
        if (s == 0) {
            put_ids(t, "input_ids", c.count, c.length, batch.captions);
            put_ids(t, "labels.retrieval", c.count, c.length, batch.caption_labels);
            put_ids(t, "labels.captioning", batch.rows, batch.row_length, batch.labels);
            put_parameters(t, &trainer, true);
        }
        sn_trainer_update(&trainer, &optimizer, 1, norm);
        status = sn_multitask_after_step(&trainer, t->error);
    }
    static const char *const names[] = {"loss.captioning", "loss.retrieval_ce", "loss.contrastive", "loss.total", "grad_norm"};
    for (int i = 0; i < 5 && !status; i++) sn_trace_put(&t->trace, names[i], SN_TYPE_F32, SN_SHAPE(steps), values + i * steps);
    if (!status) put_parameters(t, &trainer, false);
    sn_engine_set_trace(t->engine, &t->trace);
    sn_trainer_close(&trainer);
    for (int64_t i = 0; i < c.count && c.samples; i++) sn_ids_free(&c.samples[i].ids);
    sn_free(c.pixels);
    return status;
}
