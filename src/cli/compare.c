/* sensorium compare A B: which tensors differ, in the order in which data flow through a model.
 *
 * What differs first has made all that follow differ, so it stands on top. A value of A is equal to B's when
 * |a - b| <= atol + rtol |b|, or both are NaN, or the same infinity. */
#include "base/json.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "weights/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the order ---- */

static const char *const stations[] = {"merged.", "pixel_values", "vision.hidden", "vision.", "connector.", "lm.inputs_embeds", "lm.labels", "lm.hidden", "lm.",
                                       "generate.first_logits", "generate.", "sample.", "embed.", "loss.", "grad.", "param."};
enum { NUM_STATIONS = sizeof stations / sizeof *stations };

static int station_of(const char *name) {
    for (int i = 0; i < NUM_STATIONS; i++)
        if (strncmp(name, stations[i], strlen(stations[i])) == 0) return i;
    return NUM_STATIONS;
}

/* By letters, but numbers by their value: layers.9 before layers.10. */
static int compare_names(const char *a, const char *b) {
    while (*a && *b) {
        size_t digits_a = strspn(a, "0123456789"), digits_b = strspn(b, "0123456789");
        if (digits_a && digits_b) {
            if (digits_a != digits_b) return digits_a < digits_b ? -1 : 1;
            int order = memcmp(a, b, digits_a);
            if (order) return order;
            a += digits_a, b += digits_b;
        } else {
            if (*a != *b) return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
            a++, b++;
        }
    }
    return (unsigned char)*a - (unsigned char)*b;
}

typedef struct pair {
    const char *name;
    const sn_source_tensor *a, *b; /* NULL where it is missing */
    const char *verdict;           /* "equal", "differs", "shape differs", "only in A", "only in B" */
    int64_t differing, at;         /* how many values, and the first of them */
    double worst, value_a, value_b; /* the largest difference; the values at `at` */
} pair;

static int compare_pairs(const void *x, const void *y) {
    const pair *a = x, *b = y;
    int station_a = station_of(a->name), station_b = station_of(b->name);
    return station_a != station_b ? station_a - station_b : compare_names(a->name, b->name);
}

/* ---- one tensor ---- */

static sn_status weight_of(sn_source *source, const sn_source_tensor *t, sn_arena *arena, sn_weight *out, sn_error *error) {
    if (!t->contiguous || !t->data || t->swapped) {
        sn_status status = sn_source_weight(source, t, arena, out, error);
        return status ? status : sn_weight_ready(out, error);
    }
    *out = sn_weight_view(t->type, t->shape, t->data);
    return SN_OK;
}

static bool row_values(const sn_weight *w, int64_t r, float *scratch, double *to) {
    const void *row = sn_weight_row(w, r);
    int64_t n = w->columns;
    for (int64_t i = 0; i < n; i++) switch (w->type) {
        case SN_TYPE_F64: to[i] = ((const double *)row)[i]; break;
        case SN_TYPE_I64: to[i] = (double)((const int64_t *)row)[i]; break;
        case SN_TYPE_I32: to[i] = (double)((const int32_t *)row)[i]; break;
        case SN_TYPE_I16: to[i] = (double)((const int16_t *)row)[i]; break;
        case SN_TYPE_I8: to[i] = (double)((const int8_t *)row)[i]; break;
        case SN_TYPE_U64: to[i] = (double)((const uint64_t *)row)[i]; break;
        case SN_TYPE_U32: to[i] = (double)((const uint32_t *)row)[i]; break;
        case SN_TYPE_U16: to[i] = (double)((const uint16_t *)row)[i]; break;
        case SN_TYPE_U8:
        case SN_TYPE_BOOL: to[i] = (double)((const uint8_t *)row)[i]; break;
        default:
            if (!sn_type_of(w->type)->to_float) return false;
            if (i == 0) sn_weight_row_floats(w, r, scratch);
            to[i] = (double)scratch[i];
        }
    return true;
}

static bool equal(double a, double b, double rtol, double atol) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= atol + rtol * fabs(b);
}

static void compare_rows(pair *p, const double *a, const double *b, int64_t n, int64_t from, double rtol, double atol) {
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs(a[i] - b[i]);
        if (a[i] != b[i] && difference > p->worst) p->worst = difference;
        if (equal(a[i], b[i], rtol, atol)) continue;
        if (p->differing++ == 0) p->at = from + i, p->value_a = a[i], p->value_b = b[i];
    }
}

typedef struct comparison {
    sn_source *a, *b;
    sn_arena *arena;
    double rtol, atol;
    bool common; /* tensors that one file alone has do not count */
    pair *pairs;
    size_t count, differing;
    const pair *first; /* that differs; of missing ones, only where nothing else does */
} comparison;

static bool counts(const comparison *c, const pair *p) { return strcmp(p->verdict, "equal") != 0 && ((p->a && p->b) || !c->common); }

