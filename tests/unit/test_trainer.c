/* A vocabulary that was learnt is read by the tokenizers that others' files go through, and gives texts back. */
#include "base/file.h"
#include "tests/unit/check.h"
#include "text/tokenizer.h"
#include "text/trainer.h"

#include <stdlib.h>
#include <string.h>

static const char corpus[] =
    "The owl sits at the top left and the other owl sits at the bottom right.\nThere are two owls in the picture, and the background is blue.\n"
    "\xd0\xa1\xd0\xbe\xd0\xb2\xd0\xb0 \xd1\x81\xd0\xb8\xd0\xb4\xd0\xb8\xd1\x82 \xd1\x81\xd0\xbb\xd0\xb5\xd0\xb2\xd0\xb0. \xd0\x94\xd0\xb2\xd0\xb5 \xd1\x81\xd0\xbe\xd0\xb2\xd1\x8b.\nThe owl, the owl, the owl: 12 or 34 owls?\n";

static void learn(sn_trainer_kind kind, int size, char folder[], int *learnt) {
    sn_error error = {0};
    assert_non_null(mkdtemp(folder));
    sn_tokenizer_trainer *t = sn_tokenizer_trainer_new(kind);
    assert_ok(sn_tokenizer_trainer_add(t, corpus, sizeof corpus - 1, &error), error);
    assert_ok(sn_tokenizer_trainer_write(t, size, 1, folder, learnt, &error), error);
    sn_tokenizer_trainer_free(t);
}

static void check_round_trip(const char *folder, const char *frequent) {
    static const char *const texts[] = {"The owl sits at the top left.", "two owls", "a  b\n c", "\xd0\xa1\xd0\xbe\xd0\xb2\xd0\xb0", "\xe7\x8c\xab 99", ""};
    sn_tokenizer *t;
    sn_error error = {0};
    assert_ok(sn_tokenizer_open(folder, true, &t, &error), error);
    assert_true(sn_tokenizer_find(t, frequent) >= 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sn_ids ids = {0};
        sn_buf back = {0};
        assert_ok(sn_tokenizer_encode(t, texts[i], strlen(texts[i]), NULL, 0, &ids, &error), error);
        sn_tokenizer_decode(t, ids.data, ids.count, true, &back);
        assert_string_equal(back.data ? back.data : "", texts[i]);
        sn_buf_free(&back);
        sn_ids_free(&ids);
    }
    sn_tokenizer_close(t);
}

static void remove_folder(const char *folder) {
    char *command = sn_format("rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    sn_free(command);
}

static void test_sentencepiece(void **state) {
    char folder[] = "/tmp/vocabulary-XXXXXX";
    int learnt;
    learn(SN_TRAINER_SENTENCEPIECE, 340, folder, &learnt);
    assert_int_equal(learnt, 340);
    check_round_trip(folder, "\xe2\x96\x81owl");
    remove_folder(folder);
}

static void test_byte_level(void **state) {
    char folder[] = "/tmp/vocabulary-XXXXXX";
    int learnt;
    learn(SN_TRAINER_BYTE_LEVEL, 300, folder, &learnt);
    assert_int_equal(learnt, 300);
    check_round_trip(folder, "\xc4\xa0owl");
    remove_folder(folder);
}

/* What cannot be learnt is said: no text, bytes that are no text, a vocabulary too small for its characters. */
static void test_limits(void **state) {
    sn_error error = {0};
    int learnt;
    char folder[] = "/tmp/vocabulary-XXXXXX";
    assert_non_null(mkdtemp(folder));
    sn_tokenizer_trainer *t = sn_tokenizer_trainer_new(SN_TRAINER_SENTENCEPIECE);
    assert_int_equal(sn_tokenizer_trainer_write(t, 400, 1, folder, &learnt, &error), SN_ERROR_INPUT);
    assert_int_equal(sn_tokenizer_trainer_add(t, "a\xff", 2, &error), SN_ERROR_INPUT);
    assert_ok(sn_tokenizer_trainer_add(t, corpus, sizeof corpus - 1, &error), error);
    assert_int_equal(sn_tokenizer_trainer_write(t, 270, 1, folder, &learnt, &error), SN_ERROR_USAGE);
    assert_non_null(strstr(error.message, "270"));
    sn_tokenizer_trainer_free(t);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_byte_level), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
