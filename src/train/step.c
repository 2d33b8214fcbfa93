/* The training graph, clipping, AdamW. */
#include "train/step.h"

#include "runtime/trace.h"

#include <math.h>
#include <string.h>

static bool matches(const char *const *patterns, const char *name) {
    for (; *patterns; patterns++) {
        size_t n = strlen(*patterns);
        if (n && (*patterns)[n - 1] == '*' ? strncmp(*patterns, name, n - 1) == 0 : strcmp(*patterns, name) == 0) return true;
    }
    return false;
}

sn_status sn_trainer_open(sn_model *model, const char *stage, sn_trainer *out, sn_error *error) {
    *out = (sn_trainer){.model = model};
    for (const sn_stage *s = model->system->stages; s && s->name; s++)
        if (strcmp(s->name, stage) == 0) out->stage = s;
    if (!out->stage) return sn_fail(error, SN_ERROR_USAGE, "stage: found %s, which %s does not have", stage, model->system->title);
    out->trainables = sn_alloc(model->store->count + 1, sizeof *out->trainables);
    if (!out->trainables) return sn_fail_memory(error);
    for (size_t i = 0; i < model->store->count; i++) {
        sn_store_entry *e = model->store->entries[i];
        if (!matches(out->stage->trainable, e->name)) continue;
        sn_trainable *t = &out->trainables[out->count++];
        t->entry = e, t->stored = e->weight.type, t->count = sn_shape_count(&e->weight.shape);
        t->value = sn_alloc((size_t)t->count, sizeof(float));
        t->gradient = sn_alloc((size_t)t->count, sizeof(float));
        t->m = sn_alloc((size_t)t->count, sizeof(float));
        t->v = sn_alloc((size_t)t->count, sizeof(float));
        if (!t->value || !t->gradient || !t->m || !t->v) {
            sn_trainer_close(out);
            return sn_fail_memory(error);
        }
        sn_status status = sn_weight_ready(&e->weight, error);
        if (status) {
            sn_trainer_close(out);
            return status;
        }
        for (int64_t r = 0; r < e->weight.rows; r++) sn_weight_row_floats(&e->weight, r, t->value + r * e->weight.columns);
        sn_weight_release(&e->weight);
        e->weight = sn_weight_view(SN_TYPE_F32, e->weight.shape, t->value);
    }
    return SN_OK;
}

void sn_trainer_close(sn_trainer *trainer) {
    for (size_t i = 0; i < trainer->count; i++) {
        sn_trainable *t = &trainer->trainables[i];
        sn_free(t->gradient);
        sn_free(t->pass);
        sn_free(t->m);
        sn_free(t->v);
        /* the master belongs to the model from now on: it is the parameter */
        if (t->value && t->entry) t->entry->weight.owned = t->value;
    }
    sn_free(trainer->trainables);
    *trainer = (sn_trainer){0};
}

typedef struct batch {
    const sn_trainer *trainer;
    int64_t tokens, rows, pictures, media;
} batch;

static void build(sn_graph *g, const void *context) {
    const batch *b = context;
    const sn_model *m = b->trainer->model;
    sn_tensor ids = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens)), positions = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens));
    sn_tensor starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->rows + 1));
    sn_tensor labels = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens)), weights = sn_input(g, SN_TYPE_F32, SN_SHAPE(b->tokens));
    sn_tensor x = m->lm.embed(g, m->lm.config, ids);
    if (b->media) {
        sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(b->pictures, 3, m->image_size, m->image_size));
        sn_tensor at = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->media)), from = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->media));
        sn_tensor rows = sn_reshape(g, m->system->encode(g, m, pixels), SN_SHAPE(b->pictures * m->media_positions, m->lm.hidden_size));
        x = sn_scatter_rows(g, x, sn_gather_rows(g, rows, from), at); /* a cut sample takes fewer rows than its pictures have */
    }
    sn_name(g, x, "lm.inputs_embeds");
    x = m->lm.forward(g, m->lm.config, x, &(sn_lm_inputs){.positions = positions, .row_starts = starts});
    sn_tensor head = m->lm.head(g, m->lm.config);
    int gradients = SN_GRAD_HIDDEN;
    for (size_t i = 0; i < g->num_params; i++)
        if (g->params[i].tensor == head && matches(b->trainer->stage->trainable, g->params[i].name)) gradients |= SN_GRAD_HEAD;
    sn_tensor loss = sn_head_loss(g, x, head, labels, weights, gradients);
    sn_name(g, loss, "loss");
    sn_tensor *by = sn_arena_alloc(g->arena, b->trainer->count + 1, sizeof *by), *grad = sn_arena_alloc(g->arena, b->trainer->count + 1, sizeof *grad);
    if (!by || !grad) {
        sn_graph_fail(g, "out of memory");
        return;
    }
    for (size_t i = 0; i < b->trainer->count; i++)
        for (size_t p = 0; p < g->num_params; p++)
            if (strcmp(g->params[p].name, b->trainer->trainables[i].entry->name) == 0) by[i] = g->params[p].tensor;
    sn_gradients(g, loss, by, (int)b->trainer->count, grad);
    for (size_t i = 0; i < b->trainer->count; i++) {
        const sn_store_entry *e = b->trainer->trainables[i].entry;
        /* a batch of texts alone does not reach the projector: its gradient is zero */
        if (!grad[i]) grad[i] = sn_scale(g, by[i] ? by[i] : sn_param(g, e->name, e->weight.shape, SN_INIT_ZERO), 0);
        sn_name(g, grad[i], "grad.%s", e->name);
    }
}

int64_t sn_sample_learnt(const sn_sample *s) {
    int64_t learnt = 0;
    for (size_t i = 1; i < s->labels.count; i++) learnt += s->labels.data[i] >= 0;
    return learnt;
}

