/* The training graph, low-rank updates, and what a step does to the parameters. */
#include "train/step.h"

#include "runtime/trace.h"
#include "systems/parts.h"

#include <math.h>
#include <string.h>

/* ---- what learns ---- */

static bool keep_master(sn_trainable *t, sn_error *error, sn_status *status) {
    sn_weight *w = &t->entry->weight;
    t->stored = w->type, t->count = t->own_count = sn_shape_count(&w->shape);
    t->value = sn_alloc((size_t)t->count, sizeof(float));
    t->gradient = sn_alloc((size_t)t->count, sizeof(float));
    t->moments.m = sn_alloc((size_t)t->count, sizeof(float));
    t->moments.v = sn_alloc((size_t)t->count, sizeof(float));
    if (!t->value || !t->gradient || !t->moments.m || !t->moments.v) *status = sn_fail_memory(error);
    else *status = sn_weight_ready(w, error);
    if (*status) return false;
    for (int64_t r = 0; r < w->rows; r++) sn_weight_row_floats(w, r, t->value + r * w->columns);
    sn_weight_release(w);
    *w = sn_weight_view(SN_TYPE_F32, w->shape, t->value);
    return true;
}

static sn_status add_trainable(sn_trainer *out, sn_store_entry *e, const sn_learning_group *group, sn_error *error) {
    sn_status status = SN_OK;
    out->trainables[out->count] = (sn_trainable){.entry = e, .group = group};
    keep_master(&out->trainables[out->count++], error, &status);
    return status;
}

/* ---- the graph ---- */

typedef struct batch {
    const sn_trainer *trainer;
    int64_t tokens, rows, pictures, media, marks; /* marks: tokens whose row of the table learns */
} batch;

static const char rows_name[] = "decoder.embed.rows";

/* The rows of the token table that learn alone, or NULL. */
static const sn_trainable *learnt_rows(const sn_trainer *t) {
    for (size_t i = 0; i < t->count; i++)
        if (t->trainables[i].rows) return &t->trainables[i];
    return NULL;
}

static bool learns_here(const sn_trainer *t, const char *name) {
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->trainables[i].entry->name, name) == 0) return true;
    return false;
}

sn_lora_place *sn_trainer_begin(sn_graph *g, const sn_trainer *t) {
    g->recompute = t->recompute;
    return sn_lora_begin(g, &t->lora);
}

sn_tensor sn_trainer_add_gradients(sn_graph *g, const sn_trainer *t, sn_tensor loss, sn_tensor also) {
    sn_tensor *by = sn_arena_alloc(g->arena, t->count + 1, sizeof *by), *grad = sn_arena_alloc(g->arena, t->count + 1, sizeof *grad);
    if (!by || !grad) return sn_graph_fail(g, "out of memory");
    by[t->count] = also;
    for (size_t i = 0; i < t->count; i++)
        for (size_t p = 0; p < g->num_params; p++)
            if (strcmp(g->params[p].name, t->trainables[i].entry->name) == 0) by[i] = g->params[p].tensor;
    sn_gradients(g, loss, by, (int)t->count + 1, grad);
    for (size_t i = 0; i < t->count; i++) {
        const sn_store_entry *e = t->trainables[i].entry;
        /* what a loss does not reach (the projector, in a batch of texts alone) has a gradient of zero */
        if (!grad[i]) grad[i] = sn_scale(g, by[i] ? by[i] : sn_param(g, e->name, e->weight.shape, SN_INIT_ZERO), 0);
        sn_name(g, grad[i], "grad.%s", e->name);
    }
    return grad[t->count];
}

static void build(sn_graph *g, const void *context) {
    const batch *b = context;
    const sn_model *m = b->trainer->model;
    sn_lora_place *lora = sn_trainer_begin(g, b->trainer);
    sn_tensor ids = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens)), positions = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens));
    sn_tensor starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->rows + 1));
    sn_tensor labels = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens)), weights = sn_input(g, SN_TYPE_F32, SN_SHAPE(b->tokens));
    if (lora && lora->dropout > 0) {
        lora->token_keys = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->tokens, 2));
        if (b->media) lora->picture_keys = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->pictures, 2));
    }
    sn_tensor x = m->lm.embed(g, m->lm.config, ids);
    if (b->marks) {
        sn_tensor rows = sn_param(g, rows_name, learnt_rows(b->trainer)->entry->weight.shape, SN_INIT_ZERO);
        sn_tensor which = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->marks)), places = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->marks));
        x = sn_scatter_rows(g, x, sn_gather_rows(g, rows, which), places);
    }
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
        if (g->params[i].tensor == head && learns_here(b->trainer, g->params[i].name)) gradients |= SN_GRAD_HEAD;
    sn_tensor loss = sn_head_loss(g, x, head, labels, weights, gradients);
    sn_name(g, loss, "loss");
    sn_trainer_add_gradients(g, b->trainer, loss, SN_NONE);
}

