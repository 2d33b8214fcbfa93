/* Attention and the language-model loss: shape rule, then derivative. */
#include "tensor/op.h"

sn_tensor sn_attention(sn_graph *g, const sn_attention_inputs *in, const sn_attention_attributes *a) {
    if (in->q == SN_NONE || in->k == SN_NONE || in->v == SN_NONE) return SN_NONE;
    int64_t tokens = sn_num_rows(sn_at(g, in->q)), width = a->num_heads * a->head_dim, kv = a->num_kv_heads * a->head_dim;
    if (a->num_heads < 1 || a->num_kv_heads < 1 || a->head_dim < 1 || a->num_heads % a->num_kv_heads)
        return sn_graph_fail(g, "attention: %lld heads over %lld key heads of %lld", (long long)a->num_heads,
                             (long long)a->num_kv_heads, (long long)a->head_dim);
    if (sn_num_columns(sn_at(g, in->q)) != width || sn_num_columns(sn_at(g, in->k)) != kv ||
        sn_num_columns(sn_at(g, in->v)) != kv || sn_num_rows(sn_at(g, in->k)) != tokens || sn_num_rows(sn_at(g, in->v)) != tokens)
        return sn_graph_fail(g, "attention: q, k, v do not fit %lld heads of %lld", (long long)a->num_heads, (long long)a->head_dim);
    if ((a->rotary != SN_ROTARY_NONE && (in->positions == SN_NONE || a->head_dim % 2)) ||
        (a->row_length == 0 && in->row_starts == SN_NONE) || (a->row_length > 0 && tokens % a->row_length) ||
        (a->cache_layer >= 0 && (in->page_table == SN_NONE || in->lengths == SN_NONE || in->row_starts == SN_NONE)))
        return sn_graph_fail(g, "attention: an input is missing");
    sn_tensor q = sn_as_rows(g, in->q), k = sn_as_rows(g, in->k), v = sn_as_rows(g, in->v);
    sn_shape shape = sn_at(g, in->q)->shape;
    sn_tensor t = SN_NODE(g, SN_OP_ATTENTION, shape, q, k, v, in->positions, in->row_starts, in->page_table, in->lengths);
    if (t) g->nodes[t].u.attention = *a;
    return t;
}

void sn_attention_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    const sn_attention_attributes *a = &node.u.attention;
    if (a->cache_layer >= 0) {
        sn_graph_fail(g, "attention over a cache has no derivative");
        return;
    }
    /* dq, dk and dv side by side, as one visit computes them */
    int64_t tokens = sn_num_rows(&node), width = a->num_heads * a->head_dim, kv = a->num_kv_heads * a->head_dim;
    sn_tensor d = SN_NODE(g, SN_OP_ATTENTION_BACK, SN_SHAPE(tokens, width + 2 * kv), node.input[0], node.input[1],
                          node.input[2], node.input[3], node.input[4], sn_as_rows(g, dy));
    if (!d) return;
    g->nodes[d].u.attention = *a;
    int64_t begin = 0;
    for (int i = 0; i < 3; i++) {
        int64_t columns = i ? kv : width;
        sn_tensor part = sn_slice(g, d, 1, begin, columns);
        if (sn_grad_wanted(grad, node.input[i])) {
            if (!sn_shape_equal(&sn_at(g, part)->shape, &sn_at(g, node.input[i])->shape))
                part = sn_reshape(g, part, sn_at(g, node.input[i])->shape);
            sn_grad_add(g, grad, node.input[i], part);
        }
        begin += columns;
    }
}

sn_tensor sn_head_loss(sn_graph *g, sn_tensor hidden, sn_tensor head, sn_tensor labels, sn_tensor weights, int gradients) {
    if (hidden == SN_NONE || head == SN_NONE || labels == SN_NONE || weights == SN_NONE) return SN_NONE;
    int64_t tokens = sn_num_rows(sn_at(g, hidden)), n = sn_num_columns(sn_at(g, hidden)), rows = sn_dim(g, head, 0);
    if (sn_at(g, head)->shape.rank != 2 || sn_dim(g, head, 1) != n || sn_shape_count(&sn_at(g, labels)->shape) != tokens ||
        sn_shape_count(&sn_at(g, weights)->shape) != tokens)
        return sn_graph_fail(g, "head_loss: hidden, head, labels and weights do not fit");
    /* [loss | d hidden | d head] */
    int64_t size = 1 + (gradients & SN_GRAD_HIDDEN ? tokens * n : 0) + (gradients & SN_GRAD_HEAD ? rows * n : 0);
    sn_tensor t = SN_NODE(g, SN_OP_HEAD_LOSS, SN_SHAPE(size), sn_as_rows(g, hidden), head, labels, weights);
    if (!t) return SN_NONE;
    g->nodes[t].u.loss.grad_hidden = gradients & SN_GRAD_HIDDEN;
    g->nodes[t].u.loss.grad_head = gradients & SN_GRAD_HEAD;
    return size == 1 ? t : sn_slice(g, t, 0, 0, 1);
}

void sn_head_loss_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    /* dy has the shape of the packed output; only its first value, the loss, has a gradient from outside. */
    sn_node node = *sn_at(g, y);
    sn_tensor factor = sn_slice(g, dy, 0, 0, 1);
    int64_t begin = 1;
    bool has[2] = {node.u.loss.grad_hidden, node.u.loss.grad_head};
    for (int i = 0; i < 2; i++) {
        sn_tensor of = node.input[i];
        if (sn_grad_wanted(grad, of) && !has[i]) {
            sn_graph_fail(g, "head_loss was built without the gradient that is now asked for");
            return;
        }
        if (!has[i]) continue;
        int64_t count = sn_shape_count(&sn_at(g, of)->shape);
        if (sn_grad_wanted(grad, of)) {
            sn_tensor part = sn_reshape(g, sn_slice(g, y, 0, begin, count), SN_SHAPE(count, 1));
            sn_grad_add(g, grad, of, sn_reshape(g, sn_mul(g, part, factor), sn_at(g, of)->shape));
        }
        begin += count;
    }
}
