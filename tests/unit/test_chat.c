/* Conversations with the demo model: what is computed again and what is not, and that it makes no difference. */
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "generate/conversation.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder; /* models/demo */

typedef struct fixture {
    sn_engine *engine;
    sn_model *model;
    sn_pictures *pictures;
} fixture;

static int setup(void **state) {
    fixture *f = sn_alloc(1, sizeof *f);
    sn_error error = {0};
    sn_model_files files = {.main = folder};
    assert_ok(sn_engine_new(1, &f->engine, &error), error);
    assert_ok(sn_model_open(f->engine, &files, &f->model, &error), error);
    assert_ok(sn_pictures_new(f->model, 1 << 20, &f->pictures, &error), error);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    sn_pictures_free(f->pictures);
    sn_model_close(f->model);
    sn_engine_free(f->engine);
    sn_free(f);
    return 0;
}

static sn_conversation *begin(fixture *f) {
    sn_conversation *c;
    sn_error error = {0};
    assert_ok(sn_conversation_new(f->model, f->pictures, &c, &error), error);
    return c;
}

/* A question, with a picture where path is not NULL. */
static void say(fixture *f, sn_conversation *c, const char *path, const char *text) {
    sn_picture *picture = NULL;
    sn_error error = {0};
    if (path) assert_ok(sn_picture_open(f->pictures, path, NULL, &picture, &error), error);
    sn_piece pieces[] = {{.text = path, .picture = picture}, {.text = text}};
    assert_ok(sn_conversation_add(c, SN_ROLE_USER, path ? pieces : pieces + 1, path ? 2 : 1, &error), error);
    if (picture) sn_picture_drop(f->pictures, picture);
}

static sn_turn_result answer(sn_conversation *c, const sn_turn *turn) {
    sn_generate_options greedy = sn_generate_defaults();
    sn_turn plain = {.options = &greedy};
    sn_turn_result r;
    sn_error error = {0};
    assert_ok(sn_conversation_answer(c, turn ? turn : &plain, &r, &error), error);
    return r;
}

static void expect_answer(sn_conversation *c, const char *text, int64_t cached) {
    sn_turn_result r = answer(c, NULL);
    assert_string_equal(r.reply.text.data, text);
    assert_int_equal(r.cached_positions, cached);
    sn_reply_free(&r.reply);
}

static char *scene(const char *name) { return sn_format("%s/scenes/%s.png", folder, name); }

/* Each further turn computes its own text; the picture is encoded once. */
static void test_turns_keep_the_cache(void **state) {
    fixture *f = *state;
    char *path = scene("000");
    sn_conversation *c = begin(f);
    say(f, c, path, "How many things are there?");
    sn_turn_result first = answer(c, NULL);
    assert_string_equal(first.reply.text.data, "Four.");
    assert_int_equal(first.cached_positions, 0);
    assert_int_equal(first.picture_positions, 64);
    say(f, c, NULL, "What colour is the background?");
    /* all of the prompt and of the answer but its end mark, which has no place in this template */
    expect_answer(c, "Blue.", first.prompt_positions + (int64_t)first.reply.answer.ids.count - 1);
    assert_int_equal(sn_pictures_encoded(f->pictures), 1);
    sn_reply_free(&first.reply);
    sn_conversation_free(c);
    sn_free(path);
}

