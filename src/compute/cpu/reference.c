/* Every operator in plain C, one loop per index of the formula. Compiled twice, with float and with double as
 * `real`. Nothing here is fast; everything here is meant to be read next to the paper. */
#include "base/random.h"
#include "compute/cpu/backend.h"
#include "compute/kv.h"
#include "tensor/op.h"

#include <math.h>
#include <string.h>

#ifdef SN_REAL_IS_DOUBLE
typedef double real;
#define BACKEND sn_backend_reference_double
#define BACKEND_NAME "reference (double)"
#else
typedef float real;
#define BACKEND sn_backend_reference
#define BACKEND_NAME "reference"
#endif

#define R_EXP(x) ((real)exp((double)(x)))

static const sn_node *node_of(const sn_run *run, sn_tensor t) { return &run->plan->graph->nodes[t]; }
static real *row(sn_matrix m, int64_t i) { return (real *)m.data + i * m.stride; }

/* One row of a weight as reals, in `buffer`. */
static const real *weight_row(const sn_weight *w, int64_t r, real *buffer) {
#ifdef SN_REAL_IS_DOUBLE
    if (w->type == SN_TYPE_F64) return sn_weight_row(w, r);
    float *floats = (float *)buffer; /* the upper half of the doubles is free: widen from the end */
    sn_weight_row_floats(w, r, floats);
    for (int64_t i = w->columns - 1; i >= 0; i--) buffer[i] = floats[i];
    return buffer;
#else
    if (w->type == SN_TYPE_F32) return sn_weight_row(w, r);
    sn_weight_row_floats(w, r, buffer);
    return buffer;
#endif
}

static bool is_param(const sn_run *run, sn_tensor t) { return node_of(run, t)->op == SN_OP_PARAM; }

/* ---- views ---- */

/* Copies a strided block of `rank` dimensions; element size in bytes. */
static void copy_strided(char *to, const int64_t *to_stride, const char *from, const int64_t *from_stride,
                         const int64_t *dim, int rank, size_t size) {
    if (rank == 0) {
        memcpy(to, from, size);
        return;
    }
    if (rank == 1 && to_stride[0] == 1 && from_stride[0] == 1) {
        memcpy(to, from, (size_t)dim[0] * size);
        return;
    }
    for (int64_t i = 0; i < dim[0]; i++)
        copy_strided(to + i * to_stride[0] * (int64_t)size, to_stride + 1, from + i * from_stride[0] * (int64_t)size,
                     from_stride + 1, dim + 1, rank - 1, size);
}

static size_t width(const sn_node *node) { return node->type == SN_TYPE_F32 ? sizeof(real) : (size_t)sn_type_of(node->type)->bytes; }

static void run_copy(const sn_run *run, sn_tensor t) {
    const sn_node *y = node_of(run, t), *x = node_of(run, y->input[0]);
    copy_strided(sn_run_data(run, t), y->stride, sn_run_data(run, y->input[0]), x->stride, y->shape.dim, y->shape.rank, width(y));
}

static void run_pad(const sn_run *run, sn_tensor t) {
    const sn_node *y = node_of(run, t), *x = node_of(run, y->input[0]);
    char *to = sn_run_data(run, t);
    memset(to, 0, (size_t)sn_shape_count(&y->shape) * width(y));
    to += y->u.slice.begin * y->stride[y->u.slice.axis] * (int64_t)width(y);
    copy_strided(to, y->stride, sn_run_data(run, y->input[0]), x->stride, x->shape.dim, x->shape.rank, width(y));
}

static void run_concat(const sn_run *run, sn_tensor t) {
    const sn_node *y = node_of(run, t);
    char *to = sn_run_data(run, t);
    for (int i = 0; i < 2; i++) {
        const sn_node *x = node_of(run, y->input[i]);
        copy_strided(to, y->stride, sn_run_data(run, y->input[i]), x->stride, x->shape.dim, x->shape.rank, width(y));
        to += x->shape.dim[y->u.slice.axis] * y->stride[y->u.slice.axis] * (int64_t)width(y);
    }
}

/* ---- element-wise ---- */