/* Which parameters a graph without pictures does not reach. */
static sn_status find_media_only(sn_trainer *t, sn_error *error) {
    sn_graph *g = sn_graph_new();
    if (!g) return sn_fail_memory(error);
    sn_lora_begin(g, &t->lora);
    sn_lm_parameters(g, &t->model->lm);
    for (size_t i = 0; i < t->count; i++) {
        bool found = t->trainables[i].rows != NULL; /* they stand where the table does */
        for (size_t p = 0; p < g->num_params; p++) {
            if (strcmp(g->params[p].name, t->trainables[i].entry->name) != 0) continue;
            found = true, t->trainables[i].depth = (int64_t)(t->count * p); /* the token table is the first, what pictures go through follows */
        }
        t->trainables[i].by_media = !found;
        if (!found) t->trainables[i].depth = (int64_t)i;
    }
    sn_graph_free(g);
    return SN_OK;
}

/* ---- opening ---- */

static bool part_of(const char *const *parts, size_t most, const char *name) {
    size_t length = strcspn(name, ".");
    for (size_t i = 0; i < most && parts[i]; i++)
        if (strlen(parts[i]) == length && strncmp(parts[i], name, length) == 0) return true;
    return false;
}

/* Rows of the token table that the stage trains beside its patterns (LLaVA's <im_start>, <im_end>): a parameter of their own,
 * so that nothing is kept or computed for the rest of the table. */
static sn_status add_rows(sn_trainer *out, sn_error *error) {
    int32_t ids[16];
    int n = out->stage->rows ? out->stage->rows(out->model, ids, 16) : 0;
    sn_store *store = out->model->store;
    sn_store_entry *table = n ? sn_store_find(store, "decoder.embed.weight") : NULL;
    for (size_t i = 0; i < out->count; i++)
        if (out->trainables[i].entry == table) return SN_OK; /* it learns whole */
    if (!table) return SN_OK;
    if (!sn_store_find(store, "decoder.head.weight"))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: is the head, too, so that rows of it do not learn alone; name it in `train` to teach it whole", table->published);
    int64_t columns = table->weight.columns;
    int32_t *rows = sn_arena_alloc(out->arena, (size_t)n, sizeof *rows);
    char *published = sn_arena_format(out->arena, "%s (rows)", table->published);
    if (!rows || !published) return sn_fail_memory(error);
    memcpy(rows, ids, (size_t)n * sizeof *rows);
    sn_status status = sn_store_add_fresh(store, rows_name, published, SN_SHAPE(n, columns), SN_INIT_ZERO, 0, error);
    if (!status) status = sn_weight_ready(&table->weight, error);
    sn_store_entry *own = status ? NULL : sn_store_find(store, rows_name);
    for (int k = 0; k < n && own; k++) sn_weight_row_floats(&table->weight, rows[k], (float *)own->weight.owned + k * columns);
    if (!status) status = add_trainable(out, own, NULL, error);
    if (!status) out->trainables[out->count - 1].table = table, out->trainables[out->count - 1].rows = rows, out->trainables[out->count - 1].num_rows = n;
    return status;
}