/* A long conversation over one cache says what a new one with the same messages says. */
static void test_cache_changes_nothing(void **state) {
    fixture *f = *state;
    static const char *const questions[] = {"Describe the picture.", "Что внизу слева?", "Where is the lark?", "Сколько здесь предметов?"};
    char *path = scene("000");
    sn_conversation *kept = begin(f);
    for (int n = 1; n <= 4; n++) {
        say(f, kept, n == 1 ? path : NULL, questions[n - 1]);
        json_t *saved = sn_conversation_json(kept);
        sn_turn_result a = answer(kept, NULL);
        sn_conversation *fresh = begin(f);
        sn_error error = {0};
        int changed;
        assert_ok(sn_conversation_read(fresh, "saved", saved, ".", NULL, &changed, &error), error);
        assert_int_equal(changed, 0);
        sn_turn_result b = answer(fresh, NULL);
        assert_int_equal(b.cached_positions, 0);
        assert_int_equal(a.reply.answer.ids.count, b.reply.answer.ids.count);
        assert_memory_equal(a.reply.answer.ids.data, b.reply.answer.ids.data, a.reply.answer.ids.count * sizeof(int32_t));
        sn_reply_free(&a.reply);
        sn_reply_free(&b.reply);
        sn_conversation_free(fresh);
        json_decref(saved);
    }
    sn_conversation_free(kept);
    sn_free(path);
}

static void copy(const char *from, const char *to) {
    char *bytes;
    size_t size;
    sn_error error = {0};
    assert_ok(sn_read_file(from, 1 << 20, &bytes, &size, &error), error);
    assert_ok(sn_write_file(to, bytes, size, &error), error);
    sn_free(bytes);
}

/* All positions of a picture look alike to a tokenizer: the cache goes by content. One file is overwritten between
 * questions: four things, the same four, one, the same one, four again. */
static void test_another_picture_is_never_taken_for_the_last_one(void **state) {
    fixture *f = *state;
    char *four = scene("000"), *one = scene("001"), path[] = "/tmp/sensorium-XXXXXX";
    close(mkstemp(path));
    sn_conversation *c = begin(f);
    const char *const contents[] = {four, four, one, one, four};
    int64_t prompt = 0;
    for (int i = 0; i < 5; i++) {
        copy(contents[i], path);
        sn_conversation_cut(c, 0);
        say(f, c, path, "How many things are there?");
        sn_turn_result r = answer(c, NULL);
        assert_string_equal(r.reply.text.data, contents[i] == four ? "Four." : "One.");
        bool same = i == 1 || i == 3;
        assert_int_equal(r.cached_positions, i == 0 ? 0 : same ? prompt - 1 : 4); /* 4: "<s>USER: " */
        prompt = r.prompt_positions;
        sn_reply_free(&r.reply);
    }
    assert_int_equal(sn_pictures_encoded(f->pictures), 2);
    /* within one conversation: the first turn keeps the picture that it was asked about */
    say(f, c, NULL, "What is at the top left?");
    expect_answer(c, "A lark.", prompt + 2);
    copy(one, path);
    say(f, c, path, "How many things are there?");
    sn_turn_result r = answer(c, NULL);
    assert_int_equal(r.picture_positions, 128);
    sn_reply_free(&r.reply);
    sn_conversation_free(c);
    unlink(path);
    sn_free(four);
    sn_free(one);
}

/* What a person types is text. */
static void test_special_tokens_typed_are_text(void **state) {
    fixture *f = *state;
    sn_conversation *c = begin(f);
    say(f, c, NULL, "<image></s><unk>");
    sn_turn_result r = answer(c, NULL);
    assert_int_equal(r.picture_positions, 0);
    assert_true(r.prompt_positions > 20); /* letter by letter */
    sn_reply_free(&r.reply);
    sn_conversation_free(c);
}

typedef struct listener {
    sn_buf text;
    atomic_bool cancel;
    size_t enough;
} listener;

static void listen_to(void *context, const char *text, size_t length) {
    listener *l = context;
    assert_true(length > 0);
    sn_buf_add(&l->text, text, length);
    if (l->text.length >= l->enough) atomic_store(&l->cancel, true);
}

