/* Training data in the forms people have, the order of samples, mixtures of sources, and loading ahead. */
#include "data/dataset.h"
#include "tests/unit/folders.h"
#include "train/loader.h"
#include "train/mixture.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

/* ---- forms ---- */

static sn_dataset *open_data(place *p, const char *name) {
    sn_dataset *d;
    assert_ok(sn_dataset_open(in(p, p->path, name), NULL, &d, &p->error), p->error);
    return d;
}

static sn_record read_sample(place *p, const sn_dataset *d, size_t i) {
    sn_record r;
    assert_ok(sn_dataset_read(d, i, true, &r, &p->error), p->error);
    return r;
}

static void assert_sample(place *p, const sn_dataset *d, size_t i, const char *id, const char *image, const char *answer) {
    sn_record r = read_sample(p, d, i);
    const json_t *turns = json_object_get(r.object, "conversations");
    assert_string_equal(sn_json_string(r.object, "id"), id);
    assert_string_equal(sn_json_string(r.object, "image"), image);
    assert_string_equal(sn_json_string(json_array_get(turns, json_array_size(turns) - 1), "value"), answer);
    sn_record_free(&r);
}

static void assert_refused(place *p, const sn_dataset *d, size_t i, const char *says) {
    sn_record r;
    assert_int_equal(sn_dataset_read(d, i, true, &r, &p->error), SN_ERROR_INPUT);
    if (!strstr(p->error.message, says)) fail_msg("expected '%s', the error says: %s", says, p->error.message);
}

static void test_text_forms(void **state) {
    place *p = *state;
    write_text(p, p->path, "captions.tsv", "\xef\xbb\xbf" "a.png\ta red ball\r\n\nb.png\ttwo boats\nno tab here\n");
    sn_dataset *d = open_data(p, "captions.tsv");
    assert_int_equal(sn_dataset_count(d), 3);
    assert_sample(p, d, 0, "line 1", "a.png", "a red ball");
    assert_sample(p, d, 1, "line 3", "b.png", "two boats");
    assert_refused(p, d, 2, "captions.tsv: line 4: expected a picture, a tab and a caption");
    assert_string_equal(sn_dataset_images(d), p->path);
    sn_dataset_close(d);

    /* the columns may be named, in either order */
    write_text(p, p->path, "named.tsv", "caption\timage\r\na red ball\ta.png\r\ntwo boats\tb.png\nno tab here");
    d = open_data(p, "named.tsv");
    assert_int_equal(sn_dataset_count(d), 3);
    assert_sample(p, d, 0, "line 2", "a.png", "a red ball");
    assert_sample(p, d, 1, "line 3", "b.png", "two boats");
    assert_refused(p, d, 2, "named.tsv: line 4: expected a picture, a tab and a caption, the other way round");
    sn_dataset_close(d);
    write_text(p, p->path, "named.tsv", "\xef\xbb\xbf" "image\tcaption\na.png\timage\tcaption\n");
    d = open_data(p, "named.tsv");
    assert_int_equal(sn_dataset_count(d), 1);
    assert_sample(p, d, 0, "line 2", "a.png", "image\tcaption");
    sn_dataset_close(d);

    write_text(p, p->path, "data.jsonl", "{\"image\": \"a.png\", \"caption\": \"a red ball\"}\n{\"id\": \"x\", \"image\": \"b.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"Who?\"}, {\"from\": \"gpt\", \"value\": \"You.\"}]}\n{\"id\": \n");
    d = open_data(p, "data.jsonl");
    assert_int_equal(sn_dataset_count(d), 3);
    assert_sample(p, d, 0, "line 1", "a.png", "a red ball");
    assert_sample(p, d, 1, "x", "b.png", "You.");
    assert_refused(p, d, 2, "data.jsonl: line 3");
    sn_dataset_close(d);

    write_text(p, p->path, "data.json", "[ {\"id\": \"one\", \"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"a } in \\\"a ] text\"}, {\"from\": \"gpt\", \"value\": \"Yes.\"}]},\n\n {\"id\": \"two\",, }\n]\n");
    d = open_data(p, "data.json");
    assert_int_equal(sn_dataset_count(d), 2);
    assert_sample(p, d, 0, "one", "a.png", "Yes.");
    assert_refused(p, d, 1, "data.json: line 3");
    sn_dataset_close(d);
}

