/* Pages for the new tokens, the graph of so many tokens in so many rows, one run. */
#include "generate/lm_session.h"

#include "runtime/trace.h"

#include <math.h>
#include <string.h>

sn_status sn_lm_session_open(sn_lm_session *s, sn_engine *engine, sn_store *store, const sn_lm *lm, sn_type cache_type, sn_error *error) {
    *s = (sn_lm_session){.engine = engine, .store = store, .lm = *lm};
    return sn_kv_cache_new(cache_type, (int)lm->num_layers, lm->num_kv_heads, lm->head_dim, &s->cache, error);
}

void sn_lm_session_close(sn_lm_session *s) {
    sn_kv_cache_free(s->cache);
    s->cache = NULL;
}

void sn_sequence_free(sn_lm_session *s, sn_sequence *q) {
    for (size_t i = 0; i < q->num_pages; i++) sn_kv_page_drop(s->cache, q->pages[i]);
    sn_free(q->pages);
    *q = (sn_sequence){0};
}

sn_status sn_sequence_fork(sn_lm_session *s, const sn_sequence *from, sn_sequence *to, sn_error *error) {
    *to = (sn_sequence){0};
    if (!sn_grow((void **)&to->pages, &to->capacity, from->num_pages, sizeof *to->pages)) return sn_fail_memory(error);
    for (size_t i = 0; i < from->num_pages; i++) sn_kv_page_hold(s->cache, to->pages[i] = from->pages[i]);
    to->num_pages = from->num_pages, to->length = from->length;
    return SN_OK;
}

void sn_sequence_cut(sn_lm_session *s, sn_sequence *q, int32_t length) {
    if (length >= q->length) return;
    size_t keep = ((size_t)length + SN_PAGE_POSITIONS - 1) / SN_PAGE_POSITIONS;
    while (q->num_pages > keep) sn_kv_page_drop(s->cache, q->pages[--q->num_pages]);
    q->length = length;
}

/* Pages for `count` more positions; the page that is written into becomes the sequence's own. */
static sn_status reserve(sn_lm_session *s, sn_sequence *q, int64_t count, sn_error *error) {
    if (q->length % SN_PAGE_POSITIONS && s->cache->count[q->pages[q->num_pages - 1]] > 1) {
        int32_t own = sn_kv_page_copy(s->cache, q->pages[q->num_pages - 1]);
        if (own < 0) return sn_fail_memory(error);
        sn_kv_page_drop(s->cache, q->pages[q->num_pages - 1]);
        q->pages[q->num_pages - 1] = own;
    }
    size_t need = (size_t)((q->length + count + SN_PAGE_POSITIONS - 1) / SN_PAGE_POSITIONS);
    if (!sn_grow((void **)&q->pages, &q->capacity, need, sizeof *q->pages)) return sn_fail_memory(error);
    while (q->num_pages < need) {
        int32_t page = sn_kv_page_take(s->cache);
        if (page < 0) return sn_fail_memory(error);
        q->pages[q->num_pages++] = page;
    }
    return SN_OK;
}

typedef struct step {
    const sn_lm *lm;
    int64_t tokens, rows, pages, media;
    bool all, logits, query;
} step;

static void build(sn_graph *g, const void *context) {
    const step *s = context;
    sn_tensor ids = sn_input(g, SN_TYPE_I32, SN_SHAPE(s->tokens));
    sn_lm_inputs in = {.positions = sn_input(g, SN_TYPE_I32, SN_SHAPE(s->tokens)), .row_starts = sn_input(g, SN_TYPE_I32, SN_SHAPE(s->rows + 1)),
                       .page_table = sn_input(g, SN_TYPE_I32, SN_SHAPE(s->rows, s->pages)), .lengths = sn_input(g, SN_TYPE_I32, SN_SHAPE(s->rows))};
    sn_tensor last = sn_input(g, SN_TYPE_I32, SN_SHAPE(s->rows));
    sn_tensor x = s->lm->embed(g, s->lm->config, ids);
    if (s->media) {
        sn_tensor media = sn_input(g, SN_TYPE_F32, SN_SHAPE(s->media, s->lm->hidden_size));
        x = sn_scatter_rows(g, x, media, sn_input(g, SN_TYPE_I32, SN_SHAPE(s->media)));
    }
    sn_name(g, x, "lm.inputs_embeds");
    if (s->query && !(in.hidden = sn_arena_alloc(g->arena, (size_t)s->lm->num_layers, sizeof *in.hidden))) sn_graph_fail(g, "out of memory");
    if (s->query && !in.hidden) return;
    x = s->lm->forward(g, s->lm->config, x, &in);
    if (s->query) {
        sn_name(g, x, "lm.last_hidden");
        x = s->lm->query(g, s->lm->query_config, in.hidden, x);
        sn_name(g, s->all ? x : sn_gather_rows(g, x, last), "query");
        return;
    }
    if (!s->logits) {
        sn_name(g, sn_gather_rows(g, x, last), "hidden");
        return;
    }
    if (!s->all) x = sn_gather_rows(g, x, last);
    sn_tensor logits = sn_linear(g, x, s->lm->head(g, s->lm->config), SN_NONE);
    sn_name(g, logits, "logits");
    if (s->all) sn_name(g, logits, "lm.logits");
}

