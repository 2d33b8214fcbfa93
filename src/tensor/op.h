/* What the operator files share: making a node, and adding to gradients. Private to tensor/. */
#ifndef SN_TENSOR_OP_H
#define SN_TENSOR_OP_H

#include "tensor/graph.h"

/* A node of that operator, f32 unless said otherwise, contiguous, with these inputs (SN_NONE inputs keep
 * their place). SN_NONE if the graph already failed or an input that must be there is not. */
sn_tensor sn_new_node(sn_graph *g, sn_op op, sn_shape shape, int num_inputs, const sn_tensor *inputs);
#define SN_NODE(g, op, shape, ...)                                                                        \
    sn_new_node(g, op, shape, (int)(sizeof((sn_tensor[]){__VA_ARGS__}) / sizeof(sn_tensor)), \
                (sn_tensor[]){__VA_ARGS__})

/* x itself where its leading dimensions have one common stride (so that it is rows of a fixed distance
 * with contiguous elements), otherwise a contiguous copy. */
sn_tensor sn_as_rows(sn_graph *g, sn_tensor x);
bool sn_is_rows(const sn_node *node);

/* Rows and columns of a tensor seen as a matrix [product of leading dimensions, last dimension]. */
int64_t sn_num_rows(const sn_node *node);
int64_t sn_num_columns(const sn_node *node);

/* The gradient of each tensor so far, by index; SN_NONE = none, or not wanted. */
typedef struct sn_grad {
    sn_tensor *of;
    const bool *wanted; /* whether any of the requested tensors reaches this one */
} sn_grad;

/* of[t] += d, where wanted. d has t's shape. */
void sn_grad_add(sn_graph *g, sn_grad *grad, sn_tensor t, sn_tensor d);
static inline bool sn_grad_wanted(const sn_grad *grad, sn_tensor t) { return t != SN_NONE && grad->wanted[t]; }

/* Adds to the gradients of y's inputs, given dy. Each stands beside its operator's shape rule. */
typedef void sn_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy);
sn_derivative sn_view_derivative, sn_copy_derivative, sn_pad_derivative, sn_concat_derivative, sn_add_derivative,
    sn_mul_derivative, sn_scale_derivative, sn_dropout_derivative, sn_unary_derivative, sn_gated_derivative, sn_norm_derivative,
    sn_linear_derivative, sn_unfold_derivative, sn_gather_rows_derivative, sn_scatter_rows_derivative,
    sn_attention_derivative, sn_head_loss_derivative;

#endif
