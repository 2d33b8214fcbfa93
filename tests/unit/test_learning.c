/* What learns and how: optimizers beside PyTorch's, patterns, low-rank updates, blocks that are computed again. */
#include "tests/unit/folders.h"
#include "train/run.h"

#include <math.h>

/* ---- optimizers ---- */

static const float *tensor(const sn_source *source, const char *name) {
    const sn_source_tensor *t = sn_source_find(source, name);
    if (!t) fail_msg("no tensor %s", name);
    return (const float *)(const void *)t->data;
}

/* 100 steps of the same gradients: the numbers of tests/data/train/optimizers.py to rounding. */
static void test_optimizers_are_pytorchs(void **state) {
    place *p = *state;
    const struct {
        const char *name;
        sn_optimizer_options options;
    } runs[] = {{"adamw", {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}},
                {"adamw-clipped", {.lr = 3e-3, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .max_grad_norm = 1}},
                {"adamw-low-beta", {.lr = 1e-2, .beta1 = 0.4, .beta2 = 0.9, .eps = 1e-8}},
                {"sgd", {.kind = SN_OPTIMIZER_SGD, .lr = 1e-2}},
                {"sgd-momentum-clipped", {.kind = SN_OPTIMIZER_SGD, .lr = 1e-2, .momentum = 0.9, .max_grad_norm = 1}},
                {"sgd-nesterov", {.kind = SN_OPTIMIZER_SGD, .lr = 1e-3, .momentum = 0.9, .nesterov = true}}};
    sn_source *source;
    assert_ok(sn_source_open(golden(p, "../data/train/optimizers.safetensors"), &source, &p->error), p->error);
    const float *gradients = tensor(source, "gradients");
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        const sn_optimizer_options *o = &runs[r].options;
        float value[24], m[24] = {0}, v[24] = {0};
        sn_moments matrix = {m, v, 0}, bias = {m + 20, v + 20, 0};
        memcpy(value, tensor(source, "begin"), sizeof value);
        for (int step = 0; step < 100; step++) {
            const float *g = gradients + 24 * step;
            double norm = 0;
            for (int i = 0; i < 24; i++) norm += (double)g[i] * (double)g[i];
            float clip = sn_clip_factor(o, sqrt(norm));
            sn_optimizer_step(o, o->lr, 0.1, clip, value, g, 20, &matrix);
            sn_optimizer_step(o, o->lr, 0, clip, value + 20, g + 20, 4, &bias);
            if (step != 0 && step != 9 && step != 99) continue;
            const float *expected = tensor(source, sn_arena_format(p->arena, "%s.%d", runs[r].name, step + 1));
            for (int i = 0; i < 24; i++)
                if (fabsf(value[i] - expected[i]) > 1e-6f * fmaxf(1, fabsf(expected[i]))) fail_msg("%s, step %d, value %d: found %.9g, expected %.9g", runs[r].name, step + 1, i, value[i], expected[i]);
        }
    }
    sn_source_close(source);
}

/* ---- runs ---- */

/* A recipe over the case llava/train-stage2; `words` come in place of its optimizer and what follows. */
static const char *recipe(place *p, const char *stage, const char *words) {
    write_text(p, p->path, "recipe.yaml",
               sn_arena_format(p->arena, "model:\n  llm: %s\n  vision: %s\nstage: %s\ndata:\n  - path: %s\n    images: %s\nsteps: 3\nbatch:\n  size: 2\nsave:\n  folder: %s/run\n%s", golden(p, "llava/train-stage2/model/llava"),
                               golden(p, "llava/train-stage2/model/clip"), stage, golden(p, "llava/train-stage2/inputs/data.json"), golden(p, "llava/train-stage2"), p->path, words));
    return in(p, p->path, "recipe.yaml");
}

/* Opens a training and gives it to the caller, who closes both. */
static sn_status open_training(place *p, const char *stage, const char *words, sn_recipe **r, sn_training *t) {
    static const sn_run_hooks none = {0};
    sn_status status = sn_recipe_read(recipe(p, stage, words), NULL, 0, r, &p->error);
    if (status) return status;
    status = sn_training_open(*r, 1, true, &none, t, &p->error);
    if (status) sn_recipe_free(*r);
    return status;
}

static bool learns(const sn_training *t, const char *name) {
    for (size_t i = 0; i < t->trainer.count; i++)
        if (strcmp(t->trainer.trainables[i].entry->name, name) == 0) return true;
    return false;
}

