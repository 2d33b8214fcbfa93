/* Tokenizers beyond the reference cases of components/tokenize: real vocabularies, what added tokens' flags ask for, words
 * of a user, streams, long texts, broken files. SN_GOLDENS names tests/goldens, beside which tests/data lies. */
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/utf8.h"
#include "systems/gguf_vocabulary.h"
#include "tests/unit/check.h"
#include "text/arrays.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char *path_of(const char *relative) {
    const char *root = getenv("SN_GOLDENS");
    assert_non_null(root);
    return sn_path_join(root, relative);
}

static sn_tokenizer *open_case(const char *relative) {
    sn_error error = {0};
    sn_tokenizer *t;
    char *path = path_of(relative);
    assert_ok(sn_open_any_tokenizer(path, false, &t, &error), error);
    sn_free(path);
    return t;
}

/* A number below `most`; *at counts the draws. */
static uint32_t draw(uint64_t *at, uint32_t most) { return (uint32_t)((double)sn_uniform(7, 0, (*at)++) * most); }

/* Writes a file below a fresh name and opens it; *status tells. */
static sn_tokenizer *open_bytes(const char *end, const void *bytes, size_t size, sn_status *status, sn_error *error) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/sn-tokenizer-XXXXXX%s", end);
    int file = mkstemps(path, (int)strlen(end));
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, size), (ssize_t)size);
    close(file);
    sn_tokenizer *t;
    *status = sn_tokenizer_open(path, false, &t, error);
    unlink(path);
    return t;
}

static sn_tokenizer *open_text(const char *json) {
    sn_error error = {0};
    sn_status status;
    sn_tokenizer *t = open_bytes(".json", json, strlen(json), &status, &error);
    assert_ok(status, error);
    return t;
}

static void assert_ids(const sn_tokenizer *t, const char *text, const unsigned char *literal, int flags, const char *expected) {
    sn_error error = {0};
    sn_ids ids = {0};
    sn_buf found = {0};
    sn_buf_puts(&found, "");
    assert_ok(sn_tokenizer_encode(t, text, strlen(text), literal, flags, &ids, &error), error);
    for (size_t i = 0; i < ids.count; i++) sn_buf_printf(&found, "%s%d", i ? " " : "", ids.data[i]);
    assert_string_equal(found.data ? found.data : "", expected);
    sn_buf_free(&found);
    sn_ids_free(&ids);
}

/* ---- the published vocabularies of LLaMA, GPT-2 and BERT ---- */

static void check_vocabulary(const char *vocabulary, const char *answers) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    sn_tokenizer *t = open_case(vocabulary);
    sn_error error = {0};
    char *texts, *lines, *texts_path = path_of("../data/vocabs/texts.inp"), *lines_path = path_of(answers);
    size_t size, lines_size;
    assert_ok(sn_read_file(texts_path, 1 << 20, &texts, &size, &error), error);
    assert_ok(sn_read_file(lines_path, 1 << 20, &lines, &lines_size, &error), error);
    int count = 0;
    char *line = lines;
    for (char *text = texts, *end; text; text = end ? end + sizeof mark - 1 : NULL, count++) {
        end = strstr(text, mark);
        char *stop = strchr(line, '\n');
        if (end) *end = 0;
        if (stop) *stop = 0;
        while (*line == ' ') line++;
        assert_ids(t, text, NULL, 0, line);
        line = stop ? stop + 1 : line + strlen(line);
    }
    assert_int_equal(count, 47);
    sn_free(texts);
    sn_free(lines);
    sn_free(texts_path);
    sn_free(lines_path);
    sn_tokenizer_close(t);
}

static void test_vocabulary_of_llama(void **state) { check_vocabulary("../data/vocabs/llama.gguf", "../data/vocabs/llama.out"); }
static void test_vocabulary_of_gpt2(void **state) { check_vocabulary("../data/vocabs/gpt2.gguf", "../data/vocabs/gpt2.out"); }
static void test_vocabulary_of_bert(void **state) { check_vocabulary("../data/vocabs/bert.gguf", "../data/vocabs/bert.out"); }

/* ---- added tokens ---- */

#define LEVEL "\"pre_tokenizer\": {\"type\": \"Whitespace\"}, \"model\": {\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"a\": 1, \"b\": 2, \"ab\": 3}}"

