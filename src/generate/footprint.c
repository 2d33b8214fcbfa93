/* Memory is known before it is taken: the plans are made, but not run; weights say which bytes a run will touch. */
#include "generate/footprint.h"

#include "generate/lm_session.h"

#include <string.h>

enum { FAULT_AROUND = 64 << 10 }; /* a first touch of a mapped file brings in that much around it */

int64_t sn_footprint_total(const sn_footprint *f) { return f->weights + f->derived + f->floats + f->plan + f->cache + f->buffers; }

/* How the graph reads a parameter: matrices of products and tables of rows are read as they are stored; everything
 * else wants floats. */
typedef struct use {
    bool as_matrix, as_rows, as_floats;
} use;

static void find_uses(const sn_graph *g, use *uses) {
    for (size_t i = 0; i < g->num_nodes; i++) {
        const sn_node *n = &g->nodes[i];
        for (int k = 0; k < n->num_inputs; k++) {
            sn_tensor in = n->input[k];
            while (g->nodes[in].op == SN_OP_VIEW) in = g->nodes[in].base;
            if (g->nodes[in].op != SN_OP_PARAM || n->op == SN_OP_VIEW) continue;
            use *u = &uses[g->nodes[in].index];
            if (n->op == SN_OP_LINEAR && k == 1) u->as_matrix = true;
            else if (n->op == SN_OP_GATHER_ROWS && k == 0) u->as_rows = true;
            else u->as_floats = true;
        }
    }
}

static void add_weight(const sn_weight *w, const use *u, int64_t positions, sn_footprint *out) {
    int64_t row = 0;
    sn_type_bytes(w->type, w->columns, &row);
    int64_t bytes = row * w->rows, around = row > FAULT_AROUND ? row : FAULT_AROUND;
    if (w->make) out->derived += bytes;
    else if (u->as_rows && !u->as_matrix && !u->as_floats && positions < bytes / around) out->weights += positions * around;
    else out->weights += bytes;
    if (u->as_floats && w->type != SN_TYPE_F32) out->floats += 4 * w->rows * w->columns;
}

static sn_status add_weights(sn_model *m, int64_t positions, sn_footprint *out, sn_error *error) {
    sn_graph *g = sn_graph_new();
    if (!g) return sn_fail_memory(error);
    m->system->parameters(g, m);
    use *uses = sn_alloc(g->num_params + 1, sizeof *uses);
    sn_status status = g->error.status ? sn_fail(error, g->error.status, "%s", g->error.message) : uses ? SN_OK : sn_fail_memory(error);
    if (!status) find_uses(g, uses);
    for (size_t i = 0; i < g->num_params && !status; i++) {
        const sn_store_entry *entry = sn_store_find(m->store, g->params[i].name);
        if (!entry) status = sn_fail(error, SN_ERROR_INPUT, "the model has no parameter %s", g->params[i].name);
        else add_weight(&entry->weight, &uses[i], positions, out);
    }
    sn_free(uses);
    sn_graph_free(g);
    return status;
}

static void largest(int64_t *most, size_t bytes) {
    if ((int64_t)bytes > *most) *most = (int64_t)bytes;
}

sn_status sn_footprint_of(sn_model *m, int64_t positions, sn_footprint *out, sn_error *error) {
    *out = (sn_footprint){0};
    size_t bytes = 0;
    int64_t pixels = m->has_vision ? 3 * m->image_size * m->image_size * 4 : 0, rows = m->media_positions * m->lm.hidden_size * 4;
    sn_status status = add_weights(m, positions, out, error);
    if (!status && m->has_vision && m->system->encode) status = sn_model_encode_memory(m, 1, &bytes, error);
    largest(&out->plan, bytes);
    out->buffers = pixels + 2 * rows; /* the rows are kept, and handed to the prompt */
    if (status || !m->has_lm) return status;
    sn_lm_session session;
    int64_t media = m->media_positions < positions ? m->media_positions : 0;
    if ((status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, sn_engine_compute(m->engine, m->store), error))) return status;
    status = sn_lm_extend_memory(&session, positions, media, &bytes, error);
    largest(&out->plan, bytes);
    out->cache = (positions + SN_PAGE_POSITIONS - 1) / SN_PAGE_POSITIONS * (int64_t)session.cache->page_bytes;
    out->buffers += 2 * 4 * m->lm.vocab_size;
    sn_lm_session_close(&session);
    return status;
}
