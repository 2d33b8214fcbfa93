/* The graph (docs/decisions/0001-graph.md).
 *
 * A graph is one flat array of nodes. A tensor is an index into it; it has a shape and a place in the
 * order of computation, and holds no data. Building computes nothing and cannot fail half-way: the first
 * error is kept with the scope it happened in, every later call returns SN_NONE, and sn_plan_new reports
 * it. Shapes are row-major, outermost dimension first, as in the papers and in PyTorch. */
#ifndef SN_TENSOR_GRAPH_H
#define SN_TENSOR_GRAPH_H

#include "base/memory.h"
#include "tensor/type.h"

enum { SN_MAX_RANK = 8, SN_MAX_INPUTS = 8 };

typedef int32_t sn_tensor;
enum { SN_NONE = 0 }; /* node 0 is reserved */

typedef struct sn_shape {
    int rank;
    int64_t dim[SN_MAX_RANK];
} sn_shape;

typedef enum sn_op {
    SN_OP_NONE,
    SN_OP_INPUT,  /* bound when a plan runs */
    SN_OP_PARAM,  /* a weight, bound when a plan runs */
    SN_OP_VIEW,   /* the same memory, seen with another shape, offset or strides */
    SN_OP_COPY,   /* contiguous copy of a view */
    SN_OP_ADD,    /* a + b, b broadcast over leading dimensions */
    SN_OP_MUL,    /* a * b, likewise */
    SN_OP_SCALE,  /* a * constant */
    SN_OP_DROPOUT, /* a, some values zeroed by chance */
    SN_OP_SUM_LEADING, /* adjoint of broadcasting: sum over leading dimensions */
    SN_OP_UNARY,
    SN_OP_UNARY_BACK,
    SN_OP_GATED,  /* act(gate) * up */
    SN_OP_GATED_BACK,
    SN_OP_NORM,
    SN_OP_NORM_BACK_X,
    SN_OP_NORM_BACK_WEIGHT,
    SN_OP_LINEAR,
    SN_OP_LINEAR_BACK_X,
    SN_OP_LINEAR_BACK_WEIGHT,
    SN_OP_UNFOLD, /* pictures to patches */
    SN_OP_FOLD,   /* adjoint of UNFOLD */
    SN_OP_CONCAT,
    SN_OP_PAD, /* adjoint of slicing: zeros around */
    SN_OP_GATHER_ROWS,      /* table[ids] */
    SN_OP_GATHER_ROWS_BACK, /* sums rows back into a table */
    SN_OP_SCATTER_ROWS,     /* copy of a, rows at ids replaced by those of b */
    SN_OP_ATTENTION,
    SN_OP_ATTENTION_BACK,
    SN_OP_HEAD_LOSS,
    SN_OP_COUNT,
} sn_op;

typedef enum sn_unary { SN_UNARY_GELU, SN_UNARY_QUICK_GELU, SN_UNARY_SILU, SN_UNARY_RELU, SN_UNARY_EXP } sn_unary;
typedef enum sn_norm { SN_NORM_LAYER, SN_NORM_RMS, SN_NORM_L2 } sn_norm;
typedef enum sn_rotary { SN_ROTARY_NONE, SN_ROTARY_HALF, SN_ROTARY_INTERLEAVED } sn_rotary;
typedef enum sn_mask { SN_MASK_FULL, SN_MASK_CAUSAL } sn_mask;

/* Attributes of attention; tensors are given to sn_attention. */
typedef struct sn_attention_attributes {
    int64_t num_heads, num_kv_heads, head_dim;
    float scale; /* of q · k */
    sn_mask mask;
    sn_rotary rotary;
    float rope_theta, rope_scale; /* angle = position * rope_scale * theta^(-2i/head_dim) */
    int64_t row_length; /* > 0: rows of that many tokens each; 0: the row_starts input says */
    int cache_layer;    /* >= 0: keys and values go through that layer of the bound KV cache */
} sn_attention_attributes;

