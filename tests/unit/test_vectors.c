/* Files of vectors and the search over them: the result of a plain loop, whatever the type, the threads and the kernels;
 * files that are short, changed or interrupted. */
#include "base/random.h"
#include "compute/rows.h"
#include "tests/unit/check.h"
#include "vectors/file.h"
#include "vectors/search.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/sn-vectors-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static float *unit_rows(int64_t count, int64_t width, uint64_t key) {
    float *rows = malloc((size_t)(count * width) * sizeof *rows);
    for (int64_t i = 0; i < count * width; i++) rows[i] = sn_normal(key, 0, (uint64_t)i);
    for (int64_t i = 0; i < count; i++) assert_true(sn_unit(rows + i * width, width));
    return rows;
}

/* ---- search ---- */

static int plain_order(const void *a, const void *b) {
    const sn_hit *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->row < y->row ? -1 : 1;
}

/* All scores, sorted: what the search must equal. */
static sn_hit *all_sorted(const sn_weight *rows, const float *query) {
    sn_hit *hits = malloc((size_t)rows->rows * sizeof *hits);
    float *row = malloc((size_t)rows->columns * sizeof *row);
    for (int64_t j = 0; j < rows->rows; j++) {
        double sum = 0;
        sn_weight_row_floats(rows, j, row);
        for (int64_t k = 0; k < rows->columns; k++) sum += (double)row[k] * query[k];
        hits[j] = (sn_hit){j, (float)sum};
    }
    qsort(hits, (size_t)rows->rows, sizeof *hits, plain_order);
    free(row);
    return hits;
}

static void expect_search(const sn_weight *rows, int64_t k, int threads, int64_t queries) {
    float *query = unit_rows(queries, rows->columns, 7);
    sn_hit *hits = malloc((size_t)(queries * k) * sizeof *hits);
    int64_t *found = malloc((size_t)queries * sizeof *found);
    sn_error error = {0};
    sn_search search = {.rows = rows, .k = k, .threads = threads};
    assert_ok(sn_search_rows(&search, query, queries, hits, found, NULL, &error), error);
    for (int64_t i = 0; i < queries; i++) {
        sn_hit *want = all_sorted(rows, query + i * rows->columns);
        assert_int_equal(found[i], k < rows->rows ? k : rows->rows);
        float *score = malloc((size_t)rows->rows * sizeof *score);
        for (int64_t j = 0; j < rows->rows; j++) score[want[j].row] = want[j].score;
        for (int64_t j = 0; j < found[i]; j++) {
            const sn_hit *hit = &hits[i * k + j];
            assert_in_range(hit->row, 0, rows->rows - 1);
            assert_true(fabsf(hit->score - want[j].score) < 1e-6f);
            assert_true(fabsf(hit->score - score[hit->row]) < 1e-6f); /* another order only where rounding decides it */
            score[hit->row] = 9;                                      /* each row once */
        }
        free(score);
        free(want);
    }
    free(query);
    free(hits);
    free(found);
}

static void test_equals_plain_loop(void **state) {
    static const sn_type types[] = {SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16};
    static const struct { int64_t rows, width, k; int threads; int64_t queries; } cases[] = {
        {1, 1, 1, 1, 1}, {5, 3, 9, 2, 2}, {700, 17, 10, 3, 1}, {3000, 64, 1, 4, 3}, {2000, 33, 2000, 2, 1}, {900, 40, 5, 2, 20}, {300, 16, 4, 1, 140}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t t = 0; t < 3; t++) {
            int64_t count = cases[c].rows * cases[c].width;
            float *values = unit_rows(cases[c].rows, cases[c].width, c);
            void *stored = malloc((size_t)count * 4);
            sn_type_of(types[t])->from_float(values, stored, count);
            sn_weight rows = sn_weight_view(types[t], SN_SHAPE(cases[c].rows, cases[c].width), stored);
            for (int plain = 0; plain < 2; plain++) {
                setenv("SN_CPU", plain ? "plain" : "amx", 1);
                expect_search(&rows, cases[c].k, cases[c].threads, cases[c].queries);
            }
            unsetenv("SN_CPU");
            free(values);
            free(stored);
        }
}

