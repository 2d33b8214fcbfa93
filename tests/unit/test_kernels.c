/* Every fast kernel against the plain C one, on random shapes, strides and edge sizes, for every instruction set
 * that this machine has. The 64-byte kernels are also built from the same source with AVX2 instructions (set
 * `wide`), so that their logic is tested on machines without AVX-512.
 *
 * Tolerances are multiples of the float's unit of rounding, u = 2^-24, times the largest value of the result: an
 * output that sums k terms of random signs carries an error of about sqrt(k) u; 8 sqrt(k) u is far out of chance's
 * reach and far below what a wrong term would do. */
#include "base/random.h"
#include "compute/cpu/kernels.h"
#include "compute/kv.h"
#include "tensor/op.h"
#include "tests/unit/check.h"

#include <math.h>
#include <string.h>

enum { MAX_LEAVES = 8 };
static const double unit = 0x1p-24;

/* One operator with its data: what is built, what it is run with. */
typedef struct scene {
    sn_graph *graph;
    void *inputs[MAX_LEAVES];
    sn_weight weights[MAX_LEAVES];
    int num_weights;
    sn_kv_cache *cache;
    uint64_t seed;
} scene;

static float *random_floats(scene *s, int64_t count) {
    float *values = sn_alloc((size_t)count + 1, sizeof *values);
    s->seed++;
    enum { PERIOD = 4099 }; /* a prime: rows of any length differ */
    for (int64_t i = 0; i < count; i++) values[i] = i < PERIOD ? 2 * sn_uniform(s->seed, 0, (uint64_t)i) - 1 : values[i - PERIOD];
    return values;
}

static sn_tensor add_input(scene *s, sn_shape shape) {
    sn_tensor t = sn_input(s->graph, SN_TYPE_F32, shape);
    s->inputs[s->graph->num_inputs - 1] = random_floats(s, sn_shape_count(&shape));
    return t;
}

static sn_tensor add_ints(scene *s, int64_t count, const int32_t *values) {
    sn_tensor t = sn_input(s->graph, SN_TYPE_I32, SN_SHAPE(count));
    int32_t *copy = sn_alloc((size_t)count + 1, sizeof *copy);
    memcpy(copy, values, (size_t)count * sizeof *copy);
    s->inputs[s->graph->num_inputs - 1] = copy;
    return t;
}

/* A weight of that type in `parts` parts, its rows `gap` bytes further apart than they are long. */
static sn_tensor add_weight(scene *s, sn_type type, sn_shape shape, int parts, int64_t gap) {
    char name[16];
    snprintf(name, sizeof name, "w%d", s->num_weights);
    sn_tensor t = sn_param(s->graph, name, shape, SN_INIT_ZERO);
    sn_weight w = sn_weight_view(type, shape, NULL);
    int64_t distance = w.part[0].row_bytes + gap;
    float *values = random_floats(s, w.rows * w.columns);
    char *data = sn_alloc((size_t)w.rows + 1, (size_t)distance);
    for (int64_t r = 0; r < w.rows; r++) sn_type_of(type)->from_float(values + r * w.columns, data + r * distance, w.columns);
    sn_free(values);
    w.owned = data;
    w.num_parts = parts;
    for (int64_t p = 0, row = 0; p < parts; p++) {
        int64_t rows = p + 1 < parts ? w.rows / parts : w.rows - row;
        w.part[p] = (sn_weight_part){.data = data + row * distance, .rows = rows, .row_bytes = distance};
        row += rows;
    }
    s->weights[s->num_weights++] = w;
    return t;
}

static void begin(scene *s) {
    *s = (scene){.graph = sn_graph_new(), .seed = s->seed};
}

