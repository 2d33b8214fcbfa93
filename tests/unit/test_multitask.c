/* FROMAGe's stage: what learns, what the losses are made of, what a step leaves behind, and what is refused. The numbers
 * themselves are held against the authors' code by the case fromage/train. */
#include "generate/answer.h"
#include "runtime/trace.h"
#include "systems/fromage.h"
#include "tests/unit/folders.h"
#include "train/exchange.h"
#include "train/multitask.h"
#include "train/run.h"
#include "train/schedule.h"

#include <math.h>

enum { CAPTIONS = 4, LENGTH = 16, WORDS = 64 };
static const char *const captions[CAPTIONS] = {"a cat sits on the mat", "two dogs run in a green park near the old river and over the bridge again", "the red car", "people on a beach at sunset"};

/* ---- one batch, without a run ---- */

typedef struct bench {
    sn_engine *engine;
    sn_model *model;
    sn_trainer trainer;
    sn_sample samples[CAPTIONS];
    float *pixels;
    sn_multitask batch;
} bench;

static void open_bench(place *f, bench *b) {
    const char *paths[CAPTIONS];
    *b = (bench){0};
    assert_ok(sn_engine_new(1, &b->engine, &f->error), f->error);
    sn_model_files files = {.main = golden(f, "fromage/train/model"), .llm = golden(f, "fromage/train/model/opt"), .vision = golden(f, "fromage/train/model/clip")};
    assert_ok(sn_model_open(b->engine, &files, &b->model, &f->error), f->error);
    for (int i = 0; i < CAPTIONS; i++) {
        assert_ok(sn_fromage_words(b->model, captions[i], &b->samples[i].ids, &f->error), f->error);
        paths[i] = golden(f, sn_arena_format(f->arena, "fromage/train/inputs/%d.png", i));
    }
    assert_ok(sn_load_pictures(b->model, paths, CAPTIONS, NULL, &b->pixels, &f->error), f->error);
    assert_ok(sn_trainer_open(b->model, &(sn_learning){.stage = "multitask"}, &b->trainer, &f->error), f->error);
    b->batch = (sn_multitask){.pixels = b->pixels, .caption_scale = 1, .query_scale = 1, .contrast_share = 1};
}

static void lay_out(place *f, bench *b, int count, bool joined) {
    static const bool behind[CAPTIONS] = {false, true, false, true};
    assert_ok(sn_multitask_lay_out(b->model, b->samples, count, LENGTH, joined ? behind : NULL, f->arena, &b->batch, &f->error), f->error);
}

static void close_bench(bench *b) {
    sn_trainer_close(&b->trainer);
    for (int i = 0; i < CAPTIONS; i++) sn_ids_free(&b->samples[i].ids);
    sn_free(b->pixels);
    sn_model_close(b->model);
    sn_engine_free(b->engine);
}

/* Two captions behind each other: pictures and words of the first, of the second, then what neither learns. */
static void test_captions_are_joined(void **state) {
    place *f = *state;
    bench b;
    open_bench(f, &b);
    lay_out(f, &b, 3, true);
    int64_t k = b.model->media_positions;
    int32_t pad = sn_tokenizer_find(b.model->tokenizer, "<pad>"), ret = b.model->query_id;
    assert_int_equal(b.batch.rows, 2);
    assert_int_equal(b.batch.row_length, 2 * (LENGTH + k));
    int32_t ids[2 * WORDS], labels[2 * WORDS];
    for (int row = 0; row < 2; row++) {
        int at = 0, of = row ? 1 : 2; /* the third caption stands alone */
        for (int c = 0; c < of; c++) {
            const sn_ids *words = &b.samples[2 * row + c].ids;
            for (int64_t i = 0; i < k; i++, at++) ids[at] = (int32_t)(-1 - ((2 * row + c) * k + i)), labels[at] = -100;
            for (size_t i = 0; i < words->count && i < LENGTH - 1 && words->data[i] != ret; i++, at++) ids[at] = labels[at] = words->data[i];
        }
        for (int c = 0; c < of; c++) {
            size_t words = b.samples[2 * row + c].ids.count;
            ids[at] = ret, labels[at++] = -100;
            for (size_t i = words; i < LENGTH; i++, at++) ids[at] = pad, labels[at] = -100;
        }
        for (; at < b.batch.row_length; at++) ids[at] = pad, labels[at] = -100;
        assert_memory_equal(b.batch.ids + row * b.batch.row_length, ids, (size_t)at * sizeof *ids);
        assert_memory_equal(b.batch.labels + row * b.batch.row_length, labels, (size_t)at * sizeof *labels);
    }
    close_bench(&b);
}