/* A published gallery may be several arrays behind each other. */
static void test_parts(void **state) {
    float *values = unit_rows(500, 24, 3);
    sn_weight rows = sn_weight_view(SN_TYPE_F32, SN_SHAPE(500, 24), values);
    rows.part[0].rows = 123, rows.num_parts = 2;
    rows.part[1] = (sn_weight_part){values + 123 * 24, 377, 24 * 4};
    expect_search(&rows, 20, 2, 2);
    free(values);
}

/* Equal scores: the lower row first, also where they lie in blocks of different threads. */
static void test_ties(void **state) {
    enum { ROWS = 20000, WIDTH = 8, K = 50 };
    float *values = malloc(ROWS * WIDTH * sizeof *values), query[WIDTH] = {1};
    for (int i = 0; i < ROWS * WIDTH; i++) values[i] = i % WIDTH == 0 ? (i / WIDTH % 3 == 1 ? 0.5f : 0.25f) : 0;
    sn_weight rows = sn_weight_view(SN_TYPE_F32, SN_SHAPE(ROWS, WIDTH), values);
    sn_hit hits[K];
    int64_t found;
    sn_error error = {0};
    for (int threads = 1; threads < 5; threads++) {
        sn_search search = {.rows = &rows, .k = K, .threads = threads};
        assert_ok(sn_search_rows(&search, query, 1, hits, &found, NULL, &error), error);
        for (int i = 0; i < K; i++) assert_int_equal(hits[i].row, 1 + 3 * i);
    }
    free(values);
}

/* Rows left out, a factor for each row, the range of a cosine, rows that are no numbers, and the spread of all scores. */
static void test_options(void **state) {
    float values[6][2] = {{1, 0}, {2, 0}, {0, 3}, {NAN, 1}, {-4, 0}, {0, 0}}, scale[6], query[2] = {1.0000002f, 0};
    sn_weight rows = sn_weight_view(SN_TYPE_F32, SN_SHAPE(6, 2), values);
    int64_t zero, found;
    uint64_t skip = 1 << 0;
    sn_hit hits[6];
    sn_error error = {0};
    sn_row_scales(&rows, scale, &zero);
    assert_int_equal(zero, 3); /* not a number has no length either */
    assert_true(scale[1] == 0.5f && scale[4] == 0.25f && scale[5] == 0);
    sn_search search = {.rows = &rows, .scale = scale, .skip = &skip, .clamp = true, .k = 6, .threads = 1};
    sn_spread *spread = calloc(1, sizeof *spread);
    assert_ok(sn_search_rows(&search, query, 1, hits, &found, spread, &error), error);
    assert_int_equal(found, 4);
    static const int64_t want[] = {1, 2, 5, 4};
    for (int i = 0; i < 4; i++) assert_int_equal(hits[i].row, want[i]);
    assert_true(hits[0].score == 1 && hits[3].score == -1);
    assert_int_equal(spread->total, 4);
    assert_true(fabs(sn_spread_at(spread, 0.5)) < 1e-3 && sn_spread_at(spread, 0.99) > 0.999 && sn_spread_at(spread, 0) < -0.999);
    free(spread);
    search.k = 0;
    assert_ok(sn_search_rows(&search, query, 1, hits, &found, NULL, &error), error);
    assert_int_equal(found, 0);
    float nothing[2] = {0, 0};
    assert_false(sn_unit(nothing, 2));
}

/* ---- files ---- */