/* What `y` is under that backend; takes the scene's graph. */
static float *run(scene *s, sn_tensor y, const sn_backend *backend, int threads, int64_t *count) {
    sn_error error = {0};
    sn_plan *plan;
    sn_weight *weights[MAX_LEAVES];
    for (int i = 0; i < MAX_LEAVES; i++) weights[i] = &s->weights[i];
    assert_ok(sn_plan_new(s->graph, backend, threads, &y, 1, &plan, &error), error);
    char *memory = sn_alloc(plan->bytes, 1);
    memset(memory, 0x7f, plan->bytes); /* 3e38 everywhere: what is not written shows */
    sn_bindings bindings = {.inputs = (const void *const *)s->inputs, .params = weights, .cache = s->cache};
    assert_ok(sn_plan_run(plan, &bindings, memory, &error), error);
    sn_run r = {.plan = plan, .bind = &bindings, .memory = memory};
    *count = sn_shape_count(&plan->graph->nodes[y].shape);
    float *result = sn_alloc((size_t)*count + 1, sizeof *result);
    memcpy(result, sn_run_data(&r, y), (size_t)*count * sizeof *result);
    sn_free(memory);
    sn_plan_free(plan);
    return result;
}

static void end(scene *s) {
    for (int i = 0; i < MAX_LEAVES; i++) {
        sn_free(s->inputs[i]);
        sn_weight_release(&s->weights[i]);
    }
    sn_kv_cache_free(s->cache);
    s->cache = NULL;
}

/* The sets to test. */
static int backends(sn_backend out[3]) {
    int n = 0;
    sn_cpu_level level = sn_cpu_features().level;
    if (level >= SN_CPU_AVX2) out[n++] = sn_backend_with("avx2", &sn_kernels_avx2);
    if (level >= SN_CPU_AVX2) out[n++] = sn_backend_with("wide", &sn_kernels_wide);
    if (level >= SN_CPU_AVX512) out[n++] = sn_backend_with("avx512", &sn_kernels_avx512);
    return n;
}

typedef sn_tensor build(scene *s, const int64_t *sizes);

/* The scene of these sizes, by every set and by the reference, both with products in that type; equal up to `units` u of
 * the largest value. Rounded operands are the same numbers everywhere: only the order of the sums differs. */
static void compare_in(sn_type compute, build *make, const int64_t *sizes, double units) {
    sn_backend sets[3];
    int n = backends(sets);
    scene plain = {.seed = (uint64_t)(sizes[0] * 1000 + sizes[1])};
    const uint64_t seed = plain.seed;
    int64_t count;
    begin(&plain);
    float *expected = run(&plain, make(&plain, sizes), sn_backend_plain(compute), 1, &count);
    end(&plain);
    double largest = 1e-30;
    for (int64_t j = 0; j < count; j++) largest = fmax(largest, fabs((double)expected[j]));
    for (int i = 0; i < n; i++) {
        scene s = {.seed = seed};
        int threads = (sizes[0] + sizes[1] + i) % 2 ? 3 : 1;
        sets[i].compute = compute;
        begin(&s);
        float *found = run(&s, make(&s, sizes), &sets[i], threads, &count);
        for (int64_t j = 0; j < count; j++)
            if (!(fabs((double)expected[j] - (double)found[j]) <= units * unit * largest))
                fail_msg("%s, %d threads, sizes %lld %lld %lld %lld: value %lld of %lld is %.9g, expected %.9g (largest %g)", sets[i].name, threads,
                         (long long)sizes[0], (long long)sizes[1], (long long)sizes[2], (long long)sizes[3], (long long)j, (long long)count,
                         (double)found[j], (double)expected[j], largest);
        sn_free(found);
        end(&s);
    }
    sn_free(expected);
}

static void compare(build *make, const int64_t *sizes, double units) { compare_in(SN_TYPE_F32, make, sizes, units); }

/* ---- linear ---- */

/* sizes: m, k, n, type, parts, gap */
static sn_tensor build_linear(scene *s, const int64_t *z) {
    sn_tensor x = add_input(s, SN_SHAPE(z[0], z[1]));
    sn_tensor w = add_weight(s, (sn_type)z[3], SN_SHAPE(z[2], z[1]), (int)z[4], z[5]);
    return sn_linear(s->graph, x, w, z[5] ? add_weight(s, SN_TYPE_F32, SN_SHAPE(z[2]), 1, 0) : SN_NONE);
}

