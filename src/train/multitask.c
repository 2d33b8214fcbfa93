/* Both passes in one graph. The trained row stands in a copy of the table, so that its gradient has both of its sources: the
 * lookup and the tied head. The contrast is a head loss whose head is the other side of the batch.
 *
 * Where processes share a batch, each compares its own pairs with everybody's. A graph is run at one go, so what the others have
 * enters as inputs that are filled on the way: as soon as one's own rows are there they are gathered, and the gradient of what was
 * gathered is sent back to those whose rows it is by. What comes back takes part as the seed of one's own rows, which stand beside
 * the loss in what is derived. */
#include "train/multitask.h"

#include "systems/fromage.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct context {
    const sn_trainer *trainer;
    const sn_multitask *batch;
    int64_t media, tokens, words; /* rows of pictures; ids of the captioning pass and of the texts alone */
    int64_t pairs;                /* of all processes */
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
    int64_t tokens = c->tokens, n = b->pictures, words = c->words, size = m->lm.query_size;
    sn_tensor all = sn_input(g, SN_TYPE_I32, SN_SHAPE(m->lm.vocab_size)), place = sn_input(g, SN_TYPE_I32, SN_SHAPE(1));
    sn_tensor ids = sn_input(g, SN_TYPE_I32, SN_SHAPE(tokens)), positions = sn_input(g, SN_TYPE_I32, SN_SHAPE(tokens)), starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(b->rows + 1));
    sn_tensor pixels = sn_input(g, SN_TYPE_F32, SN_SHAPE(n, 3, m->image_size, m->image_size));
    sn_tensor at = sn_input(g, SN_TYPE_I32, SN_SHAPE(c->media)), from = sn_input(g, SN_TYPE_I32, SN_SHAPE(c->media));
    sn_trainer_begin(g, c->trainer);
    sn_tensor table = table_of(g, m, all, place);
    /* captioning */
    sn_tensor rows, key;
    m->system->encode_and_key(g, m, pixels, &rows, &key);
    rows = sn_reshape(g, rows, SN_SHAPE(n * m->media_positions, m->lm.hidden_size));
    sn_tensor x = sn_scatter_rows(g, sn_gather_rows(g, table, ids), sn_gather_rows(g, rows, from), at);
    x = m->lm.forward(g, m->lm.config, x, &(sn_lm_inputs){.positions = positions, .row_starts = starts});
    if (b->padded) sn_name(g, sn_reshape(g, sn_linear(g, x, table, SN_NONE), SN_SHAPE(b->rows, b->row_length, m->lm.vocab_size)), "lm.logits");
    sn_tensor captioning = cross_entropy(g, x, table, tokens);
    /* the texts alone */
    sn_tensor captions = sn_input(g, SN_TYPE_I32, SN_SHAPE(words)), places = sn_input(g, SN_TYPE_I32, SN_SHAPE(words)), begins = sn_input(g, SN_TYPE_I32, SN_SHAPE(n + 1));
    sn_tensor *hidden = sn_arena_alloc(g->arena, (size_t)m->lm.num_layers + 1, sizeof *hidden);
    if (!hidden) {
        sn_graph_fail(g, "out of memory");
        return;
    }
    sn_tensor y = m->lm.forward(g, m->lm.config, sn_gather_rows(g, table, captions), &(sn_lm_inputs){.positions = places, .row_starts = begins, .hidden = hidden});
    sn_tensor query = cross_entropy(g, y, table, words);
    /* the contrast: keys times exp(s) against queries, both ways, one's own against everybody's */
    sn_tensor e = sn_gather_rows(g, m->lm.query(g, m->lm.query_config, hidden, y), sn_input(g, SN_TYPE_I32, SN_SHAPE(n)));
    sn_tensor scale = sn_unary_op(g, SN_UNARY_EXP, sn_reshape(g, sn_param(g, "retrieval.logit_scale", (sn_shape){0}, SN_INIT_ZERO), SN_SHAPE(1)));
    sn_tensor u = times(g, sn_norm_op(g, SN_NORM_L2, key, SN_NONE, SN_NONE, 0), scale);
    u = sn_reshape(g, u, SN_SHAPE(n, size));
    /* Steps run in the order in which they are made, and a backward part goes through them from the last to the first. So what is
     * gathered is read behind the step of `own`, and since `flat` stands before it, the seed of `own` behind the gradient by it. */
    sn_tensor own = sn_concat(g, u, e, 1), flat = sn_reshape(g, own, SN_SHAPE(2 * n * size));
    sn_tensor gathered = b->others ? sn_input(g, SN_TYPE_F32, SN_SHAPE(c->pairs, 2 * size)) : own;
    sn_tensor keys = sn_contiguous(g, sn_slice(g, gathered, 1, 0, size)), queries = sn_contiguous(g, sn_slice(g, gathered, 1, size, size));
    sn_tensor contrast = sn_add(g, cross_entropy(g, u, queries, n), cross_entropy(g, e, keys, n));
    sn_name(g, sn_linear(g, u, queries, SN_NONE), "similarity");
    sn_name(g, sn_linear(g, e, keys, SN_NONE), "similarity.turned");
    sn_name(g, own, "own");
    sn_name(g, captioning, "sum.captioning");
    sn_name(g, query, "sum.retrieval_ce");
    sn_name(g, contrast, "sum.contrastive");
    sn_tensor caption_scale = sn_input(g, SN_TYPE_F32, SN_SHAPE(1)), query_scale = sn_input(g, SN_TYPE_F32, SN_SHAPE(1)), contrast_scale = sn_input(g, SN_TYPE_F32, SN_SHAPE(1));
    sn_tensor total = sn_add(g, sn_add(g, times(g, captioning, caption_scale), times(g, query, query_scale)), times(g, contrast, contrast_scale));
    if (b->others) total = sn_concat(g, total, flat, 0);
    sn_name(g, sn_trainer_add_gradients(g, c->trainer, total, gathered), "gradient.gathered");
}

