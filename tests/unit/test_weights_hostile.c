/* What somebody would make on purpose: files that cost far more than their size, that go on for ever, that point
 * outside; and memory that runs out at every place. */
#include "unit/check.h"

#include "unit/limits.h"
#include "unit/make_zip.h"
#include "weights/source.h"
#include "weights/writer.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static char file[] = "/tmp/sensorium-test-XXXXXX";

static int make_file(void **state) {
    int fd = mkstemp(file);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) { return unlink(file); }

/* Of the processor, whatever else it does. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The file is refused with these words, for a reason of its own and not for want of memory or time. */
static void assert_refused(const char *words) {
    sn_source *source;
    sn_error error = {0};
    double begin = seconds();
    sn_status status = sn_source_open(file, &source, &error);
    if (!status) fail_msg("read, expected: %s", words);
    if (!strstr(error.message, words)) fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    assert_true(seconds() - begin < 20);
}

static void write_pickle(const void *pickle, size_t length) {
    sn_error error = {0};
    assert_ok(write_pth(file, pickle, length, &error), error);
}
#define WRITE_PICKLE(text) write_pickle(text, sizeof text - 1)

/* ---- tensors that are not what they seem ---- */

static void test_a_tensor_is_read_with_its_strides(void **state) {
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("K\1", "K\2K\2\x86", "K\1K\3\x86") "s.");
    sn_source *source;
    sn_error error = {0};
    assert_ok(sn_source_open(file, &source, &error), error);
    float values[4];
    assert_ok(sn_source_copy(sn_source_find(source, "t"), values, &error), error);
    assert_memory_equal(values, ((float[]){1, 4, 2, 5}), sizeof values);
    sn_source_close(source);
}

static void test_tensors_beyond_their_storage(void **state) {
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("K\1", "K\6\x85", "K\1\x85") "s.");
    assert_refused("beyond its storage");
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("J\xff\xff\xff\xff", "K\1\x85", "K\1\x85") "s.");
    assert_refused("do not fit");
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("K\0", "\x8a\10\0\0\0\0\0\0\0\x40K\4\x86", "K\0K\0\x86") "s.");
    assert_refused("impossible size");
}

/* Six floats seen as 2^40: opening is free, using it is refused. */
static void test_a_view_that_repeats_itself(void **state) {
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("K\0", "J\0\0\x10\0J\0\0\x10\0\x86", "K\0K\0\x86") "s.");
    sn_source *source;
    sn_error error = {0};
    assert_ok(sn_source_open(file, &source, &error), error);
    sn_arena *arena = sn_arena_new();
    sn_weight weight;
    assert_int_equal(sn_source_weight(source, sn_source_find(source, "t"), arena, &weight, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "repeats"));
    sn_arena_free(arena);
    sn_source_close(source);
}

static void test_empty_tensors_of_absurd_shape(void **state) {
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("K\0", "K\0\x8a\10\0\0\0\0\0\0\0\x40\x8a\10\0\0\0\0\0\0\0\x40\x87", "K\1K\1K\1\x87") "s.");
    sn_source *source;
    sn_error error = {0};
    assert_ok(sn_source_open(file, &source, &error), error);
    assert_int_equal(source->tensors[0].bytes, 0);
    sn_source_close(source);
}

/* ---- pickles that grow ---- */

/* `count` times `piece` after a beginning, as one pickle. */
static void write_repeated(const char *begin, size_t begin_length, const char *piece, size_t length, size_t count) {
    char *text = sn_alloc(begin_length + count * length + 1, 1), *at = text;
    memcpy(at, begin, begin_length), at += begin_length;
    for (size_t i = 0; i < count; i++) memcpy(at, piece, length), at += length;
    *at++ = '.';
    write_pickle(text, (size_t)(at - text));
    sn_free(text);
}

