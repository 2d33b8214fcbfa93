/* Sampling follows the distribution that the warpers leave: chi-square over 20 000 draws, each from its own seed. */
#include "generate/processors.h"
#include "generate/search.h"
#include "tests/unit/check.h"

#include <math.h>
#include <string.h>

enum { V = 8, DRAWS = 20000 };
static const float logits[V] = {1.0f, 0.2f, -0.5f, 2.0f, 0.0f, -1.0f, 1.5f, 0.7f};

static sn_status start(void *context, float *scores, sn_error *error) {
    memcpy(scores, logits, sizeof logits);
    return SN_OK;
}

static sn_status step(void *context, int rows, const int32_t *parents, const int32_t *ids, float *scores, sn_error *error) {
    return start(context, scores, error);
}

static const sn_stepper stepper = {.vocab = V, .start = start, .step = step};

static int32_t draw(sn_generate_options *o, uint64_t seed) {
    sn_answer answer;
    sn_error error = {0};
    o->seed = seed;
    assert_ok(sn_generate(o, &stepper, NULL, 0, false, NULL, NULL, &answer, &error), error);
    int32_t id = answer.ids.data[0];
    sn_answer_free(&answer);
    return id;
}

static void check(sn_generate_options o) {
    float expected[V];
    int count[V] = {0}, free_cells = -1;
    memcpy(expected, logits, sizeof logits);
    assert_int_equal(sn_warp_scores(&o, expected, V, NULL), SN_OK);
    sn_softmax(expected, V);
    for (uint64_t i = 0; i < DRAWS; i++) count[draw(&o, i)]++;
    double chi = 0;
    for (int i = 0; i < V; i++) {
        double mean = (double)expected[i] * DRAWS;
        if (expected[i] == 0) {
            assert_int_equal(count[i], 0);
            continue;
        }
        chi += (count[i] - mean) * (count[i] - mean) / mean;
        free_cells++;
    }
    /* mean k, deviation sqrt(2k): five deviations are one in a million, and the seeds are fixed */
    assert_true(chi < free_cells + 5 * sqrt(2.0 * free_cells));
}

static void test_distributions(void **state) {
    sn_generate_options o = sn_generate_defaults();
    o.max_new_tokens = 1, o.temperature = 1;
    check(o);
    o.temperature = 0.5, o.top_k = 4;
    check(o);
    o.temperature = 1.5, o.top_k = 0, o.top_p = 0.8;
    check(o);
}

static void test_same_seed_same_ids(void **state) {
    sn_generate_options o = sn_generate_defaults();
    sn_answer a, b;
    sn_error error = {0};
    o.max_new_tokens = 50, o.temperature = 1, o.seed = 42;
    assert_ok(sn_generate(&o, &stepper, NULL, 0, false, NULL, NULL, &a, &error), error);
    assert_ok(sn_generate(&o, &stepper, NULL, 0, false, NULL, NULL, &b, &error), error);
    assert_int_equal(a.ids.count, 50);
    assert_memory_equal(a.ids.data, b.ids.data, 50 * sizeof *a.ids.data);
    sn_answer_free(&a);
    sn_answer_free(&b);
}

static void test_options_are_checked(void **state) {
    sn_generate_options o = sn_generate_defaults();
    sn_error error = {0};
    assert_int_equal(sn_generate_set(&o, "temperature", "0.25", &error), SN_OK);
    assert_float_equal(o.temperature, 0.25, 0);
    static const char *const bad[][2] = {{"temperature", "-1"}, {"temperature", "warm"}, {"temperature", "nan"}, {"top_p", "1.5"}, {"num_beams", "0"},
                                         {"num_beams", "2.5"}, {"seed", "-3"}, {"max_new_tokens", ""}, {"colour", "red"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sn_generate_set(&o, bad[i][0], bad[i][1], &error), SN_ERROR_USAGE);
        assert_non_null(strstr(error.message, bad[i][0]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distributions), cmocka_unit_test(test_same_seed_same_ids), cmocka_unit_test(test_options_are_checked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