static void run_binary(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), a = sn_run_matrix(run, node->input[0]), b = sn_run_matrix(run, node->input[1]);
    for (int64_t i = 0; i < y.rows; i++) {
        const real *p = row(a, i), *q = row(b, i % b.rows);
        for (int64_t j = 0; j < y.columns; j++) row(y, i)[j] = node->op == SN_OP_ADD ? p[j] + q[j] : p[j] * q[j];
    }
}

static void run_scale(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]);
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t j = 0; j < y.columns; j++) row(y, i)[j] = row(x, i)[j] * (real)node->u.scale;
}

static void run_dropout(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]);
    const int32_t *keys = sn_run_data(run, node->input[1]);
    int64_t length = y.rows / node_of(run, node->input[1])->shape.dim[0]; /* rows of a group */
    real scale = 1 / (1 - (real)node->u.dropout.rate);
    for (int64_t i = 0; i < y.rows; i++) {
        uint64_t key = sn_random_key(keys + 2 * (i / length));
        for (int64_t j = 0; j < y.columns; j++)
            row(y, i)[j] = sn_uniform(key, node->u.dropout.stream, (uint64_t)(i % length * y.columns + j)) < node->u.dropout.rate ? 0 : row(x, i)[j] * scale;
    }
}

static void run_sum_leading(const sn_run *run, sn_tensor t) {
    const sn_node *y = node_of(run, t), *x = node_of(run, y->input[0]);
    int64_t n = sn_shape_count(&y->shape), m = sn_shape_count(&x->shape);
    real *to = sn_run_data(run, t);
    const real *from = sn_run_data(run, y->input[0]);
    memset(to, 0, (size_t)n * sizeof *to);
    for (int64_t i = 0; i < m; i++) to[i % n] += from[i];
}

static real sigmoid(real x) { return 1 / (1 + R_EXP(-x)); }

static real unary(sn_unary kind, real x) {
    switch (kind) {
    case SN_UNARY_GELU: return x * (real)(0.5 * (1 + erf((double)x * M_SQRT1_2)));
    case SN_UNARY_QUICK_GELU: return x * sigmoid((real)1.702 * x);
    case SN_UNARY_SILU: return x * sigmoid(x);
    case SN_UNARY_RELU: return x > 0 ? x : 0;
    case SN_UNARY_EXP: return (real)exp((double)x);
    }
    return 0;
}

static real unary_slope(sn_unary kind, real x) {
    real s;
    switch (kind) {
    case SN_UNARY_GELU:
        return (real)(0.5 * (1 + erf((double)x * M_SQRT1_2)) + (double)x * exp(-0.5 * (double)x * (double)x) * (M_2_SQRTPI * M_SQRT1_2 / 2));
    case SN_UNARY_QUICK_GELU:
        s = sigmoid((real)1.702 * x);
        return s + (real)1.702 * x * s * (1 - s);
    case SN_UNARY_SILU:
        s = sigmoid(x);
        return s + x * s * (1 - s);
    case SN_UNARY_RELU: return x > 0;
    case SN_UNARY_EXP: return (real)exp((double)x);
    }
    return 0;
}

static void run_unary(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]);
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t j = 0; j < y.columns; j++) row(y, i)[j] = unary(node->u.unary, row(x, i)[j]);
}

static void run_unary_back(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix dx = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]), dy = sn_run_matrix(run, node->input[1]);
    for (int64_t i = 0; i < dx.rows; i++)
        for (int64_t j = 0; j < dx.columns; j++) row(dx, i)[j] = row(dy, i)[j] * unary_slope(node->u.unary, row(x, i)[j]);
}

static void run_gated(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), gate = sn_run_matrix(run, node->input[0]), up = sn_run_matrix(run, node->input[1]);
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t j = 0; j < y.columns; j++) row(y, i)[j] = unary(node->u.unary, row(gate, i)[j]) * row(up, i)[j];
}

static void run_gated_back(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix d = sn_run_matrix(run, t), gate = sn_run_matrix(run, node->input[0]), up = sn_run_matrix(run, node->input[1]),
              dy = sn_run_matrix(run, node->input[2]);
    for (int64_t i = 0; i < d.rows; i++)
        for (int64_t j = 0; j < gate.columns; j++) {
            real x = row(gate, i)[j];
            row(d, i)[j] = row(dy, i)[j] * row(up, i)[j] * unary_slope(node->u.unary, x);
            row(d, i)[gate.columns + j] = row(dy, i)[j] * unary(node->u.unary, x);
        }
}