/* Inputs of one pass: ids, positions, starts, each id's next label and the weights of a mean over `learnt` of them. What
 * stands behind the last label of a row changes nothing (the mask is causal) and is left out, unless padded. */
typedef struct pass {
    int64_t tokens;
    int32_t *ids, *positions, *starts, *next;
    float *weights;
} pass;

static int64_t kept(const int32_t *ids, const int32_t *labels, int64_t length, bool padded) {
    while (!padded && length > 1 && labels[length - 1] < 0 && ids[length - 1] >= 0) length--;
    return length;
}

static bool lay_out(sn_arena *arena, int64_t rows, int64_t length, const int32_t *ids, const int32_t *labels, bool padded, int64_t learnt, pass *p) {
    size_t most = (size_t)(rows * length);
    *p = (pass){.ids = sn_arena_alloc(arena, most, 4), .positions = sn_arena_alloc(arena, most, 4), .starts = sn_arena_alloc(arena, (size_t)rows + 1, 4), .next = sn_arena_alloc(arena, most, 4), .weights = sn_arena_alloc(arena, most, 4)};
    if (!p->ids || !p->positions || !p->starts || !p->next || !p->weights) return false;
    for (int64_t r = 0; r < rows; r++) {
        const int32_t *row = ids + r * length, *wanted = labels + r * length;
        for (int64_t i = 0, n = kept(row, wanted, length, padded); i < n; i++, p->tokens++) {
            p->ids[p->tokens] = row[i], p->positions[p->tokens] = (int32_t)i;
            p->next[p->tokens] = i + 1 < n ? wanted[i + 1] : -100;
        }
        p->starts[r + 1] = (int32_t)p->tokens;
    }
    for (int64_t i = 0; i < p->tokens; i++) p->weights[i] = p->next[i] >= 0 ? 1 / (float)learnt : 0;
    return true;
}