sn_status sn_trainer_open(sn_model *model, const sn_learning *l, sn_trainer *out, sn_error *error) {
    const char *parts[8] = {0};
    *out = (sn_trainer){.model = model, .lora = {.store = model->store}};
    if (!(out->stage = sn_stage_find(model, l->stage, error))) return SN_ERROR_USAGE;
    sn_status status = sn_learning_check(l, model, NULL, error);
    if (status) return status;
    if (!(out->arena = sn_arena_new())) return sn_fail_memory(error);
    if (l->lora) {
        out->lora.r = l->lora->r, out->lora.alpha = l->lora->alpha, out->lora.scale = (float)(l->lora->alpha / (double)l->lora->r), out->lora.dropout = l->lora->dropout, out->lora.seed = l->seed;
        status = sn_lora_add(model, l, out->arena, parts, 8, error);
    }
    if (!status && !(out->trainables = sn_alloc(model->store->count + 1, sizeof *out->trainables))) status = sn_fail_memory(error);
    for (size_t i = 0; i < model->store->count && !status; i++) {
        sn_store_entry *e = model->store->entries[i];
        const sn_learning_group *group = NULL;
        bool learns = sn_learns(l, out->stage, e, &group);
        if (sn_is_lora(e)) learns = l->lora != NULL;
        else if (learns && !l->num_train && part_of(parts, 8, e->name)) learns = false;
        if (learns) status = add_trainable(out, e, group, error);
    }
    if (!status && !l->num_train && !l->lora) status = add_rows(out, error);
    if (!status && !out->count) status = sn_fail(error, SN_ERROR_USAGE, "nothing learns: train, freeze and stage leave no parameter");
    if (!status) status = find_media_only(out, error);
    if (status) sn_trainer_close(out);
    return status;
}

void sn_trainer_close(sn_trainer *trainer) {
    for (size_t i = 0; i < trainer->count; i++) {
        sn_trainable *t = &trainer->trainables[i];
        sn_free(t->gradient);
        sn_free(t->pass);
        sn_free(t->moments.m);
        sn_free(t->moments.v);
        /* the master belongs to the model from now on: it is the parameter */
        if (t->value && t->entry->weight.part[0].data == t->value) t->entry->weight.owned = t->value;
        else sn_free(t->value);
    }
    sn_free(trainer->trainables);
    sn_arena_free(trainer->arena);
    *trainer = (sn_trainer){0};
}

int64_t sn_sample_learnt(const sn_sample *s) {
    int64_t learnt = 0;
    for (size_t i = 1; i < s->labels.count; i++) learnt += s->labels.data[i] >= 0;
    return learnt;
}

/* ---- a pass ---- */

/* A pass laid out as the graph takes it. */
typedef struct packed {
    sn_arena *arena;
    batch batch;
    int32_t *ids, *positions, *labels, *starts, *at, *from, *token_keys, *picture_keys, *which, *marks;
    float *weights, one;
    const void *inputs[13];
    const char **names; /* of the results: the loss, then the gradients */
} packed;

/* What dropout is keyed by. */
static sn_status add_keys(const sn_trainer *t, const sn_pass *pass, packed *p, sn_error *error) {
    if (!(t->lora.dropout > 0)) return SN_OK;
    p->token_keys = sn_arena_alloc(p->arena, 2 * (size_t)p->batch.tokens, sizeof *p->token_keys);
    p->picture_keys = sn_arena_alloc(p->arena, 2 * (size_t)p->batch.pictures + 2, sizeof *p->picture_keys);
    if (!p->token_keys || !p->picture_keys) return sn_fail_memory(error);
    int32_t *token = p->token_keys, *picture = p->picture_keys;
    for (int i = 0; i < pass->num_samples; i++) {
        const sn_sample *s = &pass->samples[i];
        for (size_t j = 0; j < s->ids.count; j++, token += 2) sn_lora_token_key(s->place, (int64_t)j, token);
        for (int k = 0; k < s->num_media; k++, picture += 2) sn_lora_picture_key(s->place, k, picture);
    }
    return SN_OK;
}

