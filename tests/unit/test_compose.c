/* Models that were never published: made of fresh parts and of parts of others, taught, and opened like any. */
#include "base/file.h"
#include "systems/compose.h"
#include "tests/unit/folders.h"
#include "text/trainer.h"
#include "train/run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *inside(const place *f, const char *name) { return sn_path_join(f->path, name); }

static void write_inside(place *f, const char *name, const char *text) {
    char *path = inside(f, name);
    assert_ok(sn_write_file(path, text, strlen(text), &f->error), f->error);
    sn_free(path);
}

static const char corpus[] = "USER : Where is the owl ? ASSISTANT : At the top left . USER : Is there a bee ? ASSISTANT : No . Yes .\n";
static const char talk[] =
    "[{\"id\": \"one\", \"image\": \"000.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nWhere is the owl?\"}, {\"from\": \"gpt\", \"value\": \"At the top left.\"},"
    " {\"from\": \"human\", \"value\": \"Is there a bee?\"}, {\"from\": \"gpt\", \"value\": \"No.\"}]}]";

static int setup(void **state) {
    place_setup(state);
    place *f = *state;
    char *words = inside(f, "words");
    int learnt;
    sn_tokenizer_trainer *trainer = sn_tokenizer_trainer_new(SN_TRAINER_SENTENCEPIECE);
    char *command = sn_format("mkdir %s", words);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 20; i++) assert_ok(sn_tokenizer_trainer_add(trainer, corpus, strlen(corpus), &f->error), f->error);
    assert_ok(sn_tokenizer_trainer_write(trainer, 320, 1, words, &learnt, &f->error), f->error);
    sn_tokenizer_trainer_free(trainer);
    sn_free(command);
    sn_free(words);
    write_inside(f, "talk.json", talk);
    return 0;
}

static void keep_loss(void *context, const sn_step_report *report) { *(double *)context = report->loss.total; }

/* A stage over the one conversation: `model` is the recipe's first part, the result lies in the fixture's folder `save`. */
static sn_status learn(place *f, const char *model, const char *stage, int steps, const char *save, double *loss) {
    const char *root = getenv("SN_GOLDENS") ? getenv("SN_GOLDENS") : "tests/goldens";
    char *text = sn_format("model:\n%sstage: %s\ntemplate: hf\ndata:\n  - path: %s/talk.json\n    images: %s/../../models/demo/scenes\noptimizer:\n  lr: 0.01\nsteps: %d\nsave:\n  folder: %s/%s\n", model,
                           stage, f->path, root, steps, f->path, save);
    char *path = inside(f, "recipe.yaml");
    sn_recipe *recipe;
    sn_training training;
    sn_export exported = {0};
    write_inside(f, "recipe.yaml", text);
    sn_status status = sn_recipe_read(path, NULL, 0, &recipe, &f->error);
    sn_free(text);
    sn_free(path);
    if (status) return status;
    status = sn_training_open(recipe, 1, false, &(sn_run_hooks){.context = loss, .on_step = keep_loss}, &training, &f->error);
    if (!status) {
        status = sn_training_run(&training, &exported, &f->error);
        sn_training_close(&training);
    }
    sn_free(exported.path);
    sn_recipe_free(recipe);
    return status;
}

static char *fresh_model(const place *f) {
    return sn_format("  tokenizer: %s/words\n  fresh:\n    vision: {hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2, image_size: 56, patch_size: 14}\n"
                     "    llm: {hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2, context: 128, tied: true}\n    connector: true\n", f->path);
}

/* All parts fresh: the conversation is soon known by heart, and what was saved is a model like any. */
static void test_fresh_parts_learn(void **state) {
    place *f = *state;
    char *model = fresh_model(f), *saved = inside(f, "fresh");
    double loss = 100;
    assert_ok(learn(f, model, "whole", 60, "fresh", &loss), f->error);
    assert_true(loss < 0.1);
    sn_engine *engine;
    sn_model *opened;
    assert_ok(sn_engine_new(1, &engine, &f->error), f->error);
    assert_ok(sn_model_open(engine, &(sn_model_files){.main = saved}, &opened, &f->error), f->error);
    assert_string_equal(opened->layout, "Hugging Face");
    assert_int_equal(opened->media_positions, 16);
    sn_model_close(opened);
    sn_engine_free(engine);
    sn_free(model);
    sn_free(saved);
}

