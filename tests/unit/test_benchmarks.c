/* The readers of benchmarks: what each layout says, and what is refused by the file's name, the field, and what was expected.
 * And the results of a run that was stopped. */
#include "base/file.h"
#include "eval/captions.h"
#include "eval/results.h"
#include "eval/set.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/benchmarks-XXXXXX";

static int setup(void **state) { return mkdtemp(folder) ? 0 : -1; }
static int teardown(void **state) { return rmdir(folder); }

typedef sn_status reader(const char *path, sn_set *out, sn_error *error);

static sn_status captions(const char *path, sn_set *out, sn_error *error) { return sn_set_captions(path, NULL, out, error); }
static sn_status dialogues(const char *path, sn_set *out, sn_error *error) { return sn_set_dialogues(path, NULL, out, error); }

/* Reads `text` as a file of that name; path gets the name that errors begin with. */
static sn_status read_as(reader *read, const char *name, const char *text, char path[96], sn_set *out, sn_error *error) {
    snprintf(path, 96, "%s/%s", folder, name);
    assert_ok(sn_write_file(path, text, strlen(text), error), *error);
    sn_status status = read(path, out, error);
    unlink(path);
    return status;
}

static sn_set good(reader *read, const char *name, const char *text) {
    sn_set set;
    sn_error error = {0};
    char path[96];
    assert_ok(read_as(read, name, text, path, &set, &error), error);
    return set;
}

static void test_captions(void **state) {
    sn_set s = good(captions, "a.json",
                    "{\"images\": [{\"id\": 5, \"file_name\": \"unsaid.jpg\"}, {\"id\": 7, \"file_name\": \"b.jpg\"}, {\"id\": 8, \"file_name\": \"c.jpg\"}],"
                    " \"annotations\": [{\"id\": 1, \"image_id\": 8, \"caption\": \"two\"}, {\"image_id\": 7, \"caption\": \"one\"}, {\"id\": 3, \"image_id\": 8, \"caption\": \"three\"}]}");
    assert_int_equal(s.num_pictures, 2); /* nothing is said about the first */
    assert_int_equal(s.without, 1);
    assert_string_equal(s.pictures[0].name[0], "b.jpg");
    assert_int_equal(s.num_captions, 3);
    assert_string_equal(s.captions[1].id, "2"); /* without one of its own: its place */
    assert_string_equal(s.pictures[s.captions[2].picture].id, "8");
    sn_set_limit(&s, 1);
    assert_int_equal(s.num_captions, 1);
    assert_string_equal(s.captions[0].text, "one");
    sn_set_free(&s);
    s = good(captions, "a.tsv", "b.jpg\ta dog\nc.jpg\ta cat\r\n\nb.jpg\tstill a dog\n");
    assert_int_equal(s.num_pictures, 2);
    assert_string_equal(s.captions[1].text, "a cat");
    assert_int_equal(s.captions[2].picture, 0);
    sn_set_free(&s);
    s = good(captions, "a.jsonl", "{\"image\": \"b.jpg\", \"caption\": \"a dog\"}\n{\"image\": \"b.jpg\", \"caption\": \"a cat\"}");
    assert_int_equal(s.num_captions, 2);
    sn_set_free(&s);
    s = good(captions, "a.json",
             "{\"dataset\": \"coco\", \"images\": [{\"split\": \"train\", \"filename\": \"x.jpg\", \"sentences\": [{\"raw\": \"no\"}]},"
             " {\"split\": \"test\", \"filepath\": \"val2014\", \"filename\": \"y.jpg\", \"cocoid\": 9, \"sentences\": [{\"raw\": \"yes\"}, {\"raw\": \"yes!\"}]}]}");
    assert_int_equal(s.num_pictures, 1);
    assert_string_equal(s.pictures[0].name[0], "val2014/y.jpg");
    assert_string_equal(s.pictures[0].name[1], "y.jpg");
    assert_int_equal(s.num_captions, 2);
    sn_set_free(&s);
}

