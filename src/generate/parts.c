/* From ids to parts. The hidden state at a query comes from running that token again behind a fork of the cached sequence,
 * so the search for ids knows nothing of it. */
#include "generate/parts.h"

#include <string.h>

void sn_parts_free(sn_parts *p) {
    for (size_t i = 0; i < p->count; i++) sn_free(p->items[i].text);
    sn_free(p->items);
    sn_free(p->queries);
    *p = (sn_parts){0};
}

static sn_status add(sn_parts *p, sn_part part, sn_error *error) {
    if (!part.text || !sn_grow((void **)&p->items, &p->capacity, p->count + 1, sizeof *p->items)) {
        sn_free(part.text);
        return sn_fail_memory(error);
    }
    p->items[p->count++] = part;
    return SN_OK;
}

sn_status sn_parts_text(sn_parts *out, const char *text, size_t length, sn_error *error) {
    *out = (sn_parts){0};
    return add(out, (sn_part){.text = sn_strndup(text ? text : "", length)}, error);
}

/* New lines at both ends go; the rest ends with the first line, or else with the first full stop. */
static char *shortened(const char *text, size_t length, const char *behind) {
    while (length && text[0] == '\n') text++, length--;
    while (length && text[length - 1] == '\n') length--;
    const char *end = length ? memchr(text, '\n', length) : NULL;
    if (!end && length) end = memchr(text, '.', length);
    if (end) length = (size_t)(end - text) + 1;
    return sn_format("%.*s%s", (int)length, text, behind);
}

static sn_status add_text(const sn_parts_request *r, int64_t from, int64_t to, const char *behind, sn_parts *out, sn_error *error) {
    sn_detokenizer d;
    sn_buf text = {0};
    sn_detokenizer_begin(&d, r->model->tokenizer, true);
    for (int64_t i = from; i < to; i++)
        if (r->ids[i] >= 0) sn_detokenizer_push(&d, r->ids[i], &text);
    sn_detokenizer_end(&d, &text);
    sn_status status = text.failed ? sn_fail_memory(error) : add(out, (sn_part){.text = shortened(text.data ? text.data : "", text.length, behind)}, error);
    sn_buf_free(&text);
    return status;
}

/* What the hidden state at position `at` asks for. */
static sn_status ask(const sn_parts_request *r, int64_t at, float *query, sn_error *error) {
    sn_sequence fork;
    sn_status status = sn_sequence_fork(r->session, r->sequence, &fork, error);
    if (status) return status;
    sn_sequence_cut(r->session, &fork, (int32_t)at);
    int64_t begin = fork.length;
    status = sn_lm_extend_query(r->session, &(sn_lm_row){.sequence = &fork, .ids = r->ids + begin, .count = at + 1 - begin, .media = r->media}, 1, false, query, error);
    sn_sequence_free(r->session, &fork);
    return status;
}

sn_status sn_find_rows(const sn_finder *f, const float *query, const uint64_t *seen, int64_t k, sn_hit *hits, int64_t *found, sn_error *error) {
    sn_search search = {.rows = f->rows, .scale = f->scale, .skip = seen, .k = k < f->rows->rows ? k : f->rows->rows};
    int64_t more = 0;
    *found = 0;
    if (!search.k) return SN_OK;
    sn_status status = sn_search_rows(&search, query, 1, hits, found, NULL, error);
    if (status || *found == search.k || !seen) return status;
    size_t words = ((size_t)f->rows->rows + 63) / 64;
    uint64_t *others = sn_alloc(words, sizeof *others);
    if (!others) return sn_fail_memory(error);
    for (size_t i = 0; i < words; i++) others[i] = ~seen[i];
    search.skip = others, search.k -= *found;
    status = sn_search_rows(&search, query, 1, hits + *found, &more, NULL, error);
    *found += more;
    sn_free(others);
    return status;
}

enum { SPARE = 3 }; /* beyond what is wanted, in place of what cannot be shown */

static sn_status add_pictures(const sn_parts_request *r, const float *query, uint64_t *seen, sn_parts *out, sn_error *error) {
    const sn_finder *f = r->finder;
    int64_t wanted = (int64_t)r->max_pictures + SPARE, found = 0;
    int given = 0;
    sn_hit *hits = sn_alloc((size_t)wanted, sizeof *hits);
    sn_status status = hits ? sn_find_rows(f, query, seen, wanted, hits, &found, error) : sn_fail_memory(error);
    for (int64_t i = 0; i < found && given < r->max_pictures && !status; i++) {
        int64_t row = hits[i].row;
        seen[row / 64] |= (uint64_t)1 << row % 64;
        if (f->usable && !f->usable(f->context, row)) continue;
        status = add(out, (sn_part){.is_picture = true, .text = sn_strdup(f->paths[row]), .row = row, .similarity = hits[i].score}, error);
        given++;
    }
    out->short_of += r->max_pictures - given;
    sn_free(hits);
    return status;
}

sn_status sn_answer_parts(const sn_parts_request *r, sn_parts *out, sn_error *error) {
    const sn_model *m = r->model;
    int64_t end = r->count, last = r->from, size = m->lm.query_size;
    *out = (sn_parts){0};
    for (int64_t i = r->from + 1; i < end && m->cut_id >= 0; i++)
        if (r->ids[i] == m->cut_id) end = i;
    uint64_t *seen = sn_alloc(r->finder ? (size_t)r->finder->rows->rows / 64 + 1 : 1, sizeof *seen);
    out->queries = sn_alloc((size_t)r->max_queries + 1, (size_t)(size > 0 ? size : 1) * sizeof *out->queries);
    sn_status status = seen && out->queries ? SN_OK : sn_fail_memory(error);
    for (int64_t i = r->from; i < end && m->lm.query && out->num_queries < r->max_queries && !status; i++) {
        if (r->ids[i] != m->query_id) continue;
        float *query = out->queries + out->num_queries++ * size;
        status = ask(r, i, query, error);
        if (!status) status = add_text(r, last, i, " [RET]", out, error);
        if (!status && r->finder) status = add_pictures(r, query, seen, out, error);
        last = i + 1;
    }
    if (!status && out->num_queries == 0) status = add_text(r, r->from, end, "", out, error);
    sn_free(seen);
    if (status) sn_parts_free(out);
    return status;
}
