/* Element-wise operators and norms: shape rule, then derivative. */
#include "tensor/op.h"

/* b's shape must be the last dimensions of a's. */
static bool broadcasts(const sn_graph *g, sn_tensor a, sn_tensor b) {
    const sn_shape *x = &sn_at(g, a)->shape, *y = &sn_at(g, b)->shape;
    if (y->rank > x->rank) return false;
    for (int i = 1; i <= y->rank; i++)
        if (x->dim[x->rank - i] != y->dim[y->rank - i]) return false;
    return true;
}

static sn_tensor binary(sn_graph *g, sn_op op, sn_tensor a, sn_tensor b) {
    if (a == SN_NONE || b == SN_NONE) return SN_NONE;
    char x[96], y[96];
    if (!broadcasts(g, a, b))
        return sn_graph_fail(g, "%s does not broadcast to %s", sn_shape_text(&sn_at(g, b)->shape, y),
                             sn_shape_text(&sn_at(g, a)->shape, x));
    bool same = sn_shape_equal(&sn_at(g, a)->shape, &sn_at(g, b)->shape);
    a = same ? sn_as_rows(g, a) : sn_contiguous(g, a), b = same ? sn_as_rows(g, b) : sn_contiguous(g, b);
    return SN_NODE(g, op, sn_at(g, a)->shape, a, b);
}

/* Adds d (a's shape) to the gradient of b, summed over the dimensions that b lacks. */
static void add_broadcast(sn_graph *g, sn_grad *grad, sn_tensor b, sn_tensor d) {
    if (!sn_grad_wanted(grad, b)) return;
    if (!sn_shape_equal(&sn_at(g, b)->shape, &sn_at(g, d)->shape)) {
        d = sn_contiguous(g, d);
        d = SN_NODE(g, SN_OP_SUM_LEADING, sn_at(g, b)->shape, d);
    }
    sn_grad_add(g, grad, b, d);
}

sn_tensor sn_add(sn_graph *g, sn_tensor a, sn_tensor b) { return binary(g, SN_OP_ADD, a, b); }

void sn_add_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_tensor a = sn_at(g, y)->input[0], b = sn_at(g, y)->input[1];
    sn_grad_add(g, grad, a, dy);
    add_broadcast(g, grad, b, dy);
}

sn_tensor sn_mul(sn_graph *g, sn_tensor a, sn_tensor b) { return binary(g, SN_OP_MUL, a, b); }

void sn_mul_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_tensor a = sn_at(g, y)->input[0], b = sn_at(g, y)->input[1];
    if (sn_grad_wanted(grad, a)) sn_grad_add(g, grad, a, sn_mul(g, dy, b));
    if (sn_grad_wanted(grad, b)) add_broadcast(g, grad, b, sn_mul(g, dy, a));
}

sn_tensor sn_scale(sn_graph *g, sn_tensor a, float factor) {
    if (a == SN_NONE) return SN_NONE;
    a = sn_as_rows(g, a);
    sn_tensor t = SN_NODE(g, SN_OP_SCALE, sn_at(g, a)->shape, a);
    if (t) g->nodes[t].u.scale = factor;
    return t;
}

void sn_scale_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    if (sn_grad_wanted(grad, node.input[0])) sn_grad_add(g, grad, node.input[0], sn_scale(g, dy, node.u.scale));
}

sn_tensor sn_dropout(sn_graph *g, sn_tensor x, sn_tensor keys, float rate, uint32_t stream) {
    if (x == SN_NONE || keys == SN_NONE) return SN_NONE;
    x = sn_as_rows(g, x);
    const sn_node *k = sn_at(g, keys);
    if (k->type != SN_TYPE_I32 || k->shape.rank != 2 || k->shape.dim[1] != 2 || k->shape.dim[0] < 1 || sn_num_rows(sn_at(g, x)) % k->shape.dim[0])
        return sn_graph_fail(g, "dropout: %lld rows do not fall into the groups of the keys", (long long)sn_num_rows(sn_at(g, x)));
    if (!(rate >= 0 && rate < 1)) return sn_graph_fail(g, "dropout: the rate is %g, expected 0 to below 1", (double)rate);
    sn_tensor t = SN_NODE(g, SN_OP_DROPOUT, sn_at(g, x)->shape, x, keys);
    if (t) g->nodes[t].u.dropout.rate = rate, g->nodes[t].u.dropout.stream = stream;
    return t;
}

