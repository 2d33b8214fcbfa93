/* The contract of graph and weights on a small LLaMA: quantized leaves, ragged batches, forks, reuse of memory. */
#include "base/random.h"
#include "compute/cpu/backend.h"
#include "decoders/llama.h"
#include "generate/lm_session.h"
#include "systems/parts.h"
#include "tests/unit/check.h"

#include <math.h>
#include <string.h>

static const sn_llama_config config = {.hidden_size = 64, .intermediate_size = 96, .num_layers = 2, .num_heads = 4, .num_kv_heads = 2, .head_dim = 16,
                                       .vocab_size = 97, .max_positions = 256, .rms_norm_eps = 1e-5f, .rope_theta = 10000, .rope_scale = 1, .rotary = SN_ROTARY_HALF};

typedef struct fixture {
    sn_engine *engine;
    sn_store *store;
    sn_lm lm;
    sn_lm_session session;
} fixture;

static int setup(void **state) {
    fixture *f = sn_alloc(1, sizeof *f);
    sn_error error = {0};
    assert_ok(sn_engine_new(1, &f->engine, &error), error);
    f->store = sn_store_new();
    f->lm = sn_llama(&config);
    sn_graph *g = sn_graph_new();
    sn_lm_parameters(g, &f->lm);
    for (size_t i = 0; i < g->num_params; i++)
        assert_ok(sn_store_add_fresh(f->store, g->params[i].name, "", g->nodes[g->params[i].tensor].shape,
                                     g->params[i].init == SN_INIT_NORMAL ? SN_INIT_UNIFORM : g->params[i].init, 3, &error), error);
    sn_graph_free(g);
    assert_ok(sn_lm_session_open(&f->session, f->engine, f->store, &f->lm, SN_TYPE_F32, &error), error);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    sn_lm_session_close(&f->session);
    sn_store_free(f->store);
    sn_engine_free(f->engine);
    sn_free(f);
    return 0;
}

static void extend(fixture *f, sn_sequence *q, const int32_t *ids, int64_t count, bool all, float *logits) {
    sn_error error = {0};
    assert_ok(sn_lm_extend(&f->session, &(sn_lm_row){.sequence = q, .ids = ids, .count = count}, 1, all, logits, &error), error);
}

static const int32_t first[] = {1, 17, 33, 80, 5, 6, 7, 90, 12}, second[] = {1, 4, 44, 21};
enum { V = 97 };

/* Rows of unequal length in one batch give what each gives alone. */
static void test_ragged_batch_equals_rows_alone(void **state) {
    fixture *f = *state;
    sn_sequence a = {0}, b = {0}, c = {0}, d = {0};
    float alone[2][V], together[2][V];
    sn_error error = {0};
    extend(f, &a, first, 9, false, alone[0]);
    extend(f, &b, second, 4, false, alone[1]);
    sn_lm_row rows[] = {{.sequence = &c, .ids = first, .count = 9}, {.sequence = &d, .ids = second, .count = 4}};
    assert_ok(sn_lm_extend(&f->session, rows, 2, false, together[0], &error), error);
    assert_memory_equal(alone, together, sizeof alone);
    /* and so does the next step */
    extend(f, &a, &first[3], 1, false, alone[0]);
    extend(f, &b, &second[2], 1, false, alone[1]);
    sn_lm_row next[] = {{.sequence = &c, .ids = &first[3], .count = 1}, {.sequence = &d, .ids = &second[2], .count = 1}};
    assert_ok(sn_lm_extend(&f->session, next, 2, false, together[0], &error), error);
    assert_memory_equal(alone, together, sizeof alone);
    sn_sequence *all[] = {&a, &b, &c, &d};
    for (int i = 0; i < 4; i++) sn_sequence_free(&f->session, all[i]);
}

/* Token by token gives what one prefill gives; a fork goes its own way without touching the other. */
static void test_cache_and_forks(void **state) {
    fixture *f = *state;
    sn_sequence whole = {0}, steps = {0}, fork = {0}, again = {0};
    static float all[9][V], one[V], other[V];
    sn_error error = {0};
    extend(f, &whole, first, 9, true, all[0]);
    for (int i = 0; i < 5; i++) extend(f, &steps, &first[i], 1, false, one);
    for (int j = 0; j < V; j++) assert_float_equal(one[j], all[4][j], 1e-5);
    assert_ok(sn_sequence_fork(&f->session, &steps, &fork, &error), error);
    extend(f, &fork, second, 4, false, other);
    for (int i = 5; i < 9; i++) extend(f, &steps, &first[i], 1, false, one);
    for (int j = 0; j < V; j++) assert_float_equal(one[j], all[8][j], 1e-5);
    extend(f, &again, first, 5, false, one);
    extend(f, &again, second, 4, false, one);
    for (int j = 0; j < V; j++) assert_float_equal(one[j], other[j], 1e-5);
    sn_sequence *used[] = {&whole, &steps, &fork, &again};
    for (int i = 0; i < 4; i++) sn_sequence_free(&f->session, used[i]);
    for (int i = 0; i < f->session.cache->num_pages; i++) assert_int_equal(f->session.cache->count[i], 0);
}

