/* Every derivative against central differences in double precision, on random shapes. */
#include "base/random.h"
#include "compute/cpu/backend.h"
#include "tests/unit/check.h"

#include <math.h>
#include <string.h>

/* A case builds y from parameters p0, p1, … and perhaps integer inputs; the checked scalar is sum(y * r) with
 * fixed random r, as head_loss's own loss where the case gives a scalar. */
typedef sn_tensor build_case(sn_graph *g, const sn_tensor *p, const sn_tensor *in);

typedef struct gradient_case {
    const char *name;
    build_case *build;
    int num_params, num_inputs;
    sn_shape param[4];
    sn_shape input[3]; /* i32, or f32 where as_reals */
    const int32_t *values[3];
    const double *reals[3];
} gradient_case;

enum { SEED = 7 };

static sn_plan *plan_of(const gradient_case *c, bool gradients, sn_tensor *loss, sn_tensor *grads) {
    sn_graph *g = sn_graph_new();
    sn_tensor p[4], in[3], out[5];
    for (int i = 0; i < c->num_params; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        p[i] = sn_param(g, name, c->param[i], SN_INIT_NORMAL);
    }
    for (int i = 0; i < c->num_inputs; i++) in[i] = sn_input(g, c->reals[i] ? SN_TYPE_F32 : SN_TYPE_I32, c->input[i]);
    sn_tensor y = c->build(g, p, in);
    int64_t n = y ? sn_shape_count(&sn_at(g, y)->shape) : 0;
    if (n != 1) { /* project on a fixed random direction: y [n] · r [1, n] */
        sn_tensor r = sn_param(g, "direction", SN_SHAPE(1, n), SN_INIT_NORMAL);
        y = sn_reshape(g, sn_linear(g, sn_reshape(g, y, SN_SHAPE(1, n)), r, SN_NONE), SN_SHAPE(1));
    }
    if (gradients) sn_gradients(g, y, p, c->num_params, grads);
    out[0] = *loss = y;
    int count = 1;
    for (int i = 0; gradients && i < c->num_params; i++) {
        assert_int_not_equal(grads[i], SN_NONE);
        grads[i] = sn_contiguous(g, grads[i]);
        out[count++] = grads[i];
    }
    sn_plan *plan;
    sn_error error = {0};
    if (sn_plan_new(g, sn_backend_reference_double(), 1, out, count, &plan, &error)) fail_msg("%s: %s", c->name, error.message);
    return plan;
}

static void check_case(const gradient_case *c) {
    sn_tensor loss, value, grads[4];
    sn_plan *with = plan_of(c, true, &loss, grads), *without = plan_of(c, false, &value, NULL);
    sn_weight weights[5];
    sn_weight *params[5];
    double *data[5];
    size_t num = with->graph->num_params;
    for (size_t i = 0; i < num; i++) {
        sn_shape shape = with->graph->nodes[with->graph->params[i].tensor].shape;
        int64_t n = sn_shape_count(&shape);
        data[i] = sn_alloc((size_t)n, sizeof *data[i]);
        for (int64_t j = 0; j < n; j++) data[i][j] = (double)sn_normal(SEED, i, (uint64_t)j);
        weights[i] = sn_weight_view(SN_TYPE_F64, shape, data[i]);
        params[i] = &weights[i];
    }
    const double one = 1;
    const void *inputs[4];
    for (int i = 0; i < c->num_inputs; i++) inputs[i] = c->reals[i] ? (const void *)c->reals[i] : (const void *)c->values[i];
    inputs[c->num_inputs] = &one;
    sn_bindings bind = {.inputs = inputs, .params = params};
    char *memory = sn_alloc(with->bytes, 1), *plain = sn_alloc(without->bytes, 1);
    assert_int_equal(sn_plan_run(with, &bind, memory, NULL), SN_OK);
    sn_run run = {with, &bind, memory}, run_plain = {without, &bind, plain};
    for (int i = 0; i < c->num_params; i++) {
        int64_t n = sn_shape_count(&c->param[i]);
        const double *gradient = sn_run_data(&run, grads[i]);
        for (int64_t j = 0; j < n; j++) {
            const double h = 1e-5;
            double at = data[i][j], ends[2];
            for (int side = 0; side < 2; side++) {
                data[i][j] = at + (side ? h : -h);
                sn_plan_run(without, &bind, plain, NULL);
                ends[side] = *(double *)sn_run_data(&run_plain, value);
            }
            data[i][j] = at;
            double difference = (ends[1] - ends[0]) / (2 * h);
            if (fabs(difference - gradient[j]) > 1e-6 + 1e-5 * fabs(difference))
                fail_msg("%s: gradient %lld of parameter %d is %.9g, differences say %.9g", c->name, (long long)j, i, gradient[j], difference);
        }
    }
    for (size_t i = 0; i < num; i++) sn_free(data[i]);
    sn_free(memory);
    sn_free(plain);
    sn_plan_free(with);
    sn_plan_free(without);
}

