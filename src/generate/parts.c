/* From ids to parts. The hidden state at a query comes from running that token again behind a fork of the cached sequence,
 * so the search for ids knows nothing of it. */
#include "generate/parts.h"

#include "media/image.h"

#include <string.h>

void sn_parts_free(sn_parts *p) {
    for (size_t i = 0; i < p->count; i++) sn_free(p->items[i].text);
    for (size_t i = 0; i < p->num_left_out; i++) sn_free(p->left_out[i]);
    sn_free(p->left_out);
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

/* The bits that are set in a (NULL = none; or not set, where `flip`) or in b (likewise). */
static uint64_t *join_bits(const uint64_t *a, bool flip, const uint64_t *b, int64_t rows, sn_error *error) {
    uint64_t *out = sn_alloc((size_t)rows / 64 + 1, sizeof *out);
    if (!out) sn_fail_memory(error);
    for (int64_t i = 0; out && i <= rows / 64; i++) out[i] = ((a ? a[i] : 0) ^ (flip ? UINT64_MAX : 0)) | (b ? b[i] : 0);
    return out;
}

sn_status sn_find_rows(const sn_finder *f, const float *query, const uint64_t *seen, int64_t k, sn_hit *hits, int64_t *found, sn_error *error) {
    int64_t rows = f->rows.rows;
    sn_search search = {.rows = &f->rows, .scale = f->scale, .clamp = !f->scale, .k = k < rows ? k : rows};
    *found = 0;
    for (int pass = 0; pass < 1 + (seen != NULL) && search.k; pass++) { /* what was not seen, then what was */
        int64_t more = 0;
        uint64_t *skip = join_bits(seen, pass, f->skip, rows, error);
        if (!skip) return SN_ERROR_MEMORY;
        search.skip = skip;
        sn_status status = sn_search_rows(&search, query, 1, hits + *found, &more, NULL, error);
        sn_free(skip);
        if (status) return status;
        *found += more, search.k -= more;
    }
    return SN_OK;
}

enum { SPARE = 3 }; /* beyond what is wanted, in place of what cannot be shown */

static sn_status leave_out(sn_parts *p, char *what, sn_error *error) {
    if (!what || !sn_grow((void **)&p->left_out, &p->left_out_capacity, p->num_left_out + 1, sizeof *p->left_out)) {
        sn_free(what);
        return sn_fail_memory(error);
    }
    p->left_out[p->num_left_out++] = what;
    return SN_OK;
}

/* What lies at an address is not fetched; a file must be there and be a picture. */
static sn_status look_at(const sn_parts_request *r, const char *path, bool *usable, sn_parts *out, sn_error *error) {
    sn_image image;
    sn_error why = {0};
    *usable = r->usable ? r->usable(r->context, path) : strstr(path, "://") || !sn_image_open(path, NULL, &image, &why);
    if (r->usable || strstr(path, "://")) return SN_OK;
    if (*usable) return sn_image_free(&image), SN_OK;
    return leave_out(out, strncmp(why.message, path, strlen(path)) == 0 ? sn_strdup(why.message) : sn_format("%s: %s", path, why.message), error);
}

/* Takes a row's picture into the answer, or not. */
static sn_status add_picture(const sn_parts_request *r, sn_hit hit, sn_parts *out, int *given, sn_error *error) {
    char *path;
    bool usable = false;
    sn_status status = r->finder->path(r->finder, hit.row, &path, error);
    if (status || !path) return status;
    status = look_at(r, path, &usable, out, error);
    if (status || !usable) {
        sn_free(path);
        return status;
    }
    *given += 1;
    return add(out, (sn_part){.is_picture = true, .text = path, .row = hit.row, .similarity = hit.score}, error);
}

static sn_status add_pictures(const sn_parts_request *r, const float *query, uint64_t *seen, sn_parts *out, sn_error *error) {
    int64_t wanted = (int64_t)r->max_pictures + SPARE, found = 0;
    int given = 0;
    sn_hit *hits = sn_alloc((size_t)wanted, sizeof *hits);
    sn_status status = hits ? sn_find_rows(r->finder, query, seen, wanted, hits, &found, error) : sn_fail_memory(error);
    for (int64_t i = 0; i < found && given < r->max_pictures && !status; i++) {
        seen[hits[i].row / 64] |= (uint64_t)1 << hits[i].row % 64;
        status = add_picture(r, hits[i], out, &given, error);
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
    uint64_t *seen = sn_alloc(r->finder ? (size_t)r->finder->rows.rows / 64 + 1 : 1, sizeof *seen);
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