static void test_patterns(void **state) {
    place *p = *state;
    sn_recipe *r;
    sn_training t;
    assert_ok(open_training(p, "stage2", "optimizer:\n  lr: 1.0e-3\ntrain:\n  - pattern: decoder.layers.*\n  - pattern: \"*.mm_projector.*\"\n    lr: 2.0e-5\n    weight_decay: 0.0\nfreeze:\n  - \"*norm*\"\n", &r, &t), p->error);
    assert_true(learns(&t, "decoder.layers.0.attention.q.weight"));
    assert_true(learns(&t, "projector.0.weight"));
    assert_false(learns(&t, "decoder.layers.0.attention_norm.weight"));
    assert_false(learns(&t, "decoder.embed.weight"));
    for (size_t i = 0; i < t.trainer.count; i++) {
        const sn_trainable *one = &t.trainer.trainables[i];
        bool connector = strncmp(one->entry->name, "projector.", 10) == 0;
        assert_float_equal(one->group->lr, connector ? 2e-5 : -1, 0);
        assert_float_equal(one->group->weight_decay, connector ? 0 : -1, 0);
    }
    sn_training_close(&t);
    sn_recipe_free(r);
    const struct {
        const char *words, *says;
    } wrong[] = {{"optimizer:\n  lr: 1.0e-3\ntrain:\n  - pattern: decoder.leyers.*\n", "line 16"}, {"optimizer:\n  lr: 1.0e-3\nfreeze:\n  - \"*.q_prj.*\"\n", "line 16"},
                 {"optimizer:\n  lr: 1.0e-3\nlora:\n  r: 4\n  targets: [q_proj, w_proj]\n", "w_proj"}, {"optimizer:\n  lr: 1.0e-3\nfreeze: [\"*\"]\n", "nothing learns"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(open_training(p, "stage2", wrong[i].words, &r, &t), SN_ERROR_USAGE);
        if (!strstr(p->error.message, wrong[i].says)) fail_msg("the error says: %s", p->error.message);
    }
}

/* Blocks that are computed again: the same bits, less memory. */
static void test_recompute(void **state) {
    place *p = *state;
    const char *words[] = {"optimizer:\n  lr: 1.0e-3\n", "optimizer:\n  lr: 1.0e-3\nrecompute: true\n"};
    float *values[2] = {0};
    size_t memory[2];
    for (int k = 0; k < 2; k++) {
        sn_recipe *r;
        sn_training t;
        sn_export out;
        assert_ok(open_training(p, "stage2", words[k], &r, &t), p->error);
        assert_ok(sn_trainer_memory(&t.trainer, 512, 2, 2, &memory[k], &p->error), p->error);
        assert_ok(sn_training_run(&t, &out, &p->error), p->error);
        const sn_trainable *one = &t.trainer.trainables[t.trainer.count - 3];
        values[k] = sn_arena_alloc(p->arena, (size_t)one->count, sizeof(float));
        memcpy(values[k], one->value, (size_t)one->count * sizeof(float));
        if (k) assert_memory_equal(values[0], values[1], (size_t)one->count * sizeof(float));
        sn_free(out.path);
        sn_training_close(&t);
        sn_recipe_free(r);
    }
    if (memory[1] >= memory[0]) fail_msg("%zu bytes with recomputation, %zu without", memory[1], memory[0]);
}

/* Low-rank updates: only they and the projector learn; the adapter on its base and the merged model answer alike. */
static void test_lora(void **state) {
    place *p = *state;
    sn_recipe *r;
    sn_training t;
    sn_export out;
    assert_ok(open_training(p, "stage2", "optimizer:\n  lr: 1.0e-2\nlora:\n  r: 4\n  alpha: 8\n  targets: [q_proj, v_proj, \"decoder.layers.1.mlp.*\"]\n  export: both\n", &r, &t), p->error);
    assert_true(learns(&t, "decoder.layers.0.attention.q.lora_A.weight"));
    assert_true(learns(&t, "decoder.layers.1.mlp.down.lora_B.weight"));
    assert_true(learns(&t, "projector.0.weight"));
    assert_false(learns(&t, "decoder.layers.0.attention.q.weight"));
    assert_false(learns(&t, "decoder.layers.0.attention.k.lora_A.weight"));
    assert_false(learns(&t, "vision.layers.0.attention.q.lora_A.weight"));
    assert_ok(sn_training_run(&t, &out, &p->error), p->error);
    sn_free(out.path);
    sn_training_close(&t);
    sn_recipe_free(r);

    tensors *merged = read_tensors(p, in(p, p->path, "run/model.safetensors")), *base = read_tensors(p, golden(p, "llava/train-stage2/model/llava"));
    assert_int_equal(merged->count, base->count);
    const float *before = find_tensor(base, "model.layers.0.self_attn.q_proj.weight")->data, *after = find_tensor(merged, "model.layers.0.self_attn.q_proj.weight")->data;
    double moved = 0;
    for (int i = 0; i < 40 * 40; i++) moved += fabs((double)after[i] - (double)before[i]);
    assert_true(moved > 0);

    sn_engine *engine;
    sn_model *model;
    assert_ok(sn_engine_new(1, &engine, &p->error), p->error);
    sn_model_files files = {.main = in(p, p->path, "run/adapter"), .base = golden(p, "llava/train-stage2/model/llava"), .vision = golden(p, "llava/train-stage2/model/clip")};
    assert_ok(sn_model_open(engine, &files, &model, &p->error), p->error);
    assert_string_equal(model->layout, "authors' LoRA on a base model");
    for (size_t i = 0; i < model->store->count; i++) { /* what the loader merges is what the run merged */
        sn_store_entry *e = model->store->entries[i];
        if (strncmp(e->name, "vision.", 7) == 0) continue;
        assert_ok(sn_weight_ready(&e->weight, &p->error), p->error);
        const float *expected = find_tensor(merged, e->published[0] == 'b' ? e->published + strlen("base_model.model.") : e->published)->data, *found = sn_weight_floats(&e->weight);
        for (int64_t k = 0; k < sn_shape_count(&e->weight.shape); k++)
            if (fabsf(found[k] - expected[k]) > 1e-6f) fail_msg("%s, value %lld: found %g, expected %g", e->name, (long long)k, found[k], expected[k]);
    }
    sn_model_close(model);
    sn_engine_free(engine);
}

/* Stage 1 with marks around the picture: of the token table exactly their two rows learn, and the projector's file
 * brings them to a language model that has not seen them. */
static void test_marks(void **state) {
    place *p = *state;
    const char *from = golden(p, "llava/train-stage1/model/llava"), *to = folder(p, "marked");
    tensors *all = read_tensors(p, from);
    static const char *const tables[] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (int k = 0; k < 2; k++) {
        sn_tensor_out *table = find_tensor(all, tables[k]), wide = noise(p, tables[k], SN_SHAPE(602, 40), 5);
        memcpy((void *)(uintptr_t)wide.data, table->data, 600 * 40 * sizeof(float));
        *table = wide;
    }
    copy_small_files(p, from, to);
    set_key(p, to, "config.json", "vocab_size", "602");
    set_key(p, to, "config.json", "mm_use_im_start_end", "true");
    write_text(p, to, "added_tokens.json", "{\"<im_start>\": 600, \"<im_end>\": 601}");
    write_tensors(p, to, "model.safetensors", all);
    write_text(p, p->path, "recipe.yaml",
               sn_arena_format(p->arena, "model:\n  llm: %s\n  vision: %s\nstage: stage1\ntemplate: v1\ndata:\n  - path: %s\n    images: %s\noptimizer:\n  lr: 1.0e-2\n  weight_decay: 0.1\nsteps: 2\nsave:\n  folder: %s/run\n", to,
                               golden(p, "llava/train-stage1/model/clip"), golden(p, "llava/train-stage1/inputs/data.json"), golden(p, "llava/train-stage1"), p->path));
    sn_recipe *r;
    sn_training t;
    sn_export out;
    static const sn_run_hooks none = {0};
    assert_ok(sn_recipe_read(in(p, p->path, "recipe.yaml"), NULL, 0, &r, &p->error), p->error);
    assert_ok(sn_training_open(r, 1, true, &none, &t, &p->error), p->error);
    const sn_trainable *rows = &t.trainer.trainables[t.trainer.count - 1]; /* two rows are kept, not the table */
    assert_int_equal(rows->count, 2 * 40);
    const float *begin = find_tensor(all, tables[0])->data;
    assert_memory_equal(rows->value, begin + 600 * 40, 2 * 40 * sizeof(float));
    assert_ok(sn_training_run(&t, &out, &p->error), p->error);
    sn_training_close(&t);
    sn_recipe_free(r);
    assert_non_null(strstr(out.path, "mm_projector.bin"));
    const float *before = find_tensor(all, tables[0])->data, *after = find_tensor(read_tensors(p, out.path), tables[0])->data;
    assert_memory_equal(before, after, 600 * 40 * sizeof(float));
    for (int row = 600; row < 602; row++) assert_memory_not_equal(before + row * 40, after + row * 40, 40 * sizeof(float));

    sn_engine *engine;
    sn_model *model;
    copy_file(p, to, in(p, p->path, "run"), "config.json");
    assert_ok(sn_engine_new(1, &engine, &p->error), p->error);
    sn_model_files files = {.llm = to, .vision = golden(p, "llava/train-stage1/model/clip"), .connector = out.path};
    assert_ok(sn_model_open(engine, &files, &model, &p->error), p->error);
    const float *loaded = sn_weight_floats(&sn_store_find(model->store, "decoder.embed.weight")->weight);
    assert_memory_equal(loaded, after, 602 * 40 * sizeof(float));
    sn_model_close(model);
    sn_engine_free(engine);
    sn_free(out.path);
}

/* A rate that ends in numbers that are not finite stops the run and names a tensor; no checkpoint holds them. */
static void test_not_finite(void **state) {
    place *p = *state;
    sn_recipe *r;
    sn_training t;
    sn_export out;
    assert_ok(open_training(p, "stage2", "optimizer:\n  name: sgd\n  lr: 1.0e-3\n", &r, &t), p->error);
    for (size_t i = 0; i < t.trainer.count; i++)
        if (strcmp(t.trainer.trainables[i].entry->name, "decoder.layers.1.mlp.up.weight") == 0) t.trainer.trainables[i].value[7] = INFINITY;
    assert_int_equal(sn_training_run(&t, &out, &p->error), SN_ERROR_NUMERIC);
    if (!strstr(p->error.message, "step 1") || !strstr(p->error.message, "decoder.layers.1.mlp.up.weight")) fail_msg("the error says: %s", p->error.message);
    t.state.step = 4;
    assert_int_equal(sn_checkpoint_write(in(p, p->path, "run"), &t.trainer, NULL, &t.state, 2, &p->error), SN_ERROR_NUMERIC);
    assert_false(sn_is_directory(in(p, p->path, "run/step-4")));
    sn_training_close(&t);
    sn_recipe_free(r);
}

/* One step of two samples in two passes: 24 and 17 learnt tokens with losses a and b make (24 a + 17 b) / 41, or, by the
 * rule of 2023, (a + b) / 2. */
static double first_loss(place *p, const char *words, unsigned micro) {
    sn_recipe *r;
    sn_training t;
    sn_export out;
    double loss = NAN;
    assert_ok(open_training(p, "stage2", words, &r, &t), p->error);
    t.steps = 1, r->batch.micro = micro;
    assert_ok(sn_training_run(&t, &out, &p->error), p->error);
    char *bytes;
    size_t size;
    assert_ok(sn_read_file(in(p, p->path, "run/metrics.jsonl"), 1 << 20, &bytes, &size, &p->error), p->error);
    json_t *line = json_loads(bytes, 0, NULL);
    sn_json_number("metrics", line, "loss", 0, 100, &loss, NULL);
    json_decref(line);
    sn_free(bytes);
    sn_free(out.path);
    sn_training_close(&t);
    sn_recipe_free(r);
    return loss;
}

static void test_loss_counts(void **state) {
    place *p = *state;
    const char *by_one = "optimizer:\n  lr: 1.0e-3\n", *micro = "optimizer:\n  lr: 1.0e-3\nloss:\n  count: micro\n";
    double whole = first_loss(p, by_one, 2), cut = first_loss(p, by_one, 1), one_pass = first_loss(p, micro, 2), mean = first_loss(p, micro, 1);
    assert_float_equal(whole, 8.268376, 1e-5);
    assert_float_equal(cut, whole, 1e-6 * 8);
    assert_float_equal(one_pass, whole, 1e-6 * 8);
    double a = whole * 41, b = mean * 2; /* 24 x + 17 y and x + y: what the two samples' own losses must make */
    double x = (a - 17 * b) / 7, y = b - x;
    double narrow = first_loss(p, "optimizer:\n  lr: 1.0e-3\ncompute: bf16\n", 2);
    assert_float_equal(narrow, whole, 0.02); /* products in bf16 */
    assert_true(fabs(mean - whole) > 1e-4 && x > 7 && x < 10 && y > 7 && y < 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_optimizers_are_pytorchs, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_patterns, place_setup, place_teardown),
                                       cmocka_unit_test_setup_teardown(test_recompute, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_lora, place_setup, place_teardown),
                                       cmocka_unit_test_setup_teardown(test_marks, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_not_finite, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_loss_counts, place_setup, place_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
