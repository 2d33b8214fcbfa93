/* The public interface as a program outside sees it: only sensorium.h, linked with the shared library. The model is a
 * reference case, so that answers have right values: argv[1] is its folder. */
#include "sensorium/sensorium.h"
#include "tests/unit/check.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char *folder;

typedef struct fixture {
    sn_error *error;
    sn_context *context;
    sn_assistant *assistant;
    sn_options *options;
    char picture[512];
} fixture;

#define assert_fine(call, f)                                      \
    do {                                                          \
        if (call) fail_msg("%s", sn_error_message((f)->error));   \
    } while (0)

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    char model[512];
    snprintf(model, sizeof model, "%s/model", folder);
    snprintf(f->picture, sizeof f->picture, "%s/inputs/a.png", folder);
    f->error = sn_error_new();
    f->options = sn_options_new();
    assert_fine(sn_options_set(f->options, "template", "hf", f->error), f);
    assert_fine(sn_options_set(f->options, "max_new_tokens", "12", f->error), f);
    assert_fine(sn_options_set(f->options, "temperature", "0", f->error), f);
    assert_fine(sn_context_new(1, &f->context, f->error), f);
    assert_fine(sn_assistant_open_path(f->context, model, &f->assistant, f->error), f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    sn_assistant_close(f->assistant);
    sn_context_free(f->context);
    sn_options_free(f->options);
    sn_error_free(f->error);
    free(f);
    return 0;
}

static sn_chat *new_chat(fixture *f) {
    sn_chat *chat;
    assert_fine(sn_chat_new(f->assistant, f->options, &chat, f->error), f);
    return chat;
}

static void expect_usage(fixture *f, sn_status status) {
    assert_int_equal(status, SN_ERROR_USAGE);
    assert_int_equal(sn_error_status(f->error), SN_ERROR_USAGE);
}

static void ask(fixture *f, sn_chat *chat) {
    assert_fine(sn_chat_add_picture(chat, f->picture, f->error), f);
    assert_fine(sn_chat_add_text(chat, "Is it raining?", f->error), f);
}

typedef struct heard {
    char text[4096];
    size_t length;
    int calls;
} heard;

static void hear(void *user, const char *text, size_t length) {
    heard *h = user;
    assert_true(h->length + length < sizeof h->text);
    memcpy(h->text + h->length, text, length);
    h->length += length;
    h->calls++;
}