static const sn_type stored[] = {SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16, SN_TYPE_Q8_0};

static void test_linear(void **state) {
    static const int64_t shapes[][3] = {{1, 64, 3}, {1, 4096, 7}, {2, 1, 5}, {2, 4097, 7}, {3, 17, 17}, {7, 1056, 65}, {16, 96, 33},
                                        {17, 33, 1027}, {61, 1024, 18}, {101, 2080, 30}, {200, 64, 19}, {0, 64, 4}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 4; t++) {
            int64_t k = stored[t] == SN_TYPE_Q8_0 ? (shapes[i][1] + 31) / 32 * 32 : shapes[i][1];
            int64_t parts = 1 + (int64_t)(i + (size_t)t) % 2; /* one part, or two with room between their rows and a bias */
            compare(build_linear, (int64_t[]){shapes[i][0], k, shapes[i][2], stored[t], parts, parts == 2 ? 12 : 0}, 8 * sqrt((double)k) + 8);
        }
}

/* Up to 16 rows: a row of the input gives the same bits alone and beside others, for any number of threads (D11). */
static void test_linear_rows_are_independent(void **state) {
    sn_backend sets[3];
    int num_sets = backends(sets);
    enum { K = 1056, N = 31, MOST = 16 };
    for (int i = 0; i < num_sets; i++)
        for (int t = 0; t < 4; t++) {
            int64_t count;
            scene all = {.seed = 5};
            begin(&all);
            float *together = run(&all, build_linear(&all, (int64_t[]){MOST, K, N, stored[t], 1, 0}), &sets[i], 3, &count);
            for (int64_t m = 1; m <= 16; m++) {
                scene some = {.seed = 5};
                begin(&some);
                sn_tensor y = build_linear(&some, (int64_t[]){m, K, N, stored[t], 1, 0});
                /* the last m rows, and the weight, of the whole */
                memcpy(some.inputs[0], (float *)all.inputs[0] + (MOST - m) * K, (size_t)(m * K) * sizeof(float));
                float *alone = run(&some, y, &sets[i], 1 + (int)(m % 2), &count);
                assert_memory_equal(alone, together + (MOST - m) * N, (size_t)(m * N) * sizeof(float));
                sn_free(alone);
                end(&some);
            }
            sn_free(together);
            end(&all);
        }
}

/* sizes: m, k, n, type. The derivatives are operators too; dy's rows are part of wider ones. */
static sn_tensor build_back_x(scene *s, const int64_t *z) {
    sn_tensor dy = sn_slice(s->graph, add_input(s, SN_SHAPE(z[0], z[2] + 3)), 1, 1, z[2]);
    return SN_NODE(s->graph, SN_OP_LINEAR_BACK_X, SN_SHAPE(z[0], z[1]), dy, add_weight(s, (sn_type)z[3], SN_SHAPE(z[2], z[1]), 2, 0));
}

static sn_tensor build_back_weight(scene *s, const int64_t *z) {
    sn_tensor dy = sn_slice(s->graph, add_input(s, SN_SHAPE(z[0], z[2] + 3)), 1, 1, z[2]);
    return SN_NODE(s->graph, SN_OP_LINEAR_BACK_WEIGHT, SN_SHAPE(z[2], z[1]), dy, add_input(s, SN_SHAPE(z[0], z[1])));
}

static void test_linear_backward(void **state) {
    static const int64_t shapes[][3] = {{1, 64, 3}, {2, 32, 1040}, {17, 96, 33}, {40, 1056, 15}, {5, 64, 1100}, {110, 96, 60}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *z = shapes[i];
        for (int t = 0; t < 4; t++) compare(build_back_x, (int64_t[]){z[0], z[1], z[2], stored[t]}, 8 * sqrt((double)z[2]) + 8);
        compare(build_back_weight, (int64_t[]){z[0], z[1], z[2], 0}, 8 * sqrt((double)z[0]) + 8);
    }
}

