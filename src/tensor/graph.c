/* Nodes, scopes, names, shapes and views. */
#include "tensor/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

sn_graph *sn_graph_new(void) {
    sn_graph *g = sn_alloc(1, sizeof *g);
    if (!g) return NULL;
    g->arena = sn_arena_new();
    g->num_nodes = 1; /* node 0 means "none" */
    if (!g->arena || !sn_grow((void **)&g->nodes, &g->node_capacity, 256, sizeof *g->nodes) ||
        !sn_grow((void **)&g->scopes, &g->scope_capacity, 64, sizeof *g->scopes)) {
        sn_graph_free(g);
        return NULL;
    }
    g->scopes[g->num_scopes++] = "";
    return g;
}

void sn_graph_free(sn_graph *g) {
    if (!g) return;
    sn_arena_free(g->arena);
    sn_free(g->nodes);
    sn_free(g->scopes);
    sn_free(g->names);
    sn_free(g->params);
    sn_free(g);
}

sn_tensor sn_graph_fail(sn_graph *g, const char *format, ...) {
    if (g->error.status) return SN_NONE;
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *scope = g->scopes[g->scope];
    sn_fail(&g->error, SN_ERROR_INPUT, "%s%s%s", scope, scope[0] ? ": " : "", text);
    return SN_NONE;
}

int32_t sn_scope_enter(sn_graph *g, const char *format, ...) {
    int32_t before = g->scope;
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const char *outer = g->scopes[before];
    char *path = sn_arena_format(g->arena, "%s%s%s", outer, outer[0] ? "." : "", name);
    if (!path || !sn_grow((void **)&g->scopes, &g->scope_capacity, g->num_scopes + 1, sizeof *g->scopes)) {
        sn_graph_fail(g, "out of memory");
        return before;
    }
    g->scopes[g->num_scopes] = path;
    g->scope = (int32_t)g->num_scopes++;
    return before;
}

void sn_scope_leave(sn_graph *g, int32_t before) { g->scope = before; }

void sn_name(sn_graph *g, sn_tensor t, const char *format, ...) {
    if (t == SN_NONE) return;
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    char *copy = sn_arena_strdup(g->arena, name);
    if (!copy || !sn_grow((void **)&g->names, &g->name_capacity, g->num_names + 1, sizeof *g->names)) {
        sn_graph_fail(g, "out of memory");
        return;
    }
    g->names[g->num_names++] = (sn_named){copy, t};
}

sn_tensor sn_find(const sn_graph *g, const char *name) {
    for (size_t i = 0; i < g->num_names; i++)
        if (strcmp(g->names[i].name, name) == 0) return g->names[i].tensor;
    return SN_NONE;
}

/* ---- shapes ---- */

sn_shape sn_shape_of(int rank, const int64_t *dims) {
    sn_shape shape = {.rank = rank};
    for (int i = 0; i < rank && i < SN_MAX_RANK; i++) shape.dim[i] = dims[i];
    return shape;
}

int64_t sn_shape_count(const sn_shape *shape) {
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] < 0 || __builtin_mul_overflow(count, shape->dim[i], &count)) return -1;
    return count > (int64_t)1 << 48 ? -1 : count;
}

bool sn_shape_equal(const sn_shape *a, const sn_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

const char *sn_shape_text(const sn_shape *shape, char text[96]) {
    int used = snprintf(text, 96, "[");
    for (int i = 0; i < shape->rank && used < 80; i++)
        used += snprintf(text + used, 96 - (size_t)used, "%s%lld", i ? ", " : "", (long long)shape->dim[i]);
    snprintf(text + used, 96 - (size_t)used, "]");
    return text;
}

static void make_contiguous(sn_node *node) {
    int64_t stride = 1;
    for (int i = node->shape.rank - 1; i >= 0; i--) {
        node->stride[i] = stride;
        stride *= node->shape.dim[i];
    }
}

bool sn_is_contiguous(const sn_node *node) {
    int64_t stride = 1;
    for (int i = node->shape.rank - 1; i >= 0; i--) {
        if (node->shape.dim[i] != 1 && node->stride[i] != stride) return false;
        stride *= node->shape.dim[i];
    }
    return true;
}

int64_t sn_num_columns(const sn_node *node) {
    return node->shape.rank ? node->shape.dim[node->shape.rank - 1] : 1;
}

int64_t sn_num_rows(const sn_node *node) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < node->shape.rank; i++) rows *= node->shape.dim[i];
    return rows;
}

