/* Products with weights, patches, rows of tables: shape rule, then derivative. */
#include "tensor/op.h"

sn_tensor sn_linear(sn_graph *g, sn_tensor x, sn_tensor weight, sn_tensor bias) {
    if (x == SN_NONE || weight == SN_NONE) return SN_NONE;
    sn_shape shape = sn_at(g, x)->shape;
    const sn_shape *w = &sn_at(g, weight)->shape;
    int64_t in = shape.dim[shape.rank - 1], out = w->dim[0], columns = 1;
    for (int i = 1; i < w->rank; i++) columns *= w->dim[i];
    if (w->rank < 2 || columns != in)
        return sn_graph_fail(g, "linear: input has %lld columns, weight [%lld, %lld]", (long long)in, (long long)out, (long long)columns);
    if (bias && sn_shape_count(&sn_at(g, bias)->shape) != out) return sn_graph_fail(g, "linear: bias is not [%lld]", (long long)out);
    shape.dim[shape.rank - 1] = out;
    x = sn_as_rows(g, x);
    sn_tensor y = SN_NODE(g, SN_OP_LINEAR, shape, x, weight, bias);
    if (y == SN_NONE || !g->around || sn_at(g, weight)->op != SN_OP_PARAM) return y;
    return g->around(g, g->around_context, g->params[sn_at(g, weight)->index].name, x, y);
}

void sn_linear_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    sn_tensor x = node.input[0], weight = node.input[1], bias = node.input[2];
    dy = sn_as_rows(g, dy);
    if (sn_grad_wanted(grad, x))
        sn_grad_add(g, grad, x, SN_NODE(g, SN_OP_LINEAR_BACK_X, sn_at(g, x)->shape, dy, weight));
    if (sn_grad_wanted(grad, weight))
        sn_grad_add(g, grad, weight, SN_NODE(g, SN_OP_LINEAR_BACK_WEIGHT, sn_at(g, weight)->shape, dy, x));
    if (sn_grad_wanted(grad, bias)) {
        dy = sn_contiguous(g, dy);
        sn_grad_add(g, grad, bias, SN_NODE(g, SN_OP_SUM_LEADING, sn_at(g, bias)->shape, dy));
    }
}

sn_tensor sn_unfold(sn_graph *g, sn_tensor pictures, int64_t patch) {
    if (pictures == SN_NONE) return SN_NONE;
    const sn_shape *s = &sn_at(g, pictures)->shape;
    if (s->rank != 4 || patch < 1 || s->dim[2] < patch || s->dim[3] < patch)
        return sn_graph_fail(g, "unfold: pictures are not [batch, channels, height, width] of at least one patch");
    sn_shape shape = SN_SHAPE(s->dim[0], (s->dim[2] / patch) * (s->dim[3] / patch), s->dim[1] * patch * patch);
    sn_tensor t = SN_NODE(g, SN_OP_UNFOLD, shape, sn_contiguous(g, pictures));
    if (t) g->nodes[t].u.patch = patch;
    return t;
}

void sn_unfold_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    if (!sn_grad_wanted(grad, node.input[0])) return;
    dy = sn_contiguous(g, dy);
    sn_tensor dx = SN_NODE(g, SN_OP_FOLD, sn_at(g, node.input[0])->shape, dy);
    if (dx) g->nodes[dx].u.patch = node.u.patch;
    sn_grad_add(g, grad, node.input[0], dx);
}

sn_tensor sn_gather_rows(sn_graph *g, sn_tensor table, sn_tensor ids) {
    if (table == SN_NONE || ids == SN_NONE) return SN_NONE;
    if (sn_at(g, table)->shape.rank != 2 || sn_at(g, ids)->shape.rank != 1 || sn_at(g, ids)->type != SN_TYPE_I32)
        return sn_graph_fail(g, "gather_rows: table is not [rows, n] or ids not i32 [m]");
    table = sn_as_rows(g, table);
    return SN_NODE(g, SN_OP_GATHER_ROWS, SN_SHAPE(sn_dim(g, ids, 0), sn_dim(g, table, 1)), table, ids);
}

void sn_gather_rows_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    sn_tensor table = node.input[0];
    if (!sn_grad_wanted(grad, table)) return;
    dy = sn_as_rows(g, dy);
    sn_grad_add(g, grad, table, SN_NODE(g, SN_OP_GATHER_ROWS_BACK, sn_at(g, table)->shape, dy, node.input[1]));
}

sn_tensor sn_scatter_rows(sn_graph *g, sn_tensor a, sn_tensor b, sn_tensor ids) {
    if (a == SN_NONE || b == SN_NONE || ids == SN_NONE) return SN_NONE;
    const sn_shape *x = &sn_at(g, a)->shape, *y = &sn_at(g, b)->shape;
    if (x->rank != 2 || y->rank != 2 || x->dim[1] != y->dim[1] || sn_dim(g, ids, 0) != y->dim[0])
        return sn_graph_fail(g, "scatter_rows: rows of width %lld do not fit into rows of width %lld", (long long)y->dim[1], (long long)x->dim[1]);
    a = sn_as_rows(g, a), b = sn_as_rows(g, b);
    return SN_NODE(g, SN_OP_SCATTER_ROWS, sn_at(g, a)->shape, a, b, ids);
}

void sn_scatter_rows_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    sn_tensor a = node.input[0], b = node.input[1], ids = node.input[2];
    if (sn_grad_wanted(grad, a)) { /* the replaced rows of a had no part in y */
        sn_grad_add(g, grad, a, sn_scatter_rows(g, dy, sn_scale(g, sn_gather_rows(g, dy, ids), 0), ids));
    }
    if (sn_grad_wanted(grad, b)) sn_grad_add(g, grad, b, sn_gather_rows(g, dy, ids));
}