static sn_status pack(const sn_trainer *t, const sn_pass *pass, packed *p, sn_error *error) {
    int n = pass->num_samples;
    *p = (packed){.batch = {.trainer = t, .rows = n, .pictures = pass->pictures}, .one = 1, .arena = sn_arena_new()};
    if (!p->arena) return sn_fail_memory(error);
    if (!(pass->count > 0)) return sn_fail(error, SN_ERROR_INPUT, "no learnt token in %d samples", n);
    batch *b = &p->batch;
    for (int i = 0; i < n; i++) b->tokens += (int64_t)pass->samples[i].ids.count;
    int32_t **arrays[] = {&p->ids, &p->positions, &p->labels, &p->starts, &p->at, &p->from, &p->which, &p->marks};
    size_t most = (size_t)(b->tokens > n ? b->tokens : n) + 1;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (!(*arrays[i] = sn_arena_alloc(p->arena, most, sizeof(int32_t)))) return sn_fail_memory(error);
    p->weights = sn_arena_alloc(p->arena, most, sizeof *p->weights);
    p->names = sn_arena_alloc(p->arena, t->count + 1, sizeof *p->names);
    if (!p->weights || !p->names) return sn_fail_memory(error);
    const sn_trainable *learnt = learnt_rows(t);
    int64_t at = 0, first_row = 0; /* of the sample's pictures among all rows */
    for (int i = 0; i < n; i++) {
        const sn_sample *s = &pass->samples[i];
        p->starts[i] = (int32_t)at;
        for (size_t j = 0; j < s->ids.count; j++, at++) {
            int32_t id = s->ids.data[j];
            p->ids[at] = id < 0 ? 0 : id, p->positions[at] = (int32_t)j;
            if (id < 0) p->from[b->media] = (int32_t)(first_row - 1 - id), p->at[b->media++] = (int32_t)at;
            for (int k = 0; learnt && k < learnt->num_rows; k++)
                if (learnt->rows[k] == id) p->which[b->marks] = k, p->marks[b->marks++] = (int32_t)at;
            p->labels[at] = j + 1 < s->ids.count ? s->labels.data[j + 1] : -100; /* each position predicts the next */
            p->weights[at] = p->labels[at] >= 0 ? (float)(1 / pass->count) : 0;
        }
        first_row += s->num_media * t->model->media_positions;
    }
    p->starts[n] = (int32_t)at;
    p->names[0] = "loss";
    for (size_t i = 0; i < t->count; i++)
        if (!(p->names[i + 1] = sn_arena_format(p->arena, "grad.%s", t->trainables[i].entry->name))) return sn_fail_memory(error);
    sn_status status = add_keys(t, pass, p, error);
    const bool drops = p->token_keys != NULL, media = b->media > 0;
    const struct { bool there; const void *data; } all[] = {{true, p->ids}, {true, p->positions}, {true, p->starts}, {true, p->labels}, {true, p->weights}, {drops, p->token_keys}, {drops && media, p->picture_keys}, {b->marks > 0, p->which}, {b->marks > 0, p->marks},
                                                             {media, pass->pixels}, {media, p->at}, {media, p->from}, {true, &p->one}};
    for (size_t i = 0, n_inputs = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].there) p->inputs[n_inputs++] = all[i].data; /* in the order in which the graph takes them */
    return status;
}

static sn_status program_of(const sn_trainer *t, const batch *b, const char *const *names, sn_program **out, sn_error *error) {
    sn_program_key key = {.owner = t, .part = "train", .a = b->tokens, .b = b->rows | b->marks << 32, .c = (b->media << 20) + b->pictures};
    return sn_engine_program(t->model->engine, &key, build, b, t->model->store, names, (int)t->count + 1, out, error);
}

typedef struct taker {
    sn_trainer *trainer;
    int first;
    bool add;
    sn_on_result *on_other;
    void *context;
} taker;

/* A gradient of the pass is there: what came before is added. */
static void take_gradient(void *context, int result) {
    const taker *k = context;
    if (result < k->first) {
        if (k->on_other) k->on_other(k->context, result);
        return;
    }
    sn_trainable *t = &k->trainer->trainables[result - k->first];
    for (int64_t j = 0; k->add && j < t->count; j++) t->gradient[j] += t->pass[j];
    if (k->trainer->on_gradient) k->trainer->on_gradient(k->trainer->listener, (size_t)(result - k->first));
}

sn_status sn_trainer_run(sn_trainer *t, sn_program *program, const void *const *inputs, float **results, int first, bool add, sn_on_result *on_other, void *context, sn_error *error) {
    taker k = {t, first, add, on_other, context};
    for (size_t i = 0; i < t->count; i++) {
        sn_trainable *p = &t->trainables[i];
        if (add && !p->pass && !(p->pass = sn_alloc((size_t)p->count, sizeof *p->pass))) return sn_fail_memory(error);
        results[(size_t)first + i] = add ? p->pass : p->gradient;
    }
    return sn_engine_run_listening(t->model->engine, program, inputs, results, take_gradient, &k, error);
}

