/* Training samples as people write them: what is learnt of each, how many pictures it has, what a step makes of them. */
#include "tests/unit/folders.h"
#include "train/run.h"

#include <math.h>

/* ---- a data set of one's own over the case llava/train-stage2 ---- */

typedef struct seen {
    place *place;
    char *line[16]; /* one for each sample, in order: "id: 24 of 153, 1 pictures" or "id: why it is skipped" */
    int count;
} seen;

static void on_sample(void *context, const char *id, const sn_sample *s, int64_t learnt) {
    seen *v = context;
    v->line[v->count++] = sn_arena_format(v->place->arena, "%s: %lld of %zu, %d pictures", id, (long long)learnt, s->ids.count, s->num_media);
}

static void on_skip(void *context, const char *sample, const char *why) {
    seen *v = context;
    v->line[v->count++] = sn_arena_format(v->place->arena, "%s: %s", sample, why);
}

/* A recipe of stage 2 on that JSON; `words` are its further lines. */
static sn_status open_run(place *p, const char *json, const char *words, seen *v, sn_recipe **r, sn_training *t) {
    sn_run_hooks hooks = {.context = v, .on_sample = on_sample, .on_skip = on_skip};
    *v = (seen){.place = p};
    write_text(p, p->path, "data.json", json);
    write_text(p, p->path, "recipe.yaml",
               sn_arena_format(p->arena, "model:\n  llm: %s\n  vision: %s\nstage: stage2\ndata:\n  - path: %s/data.json\n    images: %s\noptimizer:\n  lr: 1.0e-3\n  weight_decay: 0.1\nbroken: skip\nsave:\n  folder: %s/run\n%s\n",
                               golden(p, "llava/train-stage2/model/llava"), golden(p, "llava/train-stage2/model/clip"), p->path, golden(p, "llava/train-stage2"), p->path, words));
    sn_status status = sn_recipe_read(in(p, p->path, "recipe.yaml"), NULL, 0, r, &p->error);
    if (!status && (status = sn_training_open(*r, 1, true, &hooks, t, &p->error))) sn_recipe_free(*r);
    return status;
}

static sn_data_report survey(place *p, const char *json, seen *v) {
    sn_recipe *r;
    sn_training t;
    sn_data_report report;
    assert_ok(open_run(p, json, "", v, &r, &t), p->error);
    assert_ok(sn_training_survey(&t, true, &report, &p->error), p->error);
    sn_training_close(&t);
    sn_recipe_free(r);
    return report;
}

static void says(const seen *v, int i, const char *words) {
    if (i >= v->count || !strstr(v->line[i], words)) fail_msg("sample %d: expected '%s', found '%s'", i, words, i < v->count ? v->line[i] : "nothing");
}

/* One sample of one turn; `image` is the whole field with its comma, or "". */
static const char *talk(place *p, const char *id, const char *image, const char *question, const char *answer) {
    return sn_arena_format(p->arena, "{\"id\": \"%s\", %s \"conversations\": [{\"from\": \"human\", \"value\": \"%s\"}, {\"from\": \"gpt\", \"value\": \"%s\"}]}", id, image, question, answer);
}

#define A_PICTURE "\"image\": \"inputs/a.png\","

/* ---- what is learnt ---- */

/* Answers that make the published mask rules stumble: each is counted, and where nothing is learnt it is said why. */
static void test_answers(void **state) {
    place *p = *state;
    seen v;
    sn_data_report d = survey(p, sn_arena_format(p->arena, "[%s, %s, %s, %s]", talk(p, "plain", A_PICTURE, "<image>\\nWho?", "yes"), talk(p, "empty", A_PICTURE, "<image>\\nWho?", ""),
                                                 talk(p, "blank", A_PICTURE, "<image>\\nWho?", " yes"), talk(p, "stop", A_PICTURE, "<image>\\nWho?", "a</s>b")), &v);
    says(&v, 0, "plain: 3 of 115, 1 pictures");
    says(&v, 1, "empty: no learnt token in 114 positions: its answers are empty");
    says(&v, 2, "blank: 4 of 116");
    says(&v, 3, "stop: 4 of 116"); /* a, </s>, b, </s> */
    assert_int_equal(d.without_labels, 1);
    assert_int_equal(d.broken, 0);
    assert_int_equal(d.learnt, 11);
    assert_int_equal(d.pictures, 4); /* of every sample that has one */
}

/* A special token's characters in a text are that token, as the published code reads them, and learnt like any other in every
 * template, though its count of turns then does not come out (`uneven`: it learns nothing of such a sample). */