static void test_dialogues_stories_questions_classes(void **state) {
    sn_set s = good(dialogues, "a.json",
                    "{\"split\": \"val2018\", \"data\": {\"questions\": [\"is it big\"], \"answers\": [\"no\", \"yes\"], \"dialogs\": [{\"image_id\": 12,"
                    " \"dialog\": [{\"question\": 0, \"answer\": 1, \"answer_options\": [1, 0], \"gt_index\": 0}, {\"question\": 0}]}]}}");
    assert_string_equal(s.pictures[0].name[0], "VisualDialog_val2018_000000000012.jpg");
    assert_string_equal(s.dialogues[0].round[0].option[0], "yes");
    assert_int_equal(s.dialogues[0].round[1].right, -1); /* as in the test split */
    assert_null(s.dialogues[0].round[1].answer);
    sn_set_free(&s);
    s = good(sn_set_stories, "a.json",
             "{\"annotations\": [[{\"story_id\": \"1\", \"photo_flickr_id\": \"10\", \"text\": \"a\", \"worker_arranged_photo_order\": 0}],"
             " [{\"story_id\": \"1\", \"photo_flickr_id\": \"11\", \"text\": \"b\", \"worker_arranged_photo_order\": 1}],"
             " [{\"story_id\": \"2\", \"photo_flickr_id\": \"10\", \"text\": \"c\"}], [{\"story_id\": \"2\", \"photo_flickr_id\": \"12\", \"text\": \"d\"}]]}");
    assert_int_equal(s.num_stories, 2);
    assert_int_equal(s.num_pictures, 3);
    assert_int_equal(s.stories[1].picture[0], 0);
    sn_set_limit(&s, 1);
    assert_int_equal(s.num_pictures, 2);
    sn_set_free(&s);
    s = good(sn_set_questions, "a.jsonl", "{\"question\": \"how many\", \"answers\": [\"2\", \"two\"], \"image\": \"a.png\", \"kind\": \"count\", \"language\": \"en\"}\n{\"text\": \"1 + 1\", \"answer\": \"2\"}\n");
    assert_string_equal(s.questions[0].kind, "count.en");
    assert_int_equal(s.questions[0].num_answers, 2);
    assert_int_equal(s.questions[1].picture, -1);
    assert_string_equal(s.questions[1].id, "line 2");
    sn_set_free(&s);
    s = good(sn_set_classes, "a.json", "{\"prompt\": \"See <image>: a \", \"classes\": [\"cat\", \"dog\"], \"images\": [{\"image\": \"a.png\", \"label\": \"dog\"}, {\"image\": \"a.png\", \"label\": 0}]}");
    assert_string_equal(s.before, "See ");
    assert_string_equal(s.behind, ": a ");
    assert_int_equal(s.labels[0].right, 1);
    assert_int_equal(s.num_pictures, 1);
    sn_set_free(&s);
}

