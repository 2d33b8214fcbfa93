/* Names to parameters: shards and deltas that fit are joined, those that do not are refused before anything is read. */
#include "unit/check.h"

#include "weights/layout.h"
#include "weights/writer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const sn_name_rule rules[] = {
    {.canonical = "rows", .published = "rows"},
    {.canonical = "columns", .published = "columns", .join = SN_JOIN_COLUMNS},
    {0},
};

typedef struct fixture {
    sn_store *store;
    sn_source *source[2];
    sn_graph *graph;
    char path[2][40];
} fixture;

/* Two files that hold one tensor each, of the same name; a graph that wants it in the shape given. */
static void begin(fixture *f, const char *name, sn_shape a, sn_shape b, sn_shape want) {
    static const float values[24] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
    sn_error error = {0};
    *f = (fixture){.store = sn_store_new(), .graph = sn_graph_new()};
    for (int i = 0; i < 2; i++) {
        strcpy(f->path[i], "/tmp/sensorium-test-XXXXXX");
        close(mkstemp(f->path[i]));
        assert_ok(sn_safetensors_write(f->path[i], &(sn_tensor_out){name, SN_TYPE_F32, i ? b : a, values}, 1, &error), error);
        assert_ok(sn_source_open(f->path[i], &f->source[i], &error), error);
    }
    sn_param(f->graph, name, want, SN_INIT_ZERO);
}

static void finish(fixture *f) {
    sn_store_free(f->store);
    sn_graph_free(f->graph);
    for (int i = 0; i < 2; i++) sn_source_close(f->source[i]), unlink(f->path[i]);
}

static sn_status bind(fixture *f, bool delta, sn_error *error) {
    const sn_names names = {.rules = rules, .canonical_prefix = "", .published_prefix = "", .sources = f->source, .num_sources = delta ? 1 : 2, .delta = delta ? f->source[1] : NULL};
    return sn_bind(f->store, f->graph, &names, 1, NULL, error);
}

static void assert_joined(const char *name, sn_shape a, sn_shape b, sn_shape want, bool delta, const float *expected) {
    fixture f;
    sn_error error = {0};
    begin(&f, name, a, b, want);
    assert_ok(bind(&f, delta, &error), error);
    sn_weight *w = &sn_store_find(f.store, name)->weight;
    assert_ok(sn_weight_ready(w, &error), error);
    assert_memory_equal(sn_weight_floats(w), expected, sn_shape_count(&want) * sizeof(float));
    finish(&f);
}

static void assert_misfit(const char *name, sn_shape a, sn_shape b, sn_shape want, bool delta) {
    fixture f;
    sn_error error = {0};
    begin(&f, name, a, b, want);
    assert_int_equal(bind(&f, delta, &error), SN_ERROR_INPUT);
    finish(&f);
}

static void test_shards_are_joined(void **state) {
    assert_joined("rows", SN_SHAPE(2, 2), SN_SHAPE(1, 2), SN_SHAPE(3, 2), false, (float[]){0, 1, 2, 3, 0, 1});
    assert_joined("columns", SN_SHAPE(2, 2), SN_SHAPE(2, 1), SN_SHAPE(2, 3), false, (float[]){0, 1, 0, 2, 3, 1});
    assert_joined("rows", SN_SHAPE(3), SN_SHAPE(2), SN_SHAPE(5), false, (float[]){0, 1, 2, 0, 1}); /* a vector is one row */
}

static void test_deltas_are_added(void **state) {
    assert_joined("rows", SN_SHAPE(2, 2), SN_SHAPE(3, 2), SN_SHAPE(3, 2), true, (float[]){0, 2, 4, 6, 4, 5});
}

/* A shard with fewer rows, or a base whose rows are longer than the delta's, would be read or written beyond its end. */
static void test_what_does_not_fit_is_refused(void **state) {
    assert_misfit("columns", SN_SHAPE(4, 2), SN_SHAPE(1, 2), SN_SHAPE(4, 4), false);
    assert_misfit("rows", SN_SHAPE(2, 4), SN_SHAPE(2, 1), SN_SHAPE(4, 4), false);
    assert_misfit("rows", SN_SHAPE(2, 2, 4), SN_SHAPE(2, 2, 1), SN_SHAPE(4, 2, 4), false);
    assert_misfit("rows", SN_SHAPE(2, 2, 6), SN_SHAPE(2, 2, 1), SN_SHAPE(2, 2, 1), true);
    assert_misfit("rows", SN_SHAPE(4, 2), SN_SHAPE(2, 2), SN_SHAPE(2, 2), true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_are_joined),
        cmocka_unit_test(test_deltas_are_added),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