static void test_flags_of_added_tokens(void **state) {
    sn_tokenizer *t = open_text("{\"added_tokens\": [{\"id\": 4, \"content\": \"<l>\", \"lstrip\": true}, {\"id\": 5, \"content\": \"<r>\", \"rstrip\": true},"
                                "{\"id\": 6, \"content\": \"ab\", \"single_word\": true}, {\"id\": 7, \"content\": \"<r><l>\"}],"
                                "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \".\"}, \"behavior\": \"Isolated\"},"
                                "\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"a\": 1, \"b\": 2, \" \": 3}}}");
    assert_ids(t, "a  <l>  b", NULL, 0, "1 4 3 3 2");  /* the blanks to its left are gone */
    assert_ids(t, "a  <r>  b", NULL, 0, "1 3 3 5 2");  /* to its right */
    assert_ids(t, "<r> <l>", NULL, 0, "5 4");
    assert_ids(t, "<r><l>", NULL, 0, "7");             /* the longest of those that begin here */
    assert_ids(t, "ab", NULL, 0, "6");
    assert_ids(t, "ab ab", NULL, 0, "6 3 6");
    assert_ids(t, "aab", NULL, 0, "1 1 2");            /* inside a word it is no word of its own */
    assert_ids(t, "ab\xc3\xa9", NULL, 0, "1 2 0");
    sn_tokenizer_close(t);
}

/* normalized: matched in the text after normalising, against its own normalised form. */
static void test_tokens_in_normalised_text(void **state) {
    static const char file[] = "{\"added_tokens\": [{\"id\": 4, \"content\": \"[X]\", \"normalized\": %s}], \"normalizer\": {\"type\": \"Lowercase\"}, " LEVEL "}";
    char json[sizeof file + 8];
    snprintf(json, sizeof json, file, "true");
    sn_tokenizer *t = open_text(json);
    assert_ids(t, "a [x] [X] b", NULL, 0, "1 4 4 2");
    sn_tokenizer_close(t);
    snprintf(json, sizeof json, file, "false");
    t = open_text(json);
    assert_ids(t, "a [x] [X] b", NULL, 0, "1 0 0 0 4 2");
    sn_tokenizer_close(t);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char *path = sn_path_join(folder, name);
    sn_error error = {0};
    assert_ok(sn_write_file(path, text, strlen(text), &error), error);
    sn_free(path);
}

/* tokenizer_config.json adds tokens, too; an empty special token means "not given". */
static void test_tokens_of_the_configuration(void **state) {
    char folder[] = "/tmp/sn-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_text(folder, "tokenizer.json", "{\"normalizer\": {\"type\": \"Lowercase\"}, " LEVEL "}");
    write_text(folder, "tokenizer_config.json", "{\"bos_token\": \"\", \"eos_token\": {\"content\": \"b\"}, \"added_tokens_decoder\": {\"4\": {\"content\": \"<Y>\", \"normalized\": true}, \"5\": {\"content\": \"<Z>\", \"rstrip\": true}}}");
    sn_error error = {0};
    sn_tokenizer *t;
    assert_ok(sn_tokenizer_open(folder, false, &t, &error), error);
    assert_ids(t, "a <y> <Y> <Z> a <z>", NULL, 0, "1 4 4 5 1 0 0 0");
    assert_int_equal(sn_tokenizer_about(t)->bos, -1);
    assert_int_equal(sn_tokenizer_about(t)->eos, 2);
    sn_tokenizer_close(t);
    write_text(folder, "tokenizer_config.json", "{\"added_tokens_decoder\": {\"1\": {\"content\": \"<Y>\"}}}");
    assert_int_equal(sn_tokenizer_open(folder, false, &t, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "<Y> has id 1"));
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (int i = 0; i < 2; i++) {
        char *path = sn_path_join(folder, names[i]);
        unlink(path);
        sn_free(path);
    }
    rmdir(folder);
}