/* Answers are learnt, and </s> behind each of them, though another turn follows the first. */
static void test_every_answer_ends(void **state) {
    place *f = *state;
    char *model = fresh_model(f), *saved = inside(f, "fresh");
    double loss;
    assert_ok(learn(f, model, "whole", 1, "fresh", &loss), f->error);
    sn_engine *engine;
    sn_model *opened;
    assert_ok(sn_engine_new(1, &engine, &f->error), f->error);
    assert_ok(sn_model_open(engine, &(sn_model_files){.main = saved}, &opened, &f->error), f->error);
    json_t *samples = json_loads(talk, 0, NULL);
    sn_sample sample;
    assert_ok(opened->system->sample(opened, "hf", json_array_get(samples, 0), &sample, &f->error), f->error);
    int ends = 0, answers = 0;
    for (size_t i = 1; i < sample.labels.count; i++) {
        ends += sample.labels.data[i] == 2;
        answers += sample.labels.data[i] >= 0 && sample.labels.data[i - 1] < 0;
        if (sample.labels.data[i] >= 0 && sample.labels.data[i] != 2) assert_int_equal(sample.labels.data[i], sample.ids.data[i]);
    }
    assert_int_equal(ends, 2);
    assert_int_equal(answers, 2);
    assert_int_equal(sample.ids.data[sample.ids.count - 1], 2);
    sn_ids_free(&sample.ids);
    sn_ids_free(&sample.labels);
    json_decref(samples);
    sn_model_close(opened);
    sn_engine_free(engine);
    sn_free(model);
    sn_free(saved);
}

static bool same_tensor(const place *f, const char *a, const char *b, const char *name) {
    char *paths[] = {inside(f, a), inside(f, b)};
    sn_source *sources[2];
    const sn_source_tensor *t[2];
    sn_error error = {0};
    for (int i = 0; i < 2; i++) {
        assert_ok(sn_source_open(paths[i], &sources[i], &error), error);
        assert_non_null(t[i] = sn_source_find(sources[i], name));
    }
    bool same = sn_shape_count(&t[0]->shape) == sn_shape_count(&t[1]->shape) && memcmp(t[0]->data, t[1]->data, 2 * (size_t)sn_shape_count(&t[0]->shape)) == 0;
    for (int i = 0; i < 2; i++) {
        sn_source_close(sources[i]);
        sn_free(paths[i]);
    }
    return same;
}

/* Tower and language model of one model with a fresh connector: stage 1 moves the connector alone, and leaves a whole folder. */
static void test_parts_of_others(void **state) {
    place *f = *state;
    char *model = fresh_model(f), *parts = sn_format("  vision: %s/fresh\n  llm: %s/fresh\n  fresh: {connector: true}\n", f->path, f->path);
    static const char tower[] = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", table[] = "language_model.model.embed_tokens.weight", connector[] = "multi_modal_projector.linear_1.weight";
    double loss;
    assert_ok(learn(f, model, "whole", 2, "fresh", &loss), f->error);
    assert_ok(learn(f, parts, "stage1", 2, "joined", &loss), f->error);
    assert_true(same_tensor(f, "fresh", "joined", tower));
    assert_true(same_tensor(f, "fresh", "joined", table));
    assert_false(same_tensor(f, "joined/model", "joined", connector));
    sn_free(model);
    sn_free(parts);
}

static void test_what_cannot_be_composed(void **state) {
    place *f = *state;
    double loss;
    const struct { const char *model, *says; } cases[] = {
        {"  fresh:\n    vision: {hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2, image_size: 56, patch_size: 14}\n    llm: {hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2, context: 128}\n", "model.tokenizer"},
        {"  path: somewhere\n  fresh: {connector: true}\n", "exclude each other"},
        {"  fresh:\n    vision: {hidden_size: 33, intermediate_size: 64, layers: 1, heads: 2, image_size: 56, patch_size: 14}\n", "fresh.vision"},
        {"  fresh:\n    vision: {width: 32}\n", "width"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_not_equal(learn(f, cases[i].model, "whole", 1, "refused", &loss), SN_OK);
        assert_non_null(strstr(f->error.message, cases[i].says));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fresh_parts_learn, setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_every_answer_ends, setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_parts_of_others, setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_composed, setup, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