void sn_dropout_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    if (sn_grad_wanted(grad, node.input[0])) sn_grad_add(g, grad, node.input[0], sn_dropout(g, dy, node.input[1], node.u.dropout.rate, node.u.dropout.stream));
}

sn_tensor sn_unary_op(sn_graph *g, sn_unary kind, sn_tensor x) {
    if (x == SN_NONE) return SN_NONE;
    x = sn_as_rows(g, x);
    sn_tensor t = SN_NODE(g, SN_OP_UNARY, sn_at(g, x)->shape, x);
    if (t) g->nodes[t].u.unary = kind;
    return t;
}

void sn_unary_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    if (!sn_grad_wanted(grad, node.input[0])) return;
    sn_tensor dx = SN_NODE(g, SN_OP_UNARY_BACK, node.shape, node.input[0], sn_as_rows(g, dy));
    if (dx) g->nodes[dx].u.unary = node.u.unary;
    sn_grad_add(g, grad, node.input[0], dx);
}

sn_tensor sn_gated(sn_graph *g, sn_unary kind, sn_tensor gate, sn_tensor up) {
    if (gate == SN_NONE || up == SN_NONE) return SN_NONE;
    if (!sn_shape_equal(&sn_at(g, gate)->shape, &sn_at(g, up)->shape))
        return sn_graph_fail(g, "gate and up differ in shape");
    gate = sn_as_rows(g, gate), up = sn_as_rows(g, up);
    sn_tensor t = SN_NODE(g, SN_OP_GATED, sn_at(g, gate)->shape, gate, up);
    if (t) g->nodes[t].u.unary = kind;
    return t;
}

void sn_gated_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    sn_tensor gate = node.input[0], up = node.input[1];
    sn_shape both = node.shape;
    int last = both.rank - 1;
    int64_t n = both.dim[last];
    both.dim[last] = 2 * n; /* d gate and d up side by side */
    sn_tensor d = SN_NODE(g, SN_OP_GATED_BACK, both, gate, up, sn_as_rows(g, dy));
    if (!d) return;
    g->nodes[d].u.unary = node.u.unary;
    sn_grad_add(g, grad, gate, sn_slice(g, d, last, 0, n));
    sn_grad_add(g, grad, up, sn_slice(g, d, last, n, n));
}

sn_tensor sn_norm_op(sn_graph *g, sn_norm kind, sn_tensor x, sn_tensor weight, sn_tensor bias, float eps) {
    if (x == SN_NONE) return SN_NONE;
    int64_t n = sn_num_columns(sn_at(g, x));
    if ((weight && sn_shape_count(&sn_at(g, weight)->shape) != n) || (bias && sn_shape_count(&sn_at(g, bias)->shape) != n))
        return sn_graph_fail(g, "norm over %lld values has weights of another length", (long long)n);
    x = sn_as_rows(g, x);
    sn_tensor t = SN_NODE(g, SN_OP_NORM, sn_at(g, x)->shape, x, weight, bias);
    if (t) g->nodes[t].u.norm.kind = kind, g->nodes[t].u.norm.eps = eps;
    return t;
}

void sn_norm_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    sn_tensor x = node.input[0], weight = node.input[1], bias = node.input[2];
    dy = sn_as_rows(g, dy);
    if (sn_grad_wanted(grad, x)) {
        sn_tensor dx = SN_NODE(g, SN_OP_NORM_BACK_X, node.shape, x, weight, dy);
        if (dx) g->nodes[dx].u.norm = node.u.norm;
        sn_grad_add(g, grad, x, dx);
    }
    if (sn_grad_wanted(grad, weight)) {
        sn_tensor dw = SN_NODE(g, SN_OP_NORM_BACK_WEIGHT, sn_at(g, weight)->shape, x, dy);
        if (dw) g->nodes[dw].u.norm = node.u.norm;
        sn_grad_add(g, grad, weight, dw);
    }
    if (sn_grad_wanted(grad, bias)) add_broadcast(g, grad, bias, dy);
}