/* ---- norms: y = w * (x - mean) * r + b ---- */

static void moments(sn_norm kind, real eps, const real *x, int64_t n, real *mean, real *r) {
    double sum = 0, squares = 0;
    if (kind == SN_NORM_LAYER)
        for (int64_t j = 0; j < n; j++) sum += x[j];
    *mean = (real)(sum / (double)n);
    for (int64_t j = 0; j < n; j++) squares += (double)(x[j] - *mean) * (double)(x[j] - *mean);
    if (kind == SN_NORM_L2)
        *r = 1 / (real)fmax(sqrt(squares), (double)eps);
    else
        *r = (real)(1 / sqrt(squares / (double)n + (double)eps));
}

static void run_norm(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]);
    const real *w = node->input[1] ? sn_run_data(run, node->input[1]) : NULL;
    const real *b = node->input[2] ? sn_run_data(run, node->input[2]) : NULL;
    for (int64_t i = 0; i < y.rows; i++) {
        real mean, r;
        moments(node->u.norm.kind, (real)node->u.norm.eps, row(x, i), x.columns, &mean, &r);
        for (int64_t j = 0; j < y.columns; j++)
            row(y, i)[j] = (row(x, i)[j] - mean) * r * (w ? w[j] : 1) + (b ? b[j] : 0);
    }
}

/* With u = (x - mean) r and g = w dy: dx = r (g - mean(g)[layer] - u mean(g u)); for L2 the last mean is a sum. */
static void run_norm_back_x(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_norm kind = node->u.norm.kind;
    sn_matrix dx = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]), dy = sn_run_matrix(run, node->input[2]);
    const real *w = node->input[1] ? sn_run_data(run, node->input[1]) : NULL;
    int64_t n = x.columns;
    for (int64_t i = 0; i < dx.rows; i++) {
        real mean, r;
        moments(kind, (real)node->u.norm.eps, row(x, i), n, &mean, &r);
        double sum_g = 0, sum_gu = 0;
        for (int64_t j = 0; j < n; j++) {
            real g = row(dy, i)[j] * (w ? w[j] : 1);
            sum_g += g;
            sum_gu += (double)g * (double)((row(x, i)[j] - mean) * r);
        }
        double count = kind == SN_NORM_L2 ? 1 : (double)n;
        for (int64_t j = 0; j < n; j++) {
            real g = row(dy, i)[j] * (w ? w[j] : 1), u = (row(x, i)[j] - mean) * r;
            real centre = kind == SN_NORM_LAYER ? (real)(sum_g / (double)n) : 0;
            row(dx, i)[j] = r * (g - centre - u * (real)(sum_gu / count));
        }
    }
}

static void run_norm_back_weight(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix x = sn_run_matrix(run, node->input[0]), dy = sn_run_matrix(run, node->input[1]);
    real *dw = sn_run_data(run, t);
    memset(dw, 0, (size_t)x.columns * sizeof *dw);
    for (int64_t i = 0; i < x.rows; i++) {
        real mean, r;
        moments(node->u.norm.kind, (real)node->u.norm.eps, row(x, i), x.columns, &mean, &r);
        for (int64_t j = 0; j < x.columns; j++) dw[j] += row(dy, i)[j] * (row(x, i)[j] - mean) * r;
    }
}

/* ---- products ---- */

static size_t scratch_weight_row(const sn_plan *plan, sn_tensor t) {
    const sn_node *node = &plan->graph->nodes[t];
    for (int i = 0; i < node->num_inputs; i++) { /* a row of the widest parameter */
        const sn_node *x = &plan->graph->nodes[node->input[i]];
        if (node->input[i] && x->op == SN_OP_PARAM) {
            int64_t columns = x->shape.rank > 1 ? sn_shape_count(&x->shape) / x->shape.dim[0] : sn_shape_count(&x->shape);
            return (size_t)columns * sizeof(real);
        }
    }
    return 0;
}