/* The query is asked at [RET]; a caption that is too long ends in it all the same. Alone, [RET] is learnt and pads are not. */
static void test_captions_alone(void **state) {
    place *f = *state;
    bench b;
    open_bench(f, &b);
    lay_out(f, &b, CAPTIONS, false);
    for (int i = 0; i < CAPTIONS; i++) {
        const int32_t *row = b.batch.captions + i * LENGTH, *labels = b.batch.caption_labels + i * LENGTH;
        int last = b.batch.query_at[i];
        assert_int_equal(last, b.samples[i].ids.count < LENGTH ? b.samples[i].ids.count - 1 : LENGTH - 1);
        assert_int_equal(row[last], b.model->query_id);
        assert_int_equal(labels[last], b.model->query_id);
        for (int j = last + 1; j < LENGTH; j++) assert_int_equal(labels[j], -100);
    }
    assert_true(b.samples[1].ids.count > LENGTH);
    close_bench(&b);
}

static bool only_similarity(const char *name) { return strcmp(name, "similarity") == 0; }

/* Mean over the rows (or, turned, the columns) of -log softmax at the diagonal; *found: how often the diagonal is largest. */
static double cross_entropy(const float *similarity, int n, bool turned, double *found) {
    double sum = 0;
    *found = 0;
    for (int i = 0; i < n; i++) {
        double all = 0, own = (double)similarity[i * n + i];
        bool best = true;
        for (int j = 0; j < n; j++) {
            double x = (double)similarity[turned ? j * n + i : i * n + j];
            all += exp(x - own), best &= j == i || x < own;
        }
        sum += log(all) / n, *found += best / (double)n;
    }
    return sum;
}

/* The contrast is the mean of both directions, over the whole batch. */
static void test_contrast_both_ways(void **state) {
    place *f = *state;
    bench b;
    sn_trace trace = {.wanted = only_similarity};
    sn_multitask_losses losses;
    double pictures, texts;
    open_bench(f, &b);
    lay_out(f, &b, CAPTIONS, false);
    sn_engine_set_trace(b.engine, &trace);
    assert_ok(sn_multitask_gradients(&b.trainer, &b.batch, false, &losses, &f->error), f->error);
    const sn_traced *similarity = sn_trace_find(&trace, "similarity");
    assert_non_null(similarity);
    double one = cross_entropy(similarity->data, CAPTIONS, false, &texts), other = cross_entropy(similarity->data, CAPTIONS, true, &pictures);
    assert_true(fabs(one - other) > 1e-3); /* or the test could not tell one direction from both */
    assert_float_equal(losses.contrastive, (one + other) / 2, 1e-4);
    assert_float_equal(losses.caption_found, texts, 1e-6);
    assert_float_equal(losses.picture_found, pictures, 1e-6);
    assert_float_equal(losses.total, losses.captioning + losses.query + losses.contrastive, 1e-4);
    sn_engine_set_trace(b.engine, NULL);
    sn_trace_free(&trace);
    close_bench(&b);
}

static double length_of(const float *row, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)row[i] * (double)row[i];
    return sqrt(sum);
}

static double total_at(place *f, bench *b, sn_trainable *p, const float *from, const float *along, double step) {
    sn_multitask_losses losses;
    for (int64_t i = 0; i < p->count; i++) p->value[i] = (float)((double)from[i] + step * (double)along[i]);
    assert_ok(sn_multitask_gradients(&b->trainer, &b->batch, false, &losses, &f->error), f->error);
    return (double)losses.total;
}

/* Along the gradient of each parameter the sum of all losses rises as steeply as the gradient is long. [RET]'s row is read as an
 * input and, the head being tied, as an output. */