static void test_literal_tokens(void **state) {
    place *p = *state;
    static const char *const texts[][2] = {{"Hi", "a b"}, {"Hi", "a <unk> b"}, {"Hi <unk>", "a b"}, {"Hi", "a</s>b"}, {"Hi </s> you", "a b"}, {"Hi", "<unk>"}};
    static const int learnt[] = {3, 6, 3, 4, 3, 3}; /* a b </s>; a _ <unk> _ b </s>; …; a </s> b </s>; …; _ <unk> </s> */
    seen v;
    sn_recipe *r;
    sn_training t;
    assert_ok(open_run(p, sn_arena_format(p->arena, "[%s]", talk(p, "x", "", "Hi", "Hello.")), "", &v, &r, &t), p->error);
    for (int k = 0; k < 12; k++) {
        json_t *sample = json_loads(talk(p, "x", "", texts[k / 2][0], texts[k / 2][1]), 0, NULL);
        sn_sample s;
        assert_ok(t.model->system->sample(t.model, k % 2 ? "hf" : "v1", sample, &s, &p->error), p->error);
        if (sn_sample_learnt(&s) != learnt[k / 2]) fail_msg("%s / %s: found %lld learnt tokens, expected %d", texts[k / 2][0], texts[k / 2][1], (long long)sn_sample_learnt(&s), learnt[k / 2]);
        if (k % 2 == 0) assert_int_equal(s.uneven, k > 0);
        bool unknown = false;
        for (size_t i = 0; i < s.labels.count; i++) unknown |= s.labels.data[i] == 0;
        assert_true(unknown == (strstr(texts[k / 2][1], "<unk>") != NULL)); /* id 0 is a label like any other */
        sn_ids_free(&s.ids);
        sn_ids_free(&s.labels);
        json_decref(sample);
    }
    sn_training_close(&t);
    sn_recipe_free(r);
}

/* Of several answers an empty one teaches nothing and the others all they have; a picture's mark in an answer counts as one. */
static void test_empty_among_others(void **state) {
    place *p = *state;
    seen v;
    survey(p, sn_arena_format(p->arena, "[{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"\"}, {\"from\": \"human\", \"value\": \"Well?\"}, {\"from\": \"gpt\", \"value\": \"yes\"}]}, %s]",
                              talk(p, "mark", "", "Hi", "an <image> tag")), &v);
    says(&v, 0, "x: 3 of 104");
    says(&v, 1, "found 1 <image> marks in the conversation and 0 pictures");
}

/* The reference's two samples: 24 of 153 and 17 of 134 positions. */
static void test_published_samples(void **state) {
    place *p = *state;
    seen v;
    char *json;
    size_t size;
    assert_ok(sn_read_file(golden(p, "llava/train-stage2/inputs/data.json"), 1 << 20, &json, &size, &p->error), p->error);
    survey(p, json, &v);
    says(&v, 0, "1: 24 of 153, 1 pictures");
    says(&v, 1, "2: 17 of 134, 1 pictures");
    sn_free(json);
}

/* ---- pictures ---- */

/* "image" as a string, a list, null, absent; tags and pictures that do not agree; a file that is cut off. */
static void test_image_fields(void **state) {
    place *p = *state;
    seen v;
    char *bytes;
    size_t size;
    assert_ok(sn_read_file(golden(p, "llava/train-stage2/inputs/a.png"), 1 << 20, &bytes, &size, &p->error), p->error);
    assert_ok(sn_write_file(in(p, p->path, "cut.png"), bytes, size / 2, &p->error), p->error);
    sn_free(bytes);
    const char *cut = sn_arena_format(p->arena, "\"image\": \"../../../../../../../../../..%s/cut.png\",", p->path);
    const char *both = "\"image\": [\"inputs/a.png\", \"inputs/b.png\"],";
    sn_data_report d = survey(p, sn_arena_format(p->arena, "[%s, %s, %s, %s, %s, %s, %s, %s, %s, %s]", talk(p, "string", A_PICTURE, "<image>\\nWho?", "yes"),
                                                 talk(p, "list", "\"image\": [\"inputs/a.png\"],", "<image>\\nWho?", "yes"), talk(p, "two", both, "<image>\\nWho?", "yes"),
                                                 talk(p, "absent", "", "<image>\\nWho?", "yes"), talk(p, "null", "\"image\": null,", "Who?", "yes"), talk(p, "none", "\"image\": \"\",", "Who?", "yes"),
                                                 talk(p, "cut", cut, "<image>\\nWho?", "yes"), talk(p, "gone", "\"image\": \"inputs/c.png\",", "<image>\\nWho?", "yes"),
                                                 talk(p, "pair", both, "<image> Who? <image>", "yes"), talk(p, "odd", A_PICTURE, "<image>\\n<image>\\nWho?", "yes")), &v);
    says(&v, 0, "string: 3 of 115, 1 pictures");
    says(&v, 1, "list: 3 of 115, 1 pictures");
    says(&v, 2, "found 1 <image> marks in the conversation and 2 pictures");
    says(&v, 3, "found 1 <image> marks in the conversation and 0 pictures");
    says(&v, 4, "null: 3 of 97, 0 pictures");
    says(&v, 5, "none: 3 of 97, 0 pictures");
    says(&v, 6, "cut.png");
    says(&v, 7, "inputs/c.png: ");
    says(&v, 8, "pair: 3 of 133, 2 pictures");
    says(&v, 9, "found 2 <image> marks in the conversation and 1 pictures");
    assert_int_equal(d.broken, 5);
    assert_int_equal(d.usable, 5);
}

