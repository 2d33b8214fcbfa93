/* Answers of the small reference models: the order of parts, batches, stop strings, windows, overflow. Run from the
 * source folder's tests/goldens (SN_GOLDENS names it). */
#include "base/file.h"
#include "generate/answer.h"
#include "tests/unit/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    sn_engine *engine;
    sn_model *model;
    char *case_folder;
} fixture;

static char *golden(const char *path) {
    const char *root = getenv("SN_GOLDENS");
    return sn_path_join(root ? root : "tests/goldens", path);
}

static void open_case(fixture *f, const char *name) {
    sn_error error = {0};
    f->case_folder = golden(name);
    char *llm = sn_path_join(f->case_folder, "model/llava"), *vision = sn_path_join(f->case_folder, "model/clip"), *one = sn_path_join(f->case_folder, "model");
    sn_model_files files = {.main = one};
    if (sn_is_directory(llm)) files = (sn_model_files){.llm = llm, .vision = vision};
    assert_ok(sn_engine_new(1, &f->engine, &error), error);
    assert_ok(sn_model_open(f->engine, &files, &f->model, &error), error);
    sn_free(llm);
    sn_free(vision);
    sn_free(one);
}

static void close_case(fixture *f) {
    sn_model_close(f->model);
    sn_engine_free(f->engine);
    sn_free(f->case_folder);
}

static sn_prompt prompt_of(fixture *f, const sn_message *messages, int n) {
    sn_prompt prompt;
    sn_error error = {0};
    assert_ok(f->model->system->prompt(f->model, &(sn_request){.messages = messages, .num_messages = n}, &prompt, &error), error);
    return prompt;
}

static sn_status try_answer(fixture *f, const sn_prompt *prompt, const sn_generate_options *o, sn_reply *reply, sn_error *error) {
    float *pixels = NULL;
    sn_status status = sn_load_pictures(f->model, prompt->media, prompt->num_media, NULL, &pixels, error);
    if (!status) status = sn_answer_prompt(&(sn_answer_request){.model = f->model, .prompt = prompt, .pixels = pixels, .options = o, .keep_logits = true}, reply, error);
    sn_free(pixels);
    return status;
}

static sn_reply answer(fixture *f, const sn_prompt *prompt, const sn_generate_options *o) {
    sn_reply reply;
    sn_error error = {0};
    assert_ok(try_answer(f, prompt, o, &reply, &error), error);
    return reply;
}

static sn_generate_options greedy(int most) {
    sn_generate_options o = sn_generate_defaults();
    o.max_new_tokens = most;
    return o;
}

#define TEXT(words) {.text = words}
#define PICTURE(path) {.is_media = true, .text = path}

/* Both orders of an OpenAI message give the same ids; a picture of the second turn stays there, once. */
static void test_pictures_keep_their_turn(void **state) {
    fixture f;
    open_case(&f, "llava/v15-generate");
    const sn_content before[] = {PICTURE("a.png"), TEXT("What is this?")}, after[] = {TEXT("What is this?"), PICTURE("a.png")};
    sn_prompt a = prompt_of(&f, &(sn_message){SN_ROLE_USER, before, 2}, 1), b = prompt_of(&f, &(sn_message){SN_ROLE_USER, after, 2}, 1);
    assert_int_equal(a.ids.count, b.ids.count);
    assert_memory_equal(a.ids.data, b.ids.data, a.ids.count * sizeof(int32_t));
    const sn_content hi[] = {TEXT("Hi")}, hello[] = {TEXT("Hello.")};
    const sn_message turns[] = {{SN_ROLE_USER, hi, 1}, {SN_ROLE_ASSISTANT, hello, 1}, {SN_ROLE_USER, after, 2}};
    sn_prompt c = prompt_of(&f, turns, 3);
    int64_t rows = 0, first = -1, end_of_answer = -1;
    for (size_t i = 0; i < c.ids.count; i++) {
        if (c.ids.data[i] == 2) end_of_answer = (int64_t)i;
        if (c.ids.data[i] < 0 && rows++ == 0) first = (int64_t)i;
    }
    assert_int_equal(c.num_media, 1);
    assert_int_equal(rows, f.model->media_positions);
    sn_ids user = {0};
    sn_error error = {0};
    assert_ok(sn_tokenizer_encode(f.model->tokenizer, "</s>USER: ", 10, NULL, 0, &user, &error), error);
    assert_int_equal(first, end_of_answer + (int64_t)user.count);
    assert_memory_equal(c.ids.data + end_of_answer, user.data, user.count * sizeof(int32_t));
    sn_ids_free(&user);
    sn_prompt_free(&a);
    sn_prompt_free(&b);
    sn_prompt_free(&c);
    close_case(&f);
}