static void test_gradients_are_slopes(void **state) {
    place *f = *state;
    bench b;
    sn_multitask_losses losses;
    open_bench(f, &b);
    lay_out(f, &b, CAPTIONS, true);
    for (size_t i = 0; i < b.trainer.count; i++) {
        sn_trainable *p = &b.trainer.trainables[i];
        assert_ok(sn_multitask_gradients(&b.trainer, &b.batch, false, &losses, &f->error), f->error);
        float *value = sn_arena_alloc(f->arena, (size_t)p->count, sizeof *value), *along = sn_arena_alloc(f->arena, (size_t)p->count, sizeof *along);
        double length = length_of(p->gradient, p->count), step = 1e-2;
        assert_true(length > 1e-4);
        for (int64_t j = 0; j < p->count; j++) value[j] = p->value[j], along[j] = (float)((double)p->gradient[j] / length);
        double slope = (total_at(f, &b, p, value, along, step) - total_at(f, &b, p, value, along, -step)) / (2 * step);
        if (fabs(slope - length) > 0.01 * length + 5e-4) fail_msg("%s: the slope is %g, the gradient %g long", p->entry->name, slope, length);
        for (int64_t j = 0; j < p->count; j++) p->value[j] = value[j];
    }
    close_bench(&b);
}

/* ---- a batch in two processes, whose passes run here one after the other ---- */

enum { PROCESSES = 2, SIZE = 24, WIDTH = 2 * SIZE };
static const int64_t border[PROCESSES + 1] = {0, 3, CAPTIONS};

/* What was sent last: the rows of all pairs, and of each process the gradient by them. */
typedef struct wire {
    int process; /* whose pass runs */
    float rows[CAPTIONS * WIDTH], gradients[PROCESSES][CAPTIONS * WIDTH];
} wire;

static sn_status wire_gather(void *context, const float *rows, int64_t columns, float *all, sn_error *error) {
    wire *w = context;
    (void)error;
    assert_int_equal(columns, WIDTH);
    memcpy(w->rows + border[w->process] * WIDTH, rows, (size_t)((border[w->process + 1] - border[w->process]) * WIDTH) * sizeof *rows);
    memcpy(all, w->rows, sizeof w->rows);
    return SN_OK;
}

static sn_status wire_gather_back(void *context, const float *gradient, int64_t columns, float *rows, sn_error *error) {
    wire *w = context;
    (void)error;
    memcpy(w->gradients[w->process], gradient, sizeof *w->gradients);
    for (int64_t i = border[w->process] * columns; i < border[w->process + 1] * columns; i++) *rows++ = w->gradients[0][i] + w->gradients[1][i];
    return SN_OK;
}

/* The pass of one process; b->batch is the whole one. */
static sn_multitask_losses pass_of(place *f, bench *b, wire *w, int process, bool add, float share) {
    int64_t first = border[process], n = border[process + 1] - first;
    const sn_multitask_others others = {.pairs = CAPTIONS, .before = first, .context = w, .gather = wire_gather, .gather_back = wire_gather_back};
    sn_multitask part = {.pixels = b->pixels + first * 3 * b->model->image_size * b->model->image_size, .caption_scale = 1, .query_scale = 1, .contrast_share = share, .others = &others};
    sn_multitask_losses losses;
    assert_ok(sn_multitask_lay_out(b->model, b->samples + first, n, LENGTH, NULL, f->arena, &part, &f->error), f->error);
    part.learnt = b->batch.learnt, part.learnt_alone = b->batch.learnt_alone;
    w->process = process;
    assert_ok(sn_multitask_gradients(&b->trainer, &part, add, &losses, &f->error), f->error);
    return losses;
}

/* The first round learns everybody's rows, the second everybody's gradients by them, the third is what two processes do at once. */
static void both_passes(place *f, bench *b, wire *w, float share, sn_multitask_losses losses[PROCESSES]) {
    memset(w, 0, sizeof *w);
    for (int round = 0; round < 3; round++)
        for (int p = 0; p < PROCESSES; p++) losses[p] = pass_of(f, b, w, p, p > 0, share);
}

