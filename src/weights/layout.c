/* Matching names, cutting rows, joining shards, adding deltas. */
#include "weights/layout.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Matches `text` against `pattern` with at most one {l}; *number gets the digits. */
bool sn_name_match(const char *pattern, const char *text, char number[16]) {
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

bool sn_name_fill(const char *prefix, const char *pattern, const char *number, char *text, size_t size) {
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
        if (r->canonical && sn_name_match(r->canonical, canonical + prefix, number)) {
            if (rule) *rule = r;
            return sn_name_fill(names->published_prefix, r->published, number, text, size);
        }
    }
    return false;
}

sn_status sn_source_prefix(const sn_source *source, const char *suffix, sn_arena *arena, const char **prefix, sn_error *error) {
    size_t length = strlen(suffix);
    const char *found = NULL;
    *prefix = NULL;
    for (size_t i = 0; i < source->count; i++) {
        const char *name = source->tensors[i].name;
        size_t n = strlen(name);
        if (n < length || strcmp(name + n - length, suffix) != 0 || (n > length && name[n - length - 1] != '.')) continue;
        if (found) return sn_fail(error, SN_ERROR_INPUT, "%s: holds both %s and %s; only one of them can be meant", source->path, found, name);
        found = name;
    }
    if (!found) return SN_OK;
    *prefix = sn_arena_format(arena, "%.*s", (int)(strlen(found) - length), found);
    return *prefix ? SN_OK : sn_fail_memory(error);
}

int64_t sn_source_count(const sn_source *source, const char *prefix) {
    size_t length = strlen(prefix);
    int64_t blocks = 0;
    for (size_t i = 0; i < source->count; i++) {
        const char *at = source->tensors[i].name;
        if (strncmp(at, prefix, length) != 0) continue;
        int64_t number = 0;
        int digits = 0;
        for (at += length; isdigit((unsigned char)*at) && digits < 9; at++, digits++) number = 10 * number + (*at - '0');
        if (digits && *at == '.' && number >= blocks) blocks = number + 1;
    }
    return blocks;
}

/* ---- derived weights ---- */

/* What a derived weight is made from. Parts that are derived themselves are made for the time of the making only. */
typedef struct joined {
    int count;
    sn_weight part[SN_MAX_PARTS];
} joined;

static sn_status begin(joined *j, const void *recipe, sn_error *error) {
    *j = *(const joined *)recipe;
    sn_status status = SN_OK;
    for (int i = 0; i < j->count && !status; i++) status = sn_weight_ready(&j->part[i], error);
    return status;
}

static void end(joined *j) {
    for (int i = 0; i < j->count; i++) sn_weight_release(&j->part[i]);
}

/* Shards that each hold some columns of every row. */
static sn_status make_joined_columns(const void *recipe, void *to, sn_error *error) {
    joined j;
    sn_status status = begin(&j, recipe, error);
    char *at = to;
    for (int64_t r = 0; r < j.part[0].rows && !status; r++)
        for (int i = 0; i < j.count; i++) {
            int64_t bytes = 0;
            sn_type_bytes(j.part[i].type, j.part[i].columns, &bytes);
            memcpy(at, sn_weight_row(&j.part[i], r), (size_t)bytes);
            at += bytes;
        }
    end(&j);
    return status;
}

/* part[0] = base, part[1] = delta; rows that only the delta has are taken as they are. The sum is rounded once to
 * the stored type. */
static sn_status make_sum(const void *recipe, void *to, sn_error *error) {
    joined j;
    sn_status status = begin(&j, recipe, error);
    const sn_weight *base = &j.part[0], *delta = &j.part[1];
    int64_t columns = delta->columns, bytes = 0;
    sn_type_bytes(delta->type, columns, &bytes);
    float *a = sn_alloc((size_t)columns, sizeof *a), *b = sn_alloc((size_t)columns, sizeof *b);
    if (!status && (!a || !b)) status = sn_fail_memory(error);
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
    end(&j);
    return status;
}

