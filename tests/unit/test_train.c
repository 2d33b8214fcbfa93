/* Training runs on the small reference model: the same numbers however a step is cut, stopped or started again. */
#include "base/file.h"
#include "tests/unit/folders.h"
#include "train/run.h"
#include "train/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *write_inside(place *f, const char *name, const char *text) {
    char *path = sn_path_join(f->path, name);
    assert_ok(sn_write_file(path, text, strlen(text), &f->error), f->error);
    return path;
}

/* A recipe over the case llava/train-stage2, saving into a folder of the fixture; `more` is added to it. */
static char *recipe_text(place *f, const char *save, const char *more) {
    const char *root = getenv("SN_GOLDENS");
    if (!root) root = "tests/goldens";
    return sn_format("model:\n  llm: %s/llava/train-stage2/model/llava\n  vision: %s/llava/train-stage2/model/clip\nstage: stage2\n"
                     "data:\n  - path: %s/llava/train-stage2/inputs/data.json\n    images: %s/llava/train-stage2\n"
                     "optimizer:\n  lr: 2.0e-4\n  max_grad_norm: 1.0\nschedule:\n  name: cosine\n  warmup_ratio: 0.2\n"
                     "steps: 5\nseed: 3\nsave:\n  folder: %s/%s\n  every: 2\n%s", root, root, root, root, f->path, save, more);
}

typedef struct watcher {
    atomic_bool cancel;
    int64_t cancel_after;
    double first_loss, last_loss;
    int64_t steps;
} watcher;

static void on_step(void *context, const sn_step_report *r) {
    watcher *w = context;
    if (r->step == 1) w->first_loss = r->loss.total;
    w->last_loss = r->loss.total;
    w->steps++;
    if (w->cancel_after && r->step + 1 >= w->cancel_after) atomic_store(&w->cancel, true);
}

static sn_status run(place *f, const char *save, const char *more, watcher *w, char **exported) {
    char *text = recipe_text(f, save, more), *path = write_inside(f, "recipe.yaml", text);
    sn_recipe *recipe;
    sn_training training;
    *exported = NULL;
    sn_status status = sn_recipe_read(path, NULL, 0, &recipe, &f->error);
    sn_free(text);
    sn_free(path);
    if (status) return status;
    atomic_store(&w->cancel, false);
    sn_run_hooks hooks = {.context = w, .on_step = on_step, .cancel = &w->cancel};
    status = sn_training_open(recipe, 1, false, &hooks, &training, &f->error);
    if (!status) {
        sn_export result;
        status = sn_training_run(&training, &result, &f->error);
        *exported = result.path;
        sn_training_close(&training);
    }
    sn_recipe_free(recipe);
    return status;
}

static void assert_same_file(const char *a, const char *b) {
    char *x, *y;
    size_t n, m;
    sn_error error = {0};
    assert_ok(sn_read_file(a, 1 << 28, &x, &n, &error), error);
    assert_ok(sn_read_file(b, 1 << 28, &y, &m, &error), error);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    sn_free(x);
    sn_free(y);
}

/* Stopped after two steps and begun again: the same bits as a run that never stopped. */
static void test_resumed_run_is_the_same(void **state) {
    place *f = *state;
    watcher w = {0};
    char *whole, *none, *resumed;
    assert_ok(run(f, "whole", "batch:\n  size: 2\n", &w, &whole), f->error);
    assert_int_equal(w.steps, 5);
    w = (watcher){.cancel_after = 3};
    assert_int_equal(run(f, "parts", "batch:\n  size: 2\n", &w, &none), SN_ERROR_CANCELLED);
    assert_int_equal(w.steps, 3);
    w = (watcher){0};
    assert_ok(run(f, "parts", "batch:\n  size: 2\n", &w, &resumed), f->error);
    assert_int_equal(w.steps, 2);
    assert_same_file(whole, resumed);
    sn_free(whole);
    sn_free(resumed);
}

/* Two passes of one sample are the batch of two: the loss of the case, whatever the cut. */
static void test_passes_are_one_batch(void **state) {
    place *f = *state;
    watcher one = {0}, two = {0};
    char *a, *b;
    assert_ok(run(f, "one", "batch:\n  size: 2\n", &one, &a), f->error);
    assert_ok(run(f, "two", "batch:\n  size: 2\n  micro: 1\n", &two, &b), f->error);
    assert_float_equal(one.first_loss, 8.268376, 1e-4);
    assert_float_equal(two.first_loss, one.first_loss, 1e-6 * 8);
    sn_free(a);
    sn_free(b);
}

/* Dropout of low-rank updates draws by sample and place: stopped and begun again, in passes, with blocks computed again it is
 * the same run. */
static void test_dropout_is_repeated(void **state) {
    place *f = *state;
    static const char lora[] = "lora:\n  r: 4\n  alpha: 16\n  dropout: 0.5\n  targets: [q_proj, down_proj, projector.0]\n  export: both\nbatch:\n  size: 2\n";
    watcher w = {0};
    char *whole, *other, *none;
    assert_ok(run(f, "whole", lora, &w, &whole), f->error);
    double last = w.last_loss;
    w = (watcher){.cancel_after = 3};
    assert_int_equal(run(f, "parts", lora, &w, &none), SN_ERROR_CANCELLED);
    w = (watcher){0};
    assert_ok(run(f, "parts", lora, &w, &other), f->error);
    assert_same_file(whole, other);
    sn_free(other);
    char *text = sn_format("%srecompute: true\n", lora);
    assert_ok(run(f, "again", text, &w, &other), f->error);
    assert_same_file(whole, other);
    sn_free(other), sn_free(text);
    text = sn_format("%s  micro: 1\n", lora);
    assert_ok(run(f, "passes", text, &w, &other), f->error);
    assert_float_equal(w.last_loss, last, 1e-4);
    sn_free(other), sn_free(text);
    char *without = sn_format("%.*s%s", (int)(strstr(lora, "  dropout") - lora), lora, strstr(lora, "  targets"));
    assert_ok(run(f, "without", without, &w, &other), f->error);
    assert_float_equal(w.first_loss, 8.268376, 1e-4); /* B begins at zero: nothing is seen of it yet */
    if (fabs(w.last_loss - last) < 1e-3) fail_msg("dropout changes nothing: %.9g", last);
    sn_free(other), sn_free(without), sn_free(whole);
    json_t *config;
    char *path = sn_format("%s/whole/adapter/adapter_config.json", f->path);
    assert_ok(sn_json_file(path, 1 << 16, &config, &f->error), f->error);
    assert_float_equal(json_number_value(json_object_get(config, "lora_dropout")), 0.5, 0);
    json_decref(config);
    sn_free(path);
}