/* Rows of one batch (no picture, one, two, a long question) start from the logits that each has alone. */
static void test_batch_equals_rows_alone(void **state) {
    fixture f;
    open_case(&f, "llava/v15-generate");
    char *picture = sn_path_join(f.case_folder, "inputs/a.png"), words[301];
    memset(words, 'w', 300), words[300] = 0;
    const sn_content none[] = {TEXT("Who sails?")}, one[] = {PICTURE(picture), TEXT("What is this?")}, two[] = {PICTURE(picture), PICTURE(picture), TEXT("And these?")}, many[] = {TEXT(words)};
    const sn_message rows[] = {{SN_ROLE_USER, none, 1}, {SN_ROLE_USER, one, 2}, {SN_ROLE_USER, two, 3}, {SN_ROLE_USER, many, 1}};
    sn_model *m = f.model;
    int64_t vocab = m->lm.vocab_size, hidden = m->lm.hidden_size, k = m->media_positions;
    float *features = sn_alloc((size_t)(2 * k * hidden), sizeof *features), *together = sn_alloc(4 * (size_t)vocab, sizeof *together), *pixels;
    sn_error error = {0};
    const char *paths[] = {picture, picture};
    assert_ok(sn_load_pictures(m, paths, 2, NULL, &pixels, &error), error);
    assert_ok(sn_model_encode(m, pixels, 2, NULL, features, &error), error);
    sn_lm_session session;
    assert_ok(sn_lm_session_open(&session, f.engine, m->store, &m->lm, SN_TYPE_F32, &error), error);
    sn_prompt prompts[4];
    sn_sequence sequences[4] = {0};
    sn_lm_row batch[4];
    for (int i = 0; i < 4; i++) {
        prompts[i] = prompt_of(&f, &rows[i], 1);
        batch[i] = (sn_lm_row){.sequence = &sequences[i], .ids = prompts[i].ids.data, .count = (int64_t)prompts[i].ids.count, .media = features};
    }
    assert_ok(sn_lm_extend(&session, batch, 4, false, together, &error), error);
    for (int i = 0; i < 4; i++) {
        sn_generate_options o = greedy(1);
        sn_reply alone = answer(&f, &prompts[i], &o);
        for (int64_t j = 0; j < vocab; j++) assert_float_equal(alone.answer.logits[j], together[i * vocab + j], 1e-5);
        sn_reply_free(&alone);
        sn_sequence_free(&session, &sequences[i]);
        sn_prompt_free(&prompts[i]);
    }
    sn_lm_session_close(&session);
    sn_free(features);
    sn_free(together);
    sn_free(pixels);
    sn_free(picture);
    close_case(&f);
}