static void test_refused(void **state) {
    static const struct { reader *read; const char *name, *text, *message; } cases[] = {
        {captions, "a.json", "", "line 1: not valid JSON"},
        {captions, "a.json", "{\"images\": [{\"id\": 1, \"file_name\": \"a.jp", "not valid JSON"}, /* cut */
        {captions, "a.json", "[]", "expected COCO's captions (images and annotations) or Karpathy's splits"},
        {captions, "a.json", "{\"images\": [{}], \"annotations\": []}", "images[0]: expected id and file_name"},
        {captions, "a.json", "{\"images\": [{\"id\": 1, \"file_name\": \"a\"}, {\"id\": \"1\", \"file_name\": \"b\"}], \"annotations\": []}", "images[1]: the id 1 is there twice"},
        {captions, "a.json", "{\"images\": [], \"annotations\": [7]}", "annotations[0]: a caption without image_id"},
        {captions, "a.json", "{\"images\": [{\"id\": 1, \"file_name\": \"a\"}], \"annotations\": [{\"image_id\": 1, \"caption\": 3}]}", "annotations[0]: expected a caption"},
        {captions, "a.json", "{\"images\": [{\"id\": 1, \"file_name\": \"a\"}], \"annotations\": [{\"image_id\": 1, \"caption\": \"x\", \"id\": 2}, {\"image_id\": 1, \"caption\": \"y\"}]}", "the id 2 is there twice"},
        {captions, "a.json", "{\"images\": [{\"split\": \"train\", \"sentences\": [{\"raw\": \"a\"}]}]}", "no picture is in the split test"},
        {captions, "a.json", "{\"images\": [{\"split\": \"test\", \"filename\": \"a\", \"sentences\": [{\"row\": \"a\"}]}]}", "sentences[0]: expected raw, a text"},
        {captions, "a.tsv", "a.png a dog\n", "line 1: "},
        {captions, "a.tsv", "\n\n", "holds no captions"},
        {captions, "a.jsonl", "{\"image\": \"a.png\"}\n", "line 1: expected image and caption"},
        {dialogues, "a.json", "{\"data\": {}}", "expected VisDial"},
        {dialogues, "a.json", "{\"data\": {\"questions\": [], \"answers\": [], \"dialogs\": []}}", "holds no dialogues"},
        {dialogues, "a.json", "{\"data\": {\"questions\": [1], \"answers\": [], \"dialogs\": []}}", "data.questions[0]: expected a text"},
        {dialogues, "a.json", "{\"data\": {\"questions\": [\"q\"], \"answers\": [], \"dialogs\": [{\"dialog\": [{\"question\": 0}]}]}}", "data.dialogs[0]: a dialogue without image_id"},
        {dialogues, "a.json", "{\"data\": {\"questions\": [\"q\"], \"answers\": [], \"dialogs\": [{\"image_id\": 1, \"dialog\": []}]}}", "found 0 rounds, expected 1 to 100"},
        {dialogues, "a.json", "{\"data\": {\"questions\": [\"q\"], \"answers\": [], \"dialogs\": [{\"image_id\": 1, \"dialog\": [{\"question\": 1}]}]}}", "data.dialogs[0].dialog[0]: question: "},
        {dialogues, "a.json", "{\"data\": {\"questions\": [\"q\"], \"answers\": [\"a\"], \"dialogs\": [{\"image_id\": 1, \"dialog\": [{\"question\": 0, \"answer_options\": [5]}]}]}}", "answer_options[0]: expected a number below 1"},
        {dialogues, "a.json", "{\"data\": {\"questions\": [\"q\"], \"answers\": [\"a\"], \"dialogs\": [{\"image_id\": 1, \"dialog\": [{\"question\": 0, \"answer_options\": [0], \"gt_index\": 1}]}]}}", "gt_index: "},
        {sn_set_stories, "a.json", "{\"annotations\": [[]]}", "annotations[0]: expected a list of one object with story_id and text"},
        {sn_set_stories, "a.json", "{\"annotations\": [[{\"story_id\": 1, \"text\": \"a\"}]]}", "story 1: a caption without photo_flickr_id"},
        {sn_set_stories, "a.json", "{\"annotations\": [[{\"story_id\": 1, \"text\": \"a\", \"photo_flickr_id\": 2}]]}", "story 1: a single sentence, expected two at least"},
        {sn_set_stories, "a.json", "{\"annotations\": [[{\"story_id\": 1, \"text\": \"a\", \"photo_flickr_id\": 2, \"worker_arranged_photo_order\": 1}]]}", "found 1, expected 0: a sentence is missing, out of order or there twice"},
        {sn_set_questions, "a.jsonl", "{\"answer\": \"a\"}\n", "line 1: expected question, a text"},
        {sn_set_questions, "a.jsonl", "{\"question\": \"q\"}\n", "line 1: expected answer, a text"},
        {sn_set_questions, "a.jsonl", "{\"question\": \"q\", \"answers\": []}\n", "line 1: found 0 answers, expected 1 to 1000"},
        {sn_set_questions, "a.jsonl", "{\"id\": 1, \"question\": \"q\", \"answer\": \"a\"}\n{\"id\": 1, \"question\": \"q\", \"answer\": \"a\"}\n", "line 2: the id 1 is there twice"},
        {sn_set_questions, "a.jsonl", "\n", "holds no questions"},
        {sn_set_classes, "a.json", "{\"classes\": []}", "expected classes and images, two lists"},
        {sn_set_classes, "a.json", "{\"classes\": [], \"images\": []}", "classes: found 0, expected a list of 1 to 100000 texts"},
        {sn_set_classes, "a.json", "{\"classes\": [\"a\", \"a\"], \"images\": []}", "classes[1]: a is there twice"},
        {sn_set_classes, "a.json", "{\"classes\": [\"\"], \"images\": []}", "classes[0]: expected a text that is not empty"},
        {sn_set_classes, "a.json", "{\"classes\": [\"a\"], \"images\": []}", "holds no images"},
        {sn_set_classes, "a.json", "{\"prompt\": \"<image><image>\", \"classes\": [\"a\"], \"images\": []}", "prompt: found <image> twice"},
        {sn_set_classes, "a.json", "{\"classes\": [\"a\"], \"images\": [{\"image\": \"x\", \"label\": \"b\"}]}", "images[0]: label: found b, which is none of the classes"},
        {sn_set_classes, "a.json", "{\"classes\": [\"a\"], \"images\": [{\"image\": \"x\", \"label\": 1}]}", "images[0]: label: expected one of the classes, or its number from 0 to 0"},
        {sn_set_classes, "a.json", "{\"classes\": [\"a\"], \"images\": [{\"label\": 0}]}", "images[0]: expected image"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_set set;
        sn_error error = {0};
        char path[96];
        assert_int_equal(read_as(cases[i].read, cases[i].name, cases[i].text, path, &set, &error), SN_ERROR_INPUT);
        if (strncmp(error.message, path, strlen(path)) != 0 || !strstr(error.message, cases[i].message)) fail_msg("case %zu: found \"%s\", expected %s and \"%s\"", i, error.message, path, cases[i].message);
    }
}

/* ---- results ---- */

static json_t *identity_of(const char *task) { return json_pack("{s:i, s:s}", "results", 1, "task", task); }

static sn_status open_results(const char *path, const char *task, sn_results **out, sn_error *error) {
    json_t *identity = identity_of(task);
    sn_status status = sn_results_open(path, identity, out, error);
    json_decref(identity);
    return status;
}

/* Cut at any byte, a file is gone on with, and is the same at the end. */
static void test_results_go_on(void **state) {
    char path[96], *whole = NULL, *again;
    size_t size, length;
    sn_error error = {0};
    sn_results *r;
    snprintf(path, sizeof path, "%s/r.jsonl", folder);
    for (size_t cut = 0, last = 1; cut < last; cut++) {
        if (cut) assert_int_equal(truncate(path, (off_t)cut - 1), 0); /* the first time there is none */
        assert_ok(open_results(path, "recall", &r, &error), error);
        for (int i = 0; i < 3; i++) {
            char name[8];
            snprintf(name, sizeof name, "item %d", i);
            if (!sn_results_find(r, name)) assert_ok(sn_results_add(r, name, json_pack("{s:i}", "rank", i), &error), error);
        }
        assert_true(sn_results_resumed(r) <= 3);
        sn_results_close(r);
        assert_ok(sn_read_file(path, 1 << 20, &again, &length, &error), error);
        if (!cut) whole = again, size = length, last = size + 2;
        else {
            assert_true(length == size && memcmp(whole, again, size) == 0);
            sn_free(again);
        }
    }
    sn_free(whole);
    unlink(path);
}

static void test_results_refused(void **state) {
    static const struct { const char *text, *message; } cases[] = {
        {"my diary", "holds no results of an evaluation"},
        {"my diary\n", "line 1: not valid JSON"},
        {"{\"a\": 1}\n", "holds no results of an evaluation"},
        {"{\"results\":1,\"task\":\"vist\"}\n", "was begun with a different task: found \"vist\", this run has \"recall\""},
        {"{\"results\":2,\"task\":\"recall\"}\n", "was begun"},
        {"{\"results\":1,\"task\":\"recall\"}\n{\"rank\":1}\n", "line 2: expected item, a text"},
        {"{\"results\":1,\"task\":\"recall\"}\n{\"item\":\"a\"}\n{\"item\":\"a\"}\n", "line 3: the item a is there twice"},
        {"{\"results\":1,\"task\":\"recall\"}\n[\n", "line 2: "},
    };
    char path[96];
    snprintf(path, sizeof path, "%s/r.jsonl", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_error error = {0};
        sn_results *r;
        char *after;
        size_t length;
        assert_ok(sn_write_file(path, cases[i].text, strlen(cases[i].text), &error), error);
        assert_int_equal(open_results(path, "recall", &r, &error), SN_ERROR_INPUT);
        if (!strstr(error.message, path) || !strstr(error.message, cases[i].message)) fail_msg("case %zu: found \"%s\", expected \"%s\"", i, error.message, cases[i].message);
        assert_ok(sn_read_file(path, 1 << 20, &after, &length, &error), error);
        assert_true(length == strlen(cases[i].text) && memcmp(after, cases[i].text, length) == 0);
        sn_free(after);
    }
    unlink(path);
}

/* One writer at a time. */
static void test_results_locked(void **state) {
    char path[96];
    sn_error error = {0};
    sn_results *first, *second;
    snprintf(path, sizeof path, "%s/r.jsonl", folder);
    assert_ok(open_results(path, "recall", &first, &error), error);
    assert_int_equal(open_results(path, "recall", &second, &error), SN_ERROR_IO);
    assert_non_null(strstr(error.message, "another process is writing to it"));
    sn_results_close(first);
    unlink(path);
}

static void test_vectors(void **state) {
    const float vector[] = {0.5f, -1.25f, 3e-20f};
    float back[4];
    json_t *text = sn_vector_json(vector, 3);
    assert_true(sn_vector_read(text, 3, back) && memcmp(vector, back, sizeof vector) == 0);
    assert_false(sn_vector_read(text, 2, back) || sn_vector_read(text, 4, back) || sn_vector_read(NULL, 3, back));
    json_decref(text);
}

/* Against what the Penn Treebank's rules give. */
static void test_caption_tokens(void **state) {
    static const char *const pairs[][2] = {{"A man's dog, isn't it?", "a man 's dog is n't it"},
                                           {"Two t-shirts (red) & 3.5 kg: don’t!", "two t-shirts red & 3.5 kg do n't"},
                                           {"cannot  \"see\" — 1,000 -- it...", "can not see 1,000 it"},
                                           {"", ""},
                                           {"...", ""}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *tokens = sn_caption_tokens(pairs[i][0]);
        assert_string_equal(tokens, pairs[i][1]);
        sn_free(tokens);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_captions), cmocka_unit_test(test_dialogues_stories_questions_classes), cmocka_unit_test(test_refused), cmocka_unit_test(test_results_go_on),
                                       cmocka_unit_test(test_results_refused), cmocka_unit_test(test_results_locked), cmocka_unit_test(test_vectors), cmocka_unit_test(test_caption_tokens)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
