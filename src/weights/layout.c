/* Matching names, cutting rows, joining shards, adding deltas. */
#include "weights/layout.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Matches `text` against `pattern` with at most one {l}; *number gets the digits. */
static bool match(const char *pattern, const char *text, char number[16]) {
    const char *hole = strstr(pattern, "{l}");
    number[0] = 0;
    if (!hole) return strcmp(pattern, text) == 0;
    size_t before = (size_t)(hole - pattern), n = 0;
    if (strncmp(pattern, text, before) != 0) return false;
    text += before;
    while (isdigit((unsigned char)text[n]) && n < 15) number[n] = text[n], n++;
    number[n] = 0;
    return n > 0 && strcmp(hole + 3, text + n) == 0;
}

static bool fill(const char *prefix, const char *pattern, const char *number, char *text, size_t size) {
    const char *hole = strstr(pattern, "{l}");
    int n = hole ? snprintf(text, size, "%s%.*s%s%s", prefix, (int)(hole - pattern), pattern, number, hole + 3)
                 : snprintf(text, size, "%s%s", prefix, pattern);
    return n > 0 && (size_t)n < size;
}

bool sn_published_name(const sn_names *names, const char *canonical, char *text, size_t size, const sn_name_rule **rule) {
    size_t prefix = strlen(names->canonical_prefix);
    if (strncmp(canonical, names->canonical_prefix, prefix) != 0) return false;
    for (const sn_name_rule *r = names->rules; r->published; r++) {
        char number[16];
        if (r->canonical && match(r->canonical, canonical + prefix, number)) {
            if (rule) *rule = r;
            return fill(names->published_prefix, r->published, number, text, size);
        }
    }
    return false;
}

/* ---- derived weights ---- */

typedef struct joined {
    int count;
    sn_weight part[SN_MAX_PARTS];
} joined;

/* Shards that each hold some columns of every row. */
static sn_status make_joined_columns(const void *recipe, void *to, sn_error *error) {
    joined *j = (joined *)(uintptr_t)recipe;
    char *at = to;
    for (int64_t r = 0; r < j->part[0].rows; r++)
        for (int i = 0; i < j->count; i++) {
            sn_status status = sn_weight_ready(&j->part[i], error);
            if (status) return status;
            int64_t bytes = 0;
            sn_type_bytes(j->part[i].type, j->part[i].columns, &bytes);
            memcpy(at, sn_weight_row(&j->part[i], r), (size_t)bytes);
            at += bytes;
        }
    return SN_OK;
}

/* part[0] = base, part[1] = delta; rows that only the delta has are taken as they are. The sum is rounded once to
 * the stored type. */
static sn_status make_sum(const void *recipe, void *to, sn_error *error) {
    joined *j = (joined *)(uintptr_t)recipe;
    sn_weight *base = &j->part[0], *delta = &j->part[1];
    sn_status status = sn_weight_ready(base, error);
    if (!status) status = sn_weight_ready(delta, error);
    if (status) return status;
    int64_t columns = delta->columns, bytes = 0;
    sn_type_bytes(delta->type, columns, &bytes);
    float *a = sn_alloc((size_t)columns, sizeof *a), *b = sn_alloc((size_t)columns, sizeof *b);
    if (!a || !b) status = sn_fail_memory(error);
    for (int64_t r = 0; r < delta->rows && !status; r++) {
        sn_weight_row_floats(delta, r, b);
        if (r < base->rows) {
            sn_weight_row_floats(base, r, a);
            for (int64_t i = 0; i < columns; i++) b[i] += a[i];
        }
        sn_type_of(delta->type)->from_float(b, (char *)to + r * bytes, columns);
    }
    sn_free(a);
    sn_free(b);
    return status;
}

static sn_status make_transposed(const void *recipe, void *to, sn_error *error) {
    joined *j = (joined *)(uintptr_t)recipe;
    sn_weight *w = &j->part[0];
    sn_status status = sn_weight_ready(w, error);
    int64_t size = sn_type_of(w->type)->bytes;
    for (int64_t r = 0; r < w->rows && !status; r++)
        for (int64_t c = 0; c < w->columns; c++)
            memcpy((char *)to + (c * w->rows + r) * size, (const char *)sn_weight_row(w, r) + c * size, (size_t)size);
    return status;
}

static sn_status derive(sn_store *store, sn_weight *w, sn_type type, sn_shape shape, sn_status (*make)(const void *, void *, sn_error *),
                        const joined *recipe, sn_error *error) {
    joined *kept = sn_arena_alloc(store->arena, 1, sizeof *kept);
    if (!kept) return sn_fail_memory(error);
    *kept = *recipe;
    *w = sn_weight_view(type, shape, NULL);
    w->make = make, w->recipe = kept;
    return SN_OK;
}