/* The case's unstopped text is "нвverв< sine" in 8 ids. Stop strings are found in the text, whatever the ids. */
static void test_stop_strings(void **state) {
    fixture f;
    open_case(&f, "llava/v15-stop");
    char *picture = sn_path_join(f.case_folder, "inputs/a.png");
    const sn_content content[] = {PICTURE(picture), TEXT("What is this?")};
    sn_prompt prompt = prompt_of(&f, &(sn_message){SN_ROLE_USER, content, 2}, 1);
    const struct {
        const char *stops[2];
        const char *text, *fired;
        size_t ids;
    } cases[] = {{{"\xd0\xb2"}, "\xd0\xbd", "\xd0\xb2", 2}, {{"< s"}, "\xd0\xbd\xd0\xb2ver\xd0\xb2", "< s", 6}, {{"sinew", "ine"}, "\xd0\xbd\xd0\xb2ver\xd0\xb2< s", "ine", 8}, {{"sinew"}, "\xd0\xbd\xd0\xb2ver\xd0\xb2< sine", NULL, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_generate_options o = greedy(8);
        while (o.num_stops < 2 && cases[i].stops[o.num_stops]) o.stops[o.num_stops] = cases[i].stops[o.num_stops], o.num_stops++;
        sn_reply reply = answer(&f, &prompt, &o);
        assert_string_equal(reply.text.data, cases[i].text);
        assert_int_equal(reply.answer.ids.count, cases[i].ids);
        if (cases[i].fired) assert_string_equal(reply.stopped_by, cases[i].fired);
        else assert_true(reply.by_length && !reply.stopped_by);
        sn_reply_free(&reply);
    }
    sn_prompt_free(&prompt);
    sn_free(picture);
    close_case(&f);
}

/* What does not fit the window is an error with the numbers; an answer that would leave it ends there. */
static void test_window(void **state) {
    fixture f;
    open_case(&f, "llava/v15-generate");
    char words[9000];
    memset(words, 'w', sizeof words - 1), words[sizeof words - 1] = 0;
    sn_content content = {.text = words};
    sn_prompt prompt = prompt_of(&f, &(sn_message){SN_ROLE_USER, &content, 1}, 1);
    sn_generate_options o = greedy(4);
    sn_reply reply;
    sn_error error = {0};
    assert_true((int64_t)prompt.ids.count > f.model->lm.max_positions);
    assert_int_equal(try_answer(&f, &prompt, &o, &reply, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "2048"));
    prompt.ids.count = 2045;
    o.max_new_tokens = 100;
    reply = answer(&f, &prompt, &o);
    assert_true(reply.by_length);
    assert_int_equal(reply.answer.ids.count, 3);
    sn_reply_free(&reply);
    sn_prompt_free(&prompt);
    close_case(&f);
}

/* Activations beyond f16's range are no matter in float32; NaN in a weight is an error that names it. */
static void test_overflow_and_nan(void **state) {
    fixture f;
    open_case(&f, "llava/v15-generate");
    sn_store_entry *down = sn_store_find(f.model->store, "decoder.layers.1.mlp.down.weight");
    int64_t count = sn_shape_count(&down->weight.shape);
    uint16_t *half = sn_alloc((size_t)count, sizeof *half);
    const float *values = sn_weight_floats(&down->weight);
    for (int64_t i = 0; i < count; i++) half[i] = sn_f32_to_f16(values[i] * 50000);
    sn_weight kept = down->weight;
    down->weight = sn_weight_view(SN_TYPE_F16, kept.shape, half);
    const sn_content content[] = {TEXT("Who sails?")};
    sn_prompt prompt = prompt_of(&f, &(sn_message){SN_ROLE_USER, content, 1}, 1);
    sn_generate_options o = greedy(4);
    sn_reply reply = answer(&f, &prompt, &o);
    assert_true(reply.answer.ids.count > 0);
    sn_reply_free(&reply);
    half[7] = 0x7e00;
    sn_error error = {0};
    assert_int_equal(try_answer(&f, &prompt, &o, &reply, &error), SN_ERROR_NUMERIC);
    assert_non_null(strstr(error.message, "layers.1.mlp.down"));
    down->weight = kept;
    sn_free(half);
    sn_prompt_free(&prompt);
    close_case(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pictures_keep_their_turn), cmocka_unit_test(test_batch_equals_rows_alone), cmocka_unit_test(test_stop_strings),
                                       cmocka_unit_test(test_window), cmocka_unit_test(test_overflow_and_nan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