/* What a user writes never becomes a special token, what a template writes does. */
static void test_words_of_a_user(void **state) {
    static const char text[] = "a</s>b</s>";
    unsigned char literal[sizeof text] = {0};
    memset(literal, 1, 5);
    static const char *const cases[] = {"components/tokenize/llama-spm/model/tokenizer.model", "components/tokenize/llama-spm/model/tokenizer.json", "components/tokenize/opt-bpe/model/tokenizer.json"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_tokenizer *t = open_case(cases[i]);
        sn_error error = {0};
        for (int marked = 0; marked < 3; marked++) { /* nothing is literal, the first is, special tokens are off */
            sn_ids ids = {0};
            assert_ok(sn_tokenizer_encode(t, text, strlen(text), marked == 1 ? literal : NULL, marked == 2 ? SN_ENCODE_NO_SPECIAL : 0, &ids, &error), error);
            int special = 0;
            for (size_t k = 0; k < ids.count; k++) special += sn_tokenizer_is_special(t, ids.data[k]);
            assert_int_equal(special, 2 - marked);
            sn_ids_free(&ids);
        }
        sn_tokenizer_close(t);
    }
}

/* ---- kinds of pieces ---- */

static sn_tokenizer *open_pieces(const char *model, const char *const *pieces, const float *scores, const int32_t *types, size_t count) {
    sn_text_span spans[16];
    sn_error error = {0};
    sn_tokenizer *t;
    for (size_t i = 0; i < count; i++) spans[i] = (sn_text_span){pieces[i], strlen(pieces[i])};
    sn_vocabulary_arrays v = {.model = model, .pieces = spans, .scores = scores, .types = types, .count = count, .bos = -1, .eos = -1, .unk = 0, .pad = -1, .add_bos = 0, .add_eos = 0, .add_space_prefix = 0, .remove_extra = 0};
    assert_ok(sn_tokenizer_open_arrays("pieces", &v, &t, &error), error);
    return t;
}

/* A user-defined piece is always taken; an unused one is joined on the way to others and taken apart at the end. */
static void test_user_defined_and_unused_pieces(void **state) {
    static const char *const pieces[] = {"<unk>", "a", "b", "c", "ab", "abc"};
    static const float scores[] = {0, -1, -1, -1, -9, -9};
    static const int32_t user[] = {2, 1, 1, 1, 4, 1}, unused[] = {2, 1, 1, 1, 5, 1}, unused_whole[] = {2, 1, 1, 1, 1, 5};
    sn_tokenizer *t = open_pieces("t5", pieces, scores, user, 6);
    assert_ids(t, "abc", NULL, SN_ENCODE_NO_SPECIAL, "4 3");
    assert_ids(t, "cab", NULL, SN_ENCODE_NO_SPECIAL, "3 4");
    sn_tokenizer_close(t);
    t = open_pieces("llama", pieces, scores, unused, 6);
    assert_ids(t, "abc", NULL, 0, "5");
    assert_ids(t, "ab", NULL, 0, "1 2");
    assert_ids(t, "xyab", NULL, 0, "0 1 2"); /* a run of unknown characters is one */
    sn_tokenizer_close(t);
    t = open_pieces("llama", pieces, scores, unused_whole, 6);
    assert_ids(t, "abc", NULL, 0, "4 3");
    sn_tokenizer_close(t);
}

/* Expressions are Oniguruma's: ^ at every line, \w with numerals like U+2167. */
static void test_meaning_of_expressions(void **state) {
    sn_tokenizer *t = open_text("{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"^\\\\w\"}, \"content\": \"b\"}, " LEVEL "}");
    assert_ids(t, "a\na\n\xe2\x85\xa7\n\xe1\xa0\x8e", NULL, 0, "2 2 2 0");
    sn_tokenizer_close(t);
}

/* A folder with spiece.model alone is read as T5's slow class reads it: sentinels from 599 downward, </s> behind. */
static void test_sentinels_of_t5(void **state) {
    char *folder = path_of("components/tokenize/t5-unigram/model");
    sn_error error = {0};
    sn_tokenizer *slow, *fast;
    assert_ok(sn_tokenizer_open(folder, true, &slow, &error), error);
    assert_ok(sn_tokenizer_open(folder, false, &fast, &error), error);
    assert_int_equal(sn_tokenizer_find(slow, "<extra_id_0>"), 599);
    assert_int_equal(sn_tokenizer_about(slow)->vocab_size, sn_tokenizer_about(fast)->vocab_size);
    static const char text[] = "<extra_id_0> two dogs<extra_id_99>";
    sn_ids a = {0}, b = {0};
    assert_ok(sn_tokenizer_encode(slow, text, strlen(text), NULL, SN_ENCODE_SPECIAL_ENDS, &a, &error), error);
    assert_ok(sn_tokenizer_encode(fast, text, strlen(text), NULL, SN_ENCODE_SPECIAL_ENDS, &b, &error), error);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.data, b.data, a.count * sizeof *a.data);
    sn_ids_free(&a);
    sn_ids_free(&b);
    sn_tokenizer_close(slow);
    sn_tokenizer_close(fast);
    sn_free(folder);
}

