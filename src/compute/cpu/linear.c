/* Linear layers, forward and backward, and the language-model loss. */
#include "compute/cpu/kernels.h"
#include "compute/cpu/product.h"
#include "tensor/op.h"

#include <math.h>

/* A matrix operand: a weight as stored, or computed floats. */
static sn_operand operand(const sn_run *run, sn_tensor t) {
    const sn_node *node = sn_run_node(run, t);
    if (node->op == SN_OP_PARAM) return (sn_operand){.weight = sn_run_weight(run, t)};
    return (sn_operand){.data = sn_run_data(run, t), .stride = node->stride[0]};
}

static sn_operand floats(sn_matrix m) { return (sn_operand){.data = m.data, .stride = m.stride}; }

static void multiply(const sn_run *run, const sn_product *p, void *scratch) {
    sn_product_run(p, sn_threads_for(run, p->m * p->n * p->k / 32), scratch);
}

size_t SN_NAME(sn_scratch_linear)(const sn_plan *plan, sn_tensor t) {
    const sn_node *y = &plan->graph->nodes[t], *x = &plan->graph->nodes[y->input[0]];
    return sn_product_scratch(sn_num_rows(y), sn_num_columns(y), sn_num_columns(x), plan->threads);
}

void SN_NAME(sn_run_linear)(const sn_run *run, sn_tensor t) {
    const sn_node *node = sn_run_node(run, t);
    sn_matrix y = sn_run_matrix(run, t), x = sn_run_matrix(run, node->input[0]);
    multiply(run, &(sn_product){.m = y.rows, .n = y.columns, .k = x.columns, .a = floats(x), .b = operand(run, node->input[1]),
                                .bias = node->input[2] ? sn_run_data(run, node->input[2]) : NULL, .c = y.data, .c_stride = y.stride},
             sn_run_scratch(run, t));
}

/* dx [m, in] = dy [m, out] · weight [out, in] */
void SN_NAME(sn_run_linear_back_x)(const sn_run *run, sn_tensor t) {
    const sn_node *node = sn_run_node(run, t);
    sn_matrix dx = sn_run_matrix(run, t), dy = sn_run_matrix(run, node->input[0]);
    sn_operand weight = operand(run, node->input[1]);
    weight.transposed = true;
    multiply(run, &(sn_product){.m = dx.rows, .n = dx.columns, .k = dy.columns, .a = floats(dy), .b = weight, .c = dx.data, .c_stride = dx.stride},
             sn_run_scratch(run, t));
}

size_t SN_NAME(sn_scratch_linear_back_weight)(const sn_plan *plan, sn_tensor t) {
    const sn_node *dy = &plan->graph->nodes[plan->graph->nodes[t].input[0]], *x = &plan->graph->nodes[plan->graph->nodes[t].input[1]];
    return sn_product_scratch(sn_num_columns(dy), sn_num_columns(x), sn_num_rows(x), plan->threads);
}

/* dweight [out, in] = dyᵀ [out, m] · x [m, in] */
void SN_NAME(sn_run_linear_back_weight)(const sn_run *run, sn_tensor t) {
    const sn_node *node = sn_run_node(run, t);
    sn_matrix dy = sn_run_matrix(run, node->input[0]), x = sn_run_matrix(run, node->input[1]);
    sn_operand a = floats(dy), b = floats(x);
    a.transposed = b.transposed = true;
    multiply(run, &(sn_product){.m = dy.columns, .n = x.columns, .k = x.rows, .a = a, .b = b, .c = sn_run_data(run, t), .c_stride = x.columns},
             sn_run_scratch(run, t));
}

