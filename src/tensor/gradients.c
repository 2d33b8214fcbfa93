/* The backward graph: one sweep over the nodes in reverse, each operator adding to the gradients of its
 * inputs. Nodes that none of the requested tensors reaches are left out before the sweep begins, so a frozen
 * encoder has no backward part and keeps nothing for it. */
#include "tensor/op.h"

static sn_derivative *const derivatives[SN_OP_COUNT] = {
    [SN_OP_VIEW] = sn_view_derivative,
    [SN_OP_COPY] = sn_copy_derivative,
    [SN_OP_PAD] = sn_pad_derivative,
    [SN_OP_CONCAT] = sn_concat_derivative,
    [SN_OP_ADD] = sn_add_derivative,
    [SN_OP_MUL] = sn_mul_derivative,
    [SN_OP_SCALE] = sn_scale_derivative,
    [SN_OP_UNARY] = sn_unary_derivative,
    [SN_OP_GATED] = sn_gated_derivative,
    [SN_OP_NORM] = sn_norm_derivative,
    [SN_OP_LINEAR] = sn_linear_derivative,
    [SN_OP_UNFOLD] = sn_unfold_derivative,
    [SN_OP_GATHER_ROWS] = sn_gather_rows_derivative,
    [SN_OP_SCATTER_ROWS] = sn_scatter_rows_derivative,
    [SN_OP_ATTENTION] = sn_attention_derivative,
    [SN_OP_HEAD_LOSS] = sn_head_loss_derivative,
};

void sn_grad_add(sn_graph *g, sn_grad *grad, sn_tensor t, sn_tensor d) {
    if (!sn_grad_wanted(grad, t) || d == SN_NONE) return;
    grad->of[t] = grad->of[t] == SN_NONE ? d : sn_add(g, grad->of[t], d);
}

void sn_gradients(sn_graph *g, sn_tensor loss, const sn_tensor *by, int n, sn_tensor *out) {
    for (int i = 0; i < n; i++) out[i] = SN_NONE;
    if (loss == SN_NONE || g->error.status) return;
    size_t count = g->num_nodes; /* the forward nodes; the sweep adds more behind them */
    bool *wanted = sn_alloc(count, sizeof *wanted);
    sn_grad grad = {.of = sn_alloc(count, sizeof *grad.of), .wanted = wanted};
    if (!wanted || !grad.of) {
        sn_graph_fail(g, "out of memory");
        goto done;
    }
    for (int i = 0; i < n; i++)
        if (by[i] != SN_NONE) wanted[by[i]] = true;
    for (size_t t = 1; t < count; t++)
        for (int i = 0; i < g->nodes[t].num_inputs; i++)
            if (g->nodes[t].input[i] != SN_NONE && wanted[g->nodes[t].input[i]]) wanted[t] = true;
    if (wanted[loss]) {
        /* d loss / d loss is an input of ones that every plan binds; see sn_plan. */
        sn_tensor one = sn_input(g, SN_TYPE_F32, sn_at(g, loss)->shape);
        sn_name(g, one, "grad.loss");
        grad.of[loss] = one;
    }
    for (size_t t = (size_t)loss; t > 0 && !g->error.status; t--) {
        if (!wanted[t] || grad.of[t] == SN_NONE) continue;
        int32_t scope = g->scope;
        g->scope = g->nodes[t].scope; /* backward nodes belong to the scope of their forward node */
        sn_derivative *derivative = derivatives[g->nodes[t].op];
        if (derivative)
            derivative(g, &grad, (sn_tensor)t, grad.of[t]);
        else if (g->nodes[t].num_inputs)
            sn_graph_fail(g, "operator %d has no derivative", (int)g->nodes[t].op);
        g->scope = scope;
    }
    for (int i = 0; i < n; i++)
        if (by[i] != SN_NONE) out[i] = grad.of[by[i]];
done:
    sn_free(wanted);
    sn_free(grad.of);
}