/* T5's normaliser folds blanks of every kind; a character that its pieces lack is the unknown token, and no error. */
static void test_blanks_of_t5(void **state) {
    static const char *const spellings[] = {"Hi there I'm good", "Hi  there I'm good", " Hi there\tI'm good ", "Hi\nthere I'm  good", "Hi there I'm good\n\n"};
    char *folder = path_of("components/tokenize/t5-unigram/model");
    sn_error error = {0};
    for (int slow = 0; slow < 2; slow++) {
        sn_tokenizer *t;
        assert_ok(sn_tokenizer_open(folder, slow, &t, &error), error);
        for (int i = 0; i < 5; i++) assert_ids(t, spellings[i], NULL, SN_ENCODE_SPECIAL_ENDS, "28 116 58 34 43 76 3 94 113 113 25 1");
        assert_ids(t, "id: {x} \u4f60\u597d", NULL, SN_ENCODE_SPECIAL_ENDS, "161 25 8 3 489 122 326 3 2 1");
        sn_tokenizer_close(t);
    }
    sn_free(folder);
}

/* A vocabulary without an unknown token makes no ids of a word that it lacks: found by fuzzing. */
static void test_words_without_ids(void **state) {
    sn_tokenizer *t = open_text("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0.5]]}}");
    sn_ids ids = {0};
    sn_error error = {0};
    char text[6000];
    memset(text, 'b', sizeof text); /* long enough for words to be remembered */
    assert_ok(sn_tokenizer_encode(t, text, sizeof text, NULL, 0, &ids, &error), error);
    assert_int_equal(ids.count, 0);
    sn_ids_free(&ids);
    sn_tokenizer_close(t);
}

/* BERT's normaliser leaves nothing of a control character: found by fuzzing. */
static void test_text_that_vanishes(void **state) {
    sn_tokenizer *t = open_text("{\"normalizer\": {\"type\": \"BertNormalizer\"}, \"model\": {\"type\": \"WordPiece\", \"vocab\": {\"[UNK]\": 0, \"a\": 1}}}");
    sn_ids ids = {0};
    sn_error error = {0};
    assert_ok(sn_tokenizer_encode(t, "\x17", 1, NULL, 0, &ids, &error), error);
    assert_int_equal(ids.count, 0);
    sn_ids_free(&ids);
    sn_tokenizer_close(t);
}

/* ---- streams ---- */

static const char *const every_case[] = {
    "components/tokenize/llama-spm/model/tokenizer.model", "components/tokenize/llama-spm/model/tokenizer.json", "components/tokenize/t5-unigram/model/spiece.model",
    "components/tokenize/t5-unigram/model/tokenizer.json", "components/tokenize/gpt2-bpe/model/tokenizer.json", "components/tokenize/clip-bpe/model/tokenizer.json",
    "components/tokenize/bert-wordpiece/model/tokenizer.json", "components/tokenize/bert-wordpiece/model/vocab.txt", "components/tokenize/opt-bpe/model/vocab.json",
    "components/tokenize/clip-bpe/model/bpe_simple_vocab.txt.gz"};
enum { NUM_CASES = sizeof every_case / sizeof *every_case };