/* The reference's own words, whole and in stretches; the same from a path and from bytes. */
static void test_answers_as_the_reference(void **state) {
    fixture *f = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/expected.json", folder);
    json_t *expected = json_load_file(path, 0, NULL);
    const char *text = json_string_value(json_object_get(json_object_get(expected, "values"), "text"));
    assert_non_null(text);
    sn_chat *chat = new_chat(f);
    heard h = {0};
    ask(f, chat);
    assert_fine(sn_chat_answer(chat, hear, &h, f->error), f);
    assert_int_equal(sn_chat_num_parts(chat), 1);
    assert_int_equal(sn_chat_part_kind(chat, 0), SN_PART_TEXT);
    assert_string_equal(sn_chat_part_text(chat, 0), text);
    assert_non_null(strstr(h.text, text)); /* blanks at the ends may surround it */
    assert_true(h.calls > 1);
    assert_int_equal(sn_chat_finish(chat), SN_FINISH_LENGTH);
    assert_int_equal(sn_chat_part_kind(chat, 1), SN_PART_NONE);
    assert_null(sn_chat_part_text(chat, 1));

    char bytes[65536];
    FILE *file = fopen(f->picture, "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    sn_chat_reset(chat);
    assert_int_equal(sn_chat_num_parts(chat), 0);
    assert_fine(sn_chat_add_picture_bytes(chat, bytes, size, f->error), f);
    memset(bytes, 0, sizeof bytes);
    assert_fine(sn_chat_add_text(chat, "Is it raining?", f->error), f);
    assert_fine(sn_chat_answer(chat, NULL, NULL, f->error), f);
    assert_string_equal(sn_chat_part_text(chat, 0), text);
    sn_chat_free(chat);
    json_decref(expected);
}

static void answer_into(fixture *f, sn_chat *chat, char text[4096]) {
    assert_fine(sn_chat_add_text(chat, "Is it raining?", f->error), f);
    assert_fine(sn_chat_answer(chat, NULL, NULL, f->error), f);
    snprintf(text, 4096, "%s", sn_chat_part_text(chat, 0));
    sn_chat_reset(chat);
}

/* A file's bytes in a data URL, and the pixels of a small BMP beside the BMP. */
static void test_other_ways_in(void **state) {
    fixture *f = *state;
    enum { SIDE = 8, ROW = 3 * SIDE, HEAD = 54 };
    unsigned char bytes[20000], rgb[SIDE * ROW], bmp[HEAD + SIDE * ROW] = {'B', 'M', [10] = HEAD, [14] = 40, [18] = SIDE, [22] = SIDE, [26] = 1, [28] = 24};
    char url[3 * sizeof bytes + 16] = "data:,", by_path[4096], by_url[4096], by_bytes[4096], by_pixels[4096];
    FILE *file = fopen(f->picture, "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);
    assert_true(size < sizeof bytes);
    fclose(file);
    for (size_t i = 0; i < size; i++) snprintf(url + 6 + 3 * i, 4, "%%%02x", bytes[i]);
    sn_chat *chat = new_chat(f);
    assert_fine(sn_chat_add_picture(chat, f->picture, f->error), f);
    answer_into(f, chat, by_path);
    assert_fine(sn_chat_add_picture(chat, url, f->error), f);
    answer_into(f, chat, by_url);
    assert_string_equal(by_path, by_url);

    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++) {
                rgb[y * ROW + 3 * x + c] = (unsigned char)(31 * x + 7 * y + 80 * c);
                bmp[HEAD + (SIDE - 1 - y) * ROW + 3 * x + 2 - c] = rgb[y * ROW + 3 * x + c];
            }
    assert_fine(sn_chat_add_picture_bytes(chat, bmp, sizeof bmp, f->error), f);
    answer_into(f, chat, by_bytes);
    assert_fine(sn_chat_add_picture_pixels(chat, rgb, SIDE, SIDE, f->error), f);
    answer_into(f, chat, by_pixels);
    assert_string_equal(by_bytes, by_pixels);
    expect_usage(f, sn_chat_add_picture_pixels(chat, NULL, SIDE, SIDE, f->error));
    assert_int_equal(sn_chat_add_picture_pixels(chat, rgb, INT64_MAX, 3, f->error), SN_ERROR_INPUT);
    assert_int_equal(sn_chat_add_picture(chat, "data:;base64,iVBORw0K", f->error), SN_ERROR_INPUT);
    sn_chat_free(chat);
}

/* Three turns, with a picture in the first and in the last. Under a sanitizer this is also the test for leaks. */
static void test_three_turns(void **state) {
    fixture *f = *state;
    sn_chat *chat = new_chat(f);
    assert_fine(sn_chat_set_system(chat, "Answer briefly.", f->error), f);
    for (int turn = 0; turn < 3; turn++) {
        if (turn != 1) assert_fine(sn_chat_add_picture(chat, f->picture, f->error), f);
        assert_fine(sn_chat_add_text(chat, "And what do you see now?", f->error), f);
        assert_fine(sn_chat_answer(chat, NULL, NULL, f->error), f);
        assert_true(strlen(sn_chat_part_text(chat, 0)) > 0);
    }
    expect_usage(f, sn_chat_set_system(chat, "Too late.", f->error));
    sn_chat_free(chat);
}

static void cancel_at_once(void *user, const char *text, size_t length) {
    (void)text, (void)length;
    sn_chat_cancel(user);
}

/* What was said until an answer is cancelled stays, and the conversation can go on. */
static void test_cancel(void **state) {
    fixture *f = *state;
    sn_chat *chat = new_chat(f), *fresh = new_chat(f);
    ask(f, chat);
    ask(f, fresh);
    assert_fine(sn_chat_answer(chat, cancel_at_once, chat, f->error), f);
    assert_fine(sn_chat_answer(fresh, NULL, NULL, f->error), f);
    const char *part = sn_chat_part_text(chat, 0), *whole = sn_chat_part_text(fresh, 0);
    assert_int_equal(sn_chat_finish(chat), SN_FINISH_CANCELLED);
    assert_in_range(strlen(part), 1, strlen(whole) - 1);
    assert_memory_equal(part, whole, strlen(part));
    assert_int_equal(sn_chat_answer(chat, NULL, NULL, f->error), SN_ERROR_USAGE); /* the message was answered */
    assert_fine(sn_chat_add_text(chat, "Go on.", f->error), f);
    assert_fine(sn_chat_answer(chat, NULL, NULL, f->error), f);
    assert_int_equal(sn_chat_finish(chat), SN_FINISH_LENGTH);
    sn_chat_free(chat);
    sn_chat_free(fresh);
}

static void *wait_and_cancel(void *chat) {
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    sn_chat_cancel(chat);
    return NULL;
}

static void test_cancel_from_another_thread(void **state) {
    fixture *f = *state;
    /* long enough that it cannot be over before */
    assert_fine(sn_options_set(f->options, "max_new_tokens", "100000", f->error), f);
    assert_fine(sn_options_set(f->options, "num_beams", "8", f->error), f);
    sn_chat *chat = new_chat(f);
    ask(f, chat);
    pthread_t thread;
    pthread_create(&thread, NULL, wait_and_cancel, chat);
    assert_fine(sn_chat_answer(chat, NULL, NULL, f->error), f);
    pthread_join(thread, NULL);
    assert_int_equal(sn_chat_finish(chat), SN_FINISH_CANCELLED);
    sn_chat_free(chat);
    assert_fine(sn_options_set(f->options, "max_new_tokens", "12", f->error), f);
    assert_fine(sn_options_set(f->options, "num_beams", "1", f->error), f);
}

typedef struct reentry {
    fixture *f;
    sn_chat *other;
    sn_status status;
} reentry;

static void answer_inside(void *user, const char *text, size_t length) {
    reentry *r = user;
    (void)text, (void)length;
    r->status = sn_chat_answer(r->other, NULL, NULL, r->f->error);
}

/* A callback that asks for another answer is refused instead of waiting for itself. */
static void test_callbacks_may_not_call_back(void **state) {
    fixture *f = *state;
    sn_chat *chat = new_chat(f);
    reentry r = {f, new_chat(f), SN_OK};
    ask(f, chat);
    ask(f, r.other);
    assert_fine(sn_chat_answer(chat, answer_inside, &r, f->error), f);
    assert_int_equal(r.status, SN_ERROR_USAGE);
    sn_chat_free(r.other);
    sn_chat_free(chat);
}

typedef struct talker {
    fixture *f;
    char text[512];
} talker;

static void *talk(void *context) {
    talker *t = context;
    sn_chat *chat = NULL;
    bool failed = sn_chat_new(t->f->assistant, t->f->options, &chat, NULL) || sn_chat_add_picture(chat, t->f->picture, NULL) ||
                  sn_chat_add_text(chat, "Is it raining?", NULL) || sn_chat_answer(chat, NULL, NULL, NULL);
    snprintf(t->text, sizeof t->text, "%s", failed ? "(failed)" : sn_chat_part_text(chat, 0));
    sn_chat_free(chat);
    return NULL;
}

/* Chats of one context from several threads give what each gives alone. */
static void test_threads(void **state) {
    fixture *f = *state;
    talker alone = {.f = f}, talkers[4];
    pthread_t threads[4];
    talk(&alone);
    assert_string_not_equal(alone.text, "(failed)");
    for (int i = 0; i < 4; i++) {
        talkers[i] = (talker){.f = f};
        pthread_create(&threads[i], NULL, talk, &talkers[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_string_equal(talkers[i].text, alone.text);
    }
}

typedef struct seen {
    int64_t done, total;
    int calls;
} seen;

static void progress(void *user, const char *what, int64_t done, int64_t total) {
    seen *s = user;
    if (strcmp(what, "answer") == 0) s->done = done, s->total = total, s->calls++;
}

static void test_progress(void **state) {
    fixture *f = *state;
    seen s = {0};
    sn_chat *chat = new_chat(f);
    sn_context_set_progress(f->context, progress, &s);
    ask(f, chat);
    assert_fine(sn_chat_answer(chat, NULL, NULL, f->error), f);
    sn_context_set_progress(f->context, NULL, NULL);
    assert_int_equal(s.calls, 12);
    assert_int_equal(s.done, 12);
    assert_int_equal(s.total, 12);
    sn_chat_free(chat);
}

static void test_embedding(void **state) {
    fixture *f = *state;
    sn_embedding *e;
    assert_fine(sn_embed_picture(f->assistant, f->picture, &e, f->error), f);
    assert_int_equal(sn_embedding_rows(e), sn_assistant_picture_positions(f->assistant));
    assert_true(sn_embedding_columns(e) > 0);
    double sum = 0;
    for (int64_t i = 0; i < sn_embedding_rows(e) * sn_embedding_columns(e); i++) sum += (double)sn_embedding_data(e)[i] * (double)sn_embedding_data(e)[i];
    assert_true(sum > 0);
    sn_embedding_free(e);
}

static void test_about(void **state) {
    fixture *f = *state;
    char line[256];
    assert_string_equal(sn_assistant_system(f->assistant), "LLaVA");
    assert_string_equal(sn_assistant_layout(f->assistant), "Hugging Face");
    assert_true(sn_assistant_sees(f->assistant) && sn_assistant_answers(f->assistant));
    assert_true(sn_assistant_window(f->assistant) > sn_assistant_picture_positions(f->assistant));
    size_t length = sn_features(line, sizeof line);
    assert_int_equal(length, strlen(line));
    assert_int_equal(sn_features(NULL, 0), length);
    assert_string_equal(sn_version(), SN_VERSION);
}

static void expect_failure(fixture *f, sn_status status, sn_status expected, const char *said) {
    assert_int_equal(status, expected);
    assert_int_equal(sn_error_status(f->error), expected);
    if (!strstr(sn_error_message(f->error), said)) fail_msg("\"%s\" does not say \"%s\"", sn_error_message(f->error), said);
}

/* Every kind of mistake has its status and names what was wrong. */
static void test_mistakes(void **state) {
    fixture *f = *state;
    sn_error *e = f->error;
    sn_chat *chat = new_chat(f);
    sn_files *files = sn_files_new();
    sn_assistant *assistant = (sn_assistant *)&f;
    sn_embedding *embedding;
    expect_failure(f, sn_context_new(-1, &(sn_context *){NULL}, e), SN_ERROR_USAGE, "threads: found -1");
    expect_failure(f, sn_context_new(1, NULL, e), SN_ERROR_USAGE, "out: found NULL");
    expect_failure(f, sn_files_set(files, "ears", "x", e), SN_ERROR_USAGE, "found \"ears\"");
    expect_failure(f, sn_assistant_open(f->context, files, &assistant, e), SN_ERROR_USAGE, "no model was given");
    assert_null(assistant);
    expect_failure(f, sn_assistant_open_path(f->context, "/no/such/place", &assistant, e), SN_ERROR_IO, "/no/such/place");
    expect_failure(f, sn_assistant_open_path(f->context, f->picture, &assistant, e), SN_ERROR_INPUT, "not a checkpoint");
    expect_failure(f, sn_options_set(f->options, "temperature", "hot", e), SN_ERROR_USAGE, "temperature: found \"hot\"");
    expect_failure(f, sn_options_set(f->options, "temprature", "1", e), SN_ERROR_USAGE, "temprature");
    expect_failure(f, sn_options_set(f->options, "exif", "maybe", e), SN_ERROR_USAGE, "exif: found \"maybe\"");
    expect_failure(f, sn_options_set(f->options, "alpha", "black", e), SN_ERROR_USAGE, "alpha: found \"black\"");
    expect_failure(f, sn_options_set(f->options, "stop", "", e), SN_ERROR_USAGE, "stop:");
    expect_failure(f, sn_chat_answer(chat, NULL, NULL, e), SN_ERROR_USAGE, "no message");
    expect_failure(f, sn_chat_add_text(chat, "\xff", e), SN_ERROR_INPUT, "byte 0 is no UTF-8");
    expect_failure(f, sn_chat_add_text(NULL, "a", e), SN_ERROR_USAGE, "chat: found NULL");
    expect_failure(f, sn_chat_add_picture(chat, "/no/such.png", e), SN_ERROR_IO, "/no/such.png");
    expect_failure(f, sn_chat_add_picture_bytes(chat, "GIF87b", 6, e), SN_ERROR_INPUT, "not a picture");
    expect_failure(f, sn_embed_picture(f->assistant, "/no/such.png", &embedding, e), SN_ERROR_IO, "/no/such.png");
    assert_null(embedding);
    /* a message that is too long is dropped; the chat goes on */
    char *words = malloc(200001);
    for (int i = 0; i < 200000; i++) words[i] = i % 2 ? ' ' : 'a';
    words[200000] = 0;
    assert_fine(sn_chat_add_text(chat, words, e), f);
    expect_failure(f, sn_chat_answer(chat, NULL, NULL, e), SN_ERROR_INPUT, "window");
    free(words);
    ask(f, chat);
    assert_fine(sn_chat_answer(chat, NULL, NULL, e), f);
    sn_files_free(files);
    sn_chat_free(chat);
}

/* Handing NULL to what gives back or asks is harmless. */
static void test_null_is_harmless(void **state) {
    (void)state;
    sn_error_free(NULL), sn_context_free(NULL), sn_files_free(NULL), sn_assistant_close(NULL), sn_options_free(NULL), sn_chat_free(NULL), sn_embedding_free(NULL);
    assert_int_equal(sn_context_set_compute(NULL, "f32", NULL), SN_ERROR_USAGE);
    sn_chat_reset(NULL), sn_chat_cancel(NULL), sn_context_set_log(NULL, NULL, NULL), sn_context_set_progress(NULL, NULL, NULL);
    assert_int_equal(sn_error_status(NULL), SN_OK);
    assert_string_equal(sn_error_message(NULL), "");
    assert_int_equal(sn_chat_num_parts(NULL), 0);
    assert_null(sn_embedding_data(NULL));
    assert_false(sn_assistant_sees(NULL));
    assert_null(sn_assistant_system(NULL));
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : ".";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_as_the_reference),
        cmocka_unit_test(test_other_ways_in),
        cmocka_unit_test(test_three_turns),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_callbacks_may_not_call_back),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_about),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_null_is_harmless),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