/* Three pairs here and one there are the batch of four: losses, what was found, and gradients. */
static void test_a_batch_in_two_processes(void **state) {
    place *f = *state;
    bench b;
    wire w;
    sn_multitask_losses whole, part[PROCESSES];
    open_bench(f, &b);
    lay_out(f, &b, CAPTIONS, false);
    assert_int_equal(b.model->lm.query_size, SIZE);
    assert_ok(sn_multitask_gradients(&b.trainer, &b.batch, false, &whole, &f->error), f->error);
    float **expected = sn_arena_alloc(f->arena, b.trainer.count, sizeof *expected);
    for (size_t i = 0; i < b.trainer.count; i++) {
        const sn_trainable *p = &b.trainer.trainables[i];
        expected[i] = sn_arena_alloc(f->arena, (size_t)p->count, sizeof **expected);
        memcpy(expected[i], p->gradient, (size_t)p->count * sizeof **expected);
    }
    both_passes(f, &b, &w, 1, part);
    assert_float_equal(part[0].captioning + part[1].captioning, whole.captioning, 1e-5);
    assert_float_equal(part[0].query + part[1].query, whole.query, 1e-5);
    assert_float_equal(part[0].contrastive + part[1].contrastive, whole.contrastive, 1e-5);
    assert_float_equal(part[0].total + part[1].total, whole.total, 1e-5);
    assert_float_equal(part[0].picture_found + part[1].picture_found, whole.picture_found, 1e-6);
    assert_float_equal(part[0].caption_found + part[1].caption_found, whole.caption_found, 1e-6);
    for (size_t i = 0; i < b.trainer.count; i++) {
        const sn_trainable *p = &b.trainer.trainables[i];
        float largest = 0, apart = 0;
        for (int64_t j = 0; j < p->count; j++) largest = fmaxf(largest, fabsf(expected[i][j])), apart = fmaxf(apart, fabsf(expected[i][j] - p->gradient[j]));
        assert_true(largest > 0);
        if (apart > 2e-5f * largest) fail_msg("%s: gradients are %g apart, the largest is %g", p->entry->name, (double)apart, (double)largest);
    }
    close_bench(&b);
}

/* The contrast of all pairs, of their rows alone: [key times exp(s) | query]. */
static double contrast_of(const float *rows) {
    float similarity[CAPTIONS * CAPTIONS];
    double found;
    for (int i = 0; i < CAPTIONS; i++)
        for (int j = 0; j < CAPTIONS; j++) {
            double sum = 0;
            for (int k = 0; k < SIZE; k++) sum += (double)rows[i * WIDTH + k] * (double)rows[j * WIDTH + SIZE + k];
            similarity[i * CAPTIONS + j] = (float)sum;
        }
    return (cross_entropy(similarity, CAPTIONS, false, &found) + cross_entropy(similarity, CAPTIONS, true, &found)) / 2;
}

/* The contrast where a parameter is moved for the rows of one process and nobody else's. */
static double contrast_at(place *f, bench *b, wire *w, int process, sn_trainable *p, const float *from, const float *along, double step) {
    wire moved = *w;
    for (int64_t i = 0; i < p->count; i++) p->value[i] = (float)((double)from[i] + step * (double)along[i]);
    pass_of(f, b, &moved, process, false, 1);
    memcpy(p->value, from, (size_t)p->count * sizeof *from);
    return contrast_of(moved.rows);
}

/* `gather: own` is the authors' rule, found here by slopes: each process has the contrast of all pairs, in which the others' rows
 * are constant, and the gradients of the processes are averaged (DistributedDataParallel). For what the contrast alone teaches
 * that is half of the gradient of one process with all pairs. */
static void test_own_rows_alone(void **state) {
    place *f = *state;
    bench b;
    wire w;
    sn_multitask_losses losses, part[PROCESSES];
    int seen = 0;
    open_bench(f, &b);
    lay_out(f, &b, CAPTIONS, false);
    for (size_t i = 0; i < b.trainer.count; i++) {
        sn_trainable *p = &b.trainer.trainables[i];
        if (strncmp(p->entry->name, "retrieval.", 10) != 0 || strcmp(p->entry->name, "retrieval.row") == 0) continue;
        float *value = sn_arena_alloc(f->arena, (size_t)p->count, sizeof *value), *along = sn_arena_alloc(f->arena, (size_t)p->count, sizeof *along);
        memcpy(value, p->value, (size_t)p->count * sizeof *value);
        assert_ok(sn_multitask_gradients(&b.trainer, &b.batch, false, &losses, &f->error), f->error);
        double whole = length_of(p->gradient, p->count), own = 0, slope = 0, step = 1e-2;
        for (int64_t j = 0; j < p->count; j++) along[j] = (float)((double)p->gradient[j] / whole);
        both_passes(f, &b, &w, 0.5f, part);
        for (int64_t j = 0; j < p->count; j++) own += (double)p->gradient[j] * (double)along[j];
        for (int k = 0; k < PROCESSES; k++) slope += (contrast_at(f, &b, &w, k, p, value, along, step) - contrast_at(f, &b, &w, k, p, value, along, -step)) / (2 * step) / PROCESSES;
        if (fabs(slope - own) > 0.01 * own + 5e-4) fail_msg("%s: the mean slope is %g, the gradient %g", p->entry->name, slope, own);
        assert_float_equal(own, whole / 2, 1e-5 * whole);
        seen++;
    }
    assert_true(seen >= 5); /* both layers, and the temperature */
    close_bench(&b);
}