static sn_tensor case_add(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_add(g, p[0], p[1]); }
static sn_tensor case_mul(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_mul(g, p[0], p[1]); }
static sn_tensor case_scale(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_scale(g, p[0], 0.5f); }
static sn_tensor case_dropout(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_dropout(g, p[0], in[0], 0.3f, 5); }
static sn_tensor case_gelu(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_unary_op(g, SN_UNARY_GELU, p[0]); }
static sn_tensor case_quick_gelu(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_unary_op(g, SN_UNARY_QUICK_GELU, p[0]); }
static sn_tensor case_silu(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_unary_op(g, SN_UNARY_SILU, p[0]); }
static sn_tensor case_exp(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_unary_op(g, SN_UNARY_EXP, p[0]); }
static sn_tensor case_relu(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_unary_op(g, SN_UNARY_RELU, p[0]); }
static sn_tensor case_gated(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_gated(g, SN_UNARY_SILU, p[0], p[1]); }
static sn_tensor case_layer_norm(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_norm_op(g, SN_NORM_LAYER, p[0], p[1], p[2], 1e-5f); }
static sn_tensor case_rms_norm(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_norm_op(g, SN_NORM_RMS, p[0], p[1], SN_NONE, 1e-5f); }
static sn_tensor case_l2_norm(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_norm_op(g, SN_NORM_L2, p[0], SN_NONE, SN_NONE, 1e-12f); }
static sn_tensor case_linear(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_linear(g, p[0], p[1], p[2]); }
static sn_tensor case_unfold(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_unfold(g, p[0], 2); }
static sn_tensor case_views(sn_graph *g, const sn_tensor *p, const sn_tensor *in) {
    sn_tensor middle = sn_slice(g, p[0], 1, 1, 2); /* not contiguous */
    return sn_concat(g, sn_scale(g, middle, 2), sn_slice(g, p[0], 1, 0, 1), 1);
}
static sn_tensor case_gather(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_gather_rows(g, p[0], in[0]); }
static sn_tensor case_scatter(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_scatter_rows(g, p[0], p[1], in[0]); }
static sn_tensor case_shared(sn_graph *g, const sn_tensor *p, const sn_tensor *in) { return sn_mul(g, sn_add(g, p[0], p[0]), sn_unary_op(g, SN_UNARY_SILU, p[0])); }
static sn_tensor case_attention(sn_graph *g, const sn_tensor *p, const sn_tensor *in, sn_attention_attributes a) {
    a.num_heads = 4, a.num_kv_heads = 2, a.head_dim = 4, a.scale = 0.5f, a.rope_theta = 100, a.rope_scale = 1, a.cache_layer = -1;
    return sn_attention(g, &(sn_attention_inputs){.q = p[0], .k = p[1], .v = p[2], .positions = in[0], .row_starts = in[1]}, &a);
}
static sn_tensor case_causal(sn_graph *g, const sn_tensor *p, const sn_tensor *in) {
    return case_attention(g, p, in, (sn_attention_attributes){.mask = SN_MASK_CAUSAL, .rotary = SN_ROTARY_HALF});
}
static sn_tensor case_full(sn_graph *g, const sn_tensor *p, const sn_tensor *in) {
    return case_attention(g, p, in, (sn_attention_attributes){.mask = SN_MASK_FULL, .rotary = SN_ROTARY_INTERLEAVED});
}
static sn_tensor case_loss(sn_graph *g, const sn_tensor *p, const sn_tensor *in) {
    sn_tensor hidden = sn_scale(g, p[0], 1.5f);
    return sn_scale(g, sn_head_loss(g, hidden, p[1], in[0], in[1], SN_GRAD_HIDDEN | SN_GRAD_HEAD), 0.7f);
}

static const int32_t ids[] = {2, 0, 2, 4}, keys[] = {1, 2, 3, 4}, places[] = {3, 1}, positions[] = {0, 1, 2, 0, 1}, starts[] = {0, 3, 5}, labels[] = {1, -100, 4, 0};
static const double weights_of_tokens[] = {0.5, 1, 0.25, 2};