static void test_pickles_that_grow(void **state) {
    static const struct {
        const char *begin;
        size_t begin_length;
        const char *piece;
        size_t length, count;
        const char *words;
    } cases[] = {
        {"\x80\2", 2, "N0", 2, 17 << 20, "16 million values"},
        {"\x80\2N", 3, "2", 1, 17 << 20, "16 million values"},
        {"\x80\2", 2, "(", 1, 17 << 20, "16 million marks"},
        /* a list that takes forty more references to itself with every 44 bytes */
        {"\x80\2]q\0", 5, "(h\0" "2222222222222222222222222222222222222222e", 44, 850000, "32 million items"},
        {"\x80\2N", 3, "r\xff\xff\xff\xff", 5, 1, "memo number"},
        {"\x80\2N", 3, "h\5", 2, 1, "never made"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_repeated(cases[i].begin, cases[i].begin_length, cases[i].piece, cases[i].length, cases[i].count);
        assert_refused(cases[i].words);
    }
}

/* A module that contains itself twice: 2^64 paths, and no end without a bound. */
static void test_modules_that_contain_each_other(void **state) {
    WRITE_PICKLE("\x80\2c__torch__\nM\n)\x81q\0}(X\1\0\0\0ah\0X\1\0\0\0bh\0X\1\0\0\0t" PICKLED_TENSOR("K\0", "K\6\x85", "K\1\x85") "ub.");
    assert_refused("without end");
}

/* ---- archives ---- */

static void test_archives_that_lie(void **state) {
    sn_error error = {0};
    made_zip z = {0};
    zip_entry(&z, "a/data.pkl", "N.", 2, 8, 1 << 20, 0); /* two bytes that would inflate to a megabyte */
    assert_ok(zip_write(&z, file, &error), error);
    assert_refused("more than its 2 can inflate to");
    zip_stored(&z, "a/data.pkl", "N.", 2);
    zip_stored(&z, "a/data.pkl", "N.", 2);
    assert_ok(zip_write(&z, file, &error), error);
    assert_refused("two zip entries are called");
    zip_entry(&z, "a/data.pkl", "N.", 2, 0, 2, 12345);
    assert_ok(zip_write(&z, file, &error), error);
    assert_refused("checksum");
    zip_stored(&z, "readme.txt", "hello", 5);
    assert_ok(zip_write(&z, file, &error), error);
    assert_refused("without data.pkl");
    zip_entry(&z, "a/data.pkl", "N.", 2, 99, 2, 0);
    assert_ok(zip_write(&z, file, &error), error);
    assert_refused("compression method 99");
}

/* ---- JSON headers ---- */

static void write_header(const char *header, size_t length) {
    sn_buf text = {0};
    sn_error error = {0};
    put_little(&text, length, 8);
    sn_buf_add(&text, header, length);
    assert_ok(write_bytes(file, text.data, text.length, &error), error);
    sn_buf_free(&text);
}

static void test_headers_that_grow(void **state) {
    const size_t many = 9 << 20;
    char *wide = sn_alloc(2 * many + 8, 1);
    memcpy(wide, "{\"a\":[", 6);
    for (size_t i = 0; i < many; i++) memcpy(wide + 6 + 2 * i, "0,", 2);
    memcpy(wide + 6 + 2 * many, "]}", 2);
    write_header(wide, 2 * many + 8);
    assert_refused("8 million items");
    sn_free(wide);
    sn_buf text = {0};
    sn_buf_puts(&text, "{\"a\":");
    for (int i = 0; i < 100; i++) sn_buf_puts(&text, "[");
    for (int i = 0; i < 100; i++) sn_buf_puts(&text, "]");
    sn_buf_puts(&text, "}");
    write_header(text.data, text.length);
    assert_refused("64 deep");
    sn_buf_free(&text);
    static const char empty[] = "{\"t\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904,4611686018427387904],\"data_offsets\":[0,0]}}";
    write_header(empty, sizeof empty - 1);
    sn_source *source;
    sn_error error = {0};
    assert_ok(sn_source_open(file, &source, &error), error); /* the product is 0 */
    sn_source_close(source);
}

/* ---- memory that runs out ---- */

static sn_status open_and_read(sn_error *error) {
    sn_source *source;
    sn_status status = sn_source_open(file, &source, error);
    if (status) return status;
    sn_arena *arena = sn_arena_new();
    if (!arena) status = sn_fail_memory(error);
    for (size_t i = 0; i < source->count && !status; i++) {
        sn_weight weight = {0};
        status = sn_source_weight(source, &source->tensors[i], arena, &weight, error);
        if (!status) status = sn_weight_ready(&weight, error);
        if (!status && !sn_weight_floats(&weight)) status = sn_fail_memory(error);
        sn_weight_release(&weight);
    }
    sn_arena_free(arena);
    sn_source_close(source);
    return status;
}

/* Four milliards of rows of nothing: found by fuzzing, when reading them took half a minute. */
static void test_rows_of_nothing(void **state) {
    static const char tall[] = "{\"t\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,0],\"data_offsets\":[0,0]}}";
    write_header(tall, sizeof tall - 1);
    sn_error error = {0};
    assert_ok(open_and_read(&error), error);
    sn_weight weight = sn_weight_view(SN_TYPE_F32, SN_SHAPE(INT64_C(1) << 62, 0), NULL);
    assert_int_equal(weight.rows, 0);
}

/* The n-th allocation fails, for every n: an error comes back and everything is given back (run under a leak checker). */
static void fail_everywhere(void) {
    sn_status status = SN_ERROR_MEMORY;
    int n = 1;
    for (; status; n++) {
        sn_error error = {0};
        sn_memory_fail_at(n);
        status = open_and_read(&error);
        sn_memory_fail_at(0);
        if (status && status != SN_ERROR_MEMORY) fail_msg("allocation %d: %s", n, error.message);
        assert_true(n < 1000);
    }
    assert_true(n > 5);
}

static void test_no_memory(void **state) {
    sn_error error = {0};
    const float values[6] = {0, 1, 2, 3, 4, 5};
    sn_tensor_out tensors[2] = {{"a", SN_TYPE_F32, SN_SHAPE(2, 3), values}, {"b", SN_TYPE_F16, SN_SHAPE(3), values}};
    assert_ok(sn_safetensors_write(file, tensors, 2, &error), error);
    fail_everywhere();
    WRITE_PICKLE("\x80\2}X\1\0\0\0t" PICKLED_TENSOR("K\1", "K\2K\2\x86", "K\1K\3\x86") "s.");
    fail_everywhere();
    sn_weight weight = sn_weight_view(SN_TYPE_F32, SN_SHAPE(2, 3), values);
    const sn_gguf_pair pair = {"general.name", SN_GGUF_U8, false, 1, "x"};
    assert_ok(sn_gguf_write(file, &pair, 1, &(sn_gguf_tensor){"t", SN_TYPE_F16, &weight}, 1, &error), error);
    fail_everywhere();
    assert_ok(sn_npy_write(file, tensors, &error), error);
    fail_everywhere();
}

static void test_a_full_disk(void **state) {
    const float values[6] = {0};
    const sn_tensor_out t = {"a", SN_TYPE_F32, SN_SHAPE(6), values};
    sn_weight weight = sn_weight_view(SN_TYPE_F32, SN_SHAPE(6), values);
    char *path = sn_format("%s.out", file);
    for (int n = 1; n <= 2; n++)
        for (int kind = 0; kind < 3; kind++) {
            sn_error error = {0};
            sn_output_fail_at(n);
            sn_status status = kind == 0 ? sn_safetensors_write(path, &t, 1, &error) : kind == 1 ? sn_npy_write(path, &t, &error)
                               : sn_gguf_write(path, NULL, 0, &(sn_gguf_tensor){"t", SN_TYPE_F32, &weight}, 1, &error);
            sn_output_fail_at(0);
            assert_int_equal(status, SN_ERROR_IO);
            assert_int_not_equal(access(path, F_OK), 0);
        }
    sn_free(path);
}

int main(void) {
    limit_address_space((rlim_t)4 << 30);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tensor_is_read_with_its_strides),
        cmocka_unit_test(test_tensors_beyond_their_storage),
        cmocka_unit_test(test_a_view_that_repeats_itself),
        cmocka_unit_test(test_empty_tensors_of_absurd_shape),
        cmocka_unit_test(test_pickles_that_grow),
        cmocka_unit_test(test_modules_that_contain_each_other),
        cmocka_unit_test(test_archives_that_lie),
        cmocka_unit_test(test_headers_that_grow),
        cmocka_unit_test(test_rows_of_nothing),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_a_full_disk),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
