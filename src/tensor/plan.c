/* Which nodes, which kernels, which memory. */
#include "tensor/plan.h"

#include "tensor/op.h"

#include <math.h>
#include <string.h>
#include <time.h>

void sn_plan_free(sn_plan *plan) {
    if (!plan) return;
    sn_graph_free(plan->graph);
    sn_free(plan->steps);
    sn_free(plan->place);
    sn_free(plan->scratch);
    sn_free(plan);
}

static bool owns_memory(const sn_node *node) { return node->op > SN_OP_PARAM && node->op != SN_OP_VIEW; }

/* ---- memory: best fit among the holes between live blocks ---- */

typedef struct block {
    int64_t begin, end;
} block;

typedef struct layout {
    block *live; /* sorted by begin */
    size_t count, capacity;
    int64_t peak;
} layout;

static int64_t place_block(layout *l, int64_t bytes) {
    bytes = (bytes + 63) & ~(int64_t)63;
    if (bytes == 0) bytes = 64;
    if (!sn_grow((void **)&l->live, &l->capacity, l->count + 1, sizeof *l->live)) return -1;
    size_t best = l->count;
    int64_t best_begin = l->count ? l->live[l->count - 1].end : 0, best_hole = INT64_MAX, end = 0;
    for (size_t i = 0; i < l->count; i++) {
        int64_t hole = l->live[i].begin - end;
        if (hole >= bytes && hole < best_hole) best = i, best_begin = end, best_hole = hole;
        end = l->live[i].end;
    }
    memmove(l->live + best + 1, l->live + best, (l->count - best) * sizeof *l->live);
    l->live[best] = (block){best_begin, best_begin + bytes};
    l->count++;
    if (best_begin + bytes > l->peak) l->peak = best_begin + bytes;
    return best_begin;
}

static void release_block(layout *l, int64_t begin) {
    for (size_t i = 0; i < l->count; i++)
        if (l->live[i].begin == begin) {
            memmove(l->live + i, l->live + i + 1, (l->count - i - 1) * sizeof *l->live);
            l->count--;
            return;
        }
}

/* Last step that reads each memory-owning node; outputs live to the end. */
static bool place_all(sn_plan *plan, const bool *is_output, sn_tensor *last_use) {
    const sn_graph *g = plan->graph;
    for (size_t s = 0; s < plan->num_steps; s++) {
        sn_tensor t = plan->steps[s];
        last_use[t] = t;
        for (int i = 0; i < g->nodes[t].num_inputs; i++)
            if (g->nodes[t].input[i]) last_use[g->nodes[g->nodes[t].input[i]].base] = t;
    }
    layout l = {0};
    bool ok = true;
    /* what dies after each step, as chains: first[step], then next */
    sn_tensor *next = sn_alloc(g->num_nodes, sizeof *next), *first = sn_alloc(g->num_nodes, sizeof *first);
    if (!next || !first) ok = false;
    for (size_t s = 0; ok && s < plan->num_steps; s++) {
        sn_tensor t = plan->steps[s];
        if (is_output[t]) continue;
        next[t] = first[last_use[t]], first[last_use[t]] = t;
    }
    for (size_t s = 0; ok && s < plan->num_steps; s++) {
        sn_tensor t = plan->steps[s];
        const sn_node *node = &g->nodes[t];
        int64_t width = node->type == SN_TYPE_F32 ? plan->backend->real_bytes : sn_type_of(node->type)->bytes;
        plan->place[t] = place_block(&l, sn_shape_count(&node->shape) * width);
        sn_scratch_size *scratch = plan->backend->scratch[node->op];
        size_t wanted = scratch ? scratch(plan, t) : 0;
        if (wanted) {
            plan->scratch[t] = place_block(&l, (int64_t)wanted);
            if (plan->scratch[t] >= 0) release_block(&l, plan->scratch[t]);
        }
        ok = plan->place[t] >= 0 && (!wanted || plan->scratch[t] >= 0);
        for (sn_tensor dead = first[t]; dead; dead = next[dead]) release_block(&l, plan->place[dead]);
    }
    plan->bytes = (size_t)l.peak;
    sn_free(l.live);
    sn_free(next);
    sn_free(first);
    return ok;
}

