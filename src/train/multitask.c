/* Both passes in one graph. The trained row stands in a copy of the table, so that its gradient has both of its sources: the
 * lookup and the tied head. The contrast is a head loss whose head is the other side of the batch. */
#include "train/multitask.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct context {
    const sn_trainer *trainer;
    const sn_multitask *batch;
    int64_t media;
} context;

/* The token table with the row that learns. */
static sn_tensor table_of(sn_graph *g, const sn_model *m, sn_tensor all, sn_tensor place) {
    sn_tensor table = sn_gather_rows(g, m->lm.head(g, m->lm.config), all);
    return sn_scatter_rows(g, table, sn_param(g, "retrieval.row", SN_SHAPE(1, m->lm.hidden_size), SN_INIT_NORMAL), place);
}

static sn_tensor times(sn_graph *g, sn_tensor x, sn_tensor scalar) {
    sn_shape shape = sn_at(g, x)->shape;
    int64_t count = sn_shape_count(&shape);
    return sn_reshape(g, sn_mul(g, sn_reshape(g, x, SN_SHAPE(count, 1)), scalar), shape);
}

static sn_tensor cross_entropy(sn_graph *g, sn_tensor x, sn_tensor head, int64_t tokens) {
    sn_tensor labels = sn_input(g, SN_TYPE_I32, SN_SHAPE(tokens)), weights = sn_input(g, SN_TYPE_F32, SN_SHAPE(tokens));
    return sn_head_loss(g, x, head, labels, weights, SN_GRAD_HIDDEN | SN_GRAD_HEAD);
}

static void build(sn_graph *g, const void *with) {
    const context *c = with;
    const sn_multitask *b = c->batch;
    const sn_model *m = c->trainer->model;
    int64_t tokens = b->rows * b->row_length, n = b->pictures, words = n * b->length, size = m->lm.query_size;
    sn_tensor all = sn_input(g, SN_TYPE_I32, SN_SHAPE(m->lm.vocab_size)), place = sn_input(g, SN_TYPE_I32, SN_SHAPE(1));
    sn_tensor ids = sn_input(g, SN_TYPE_I32, SN_SHAPE(tokens)), positions = sn_input(g, SN_TYPE_I32, SN_SHAPE(tokens)), starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->rows + 1));
    sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(n, 3, m->image_size, m->image_size));
    sn_tensor at = sn_input(g, SN_TYPE_I32, SN_SHAPE(c->media)), from = sn_input(g, SN_TYPE_I32, SN_SHAPE(c->media));
    sn_tensor table = table_of(g, m, all, place);
    /* captioning */
    sn_tensor rows = sn_reshape(g, m->system->encode(g, m, pixels), SN_SHAPE(n * m->media_positions, m->lm.hidden_size));
    sn_tensor x = sn_scatter_rows(g, sn_gather_rows(g, table, ids), sn_gather_rows(g, rows, from), at);
    x = m->lm.forward(g, m->lm.config, x, &(sn_lm_inputs){.positions = positions, .row_starts = starts});
    sn_name(g, sn_reshape(g, sn_linear(g, x, table, SN_NONE), SN_SHAPE(b->rows, b->row_length, m->lm.vocab_size)), "lm.logits");
    sn_tensor captioning = cross_entropy(g, x, table, tokens);
    /* the texts alone */
    sn_tensor captions = sn_input(g, SN_TYPE_I32, SN_SHAPE(words)), places = sn_input(g, SN_TYPE_I32, SN_SHAPE(words)), begins = sn_input(g, SN_TYPE_I32, SN_SHAPE(n + 1));
    sn_tensor *hidden = sn_arena_alloc(g->arena, (size_t)m->lm.num_layers + 1, sizeof *hidden);
    sn_tensor y = m->lm.forward(g, m->lm.config, sn_gather_rows(g, table, captions), &(sn_lm_inputs){.positions = places, .row_starts = begins, .hidden = hidden});
    sn_tensor query = cross_entropy(g, y, table, words);
    /* the contrast: keys times exp(s) against queries, both ways */
    sn_tensor e = sn_gather_rows(g, m->lm.query(g, m->lm.query_config, hidden, y), sn_input(g, SN_TYPE_I32, SN_SHAPE(n)));
    sn_tensor scale = sn_unary_op(g, SN_UNARY_EXP, sn_reshape(g, sn_param(g, "retrieval.logit_scale", (sn_shape){0}, SN_INIT_ZERO), SN_SHAPE(1)));
    sn_tensor u = times(g, sn_norm_op(g, SN_NORM_L2, m->system->key(g, m, pixels), SN_NONE, SN_NONE, 0), scale);
    u = sn_reshape(g, u, SN_SHAPE(n, size));
    sn_name(g, sn_linear(g, u, e, SN_NONE), "similarity");
    sn_tensor contrast = sn_add(g, cross_entropy(g, u, e, n), cross_entropy(g, e, u, n));
    sn_name(g, captioning, "sum.captioning");
    sn_name(g, query, "sum.retrieval_ce");
    sn_name(g, contrast, "sum.contrastive");
    sn_tensor total = sn_add(g, sn_scale(g, captioning, b->caption_scale), sn_scale(g, sn_add(g, query, contrast), b->query_scale));
    sn_name(g, total, "sum.total");
    size_t count = c->trainer->count;
    sn_tensor *by = sn_arena_alloc(g->arena, count + 1, sizeof *by), *grad = sn_arena_alloc(g->arena, count + 1, sizeof *grad);
    if (!by || !grad || !hidden) {
        sn_graph_fail(g, "out of memory");
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t p = 0; p < g->num_params; p++)
            if (strcmp(g->params[p].name, c->trainer->trainables[i].entry->name) == 0) by[i] = g->params[p].tensor;
    sn_gradients(g, total, by, (int)count, grad);
    for (size_t i = 0; i < count; i++) sn_name(g, grad[i], "grad.%s", c->trainer->trainables[i].entry->name);
}