/* A picture stays in its turn: the tag in front of the text or behind it, in the first question or a later one. */
static void test_picture_stays_in_its_turn(void **state) {
    place *p = *state;
    seen v;
    sn_recipe *r;
    sn_training t;
    sn_sample before, behind, later;
    assert_ok(open_run(p, sn_arena_format(p->arena, "[%s]", talk(p, "x", "", "Hi", "Hello.")), "", &v, &r, &t), p->error);
    json_t *first = json_loads(talk(p, "x", A_PICTURE, "<image>\\nWhat is this?", "A ball."), 0, NULL), *second = json_loads(talk(p, "x", A_PICTURE, "What is this?\\n<image>", "A ball."), 0, NULL);
    json_t *third = json_loads("{\"id\": \"x\", \"image\": \"inputs/a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Hello.\"},"
                               " {\"from\": \"human\", \"value\": \"<image>\\nWhat is this?\"}, {\"from\": \"gpt\", \"value\": \"A ball.\"}]}", 0, NULL);
    assert_ok(t.model->system->sample(t.model, "v1", first, &before, &p->error), p->error);
    assert_ok(t.model->system->sample(t.model, "v1", second, &behind, &p->error), p->error);
    assert_ok(t.model->system->sample(t.model, "v1", third, &later, &p->error), p->error);
    assert_int_equal(before.ids.count, behind.ids.count);
    assert_memory_equal(before.ids.data, behind.ids.data, before.ids.count * sizeof *before.ids.data);
    sn_ids user = {0};
    assert_ok(sn_tokenizer_encode(t.model->tokenizer, "USER: ", 6, NULL, 0, &user, &p->error), p->error);
    size_t end = 0, slot = 0, rows = 0;
    for (size_t i = 0; i < later.ids.count; i++) {
        if (later.ids.data[i] == 2 && !end) end = i; /* </s> of the first answer */
        if (later.ids.data[i] < 0 && !rows++) slot = i;
    }
    assert_int_equal(rows, t.model->media_positions); /* one picture, once */
    assert_int_equal(slot, end + 1 + user.count);
    assert_memory_equal(later.ids.data + end + 1, user.data, user.count * sizeof *user.data);
    sn_ids_free(&user);
    sn_sample *all[] = {&before, &behind, &later};
    for (int i = 0; i < 3; i++) sn_ids_free(&all[i]->ids), sn_ids_free(&all[i]->labels);
    json_decref(first);
    json_decref(second);
    json_decref(third);
    sn_training_close(&t);
    sn_recipe_free(r);
}

/* ---- steps ---- */

/* Runs to the end; gives the losses of its steps (NAN where there is none), and all parameters one behind the other. */
static int run(place *p, const char *json, const char *words, double *losses, float **values, size_t *count) {
    seen v;
    sn_recipe *r;
    sn_training t;
    sn_export out;
    assert_ok(open_run(p, json, words, &v, &r, &t), p->error);
    assert_ok(sn_training_run(&t, &out, &p->error), p->error);
    *count = 0;
    for (size_t i = 0; i < t.trainer.count; i++) *count += (size_t)t.trainer.trainables[i].count;
    float *to = *values = sn_arena_alloc(p->arena, *count, sizeof *to);
    for (size_t i = 0; i < t.trainer.count; i++) {
        memcpy(to, t.trainer.trainables[i].value, (size_t)t.trainer.trainables[i].count * sizeof *to);
        to += t.trainer.trainables[i].count;
    }
    char *text;
    size_t size;
    int steps = 0;
    assert_ok(sn_read_file(in(p, p->path, "run/metrics.jsonl"), 1 << 20, &text, &size, &p->error), p->error);
    for (char *at = text; *at; at = strchr(at, '\n') + 1) {
        json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        const json_t *loss = json_object_get(line, "loss");
        losses[steps++] = json_is_null(loss) ? NAN : json_number_value(loss);
        json_decref(line);
    }
    sn_free(text);
    sn_free(out.path);
    sn_training_close(&t);
    sn_recipe_free(r);
    return steps;
}