/* ---- runs ---- */

typedef struct watcher {
    const sn_training *training;
    int64_t steps;
    double lr[8], captioning[8];
    double farthest; /* of [RET]'s length from the mean of the table's other rows, as a share of it */
} watcher;

static void on_step(void *context, const sn_step_report *r) {
    watcher *w = context;
    const sn_model *m = w->training->model;
    const sn_store_entry *table = sn_store_find(m->store, "decoder.embed.weight"), *row = sn_store_find(m->store, "retrieval.row");
    float values[256];
    double mean = 0;
    for (int64_t i = 0; i < table->weight.rows; i++) {
        sn_weight_row_floats(&table->weight, i, values);
        if (i != m->query_id) mean += length_of(values, table->weight.columns) / (double)(table->weight.rows - 1);
    }
    sn_weight_row_floats(&row->weight, 0, values);
    w->farthest = fmax(w->farthest, fabs(length_of(values, row->weight.columns) / mean - 1));
    w->lr[w->steps % 8] = r->lr, w->captioning[w->steps % 8] = r->loss.part[0].value;
    assert_string_equal(r->loss.part[0].name, "captioning");
    w->steps++;
}

/* The hash of everything that stays as it is. */
static uint64_t frozen(const sn_training *t) {
    uint64_t hash = 0;
    float values[4096];
    for (size_t i = 0; i < t->model->store->count; i++) {
        sn_store_entry *e = t->model->store->entries[i];
        if (strncmp(e->name, "decoder.", 8) != 0 && strncmp(e->name, "vision.", 7) != 0) continue;
        for (int64_t r = 0; r < e->weight.rows && e->weight.columns <= 4096; r++) {
            sn_weight_row_floats(&e->weight, r, values);
            hash = sn_hash(values, (size_t)e->weight.columns * sizeof *values, hash);
        }
    }
    return hash;
}

static sn_status run(place *f, const char *model, const char *stage, const char *save, const char *more, watcher *w) {
    write_text(f, f->path, "captions.jsonl", sn_arena_format(f->arena, "{\"image\": \"0.png\", \"caption\": \"%s\"}\n{\"image\": \"1.png\", \"caption\": \"%s\"}\n{\"image\": \"2.png\", \"caption\": \"%s\"}\n"
                                                             "{\"image\": \"3.png\", \"caption\": \"%s\"}\n", captions[0], captions[1], captions[2], captions[3]));
    write_text(f, f->path, "recipe.yaml", sn_arena_format(f->arena, "model:\n%sstage: %s\ndata:\n  - path: %s/captions.jsonl\n    images: %s\noptimizer:\n  lr: 1.0e-3\nsteps: 6\nseed: 5\nsave:\n  folder: %s/%s\n%s", model,
                                                           stage, f->path, golden(f, "fromage/train/inputs"), f->path, save, more));
    sn_recipe *recipe;
    sn_training training;
    sn_export result = {0};
    sn_status status = sn_recipe_read(in(f, f->path, "recipe.yaml"), NULL, 0, &recipe, &f->error);
    if (status) return status;
    *w = (watcher){.training = &training};
    status = sn_training_open(recipe, 1, false, &(sn_run_hooks){.context = w, .on_step = on_step}, &training, &f->error);
    if (!status) {
        uint64_t before = frozen(&training);
        status = sn_training_run(&training, &result, &f->error);
        assert_true(before == frozen(&training));
        sn_training_close(&training);
    }
    sn_free(result.path);
    sn_recipe_free(recipe);
    return status;
}

static const char *published(place *f) {
    return sn_arena_format(f->arena, "  path: %s\n  llm: %s\n  vision: %s\n", golden(f, "fromage/train/model"), golden(f, "fromage/train/model/opt"), golden(f, "fromage/train/model/clip"));
}

/* Whatever its gradient did, [RET]'s row is as long as the other rows are on the average after every step; OPT and CLIP stay
 * (run checks it); the rate warms up and then falls in steps. */
