/* Low-rank adapters of other tools, merged into their base. */
#include "systems/model.h"
#include "tests/unit/folders.h"

#include <math.h>

static const char *const BASE = "components/llama/batch-generate/model";

/* The adapter of tests/data/adapters/patterns.py, in a folder that may be changed. */
static const char *copy_adapter(place *p) {
    const char *from = golden(p, "../data/adapters/patterns"), *to = folder(p, "patterns");
    copy_file(p, from, to, "adapter_config.json");
    copy_file(p, from, to, "adapter_model.safetensors");
    return to;
}

/* Modules with a rank and an alpha of their own: the weights that PEFT merges. */
static void test_patterns_are_pefts(void **state) {
    place *p = *state;
    sn_engine *engine;
    sn_model *model;
    size_t compared = 0;
    assert_ok(sn_engine_new(1, &engine, &p->error), p->error);
    assert_ok(sn_model_open(engine, &(sn_model_files){.main = copy_adapter(p), .base = golden(p, BASE)}, &model, &p->error), p->error);
    tensors *merged = read_tensors(p, golden(p, "../data/adapters/patterns/merged.safetensors"));
    for (size_t i = 0; i < model->store->count; i++) {
        sn_store_entry *e = model->store->entries[i];
        const sn_tensor_out *expected = NULL;
        for (size_t k = 0; k < merged->count; k++)
            if (strcmp(merged->list[k].name, e->published) == 0) expected = &merged->list[k];
        if (!expected) {
            assert_null(e->weight.make); /* what has no update stays a view */
            continue;
        }
        assert_ok(sn_weight_ready(&e->weight, &p->error), p->error);
        const float *want = expected->data, *found = sn_weight_floats(&e->weight);
        for (int64_t k = 0; k < sn_shape_count(&e->weight.shape); k++)
            if (fabsf(found[k] - want[k]) > 1e-6f) fail_msg("%s, value %lld: found %g, expected %g", e->published, (long long)k, (double)found[k], (double)want[k]);
        compared++;
    }
    assert_int_equal(compared, 6);
    sn_model_close(model);
    sn_engine_free(engine);
}

static void test_patterns_are_checked(void **state) {
    place *p = *state;
    sn_engine *engine;
    sn_model *model;
    const char *adapter = copy_adapter(p);
    static const struct {
        const char *key, *value, *says;
    } wrong[] = {{"rank_pattern", "{\"q_proj\": 0}", "rank_pattern: q_proj: expected a number from 1"},
                 {"rank_pattern", "{\"q_proj\": \"two\"}", "rank_pattern: q_proj: expected a number"},
                 {"rank_pattern", "[2]", "rank_pattern: expected an object"},
                 {"rank_pattern", "{\"q_proj(\": 2}", "rank_pattern: q_proj("},
                 {"rank_pattern", "{\"v_proj\": 2}", "do not fit the base's"}, /* q_proj of layer 0 has rank 2 in the file */
                 {"rank_pattern", "{\"(?:.*.*.*.*.*.*)*[A-Z]\": 2}", "costs too much"}};
    assert_ok(sn_engine_new(1, &engine, &p->error), p->error);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        set_key(p, adapter, "adapter_config.json", wrong[i].key, wrong[i].value);
        sn_status status = sn_model_open(engine, &(sn_model_files){.main = adapter, .base = golden(p, BASE)}, &model, &p->error);
        if (!status) fail_msg("opened with %s: %s", wrong[i].key, wrong[i].value);
        if (!strstr(p->error.message, wrong[i].says)) fail_msg("found: %s\nexpected: %s", p->error.message, wrong[i].says);
    }
    sn_engine_free(engine);
}

/* Ones and an update of 2^-9 everywhere: exact in f32; the spacing of bf16 at 1 is 2^-7, so that all of it is lost. */
static void test_rounding(void **state) {
    (void)state;
    enum { N = 64 };
    static float ones[N * N], a[N], b[N], merged[N * N];
    static unsigned char stored[N * N * 4];
    static const struct {
        sn_type type;
        float value;
        double lost;
    } cases[] = {{SN_TYPE_F32, 1.001953125f, 0}, {SN_TYPE_F16, 1.001953125f, 0}, {SN_TYPE_BF16, 1, 1}};
    sn_error error = {0};
    for (int i = 0; i < N * N; i++) ones[i] = 1;
    for (int i = 0; i < N; i++) a[i] = 0x1p-5f, b[i] = 0x1p-5f;
    const sn_weight w = sn_weight_view(SN_TYPE_F32, SN_SHAPE(N, N), ones), down = sn_weight_view(SN_TYPE_F32, SN_SHAPE(1, N), a), up = sn_weight_view(SN_TYPE_F32, SN_SHAPE(N, 1), b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_rounding rounding = {0};
        assert_ok(sn_lora_merge(&w, &down, &up, 2, cases[i].type, stored, &rounding, &error), error); /* alpha 2, rank 1 */
        sn_type_of(cases[i].type)->to_float(stored, merged, N * N);
        for (int k = 0; k < N * N; k++) assert_float_equal(merged[k], cases[i].value, 0);
        assert_float_equal(sn_rounding_lost(&rounding), cases[i].lost, 0);
    }
    /* a block of q8_0 holds one scale: ones alone come back, ones with the update nearly */
    sn_rounding rounding = {0};
    assert_ok(sn_lora_merge(&w, &down, &up, 2, SN_TYPE_Q8_0, stored, &rounding, &error), error);
    sn_type_of(SN_TYPE_Q8_0)->to_float(stored, merged, N * N);
    assert_float_equal(merged[0], 1.001953125f, 1e-3);
    assert_true(sn_rounding_lost(&rounding) < 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_patterns_are_pefts, place_setup, place_teardown), cmocka_unit_test_setup_teardown(test_patterns_are_checked, place_setup, place_teardown),
                                       cmocka_unit_test(test_rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