/* Chunks joined are the decoding of the whole; each is whole characters. */
static void test_streams_join_to_the_whole(void **state) {
    for (int c = 0; c < NUM_CASES; c++) {
        sn_tokenizer *t = open_case(every_case[c]);
        uint64_t random = 0;
        for (int round = 0; round < 40; round++) {
            int32_t ids[24];
            for (int i = 0; i < 24; i++) ids[i] = (int32_t)draw(&random, (uint32_t)sn_tokenizer_about(t)->vocab_size + 3);
            sn_buf whole = {0}, joined = {0};
            sn_tokenizer_decode(t, ids, 24, round % 2, &whole);
            sn_detokenizer d;
            sn_detokenizer_begin(&d, t, round % 2);
            for (int i = 0; i < 24; i++) {
                size_t before = joined.length;
                sn_detokenizer_push(&d, ids[i], &joined);
                assert_true(sn_utf8_valid(joined.data ? joined.data + before : "", joined.length - before, NULL));
            }
            sn_detokenizer_end(&d, &joined);
            assert_int_equal(joined.length, whole.length);
            if (whole.length) assert_memory_equal(joined.data, whole.data, whole.length);
            sn_buf_free(&whole);
            sn_buf_free(&joined);
        }
        sn_tokenizer_close(t);
    }
}

/* ---- long texts ---- */

static void fill(sn_buf *out, const char *unit, size_t bytes) {
    while (out->length < bytes) sn_buf_puts(out, unit);
}

/* A megabyte of one word, one letter, noise, one emoji, marks for LLaMA, a quarter for the others: seconds at most; only
 * something quadratic takes longer. */
static void test_long_texts(void **state) {
    static const char *const cases[] = {"../data/vocabs/llama.gguf", "../data/vocabs/bert.gguf", "components/tokenize/t5-unigram/model/tokenizer.json", "components/tokenize/gpt2-bpe/model/tokenizer.json",
                                        "components/tokenize/clip-bpe/model/tokenizer.json", "components/tokenize/clip-bpe/model/bpe_simple_vocab.txt.gz"};
    static const char *const units[] = {"word ", "a", "\xf0\x9f\x98\x80", " ", "\xcc\x81\xcc\xa3", NULL};
    enum { LIMIT = 20 };
    uint64_t random = 0;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sn_tokenizer *t = open_case(cases[c]);
        size_t size = c ? 1 << 18 : 1 << 20;
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            sn_buf text = {0};
            sn_ids ids = {0};
            sn_error error = {0};
            if (units[u]) fill(&text, units[u], size);
            while (text.length < size) { /* noise: U+0000 to U+00FF */
                char bytes[4];
                sn_buf_add(&text, bytes, (size_t)sn_utf8_encode(draw(&random, 256), bytes));
            }
            clock_t begin = clock();
            assert_ok(sn_tokenizer_encode(t, text.data, text.length, NULL, 0, &ids, &error), error);
            double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
            if (seconds > LIMIT) fail_msg("%s: %zu bytes of text %zu took %.1f s", cases[c], size, u, seconds);
            sn_ids_free(&ids);
            sn_buf_free(&text);
        }
        sn_tokenizer_close(t);
    }
}

/* "word " ten times in LLaMA's vocabulary, and the trailing blank. */
static void test_known_ids_of_a_long_text(void **state) {
    sn_tokenizer *t = open_case("../data/vocabs/llama.gguf");
    assert_ids(t, "word word word ", NULL, 0, "1734 1734 1734 29871");
    assert_ids(t, "word word word ", NULL, SN_ENCODE_SPECIAL_ENDS, "1 1734 1734 1734 29871");
    sn_tokenizer_close(t);
}

/* ---- broken files ---- */

/* OPT puts one </s> in front of every text, whether tokenizer.json says so, says nothing of it (files of 2022), or is not there;
 * a </s> in the text is one more. */