/* Inputs of one pass: positions, starts, each id's next label and the weights of a mean over those that are there. */
typedef struct pass {
    int32_t *positions, *starts, *next;
    float *weights;
} pass;

static bool lay_out(sn_arena *arena, int64_t rows, int64_t length, const int32_t *labels, pass *p) {
    int64_t tokens = rows * length, learnt = 0;
    *p = (pass){sn_arena_alloc(arena, (size_t)tokens, 4), sn_arena_alloc(arena, (size_t)rows + 1, 4), sn_arena_alloc(arena, (size_t)tokens, 4), sn_arena_alloc(arena, (size_t)tokens, 4)};
    if (!p->positions || !p->starts || !p->next || !p->weights) return false;
    for (int64_t i = 0; i < tokens; i++) {
        p->positions[i] = (int32_t)(i % length);
        p->next[i] = i % length + 1 < length ? labels[i + 1] : -100;
        learnt += p->next[i] >= 0;
    }
    for (int64_t r = 0; r <= rows; r++) p->starts[r] = (int32_t)(r * length);
    for (int64_t i = 0; i < tokens; i++) p->weights[i] = p->next[i] >= 0 ? 1 / (float)learnt : 0;
    return true;
}

sn_status sn_multitask_gradients(sn_trainer *t, const sn_multitask *b, sn_multitask_losses *losses, sn_error *error) {
    sn_model *m = t->model;
    sn_arena *arena = sn_arena_new();
    if (!arena) return sn_fail_memory(error);
    int64_t tokens = b->rows * b->row_length, n = b->pictures, vocab = m->lm.vocab_size;
    context c = {.trainer = t, .batch = b};
    pass caption, text;
    int32_t *all = sn_arena_alloc(arena, (size_t)vocab, 4), *ids = sn_arena_alloc(arena, (size_t)tokens, 4), *at = sn_arena_alloc(arena, (size_t)tokens, 4), *from = sn_arena_alloc(arena, (size_t)tokens, 4);
    int32_t *diagonal = sn_arena_alloc(arena, (size_t)n, 4), *query_at = sn_arena_alloc(arena, (size_t)n, 4), place = m->query_id;
    float *halves = sn_arena_alloc(arena, (size_t)n, 4), one = 1, **results = sn_arena_alloc(arena, t->count + 4, sizeof *results);
    const char **names = sn_arena_alloc(arena, t->count + 4, sizeof *names);
    bool ok = all && ids && at && from && diagonal && query_at && halves && results && names && lay_out(arena, b->rows, b->row_length, b->labels, &caption) &&
              lay_out(arena, n, b->length, b->caption_labels, &text);
    for (int64_t i = 0; ok && i < vocab; i++) all[i] = (int32_t)i;
    for (int64_t i = 0; ok && i < tokens; i++) {
        ids[i] = b->ids[i] < 0 ? 0 : b->ids[i];
        if (b->ids[i] < 0) at[c.media] = (int32_t)i, from[c.media++] = -1 - b->ids[i];
    }
    for (int64_t i = 0; ok && i < n; i++) diagonal[i] = (int32_t)i, halves[i] = 0.5f / (float)n, query_at[i] = (int32_t)(i * b->length) + b->query_at[i];
    const char *const losses_named[] = {"sum.captioning", "sum.retrieval_ce", "sum.contrastive", "sum.total"};
    float *const losses_at[] = {&losses->captioning, &losses->query, &losses->contrastive, &losses->total};
    for (int i = 0; ok && i < 4; i++) names[i] = losses_named[i], results[i] = losses_at[i];
    for (size_t i = 0; ok && i < t->count; i++) {
        names[i + 4] = sn_arena_format(arena, "grad.%s", t->trainables[i].entry->name);
        results[i + 4] = t->trainables[i].gradient;
        ok = names[i + 4] != NULL;
    }
    sn_program *program;
    sn_program_key key = {.owner = t, .part = "multitask", .a = b->rows, .b = b->row_length, .c = n};
    sn_status status = ok ? sn_engine_program(m->engine, &key, build, &c, m->store, names, (int)t->count + 4, &program, error) : sn_fail_memory(error);
    const void *inputs[] = {all, &place, ids, caption.positions, caption.starts, b->pixels, at, from, caption.next, caption.weights, b->captions, text.positions, text.starts, text.next, text.weights,
                            query_at, diagonal, halves, diagonal, halves, &one};
    if (!status) status = sn_engine_run(m->engine, program, inputs, NULL, NULL, results, error);
    for (size_t i = 0; i < t->count; i++) t->trainables[i].reached = true;
    sn_arena_free(arena);
    return status;
}

static double row_norm(const float *row, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)row[i] * (double)row[i];
    return sqrt(sum);
}

sn_status sn_multitask_after_step(sn_trainer *t, sn_error *error) {
    const sn_store_entry *table = sn_store_find(t->model->store, "decoder.embed.weight");
    sn_store_entry *row = sn_store_find(t->model->store, "retrieval.row");
    sn_trainable *learner = NULL;
    for (size_t i = 0; i < t->count; i++)
        if (t->trainables[i].entry == row) learner = &t->trainables[i];
    if (!table || !learner) return SN_OK; /* the row is frozen */
    int64_t width = table->weight.columns, others = table->weight.rows - 1;
    float *values = sn_alloc((size_t)width, sizeof *values);
    if (!values) return sn_fail_memory(error);
    double mean = 0;
    for (int64_t i = 0; i < table->weight.rows; i++) {
        if (i == t->model->query_id) continue;
        sn_weight_row_floats(&table->weight, i, values);
        mean += row_norm(values, width) / (double)others;
    }
    double factor = mean / row_norm(learner->value, width);
    for (int64_t i = 0; i < width; i++) learner->value[i] = (float)(learner->value[i] * factor);
    sn_free(values);
    return SN_OK;
}