static const char *words_of(place *p, int size, int micro, const char *more) { return sn_arena_format(p->arena, "batch: {size: %d, micro: %d}\n%s", size, micro, more); }

static const char *long_answer = "It is a long story that begins on an island, where two men sail a boat, and a red ball lies on the grass.";

/* Four samples of very unequal length, cut into passes of 4, 2 and 1: one loss, one set of parameters; a sample's loss does
 * not depend on its company, so those of the single samples, weighted by what is learnt of them, make that of the batch. */
static void test_cuts_are_one_batch(void **state) {
    place *p = *state;
    const char *samples[] = {talk(p, "a", A_PICTURE, "<image>\\nWho?", "yes"), talk(p, "b", "\"image\": \"inputs/b.png\",", "<image>\\nWhat is this?", long_answer), talk(p, "c", "", "Hi", "Hello."), talk(p, "d", "", "And then?", long_answer)};
    const char *all = sn_arena_format(p->arena, "[%s, %s, %s, %s]", samples[0], samples[1], samples[2], samples[3]);
    double loss[4], whole, sum = 0, learnt = 0;
    float *values, *other;
    size_t count, again;
    assert_int_equal(run(p, all, words_of(p, 4, 4, ""), loss, &values, &count), 1);
    whole = loss[0];
    for (int micro = 2; micro >= 1; micro--) {
        run(p, all, words_of(p, 4, micro, ""), loss, &other, &again);
        assert_float_equal(loss[0], whole, 1e-6 * whole);
        for (size_t i = 0; i < count; i++)
            if (fabsf(values[i] - other[i]) > 2.1e-3f) fail_msg("passes of %d: value %zu: found %g, expected %g", micro, i, other[i], values[i]);
    }
    for (int i = 0; i < 4; i++) {
        seen v;
        sn_data_report d = survey(p, sn_arena_format(p->arena, "[%s]", samples[i]), &v);
        run(p, sn_arena_format(p->arena, "[%s]", samples[i]), words_of(p, 1, 1, ""), loss, &other, &again);
        sum += loss[0] * (double)d.learnt, learnt += (double)d.learnt;
    }
    assert_float_equal(whole, sum / learnt, 1e-6 * whole);
}

/* Three samples two at a time: two steps, of which the second has one sample at full weight. */
static void test_last_step_is_short(void **state) {
    place *p = *state;
    const char *a = talk(p, "a", "", "Hi", "Hello."), *same = sn_arena_format(p->arena, "[%s, %s, %s]", a, a, a);
    double loss[4], alone[4];
    float *values, *other;
    size_t count, again;
    assert_int_equal(run(p, same, words_of(p, 2, 1, "train: [{pattern: \"decoder.*\", lr: 0.0}]"), loss, &values, &count), 2);
    run(p, sn_arena_format(p->arena, "[%s]", a), words_of(p, 1, 1, ""), alone, &other, &again);
    assert_float_equal(loss[0], alone[0], 1e-6 * alone[0]);
    assert_float_equal(loss[1], alone[0], 1e-6 * alone[0]);
}

/* Samples whose answers lie behind the limit add neither to the sum nor to the count; a step of such samples alone has no
 * loss and moves nothing, not even by decay. */
static void test_nothing_left_to_learn(void **state) {
    place *p = *state;
    const char *good = talk(p, "good", "", "Hi", "Hello."), *late = talk(p, "late", "", long_answer, "Yes.");
    const char *decay = "max_length: 110";
    double loss[4], alone[4];
    float *values, *other;
    size_t count, again;
    assert_int_equal(run(p, sn_arena_format(p->arena, "[%s, %s, %s]", late, good, late), words_of(p, 3, 3, decay), loss, &values, &count), 1);
    assert_int_equal(run(p, sn_arena_format(p->arena, "[%s]", good), words_of(p, 1, 1, decay), alone, &other, &again), 1);
    assert_true(isfinite(alone[0]));
    assert_float_equal(loss[0], alone[0], 0);
    assert_memory_equal(values, other, count * sizeof *values);
    assert_int_equal(run(p, sn_arena_format(p->arena, "[%s, %s]", late, good), words_of(p, 1, 1, decay), loss, &values, &count), 2);
    assert_true(isnan(loss[0]) != isnan(loss[1])); /* null in metrics.jsonl */
    assert_memory_equal(values, other, count * sizeof *values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_published_samples, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_literal_tokens, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_empty_among_others, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_image_fields, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_picture_stays_in_its_turn, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_cuts_are_one_batch, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_last_step_is_short, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_left_to_learn, place_setup, place_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
