/* Element-wise operators and norms, a row at a time. */
#include "base/random.h"
#include "compute/cpu/kernels.h"

#include <math.h>

/* What a row function works on: row i of y from rows i of a, b and c. */
typedef struct rows {
    const sn_node *node;
    sn_matrix y, a, b, c;
    const float *weight, *bias;
    const int32_t *keys; /* of a dropout [groups, 2] */
    int64_t groups;
} rows;

typedef void row_function(const rows *m, int64_t i);

/* All rows of y; `cost` in nanoseconds per hundred values. */
static void each_row(const sn_run *run, const rows *m, int64_t cost, row_function *f) {
    int threads = m->y.rows > 1 ? sn_threads_for(run, m->y.rows * m->a.columns * cost / 100) : 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < m->y.rows; i++) f(m, i);
}

SN_INLINE vf load_some(const float *p, int64_t left) { return left >= LANES ? vf_load(p) : vf_load_part(p, left); }
SN_INLINE void store_some(float *p, vf v, int64_t left) {
    if (left >= LANES) vf_store(p, v);
    else vf_store_part(p, v, left);
}

static rows inputs(const sn_run *run, sn_tensor t, int a, int b, int c) {
    const sn_node *node = sn_run_node(run, t);
    rows m = {.node = node, .y = sn_run_matrix(run, t), .a = sn_run_matrix(run, node->input[a])};
    if (b >= 0) m.b = sn_run_matrix(run, node->input[b]);
    if (c >= 0) m.c = sn_run_matrix(run, node->input[c]);
    return m;
}

/* ---- sums, products, scales ---- */

static void add_row(const rows *m, int64_t i) {
    const float *p = sn_matrix_row(m->a, i), *q = sn_matrix_row(m->b, i % m->b.rows);
    float *y = sn_matrix_row(m->y, i);
    for (int64_t j = 0; j < m->y.columns; j++) y[j] = p[j] + q[j];
}

static void mul_row(const rows *m, int64_t i) {
    const float *p = sn_matrix_row(m->a, i), *q = sn_matrix_row(m->b, i % m->b.rows);
    float *y = sn_matrix_row(m->y, i);
    for (int64_t j = 0; j < m->y.columns; j++) y[j] = p[j] * q[j];
}

static void scale_row(const rows *m, int64_t i) {
    const float *p = sn_matrix_row(m->a, i);
    float *y = sn_matrix_row(m->y, i);
    for (int64_t j = 0; j < m->y.columns; j++) y[j] = p[j] * m->node->u.scale;
}

/* A draw gives four values. */
static void dropout_row(const rows *m, int64_t i) {
    const float *p = sn_matrix_row(m->a, i), rate = m->node->u.dropout.rate, scale = 1 / (1 - rate);
    float *y = sn_matrix_row(m->y, i);
    int64_t n = m->y.columns, length = m->y.rows / m->groups;
    uint64_t key = sn_random_key(m->keys + 2 * (i / length)), first = (uint64_t)(i % length * n);
    sn_philox draw = {{0}};
    for (int64_t j = 0; j < n; j++) {
        uint64_t at = first + (uint64_t)j;
        if (j == 0 || at % 4 == 0) draw = sn_philox_at(key, m->node->u.dropout.stream, at / 4);
        y[j] = (float)(draw.word[at % 4] >> 8) * 0x1p-24f < rate ? 0 : p[j] * scale;
    }
}

void SN_NAME(sn_run_binary)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, 1, -1);
    each_row(run, &m, 30, m.node->op == SN_OP_ADD ? add_row : mul_row);
}

void SN_NAME(sn_run_scale)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, -1, -1);
    each_row(run, &m, 30, scale_row);
}

void SN_NAME(sn_run_dropout)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, -1, -1);
    m.keys = sn_run_data(run, m.node->input[1]), m.groups = sn_run_node(run, m.node->input[1])->shape.dim[0];
    each_row(run, &m, 700, dropout_row);
}

/* Columns are summed in the order of the rows, a strip of columns by one thread. */
void SN_NAME(sn_run_sum_leading)(const sn_run *run, sn_tensor t) {
    enum { STRIP = 256 };
    int64_t n = sn_shape_count(&sn_run_node(run, t)->shape), m = sn_shape_count(&sn_run_node(run, sn_run_node(run, t)->input[0])->shape) / (n ? n : 1);
    float *to = sn_run_data(run, t);
    const float *from = sn_run_data(run, sn_run_node(run, t)->input[0]);
    int threads = sn_threads_for(run, m * n / 4);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t begin = 0; begin < n; begin += STRIP) {
        int64_t end = begin + STRIP < n ? begin + STRIP : n;
        for (int64_t j = begin; j < end; j++) to[j] = 0;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = begin; j < end; j++) to[j] += from[i * n + j];
    }
}

/* ---- activations ---- */