/* A page boundary lies inside the sequence: the fork shares the full page and copies the begun one. */
static void test_fork_shares_full_pages(void **state) {
    fixture *f = *state;
    sn_sequence a = {0}, b = {0};
    int32_t ids[70];
    float logits[V], again[V];
    sn_error error = {0};
    for (int i = 0; i < 70; i++) ids[i] = (i * 31 + 5) % V;
    extend(f, &a, ids, 70, false, logits);
    assert_ok(sn_sequence_fork(&f->session, &a, &b, &error), error);
    extend(f, &b, &ids[3], 1, false, logits);
    assert_int_equal(a.pages[0], b.pages[0]);
    assert_int_not_equal(a.pages[1], b.pages[1]);
    extend(f, &a, &ids[3], 1, false, again);
    assert_memory_equal(logits, again, sizeof logits);
    sn_sequence_free(&f->session, &a);
    sn_sequence_free(&f->session, &b);
}

/* The same code runs on q8_0 leaves. A weight moves by at most half a step of its block, 1/254 of the block's
 * largest: logits stay within 2 % of their spread here. */
static void test_quantized_leaves(void **state) {
    fixture *f = *state;
    sn_sequence a = {0}, b = {0};
    static float exact[9][V], quantized[9][V];
    extend(f, &a, first, 9, true, exact[0]);
    sn_free(f->session.cache->pages[0]);
    f->session.cache->num_pages = 0;
    for (size_t i = 0; i < f->store->count; i++) {
        sn_weight *w = &f->store->entries[i]->weight;
        if (w->shape.rank != 2) continue;
        int64_t bytes;
        assert_true(sn_type_bytes(SN_TYPE_Q8_0, w->columns, &bytes));
        void *blocks = sn_alloc((size_t)w->rows, (size_t)bytes);
        for (int64_t r = 0; r < w->rows; r++) sn_type_of(SN_TYPE_Q8_0)->from_float(sn_weight_row(w, r), (char *)blocks + r * bytes, w->columns);
        sn_free(w->owned);
        *w = sn_weight_view(SN_TYPE_Q8_0, w->shape, blocks);
        w->owned = blocks;
    }
    extend(f, &b, first, 9, true, quantized[0]);
    double spread = 0, worst = 0;
    for (int i = 0; i < 9; i++) for (int j = 0; j < V; j++) {
        spread = fmax(spread, fabs((double)exact[i][j]));
        worst = fmax(worst, fabs((double)exact[i][j] - (double)quantized[i][j]));
    }
    assert_true(worst > 0);
    if (worst > 0.02 * spread) fail_msg("q8_0 moves a logit by %g of %g", worst, spread);
    sn_sequence_free(&f->session, &b);
    sn_free(a.pages);
}

/* An error while building keeps its first cause with its scope and comes out at the plan. */
static void test_build_errors_name_their_scope(void **state) {
    sn_graph *g = sn_graph_new();
    int32_t scope = sn_scope_enter(g, "decoder"), inner = sn_scope_enter(g, "layers.%d", 3);
    sn_tensor x = sn_input(g, SN_TYPE_F32, SN_SHAPE(2, 5));
    sn_tensor y = sn_linear(g, x, sn_param(g, "q.weight", SN_SHAPE(4, 6), SN_INIT_ZERO), SN_NONE);
    sn_scope_leave(g, inner);
    sn_scope_leave(g, scope);
    assert_int_equal(sn_add(g, y, x), SN_NONE);
    sn_plan *plan;
    sn_error error = {0};
    assert_int_equal(sn_plan_new(g, sn_backend_cpu(SN_TYPE_F32), 1, &y, 1, &plan, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "decoder.layers.3: linear"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ragged_batch_equals_rows_alone, setup, teardown), cmocka_unit_test_setup_teardown(test_cache_and_forks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fork_shares_full_pages, setup, teardown), cmocka_unit_test_setup_teardown(test_quantized_leaves, setup, teardown),
        cmocka_unit_test(test_build_errors_name_their_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