/* A batch laid out as the graph takes it. */
typedef struct packed {
    sn_arena *arena;
    context context;
    int32_t place;
    float contrast_scale, *similarity, *turned;
    float *own, *all, *gradient, *seed; /* with others: what is gathered and sent back; seed: that of the loss, then of one's own rows */
    const void *inputs[25];
    const char **names; /* of the results: as below, then gradients */
    sn_status status;   /* of what was sent */
    sn_error error;
} packed;

enum { ROWS = 5, ROWS_BACK, OWN };
static const char *const results_named[OWN] = {"sum.captioning", "sum.retrieval_ce", "sum.contrastive", "similarity", "similarity.turned", "own", "gradient.gathered"};

static sn_status name_results(const sn_trainer *t, sn_arena *arena, const char ***names, sn_error *error) {
    if (!(*names = sn_arena_alloc(arena, t->count + OWN, sizeof **names))) return sn_fail_memory(error);
    for (int i = 0; i < OWN; i++) (*names)[i] = results_named[i];
    for (size_t i = 0; i < t->count; i++)
        if (!((*names)[i + OWN] = sn_arena_format(arena, "grad.%s", t->trainables[i].entry->name))) return sn_fail_memory(error);
    return SN_OK;
}

/* Room for what goes to the others and comes from them. */
static bool add_others(packed *p, int64_t columns) {
    sn_arena *arena = p->arena;
    size_t own = (size_t)(p->context.batch->pictures * columns), all = (size_t)(p->context.pairs * columns);
    if (!(p->seed = sn_arena_alloc(arena, p->context.batch->others ? own + 1 : 1, sizeof *p->seed))) return false;
    p->seed[0] = 1;
    if (!p->context.batch->others) return true;
    p->own = sn_arena_alloc(arena, own, sizeof *p->own), p->all = sn_arena_alloc(arena, all, sizeof *p->all), p->gradient = sn_arena_alloc(arena, all, sizeof *p->gradient);
    return p->own && p->all && p->gradient;
}

static sn_status pack(const sn_trainer *t, const sn_multitask *b, packed *p, sn_error *error) {
    const sn_model *m = t->model;
    sn_arena *arena = sn_arena_new();
    int64_t most = b->rows * b->row_length, n = b->pictures, pairs = b->others ? b->others->pairs : n, before = b->others ? b->others->before : 0, vocab = m->lm.vocab_size;
    *p = (packed){.arena = arena, .context = {.trainer = t, .batch = b, .pairs = pairs}, .place = m->query_id, .contrast_scale = b->query_scale * b->contrast_share};
    if (!arena) return sn_fail_memory(error);
    context *c = &p->context;
    pass caption, text;
    int32_t *all = sn_arena_alloc(arena, (size_t)vocab, 4), *at = sn_arena_alloc(arena, (size_t)most, 4), *from = sn_arena_alloc(arena, (size_t)most, 4);
    int32_t *diagonal = sn_arena_alloc(arena, (size_t)n, 4), *query_at = sn_arena_alloc(arena, (size_t)n, 4);
    float *halves = sn_arena_alloc(arena, (size_t)n, 4);
    p->similarity = sn_arena_alloc(arena, (size_t)(n * pairs), 4), p->turned = sn_arena_alloc(arena, (size_t)(n * pairs), 4);
    if (!all || !at || !from || !diagonal || !query_at || !halves || !p->similarity || !p->turned || !lay_out(arena, b->rows, b->row_length, b->ids, b->labels, b->padded, b->learnt, &caption) ||
        !lay_out(arena, n, b->length, b->captions, b->caption_labels, b->padded, b->learnt_alone, &text) || !add_others(p, 2 * m->lm.query_size))
        return sn_fail_memory(error);
    for (int64_t i = 0; i < vocab; i++) all[i] = (int32_t)i;
    c->tokens = caption.tokens, c->words = text.tokens;
    for (int64_t i = 0; i < caption.tokens; i++)
        if (caption.ids[i] < 0) at[c->media] = (int32_t)i, from[c->media++] = -1 - caption.ids[i], caption.ids[i] = 0;
    for (int64_t i = 0; i < n; i++) diagonal[i] = (int32_t)(before + i), halves[i] = 0.5f / (float)pairs, query_at[i] = text.starts[i] + b->query_at[i];
    const void *inputs[] = {all, &p->place, caption.ids, caption.positions, caption.starts, b->pixels, at, from, caption.next, caption.weights, text.ids, text.positions, text.starts, text.next, text.weights,
                            query_at, p->all, diagonal, halves, diagonal, halves, &b->caption_scale, &b->query_scale, &p->contrast_scale, p->seed};
    for (size_t i = 0, k = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i]) p->inputs[k++] = inputs[i];
    return name_results(t, arena, &p->names, error);
}