/* What is no data set at all is refused at once, with its line where there is one. */
static void test_refused_files(void **state) {
    place *p = *state;
    const struct {
        const char *name, *text, *says;
    } cases[] = {{"empty.json", "[]", "the data set is empty"},     {"empty.jsonl", "\n\n", "the data set is empty"}, {"nothing.json", "", "the data set is empty"}, {"nothing.tar", "", "the data set is empty"}, {"object.json", "{\"a\": 1}", "expected a list of samples"},
                 {"numbers.json", "[{}, 1]", "expected an object"}, {"open.json", "[{\"id\": 1}\n\n", "line 3"},      {"behind.json", "[{}]\n[{}]\n", "line 2"},
                 {"cut.json", "[{}, {\"id\": \"\\", "not valid JSON"}, {"packed.tar.gz", "x", "unpack it to .tar"},   {"text.tar", "this is no tar file, and it is longer than a block of 512 bytes would be if it were repeated", "not a tar file"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_dataset *d;
        write_text(p, p->path, cases[i].name, cases[i].text);
        if (!sn_dataset_open(in(p, p->path, cases[i].name), NULL, &d, &p->error)) fail_msg("%s was opened", cases[i].name);
        if (!strstr(p->error.message, cases[i].says) || !strstr(p->error.message, cases[i].name)) fail_msg("%s: expected '%s', the error says: %s", cases[i].name, cases[i].says, p->error.message);
    }
    sn_dataset *d;
    assert_int_equal(sn_dataset_open(in(p, p->path, "none.json"), NULL, &d, &p->error), SN_ERROR_IO);
}

/* ---- shards ---- */

typedef struct member {
    const char *name, *bytes;
} member;

static const char *write_shard(place *p, const char *name, int format, const member *members, size_t count) {
    struct archive *a = archive_write_new();
    const char *path = in(p, p->path, name);
    assert_int_equal(archive_write_set_format(a, format), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++) {
        struct archive_entry *e = archive_entry_new();
        size_t length = members[i].bytes ? strlen(members[i].bytes) : 0;
        archive_entry_set_pathname(e, members[i].name);
        archive_entry_set_filetype(e, members[i].bytes ? AE_IFREG : AE_IFDIR);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (int64_t)length);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        if (length) assert_int_equal(archive_write_data(a, members[i].bytes, length), length);
        archive_entry_free(e);
    }
    archive_write_free(a);
    return path;
}

#define TALK "{\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\n<image>\\nWhich?\"}, {\"from\": \"gpt\", \"value\": \"The second.\"}], \"image\": [\"old/2.png\", \"both.1.png\"]}"

static const member members[] = {
    {"shard/", NULL},
    {"shard/000.jpg", "a picture"}, {"shard/000.txt", "a red ball\n"},
    {"shard/001.png", "another"}, {"shard/001.json", "{\"caption\": \"two boats\", \"width\": 640}"}, {"shard/001.cls", "7"},
    {"shard/talk/1.png", "first"}, {"shard/talk/1.txt", "x"},
    {"shard/both.1.png", "first"}, {"shard/both.2.png", "second"}, {"shard/both.json", TALK},
    {"shard/text.json", "{\"id\": \"t\", \"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Hello.\"}]}"},
    {"shard/bare.jpg", "no caption"},
    {"shard/twice.txt", "a"}, {"shard/twice.txt", "b"}};

static void check_shard(place *p, const sn_dataset *d, size_t first) {
    assert_sample(p, d, first, "shard/000", "shard/000.jpg", "a red ball");
    sn_record r = read_sample(p, d, first);
    assert_int_equal(r.num_pictures, 1);
    assert_int_equal(r.pictures[0].size, 9);
    assert_memory_equal(r.pictures[0].bytes, "a picture", 9);
    sn_record_free(&r);
    assert_ok(sn_dataset_read(d, first, false, &r, &p->error), p->error);
    assert_int_equal(r.num_pictures, 1); /* known, and left where it is */
    assert_null(r.pictures[0].bytes);
    sn_record_free(&r);
    assert_sample(p, d, first + 1, "shard/001", "shard/001.png", "two boats");
    assert_refused(p, d, first + 5, "shard/bare: expected a picture with a caption");
    assert_refused(p, d, first + 6, "found two of .txt");
}