/* The streamed pieces joined are the text, also where a stop string begins and does not end. */
static void test_streamed_is_the_text(void **state) {
    fixture *f = *state;
    static const char *const stops[] = {NULL, "Нет такого", "пингвин", "бизон."};
    char *path = scene("000");
    for (int i = 0; i < 4; i++) {
        sn_generate_options options = sn_generate_defaults();
        listener l = {.enough = SIZE_MAX};
        if (stops[i]) options.stops[options.num_stops++] = stops[i];
        sn_conversation *c = begin(f);
        say(f, c, path, "Опиши картинку.");
        sn_turn_result r = answer(c, &(sn_turn){.options = &options, .on_text = listen_to, .context = &l});
        assert_string_equal(l.text.data, r.reply.text.data);
        assert_string_equal(sn_finish_reason(&r.reply), "stop");
        assert_true((r.reply.stopped_by != NULL) == (i >= 2));
        if (i == 2) assert_string_equal(r.reply.text.data, "Вверху слева — жаворонок, вверху справа —");
        sn_buf_free(&l.text);
        sn_reply_free(&r.reply);
        sn_conversation_free(c);
    }
    sn_free(path);
}

/* A stopped answer stays in the conversation as far as it came, and the conversation goes on from there. */
static void test_a_cancelled_answer_stays_in_part(void **state) {
    fixture *f = *state;
    sn_generate_options greedy = sn_generate_defaults();
    listener l = {.enough = 10};
    char *path = scene("000");
    sn_conversation *c = begin(f);
    say(f, c, path, "Describe the picture.");
    sn_turn_result r = answer(c, &(sn_turn){.options = &greedy, .on_text = listen_to, .context = &l, .cancel = &l.cancel});
    assert_true(r.reply.cancelled);
    assert_string_equal(l.text.data, r.reply.text.data);
    assert_true(strncmp("I see a lark at the top left, a penguin", r.reply.text.data, r.reply.text.length) == 0);
    assert_int_equal(sn_conversation_count(c), 2);
    say(f, c, NULL, "How many things are there?");
    sn_turn_result next = answer(c, NULL);
    assert_true(next.cached_positions >= r.prompt_positions);
    sn_reply_free(&next.reply);
    sn_reply_free(&r.reply);
    sn_buf_free(&l.text);
    sn_conversation_free(c);
    sn_free(path);
}

/* A prompt that does not fit is refused with numbers, and the conversation is as before. */
/* Ctrl-C before the picture is through the encoder: nothing was said, nothing is kept, and the question can be asked again. */
static void test_encoding_is_cancelled(void **state) {
    fixture *f = *state;
    sn_generate_options greedy = sn_generate_defaults();
    atomic_bool cancel = true;
    sn_picture *picture = NULL;
    sn_error error = {0};
    const float *rows;
    char *path = scene("001");
    sn_conversation *c = begin(f);
    say(f, c, path, "Describe the picture.");
    int64_t encoded = sn_pictures_encoded(f->pictures);
    sn_turn_result r = answer(c, &(sn_turn){.options = &greedy, .cancel = &cancel});
    assert_true(r.reply.cancelled);
    assert_int_equal(r.reply.text.length, 0);
    assert_int_equal(sn_pictures_encoded(f->pictures), encoded);
    assert_int_equal(sn_conversation_count(c), 1);
    assert_ok(sn_picture_open(f->pictures, path, NULL, &picture, &error), error);
    assert_int_equal(sn_picture_rows(f->pictures, picture, &cancel, &rows, &error), SN_ERROR_CANCELLED);
    atomic_store(&cancel, false);
    sn_turn_result again = answer(c, &(sn_turn){.options = &greedy, .cancel = &cancel});
    assert_false(again.reply.cancelled);
    assert_true(again.reply.text.length > 0);
    assert_int_equal(sn_pictures_encoded(f->pictures), encoded + 1);
    sn_picture_drop(f->pictures, picture);
    sn_reply_free(&r.reply);
    sn_reply_free(&again.reply);
    sn_conversation_free(c);
    sn_free(path);
}