static void test_opt_begins_once(void **state) {
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer_config.json", "tokenizer.json"};
    sn_error error = {0};
    for (int kind = 0; kind < 3; kind++) {
        char folder[] = "/tmp/sn-tokenizer-XXXXXX";
        assert_non_null(mkdtemp(folder));
        for (int i = 0; i < (kind == 2 ? 3 : 4); i++) {
            char *bytes, *from = path_of("components/tokenize/opt-bpe/model"), *path = sn_path_join(from, names[i]);
            size_t size;
            assert_ok(sn_read_file(path, 1 << 20, &bytes, &size, &error), error);
            if (i == 3 && kind == 1) {
                json_t *root;
                assert_ok(sn_json_bytes(path, bytes, size, &root, &error), error);
                json_object_set_new(root, "post_processor", json_pack("{s:s, s:b}", "type", "ByteLevel", "trim_offsets", 0));
                sn_free(bytes);
                char *text = json_dumps(root, 0);
                bytes = sn_strdup(text);
                free(text);
                json_decref(root);
            }
            write_text(folder, names[i], bytes);
            sn_free(bytes);
            sn_free(path);
            sn_free(from);
        }
        sn_tokenizer *t;
        sn_ids ids = {0};
        assert_ok(sn_tokenizer_open(folder, false, &t, &error), error);
        assert_ok(sn_tokenizer_encode(t, "</s>a", 5, NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error), error);
        assert_int_equal(ids.count, 3);
        assert_memory_equal(ids.data, ((int32_t[]){2, 2}), 8);
        ids.count = 0;
        assert_ok(sn_tokenizer_encode(t, "a", 1, NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error), error);
        assert_int_equal(ids.count, 2);
        assert_int_equal(ids.data[0], 2);
        sn_ids_free(&ids);
        sn_tokenizer_close(t);
        for (int i = 0; i < 4; i++) {
            char *path = sn_path_join(folder, names[i]);
            unlink(path);
            sn_free(path);
        }
        rmdir(folder);
    }
}

/* Long texts remember their words; a text in which one stretch stands many times has the stretch's ids as often. */
static void test_words_that_come_again(void **state) {
    static const char *const cases[] = {"../data/vocabs/llama.gguf", "../data/vocabs/bert.gguf", "components/tokenize/gpt2-bpe/model"};
    static const char stretch[] = " The  quick brown\t\tfox -- it's 12 \xe7\x8c\xab \xce\xa9\xf0\x9f\x98\x80, na\xc3\xafve   words and a_very_long_identifier_that_no_table_keeps_whole.";
    enum { TIMES = 300 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_error error = {0};
        sn_tokenizer *t = open_case(cases[i]);
        sn_ids one = {0}, all = {0};
        sn_buf text = {0};
        for (int k = 0; k < TIMES; k++) sn_buf_puts(&text, stretch);
        assert_ok(sn_tokenizer_encode(t, stretch, strlen(stretch), NULL, SN_ENCODE_CONTINUES, &one, &error), error);
        assert_ok(sn_tokenizer_encode(t, text.data, text.length, NULL, SN_ENCODE_CONTINUES, &all, &error), error);
        assert_int_equal(all.count, one.count * TIMES);
        for (size_t k = 0; k < TIMES; k++) assert_memory_equal(all.data + k * one.count, one.data, one.count * sizeof *one.data);
        sn_buf_free(&text);
        sn_ids_free(&one);
        sn_ids_free(&all);
        sn_tokenizer_close(t);
    }
}

static void refuse(const char *json, const char *why) {
    sn_error error = {0};
    sn_status status;
    sn_tokenizer *t = open_bytes(".json", json, strlen(json), &status, &error);
    if (!status) fail_msg("opened: %s", json);
    assert_null(t);
    if (!strstr(error.message, why)) fail_msg("\"%s\" does not say \"%s\"", error.message, why);
}

static void test_broken_descriptions_are_refused(void **state) {
    refuse("{}", "no model");
    refuse("{\"model\": {\"type\": \"Other\", \"vocab\": {}}}", "Other");
    refuse("{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"a\", \"vocab\": {\"a\": 0, \"b\": 0}}}", "same id");
    refuse("{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"a\", \"vocab\": {\"a\": 2000000000}}}", "2000000000");
    refuse("{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"a\", \"vocab\": {\"a\": -1}}}", "-1");
    refuse("{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"c\", \"vocab\": {\"a\": 0}}}", "unk_token c");
    refuse("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"a b\"]}}", "not in the vocabulary");
    refuse("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"ab\"]}}", "two pieces");
    refuse("{\"model\": {\"type\": \"Unigram\", \"unk_id\": 7, \"vocab\": [[\"a\", 0]]}}", "unk_id");
    refuse("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"a\", 1]]}}", "twice");
    refuse("{\"added_tokens\": [{\"id\": 1, \"content\": \"<x>\"}], " LEVEL "}", "already");
    refuse("{\"added_tokens\": [{\"id\": 9000000, \"content\": \"<x>\"}], " LEVEL "}", "9000000");
    refuse("{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}, " LEVEL "}", "map");
    refuse("{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(\"}, \"content\": \"\"}, " LEVEL "}", "cannot be used");
    refuse("{\"decoder\": {\"type\": \"Unheard\"}, " LEVEL "}", "Unheard");
    refuse("{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}]}, " LEVEL "}", "<s>");
}