static sn_status program_of(const sn_trainer *t, const context *c, const char *const *names, sn_program **out, sn_error *error) {
    const sn_multitask *b = c->batch;
    sn_program_key key = {.owner = t, .part = "multitask", .a = c->tokens, .b = c->words | c->pairs << 32, .c = b->pictures << 21 | b->rows << 1 | (b->others != NULL)};
    return sn_engine_program(t->model->engine, &key, build, c, t->model->store, names, (int)t->count + OWN, out, error);
}

/* Share of all rows that are one's own and whose largest value is that of their own pair. similarity [n, pairs] */
static float found(const float *similarity, int64_t n, int64_t pairs, int64_t before) {
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *row = similarity + i * pairs;
        bool best = true;
        for (int64_t j = 0; j < pairs; j++) best &= j == before + i || row[j] < row[before + i];
        right += best;
    }
    return (float)right / (float)pairs;
}

/* One's own rows are there, or the gradient of all; on the compute thread, which goes on with what comes back. */
static void exchange(void *with, int result) {
    packed *p = with;
    const sn_multitask_others *o = p->context.batch->others;
    int64_t columns = 2 * p->context.trainer->model->lm.query_size;
    if (p->status) return;
    if (result == ROWS) p->status = o->gather(o->context, p->own, columns, p->all, &p->error);
    if (result == ROWS_BACK) p->status = o->gather_back(o->context, p->gradient, columns, p->seed + 1, &p->error);
}

sn_status sn_multitask_stand_by(const sn_model *m, const sn_multitask_others *o, sn_error *error) {
    int64_t columns = 2 * m->lm.query_size;
    float *all = sn_alloc((size_t)(o->pairs * columns), sizeof *all);
    if (!all) return sn_fail_memory(error);
    sn_status status = o->gather(o->context, NULL, columns, all, error);
    memset(all, 0, (size_t)(o->pairs * columns) * sizeof *all);
    if (!status) status = o->gather_back(o->context, all, columns, NULL, error);
    sn_free(all);
    return status;
}

sn_status sn_multitask_gradients(sn_trainer *t, const sn_multitask *b, bool add, sn_multitask_losses *losses, sn_error *error) {
    packed p;
    sn_program *program;
    sn_status status = pack(t, b, &p, error);
    float **results = status ? NULL : sn_arena_alloc(p.arena, t->count + OWN, sizeof *results);
    if (!status && !results) status = sn_fail_memory(error);
    float *const own[OWN] = {&losses->captioning, &losses->query, &losses->contrastive, p.similarity, p.turned, p.own, p.gradient};
    for (int i = 0; i < OWN && !status; i++) results[i] = own[i];
    for (size_t i = 0; i < t->count; i++) t->trainables[i].reached = true;
    if (!status) status = program_of(t, &p.context, p.names, &program, error);
    if (!status) status = sn_trainer_run(t, program, p.inputs, results, OWN, add, exchange, &p, error);
    if (!status && p.status) status = sn_fail(error, p.status, "%s", p.error.message);
    if (!status) {
        int64_t before = b->others ? b->others->before : 0;
        losses->total = b->caption_scale * losses->captioning + b->query_scale * (losses->query + losses->contrastive);
        losses->picture_found = found(p.turned, b->pictures, p.context.pairs, before), losses->caption_found = found(p.similarity, b->pictures, p.context.pairs, before);
    }
    sn_arena_free(p.arena);
    return status;
}