/* Large enough for oneDNN, with operands that it cannot read as they are stored; and in bf16, of every size. */
static void test_dense(void **state) {
    static const int64_t shapes[][3] = {{64, 100, 384}, {66, 2600, 390}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 4; t++) {
            int64_t k = stored[t] == SN_TYPE_Q8_0 ? (shapes[i][1] + 31) / 32 * 32 : shapes[i][1], m = shapes[i][0], n = shapes[i][2], gap = (int64_t)i % 2 * 12;
            for (int in = 0; in < 2; in++) {
                sn_type compute = in ? SN_TYPE_BF16 : SN_TYPE_F32;
                compare_in(compute, build_linear, (int64_t[]){m, k, n, stored[t], 1 + gap / 12, gap}, 8 * sqrt((double)k) + 8);
                compare_in(compute, build_back_x, (int64_t[]){m, n, k > 1056 ? 96 : k, stored[t] == SN_TYPE_Q8_0 ? SN_TYPE_BF16 : stored[t]}, 8 * sqrt((double)k) + 8);
            }
        }
    for (int in = 0; in < 2; in++) compare_in(in ? SN_TYPE_BF16 : SN_TYPE_F32, build_back_weight, (int64_t[]){130, 400, 70, 0}, 8 * sqrt(130.0) + 8);
}

static void test_bf16(void **state) {
    static const int64_t shapes[][3] = {{1, 64, 3}, {2, 4097, 7}, {3, 17, 17}, {17, 33, 103}, {61, 1024, 18}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 3; t++) {
            const int64_t *z = shapes[i];
            compare_in(SN_TYPE_BF16, build_linear, (int64_t[]){z[0], z[1], z[2], stored[t], 1, 0}, 8 * sqrt((double)z[1]) + 8);
            compare_in(SN_TYPE_BF16, build_back_x, (int64_t[]){z[0], z[1], z[2], stored[t]}, 8 * sqrt((double)z[2]) + 8);
            compare_in(SN_TYPE_BF16, build_back_weight, (int64_t[]){z[0], z[1], z[2], 0}, 8 * sqrt((double)z[0]) + 8);
        }
}

/* A feed-forward block whose inner values are outputs too is computed whole; alone, in pieces of rows: the same bits in
 * less memory. 193 rows are the fewest that are cut, into unequal pieces. */
static void test_pieces(void **state) {
    sn_backend sets[3];
    int num_sets = backends(sets);
    enum { IN = 48, INNER = 8192 };
    for (int i = 0; i < num_sets; i++) {
        float *results[2];
        size_t bytes[2];
        int64_t rows = i ? 401 : 193, count = rows * IN;
        for (int whole = 0; whole < 2; whole++) {
            scene s = {.seed = 9};
            sn_error error = {0};
            sn_plan *plan;
            sn_weight *weights[MAX_LEAVES];
            begin(&s);
            sn_tensor x = sn_scale(s.graph, add_input(&s, SN_SHAPE(rows, IN)), 1);
            sn_tensor gate = sn_linear(s.graph, x, add_weight(&s, SN_TYPE_F32, SN_SHAPE(INNER, IN), 1, 0), SN_NONE);
            sn_tensor up = sn_linear(s.graph, x, add_weight(&s, SN_TYPE_BF16, SN_SHAPE(INNER, IN), 1, 0), SN_NONE);
            sn_tensor inner = sn_gated(s.graph, SN_UNARY_SILU, gate, up);
            sn_tensor y = sn_linear(s.graph, inner, add_weight(&s, SN_TYPE_F32, SN_SHAPE(IN, INNER), 1, 0), SN_NONE);
            y = sn_add(s.graph, x, y);
            for (int w = 0; w < MAX_LEAVES; w++) weights[w] = &s.weights[w];
            assert_ok(sn_plan_new(s.graph, &sets[i], 2, (sn_tensor[]){y, gate, up, inner}, whole ? 4 : 1, &plan, &error), error);
            char *memory = sn_alloc(plan->bytes, 1);
            memset(memory, 0x7f, plan->bytes);
            sn_bindings bindings = {.inputs = (const void *const *)s.inputs, .params = weights, .check = true};
            assert_ok(sn_plan_run(plan, &bindings, memory, &error), error);
            sn_run r = {.plan = plan, .bind = &bindings, .memory = memory};
            results[whole] = sn_alloc((size_t)count, sizeof(float));
            memcpy(results[whole], sn_run_data(&r, y), (size_t)count * sizeof(float));
            bytes[whole] = plan->bytes;
            sn_free(memory);
            sn_plan_free(plan);
            end(&s);
        }
        assert_memory_equal(results[0], results[1], (size_t)count * sizeof(float));
        assert_in_range(bytes[0], 1, bytes[1] * 2 / 3);
        sn_free(results[0]);
        sn_free(results[1]);
    }
}

