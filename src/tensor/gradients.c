/* The backward graph: one sweep over the nodes in reverse, each operator adding to the gradients of its
 * inputs. Nodes that none of the requested tensors reaches are left out before the sweep begins, so a frozen
 * encoder has no backward part and keeps nothing for it. */
#include "tensor/op.h"

#include <string.h>

static sn_derivative *const derivatives[SN_OP_COUNT] = {
    [SN_OP_VIEW] = sn_view_derivative,
    [SN_OP_COPY] = sn_copy_derivative,
    [SN_OP_PAD] = sn_pad_derivative,
    [SN_OP_CONCAT] = sn_concat_derivative,
    [SN_OP_ADD] = sn_add_derivative,
    [SN_OP_MUL] = sn_mul_derivative,
    [SN_OP_SCALE] = sn_scale_derivative,
    [SN_OP_DROPOUT] = sn_dropout_derivative,
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

/* The derivative of one node, in the scope of that node. */
static void visit(sn_graph *g, sn_grad *grad, sn_tensor t) {
    if (!grad->wanted[t] || grad->of[t] == SN_NONE) return;
    int32_t scope = g->scope;
    g->scope = g->nodes[t].scope; /* backward nodes belong to the scope of their forward node */
    sn_derivative *derivative = derivatives[g->nodes[t].op];
    if (derivative)
        derivative(g, grad, t, grad->of[t]);
    else if (g->nodes[t].num_inputs)
        sn_graph_fail(g, "operator %d has no derivative", (int)g->nodes[t].op);
    g->scope = scope;
}

/* ---- blocks that are computed again (Chen et al., arXiv 1604.06174) ---- */

/* Length of the part of a scope that names its block: "decoder.layers.3" of "decoder.layers.3.attention"; 0 = none. */
static size_t block_length(const char *scope) {
    const char *at = strstr(scope, "layers.");
    return at ? (size_t)(at - scope) + 7 + strcspn(at + 7, ".") : 0;
}

static bool same_block(const sn_graph *g, sn_tensor a, sn_tensor b) {
    const char *x = g->scopes[g->nodes[a].scope], *y = g->scopes[g->nodes[b].scope];
    size_t n = block_length(x);
    return n && n == block_length(y) && strncmp(x, y, n) == 0;
}

static bool is_leaf(const sn_node *node) { return node->op == SN_OP_INPUT || node->op == SN_OP_PARAM; }

/* Copies nodes first … last behind the others; map[t - first] gets the copy of t. What stands outside is shared. */
static void copy_nodes(sn_graph *g, sn_tensor first, sn_tensor last, sn_tensor *map) {
    int32_t scope = g->scope;
    for (sn_tensor t = first; t <= last && !g->error.status; t++) {
        sn_node node = g->nodes[t];
        map[t - first] = t;
        if (is_leaf(&node)) continue;
        for (int i = 0; i < node.num_inputs; i++)
            if (node.input[i] >= first && node.input[i] <= last) node.input[i] = map[node.input[i] - first];
        g->scope = node.scope;
        sn_tensor copy = sn_new_node(g, node.op, node.shape, node.num_inputs, node.input);
        if (copy == SN_NONE) break;
        map[t - first] = copy;
        if (node.base == t) node.base = copy;
        else if (node.base >= first && node.base <= last) node.base = map[node.base - first];
        g->nodes[copy] = node;
    }
    g->scope = scope;
}

/* Room for the gradients of nodes that were added since. */
static bool grow(sn_grad *grad, bool **wanted, size_t *capacity, size_t need) {
    if (need <= *capacity) return true;
    sn_tensor *of = sn_alloc(need, sizeof *of);
    bool *more = sn_alloc(need, sizeof *more);
    if (of && more) {
        memcpy(of, grad->of, *capacity * sizeof *of);
        memcpy(more, *wanted, *capacity * sizeof *more);
        sn_free(grad->of), sn_free(*wanted);
        grad->of = of, grad->wanted = *wanted = more, *capacity = need;
        return true;
    }
    sn_free(of);
    sn_free(more);
    return false;
}

/* The backward part of the block that ends with `last`: its nodes are copied, so that their values are made again just
 * before they are needed and nothing but what enters the block is kept from the forward pass. Gives the first node. */
static sn_tensor visit_block(sn_graph *g, sn_grad *grad, bool **wanted, size_t *capacity, sn_tensor last) {
    sn_tensor first = last;
    while (first > 1 && same_block(g, first - 1, last)) first--;
    sn_tensor *map = sn_alloc((size_t)(last - first) + 1, sizeof *map);
    if (map) copy_nodes(g, first, last, map);
    if (!map || !grow(grad, wanted, capacity, g->num_nodes)) sn_graph_fail(g, "out of memory");
    for (sn_tensor t = first; t <= last && !g->error.status; t++) (*wanted)[map[t - first]] = (*wanted)[t], grad->of[map[t - first]] = grad->of[t];
    for (sn_tensor t = last; t >= first && !g->error.status; t--)
        if (!is_leaf(&g->nodes[t])) visit(g, grad, map[t - first]);
    sn_free(map);
    return first;
}

void sn_gradients(sn_graph *g, sn_tensor loss, const sn_tensor *by, int n, sn_tensor *out) {
    for (int i = 0; i < n; i++) out[i] = SN_NONE;
    if (loss == SN_NONE || g->error.status) return;
    size_t count = g->num_nodes; /* the forward nodes; the sweep adds more behind them */
    bool *wanted = sn_alloc(count, sizeof *wanted);
    size_t capacity = count;
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
    for (sn_tensor t = loss; t > 0 && !g->error.status; t--) {
        if (g->recompute && wanted[t] && !is_leaf(&g->nodes[t]) && block_length(g->scopes[g->nodes[t].scope])) t = visit_block(g, &grad, &wanted, &capacity, t);
        else visit(g, &grad, t);
    }
    for (int i = 0; i < n; i++)
        if (by[i] != SN_NONE) out[i] = grad.of[by[i]];
done:
    sn_free(wanted);
    sn_free(grad.of);
}