/* Row r of a matrix operand, be it a parameter or a computed tensor. */
static const real *operand_row(const sn_run *run, sn_tensor t, int64_t r, real *buffer) {
    if (is_param(run, t)) return weight_row(sn_run_weight(run, t), r, buffer);
    const sn_node *node = node_of(run, t);
    return (real *)sn_run_data(run, t) + r * node->stride[0];
}

/* What the graph computed, as it is multiplied (sn_backend.compute). */
static real factor(const sn_run *run, real x) {
    return run->plan->backend->compute == SN_TYPE_BF16 ? (real)sn_bf16_to_f32(sn_f32_to_bf16((float)x)) : x;
}

static void run_linear(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]);
    const real *b = node->input[2] ? sn_run_data(run, node->input[2]) : NULL;
    real *buffer = node_of(run, node->input[1])->op == SN_OP_PARAM ? sn_run_scratch(run, t) : NULL;
    for (int64_t o = 0; o < y.columns; o++) {
        const real *w = operand_row(run, node->input[1], o, buffer);
        for (int64_t i = 0; i < y.rows; i++) {
            real sum = 0;
            for (int64_t k = 0; k < x.columns; k++) sum += factor(run, row(x, i)[k]) * w[k];
            row(y, i)[o] = sum + (b ? b[o] : 0);
        }
    }
}

static void run_linear_back_x(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix dx = sn_run_matrix(run, t), dy = sn_run_matrix(run, node->input[0]);
    real *buffer = node_of(run, node->input[1])->op == SN_OP_PARAM ? sn_run_scratch(run, t) : NULL;
    for (int64_t i = 0; i < dx.rows; i++) memset(row(dx, i), 0, (size_t)dx.columns * sizeof(real));
    for (int64_t o = 0; o < dy.columns; o++) {
        const real *w = operand_row(run, node->input[1], o, buffer);
        for (int64_t i = 0; i < dx.rows; i++)
            for (int64_t k = 0; k < dx.columns; k++) row(dx, i)[k] += factor(run, row(dy, i)[o]) * w[k];
    }
}

static void run_linear_back_weight(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix dy = sn_run_matrix(run, node->input[0]), x = sn_run_matrix(run, node->input[1]);
    real *dw = sn_run_data(run, t);
    memset(dw, 0, (size_t)sn_shape_count(&node->shape) * sizeof *dw);
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t o = 0; o < dy.columns; o++)
            for (int64_t k = 0; k < x.columns; k++) dw[o * x.columns + k] += factor(run, row(dy, i)[o]) * factor(run, row(x, i)[k]);
}

/* ---- patches ---- */

/* Walks all elements: picture index ↔ patch index. forward: patches from pictures, else added back. */
static void walk_patches(const sn_node *pictures, int64_t patch, real *picture, real *patches, bool forward) {
    const int64_t *d = pictures->shape.dim;
    int64_t rows = d[2] / patch, columns = d[3] / patch, p = 0;
    for (int64_t b = 0; b < d[0]; b++)
        for (int64_t y = 0; y < rows; y++)
            for (int64_t x = 0; x < columns; x++)
                for (int64_t c = 0; c < d[1]; c++)
                    for (int64_t i = 0; i < patch; i++)
                        for (int64_t j = 0; j < patch; j++, p++) {
                            int64_t at = ((b * d[1] + c) * d[2] + y * patch + i) * d[3] + x * patch + j;
                            if (forward)
                                patches[p] = picture[at];
                            else
                                picture[at] += patches[p];
                        }
}

static void run_unfold(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    walk_patches(node_of(run, node->input[0]), node->u.patch, sn_run_data(run, node->input[0]), sn_run_data(run, t), true);
}

static void run_fold(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    memset(sn_run_data(run, t), 0, (size_t)sn_shape_count(&node->shape) * sizeof(real));
    walk_patches(node, node->u.patch, sn_run_data(run, t), sn_run_data(run, node->input[0]), false);
}

/* ---- rows of tables ---- */