static void test_a_run(void **state) {
    place *f = *state;
    watcher w;
    assert_ok(run(f, published(f), "multitask", "run", "batch:\n  size: 4\nmax_length: 16\nschedule:\n  name: step\n  warmup_steps: 2\n  every: 2\n  factor: 0.1\n", &w), f->error);
    assert_int_equal(w.steps, 6);
    assert_true(w.farthest < 1e-5);
    static const double rates[] = {0, 0.5e-3, 1e-3, 1e-3, 1e-4, 1e-4};
    for (int i = 0; i < 6; i++) assert_float_equal(w.lr[i], rates[i], 1e-9);
}

/* torch.optim.lr_scheduler.StepLR behind a linear warm-up, with the paper's figures. */
static void test_rate_falls_in_steps(void **state) {
    (void)state;
    const sn_schedule s = {.name = SN_SCHEDULE_STEP, .warmup_steps = 100, .every = 20000, .factor = 0.1};
    static const struct {
        int64_t step;
        double factor;
    } at[] = {{0, 0}, {50, 0.5}, {99, 0.99}, {100, 1}, {20099, 1}, {20100, 0.1}, {40099, 0.1}, {40100, 0.01}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_float_equal(sn_schedule_factor(&s, at[i].step, 50000), at[i].factor, 1e-12);
}

/* Joined or not is the recipe's word; with the same seed a run always draws the same. */
static void test_how_often_captions_are_joined(void **state) {
    place *f = *state;
    watcher never, always, often, again;
    assert_ok(run(f, published(f), "multitask", "never", "batch:\n  size: 4\nloss:\n  joined: 0\n", &never), f->error);
    assert_ok(run(f, published(f), "multitask", "always", "batch:\n  size: 4\nloss:\n  joined: 1\n", &always), f->error);
    assert_ok(run(f, published(f), "multitask", "often", "batch:\n  size: 4\n", &often), f->error);
    assert_ok(run(f, published(f), "multitask", "again", "batch:\n  size: 4\n", &again), f->error);
    assert_true(fabs(never.captioning[0] - always.captioning[0]) > 1e-3);
    assert_true(often.captioning[0] == never.captioning[0] || often.captioning[0] == always.captioning[0]);
    for (int i = 0; i < 6; i++) assert_true(often.captioning[i] == again.captioning[i]);
}

/* A contrast over part of a step would be another loss: only where the recipe says so. */
static void test_steps_in_several_passes(void **state) {
    place *f = *state;
    watcher whole, parts;
    assert_int_equal(run(f, published(f), "multitask", "cut", "batch:\n  size: 4\n  micro: 2\n", &parts), SN_ERROR_USAGE);
    assert_non_null(strstr(f->error.message, "loss: {contrast: micro}"));
    assert_ok(run(f, published(f), "multitask", "whole", "batch:\n  size: 4\nloss:\n  joined: 0\n", &whole), f->error);
    assert_ok(run(f, published(f), "multitask", "parts", "batch:\n  size: 4\n  micro: 2\nloss:\n  joined: 0\n  contrast: micro\n", &parts), f->error);
    assert_int_equal(parts.steps, 6);
    assert_true(parts.captioning[0] != whole.captioning[0]); /* means over two passes of different lengths */
    assert_float_equal(parts.captioning[0], whole.captioning[0], 0.5);
}

/* The authors' two files, under their names; what opens as a model holds what was learnt. */
static void test_result_is_published(void **state) {
    place *f = *state;
    watcher w;
    assert_ok(run(f, published(f), "multitask", "made", "batch:\n  size: 4\n", &w), f->error);
    const char *made = in(f, f->path, "made");
    static const char *const names[] = {"model.logit_scale", "model.text_hidden_fcs.0.0.bias", "model.text_hidden_fcs.0.0.weight", "model.visual_embeddings.bias", "model.visual_embeddings.weight", "model.visual_fc.bias",
                                        "model.visual_fc.weight", "ret_input_embeddings.weight"};
    sn_source *before, *after;
    assert_ok(sn_source_open(golden(f, "fromage/train/model/pretrained_ckpt.pth.tar"), &before, &f->error), f->error);
    assert_ok(sn_source_open(in(f, made, "pretrained_ckpt.pth.tar"), &after, &f->error), f->error);
    const sn_source_tensor *table = sn_source_find(after, "model.input_embeddings.weight"); /* the pruned checkpoint kept it, so it stays */
    assert_int_equal(after->count, sizeof names / sizeof *names + (table != NULL));
    assert_int_equal(before->count, after->count);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const sn_source_tensor *a = sn_source_find(before, names[i]), *b = sn_source_find(after, names[i]);
        assert_true(a && b && a->type == b->type && sn_shape_equal(&a->shape, &b->shape));
        char *x = sn_arena_alloc(f->arena, (size_t)a->bytes, 1), *y = sn_arena_alloc(f->arena, (size_t)b->bytes, 1);
        assert_ok(sn_source_copy(a, x, &f->error), f->error);
        assert_ok(sn_source_copy(b, y, &f->error), f->error);
        if (memcmp(x, y, (size_t)a->bytes) == 0) fail_msg("%s did not learn", names[i]);
    }
    sn_source_close(before);
    sn_source_close(after);
    json_t *args;
    assert_ok(sn_json_file(in(f, made, "model_args.json"), 1 << 20, &args, &f->error), f->error);
    assert_int_equal(json_integer_value(json_object_get(args, "retrieval_token_idx")), 601);
    assert_int_equal(json_integer_value(json_object_get(args, "n_visual_tokens")), 2);
    json_decref(args);
    sn_engine *engine;
    sn_model *model;
    assert_ok(sn_engine_new(1, &engine, &f->error), f->error);
    sn_model_files files = {.main = made, .llm = golden(f, "fromage/train/model/opt"), .vision = golden(f, "fromage/train/model/clip")};
    assert_ok(sn_model_open(engine, &files, &model, &f->error), f->error);
    assert_string_equal(model->layout, "authors'");
    assert_int_equal(model->num_warnings, 0);
    sn_model_close(model);
    sn_engine_free(engine);
}