/* ---- attention ---- */

enum { HEADS = 4 };

/* sizes: tokens of row 0, tokens of row 1, head_dim, kv heads, rotary, causal. q, k and v are slices of one tensor. */
static sn_tensor attention_inputs(scene *s, const int64_t *z, sn_attention_attributes *a, sn_attention_inputs *in) {
    int64_t tokens = z[0] + z[1], d = z[2], kv = z[3] * d, q = HEADS * d;
    *a = (sn_attention_attributes){.num_heads = HEADS, .num_kv_heads = z[3], .head_dim = d, .scale = 1 / sqrtf((float)d), .mask = (sn_mask)z[5],
                                   .rotary = (sn_rotary)z[4], .rope_theta = 10000, .rope_scale = 1, .cache_layer = -1};
    sn_tensor all = sn_scale(s->graph, add_input(s, SN_SHAPE(tokens, q + 2 * kv)), 3);
    *in = (sn_attention_inputs){.q = sn_slice(s->graph, all, 1, 0, q), .k = sn_slice(s->graph, all, 1, q, kv), .v = sn_slice(s->graph, all, 1, q + kv, kv)};
    int32_t positions[1024];
    for (int64_t i = 0; i < tokens; i++) positions[i] = (int32_t)(i < z[0] ? i : 3 + i - z[0]);
    in->positions = add_ints(s, tokens, positions);
    in->row_starts = add_ints(s, 3, (int32_t[]){0, (int32_t)z[0], (int32_t)tokens});
    return all;
}

static sn_tensor build_attention(scene *s, const int64_t *z) {
    sn_attention_attributes a;
    sn_attention_inputs in;
    attention_inputs(s, z, &a, &in);
    return sn_attention(s->graph, &in, &a);
}

static sn_tensor build_attention_back(scene *s, const int64_t *z) {
    sn_attention_attributes a;
    sn_attention_inputs in;
    attention_inputs(s, z, &a, &in);
    int64_t tokens = z[0] + z[1];
    sn_tensor dy = add_input(s, SN_SHAPE(tokens, HEADS * z[2]));
    sn_tensor t = SN_NODE(s->graph, SN_OP_ATTENTION_BACK, SN_SHAPE(tokens, (HEADS + 2 * z[3]) * z[2]), in.q, in.k, in.v, in.positions, in.row_starts, dy);
    s->graph->nodes[t].u.attention = a;
    return t;
}

/* Scores of up to 3 * 3 * sqrt(d) carry an error of some 20 u, which their exponentials and sums keep. */
static void test_attention(void **state) {
    static const int64_t rows[][2] = {{1, 1}, {3, 0}, {17, 70}, {64, 65}, {130, 1}};
    static const int64_t dims[] = {64, 80, 20, 6};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
            for (int kind = (int)(r + i) % 2; kind < 4; kind += 2) {
                int64_t z[] = {rows[r][0], rows[r][1], dims[i], kind == 1 ? 1 : kind == 2 ? 2 : 4, kind % 3, kind % 2};
                compare(build_attention, z, 300);
                compare(build_attention_back, z, 2000);
            }
}

static sn_type cache_type;