bool sn_is_rows(const sn_node *node) {
    int rank = node->shape.rank;
    if (rank && node->shape.dim[rank - 1] != 1 && node->stride[rank - 1] != 1) return false;
    for (int i = rank - 3; i >= 0; i--)
        if (node->shape.dim[i] != 1 && node->stride[i] != node->stride[i + 1] * node->shape.dim[i + 1]) return false;
    return true;
}

/* ---- nodes ---- */

sn_tensor sn_new_node(sn_graph *g, sn_op op, sn_shape shape, int num_inputs, const sn_tensor *inputs) {
    if (g->error.status) return SN_NONE;
    if (shape.rank > SN_MAX_RANK || sn_shape_count(&shape) < 0) {
        char text[96];
        return sn_graph_fail(g, "impossible shape %s", sn_shape_text(&shape, text));
    }
    if (g->num_nodes >= 1u << 24 || num_inputs > SN_MAX_INPUTS ||
        !sn_grow((void **)&g->nodes, &g->node_capacity, g->num_nodes + 1, sizeof *g->nodes))
        return sn_graph_fail(g, "out of memory");
    sn_tensor t = (sn_tensor)g->num_nodes++;
    sn_node *node = &g->nodes[t];
    *node = (sn_node){.op = op, .type = SN_TYPE_F32, .shape = shape, .base = t, .num_inputs = num_inputs, .scope = g->scope};
    for (int i = 0; i < num_inputs; i++) node->input[i] = inputs[i];
    make_contiguous(node);
    return t;
}

sn_tensor sn_input(sn_graph *g, sn_type type, sn_shape shape) {
    sn_tensor t = sn_new_node(g, SN_OP_INPUT, shape, 0, NULL);
    if (t) g->nodes[t].type = type, g->nodes[t].index = g->num_inputs++;
    return t;
}

sn_tensor sn_param(sn_graph *g, const char *name, sn_shape shape, sn_init init) {
    if (g->error.status) return SN_NONE;
    const char *scope = g->scopes[g->scope];
    const char *path = sn_arena_format(g->arena, "%s%s%s", scope, scope[0] ? "." : "", name);
    if (!path) return sn_graph_fail(g, "out of memory");
    for (size_t i = 0; i < g->num_params; i++)
        if (strcmp(g->params[i].name, path) == 0) return g->params[i].tensor;
    if (!sn_grow((void **)&g->params, &g->param_capacity, g->num_params + 1, sizeof *g->params))
        return sn_graph_fail(g, "out of memory");
    sn_tensor t = sn_new_node(g, SN_OP_PARAM, shape, 0, NULL);
    if (!t) return SN_NONE;
    g->nodes[t].index = (int32_t)g->num_params;
    g->params[g->num_params++] = (sn_parameter){path, t, init};
    return t;
}

/* ---- views ---- */

static sn_tensor new_view(sn_graph *g, sn_tensor x, sn_shape shape) {
    sn_tensor t = SN_NODE(g, SN_OP_VIEW, shape, x);
    if (t) {
        g->nodes[t].type = g->nodes[x].type;
        g->nodes[t].base = g->nodes[x].base;
        g->nodes[t].offset = g->nodes[x].offset;
    }
    return t;
}

sn_tensor sn_contiguous(sn_graph *g, sn_tensor x) {
    if (x == SN_NONE || sn_is_contiguous(sn_at(g, x))) return x;
    sn_tensor t = SN_NODE(g, SN_OP_COPY, sn_at(g, x)->shape, x);
    if (t) g->nodes[t].type = g->nodes[x].type;
    return t;
}

void sn_copy_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_grad_add(g, grad, sn_at(g, y)->input[0], dy);
}

sn_tensor sn_as_rows(sn_graph *g, sn_tensor x) {
    return x == SN_NONE || sn_is_rows(sn_at(g, x)) ? x : sn_contiguous(g, x);
}