/* Fresh layers between an OPT and the tower of a LLaVA, which gets a folder of its own; the arguments name both. */
static void test_fresh_between_two_models(void **state) {
    place *f = *state;
    watcher w;
    const char *llava = golden(f, "llava/hf15-newest-names-generate/model"), *opt = golden(f, "fromage/train/model/opt");
    assert_ok(run(f, sn_arena_format(f->arena, "  llm: %s\n  vision: %s\n  fresh:\n    retrieval: {size: 8, visual_tokens: 3}\n", opt, llava), "multitask", "fresh", "batch:\n  size: 4\n", &w), f->error);
    assert_true(w.farthest < 1e-5);
    sn_engine *engine;
    sn_model *model, *whole;
    float key[8], rows[3 * 256];
    assert_ok(sn_engine_new(1, &engine, &f->error), f->error);
    assert_ok(sn_model_open(engine, &(sn_model_files){.main = in(f, f->path, "fresh")}, &model, &f->error), f->error); /* the parts are found by what the arguments say */
    assert_ok(sn_model_open(engine, &(sn_model_files){.main = llava}, &whole, &f->error), f->error);
    assert_int_equal(model->media_positions, 3);
    assert_int_equal(model->lm.query_size, 8);
    const char *first = "vision.layers.0.attention.q.weight";
    sn_store_entry *a = sn_store_find(model->store, first), *b = sn_store_find(whole->store, first);
    assert_true(a && b && a->weight.columns == b->weight.columns && a->weight.columns <= 256);
    for (int64_t r = 0; r < a->weight.rows; r++) {
        float x[256], y[256];
        sn_weight_row_floats(&a->weight, r, x);
        sn_weight_row_floats(&b->weight, r, y);
        assert_memory_equal(x, y, (size_t)a->weight.columns * sizeof *x);
    }
    float *pixels;
    const char *picture = golden(f, "fromage/train/inputs/0.png");
    assert_ok(sn_load_pictures(model, &picture, 1, NULL, &pixels, &f->error), f->error);
    assert_ok(sn_model_keys(model, pixels, 1, key, &f->error), f->error);
    assert_ok(sn_model_encode(model, pixels, 1, NULL, rows, &f->error), f->error);
    sn_free(pixels);
    sn_model_close(model);
    sn_model_close(whole);
    sn_engine_free(engine);
}