static sn_status compare_tensor(const comparison *c, pair *p, sn_error *error) {
    p->verdict = !p->b ? "only in A" : !p->a ? "only in B" : "equal";
    if (!p->a || !p->b) return SN_OK;
    if (!sn_shape_equal(&p->a->shape, &p->b->shape)) {
        p->verdict = "shape differs";
        return SN_OK;
    }
    sn_weight a = {0}, b = {0};
    sn_status status = weight_of(c->a, p->a, c->arena, &a, error);
    if (!status) status = weight_of(c->b, p->b, c->arena, &b, error);
    size_t n = (size_t)a.columns;
    double *x = status ? NULL : sn_alloc(n + 1, sizeof *x), *y = status ? NULL : sn_alloc(n + 1, sizeof *y);
    float *scratch = status ? NULL : sn_alloc(n + 1, sizeof *scratch);
    if (!status && (!x || !y || !scratch)) status = sn_fail_memory(error);
    for (int64_t r = 0; r < a.rows && !status; r++) {
        if (!row_values(&a, r, scratch, x) || !row_values(&b, r, scratch, y))
            status = sn_fail(error, SN_ERROR_SUPPORT, "%s: types %s and %s cannot be compared", p->name, sn_type_of(a.type)->name, sn_type_of(b.type)->name);
        else compare_rows(p, x, y, a.columns, r * a.columns, c->rtol, c->atol);
    }
    if (p->differing) p->verdict = "differs";
    sn_free(x);
    sn_free(y);
    sn_free(scratch);
    sn_weight_release(&a);
    sn_weight_release(&b);
    return status;
}

static sn_status compare_all(comparison *c, sn_error *error) {
    c->pairs = sn_alloc(c->a->count + c->b->count + 1, sizeof *c->pairs);
    if (!c->pairs) return sn_fail_memory(error);
    for (size_t i = 0; i < c->a->count; i++)
        c->pairs[c->count++] = (pair){.name = c->a->tensors[i].name, .a = &c->a->tensors[i], .b = sn_source_find(c->b, c->a->tensors[i].name)};
    for (size_t i = 0; i < c->b->count; i++)
        if (!sn_source_find(c->a, c->b->tensors[i].name)) c->pairs[c->count++] = (pair){.name = c->b->tensors[i].name, .b = &c->b->tensors[i]};
    qsort(c->pairs, c->count, sizeof *c->pairs, compare_pairs);
    sn_progress progress;
    sn_status status = SN_OK;
    sn_progress_begin(&progress, stderr, "tensors compared", "tensors", (int64_t)c->count);
    for (size_t i = 0; i < c->count && !status; i++) {
        status = compare_tensor(c, &c->pairs[i], error);
        sn_progress_to(&progress, (int64_t)i + 1);
    }
    sn_progress_end(&progress);
    if (status) return status;
    for (size_t i = 0; i < c->count; i++) {
        const pair *p = &c->pairs[i];
        if (!counts(c, p)) continue;
        c->differing++;
        if (!c->first || (!(c->first->a && c->first->b) && p->a && p->b)) c->first = p;
    }
    return SN_OK;
}

/* ---- what is printed ---- */

static void put_shape(sn_buf *out, const sn_shape *shape) {
    sn_buf_puts(out, "[");
    for (int i = 0; i < shape->rank; i++) sn_buf_printf(out, "%s%lld", i ? ", " : "", (long long)shape->dim[i]);
    sn_buf_puts(out, "]");
}

static void place_of(const pair *p, int64_t index[SN_MAX_RANK]) {
    int64_t rest = p->at;
    for (int i = p->a->shape.rank - 1; i >= 0; i--) index[i] = rest % p->a->shape.dim[i], rest /= p->a->shape.dim[i];
}

static void put_place(sn_buf *out, const pair *p) {
    int64_t index[SN_MAX_RANK];
    place_of(p, index);
    sn_shape as_shape = {.rank = p->a->shape.rank};
    memcpy(as_shape.dim, index, sizeof index);
    put_shape(out, &as_shape);
}

static const sn_source_tensor *either(const pair *p) { return p->a ? p->a : p->b; }

/* One sentence about a pair that is not equal. */
static void describe(sn_buf *out, const pair *p) {
    sn_buf_printf(out, "%s", p->name);
    if (!p->differing) {
        sn_buf_printf(out, ": %s", p->verdict);
        if (!p->a || !p->b) return;
        sn_buf_puts(out, ": ");
        put_shape(out, &p->a->shape);
        sn_buf_puts(out, " and ");
        put_shape(out, &p->b->shape);
        return;
    }
    sn_buf_puts(out, " at ");
    put_place(out, p);
    sn_buf_printf(out, ": %.9g and %.9g; %lld of %lld values differ, by up to %.3g", p->value_a, p->value_b, (long long)p->differing, (long long)sn_shape_count(&p->a->shape), p->worst);
}