static void test_file_grows(void **state) {
    static const sn_type types[] = {SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16};
    float *rows = unit_rows(10, 5, 11), back[5];
    sn_error error = {0};
    for (int t = 0; t < 3; t++) {
        const char *path = in_folder("grow.vec");
        sn_vectors v;
        sn_weight w;
        assert_ok(sn_vectors_create(path, types[t], 5, &v, &error), error);
        assert_ok(sn_vectors_append(&v, rows, 4, &error), error);
        assert_ok(sn_vectors_sync(&v, &error), error);
        assert_ok(sn_vectors_append(&v, rows + 20, 6, &error), error); /* never synced: not there */
        sn_vectors_close(&v);
        assert_int_equal(sn_vectors_create(path, types[t], 5, &v, &error), SN_ERROR_IO); /* never over another file */
        assert_ok(sn_vectors_open(path, true, &v, &error), error);
        assert_int_equal(v.rows, 4);
        assert_ok(sn_vectors_append(&v, rows + 20, 6, &error), error);
        assert_ok(sn_vectors_put(&v, 1, rows, &error), error);
        assert_int_equal(sn_vectors_put(&v, 10, rows, &error), SN_ERROR_INPUT);
        assert_ok(sn_vectors_sync(&v, &error), error);
        assert_ok(sn_vectors_map(&v, &w, &error), error);
        assert_int_equal(w.rows, 10);
        for (int64_t r = 0; r < 10; r++) {
            sn_weight_row_floats(&w, r, back);
            for (int k = 0; k < 5; k++) assert_true(fabsf(back[k] - rows[(r == 1 ? 0 : r) * 5 + k]) < (types[t] == SN_TYPE_F32 ? 1e-9f : 4e-3f));
        }
        assert_ok(sn_vectors_cut(&v, 3, &error), error);
        sn_vectors_close(&v);
        assert_ok(sn_vectors_open(path, false, &v, &error), error);
        assert_int_equal(v.rows, 3);
        assert_int_equal(sn_vectors_append(&v, rows, 1, &error), SN_ERROR_USAGE);
        sn_vectors_close(&v);
        unlink(path);
    }
    free(rows);
}

static void test_not_finite(void **state) {
    sn_vectors v;
    sn_error error = {0};
    assert_ok(sn_vectors_create(in_folder("nan.vec"), SN_TYPE_F16, 2, &v, &error), error);
    assert_int_equal(sn_vectors_append(&v, (float[]){1, 0, 0, INFINITY}, 2, &error), SN_ERROR_NUMERIC);
    assert_non_null(strstr(error.message, "row 1"));
    assert_int_equal(v.rows, 0);
    sn_vectors_close(&v);
}

/* Every file cut short and every byte of the header changed is refused; nothing is read outside. */
static void test_damaged(void **state) {
    const char *path = in_folder("damaged.vec");
    char whole[SN_VECTOR_HEADER + 3 * 8];
    sn_vectors v;
    sn_error error = {0};
    assert_ok(sn_vectors_create(path, SN_TYPE_F32, 2, &v, &error), error);
    assert_ok(sn_vectors_append(&v, (float[]){1, 0, 0, 1, 1, 0}, 3, &error), error);
    assert_ok(sn_vectors_sync(&v, &error), error);
    sn_vectors_close(&v);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, whole, sizeof whole, 0), sizeof whole);
    for (int length = sizeof whole - 1; length >= 0; length--) {
        assert_int_equal(ftruncate(fd, length), 0);
        assert_int_equal(sn_vectors_open(path, false, &v, &error), SN_ERROR_INPUT);
        if (length == 87) assert_non_null(strstr(error.message, "truncated: found 87 bytes, expected 3 rows of 8 bytes"));
    }
    for (int i = 0; i < SN_VECTOR_HEADER; i++) {
        char changed[sizeof whole];
        memcpy(changed, whole, sizeof whole);
        changed[i] ^= 0x41;
        assert_int_equal(pwrite(fd, changed, sizeof changed, 0), sizeof changed);
        assert_int_not_equal(sn_vectors_open(path, i % 2, &v, &error), SN_OK);
    }
    close(fd);
}

static int setup(void **state) { return mkdtemp(folder) ? 0 : -1; }

static int teardown(void **state) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equals_plain_loop), cmocka_unit_test(test_parts), cmocka_unit_test(test_ties), cmocka_unit_test(test_options),
                                       cmocka_unit_test(test_file_grows), cmocka_unit_test(test_not_finite), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