/* sizes: new tokens of rows 0 and 1, head_dim, kv heads, rotary, causal, positions already there in rows 0 and 1 */
static sn_tensor build_cached(scene *s, const int64_t *z) {
    sn_attention_attributes a;
    sn_attention_inputs in;
    sn_error error = {0};
    attention_inputs(s, z, &a, &in);
    assert_ok(sn_kv_cache_new(cache_type, 2, z[3], z[2], &s->cache, &error), error);
    int32_t pages[2][6], lengths[2] = {(int32_t)z[6], (int32_t)z[7]};
    for (int i = 0; i < 12; i++) pages[i % 2][i / 2] = sn_kv_page_take(s->cache); /* the rows' pages interleave */
    const sn_type_traits *traits = sn_type_of(cache_type);
    int64_t count = (int64_t)s->cache->page_bytes / traits->bytes * traits->block;
    for (int i = 0; i < 12; i++) {
        float *values = random_floats(s, count);
        traits->from_float(values, s->cache->pages[i], count);
        sn_free(values);
    }
    a.cache_layer = 1;
    in.page_table = sn_reshape(s->graph, add_ints(s, 12, pages[0]), SN_SHAPE(2, 6));
    in.lengths = add_ints(s, 2, lengths);
    return sn_attention(s->graph, &in, &a);
}

/* A key that is rounded to the cache's type may fall to the other side in the last bit of a float: that shifts it by a
 * step of the type, here seldom, by 2^-8 of one of many keys. */