static void run_gather_rows(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t);
    const int32_t *ids = sn_run_data(run, node->input[1]);
    real *buffer = is_param(run, node->input[0]) ? sn_run_scratch(run, t) : NULL;
    for (int64_t i = 0; i < y.rows; i++)
        memcpy(row(y, i), operand_row(run, node->input[0], ids[i], buffer), (size_t)y.columns * sizeof(real));
}

static void run_gather_rows_back(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix table = sn_run_matrix(run, t), dy = sn_run_matrix(run, node->input[0]);
    const int32_t *ids = sn_run_data(run, node->input[1]);
    memset(table.data, 0, (size_t)(table.rows * table.columns) * sizeof(real));
    for (int64_t i = 0; i < dy.rows; i++)
        for (int64_t j = 0; j < dy.columns; j++) row(table, ids[i])[j] += row(dy, i)[j];
}

static void run_scatter_rows(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix y = sn_run_matrix(run, t), a = sn_run_matrix(run, node->input[0]), b = sn_run_matrix(run, node->input[1]);
    const int32_t *ids = sn_run_data(run, node->input[2]);
    for (int64_t i = 0; i < y.rows; i++) memcpy(row(y, i), row(a, i), (size_t)y.columns * sizeof(real));
    for (int64_t i = 0; i < b.rows; i++) memcpy(row(y, ids[i]), row(b, i), (size_t)y.columns * sizeof(real));
}

/* ---- attention ---- */

/* Rotates one head vector by the angles of `position`; direction -1 turns back (the adjoint). */
static void rotate(const sn_attention_attributes *a, int32_t position, real *u, int direction) {
    int64_t half = a->head_dim / 2;
    for (int64_t i = 0; a->rotary != SN_ROTARY_NONE && i < half; i++) {
        /* as published: inverse frequency and angle in float32 */
        float frequency = 1.0f / powf(a->rope_theta, (float)(2 * i) / (float)a->head_dim);
        float angle = (float)position * a->rope_scale * frequency;
        real c = (real)cosf(angle), s = (real)(direction * sinf(angle));
        real *x = a->rotary == SN_ROTARY_HALF ? &u[i] : &u[2 * i], *y = a->rotary == SN_ROTARY_HALF ? &u[i + half] : &u[2 * i + 1];
        real x0 = *x, y0 = *y;
        *x = x0 * c - y0 * s;
        *y = y0 * c + x0 * s;
    }
}

/* The rows of tokens that attend to each other. */
static int64_t num_rows_of(const sn_run *run, const sn_node *node, int64_t tokens) {
    if (node->u.attention.row_length) return tokens / node->u.attention.row_length;
    return sn_shape_count(&node_of(run, node->input[4])->shape) - 1;
}

static int64_t row_begin(const sn_run *run, const sn_node *node, int64_t r) {
    if (node->u.attention.row_length) return r * node->u.attention.row_length;
    return ((const int32_t *)sn_run_data(run, node->input[4]))[r];
}

/* Keys or values of one row and one head as seen by its queries: `past` cached ones, then this graph's. */
static void fetch_keys(const sn_run *run, const sn_node *node, int64_t r, int which, int64_t head, int64_t total, real *to) {
    const sn_kv_cache *cache = run->bind->cache;
    int64_t d = node->u.attention.head_dim;
    const sn_node *table = node_of(run, node->input[5]);
    const int32_t *pages = (const int32_t *)sn_run_data(run, node->input[5]) + r * table->shape.dim[1];
    float *floats = (float *)to;
    int64_t bytes = cache->head_bytes / SN_PAGE_POSITIONS;
    for (int64_t i = 0; i < total; i++) {
        const char *head_rows = sn_kv_head(cache, pages[i / SN_PAGE_POSITIONS], node->u.attention.cache_layer, which, head);
        sn_type_of(cache->type)->to_float(head_rows + i % SN_PAGE_POSITIONS * bytes, floats + i * d, d);
    }
}

static void store_keys(const sn_run *run, const sn_node *node, int64_t r, int which, int64_t head, int64_t at, const real *from) {
    const sn_kv_cache *cache = run->bind->cache;
    const sn_node *table = node_of(run, node->input[5]);
    const int32_t *pages = (const int32_t *)sn_run_data(run, node->input[5]) + r * table->shape.dim[1];
    char *head_rows = sn_kv_head(cache, pages[at / SN_PAGE_POSITIONS], node->u.attention.cache_layer, which, head);
    sn_type_of(cache->type)->from_float((const float *)from, head_rows + at % SN_PAGE_POSITIONS * (cache->head_bytes / SN_PAGE_POSITIONS),
                                        node->u.attention.head_dim);
}