/* An expression that backtracks without end gives an error, not a hang. */
static void test_expression_that_costs_too_much(void **state) {
    sn_tokenizer *t = open_text("{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(a+)+$\"}, \"content\": \"\"}, " LEVEL "}");
    sn_buf text = {0};
    sn_ids ids = {0};
    sn_error error = {0};
    fill(&text, "a", 4000);
    sn_buf_puts(&text, "b");
    assert_int_not_equal(sn_tokenizer_encode(t, text.data, text.length, NULL, 0, &ids, &error), SN_OK);
    sn_ids_free(&ids);
    sn_buf_free(&text);
    sn_tokenizer_close(t);
}

/* Cut files and files with changed bytes are refused or opened, and what opens can be used. */
static void test_damaged_files(void **state) {
    static const char *const files[][2] = {{"components/tokenize/llama-spm/model/tokenizer.model", ".model"}, {"components/tokenize/t5-unigram/model/spiece.model", ".model"}, {"components/tokenize/bert-wordpiece/model/tokenizer.json", ".json"}};
    uint64_t random = 0;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        char *path = path_of(files[f][0]), *bytes;
        size_t size;
        sn_error error = {0};
        assert_ok(sn_read_file(path, 1 << 24, &bytes, &size, &error), error);
        for (int round = 0; round < 60; round++) {
            size_t length = round % 2 ? size : draw(&random, (uint32_t)size), place = draw(&random, (uint32_t)size);
            char kept = bytes[place];
            if (round % 2) bytes[place] ^= (char)(1 << draw(&random, 8));
            sn_status status;
            sn_tokenizer *t = open_bytes(files[f][1], bytes, length, &status, &error);
            bytes[place] = kept;
            if (status) continue;
            sn_ids ids = {0};
            sn_buf text = {0};
            static const char words[] = "What is this? \xe7\x8c\xab 1.5 \xef\xac\x81";
            assert_ok(sn_tokenizer_encode(t, words, strlen(words), NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error), error);
            sn_tokenizer_decode(t, ids.data, ids.count, false, &text);
            sn_ids_free(&ids);
            sn_buf_free(&text);
            sn_tokenizer_close(t);
        }
        sn_free(bytes);
        sn_free(path);
    }
}

/* Memory that cannot be had is an error at any place, and nothing leaks. */
static void test_without_memory(void **state) {
    for (int c = 0; c < NUM_CASES; c++) {
        char *path = path_of(every_case[c]);
        for (int64_t n = 1; n < 4000; n += 1 + n / 3) {
            sn_error error = {0};
            sn_tokenizer *t = NULL;
            sn_ids ids = {0};
            sn_memory_fail_at(n);
            sn_status status = sn_tokenizer_open(path, false, &t, &error);
            if (!status) status = sn_tokenizer_encode(t, "a photo of a cat", 16, NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error);
            sn_memory_fail_at(0);
            assert_true(status == SN_OK || error.message[0]);
            sn_ids_free(&ids);
            sn_tokenizer_close(t);
        }
        sn_free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary_of_llama),
        cmocka_unit_test(test_vocabulary_of_gpt2),
        cmocka_unit_test(test_vocabulary_of_bert),
        cmocka_unit_test(test_flags_of_added_tokens),
        cmocka_unit_test(test_tokens_in_normalised_text),
        cmocka_unit_test(test_tokens_of_the_configuration),
        cmocka_unit_test(test_words_of_a_user),
        cmocka_unit_test(test_user_defined_and_unused_pieces),
        cmocka_unit_test(test_meaning_of_expressions),
        cmocka_unit_test(test_sentinels_of_t5), cmocka_unit_test(test_blanks_of_t5), cmocka_unit_test(test_words_without_ids), cmocka_unit_test(test_text_that_vanishes),
        cmocka_unit_test(test_streams_join_to_the_whole),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_known_ids_of_a_long_text),
        cmocka_unit_test(test_words_that_come_again),
        cmocka_unit_test(test_opt_begins_once),
        cmocka_unit_test(test_broken_descriptions_are_refused),
        cmocka_unit_test(test_expression_that_costs_too_much),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