static void test_cached_attention(void **state) {
    static const int64_t sizes[][8] = {{1, 1, 64, 2, 1, 1, 200, 3}, {5, 1, 128, 4, 1, 1, 62, 127}, {70, 1, 32, 1, 0, 1, 0, 64}, {2, 66, 96, 2, 2, 0, 130, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int t = 0; t < 4; t++) {
            cache_type = stored[t];
            compare(build_cached, sizes[i], cache_type == SN_TYPE_F32 ? 300 : 3e-3 / unit);
        }
}

/* ---- element-wise, norms, loss ---- */

/* sizes: rows, columns, which operator, its kind */
static sn_tensor build_rows(scene *s, const int64_t *z) {
    sn_graph *g = s->graph;
    sn_shape shape = SN_SHAPE(z[0], z[1]), vector = SN_SHAPE(z[1]);
    sn_tensor wide = sn_scale(g, add_input(s, SN_SHAPE(z[0], 3 * z[1])), 6); /* x, y and dy are slices of it */
    sn_tensor x = sn_slice(g, wide, 1, 0, z[1]), y = sn_slice(g, wide, 1, z[1], z[1]), dy = sn_slice(g, wide, 1, 2 * z[1], z[1]);
    sn_tensor weight = add_input(s, vector), bias = add_input(s, vector), t = SN_NONE;
    switch (z[2]) {
    case 0: return sn_unary_op(g, (sn_unary)z[3], x);
    case 1: t = SN_NODE(g, SN_OP_UNARY_BACK, shape, x, dy); break;
    case 2: return sn_gated(g, (sn_unary)z[3], x, y);
    case 3: t = SN_NODE(g, SN_OP_GATED_BACK, SN_SHAPE(z[0], 2 * z[1]), x, y, dy); break;
    case 4: return sn_norm_op(g, (sn_norm)(z[3] % 3), x, weight, z[3] ? SN_NONE : bias, 1e-5f);
    case 5: t = SN_NODE(g, SN_OP_NORM_BACK_X, shape, x, weight, dy); break;
    case 6: t = SN_NODE(g, SN_OP_NORM_BACK_WEIGHT, vector, x, dy); break;
    case 7: return sn_add(g, sn_mul(g, sn_contiguous(g, x), weight), sn_contiguous(g, y));
    case 8: return SN_NODE(g, SN_OP_SUM_LEADING, vector, sn_contiguous(g, x));
    case 9: { /* a key for each row, or one for all */
        int32_t keys[256];
        int64_t groups = z[3] % 2 ? z[0] : 1;
        for (int64_t i = 0; i < 2 * groups; i++) keys[i] = (int32_t)(i * 7919 - 1000);
        return sn_dropout(g, x, sn_reshape(g, add_ints(s, 2 * groups, keys), SN_SHAPE(groups, 2)), 0.25f, 3);
    }
    }
    if (z[2] < 4) g->nodes[t].u.unary = (sn_unary)z[3];
    else g->nodes[t].u.norm.kind = (sn_norm)(z[3] % 3), g->nodes[t].u.norm.eps = 1e-5f;
    return t;
}

static void test_rows(void **state) {
    static const int64_t shapes[][2] = {{1, 1}, {3, 17}, {17, 64}, {5, 4097}, {110, 257}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int which = 0; which < 10; which++)
            for (int kind = 0; kind < 4; kind++) {
                /* a few roundings each; a sum over rows, or a mean over columns, as sqrt of their number */
                double units = 16 + 8 * sqrt((double)(which >= 6 ? shapes[i][0] : which >= 4 ? shapes[i][1] : 1));
                if (shapes[i][1] == 1 && which >= 4 && which <= 6) continue; /* the norm of one value is its sign */
                compare(build_rows, (int64_t[]){shapes[i][0], shapes[i][1], which, kind}, units);
            }
}

/* sizes: rows, columns, first group */
static sn_tensor build_dropout(scene *s, const int64_t *z) {
    int32_t keys[] = {1, 2, 3, 4};
    sn_tensor ones = sn_unary_op(s->graph, SN_UNARY_EXP, sn_scale(s->graph, add_input(s, SN_SHAPE(z[0], z[1])), 0));
    return sn_dropout(s->graph, ones, sn_reshape(s->graph, add_ints(s, 4 - 2 * z[2], keys + 2 * z[2]), SN_SHAPE(2 - z[2], 2)), 0.25f, 9);
}

/* A quarter is gone, the rest is 4/3; two groups together draw what each draws alone. */
static void test_dropout(void **state) {
    enum { ROWS = 40, COLUMNS = 501 };
    scene s = {0};
    int64_t count;
    begin(&s);
    float *both = run(&s, build_dropout(&s, (int64_t[]){2 * ROWS, COLUMNS, 0}), sn_backend_cpu(SN_TYPE_F32), 3, &count);
    end(&s);
    int zeros = 0;
    for (int64_t i = 0; i < count; i++) {
        zeros += both[i] == 0;
        if (both[i] != 0) assert_float_equal(both[i], 4 / 3.0, 1e-6);
    }
    assert_float_equal((double)zeros / (double)count, 0.25, 0.01);
    memset(s.inputs, 0, sizeof s.inputs);
    begin(&s);
    float *second = run(&s, build_dropout(&s, (int64_t[]){ROWS, COLUMNS, 1}), sn_backend_cpu(SN_TYPE_F32), 1, &count);
    end(&s);
    assert_memory_equal(both + count, second, (size_t)count * sizeof *second);
    assert_memory_not_equal(both, second, (size_t)count * sizeof *second);
    sn_free(both);
    sn_free(second);
}

/* sizes: tokens, hidden, vocabulary, one label in how many tokens; the output is loss, d hidden, d head */
static sn_tensor build_loss(scene *s, const int64_t *z) {
    int32_t labels[512];
    for (int64_t i = 0; i < z[0]; i++) labels[i] = (int32_t)(i % z[3] ? -1 : i * 7 % z[2]);
    sn_tensor x = add_input(s, SN_SHAPE(z[0], z[1])), head = add_input(s, SN_SHAPE(z[2], z[1]));
    sn_tensor loss = sn_head_loss(s->graph, x, head, add_ints(s, z[0], labels), add_input(s, SN_SHAPE(z[0])), SN_GRAD_HIDDEN | SN_GRAD_HEAD);
    return s->graph->nodes[loss].base;
}

/* Loss and gradients stand in one output; the loss is a sum over tokens, so its size is that of sqrt(tokens) gradients here. */
static void test_head_loss(void **state) {
    static const int64_t sizes[][4] = {{1, 64, 50, 1}, {17, 33, 129, 3}, {150, 64, 101, 1}, {200, 48, 97, 5}, {4, 16, 31, 9}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) compare(build_loss, sizes[i], 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_rows_are_independent),
        cmocka_unit_test(test_linear_backward),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_cached_attention),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_head_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