static void test_derivatives(void **state) {
    const gradient_case cases[] = {
        {"add", case_add, 2, 0, {SN_SHAPE(3, 5), SN_SHAPE(5)}},
        {"add of equal shapes", case_add, 2, 0, {SN_SHAPE(2, 3, 5), SN_SHAPE(2, 3, 5)}},
        {"mul", case_mul, 2, 0, {SN_SHAPE(2, 3, 4), SN_SHAPE(3, 4)}},
        {"scale", case_scale, 1, 0, {SN_SHAPE(3, 4)}},
        {"dropout", case_dropout, 1, 1, {SN_SHAPE(2, 3, 7)}, {SN_SHAPE(2, 2)}, {keys}},
        {"gelu", case_gelu, 1, 0, {SN_SHAPE(3, 7)}},
        {"quick gelu", case_quick_gelu, 1, 0, {SN_SHAPE(3, 7)}},
        {"silu", case_silu, 1, 0, {SN_SHAPE(3, 7)}},
        {"relu", case_relu, 1, 0, {SN_SHAPE(3, 7)}},
        {"exp", case_exp, 1, 0, {SN_SHAPE(3, 7)}},
        {"gated", case_gated, 2, 0, {SN_SHAPE(3, 7), SN_SHAPE(3, 7)}},
        {"layer norm", case_layer_norm, 3, 0, {SN_SHAPE(3, 7), SN_SHAPE(7), SN_SHAPE(7)}},
        {"rms norm", case_rms_norm, 2, 0, {SN_SHAPE(3, 7), SN_SHAPE(7)}},
        {"l2 norm", case_l2_norm, 1, 0, {SN_SHAPE(3, 7)}},
        {"linear", case_linear, 3, 0, {SN_SHAPE(2, 3, 5), SN_SHAPE(4, 5), SN_SHAPE(4)}},
        {"unfold", case_unfold, 1, 0, {SN_SHAPE(2, 3, 4, 5)}},
        {"views", case_views, 1, 0, {SN_SHAPE(3, 4, 2)}},
        {"shared tensor", case_shared, 1, 0, {SN_SHAPE(3, 4)}},
        {"gather rows", case_gather, 1, 1, {SN_SHAPE(5, 3)}, {SN_SHAPE(4)}, {ids}},
        {"scatter rows", case_scatter, 2, 1, {SN_SHAPE(5, 3), SN_SHAPE(2, 3)}, {SN_SHAPE(2)}, {places}},
        {"causal attention", case_causal, 3, 2, {SN_SHAPE(5, 16), SN_SHAPE(5, 8), SN_SHAPE(5, 8)}, {SN_SHAPE(5), SN_SHAPE(3)}, {positions, starts}},
        {"full attention", case_full, 3, 2, {SN_SHAPE(5, 16), SN_SHAPE(5, 8), SN_SHAPE(5, 8)}, {SN_SHAPE(5), SN_SHAPE(3)}, {positions, starts}},
        {"head loss", case_loss, 2, 2, {SN_SHAPE(4, 3), SN_SHAPE(6, 3)}, {SN_SHAPE(4), SN_SHAPE(4)}, {labels}, {NULL, weights_of_tokens}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(&cases[i]);
}

/* A frozen part has no backward nodes: only what leads from the wanted parameter to the loss is derived. */
static void test_frozen_parts_cost_nothing(void **state) {
    sn_graph *g = sn_graph_new();
    sn_tensor x = sn_input(g, SN_TYPE_F32, SN_SHAPE(2, 4));
    sn_tensor frozen = sn_unary_op(g, SN_UNARY_SILU, sn_linear(g, x, sn_param(g, "frozen", SN_SHAPE(4, 4), SN_INIT_NORMAL), SN_NONE));
    sn_tensor learnt = sn_param(g, "learnt", SN_SHAPE(1, 4), SN_INIT_NORMAL), grad;
    sn_tensor loss = sn_slice(g, sn_reshape(g, sn_linear(g, frozen, learnt, SN_NONE), SN_SHAPE(2)), 0, 0, 1);
    sn_gradients(g, loss, &learnt, 1, &grad);
    assert_int_equal(g->error.status, SN_OK);
    for (size_t i = 0; i < g->num_nodes; i++) {
        assert_int_not_equal(g->nodes[i].op, SN_OP_UNARY_BACK);
        assert_int_not_equal(g->nodes[i].op, SN_OP_LINEAR_BACK_X);
    }
    sn_graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_derivatives), cmocka_unit_test(test_frozen_parts_cost_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