static sn_status make_transposed(const void *recipe, void *to, sn_error *error) {
    joined j;
    sn_status status = begin(&j, recipe, error);
    const sn_weight *w = &j.part[0];
    int64_t size = sn_type_of(w->type)->bytes;
    for (int64_t r = 0; r < w->rows && !status; r++)
        for (int64_t c = 0; c < w->columns; c++)
            memcpy((char *)to + (c * w->rows + r) * size, (const char *)sn_weight_row(w, r) + c * size, (size_t)size);
    end(&j);
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

typedef struct binding {
    sn_store *store;
    const sn_names *names;
    int num_names;
    sn_bind_report *report;
    sn_map *used; /* addresses of the tensors that were taken */
} binding;

static void list(sn_store *store, sn_bind_list *to, const char *text) {
    char *copy = sn_arena_strdup(store->arena, text);
    if (copy && sn_grow((void **)&to->names, &to->capacity, to->count + 1, sizeof *to->names)) to->names[to->count++] = copy;
}

void sn_bind_report_free(sn_bind_report *report) {
    sn_free(report->missing.names);
    sn_free(report->misshapen.names);
    sn_free(report->unexpected.names);
    sn_free(report->unused.names);
    *report = (sn_bind_report){0};
}

static void mark(binding *b, const sn_source_tensor *t) { sn_map_set(b->used, (const char *)&t, sizeof t, 1); }
static bool is_used(const binding *b, const sn_source_tensor *t) { return sn_map_get(b->used, (const char *)&t, sizeof t, NULL); }

static sn_status take(binding *b, sn_source *source, const sn_source_tensor *t, sn_weight *out, sn_error *error) {
    mark(b, t);
    return sn_type_of(t->type)->is_float ? sn_source_weight(source, t, b->store->arena, out, error) : sn_source_check(t, error);
}

/* Whether two shapes are equal in all dimensions but one. */
static bool same_but(const sn_shape *a, const sn_shape *b, int axis) {
    for (int i = 0; i < a->rank && i < b->rank; i++)
        if (i != axis && a->dim[i] != b->dim[i]) return false;
    return a->rank == b->rank;
}

/* base + delta; what stands in `w` is the delta. */
static sn_status add_base(binding *b, const sn_names *names, const char *published, const sn_weight *w, sn_weight *out, sn_error *error) {
    const sn_source_tensor *base = sn_source_find(names->sources[0], published);
    if (!base) return sn_fail(error, SN_ERROR_INPUT, "%s: in the delta, but not in the base model", published);
    if (!same_but(&base->shape, &w->shape, 0) || base->shape.rank < 1 || base->shape.dim[0] > w->shape.dim[0]) {
        char have[96], other[96];
        return sn_fail(error, SN_ERROR_INPUT, "%s: the delta's %s does not fit the base's %s; another base model?", published, sn_shape_text(&w->shape, have), sn_shape_text(&base->shape, other));
    }
    if (!sn_type_of(w->type)->from_float) return sn_fail(error, SN_ERROR_SUPPORT, "%s: a delta of type %s is not supported", published, sn_type_of(w->type)->name);
    joined sum = {.count = 2, .part = {[1] = *w}};
    sn_status status = take(b, names->sources[0], base, &sum.part[0], error);
    return status ? status : derive(b->store, out, w->type, w->shape, make_sum, &sum, error);
}

/* Merges the low-rank update of this tensor, where there is one. */
static sn_status add_lora(binding *b, const sn_lora *lora, const char *published, sn_weight *w, sn_error *error) {
    sn_update update;
    sn_status status = sn_lora_find(lora, published, &w->shape, b->store->arena, &update, error);
    if (status || !update.from[0]) return status;
    mark(b, update.from[0]), mark(b, update.from[1]);
    if (!sn_type_of(w->type)->from_float) return sn_fail(error, SN_ERROR_SUPPORT, "%s: low-rank updates of a base of type %s are not supported", published, sn_type_of(w->type)->name);
    const sn_weight base = *w;
    return sn_lora_weight(&base, &update, w->type, NULL, b->store->arena, w, error);
}

/* Shards one behind the other: by rows a view in parts, by columns derived. */
static sn_status join_shards(binding *b, const sn_name_rule *rule, const char *published, joined *shards, sn_weight *out, sn_error *error) {
    *out = shards->part[0];
    if (shards->count == 1 || rule->join == SN_JOIN_FIRST) return SN_OK;
    sn_shape shape = out->shape;
    int axis = rule->join == SN_JOIN_ROWS ? 0 : 1;
    for (int i = 1; i < shards->count; i++) {
        const sn_weight *part = &shards->part[i];
        if (!same_but(&part->shape, &shape, axis) || axis >= shape.rank || part->type != out->type)
            return sn_fail(error, SN_ERROR_INPUT, "%s: the shards do not fit each other", published);
        shape.dim[axis] += part->shape.dim[axis];
    }
    bool derived = axis == 1 || shape.rank == 1; /* a vector is one row, so that its shards lie in columns */
    for (int i = 0; i < shards->count; i++) derived |= shards->part[i].make != NULL;
    if (derived && axis == 0 && shape.rank > 1) return sn_fail(error, SN_ERROR_SUPPORT, "%s: shards that are stored compressed or with strides", published);
    if (derived) return derive(b->store, out, out->type, shape, make_joined_columns, shards, error);
    out->shape = shape, out->rows = shape.dim[0], out->num_parts = shards->count;
    for (int i = 0; i < shards->count; i++) out->part[i] = shards->part[i].part[0];
    return SN_OK;
}

/* A block of rows, as a view. */
static sn_status cut_rows(const sn_name_rule *rule, const char *published, const sn_weight *w, sn_weight *out, sn_error *error) {
    if (w->make || w->shape.rank < 1 || w->shape.dim[0] % rule->parts)
        return sn_fail(error, SN_ERROR_INPUT, "%s: its rows are no multiple of %d, or stored compressed", published, rule->parts);
    sn_shape shape = w->shape;
    shape.dim[0] /= rule->parts;
    int64_t bytes = 0;
    sn_type_bytes(w->type, sn_shape_count(&shape), &bytes);
    *out = sn_weight_view(w->type, shape, (const char *)w->part[0].data + rule->part * bytes);
    return SN_OK;
}

/* The weight that a rule describes, before its shape is compared. */
static sn_status assemble(binding *b, const sn_names *names, const sn_name_rule *rule, const char *published, sn_weight *out, const char **file, bool *found, sn_error *error) {
    joined shards = {0};
    *found = false;
    sn_source *const *sources = names->delta ? &names->delta : names->sources;
    int num_sources = names->delta ? 1 : names->num_sources;
    for (int i = 0; i < num_sources && i < SN_MAX_PARTS; i++) {
        const sn_source_tensor *t = sn_source_find(sources[i], published);
        if (!t && i == 0) return SN_OK;
        *found = true;
        if (!t) return sn_fail(error, SN_ERROR_INPUT, "%s: not in %s", published, sources[i]->path);
        *file = t->file;
        sn_status status = take(b, sources[i], t, &shards.part[shards.count++], error);
        if (status) return status;
    }
    if (!shards.count) return SN_OK;
    sn_weight *w = &shards.part[0];
    if (rule->parts > 1) return cut_rows(rule, published, w, out, error);
    if (rule->transposed && sn_type_of(w->type)->block > 1) return sn_fail(error, SN_ERROR_SUPPORT, "%s: blocks of %s cannot be transposed", published, sn_type_of(w->type)->name);
    if (rule->transposed) return derive(b->store, out, w->type, SN_SHAPE(w->columns, w->rows), make_transposed, &shards, error);
    sn_status status = names->delta ? add_base(b, names, published, w, out, error) : join_shards(b, rule, published, &shards, out, error);
    return status || !names->lora ? status : add_lora(b, names->lora, published, out, error);
}

/* As many rows as wanted of a longer table, as a view. */
static sn_status take_rows(const sn_name_rule *rule, const char *published, int64_t rows, sn_weight *w, sn_error *error) {
    int64_t first = rule->part, bytes = 0;
    if (w->shape.rank != 2 || w->shape.dim[0] < first + rows) return SN_OK; /* the shape will be found not to fit */
    if (w->make || w->num_parts != 1) return sn_fail(error, SN_ERROR_SUPPORT, "%s: rows of a table that is stored compressed or in shards", published);
    sn_shape shape = w->shape;
    shape.dim[0] = rows;
    sn_type_bytes(w->type, w->columns, &bytes);
    *w = sn_weight_view(w->type, shape, (const char *)w->part[0].data + first * bytes);
    return SN_OK;
}

/* [1, 1, n] and [n] hold the same row; a bias is never a matrix. */
static bool same_values(const sn_shape *want, const sn_shape *have) {
    if (sn_shape_equal(want, have)) return true;
    int64_t w = want->rank ? want->dim[want->rank - 1] : 1;
    return sn_shape_count(want) == sn_shape_count(have) && sn_shape_count(want) == w && have->rank > 0 && have->dim[have->rank - 1] == w;
}

static sn_status bind_one(binding *b, const sn_graph *g, const sn_parameter *p, sn_error *error) {
    sn_store *store = b->store;
    if (sn_store_find(store, p->name)) return SN_OK;
    char published[512] = "", text[1200], have[96], wanted[96];
    const sn_shape *want = &g->nodes[p->tensor].shape;
    for (int i = 0; i < b->num_names; i++) {
        const sn_name_rule *rule;
        sn_weight weight;
        const char *file = "";
        bool found;
        char name[512];
        sn_error why = {0};
        if (!sn_published_name(&b->names[i], p->name, name, sizeof name, &rule)) continue;
        if (!published[0]) snprintf(published, sizeof published, "%s", name);
        sn_status status = assemble(b, &b->names[i], rule, name, &weight, &file, &found, &why);
        if (!status && found && rule->parts == SN_SOME_ROWS) status = take_rows(rule, name, want->dim[0], &weight, &why);
        if (status == SN_ERROR_MEMORY) return sn_fail(error, status, "%s", why.message);
        if (status) {
            list(store, &b->report->misshapen, why.message);
            return SN_OK;
        }
        if (!found) continue;
        if (!same_values(want, &weight.shape)) {
            snprintf(text, sizeof text, "%s: found %s, expected %s%s", name, sn_shape_text(&weight.shape, have), sn_shape_text(want, wanted),
                     sn_shape_count(&weight.shape) == 0 ? "; written by a sharded training run that did not gather" : "");
            list(store, &b->report->misshapen, text);
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
    list(store, &b->report->missing, published[0] ? published : p->name);
    return SN_OK;
}

typedef enum known { UNKNOWN, IGNORED, UNUSED } known;

static known known_name(const binding *b, const char *name) {
    known result = UNKNOWN;
    for (int k = 0; k < b->num_names; k++) {
        size_t prefix = strlen(b->names[k].published_prefix);
        char number[16];
        if (strncmp(name, b->names[k].published_prefix, prefix) != 0) continue;
        for (const sn_name_rule *r = b->names[k].rules; r->published; r++) {
            if (!sn_name_match(r->published, name + prefix, number)) continue;
            if (!r->canonical) return IGNORED;
            if (b->names[k].partial) result = UNUSED;
        }
    }
    return result;
}

/* Tensors of a source that no parameter took. */
static void find_leftover(binding *b, const sn_source *source, const char *what) {
    for (size_t i = 0; i < source->count; i++) {
        const sn_source_tensor *t = &source->tensors[i];
        if (is_used(b, t)) continue;
        mark(b, t);
        known k = known_name(b, t->name);
        if (what && strstr(t->name, ".lora_")) {
            char text[1200];
            snprintf(text, sizeof text, "%s: %s", t->name, what);
            list(b->store, &b->report->misshapen, text);
        } else if (k != IGNORED) {
            list(b->store, k == UNUSED ? &b->report->unused : &b->report->unexpected, t->name);
        }
    }
}

static void find_unexpected(binding *b) {
    for (int n = 0; n < b->num_names; n++) {
        const sn_names *names = &b->names[n];
        if (names->lora) find_leftover(b, names->lora->source, "updates nothing in the base model");
        if (names->delta) find_leftover(b, names->delta, NULL);
        for (int i = 0; i < names->num_sources; i++) find_leftover(b, names->sources[i], NULL);
    }
}

static void add_some(sn_buf *text, const char *what, const sn_bind_list *items) {
    if (!items->count) return;
    sn_buf_printf(text, "%s%zu %s (", text->length ? "; " : "", items->count, what);
    for (size_t i = 0; i < items->count && i < 5; i++) sn_buf_printf(text, "%s%s", i ? ", " : "", items->names[i]);
    sn_buf_puts(text, items->count > 5 ? ", …)" : ")");
}

sn_status sn_bind(sn_store *store, const sn_graph *graph, const sn_names *names, int num_names, sn_bind_report *report, sn_error *error) {
    if (graph->error.status) return sn_fail(error, graph->error.status, "%s", graph->error.message);
    sn_bind_report own = {0};
    binding b = {.store = store, .names = names, .num_names = num_names, .report = report ? report : &own, .used = sn_map_new()};
    sn_status status = b.used ? SN_OK : sn_fail_memory(error);
    for (size_t i = 0; i < graph->num_params && !status; i++) status = bind_one(&b, graph, &graph->params[i], error);
    if (!status && report) find_unexpected(&b);
    if (!status && !report && (own.missing.count || own.misshapen.count)) {
        sn_buf text = {0};
        add_some(&text, "tensors missing", &own.missing);
        add_some(&text, "misshapen", &own.misshapen);
        status = sn_fail(error, SN_ERROR_INPUT, "%s: %s", names[0].sources[0]->path, text.data ? text.data : "tensors are missing");
        sn_buf_free(&text);
    }
    sn_bind_report_free(&own);
    sn_map_free(b.used);
    return status;
}