/* Every place of a step is one process's, in order; neighbours stay together; nobody has more than the first. */
static void test_shares(void **state) {
    (void)state;
    for (unsigned size = 1; size < 20; size++)
        for (unsigned neighbours = 1; neighbours < 3; neighbours++)
            for (int count = 1; count < 8; count++) {
                unsigned end = 0, most = 0;
                for (int rank = 0; rank < count; rank++) {
                    unsigned from, to;
                    sn_exchange_share(size, neighbours, rank, count, &from, &to);
                    if (rank == 0) most = to;
                    assert_true(from == end && to >= from && to - from <= most && (from % neighbours == 0 || from == size));
                    end = to;
                }
                assert_int_equal(end, size);
                assert_true(most <= (size + (unsigned)count - 1) / (unsigned)count + neighbours - 1);
            }
}

static void test_what_is_refused(void **state) {
    place *f = *state;
    watcher w;
    const char *opt = golden(f, "fromage/train/model/opt"), *clip = golden(f, "fromage/train/model/clip"), *own = published(f), *llava = golden(f, "llava/train-stage2/model/llava");
    const char *between = sn_arena_format(f->arena, "  llm: %s\n  vision: %s\n", opt, clip);
    const struct {
        const char *model, *stage, *more, *says;
    } cases[] = {
        {own, "multitask", "loss:\n  joined: 2\n", "loss.joined: found 2, expected 0 to 1"},
        {own, "multitask", "loss:\n  caption: 1\n", "caption"},
        {own, "multitask", "loss:\n  contrast: all\n", "contrast"},
        {own, "multitask", "loss:\n  count: micro\n", "loss.count"},
        {own, "multitask", "schedule:\n  name: step\n", "schedule.every"},
        {own, "multitask", "max_length: 2\n", "max_length: found 2, expected 3 to 62"},
        {own, "multitask", "max_length: 63\n", "window of 128"},
        {own, "multitask", "train:\n  - pattern: decoder.*\n", "language model stays as it is"},
        {own, "multitask", "lora:\n  r: 2\n  targets: [q_proj]\n", "q_proj"},
        {own, "stage1", "", "stage: found stage1, which FROMAGe does not have"},
        {sn_arena_format(f->arena, "  llm: %s\n  vision: %s\n", llava, golden(f, "llava/train-stage2/model/clip")), "stage1", "template: plain\nloss:\n  joined: 0.5\n", "belong to the stage multitask, not to stage1"},
        {sn_arena_format(f->arena, "  llm: %s\n  vision: %s\n", llava, golden(f, "llava/train-stage2/model/clip")), "stage1", "template: plain\nloss:\n  gather: own\n", "belong to the stage multitask, not to stage1"},
        {sn_arena_format(f->arena, "%s  fresh:\n    retrieval: {size: 8}\n    opt: {hidden_size: 8}\n", between), "multitask", "", "exclude each other"},
        {sn_arena_format(f->arena, "  vision: %s\n  fresh:\n    retrieval: {size: 8}\n", clip), "multitask", "", "model.llm, the folder of an OPT"},
        {sn_arena_format(f->arena, "  llm: %s\n  vision: %s\n  fresh:\n    retrieval: {size: 8}\n", clip, clip), "multitask", "", "expected an OPT, found"},
        {sn_arena_format(f->arena, "  llm: %s\n  vision: %s\n  fresh:\n    retrieval: {size: 8}\n", opt, opt), "multitask", "", "holds no vision tower"},
        {"  fresh:\n    opt: {hidden_size: 8, intermediate_size: 16, layers: 1, heads: 2, context: 32}\n", "texts", "", "model.tokenizer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->error.message[0] = 0;
        sn_status status = run(f, cases[i].model, cases[i].stage, sn_arena_format(f->arena, "refused-%zu", i), sn_arena_format(f->arena, "batch:\n  size: 2\n%s", cases[i].more), &w);
        if (!status || !strstr(f->error.message, cases[i].says)) fail_msg("case %zu: expected %s, the error says: %s", i, cases[i].says, f->error.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_captions_are_joined, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_captions_alone, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_contrast_both_ways, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_gradients_are_slopes, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_in_two_processes, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_own_rows_alone, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_a_run, place_setup, place_teardown),
        cmocka_unit_test(test_rate_falls_in_steps),
        cmocka_unit_test_setup_teardown(test_how_often_captions_are_joined, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_steps_in_several_passes, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_result_is_published, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_fresh_between_two_models, place_setup, place_teardown),
        cmocka_unit_test(test_shares),
        cmocka_unit_test_setup_teardown(test_what_is_refused, place_setup, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
