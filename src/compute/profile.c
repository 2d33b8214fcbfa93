/* The cost of linear layers and attention, which is nearly all there is; other operators count by time alone. */
#include "compute/profile.h"

#include "compute/kv.h"
#include "tensor/op.h"

static const char *const names[SN_OP_COUNT] = {
    [SN_OP_NONE] = "none",
    [SN_OP_INPUT] = "input",
    [SN_OP_PARAM] = "parameter",
    [SN_OP_VIEW] = "view",
    [SN_OP_COPY] = "copy",
    [SN_OP_ADD] = "add",
    [SN_OP_MUL] = "mul",
    [SN_OP_SCALE] = "scale",
    [SN_OP_DROPOUT] = "dropout",
    [SN_OP_SUM_LEADING] = "sum_leading",
    [SN_OP_UNARY] = "unary",
    [SN_OP_UNARY_BACK] = "unary_back",
    [SN_OP_GATED] = "gated",
    [SN_OP_GATED_BACK] = "gated_back",
    [SN_OP_NORM] = "norm",
    [SN_OP_NORM_BACK_X] = "norm_back_x",
    [SN_OP_NORM_BACK_WEIGHT] = "norm_back_weight",
    [SN_OP_LINEAR] = "linear",
    [SN_OP_LINEAR_BACK_X] = "linear_back_x",
    [SN_OP_LINEAR_BACK_WEIGHT] = "linear_back_weight",
    [SN_OP_UNFOLD] = "unfold",
    [SN_OP_FOLD] = "fold",
    [SN_OP_CONCAT] = "concat",
    [SN_OP_PAD] = "pad",
    [SN_OP_GATHER_ROWS] = "gather_rows",
    [SN_OP_GATHER_ROWS_BACK] = "gather_rows_back",
    [SN_OP_SCATTER_ROWS] = "scatter_rows",
    [SN_OP_ATTENTION] = "attention",
    [SN_OP_ATTENTION_BACK] = "attention_back",
    [SN_OP_HEAD_LOSS] = "head_loss",
};

const char *sn_op_name(sn_op op) { return op >= 0 && op < SN_OP_COUNT && names[op] ? names[op] : "unknown"; }

/* y [rows, out] = x [rows, in] · wᵀ: rows · in · out products and as many sums; the weight is read once. */
static void linear_cost(const sn_run *run, const sn_node *node, sn_profile_entry *cost) {
    const sn_graph *g = run->plan->graph;
    const sn_node *weight = &g->nodes[node->input[1]];
    cost->operations += 2.0 * (double)sn_num_rows(node) * (double)sn_num_columns(node) * (double)sn_num_columns(&g->nodes[node->input[0]]);
    if (weight->op != SN_OP_PARAM) return;
    const sn_weight *w = sn_run_weight(run, node->input[1]);
    int64_t row_bytes = 0;
    sn_type_bytes(w->type, w->columns, &row_bytes);
    cost->bytes += (double)w->rows * (double)row_bytes;
}

/* q · k and p · v for every pair of a query and a key it sees; what the cache held before is read once. */
static void attention_cost(const sn_run *run, const sn_node *node, sn_profile_entry *cost) {
    const sn_graph *g = run->plan->graph;
    const sn_attention_attributes *a = &node->u.attention;
    int64_t tokens = sn_num_rows(node), rows = a->row_length ? tokens / a->row_length : g->nodes[node->input[4]].shape.dim[0] - 1;
    const int32_t *starts = a->row_length ? NULL : sn_run_data(run, node->input[4]);
    const int32_t *lengths = a->cache_layer >= 0 ? sn_run_data(run, node->input[6]) : NULL;
    for (int64_t r = 0; r < rows; r++) {
        double n = (double)(starts ? starts[r + 1] - starts[r] : a->row_length), past = lengths ? lengths[r] : 0;
        double pairs = a->mask == SN_MASK_CAUSAL ? n * past + n * (n + 1) / 2 : n * (past + n);
        cost->operations += 4 * pairs * (double)(a->num_heads * a->head_dim);
        if (lengths) cost->bytes += 2 * past * (double)(a->num_kv_heads * run->bind->cache->head_bytes / SN_PAGE_POSITIONS);
    }
}

void sn_profile_step(void *profile, const sn_run *run, sn_tensor t, double seconds) {
    const sn_node *node = &run->plan->graph->nodes[t];
    sn_profile_entry *entry = &((sn_profile *)profile)->op[node->op];
    entry->calls++;
    entry->seconds += seconds;
    if (node->op == SN_OP_LINEAR) linear_cost(run, node, entry);
    if (node->op == SN_OP_ATTENTION) attention_cost(run, node, entry);
}

sn_profile_entry sn_profile_total(const sn_profile *profile) {
    sn_profile_entry total = {0};
    for (int op = 0; op < SN_OP_COUNT; op++) {
        total.calls += profile->op[op].calls;
        total.seconds += profile->op[op].seconds;
        total.operations += profile->op[op].operations;
        total.bytes += profile->op[op].bytes;
    }
    return total;
}