static void put_table(sn_buf *out, const comparison *c) {
    size_t width = 6;
    for (size_t i = 0; i < c->count; i++)
        if (strlen(c->pairs[i].name) > width && strlen(c->pairs[i].name) < 80) width = strlen(c->pairs[i].name);
    if (c->first) {
        sn_buf_puts(out, "first: ");
        describe(out, c->first);
        sn_buf_puts(out, "\n\n");
    }
    sn_buf_printf(out, "%-*s  %-13s  %12s  %s\n", (int)width, "tensor", "", "largest diff", "shape");
    for (size_t i = 0; i < c->count; i++) {
        const pair *p = &c->pairs[i];
        char worst[32] = "";
        if (strcmp(p->verdict, "equal") == 0 || p->differing) snprintf(worst, sizeof worst, "%.3g", p->worst);
        sn_buf_printf(out, "%-*s  %-13s  %12s  ", (int)width, p->name, p->verdict, worst);
        put_shape(out, &either(p)->shape);
        if (p->differing) {
            sn_buf_printf(out, "  %lld differ, first at ", (long long)p->differing);
            put_place(out, p);
        }
        sn_buf_puts(out, "\n");
    }
}

static json_t *shape_json(const sn_shape *shape) {
    json_t *list = json_array();
    for (int i = 0; i < shape->rank; i++) json_array_append_new(list, json_integer(shape->dim[i]));
    return list;
}

/* NaN and infinities have no number in JSON. */
static json_t *number_json(double value) { return isfinite(value) ? json_real(value) : json_string(isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"); }

static void put_json(sn_buf *out, const comparison *c) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < c->count; i++) {
        const pair *p = &c->pairs[i];
        json_t *object = json_pack("{s:s, s:s, s:o}", "name", p->name, "verdict", p->verdict, "shape", shape_json(&either(p)->shape));
        if (p->a && p->b) json_object_set_new(object, "largest_difference", number_json(p->worst));
        if (p->differing) {
            sn_shape place = {.rank = p->a->shape.rank};
            place_of(p, place.dim);
            json_object_set_new(object, "differing", json_integer(p->differing));
            json_object_set_new(object, "at", shape_json(&place));
            json_object_set_new(object, "a", number_json(p->value_a));
            json_object_set_new(object, "b", number_json(p->value_b));
        }
        json_array_append_new(tensors, object);
    }
    json_t *whole = json_pack("{s:f, s:f, s:I, s:s?, s:o}", "rtol", c->rtol, "atol", c->atol, "differing", (json_int_t)c->differing, "first", c->first ? c->first->name : NULL, "tensors", tensors);
    char *text = json_dumps(whole, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (text) sn_buf_printf(out, "%s\n", text);
    else out->failed = true;
    free(text);
    json_decref(whole);
}

/* ---- the command ---- */

static sn_status run(const sn_arguments *a, sn_error *error) {
    comparison c = {.rtol = 1e-4, .atol = 1e-5, .common = sn_argument_given(a, "common"), .arena = sn_arena_new()};
    sn_buf text = {0};
    sn_status status = c.arena ? SN_OK : sn_fail_memory(error);
    if (!status) status = sn_argument_number(a, "rtol", 0, 1e30, &c.rtol, error);
    if (!status) status = sn_argument_number(a, "atol", 0, 1e30, &c.atol, error);
    if (!status) status = sn_source_open(a->plain[0], &c.a, error);
    if (!status) status = sn_source_open(a->plain[1], &c.b, error);
    if (!status) status = compare_all(&c, error);
    if (!status) {
        if (sn_argument_given(a, "json")) put_json(&text, &c);
        else put_table(&text, &c);
        if (text.failed) status = sn_fail_memory(error);
        else if (text.length) sn_print(text.data, text.length);
    }
    if (!status) status = sn_print_status(error);
    if (!status && c.differing) status = sn_fail(error, SN_ERROR_INPUT, "%zu of %zu tensors differ", c.differing, c.count);
    sn_buf_free(&text);
    sn_source_close(c.a);
    sn_source_close(c.b);
    sn_free(c.pairs);
    sn_arena_free(c.arena);
    return status;
}

static const sn_option options[] = {
    {"rtol", 0, "R", "allowed difference relative to B's value (default 1e-4)"},
    {"atol", 0, "A", "allowed absolute difference (default 1e-5)"},
    {"common", 0, NULL, "tensors that only one of the files has do not count as a difference"},
    {"json", 0, NULL, "the same for programs"},
    {0}};

const sn_command sn_command_compare = {
    .name = "compare", .summary = "which tensors of two files differ, the first one on top", .plain = "A B", .min_plain = 2, .max_plain = 2,
    .details = "A and B are checkpoints, or results of `sensorium trace` and a reference's. The table is in the order in which data flow\n"
               "through a model: pixel_values, vision.*, connector.*, lm.*, generate.*, loss.*, grad.*, param.*; what differs first has\n"
               "made all behind it differ. Values are equal when |a - b| <= atol + rtol |b|. Exit status 1 when anything differs.",
    .example = "sensorium compare --common /tmp/out/actual.safetensors tests/goldens/llava/v15-generate/expected.safetensors",
    .tables = (const sn_option *const[]){options, NULL}, .run = run};