/* softmax(q · keys * scale) over `visible` keys, into p */
static void probabilities(const real *q, const real *keys, int64_t visible, int64_t d, real scale, real *p) {
    real top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < visible; j++) {
        real s = 0;
        for (int64_t e = 0; e < d; e++) s += q[e] * keys[j * d + e];
        p[j] = s * scale;
        if (p[j] > top) top = p[j];
    }
    for (int64_t j = 0; j < visible; j++) sum += p[j] = R_EXP(p[j] - top);
    for (int64_t j = 0; j < visible; j++) p[j] /= sum;
}

/* Scratch: keys and values of one head and row, one row of probabilities, one query, and the gradients. */
static size_t scratch_attention(const sn_plan *plan, sn_tensor t) {
    const sn_node *node = &plan->graph->nodes[t];
    int64_t tokens = sn_num_rows(&plan->graph->nodes[node->input[0]]), d = node->u.attention.head_dim, keys = tokens;
    if (node->u.attention.cache_layer >= 0) keys = plan->graph->nodes[node->input[5]].shape.dim[1] * SN_PAGE_POSITIONS;
    return (size_t)(keys * (4 * d + 2) + 4 * d) * sizeof(real);
}

static void run_attention(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    const sn_attention_attributes *a = &node->u.attention;
    sn_matrix y = sn_run_matrix(run, t), q = sn_run_matrix(run, node->input[0]), k = sn_run_matrix(run, node->input[1]),
              v = sn_run_matrix(run, node->input[2]);
    const int32_t *positions = node->input[3] ? sn_run_data(run, node->input[3]) : NULL;
    const int32_t *lengths = a->cache_layer >= 0 ? sn_run_data(run, node->input[6]) : NULL;
    int64_t d = a->head_dim, group = a->num_heads / a->num_kv_heads, rows = num_rows_of(run, node, q.rows);
    real *scratch = sn_run_scratch(run, t);
    for (int64_t r = 0; r < rows; r++) {
        int64_t begin = row_begin(run, node, r), count = row_begin(run, node, r + 1) - begin, past = lengths ? lengths[r] : 0;
        int64_t total = past + count;
        real *keys = scratch, *values = keys + total * d, *p = values + total * d, *query = p + total;
        for (int64_t h = 0; h < a->num_kv_heads && count > 0; h++) {
            for (int64_t i = 0; i < count; i++) {
                real *key = keys + (past + i) * d, *value = values + (past + i) * d;
                memcpy(key, row(k, begin + i) + h * d, (size_t)d * sizeof(real));
                memcpy(value, row(v, begin + i) + h * d, (size_t)d * sizeof(real));
                if (positions) rotate(a, positions[begin + i], key, 1);
                if (lengths) store_keys(run, node, r, 0, h, past + i, key), store_keys(run, node, r, 1, h, past + i, value);
            }
            if (lengths) fetch_keys(run, node, r, 0, h, total, keys), fetch_keys(run, node, r, 1, h, total, values);
            for (int64_t i = 0; i < count; i++)
                for (int64_t g = h * group; g < (h + 1) * group; g++) {
                    memcpy(query, row(q, begin + i) + g * d, (size_t)d * sizeof(real));
                    if (positions) rotate(a, positions[begin + i], query, 1);
                    int64_t visible = a->mask == SN_MASK_CAUSAL ? past + i + 1 : total;
                    probabilities(query, keys, visible, d, (real)a->scale, p);
                    real *out = row(y, begin + i) + g * d;
                    memset(out, 0, (size_t)d * sizeof *out);
                    for (int64_t j = 0; j < visible; j++)
                        for (int64_t e = 0; e < d; e++) out[e] += p[j] * values[j * d + e];
                }
        }
    }
}