static sn_status program_of(sn_lm_session *s, const step *st, sn_program **out, sn_error *error) {
    sn_program_key key = {.owner = s->store, .part = st->query ? st->all ? "lm query all" : "lm query" : st->all ? "lm all" : st->logits ? "lm last" : "lm", .a = st->tokens, .b = st->rows, .c = st->media};
    const char *result = st->query ? "query" : st->logits ? "logits" : "hidden";
    return sn_engine_program(s->engine, &key, build, st, s->store, &result, 1, out, error);
}

static step step_of(const sn_lm_session *s, int64_t rows) {
    return (step){.lm = &s->lm, .rows = rows, .pages = (s->lm.max_positions + SN_PAGE_POSITIONS - 1) / SN_PAGE_POSITIONS};
}

sn_status sn_lm_extend_memory(sn_lm_session *s, int64_t tokens, int64_t media, size_t *bytes, sn_error *error) {
    step st = step_of(s, 1);
    st.tokens = tokens, st.media = media, st.logits = true;
    sn_program *program;
    sn_status status = program_of(s, &st, &program, error);
    if (!status) *bytes = sn_program_memory(program);
    return status;
}

static sn_status extend(sn_lm_session *s, const sn_lm_row *rows, int num_rows, step st, float *out, sn_error *error) {
    for (int r = 0; r < num_rows; r++) {
        if (rows[r].count < 1 || rows[r].sequence->length + rows[r].count > s->lm.max_positions)
            return sn_fail(error, SN_ERROR_INPUT, "found %lld positions, the model's window holds 1 to %lld; shorten the prompt or use fewer pictures",
                           (long long)(rows[r].sequence->length + rows[r].count), (long long)s->lm.max_positions);
        st.tokens += rows[r].count;
        for (int64_t i = 0; i < rows[r].count; i++) st.media += rows[r].ids[i] < 0;
    }
    sn_status status = SN_OK;
    for (int r = 0; r < num_rows && !status; r++) status = reserve(s, rows[r].sequence, rows[r].count, error);
    if (status) return status;
    sn_arena *arena = sn_arena_new();
    if (!arena) return sn_fail_memory(error);
    int64_t hidden = s->lm.hidden_size;
    int32_t *ids = sn_arena_alloc(arena, (size_t)st.tokens, 4), *positions = sn_arena_alloc(arena, (size_t)st.tokens, 4);
    int32_t *starts = sn_arena_alloc(arena, (size_t)num_rows + 1, 4), *table = sn_arena_alloc(arena, (size_t)(num_rows * st.pages), 4);
    int32_t *lengths = sn_arena_alloc(arena, (size_t)num_rows, 4), *last = sn_arena_alloc(arena, (size_t)num_rows, 4);
    int32_t *media_at = sn_arena_alloc(arena, (size_t)st.media + 1, 4);
    float *media = sn_arena_alloc(arena, (size_t)(st.media * hidden) + 1, sizeof *media);
    if (!ids || !positions || !starts || !table || !lengths || !last || !media_at || !media) {
        sn_arena_free(arena);
        return sn_fail_memory(error);
    }
    int64_t at = 0, m = 0;
    for (int r = 0; r < num_rows; r++) {
        const sn_sequence *q = rows[r].sequence;
        starts[r] = (int32_t)at;
        lengths[r] = q->length;
        memcpy(table + r * st.pages, q->pages, q->num_pages * sizeof *table);
        for (int64_t i = 0; i < rows[r].count; i++, at++) {
            int32_t id = rows[r].ids[i];
            positions[at] = q->length + (int32_t)i;
            ids[at] = id < 0 ? 0 : id;
            if (id >= 0) continue;
            memcpy(media + m * hidden, rows[r].media + (-1 - (int64_t)id) * hidden, (size_t)hidden * sizeof *media);
            media_at[m++] = (int32_t)at;
        }
        last[r] = (int32_t)at - 1;
    }
    starts[num_rows] = (int32_t)at;
    sn_program *program;
    status = program_of(s, &st, &program, error);
    const void *inputs[] = {ids, positions, starts, table, lengths, last, media, media_at};
    sn_trace *trace = sn_engine_trace(s->engine);
    if (trace) trace->row_starts = starts, trace->rows = num_rows;
    if (!status) status = sn_engine_run(s->engine, program, inputs, s->cache, s->cancel, &out, error);
    /* one look at what comes out; only when it is not finite is the step run again to find out where it began */
    int64_t count = out ? (st.all ? st.tokens : num_rows) * (st.query ? s->lm.query_size : s->lm.vocab_size) : 0;
    for (int64_t i = 0; i < count && !status; i++)
        if (!isfinite(out[i])) status = sn_engine_check(s->engine, program, inputs, s->cache, error);
    if (trace) trace->row_starts = NULL;
    for (int r = 0; r < num_rows && !status; r++) rows[r].sequence->length += (int32_t)rows[r].count;
    sn_arena_free(arena);
    return status;
}

sn_status sn_lm_extend(sn_lm_session *s, const sn_lm_row *rows, int num_rows, bool all_positions, float *logits, sn_error *error) {
    step st = step_of(s, num_rows);
    st.all = all_positions, st.logits = logits != NULL;
    return extend(s, rows, num_rows, st, logits, error);
}

sn_status sn_lm_extend_query(sn_lm_session *s, const sn_lm_row *rows, int num_rows, bool all_positions, float *queries, sn_error *error) {
    step st = step_of(s, num_rows);
    st.all = all_positions, st.query = true;
    if (!s->lm.query) return sn_fail(error, SN_ERROR_USAGE, "this language model finds nothing by its hidden states");
    return extend(s, rows, num_rows, st, queries, error);
}