SN_INLINE vf activation(sn_unary kind, vf x) {
    switch (kind) {
    case SN_UNARY_GELU: return x * vf_normal(x);
    case SN_UNARY_QUICK_GELU: return x * vf_sigmoid(1.702f * x);
    case SN_UNARY_SILU: return x * vf_sigmoid(x);
    case SN_UNARY_RELU: return vf_select(x > 0, x, (vf){0});
    case SN_UNARY_EXP: return vf_exp(x);
    }
    return x;
}

SN_INLINE vf slope(sn_unary kind, vf x) {
    vf s;
    switch (kind) {
    case SN_UNARY_GELU: return vf_normal(x) + x * 0.398942280f * vf_exp(-0.5f * x * x);
    case SN_UNARY_QUICK_GELU:
        s = vf_sigmoid(1.702f * x);
        return s + 1.702f * x * s * (1 - s);
    case SN_UNARY_SILU:
        s = vf_sigmoid(x);
        return s + x * s * (1 - s);
    case SN_UNARY_RELU: return vf_select(x > 0, vf_all(1), (vf){0});
    case SN_UNARY_EXP: return vf_exp(x);
    }
    return x;
}

SN_INLINE void unary_row(sn_unary kind, const rows *m, int64_t i) {
    const float *x = sn_matrix_row(m->a, i);
    float *y = sn_matrix_row(m->y, i);
    for (int64_t j = 0, n = m->y.columns; j < n; j += LANES) store_some(y + j, activation(kind, load_some(x + j, n - j)), n - j);
}

SN_INLINE void unary_back_row(sn_unary kind, const rows *m, int64_t i) {
    const float *x = sn_matrix_row(m->a, i), *dy = sn_matrix_row(m->b, i);
    float *dx = sn_matrix_row(m->y, i);
    for (int64_t j = 0, n = m->y.columns; j < n; j += LANES) store_some(dx + j, load_some(dy + j, n - j) * slope(kind, load_some(x + j, n - j)), n - j);
}

SN_INLINE void gated_row(sn_unary kind, const rows *m, int64_t i) {
    const float *gate = sn_matrix_row(m->a, i), *up = sn_matrix_row(m->b, i);
    float *y = sn_matrix_row(m->y, i);
    for (int64_t j = 0, n = m->y.columns; j < n; j += LANES) store_some(y + j, activation(kind, load_some(gate + j, n - j)) * load_some(up + j, n - j), n - j);
}

/* d gate, then d up. */
SN_INLINE void gated_back_row(sn_unary kind, const rows *m, int64_t i) {
    const float *gate = sn_matrix_row(m->a, i), *up = sn_matrix_row(m->b, i), *dy = sn_matrix_row(m->c, i);
    float *dgate = sn_matrix_row(m->y, i), *dup = dgate + m->a.columns;
    for (int64_t j = 0, n = m->a.columns; j < n; j += LANES) {
        vf x = load_some(gate + j, n - j), d = load_some(dy + j, n - j);
        store_some(dgate + j, d * load_some(up + j, n - j) * slope(kind, x), n - j);
        store_some(dup + j, d * activation(kind, x), n - j);
    }
}

/* One row function for each kind, so that none decides anything inside its loop. */
#define KINDS(f)                                                                                \
    static void f##_gelu(const rows *m, int64_t i) { f(SN_UNARY_GELU, m, i); }                  \
    static void f##_quick_gelu(const rows *m, int64_t i) { f(SN_UNARY_QUICK_GELU, m, i); }      \
    static void f##_silu(const rows *m, int64_t i) { f(SN_UNARY_SILU, m, i); }                  \
    static void f##_relu(const rows *m, int64_t i) { f(SN_UNARY_RELU, m, i); }                  \
    static void f##_exp(const rows *m, int64_t i) { f(SN_UNARY_EXP, m, i); }                  \
    static row_function *const f##_kinds[] = {[SN_UNARY_GELU] = f##_gelu, [SN_UNARY_QUICK_GELU] = f##_quick_gelu, \
                                              [SN_UNARY_SILU] = f##_silu, [SN_UNARY_RELU] = f##_relu, [SN_UNARY_EXP] = f##_exp};
KINDS(unary_row)
KINDS(unary_back_row)
KINDS(gated_row)
KINDS(gated_back_row)

void SN_NAME(sn_run_unary)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, -1, -1);
    each_row(run, &m, 150, unary_row_kinds[m.node->u.unary]);
}

void SN_NAME(sn_run_unary_back)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, 1, -1);
    each_row(run, &m, 200, unary_back_row_kinds[m.node->u.unary]);
}

void SN_NAME(sn_run_gated)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, 1, -1);
    each_row(run, &m, 150, gated_row_kinds[m.node->u.unary]);
}

void SN_NAME(sn_run_gated_back)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, 1, 2);
    each_row(run, &m, 250, gated_back_row_kinds[m.node->u.unary]);
}

/* ---- norms ---- */