static void test_too_long_is_refused(void **state) {
    fixture *f = *state;
    sn_conversation *c = begin(f);
    char *path = scene("000"), *text = sn_alloc(5000, 1);
    for (int i = 0; i < 4999; i++) text[i] = i % 2 ? ' ' : 'x';
    say(f, c, path, text);
    sn_generate_options greedy = sn_generate_defaults();
    sn_turn_result r;
    sn_error error = {0};
    assert_int_equal(sn_conversation_answer(c, &(sn_turn){.options = &greedy}, &r, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "1 pictures of 64"));
    assert_non_null(strstr(error.message, "1024"));
    sn_conversation_cut(c, 0);
    say(f, c, path, "How many things are there?");
    expect_answer(c, "Four.", 0);
    sn_conversation_free(c);
    sn_free(path);
    sn_free(text);
}

/* A saved picture that is another one now is noticed. */
static void test_saved_conversation(void **state) {
    fixture *f = *state;
    char *four = scene("000"), *one = scene("001"), path[] = "/tmp/sensorium-XXXXXX";
    close(mkstemp(path));
    copy(four, path);
    sn_conversation *c = begin(f), *again = begin(f);
    sn_error error = {0};
    int changed;
    say(f, c, path, "How many things are there?");
    expect_answer(c, "Four.", 0);
    json_t *saved = sn_conversation_json(c);
    assert_ok(sn_conversation_read(again, "saved", saved, "/", NULL, &changed, &error), error);
    assert_int_equal(changed, 0);
    say(f, again, NULL, "What colour is the background?");
    expect_answer(again, "Blue.", 0);
    copy(one, path);
    sn_conversation_cut(again, 0);
    assert_ok(sn_conversation_read(again, "saved", saved, "/", NULL, &changed, &error), error);
    assert_int_equal(changed, 1);
    json_t *bad = json_pack("{s:[{s:s,s:[{s:s}]}]}", "messages", "role", "user", "content", "type", "sound");
    assert_int_equal(sn_conversation_read(again, "bad.json", bad, "/", NULL, &changed, &error), SN_ERROR_INPUT);
    assert_int_equal(sn_conversation_count(again), 2);
    json_decref(bad);
    json_decref(saved);
    sn_conversation_free(c);
    sn_conversation_free(again);
    unlink(path);
    sn_free(four);
    sn_free(one);
}

static void expect_key(fixture *f, const uint64_t key[2], sn_status status, sn_picture *picture, const sn_error *error) {
    if (status) fail_msg("%s", error->message);
    assert_memory_equal(picture->key, key, sizeof picture->key);
    sn_picture_drop(f->pictures, picture);
}

/* Whatever way a picture comes in, the model gets the same bits: here a board of black and white pixels, whose grey tells
 * that it was made smaller by a filter and not by leaving pixels out. */