sn_status sn_plan_new(sn_graph *g, const sn_backend *backend, int threads, const sn_tensor *outputs, int num_outputs,
                      sn_plan **out, sn_error *error) {
    *out = NULL;
    sn_plan *plan = sn_alloc(1, sizeof *plan);
    bool *needed = NULL, *is_output = NULL;
    sn_tensor *last_use = NULL;
    sn_status status = SN_OK;
    if (!plan) {
        sn_graph_free(g);
        return sn_fail_memory(error);
    }
    plan->graph = g, plan->backend = backend, plan->threads = threads;
    if (g->error.status) {
        status = sn_fail(error, g->error.status, "%s", g->error.message);
        goto done;
    }
    needed = sn_alloc(g->num_nodes, sizeof *needed);
    is_output = sn_alloc(g->num_nodes, sizeof *is_output);
    last_use = sn_alloc(g->num_nodes, sizeof *last_use);
    plan->steps = sn_alloc(g->num_nodes, sizeof *plan->steps);
    plan->place = sn_alloc(g->num_nodes, sizeof *plan->place);
    plan->scratch = sn_alloc(g->num_nodes, sizeof *plan->scratch);
    if (!needed || !is_output || !last_use || !plan->steps || !plan->place || !plan->scratch) {
        status = sn_fail_memory(error);
        goto done;
    }
    for (int i = 0; i < num_outputs; i++)
        if (outputs[i]) needed[outputs[i]] = true, is_output[g->nodes[outputs[i]].base] = true;
    for (size_t t = g->num_nodes; t-- > 1;)
        if (needed[t])
            for (int i = 0; i < g->nodes[t].num_inputs; i++) needed[g->nodes[t].input[i]] = true;
    for (size_t t = 1; t < g->num_nodes; t++) {
        const sn_node *node = &g->nodes[t];
        plan->place[t] = plan->scratch[t] = -1;
        if (!needed[t] || !owns_memory(node)) continue;
        if (!backend->kernel[node->op]) {
            status = sn_fail(error, SN_ERROR_SUPPORT, "%s: operator %d has no kernel in backend %s", g->scopes[node->scope],
                             (int)node->op, backend->name);
            goto done;
        }
        plan->steps[plan->num_steps++] = (sn_tensor)t;
    }
    if (!place_all(plan, is_output, last_use)) status = sn_fail_memory(error);
done:
    sn_free(needed);
    sn_free(is_output);
    sn_free(last_use);
    if (status)
        sn_plan_free(plan);
    else
        *out = plan;
    return status;
}

void *sn_run_data(const sn_run *run, sn_tensor t) {
    const sn_graph *g = run->plan->graph;
    const sn_node *node = &g->nodes[t], *base = &g->nodes[node->base];
    int64_t width = node->type == SN_TYPE_F32 ? run->plan->backend->real_bytes : sn_type_of(node->type)->bytes;
    char *data;
    if (base->op == SN_OP_INPUT) {
        data = (char *)(uintptr_t)run->bind->inputs[base->index];
    } else if (base->op == SN_OP_PARAM) {
        sn_weight *w = run->bind->params[base->index];
        data = w->type == SN_TYPE_F64 && width == 8 ? (char *)(uintptr_t)w->part[0].data : (char *)(uintptr_t)sn_weight_floats(w);
    } else {
        data = run->memory + run->plan->place[node->base];
    }
    return data + node->offset * width;
}

sn_matrix sn_run_matrix(const sn_run *run, sn_tensor t) {
    const sn_node *node = &run->plan->graph->nodes[t];
    int rank = node->shape.rank;
    sn_matrix m = {.data = sn_run_data(run, t), .rows = sn_num_rows(node), .columns = sn_num_columns(node)};
    m.stride = rank > 1 ? node->stride[rank - 2] : m.columns;
    return m;
}

/* The error for a step whose result holds infinities or NaN (decisions D20). */
static sn_status check_result(const sn_run *run, sn_tensor t, sn_error *error) {
    const sn_graph *g = run->plan->graph;
    const sn_node *node = &g->nodes[t];
    if (node->type != SN_TYPE_F32 || run->plan->backend->real_bytes != sizeof(float)) return SN_OK;
    const float *values = sn_run_data(run, t);
    int64_t count = sn_shape_count(&node->shape), bad = 0;
    for (int64_t i = 0; i < count; i++) bad += !isfinite(values[i]);
    if (!bad) return SN_OK;
    const char *weight = g->scopes[node->scope];
    for (int i = 0; i < node->num_inputs; i++)
        if (node->input[i] && g->nodes[node->input[i]].op == SN_OP_PARAM) {
            weight = g->params[g->nodes[node->input[i]].index].name;
            break;
        }
    return sn_fail(error, SN_ERROR_NUMERIC, "%s: %lld of %lld values computed with it are not finite; `sensorium inspect --verify` counts NaN in the weights", weight,
                   (long long)bad, (long long)count);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

sn_status sn_plan_run(const sn_plan *plan, const sn_bindings *bindings, char *memory, sn_error *error) {
    sn_run run = {.plan = plan, .bind = bindings, .memory = memory};
    for (size_t s = 0; s < plan->num_steps; s++) {
        if (bindings->cancel && atomic_load_explicit(bindings->cancel, memory_order_relaxed))
            return sn_fail(error, SN_ERROR_CANCELLED, "cancelled");
        sn_tensor t = plan->steps[s];
        double begin = bindings->observe ? now() : 0;
        plan->backend->kernel[plan->graph->nodes[t].op](&run, t);
        if (bindings->observe) bindings->observe(bindings->observer, &run, t, now() - begin);
        sn_status status = bindings->check ? check_result(&run, t, error) : SN_OK;
        if (status) return status;
    }
    return SN_OK;
}