typedef struct sn_node {
    sn_op op;
    sn_type type;
    sn_shape shape;
    int64_t stride[SN_MAX_RANK]; /* in elements; contiguous unless op is VIEW */
    int64_t offset;              /* VIEW: elements from the beginning of `base` */
    sn_tensor base;              /* VIEW: the node that owns the memory; otherwise the node itself */
    int num_inputs;
    sn_tensor input[SN_MAX_INPUTS];
    int32_t scope; /* place in the scope table: for errors and checkpoint borders */
    int32_t index; /* INPUT, PARAM: place in the bindings */
    union {
        float scale;
        sn_unary unary;
        struct { float rate; uint32_t stream; } dropout;
        struct { sn_norm kind; float eps; } norm;
        int64_t patch; /* UNFOLD, FOLD */
        struct { bool grad_hidden, grad_head; } loss;
        struct { int axis; int64_t begin; } slice; /* VIEW (axis -1: reshape), PAD, CONCAT */
        sn_attention_attributes attention;
    } u;
} sn_node;

/* How a fresh parameter begins. NORMAL: standard deviation 0.02; UNIFORM: ±1/sqrt(columns), torch's nn.Linear. */
typedef enum sn_init { SN_INIT_ZERO, SN_INIT_ONE, SN_INIT_NORMAL, SN_INIT_UNIFORM } sn_init;

typedef struct sn_parameter {
    const char *name;
    sn_tensor tensor;
    sn_init init;
} sn_parameter;

typedef struct sn_named {
    const char *name;
    sn_tensor tensor;
} sn_named;

typedef struct sn_graph sn_graph;

/* What a connector puts around linear layers (LoRA): given a layer's input, the name of its weight and its result, it
 * gives what takes the result's place. */
typedef sn_tensor sn_around_linear(sn_graph *g, const void *context, const char *weight, sn_tensor x, sn_tensor y);

struct sn_graph {
    sn_arena *arena;
    sn_node *nodes;
    size_t num_nodes, node_capacity;
    const char **scopes;
    size_t num_scopes, scope_capacity;
    int32_t scope;
    sn_named *names; /* named tensors: what `trace` may ask for */
    size_t num_names, name_capacity;
    sn_parameter *params; /* by index of their node */
    size_t num_params, param_capacity;
    int32_t num_inputs;
    sn_around_linear *around; /* NULL = nothing */
    const void *around_context;
    bool recompute; /* sn_gradients computes the blocks ("layers.N") again for their backward part instead of keeping their values */
    sn_error error; /* the first one */
};

sn_graph *sn_graph_new(void);
void sn_graph_free(sn_graph *graph);

static inline const sn_node *sn_at(const sn_graph *g, sn_tensor t) { return &g->nodes[t]; }
static inline int64_t sn_dim(const sn_graph *g, sn_tensor t, int i) { return g->nodes[t].shape.dim[i]; }