sn_status sn_trainer_gradients(sn_trainer *t, const sn_sample *samples, int n, const float *pixels, int pictures, int64_t count, bool add, float *loss,
                               sn_error *error) {
    batch b = {.trainer = t, .rows = n, .pictures = pictures};
    for (int i = 0; i < n; i++) b.tokens += (int64_t)samples[i].ids.count;
    sn_arena *arena = sn_arena_new();
    if (!arena) return sn_fail_memory(error);
    int32_t *ids = sn_arena_alloc(arena, (size_t)b.tokens, 4), *positions = sn_arena_alloc(arena, (size_t)b.tokens, 4), *labels = sn_arena_alloc(arena, (size_t)b.tokens, 4);
    int32_t *starts = sn_arena_alloc(arena, (size_t)n + 1, 4), *at = sn_arena_alloc(arena, (size_t)b.tokens + 1, 4), *from = sn_arena_alloc(arena, (size_t)b.tokens + 1, 4);
    float *weights = sn_arena_alloc(arena, (size_t)b.tokens, sizeof *weights), **results = sn_arena_alloc(arena, t->count + 1, sizeof *results), one = 1;
    const char **names = sn_arena_alloc(arena, t->count + 1, sizeof *names);
    if (!ids || !positions || !labels || !starts || !at || !from || !weights || !results || !names) {
        sn_arena_free(arena);
        return sn_fail_memory(error);
    }
    int64_t p = 0, first_row = 0; /* of the sample's pictures among all rows */
    for (int i = 0; i < n; i++) {
        starts[i] = (int32_t)p;
        int64_t length = (int64_t)samples[i].ids.count;
        for (int64_t j = 0; j < length; j++, p++) {
            int32_t id = samples[i].ids.data[j];
            ids[p] = id < 0 ? 0 : id, positions[p] = (int32_t)j;
            if (id < 0) from[b.media] = (int32_t)(first_row - 1 - id), at[b.media++] = (int32_t)p;
            labels[p] = j + 1 < length ? samples[i].labels.data[j + 1] : -100; /* each position predicts the next */
        }
        first_row += samples[i].num_media * t->model->media_positions;
    }
    starts[n] = (int32_t)p;
    sn_status status = count > 0 ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "no learnt token in %d samples", n);
    for (int64_t i = 0; i < b.tokens && count > 0; i++) weights[i] = labels[i] >= 0 ? 1.0f / (float)count : 0;
    names[0] = "loss", results[0] = loss;
    for (size_t i = 0; i < t->count; i++) {
        names[i + 1] = sn_arena_format(arena, "grad.%s", t->trainables[i].entry->name);
        sn_trainable *learner = &t->trainables[i];
        if (add && !learner->pass && !(learner->pass = sn_alloc((size_t)learner->count, sizeof *learner->pass))) status = sn_fail_memory(error);
        results[i + 1] = add ? learner->pass : learner->gradient;
    }
    sn_program_key key = {.owner = t, .part = "train", .a = b.tokens, .b = n, .c = b.media};
    sn_program *program;
    sn_engine *engine = t->model->engine;
    if (!status) status = sn_engine_program(engine, &key, build, &b, t->model->store, names, (int)t->count + 1, &program, error);
    const void *with[] = {ids, positions, starts, labels, weights, pixels, at, from, &one}, *without[] = {ids, positions, starts, labels, weights, &one};
    sn_trace *trace = sn_engine_trace(engine);
    if (trace) trace->row_starts = starts, trace->rows = n;
    if (!status) status = sn_engine_run(engine, program, b.media ? with : without, NULL, NULL, results, error);
    if (trace) trace->row_starts = NULL;
    for (size_t i = 0; add && !status && i < t->count; i++)
        for (int64_t j = 0; j < t->trainables[i].count; j++) t->trainables[i].gradient[j] += t->trainables[i].pass[j];
    sn_arena_free(arena);
    return status;
}

double sn_trainer_norm(const sn_trainer *t) {
    double sum = 0;
    for (size_t i = 0; i < t->count; i++)
        for (int64_t j = 0; j < t->trainables[i].count; j++) sum += (double)t->trainables[i].gradient[j] * (double)t->trainables[i].gradient[j];
    return sqrt(sum);
}

void sn_trainer_update(sn_trainer *t, const sn_optimizer_options *o, double norm) {
    t->step++;
    double clip = o->max_grad_norm > 0 ? o->max_grad_norm / (norm + 1e-6) : 1;
    float factor = clip < 1 ? (float)clip : 1;
    double bias1 = 1 - pow(o->beta1, (double)t->step), bias2 = 1 - pow(o->beta2, (double)t->step);
    float root = (float)sqrt(bias2);
    for (size_t i = 0; i < t->count; i++) {
        sn_trainable *p = &t->trainables[i];
        bool connector = strncmp(p->entry->name, "projector.", 10) == 0;
        double lr = connector && o->connector_lr > 0 ? o->connector_lr : o->lr;
        /* biases and norms do not decay, as in Hugging Face's Trainer */
        float step = (float)(lr / bias1), decay = p->entry->weight.shape.rank > 1 ? (float)(1 - lr * o->weight_decay) : 1;
        for (int64_t j = 0; j < p->count; j++) {
            float g = p->gradient[j] * factor;
            p->value[j] *= decay;
            p->m[j] = (float)o->beta1 * p->m[j] + (float)(1 - o->beta1) * g;
            p->v[j] = (float)o->beta2 * p->v[j] + (float)(1 - o->beta2) * g * g;
            p->value[j] -= step * p->m[j] / (sqrtf(p->v[j]) / root + (float)o->eps);
        }
    }
}