/* A checkpoint of another recipe is refused; a full disk leaves the last whole one. */
static void test_checkpoints_are_guarded(void **state) {
    place *f = *state;
    watcher w = {.cancel_after = 2};
    char *none;
    assert_int_equal(run(f, "run", "batch:\n  size: 2\n", &w, &none), SN_ERROR_CANCELLED);
    w = (watcher){0};
    assert_int_equal(run(f, "run", "batch:\n  size: 1\n", &w, &none), SN_ERROR_INPUT);
    assert_non_null(strstr(f->error.message, "another recipe"));
    char *two = sn_format("%s/run/step-2", f->path), *four = sn_format("%s/run/step-4", f->path);
    assert_true(sn_is_directory(two));
    sn_output_fail_at(8);
    assert_int_equal(run(f, "run", "batch:\n  size: 2\n", &w, &none), SN_ERROR_IO);
    sn_output_fail_at(0);
    assert_true(sn_is_directory(two));
    assert_false(sn_is_directory(four));
    sn_free(two);
    sn_free(four);
}

static void test_recipes_are_checked(void **state) {
    place *f = *state;
    const struct {
        const char *more, *says;
    } cases[] = {{"bach:\n  size: 2\n", "bach"}, {"batch:\n  size: many\n", "size"}, {"broken: maybe\n", "broken"}, {"epochs: -1\n", "epochs"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = recipe_text(f, "x", cases[i].more), *path = write_inside(f, "bad.yaml", text);
        sn_recipe *recipe;
        assert_int_equal(sn_recipe_read(path, NULL, 0, &recipe, &f->error), SN_ERROR_USAGE);
        if (!strstr(f->error.message, cases[i].says) || !strstr(f->error.message, "line")) fail_msg("%s: the error says: %s", cases[i].more, f->error.message);
        sn_free(text);
        sn_free(path);
    }
    char *text = recipe_text(f, "x", ""), *path = write_inside(f, "good.yaml", text);
    const char *good[] = {"optimizer.lr=1e-4", "batch.size=3", "compute=bf16", "recompute=true", "loss.joined=0.25", "data.0.weight=2", "data.0.images=elsewhere", "model.fresh.llm.layers=3"};
    const struct {
        const char *set, *says;
    } wrong[] = {{"optimizer.lr=-1", "optimizer.lr: found -1"}, {"optimizer.rate=1", "no such word"}, {"optimizer=1", "holds other words"}, {"data.1.path=x", "no such word"}, {"data.path=x", "no such word"},
                 {"steps=1.5", "whole number"}, {"compute=f16", "one of f32, bf16"}, {"recompute=yes", "true or false"}, {"data.0.weight=0", "weight: found 0"}};
    sn_recipe *recipe;
    assert_ok(sn_recipe_read(path, good, 8, &recipe, &f->error), f->error);
    assert_float_equal(*recipe->optimizer.lr, 1e-4, 0);
    assert_int_equal(recipe->batch.size, 3);
    assert_int_equal(recipe->compute, SN_COMPUTE_BF16);
    assert_true(recipe->recompute);
    assert_float_equal(*recipe->loss.joined, 0.25, 0);
    assert_float_equal(*recipe->data[0].weight, 2, 0);
    assert_string_equal(recipe->data[0].images, "elsewhere");
    assert_int_equal(recipe->model.fresh.llm.layers, 3);
    sn_recipe_free(recipe);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *set[] = {wrong[i].set};
        assert_int_equal(sn_recipe_read(path, set, 1, &recipe, &f->error), SN_ERROR_USAGE);
        if (!strstr(f->error.message, wrong[i].says)) fail_msg("%s: the error says: %s", wrong[i].set, f->error.message);
    }
    sn_free(text);
    sn_free(path);
}

static void test_schedules(void **state) {
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_COSINE, .warmup_ratio = 0.03}, 0, 100), 0, 1e-12);
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_COSINE, .warmup_ratio = 0.03}, 3, 100), 1, 1e-12);
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_COSINE, .warmup_ratio = 0}, 50, 100), 0.5, 1e-12);
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_LINEAR, .warmup_ratio = 0}, 25, 100), 0.75, 1e-12);
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_COSINE, .steps = 100}, 25, 50), 0.5 * (1 + sqrt(0.5)), 1e-12);
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_COSINE, .steps = 100}, 120, 150), 0, 1e-12);
    assert_float_equal(sn_schedule_factor(&(sn_schedule){.name = SN_SCHEDULE_CONSTANT, .warmup_ratio = 0}, 99, 100), 1, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_resumed_run_is_the_same, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_passes_are_one_batch, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_dropout_is_repeated, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_checkpoints_are_guarded, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_recipes_are_checked, place_setup, place_teardown),
        cmocka_unit_test(test_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