sn_status sn_multitask_find_bad(sn_trainer *t, const sn_multitask *b, sn_error *error) {
    packed p;
    sn_program *program;
    sn_status status = pack(t, b, &p, error);
    if (!status) status = program_of(t, &p.context, p.names, &program, error);
    if (!status) status = sn_engine_check(t->model->engine, program, p.inputs, NULL, error);
    sn_arena_free(p.arena);
    return status;
}

sn_status sn_multitask_memory(sn_trainer *t, const sn_multitask *b, size_t *bytes, sn_error *error) {
    context c = {.trainer = t, .batch = b, .pairs = b->others ? b->others->pairs : b->pictures, .media = b->pictures * t->model->media_positions, .tokens = b->rows * b->row_length, .words = b->pictures * b->length};
    sn_program *program;
    const char **names;
    sn_arena *arena = sn_arena_new();
    sn_status status = arena ? name_results(t, arena, &names, error) : sn_fail_memory(error);
    if (!status) status = program_of(t, &c, names, &program, error);
    if (!status) *bytes = sn_program_memory(program);
    sn_arena_free(arena);
    return status;
}

/* ---- captions ---- */

/* Labels that some position predicts: all but the first of a row. */
static int64_t count_learnt(const int32_t *labels, int64_t rows, int64_t length) {
    int64_t learnt = 0;
    for (int64_t i = 0; i < rows * length; i++) learnt += i % length > 0 && labels[i] >= 0;
    return learnt;
}

sn_status sn_multitask_lay_out(const sn_model *m, const sn_sample *samples, int64_t n, int64_t length, const bool *behind, sn_arena *arena, sn_multitask *out, sn_error *error) {
    int64_t num = behind && n > 1 ? 2 : 1, all = n * length;
    int32_t *captions = sn_arena_alloc(arena, (size_t)all, 4), *alone = sn_arena_alloc(arena, (size_t)all, 4), *query_at = sn_arena_alloc(arena, (size_t)n, 4);
    int64_t *used = sn_arena_alloc(arena, (size_t)n, sizeof *used);
    out->rows = n;
    for (int64_t i = 1; i < n && behind; i++) out->rows -= behind[i];
    out->row_length = num * (length + m->media_positions), out->pictures = n, out->length = length;
    size_t places = (size_t)(out->rows * out->row_length);
    int32_t *ids = sn_arena_alloc(arena, places, 4), *labels = sn_arena_alloc(arena, places, 4), pad = sn_tokenizer_find(m->tokenizer, "<pad>");
    if (!captions || !alone || !query_at || !used || !ids || !labels) return sn_fail_memory(error);
    for (int64_t i = 0; i < n; i++) {
        int32_t *row = captions + i * length;
        used[i] = sn_fromage_pad(m, &samples[i].ids, length, row), query_at[i] = (int32_t)used[i] - 1;
        for (int64_t k = 0; k < length; k++) alone[i * length + k] = k < used[i] ? row[k] : -100;
    }
    for (size_t i = 0; i < places; i++) ids[i] = pad, labels[i] = -100; /* behind a caption that stands alone */
    for (int64_t r = 0, first = 0, here; r < out->rows; r++, first += here) {
        here = behind && first + 1 < n && behind[first + 1] ? 2 : 1;
        const int32_t *of[] = {captions + first * length, captions + (first + here - 1) * length};
        sn_fromage_row(m, of, used + first, (int)here, length, first, ids + r * out->row_length, labels + r * out->row_length);
    }
    out->ids = ids, out->labels = labels, out->captions = captions, out->caption_labels = alone, out->query_at = query_at;
    out->learnt = count_learnt(labels, out->rows, out->row_length), out->learnt_alone = count_learnt(alone, n, length);
    return SN_OK;
}

/* ---- after the step ---- */

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