/* ---- binding ---- */

static void list(sn_store *store, const char ***items, size_t *count, size_t *capacity, const char *text) {
    char *copy = sn_arena_strdup(store->arena, text);
    if (copy && sn_grow((void **)items, capacity, *count + 1, sizeof **items)) (*items)[(*count)++] = copy;
}

void sn_bind_report_free(sn_bind_report *report) {
    sn_free(report->missing);
    sn_free(report->misshapen);
    sn_free(report->unexpected);
    *report = (sn_bind_report){0};
}

/* The weight that a rule describes, before its shape is compared. */
static sn_status assemble(sn_store *store, const sn_names *names, const sn_name_rule *rule, const char *published, sn_weight *out,
                          const char **file, bool *found, sn_error *error) {
    joined shards = {0};
    *found = false;
    sn_source *const *sources = names->delta ? &names->delta : names->sources;
    int num_sources = names->delta ? 1 : names->num_sources;
    for (int i = 0; i < num_sources && i < SN_MAX_PARTS; i++) {
        const sn_source_tensor *t = sn_source_find(sources[i], published);
        if (!t) return SN_OK;
        *file = t->file;
        sn_status status = sn_source_weight(sources[i], t, store->arena, &shards.part[shards.count++], error);
        if (status) return status;
    }
    if (!shards.count) return SN_OK;
    *found = true;
    sn_weight *w = &shards.part[0];
    if (rule->parts > 1) { /* a block of rows, still a view */
        if (w->make || w->shape.dim[0] % rule->parts)
            return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: its rows are no multiple of %d", *file, published, rule->parts);
        sn_shape shape = w->shape;
        shape.dim[0] /= rule->parts;
        int64_t bytes = 0;
        sn_type_bytes(w->type, sn_shape_count(&shape), &bytes);
        *out = sn_weight_view(w->type, shape, (const char *)w->part[0].data + rule->part * bytes);
        return SN_OK;
    }
    if (rule->transposed) {
        if (sn_type_of(w->type)->block > 1) return sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: blocks of %s cannot be transposed", *file, published, sn_type_of(w->type)->name);
        sn_shape shape = SN_SHAPE(w->columns, w->rows);
        return derive(store, out, w->type, shape, make_transposed, &shards, error);
    }
    if (names->delta) { /* a base tensor of the same name is added */
        const sn_source_tensor *base = sn_source_find(names->sources[0], published);
        if (!base) {
            *out = *w;
            return SN_OK;
        }
        if (base->shape.rank != w->shape.rank || base->shape.dim[0] > w->shape.dim[0] ||
            (base->shape.rank == 2 && base->shape.dim[1] != w->shape.dim[1])) {
            char a[96], b[96];
            return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: delta %s does not fit base %s (another base model?)", *file, published,
                           sn_shape_text(&w->shape, a), sn_shape_text(&base->shape, b));
        }
        if (!sn_type_of(w->type)->from_float) return sn_fail(error, SN_ERROR_SUPPORT, "%s: tensor %s: a delta of type %s is not supported", *file, published, sn_type_of(w->type)->name);
        joined sum = {.count = 2, .part = {[1] = *w}};
        sn_status status = sn_source_weight(names->sources[0], base, store->arena, &sum.part[0], error);
        return status ? status : derive(store, out, w->type, w->shape, make_sum, &sum, error);
    }
    *out = *w;
    if (shards.count == 1 || rule->join == SN_JOIN_FIRST) return SN_OK;
    sn_shape shape = w->shape;
    int axis = rule->join == SN_JOIN_ROWS ? 0 : 1;
    for (int i = 1; i < shards.count; i++) {
        if (shards.part[i].shape.rank != shape.rank || axis >= shape.rank || shards.part[i].type != w->type)
            return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: the shards do not fit each other", *file, published);
        shape.dim[axis] += shards.part[i].shape.dim[axis];
    }
    if (axis) return derive(store, out, w->type, shape, make_joined_columns, &shards, error);
    out->shape = shape, out->rows = shape.dim[0], out->num_parts = shards.count;
    for (int i = 0; i < shards.count; i++) out->part[i] = shards.part[i].part[0];
    return SN_OK;
}

/* [1, 1, n] and [n] hold the same row; a bias is never a matrix. */
static bool same_values(const sn_shape *want, const sn_shape *have) {
    if (sn_shape_equal(want, have)) return true;
    int64_t w = want->rank ? want->dim[want->rank - 1] : 1;
    return sn_shape_count(want) == sn_shape_count(have) && sn_shape_count(want) == w && have->rank > 0 && have->dim[have->rank - 1] == w;
}