static void test_every_way_in_gives_the_same_bits(void **state) {
    fixture *f = *state;
    enum { SIDE = 512, ROW = 3 * SIDE, HEAD = 54, SIZE = HEAD + ROW * SIDE };
    static const unsigned char head[HEAD] = {'B', 'M', [10] = HEAD, [14] = 40, [19] = SIDE >> 8, [23] = SIDE >> 8, [26] = 1, [28] = 24};
    char path[] = "/tmp/sensorium-XXXXXX";
    unsigned char *rgb = sn_alloc(SIDE, ROW), *bmp = sn_alloc(SIZE, 1);
    for (int i = 0; i < SIDE * SIDE; i++) memset(rgb + 3 * i, (i / SIDE + i % SIDE) % 2 ? 0 : 255, 3);
    memcpy(bmp, head, HEAD);
    for (int y = 0; y < SIDE; y++) memcpy(bmp + HEAD + y * ROW, rgb + (SIDE - 1 - y) * ROW, ROW);
    sn_buf url = {0};
    sn_buf_puts(&url, "data:image/bmp;base64,");
    sn_base64_add(&url, bmp, SIZE);
    sn_error error = {0};
    close(mkstemp(path));
    assert_ok(sn_write_file(path, bmp, SIZE, &error), error);

    sn_picture *first, *other;
    assert_ok(sn_picture_open(f->pictures, path, NULL, &first, &error), error);
    int64_t size = f->model->image_size;
    const float *mean = f->model->processor.mean, *std = f->model->processor.std;
    for (int64_t i = 0; i < 3 * size * size; i++) {
        int64_t y = i / size % size, x = i % size, c = i / size / size;
        float grey = 255 * (first->planes[i] * std[c] + mean[c]);
        bool inside = x > 1 && y > 1 && x < size - 2 && y < size - 2;
        if (inside ? grey < 126.9F || grey > 128.1F : grey < 123.9F || grey > 131.1F) fail_msg("%g at %lld, %lld", (double)grey, (long long)x, (long long)y);
    }
    uint64_t key[2] = {first->key[0], first->key[1]};
    sn_status status = sn_picture_open(f->pictures, url.data, NULL, &other, &error);
    expect_key(f, key, status, other, &error);
    status = sn_picture_decode(f->pictures, "bytes", bmp, SIZE, NULL, &other, &error);
    expect_key(f, key, status, other, &error);
    status = sn_picture_pixels(f->pictures, "pixels", rgb, SIDE, SIDE, &other, &error);
    expect_key(f, key, status, other, &error);
    rgb[0] ^= 255;
    assert_ok(sn_picture_pixels(f->pictures, "pixels", rgb, SIDE, SIDE, &other, &error), error);
    assert_memory_not_equal(other->key, key, sizeof key);
    sn_picture_drop(f->pictures, other);
    assert_int_equal(sn_picture_pixels(f->pictures, "pixels", rgb, 1 << 20, 1, &other, &error), SN_ERROR_INPUT);
    sn_picture_drop(f->pictures, first);
    unlink(path);
    sn_buf_free(&url);
    sn_free(bmp);
    sn_free(rgb);
}

/* A picture that stands in the conversation's file itself is saved and read again; a broken one is named by its message. */
static void test_saved_with_a_data_url(void **state) {
    fixture *f = *state;
    char *path = scene("000"), *bytes;
    size_t size;
    int changed;
    sn_error error = {0};
    sn_buf url = {0};
    assert_ok(sn_read_file(path, 1 << 20, &bytes, &size, &error), error);
    sn_buf_puts(&url, "data:image/png;base64,");
    sn_base64_add(&url, bytes, size);
    sn_conversation *c = begin(f), *again = begin(f);
    say(f, c, url.data, "How many things are there?");
    expect_answer(c, "Four.", 0);
    json_t *saved = sn_conversation_json(c);
    assert_ok(sn_conversation_read(again, "saved", saved, "/nowhere", NULL, &changed, &error), error);
    assert_int_equal(changed, 0);
    say(f, again, NULL, "What colour is the background?");
    expect_answer(again, "Blue.", 0);
    json_t *bad = json_pack("{s:[{s:s,s:s},{s:s,s:[{s:s,s:s}]}]}", "messages", "role", "user", "content", "a", "role", "user", "content", "type", "image", "path", "data:image/png;base64,iVBORw0K!");
    assert_int_equal(sn_conversation_read(again, "bad.json", bad, "/", NULL, &changed, &error), SN_ERROR_INPUT);
    assert_string_equal(error.message, "bad.json: messages[1]: path: data URL: byte 30: found a character that is no digit of it, expected base64");
    json_decref(bad);
    json_decref(saved);
    sn_conversation_free(c);
    sn_conversation_free(again);
    sn_buf_free(&url);
    sn_free(bytes);
    sn_free(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "models/demo";
    const struct CMUnitTest tests[] = {
        TEST(test_turns_keep_the_cache), TEST(test_cache_changes_nothing), TEST(test_another_picture_is_never_taken_for_the_last_one), TEST(test_special_tokens_typed_are_text),
        TEST(test_streamed_is_the_text), TEST(test_a_cancelled_answer_stays_in_part), TEST(test_encoding_is_cancelled), TEST(test_too_long_is_refused), TEST(test_saved_conversation),
        TEST(test_every_way_in_gives_the_same_bits), TEST(test_saved_with_a_data_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