sn_tensor sn_reshape(sn_graph *g, sn_tensor x, sn_shape shape) {
    if (x == SN_NONE) return SN_NONE;
    if (sn_shape_count(&shape) != sn_shape_count(&sn_at(g, x)->shape)) {
        char from[96], to[96];
        return sn_graph_fail(g, "cannot see %s as %s", sn_shape_text(&sn_at(g, x)->shape, from), sn_shape_text(&shape, to));
    }
    sn_tensor t = new_view(g, sn_contiguous(g, x), shape);
    if (t) g->nodes[t].u.slice.axis = -1;
    return t;
}

sn_tensor sn_slice(sn_graph *g, sn_tensor x, int axis, int64_t begin, int64_t length) {
    if (x == SN_NONE) return SN_NONE;
    sn_shape shape = sn_at(g, x)->shape;
    if (axis < 0 || axis >= shape.rank || begin < 0 || length < 0 || begin > shape.dim[axis] - length)
        return sn_graph_fail(g, "slice %lld+%lld outside dimension %d", (long long)begin, (long long)length, axis);
    if (length == shape.dim[axis]) return x;
    const sn_node *padded = sn_at(g, x); /* the slice that was padded is at hand: the padding is then never computed */
    if (padded->op == SN_OP_PAD && padded->u.slice.axis == axis && padded->u.slice.begin == begin &&
        sn_dim(g, padded->input[0], axis) == length)
        return padded->input[0];
    shape.dim[axis] = length;
    sn_tensor t = new_view(g, x, shape);
    if (!t) return SN_NONE;
    memcpy(g->nodes[t].stride, g->nodes[x].stride, sizeof g->nodes[t].stride);
    g->nodes[t].offset += begin * g->nodes[x].stride[axis];
    g->nodes[t].u.slice.axis = axis, g->nodes[t].u.slice.begin = begin;
    return t;
}

static sn_tensor pad(sn_graph *g, sn_tensor x, sn_shape shape, int axis, int64_t begin) {
    x = sn_contiguous(g, x);
    sn_tensor t = SN_NODE(g, SN_OP_PAD, shape, x);
    if (t) g->nodes[t].u.slice.axis = axis, g->nodes[t].u.slice.begin = begin;
    return t;
}

void sn_view_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node view = *sn_at(g, y);
    sn_tensor x = view.input[0];
    if (view.u.slice.axis < 0)
        sn_grad_add(g, grad, x, sn_reshape(g, dy, sn_at(g, x)->shape));
    else
        sn_grad_add(g, grad, x, pad(g, dy, sn_at(g, x)->shape, view.u.slice.axis, view.u.slice.begin));
}

void sn_pad_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    int axis = node.u.slice.axis;
    sn_grad_add(g, grad, node.input[0], sn_slice(g, dy, axis, node.u.slice.begin, sn_dim(g, node.input[0], axis)));
}

sn_tensor sn_concat(sn_graph *g, sn_tensor a, sn_tensor b, int axis) {
    if (a == SN_NONE || b == SN_NONE) return SN_NONE;
    sn_shape shape = sn_at(g, a)->shape, other = sn_at(g, b)->shape;
    bool fits = shape.rank == other.rank && axis >= 0 && axis < shape.rank;
    for (int i = 0; fits && i < shape.rank; i++) fits = i == axis || shape.dim[i] == other.dim[i];
    if (!fits) return sn_graph_fail(g, "cannot join along dimension %d", axis);
    shape.dim[axis] += other.dim[axis];
    a = sn_contiguous(g, a), b = sn_contiguous(g, b);
    sn_tensor t = SN_NODE(g, SN_OP_CONCAT, shape, a, b);
    if (t) g->nodes[t].u.slice.axis = axis;
    return t;
}

void sn_concat_derivative(sn_graph *g, sn_grad *grad, sn_tensor y, sn_tensor dy) {
    sn_node node = *sn_at(g, y);
    int axis = node.u.slice.axis;
    int64_t first = sn_dim(g, node.input[0], axis);
    sn_grad_add(g, grad, node.input[0], sn_slice(g, dy, axis, 0, first));
    sn_grad_add(g, grad, node.input[1], sn_slice(g, dy, axis, first, sn_dim(g, node.input[1], axis)));
}
