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

/* Where products are in bf16, what the graph computed is rounded; weights are multiplied as they are stored. */
static void multiply(const sn_run *run, const sn_product *product, void *scratch) {
    sn_product with = *product, *p = &with;
    p->a.rounded = run->plan->backend->compute == SN_TYPE_BF16;
    p->b.rounded = p->a.rounded && p->a.transposed; /* the gradient of a weight: b is no weight */
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
    const sn_node *dweight = &plan->graph->nodes[t], *dy = &plan->graph->nodes[dweight->input[0]];
    return sn_product_scratch(sn_num_columns(dy), sn_num_columns(dweight), sn_num_rows(dy), plan->threads);
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

/* ---- loss ---- */

enum { LABELS = 64 }; /* labelled tokens whose logits are in memory at once */

static int64_t loss_floats(int64_t vocabulary, int64_t n) { return (LABELS * (vocabulary + 2 * n) + 15) / 16 * 16; }

size_t SN_NAME(sn_scratch_head_loss)(const sn_plan *plan, sn_tensor t) {
    const sn_node *head = &plan->graph->nodes[plan->graph->nodes[t].input[1]];
    int64_t vocabulary = head->shape.dim[0], n = head->shape.dim[1];
    size_t forward = sn_product_scratch(LABELS, vocabulary, n, plan->threads), back = sn_product_scratch(LABELS, n, vocabulary, plan->threads);
    return (size_t)loss_floats(vocabulary, n) * sizeof(float) + (forward > back ? forward : back);
}

/* Turns a row of logits into weight * (probability - is label), and gives its loss. */
static double loss_row(float *logits, int64_t count, int32_t label, float weight) {
    float top = logits[0];
    for (int64_t o = 1; o < count; o++) top = logits[o] > top ? logits[o] : top;
    float wanted = logits[label];
    vf total = {0};
    double sum = 0;
    int64_t o = 0;
    for (; o + LANES <= count; o += LANES) {
        vf p = vf_exp(vf_load(logits + o) - top);
        vf_store(logits + o, p);
        total += p;
    }
    for (; o < count; o++) sum += (double)(logits[o] = expf(logits[o] - top));
    sum += (double)vf_sum(total);
    float factor = (float)((double)weight / sum);
    for (o = 0; o < count; o++) logits[o] *= factor;
    logits[label] -= weight;
    return (double)weight * (log(sum) + (double)(top - wanted));
}

/* Only tokens with labels are computed, LABELS at a time: logits, loss and both gradients in one visit. */
void SN_NAME(sn_run_head_loss)(const sn_run *run, sn_tensor t) {
    const sn_node *node = sn_run_node(run, t);
    sn_matrix x = sn_run_matrix(run, node->input[0]);
    const int32_t *labels = sn_run_data(run, node->input[2]);
    const float *weights = sn_run_data(run, node->input[3]);
    sn_operand head = operand(run, node->input[1]), turned = head;
    turned.transposed = true;
    int64_t vocabulary = sn_run_node(run, node->input[1])->shape.dim[0], n = x.columns;
    float *out = sn_run_data(run, t), *dx = node->u.loss.grad_hidden ? out + 1 : NULL, *dw = NULL;
    if (node->u.loss.grad_head) dw = out + 1 + (dx ? x.rows * n : 0);
    float *logits = sn_run_scratch(run, t), *hidden = logits + LABELS * vocabulary, *dhidden = hidden + LABELS * n;
    float *scratch = logits + loss_floats(vocabulary, n);
    if (dx) memset(dx, 0, (size_t)(x.rows * n) * sizeof *dx);
    if (dw) memset(dw, 0, (size_t)(vocabulary * n) * sizeof *dw);
    double loss = 0;
    for (int64_t i = 0; i < x.rows;) {
        int64_t token[LABELS], count = 0;
        for (; i < x.rows && count < LABELS; i++)
            if (labels[i] >= 0) token[count++] = i;
        if (!count) break;
        for (int64_t j = 0; j < count; j++) memcpy(hidden + j * n, sn_matrix_row(x, token[j]), (size_t)n * sizeof *hidden);
        sn_operand a = {.data = hidden, .stride = n}, d = {.data = logits, .stride = vocabulary};
        multiply(run, &(sn_product){.m = count, .n = vocabulary, .k = n, .a = a, .b = head, .c = logits, .c_stride = vocabulary}, scratch);
        double losses[LABELS];
        int threads = sn_threads_for(run, count * vocabulary);
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t j = 0; j < count; j++) losses[j] = loss_row(logits + j * vocabulary, vocabulary, labels[token[j]], weights[token[j]]);
        for (int64_t j = 0; j < count; j++) loss += losses[j];
        if (dx) {
            multiply(run, &(sn_product){.m = count, .n = n, .k = vocabulary, .a = d, .b = turned, .c = dhidden, .c_stride = n}, scratch);
            for (int64_t j = 0; j < count; j++) memcpy(dx + token[j] * n, dhidden + j * n, (size_t)n * sizeof *dx);
        }
        d.transposed = a.transposed = true;
        if (dw) multiply(run, &(sn_product){.m = vocabulary, .n = n, .k = count, .a = d, .b = a, .c = dw, .c_stride = n, .add = true}, scratch);
    }
    out[0] = (float)loss;
}