/* Keeps the first error, with its scope in front; always SN_NONE. */
sn_tensor sn_graph_fail(sn_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Scopes nest by path; sn_scope_enter gives the scope to leave to. */
int32_t sn_scope_enter(sn_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sn_scope_leave(sn_graph *g, int32_t before);

/* Gives a tensor a public name; it costs nothing unless a plan asks for it. */
void sn_name(sn_graph *g, sn_tensor t, const char *format, ...) __attribute__((format(printf, 3, 4)));
sn_tensor sn_find(const sn_graph *g, const char *name);

sn_shape sn_shape_of(int rank, const int64_t *dims);
#define SN_SHAPE(...) \
    sn_shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
/* Product of dimensions; -1 on a negative dimension or overflow. */
int64_t sn_shape_count(const sn_shape *shape);
bool sn_shape_equal(const sn_shape *a, const sn_shape *b);
/* "[2, 3]" into text. */
const char *sn_shape_text(const sn_shape *shape, char text[96]);
bool sn_is_contiguous(const sn_node *node);

/* ---- leaves ---- */
sn_tensor sn_input(sn_graph *g, sn_type type, sn_shape shape);
/* A parameter of the model, named by its scope: in scope "layers.3", "q.weight" is "layers.3.q.weight". This
 * is the only place where a parameter's canonical name, shape and initial value stand. Asking again for the
 * same name gives the same tensor: tied parameters have one gradient. */
sn_tensor sn_param(sn_graph *g, const char *name, sn_shape shape, sn_init init);

/* ---- views: no data moves ---- */
sn_tensor sn_reshape(sn_graph *g, sn_tensor x, sn_shape shape); /* copies first if x is not contiguous */
sn_tensor sn_slice(sn_graph *g, sn_tensor x, int axis, int64_t begin, int64_t length);
sn_tensor sn_contiguous(sn_graph *g, sn_tensor x);

/* ---- element-wise; b may lack leading dimensions of a ---- */
sn_tensor sn_add(sn_graph *g, sn_tensor a, sn_tensor b);
sn_tensor sn_mul(sn_graph *g, sn_tensor a, sn_tensor b);
sn_tensor sn_scale(sn_graph *g, sn_tensor a, float factor);
/* x with values zeroed at that rate and the others divided by 1 - rate (Srivastava et al., JMLR 15, 2014, as torch.nn.Dropout
 * scales it). keys i32 [groups, 2] say which: rows of x fall into that many groups of equal length, a group's key and
 * `stream`, which tells operators apart, are those of a generator by counter, so that neither the order nor the threads
 * nor what else is in the batch matters, and the derivative draws the same again. */
sn_tensor sn_dropout(sn_graph *g, sn_tensor x, sn_tensor keys, float rate, uint32_t stream);
sn_tensor sn_unary_op(sn_graph *g, sn_unary kind, sn_tensor x);
/* act(gate) * up, both [.., n] */
sn_tensor sn_gated(sn_graph *g, sn_unary kind, sn_tensor gate, sn_tensor up);

/* Norm over the last dimension. weight, bias [n] or SN_NONE. LAYER: (x - mean) / sqrt(var + eps), population
 * variance; RMS: x / sqrt(mean(x²) + eps); L2: x / max(|x|, eps). */
sn_tensor sn_norm_op(sn_graph *g, sn_norm kind, sn_tensor x, sn_tensor weight, sn_tensor bias, float eps);

/* x [.., in] · weightᵀ + bias: weight [out, in…] (trailing dimensions flattened), bias [out] or SN_NONE. */
sn_tensor sn_linear(sn_graph *g, sn_tensor x, sn_tensor weight, sn_tensor bias);

/* Pictures [batch, channels, height, width] to patches [batch, rows * columns, channels * patch * patch]:
 * a convolution with kernel = stride = patch is unfold, then linear. */
sn_tensor sn_unfold(sn_graph *g, sn_tensor pictures, int64_t patch);

/* Joins along an axis; all other dimensions equal. */
sn_tensor sn_concat(sn_graph *g, sn_tensor a, sn_tensor b, int axis);

/* table [rows, n], ids i32 [m] → [m, n]. */
sn_tensor sn_gather_rows(sn_graph *g, sn_tensor table, sn_tensor ids);
/* Copy of a [m, n] whose rows ids[i] are b's [k, n] rows i; ids are distinct. */
sn_tensor sn_scatter_rows(sn_graph *g, sn_tensor a, sn_tensor b, sn_tensor ids);

/* Scaled dot-product attention over packed tokens.
 *   q [tokens, num_heads * head_dim], k and v [tokens, num_kv_heads * head_dim]
 *   row_starts i32 [rows + 1] (or attribute row_length), positions i32 [tokens] where rotary is on.
 * With a cache (cache_layer >= 0): page_table i32 [rows, pages], lengths i32 [rows] = positions already
 * there; the keys of this graph are appended, then each query sees its row up to itself (causal) or to the
 * row's new end (full). Rows with an empty range give zeros. */
typedef struct sn_attention_inputs {
    sn_tensor q, k, v, positions, row_starts, page_table, lengths;
} sn_attention_inputs;
sn_tensor sn_attention(sn_graph *g, const sn_attention_inputs *in, const sn_attention_attributes *attributes);

/* Cross-entropy of hidden [tokens, n] · headᵀ [vocabulary, n] against labels i32 [tokens] (negative =
 * ignored), each token times weights f32 [tokens]: the sum, f32 [1]. Logits are never whole. Gradients are
 * computed in the same visit for those asked for (SN_GRAD_…), which sn_gradients then only scales. */
enum { SN_GRAD_HIDDEN = 1, SN_GRAD_HEAD = 2 };
sn_tensor sn_head_loss(sn_graph *g, sn_tensor hidden, sn_tensor head, sn_tensor labels, sn_tensor weights,
                       int gradients);

/* ---- derivatives ---- */
/* Adds to the graph the gradients of the scalar `loss` [1] by the n tensors `by`; out[i] is SN_NONE where
 * there is no path. Nothing is added for tensors that none of `by` reaches. */
void sn_gradients(sn_graph *g, sn_tensor loss, const sn_tensor *by, int n, sn_tensor *out);

#endif