/* Mean (0 but for layer norms) and 1 / the root of the mean square around it; L2: 1 / the length. */
static void moments(const sn_node *node, const float *x, int64_t n, float *mean, float *r) {
    *mean = 0;
    if (node->u.norm.kind == SN_NORM_LAYER) {
        vf sum = {0};
        for (int64_t j = 0; j < n; j += LANES) sum += load_some(x + j, n - j);
        *mean = vf_sum(sum) / (float)n;
    }
    vf squares = {0};
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        vf d = vf_load(x + j) - *mean;
        squares += d * d;
    }
    float total = vf_sum(squares);
    for (; j < n; j++) total += (x[j] - *mean) * (x[j] - *mean);
    if (node->u.norm.kind == SN_NORM_L2) *r = 1 / fmaxf(sqrtf(total), node->u.norm.eps);
    else *r = 1 / sqrtf(total / (float)n + node->u.norm.eps);
}

static void norm_row(const rows *m, int64_t i) {
    const float *x = sn_matrix_row(m->a, i), *w = m->weight, *b = m->bias;
    float *y = sn_matrix_row(m->y, i), mean, r;
    int64_t n = m->y.columns;
    moments(m->node, x, n, &mean, &r);
    for (int64_t j = 0; j < n; j += LANES) {
        vf u = (load_some(x + j, n - j) - mean) * r;
        if (w) u *= load_some(w + j, n - j);
        if (b) u += load_some(b + j, n - j);
        store_some(y + j, u, n - j);
    }
}

void SN_NAME(sn_run_norm)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, -1, -1);
    if (m.node->input[1]) m.weight = sn_run_data(run, m.node->input[1]);
    if (m.node->input[2]) m.bias = sn_run_data(run, m.node->input[2]);
    each_row(run, &m, 60, norm_row);
}

/* With u = (x - mean) r and g = w dy: dx = r (g - mean(g)[layer] - u mean(g u)); for L2 the last mean is a sum. */
static void norm_back_row(const rows *m, int64_t i) {
    const float *x = sn_matrix_row(m->a, i), *dy = sn_matrix_row(m->b, i), *w = m->weight;
    float *dx = sn_matrix_row(m->y, i), mean, r;
    int64_t n = m->y.columns;
    moments(m->node, x, n, &mean, &r);
    vf sum_g = {0}, sum_gu = {0};
    for (int64_t j = 0; j < n; j += LANES) {
        vf g = load_some(dy + j, n - j), u = (load_some(x + j, n - j) - mean) * r;
        if (w) g *= load_some(w + j, n - j);
        sum_g += g, sum_gu += g * u; /* behind the end g is 0 */
    }
    float centre = m->node->u.norm.kind == SN_NORM_LAYER ? vf_sum(sum_g) / (float)n : 0;
    float along = vf_sum(sum_gu) / (m->node->u.norm.kind == SN_NORM_L2 ? 1 : (float)n);
    for (int64_t j = 0; j < n; j += LANES) {
        vf g = load_some(dy + j, n - j), u = (load_some(x + j, n - j) - mean) * r;
        if (w) g *= load_some(w + j, n - j);
        store_some(dx + j, r * (g - centre - u * along), n - j);
    }
}

void SN_NAME(sn_run_norm_back_x)(const sn_run *run, sn_tensor t) {
    rows m = inputs(run, t, 0, 2, -1);
    if (m.node->input[1]) m.weight = sn_run_data(run, m.node->input[1]);
    each_row(run, &m, 120, norm_back_row);
}

size_t SN_NAME(sn_scratch_norm_back_weight)(const sn_plan *plan, sn_tensor t) {
    const sn_node *x = &plan->graph->nodes[plan->graph->nodes[t].input[0]];
    return (size_t)(2 * sn_shape_count(&x->shape) / (x->shape.dim[x->shape.rank - 1] > 0 ? x->shape.dim[x->shape.rank - 1] : 1) + 2) * sizeof(float);
}

/* dw[j] = sum over rows of dy (x - mean) r, in the order of the rows. */
void SN_NAME(sn_run_norm_back_weight)(const sn_run *run, sn_tensor t) {
    enum { STRIP = 256 };
    const sn_node *node = sn_run_node(run, t);
    sn_matrix x = sn_run_matrix(run, node->input[0]), dy = sn_run_matrix(run, node->input[1]);
    float *dw = sn_run_data(run, t), *moment = sn_run_scratch(run, t);
    int threads = sn_threads_for(run, x.rows * x.columns);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < x.rows; i++) moments(node, sn_matrix_row(x, i), x.columns, moment + 2 * i, moment + 2 * i + 1);
#pragma omp for schedule(static)
        for (int64_t begin = 0; begin < x.columns; begin += STRIP) {
            int64_t end = begin + STRIP < x.columns ? begin + STRIP : x.columns;
            for (int64_t j = begin; j < end; j++) dw[j] = 0;
            for (int64_t i = 0; i < x.rows; i++) {
                const float *p = sn_matrix_row(x, i), *q = sn_matrix_row(dy, i);
                for (int64_t j = begin; j < end; j++) dw[j] += q[j] * ((p[j] - moment[2 * i]) * moment[2 * i + 1]);
            }
        }
    }
}
