/* What `bench` rests on: random models of every type, and the costs that a profile counts. */
#include "base/random.h"
#include "compute/profile.h"
#include "generate/lm_session.h"
#include "systems/random.h"
#include "tests/unit/check.h"

#include <math.h>
#include <string.h>

enum { TOKENS = 7 };

static const int32_t ids[TOKENS] = {7, 38, 69, 3, 34, 65, 96};

static void extend(sn_lm_session *session, sn_sequence *sequence, int64_t count, float *logits) {
    sn_error error = {0};
    assert_ok(sn_lm_extend(session, &(sn_lm_row){.sequence = sequence, .ids = ids, .count = count}, 1, false, logits, &error), error);
}

/* A weight in another type is the f32 one, converted. */
static void test_fresh_weights_convert(void **state) {
    sn_store *store = sn_store_new();
    sn_error error = {0};
    assert_ok(sn_store_add_fresh(store, "w", "", SN_SHAPE(3, 64), SN_INIT_UNIFORM, 5, &error), error);
    sn_store *other = sn_store_new();
    assert_ok(sn_store_add_fresh_as(other, SN_TYPE_Q8_0, "w", "", SN_SHAPE(3, 64), SN_INIT_UNIFORM, 5, &error), error);
    const float *exact = sn_weight_floats(&sn_store_find(store, "w")->weight), *near = sn_weight_floats(&sn_store_find(other, "w")->weight);
    for (int i = 0; i < 3 * 64; i++) {
        assert_true(exact[i] == 1.0f / 8 * (2 * sn_uniform(5, sn_hash("w", 1, 0), (uint64_t)i) - 1));
        assert_true(fabsf(exact[i]) <= 1.0f / 8);              /* ±1/sqrt(columns) */
        assert_true(fabsf(exact[i] - near[i]) <= 0.13f / 250); /* half a step of at most 1/127 of the largest */
    }
    assert_int_equal(sn_store_add_fresh_as(other, SN_TYPE_Q8_0, "v", "", SN_SHAPE(3, 63), SN_INIT_UNIFORM, 5, &error), SN_ERROR_SUPPORT);
    sn_store_free(store);
    sn_store_free(other);
}

/* llava-tiny: width 64, 2 layers, 4 heads over 2 of 16, feed-forward 128, 97 tokens. */
static void test_costs_are_those_of_the_formulas(void **state) {
    const double layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128, head = 97 * 64;
    sn_engine *engine;
    sn_model *m;
    sn_lm_session session;
    sn_sequence sequence = {0};
    sn_error error = {0};
    float logits[97];
    assert_ok(sn_engine_new(1, &engine, &error), error);
    assert_ok(sn_model_random(engine, "llava-tiny", SN_TYPE_F16, 1, &m, &error), error);
    assert_ok(sn_lm_session_open(&session, engine, m->store, &m->lm, SN_TYPE_F32, &error), error);
    sn_profile prompt = {0}, step = {0};
    sn_engine_set_profile(engine, &prompt);
    extend(&session, &sequence, TOKENS, logits);
    sn_engine_set_profile(engine, &step);
    extend(&session, &sequence, 1, logits);
    sn_engine_set_profile(engine, NULL);
    for (int i = 0; i < 97; i++) assert_true(isfinite(logits[i]));
    /* every weight is read once, two bytes a value; a product is a multiplication and an addition */
    const sn_profile_entry *linear = &prompt.op[SN_OP_LINEAR], *attention = &prompt.op[SN_OP_ATTENTION];
    assert_true(linear->operations == 2 * (2 * layer * TOKENS + head));
    assert_true(linear->bytes == 2 * (2 * layer + head));
    /* TOKENS (TOKENS + 1) / 2 pairs in each layer, two products over 64 values each */
    assert_true(attention->operations == 2 * 4 * 64 * (TOKENS * (TOKENS + 1) / 2.0));
    assert_true(attention->bytes == 0);
    /* the next token sees TOKENS cached positions, keys and values of 2 heads of 16 f32, in each layer */
    assert_true(step.op[SN_OP_LINEAR].operations == 2 * (2 * layer + head));
    assert_true(step.op[SN_OP_ATTENTION].operations == 2 * 4 * 64 * (TOKENS + 1));
    assert_true(step.op[SN_OP_ATTENTION].bytes == 2 * 2 * TOKENS * 32 * 4);
    assert_true(sn_profile_total(&step).bytes == step.op[SN_OP_LINEAR].bytes + step.op[SN_OP_ATTENTION].bytes);
    sn_sequence_free(&session, &sequence);
    sn_lm_session_close(&session);
    sn_model_close(m);
    sn_engine_free(engine);
}

/* Every kind of preset opens, sees a picture where it can, and an unknown name is told the known ones. */
static void test_presets(void **state) {
    sn_engine *engine;
    sn_model *m;
    sn_error error = {0};
    assert_ok(sn_engine_new(1, &engine, &error), error);
    assert_ok(sn_model_random(engine, "llava-tiny", SN_TYPE_Q8_0, 1, &m, &error), error);
    size_t pixels = 3 * 56 * 56, rows = 16 * 64;
    float *picture = sn_alloc(pixels, sizeof *picture), *features = sn_alloc(rows, sizeof *features);
    for (size_t i = 0; i < pixels; i++) picture[i] = (float)(i % 17) / 17;
    assert_ok(sn_model_encode(m, picture, 1, NULL, features, &error), error);
    double sum = 0;
    for (size_t i = 0; i < rows; i++) sum += fabs((double)features[i]);
    assert_true(isfinite(sum) && sum > 0);
    sn_free(picture);
    sn_free(features);
    sn_model_close(m);
    assert_int_equal(sn_model_random(engine, "llava-9b", SN_TYPE_F32, 1, &m, &error), SN_ERROR_USAGE);
    assert_non_null(strstr(error.message, "llava-7b"));
    assert_null(m);
    sn_engine_free(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fresh_weights_convert), cmocka_unit_test(test_costs_are_those_of_the_formulas), cmocka_unit_test(test_presets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