/* With P the probabilities and D = dy · y per query: dV = Pᵀ dy, dS = P ∘ (dy Vᵀ - D), dQ = scale dS K,
 * dK = scale dSᵀ Q; then the rotation is turned back. */
static void run_attention_back(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    const sn_attention_attributes *a = &node->u.attention;
    sn_matrix dqkv = sn_run_matrix(run, t), q = sn_run_matrix(run, node->input[0]), k = sn_run_matrix(run, node->input[1]),
              v = sn_run_matrix(run, node->input[2]), dy = sn_run_matrix(run, node->input[5]);
    const int32_t *positions = node->input[3] ? sn_run_data(run, node->input[3]) : NULL;
    int64_t d = a->head_dim, group = a->num_heads / a->num_kv_heads, rows = num_rows_of(run, node, q.rows);
    int64_t at_k = a->num_heads * d, at_v = at_k + a->num_kv_heads * d;
    for (int64_t r = 0; r < rows; r++) {
        int64_t begin = row_begin(run, node, r), count = row_begin(run, node, r + 1) - begin;
        real *keys = sn_run_scratch(run, t), *values = keys + count * d, *dkeys = values + count * d, *dvalues = dkeys + count * d;
        real *p = dvalues + count * d, *dp = p + count, *query = dp + count;
        for (int64_t h = 0; h < a->num_kv_heads && count > 0; h++) {
            for (int64_t i = 0; i < count; i++) {
                memcpy(keys + i * d, row(k, begin + i) + h * d, (size_t)d * sizeof(real));
                memcpy(values + i * d, row(v, begin + i) + h * d, (size_t)d * sizeof(real));
                if (positions) rotate(a, positions[begin + i], keys + i * d, 1);
            }
            memset(dkeys, 0, (size_t)(2 * count * d) * sizeof(real));
            for (int64_t i = 0; i < count; i++)
                for (int64_t g = h * group; g < (h + 1) * group; g++) {
                    const real *out = row(dy, begin + i) + g * d;
                    real *dquery = row(dqkv, begin + i) + g * d;
                    memcpy(query, row(q, begin + i) + g * d, (size_t)d * sizeof(real));
                    if (positions) rotate(a, positions[begin + i], query, 1);
                    int64_t visible = a->mask == SN_MASK_CAUSAL ? i + 1 : count;
                    probabilities(query, keys, visible, d, (real)a->scale, p);
                    real total = 0;
                    for (int64_t j = 0; j < visible; j++) {
                        dp[j] = 0;
                        for (int64_t e = 0; e < d; e++) dp[j] += out[e] * values[j * d + e];
                        total += p[j] * dp[j];
                    }
                    memset(dquery, 0, (size_t)d * sizeof *dquery);
                    for (int64_t j = 0; j < visible; j++) {
                        real ds = p[j] * (dp[j] - total) * (real)a->scale;
                        for (int64_t e = 0; e < d; e++) {
                            dvalues[j * d + e] += p[j] * out[e];
                            dkeys[j * d + e] += ds * query[e];
                            dquery[e] += ds * keys[j * d + e];
                        }
                    }
                    if (positions) rotate(a, positions[begin + i], dquery, -1);
                }
            for (int64_t i = 0; i < count; i++) {
                if (positions) rotate(a, positions[begin + i], dkeys + i * d, -1);
                memcpy(row(dqkv, begin + i) + at_k + h * d, dkeys + i * d, (size_t)d * sizeof(real));
                memcpy(row(dqkv, begin + i) + at_v + h * d, dvalues + i * d, (size_t)d * sizeof(real));
            }
        }
    }
}

/* ---- loss ---- */

static size_t scratch_head_loss(const sn_plan *plan, sn_tensor t) {
    const sn_node *head = &plan->graph->nodes[plan->graph->nodes[t].input[1]];
    return (size_t)(head->shape.dim[0] + head->shape.dim[1]) * sizeof(real);
}