sn_status sn_trainer_gradients(sn_trainer *t, const sn_pass *pass, bool add, float *loss, sn_error *error) {
    packed p;
    sn_program *program;
    sn_engine *engine = t->model->engine;
    sn_status status = pack(t, pass, &p, error);
    float **results = status ? NULL : sn_arena_alloc(p.arena, t->count + 1, sizeof *results);
    if (!status && !results) status = sn_fail_memory(error);
    for (size_t i = 0; i < t->count && !status; i++) {
        sn_trainable *learner = &t->trainables[i];
        learner->reached = (add && learner->reached) || !learner->by_media || p.batch.media > 0;
    }
    if (!status) results[0] = loss;
    if (!status) status = program_of(t, &p.batch, p.names, &program, error);
    sn_trace *trace = sn_engine_trace(engine);
    if (trace && !status) trace->row_starts = p.starts, trace->rows = pass->num_samples;
    if (!status) status = sn_trainer_run(t, program, p.inputs, results, 1, add, NULL, NULL, error);
    if (trace) trace->row_starts = NULL;
    sn_arena_free(p.arena);
    return status;
}

sn_status sn_trainer_find_bad(sn_trainer *t, const sn_pass *pass, sn_error *error) {
    packed p;
    sn_program *program;
    sn_status status = pack(t, pass, &p, error);
    if (!status) status = program_of(t, &p.batch, p.names, &program, error);
    if (!status) status = sn_engine_check(t->model->engine, program, p.inputs, NULL, error);
    sn_arena_free(p.arena);
    return status;
}

sn_status sn_trainer_memory(sn_trainer *t, int64_t tokens, int64_t rows, int64_t pictures, size_t *bytes, sn_error *error) {
    int64_t media = pictures * t->model->media_positions;
    batch b = {.trainer = t, .tokens = tokens > rows ? tokens : rows, .rows = rows, .pictures = pictures};
    b.media = media < b.tokens ? media : b.tokens;
    sn_program *program;
    sn_arena *arena = sn_arena_new();
    const char **names = arena ? sn_arena_alloc(arena, t->count + 1, sizeof *names) : NULL;
    sn_status status = names ? SN_OK : sn_fail_memory(error);
    for (size_t i = 0; i < t->count && !status; i++)
        if (!(names[i + 1] = sn_arena_format(arena, "grad.%s", t->trainables[i].entry->name))) status = sn_fail_memory(error);
    if (!status) names[0] = "loss", status = program_of(t, &b, names, &program, error);
    if (!status) *bytes = sn_program_memory(program);
    sn_arena_free(arena);
    return status;
}

/* ---- the step ---- */

double sn_trainer_squares(const sn_trainer *t) {
    double sum = 0;
    for (size_t i = 0; i < t->count; i++) {
        const sn_trainable *p = &t->trainables[i];
        const float *gradient = p->gradient + p->own_first;
        for (int64_t j = 0; j < p->own_count && p->reached; j++) sum += (double)gradient[j] * (double)gradient[j];
    }
    return sum;
}

double sn_trainer_norm(const sn_trainer *t) { return sqrt(sn_trainer_squares(t)); }

void sn_trainer_update(sn_trainer *t, const sn_optimizer_options *o, double factor, double norm) {
    float clip = sn_clip_factor(o, norm);
    t->step++;
    for (size_t i = 0; i < t->count; i++) {
        sn_trainable *p = &t->trainables[i];
        if (!p->reached) continue; /* as torch leaves a parameter without gradient alone */
        bool connector = strncmp(p->entry->name, "projector.", 10) == 0;
        double lr = p->group && p->group->lr >= 0 ? p->group->lr : connector && o->connector_lr > 0 ? o->connector_lr : o->lr;
        /* biases and norms do not decay, as in Hugging Face's Trainer, unless a pattern says so */
        double decay = p->group && p->group->weight_decay >= 0 ? p->group->weight_decay : p->entry->weight.shape.rank > 1 ? o->weight_decay : 0;
        sn_optimizer_step(o, lr * factor, decay, clip, p->value + p->own_first, p->gradient + p->own_first, p->own_count, &p->moments);
    }
}

const char *sn_trainer_bad_parameter(const sn_trainer *t) {
    for (size_t i = 0; i < t->count; i++)
        for (int64_t j = 0; j < t->trainables[i].count; j++)
            if (!isfinite(t->trainables[i].value[j])) return t->trainables[i].entry->published;
    return NULL;
}