/* Members with one key are one sample, in every dialect of tar; what is damaged is one sample that cannot be read. */
static void test_shards(void **state) {
    place *p = *state;
    const int formats[] = {ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE, ARCHIVE_FORMAT_TAR_GNUTAR};
    for (int f = 0; f < 3; f++) {
        write_shard(p, "shard.tar", formats[f], members, sizeof members / sizeof *members);
        sn_dataset *d = open_data(p, "shard.tar");
        assert_int_equal(sn_dataset_count(d), 7);
        check_shard(p, d, 0);
        sn_record r = read_sample(p, d, 3); /* pictures in the order in which the conversation names them */
        assert_string_equal(json_string_value(json_array_get(json_object_get(r.object, "image"), 0)), "shard/both.2.png");
        assert_memory_equal(r.pictures[0].bytes, "second", 6);
        assert_memory_equal(r.pictures[1].bytes, "first", 5);
        sn_record_free(&r);
        sn_dataset_close(d);
    }
}

/* One list over several shards, by a range of numbers. */
static void test_ranges(void **state) {
    place *p = *state;
    for (int i = 8; i < 11; i++) write_shard(p, sn_arena_format(p->arena, "part-%03d.tar", i), ARCHIVE_FORMAT_TAR_USTAR, members, sizeof members / sizeof *members);
    sn_dataset *d = open_data(p, "part-{008..010}.tar");
    assert_int_equal(sn_dataset_count(d), 21);
    for (size_t i = 0; i < 3; i++) check_shard(p, d, 7 * i);
    sn_dataset_close(d);
    assert_int_equal(sn_dataset_open(in(p, p->path, "part-{008..011}.tar"), NULL, &d, &p->error), SN_ERROR_IO);
    assert_non_null(strstr(p->error.message, "part-011.tar"));

    char **paths;
    size_t count;
    assert_ok(sn_expand_ranges("{a}/{1..2}-{09..11}.tar", &paths, &count, &p->error), p->error);
    const char *expected[] = {"{a}/1-09.tar", "{a}/1-10.tar", "{a}/1-11.tar", "{a}/2-09.tar", "{a}/2-10.tar", "{a}/2-11.tar"};
    assert_int_equal(count, 6);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(paths[i], expected[i]);
        sn_free(paths[i]);
    }
    sn_free(paths);
    assert_int_equal(sn_expand_ranges("{5..2}", &paths, &count, &p->error), SN_ERROR_USAGE);
    assert_int_equal(sn_expand_ranges("{0..999}/{0..999}/{0..999}", &paths, &count, &p->error), SN_ERROR_USAGE);
    assert_int_equal(sn_expand_ranges("{0..18446744073709551615}", &paths, &count, &p->error), SN_ERROR_USAGE);
}

/* A shard that was cut off, anywhere: an error or whole samples, and never more than there are. */
static void test_cut_shards(void **state) {
    place *p = *state;
    char *bytes;
    size_t size;
    const char *path = write_shard(p, "whole.tar", ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE, members, sizeof members / sizeof *members);
    assert_ok(sn_read_file(path, 1 << 20, &bytes, &size, &p->error), p->error);
    for (size_t length = 0; length < size; length += 100) {
        sn_dataset *d;
        assert_ok(sn_write_file(in(p, p->path, "cut.tar"), bytes, length, &p->error), p->error);
        if (sn_dataset_open(in(p, p->path, "cut.tar"), NULL, &d, &p->error)) continue;
        assert_true(sn_dataset_count(d) <= 7);
        for (size_t i = 0; i < sn_dataset_count(d); i++) {
            sn_record r;
            if (!sn_dataset_read(d, i, true, &r, &p->error)) sn_record_free(&r);
        }
        sn_dataset_close(d);
    }
    sn_free(bytes);
}

/* ---- order ---- */

/* Every place of an epoch takes another sample; epochs and seeds differ. */
static void test_shuffle_is_a_permutation(void **state) {
    enum { N = 1000 };
    static bool seen[N];
    int same = 0;
    memset(seen, 0, sizeof seen);
    for (uint64_t i = 0; i < N; i++) {
        uint64_t at = sn_shuffled(5, 0, i, N);
        assert_true(at < N && !seen[at]);
        seen[at] = true;
        same += at == sn_shuffled(5, 1, i, N);
    }
    assert_true(same < 20);
    assert_int_equal(sn_shuffled(5, 0, 0, 1), 0);
}

/* 30 and 11 samples, 3 : 1: shares come out, each source is gone through before it begins again, and a mixture whose
 * state was kept, or found by its place, draws as one that never stopped. */