static sn_status bind_one(sn_store *store, const sn_graph *g, const sn_parameter *p, const sn_names *names, int num_names,
                          sn_bind_report *report, sn_error *error) {
    if (sn_store_find(store, p->name)) return SN_OK;
    char published[512] = "", text[1200], a[96], b[96];
    const sn_shape *want = &g->nodes[p->tensor].shape;
    for (int i = 0; i < num_names; i++) {
        const sn_name_rule *rule;
        sn_weight weight;
        const char *file = "";
        bool found;
        char name[512];
        if (!sn_published_name(&names[i], p->name, name, sizeof name, &rule)) continue;
        if (!published[0]) snprintf(published, sizeof published, "%s", name);
        sn_status status = assemble(store, &names[i], rule, name, &weight, &file, &found, error);
        if (status) return status;
        if (!found) continue;
        if (!same_values(want, &weight.shape)) {
            snprintf(text, sizeof text, "%s: found %s, expected %s%s", name, sn_shape_text(&weight.shape, a), sn_shape_text(want, b),
                     sn_shape_count(&weight.shape) == 0 ? "; written by a sharded training run that did not gather" : "");
            list(store, &report->misshapen, &report->num_misshapen, &report->misshapen_capacity, text);
            return SN_OK;
        }
        weight.shape = *want;
        weight.rows = want->rank > 1 ? want->dim[0] : 1;
        weight.columns = weight.rows ? sn_shape_count(want) / weight.rows : 0;
        if (weight.num_parts == 1) {
            int64_t bytes = 0;
            sn_type_bytes(weight.type, weight.columns, &bytes);
            weight.part[0].rows = weight.rows, weight.part[0].row_bytes = bytes;
        }
        return sn_store_add(store, p->name, name, file, &weight) ? SN_OK : sn_fail_memory(error);
    }
    snprintf(text, sizeof text, "%s%s", published[0] ? published : p->name, "");
    list(store, &report->missing, &report->num_missing, &report->missing_capacity, text);
    return SN_OK;
}

/* Tensors that no parameter took and no rule knows. */
static void find_unexpected(sn_store *store, const sn_names *names, int num_names, sn_bind_report *report) {
    sn_map *used = sn_map_new();
    for (size_t i = 0; used && i < store->count; i++) sn_map_set(used, store->entries[i]->published, strlen(store->entries[i]->published), 1);
    for (int n = 0; used && n < num_names; n++) {
        sn_source *source = names[n].delta ? names[n].delta : names[n].sources[0];
        for (size_t i = 0; i < source->count; i++) {
            const char *name = source->tensors[i].name;
            bool known = sn_map_get(used, name, strlen(name), NULL);
            for (int k = 0; k < num_names && !known; k++) {
                size_t prefix = strlen(names[k].published_prefix);
                char number[16];
                if (strncmp(name, names[k].published_prefix, prefix) != 0) continue;
                for (const sn_name_rule *r = names[k].rules; r->published && !known; r++)
                    known = !r->canonical && match(r->published, name + prefix, number);
            }
            if (known) continue;
            list(store, &report->unexpected, &report->num_unexpected, &report->unexpected_capacity, name);
            sn_map_set(used, name, strlen(name), 1);
        }
    }
    sn_map_free(used);
}

static void add_some(sn_buf *text, const char *what, const char **items, size_t count) {
    if (!count) return;
    sn_buf_printf(text, "%s%zu %s (", text->length ? "; " : "", count, what);
    for (size_t i = 0; i < count && i < 5; i++) sn_buf_printf(text, "%s%s", i ? ", " : "", items[i]);
    sn_buf_puts(text, count > 5 ? ", …)" : ")");
}

sn_status sn_bind(sn_store *store, const sn_graph *graph, const sn_names *names, int num_names, sn_bind_report *report, sn_error *error) {
    if (graph->error.status) return sn_fail(error, graph->error.status, "%s", graph->error.message);
    sn_bind_report own = {0}, *r = report ? report : &own;
    sn_status status = SN_OK;
    for (size_t i = 0; i < graph->num_params && !status; i++) status = bind_one(store, graph, &graph->params[i], names, num_names, r, error);
    if (!status && report) find_unexpected(store, names, num_names, r);
    if (!status && !report && (own.num_missing || own.num_misshapen)) {
        sn_buf text = {0};
        add_some(&text, "tensors missing", own.missing, own.num_missing);
        add_some(&text, "misshapen", own.misshapen, own.num_misshapen);
        status = sn_fail(error, SN_ERROR_INPUT, "%s: %s", names[0].sources[0]->path, text.data ? text.data : "tensors are missing");
        sn_buf_free(&text);
    }
    sn_bind_report_free(&own);
    return status;
}