static void run_head_loss(const sn_run *run, sn_tensor t) {
    const sn_node *node = node_of(run, t);
    sn_matrix x = sn_run_matrix(run, node->input[0]);
    const int32_t *labels = sn_run_data(run, node->input[2]);
    const real *weights = sn_run_data(run, node->input[3]);
    int64_t vocabulary = node_of(run, node->input[1])->shape.dim[0], n = x.columns;
    real *out = sn_run_data(run, t), *dx = node->u.loss.grad_hidden ? out + 1 : NULL;
    real *dw = node->u.loss.grad_head ? out + 1 + (dx ? x.rows * n : 0) : NULL;
    real *logits = sn_run_scratch(run, t), *buffer = logits + vocabulary;
    if (dx) memset(dx, 0, (size_t)(x.rows * n) * sizeof *dx);
    if (dw) memset(dw, 0, (size_t)(vocabulary * n) * sizeof *dw);
    double loss = 0;
    for (int64_t i = 0; i < x.rows; i++) {
        if (labels[i] < 0) continue;
        real top = -INFINITY;
        for (int64_t o = 0; o < vocabulary; o++) {
            const real *w = operand_row(run, node->input[1], o, buffer);
            logits[o] = 0;
            for (int64_t k = 0; k < n; k++) logits[o] += factor(run, row(x, i)[k]) * w[k];
            if (logits[o] > top) top = logits[o];
        }
        double sum = 0;
        for (int64_t o = 0; o < vocabulary; o++) sum += exp((double)(logits[o] - top));
        loss += (double)weights[i] * (log(sum) + (double)(top - logits[labels[i]]));
        for (int64_t o = 0; (dx || dw) && o < vocabulary; o++) { /* d logit = weight * (probability - is label) */
            real d = factor(run, weights[i] * (real)(exp((double)(logits[o] - top)) / sum - (o == labels[i])));
            const real *w = operand_row(run, node->input[1], o, buffer);
            for (int64_t k = 0; k < n; k++) {
                if (dx) dx[i * n + k] += d * w[k];
                if (dw) dw[o * n + k] += d * factor(run, row(x, i)[k]);
            }
        }
    }
    out[0] = (real)loss;
}

const sn_backend *BACKEND(void) {
    static const sn_backend backend = {
        .name = BACKEND_NAME,
        .real_bytes = sizeof(real),
        .compute = SN_TYPE_F32,
        .kernel =
            {
                [SN_OP_COPY] = run_copy,
                [SN_OP_PAD] = run_pad,
                [SN_OP_CONCAT] = run_concat,
                [SN_OP_ADD] = run_binary,
                [SN_OP_MUL] = run_binary,
                [SN_OP_SCALE] = run_scale,
                [SN_OP_DROPOUT] = run_dropout,
                [SN_OP_SUM_LEADING] = run_sum_leading,
                [SN_OP_UNARY] = run_unary,
                [SN_OP_UNARY_BACK] = run_unary_back,
                [SN_OP_GATED] = run_gated,
                [SN_OP_GATED_BACK] = run_gated_back,
                [SN_OP_NORM] = run_norm,
                [SN_OP_NORM_BACK_X] = run_norm_back_x,
                [SN_OP_NORM_BACK_WEIGHT] = run_norm_back_weight,
                [SN_OP_LINEAR] = run_linear,
                [SN_OP_LINEAR_BACK_X] = run_linear_back_x,
                [SN_OP_LINEAR_BACK_WEIGHT] = run_linear_back_weight,
                [SN_OP_UNFOLD] = run_unfold,
                [SN_OP_FOLD] = run_fold,
                [SN_OP_GATHER_ROWS] = run_gather_rows,
                [SN_OP_GATHER_ROWS_BACK] = run_gather_rows_back,
                [SN_OP_SCATTER_ROWS] = run_scatter_rows,
                [SN_OP_ATTENTION] = run_attention,
                [SN_OP_ATTENTION_BACK] = run_attention_back,
                [SN_OP_HEAD_LOSS] = run_head_loss,
            },
        .scratch =
            {
                [SN_OP_LINEAR] = scratch_weight_row,
                [SN_OP_LINEAR_BACK_X] = scratch_weight_row,
                [SN_OP_GATHER_ROWS] = scratch_weight_row,
                [SN_OP_ATTENTION] = scratch_attention,
                [SN_OP_ATTENTION_BACK] = scratch_attention,
                [SN_OP_HEAD_LOSS] = scratch_head_loss,
            },
    };
    return &backend;
}