static void test_mixture(void **state) {
    enum { DRAWS = 4000 };
    static sn_draw draws[DRAWS];
    sn_mixture m = {.num_sources = 2, .count = {30, 11}, .total = 41, .weight = {3, 1}, .seed = 5}, again = m;
    int from_second = 0, seen[41] = {0};
    for (int i = 0; i < DRAWS; i++) {
        draws[i] = sn_mixture_next(&m);
        assert_int_equal(draws[i].place, i);
        assert_int_equal(draws[i].number, draws[i].index + 30 * draws[i].source);
        from_second += draws[i].source;
        seen[draws[i].number]++;
    }
    assert_in_range(from_second, DRAWS / 4 - 110, DRAWS / 4 + 110); /* four standard deviations */
    assert_int_equal(m.state.given[1], from_second);
    for (int i = 0; i < 41; i++) {
        int64_t given = m.state.given[i >= 30], count = m.count[i >= 30];
        assert_in_range(seen[i], given / count, given / count + 1);
    }
    sn_mixture_seek(&again, 1234);
    sn_mixture kept = again;
    for (int i = 1234; i < 2000; i++) {
        assert_int_equal(sn_mixture_next(&again).number, draws[i].number);
        if (i == 1500) kept.state = again.state;
        if (i > 1500) assert_int_equal(sn_mixture_next(&kept).number, draws[i].number);
    }
}

/* Without weights all sources are one list: every epoch has every sample once. */
static void test_sources_without_weights(void **state) {
    sn_mixture m = {.num_sources = 3, .count = {5, 1, 7}, .total = 13, .seed = 1};
    for (int epoch = 0; epoch < 4; epoch++) {
        int seen[13] = {0};
        for (int i = 0; i < 13; i++) {
            sn_draw d = sn_mixture_next(&m), found = sn_mixture_find(&m, d.number);
            assert_true(found.source == d.source && found.index == d.index);
            seen[d.number]++;
        }
        for (int i = 0; i < 13; i++) assert_int_equal(seen[i], 1);
    }
    assert_int_equal(m.state.given[2], 28);
}

/* ---- loading ahead ---- */

static sn_draw count_up(void *context) {
    int64_t *next = context;
    return (sn_draw){.number = (*next)++};
}

/* Some samples take longer than others, and some are broken. */
static void load_slowly(const void *context, sn_loaded *out) {
    usleep(out->draw.number % 7 == 0 ? 2000 : 50);
    out->status = out->draw.number % 10 == 3 ? sn_fail(&out->error, SN_ERROR_INPUT, "sample %lld is broken", (long long)out->draw.number) : SN_OK;
    out->learnt = out->draw.number * out->draw.number;
}

/* However many threads load, samples and errors come in the order in which they were drawn. */
static void test_loader_keeps_order(void **state) {
    place *p = *state;
    const int workers[] = {1, 3, 8};
    for (int w = 0; w < 3; w++) {
        int64_t next = 0;
        const sn_loader_work work = {&next, count_up, load_slowly};
        sn_loader *loader;
        assert_ok(sn_loader_open(&work, workers[w], 6, 200, &loader, &p->error), p->error);
        for (int64_t i = 0; i < 200; i++) {
            sn_loaded l;
            sn_loader_take(loader, &l);
            assert_int_equal(l.draw.number, i);
            assert_int_equal(l.learnt, i * i);
            assert_int_equal(l.status, i % 10 == 3 ? SN_ERROR_INPUT : SN_OK);
            sn_loaded_free(&l);
        }
        sn_loader_close(loader);
        assert_int_equal(next, 200);
    }
    int64_t next = 0; /* closed in the middle: what was loaded ahead goes, and no more is drawn than there is room for */
    const sn_loader_work work = {&next, count_up, load_slowly};
    sn_loader *loader;
    assert_ok(sn_loader_open(&work, 2, 8, 1000000, &loader, &p->error), p->error);
    sn_loaded l;
    sn_loader_take(loader, &l);
    usleep(20000);
    sn_loader_close(loader);
    assert_in_range(next, 1, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text_forms, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_refused_files, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_shards, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_ranges, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_cut_shards, place_setup, place_teardown), cmocka_unit_test(test_shuffle_is_a_permutation), cmocka_unit_test(test_mixture),
        cmocka_unit_test(test_sources_without_weights), cmocka_unit_test_setup_teardown(test_loader_keeps_order, place_setup, place_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
