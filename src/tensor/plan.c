/* Which nodes, which kernels, which memory. */
#include "tensor/plan.h"

#include "base/clock.h"
#include "tensor/op.h"

#include <math.h>
#include <string.h>

void sn_plan_free(sn_plan *plan) {
    if (!plan) return;
    sn_graph_free(plan->graph);
    sn_free(plan->steps);
    sn_free(plan->place);
    sn_free(plan->scratch);
    sn_free(plan->together);
    sn_free(plan->in_pieces);
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

/* ---- steps in pieces of rows ---- */

enum {
    PIECE = 192,          /* rows of a piece, at most */
    WORTH = 4 << 20,      /* bytes that pieces must save */
    TOGETHER = 8,  /* steps */
};

static int64_t piece_rows(int64_t rows) {
    int64_t pieces = (rows + PIECE - 1) / PIECE;
    return (rows + pieces - 1) / pieces;
}

/* Whether each row of the step's result needs that row of its inputs alone, and parameters. */
static bool is_by_rows(const sn_graph *g, sn_tensor t) {
    const sn_node *node = &g->nodes[t];
    int rows = node->op == SN_OP_GATED ? 2 : node->op == SN_OP_LINEAR || node->op == SN_OP_UNARY ? 1 : 0;
    for (int i = 0; i < node->num_inputs; i++) {
        const sn_node *input = &g->nodes[node->input[i]];
        if (i < rows && (sn_num_rows(input) != sn_num_rows(node) || input->offset != 0 || input->op == SN_OP_PARAM)) return false;
        if (i >= rows && node->input[i] && input->op != SN_OP_PARAM) return false;
    }
    return rows > 0;
}

/* Marks the longest chains of such steps that have something between them which nobody else reads. */
static void find_pieces(sn_plan *plan, const bool *is_output, const sn_tensor *last_use) {
    const sn_graph *g = plan->graph;
    for (size_t s = 0, end; s < plan->num_steps; s = end) {
        int64_t rows = sn_num_rows(&g->nodes[plan->steps[s]]), saved = 0;
        plan->together[s] = 1;
        for (end = s; end < plan->num_steps && end < s + TOGETHER && is_by_rows(g, plan->steps[end]) && sn_num_rows(&g->nodes[plan->steps[end]]) == rows;) end++;
        if (end < s + 2 || rows <= PIECE) {
            end = s + 1;
            continue;
        }
        for (size_t i = s; i < end; i++) {
            sn_tensor t = plan->steps[i];
            plan->together[i] = 1;
            plan->in_pieces[t] = !is_output[t] && last_use[t] <= plan->steps[end - 1];
            if (plan->in_pieces[t]) saved += sn_num_columns(&g->nodes[t]) * (rows - piece_rows(rows)) * plan->backend->real_bytes;
        }
        if (saved >= WORTH) plan->together[s] = (int32_t)(end - s);
        for (size_t i = s; i < end && saved < WORTH; i++) plan->in_pieces[plan->steps[i]] = false;
    }
}

/* The input whose memory the step's result may take: element i of it is read last when element i is written. */
static sn_tensor taken_over(const sn_plan *plan, sn_tensor t, const bool *is_output, const sn_tensor *last_use) {
    const sn_graph *g = plan->graph;
    const sn_node *node = &g->nodes[t];
    bool fits = node->op == SN_OP_UNARY || node->op == SN_OP_GATED || node->op == SN_OP_ADD || node->op == SN_OP_SCALE;
    const sn_node *x = &g->nodes[node->input[0]], *base = &g->nodes[x->base];
    if (!fits || !owns_memory(base) || last_use[x->base] != t || is_output[x->base] || base->type != node->type || x->offset != 0 || !sn_is_contiguous(x) ||
        sn_shape_count(&base->shape) != sn_shape_count(&node->shape) || plan->in_pieces[x->base] != plan->in_pieces[t])
        return SN_NONE;
    if (node->num_inputs > 1 && g->nodes[node->input[1]].base == x->base && node->input[1] != node->input[0]) return SN_NONE;
    return x->base;
}

static int64_t value_bytes(const sn_plan *plan, sn_tensor t) {
    const sn_node *node = &plan->graph->nodes[t];
    int64_t width = node->type == SN_TYPE_F32 ? plan->backend->real_bytes : sn_type_of(node->type)->bytes, count = sn_shape_count(&node->shape);
    if (plan->in_pieces[t]) count = count / sn_num_rows(node) * piece_rows(sn_num_rows(node));
    return count * width;
}

/* Last step that reads each memory-owning node; outputs live to the end. What steps in pieces read or make lives from
 * the first of them to the last. */
static bool place_all(sn_plan *plan, const bool *is_output, sn_tensor *last_use) {
    const sn_graph *g = plan->graph;
    for (size_t s = 0; s < plan->num_steps; s++) {
        sn_tensor t = plan->steps[s];
        last_use[t] = t;
        for (int i = 0; i < g->nodes[t].num_inputs; i++)
            if (g->nodes[t].input[i]) last_use[g->nodes[g->nodes[t].input[i]].base] = t;
    }
    find_pieces(plan, is_output, last_use);
    layout l = {0};
    /* what dies after each step, as chains: first[step], then next; whose memory a result takes over */
    sn_tensor *next = sn_alloc(g->num_nodes, sizeof *next), *first = sn_alloc(g->num_nodes, sizeof *first), *heir = sn_alloc(g->num_nodes, sizeof *heir);
    bool *gone = sn_alloc(g->num_nodes, sizeof *gone), ok = next && first && heir && gone;
    for (size_t s = 0; ok && s < plan->num_steps; s++) heir[plan->steps[s]] = taken_over(plan, plan->steps[s], is_output, last_use);
    for (size_t s = 0; ok && s < plan->num_steps; s += (size_t)plan->together[s]) {
        sn_tensor last = plan->steps[s + (size_t)plan->together[s] - 1];
        for (int32_t i = 0; i < plan->together[s]; i++) {
            const sn_node *node = &g->nodes[plan->steps[s + (size_t)i]];
            if (last_use[plan->steps[s + (size_t)i]] < last) last_use[plan->steps[s + (size_t)i]] = last;
            for (int k = 0; k < node->num_inputs; k++) {
                sn_tensor base = g->nodes[node->input[k]].base;
                if (node->input[k] && last_use[base] < last) last_use[base] = last;
            }
        }
    }
    for (size_t s = 0; ok && s < plan->num_steps; s++) {
        sn_tensor t = plan->steps[s];
        if (is_output[t]) continue;
        next[t] = first[last_use[t]], first[last_use[t]] = t;
    }
    for (size_t s = 0; ok && s < plan->num_steps;) {
        size_t end = s + (size_t)plan->together[s];
        for (size_t i = s; i < end && ok; i++) {
            sn_tensor t = plan->steps[i];
            if (heir[t]) gone[heir[t]] = true;
            plan->place[t] = heir[t] ? plan->place[heir[t]] : place_block(&l, value_bytes(plan, t));
            ok = plan->place[t] >= 0;
        }
        for (size_t i = s; i < end && ok; i++) {
            sn_tensor t = plan->steps[i];
            sn_scratch_size *scratch = plan->backend->scratch[g->nodes[t].op];
            size_t wanted = scratch ? scratch(plan, t) : 0;
            if (!wanted) continue;
            plan->scratch[t] = place_block(&l, (int64_t)wanted);
            ok = plan->scratch[t] >= 0;
            if (ok) release_block(&l, plan->scratch[t]);
        }
        for (; s < end; s++)
            for (sn_tensor dead = first[plan->steps[s]]; ok && dead; dead = next[dead])
                if (!gone[dead]) release_block(&l, plan->place[dead]);
    }
    plan->bytes = (size_t)l.peak;
    sn_free(l.live);
    sn_free(next);
    sn_free(first);
    sn_free(heir);
    sn_free(gone);
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
    plan->together = sn_alloc(g->num_nodes, sizeof *plan->together);
    plan->in_pieces = sn_alloc(g->num_nodes, sizeof *plan->in_pieces);
    if (!needed || !is_output || !last_use || !plan->steps || !plan->place || !plan->scratch || !plan->together || !plan->in_pieces) {
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
    if (!run->rows || m.rows != run->all_rows || run->plan->graph->nodes[node->base].op == SN_OP_PARAM) return m;
    m.rows = run->rows;
    if (!run->plan->in_pieces[node->base]) m.data = (char *)m.data + run->first_row * m.stride * run->plan->backend->real_bytes;
    return m;
}

/* The error for a step whose result holds infinities or NaN. */
static sn_status check_result(const sn_run *run, sn_tensor t, sn_error *error) {
    const sn_graph *g = run->plan->graph;
    const sn_node *node = &g->nodes[t];
    if (node->type != SN_TYPE_F32 || run->plan->backend->real_bytes != sizeof(float)) return SN_OK;
    sn_matrix values = sn_run_matrix(run, t);
    int64_t count = values.rows * values.columns, bad = 0;
    for (int64_t i = 0; i < count; i++) bad += !isfinite(((const float *)values.data)[i]);
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

/* One step, of the run's rows where it is in pieces. */
static sn_status run_step(const sn_run *run, sn_tensor t, double *seconds, sn_error *error) {
    const sn_bindings *bind = run->bind;
    if (bind->cancel && atomic_load_explicit(bind->cancel, memory_order_relaxed)) return sn_fail(error, SN_ERROR_CANCELLED, "cancelled");
    double begin = bind->observe ? sn_seconds() : 0;
    run->plan->backend->kernel[run->plan->graph->nodes[t].op](run, t);
    if (bind->observe) *seconds += sn_seconds() - begin;
    return bind->check ? check_result(run, t, error) : SN_OK;
}

sn_status sn_plan_run(const sn_plan *plan, const sn_bindings *bindings, char *memory, sn_error *error) {
    sn_run run = {.plan = plan, .bind = bindings, .memory = memory};
    sn_status status = SN_OK;
    for (size_t s = 0, end; s < plan->num_steps && !status; s = end) {
        end = s + (size_t)plan->together[s];
        int64_t rows = sn_num_rows(&plan->graph->nodes[plan->steps[s]]), piece = end > s + 1 ? piece_rows(rows) : 0;
        double seconds[TOGETHER] = {0};
        sn_run part = run;
        do {
            if (piece) part.all_rows = rows, part.rows = piece < rows - part.first_row ? piece : rows - part.first_row;
            for (size_t i = s; i < end && !status; i++) status = run_step(&part, plan->steps[i], &seconds[i - s], error);
            part.first_row += piece;
        } while (piece && part.first_row < rows && !status);
        for (size_t i = s; i < end && bindings->observe && !status; i++) bindings->observe(bindings->observer, &run, plan->steps[i], seconds[i - s]);
        for (size_t i = s; i < end && bindings->finished && !status; i++) bindings->finished(bindings->listener, &run, plan->steps[i]);
    }
    return status;
}
