/* A pickle {"paths": [text, …], "embeddings": numpy array}: read by the restricted reader; the array's bytes are a view. */
#include "systems/fromage_gallery.h"

#include "vectors/search.h"
#include "weights/pickle.h"

#include <string.h>

void sn_fromage_gallery_close(sn_fromage_gallery *g) {
    sn_weight_release(&g->rows);
    sn_free(g->scale);
    sn_arena_free(g->arena);
    sn_unmap_file(&g->file);
    *g = (sn_fromage_gallery){0};
}

static const sn_value *item(const sn_value *list, size_t i) {
    bool has = list && (list->kind == SN_VALUE_TUPLE || list->kind == SN_VALUE_LIST) && i < list->u.list.count;
    return has ? list->u.list.items[i] : NULL;
}

static int64_t whole(const sn_value *v) { return v && v->kind == SN_VALUE_INT ? v->u.integer : -1; }

/* numpy.ndarray as it pickles itself: state (version, shape, dtype, fortran, bytes). */
static sn_status read_array(const char *path, const sn_value *array, sn_weight *out, sn_error *error) {
    static const struct { const char *name; sn_type type; } types[] = {{"f4", SN_TYPE_F32}, {"f2", SN_TYPE_F16}};
    const sn_value *state = array && array->kind == SN_VALUE_OBJECT && strstr(array->u.object.name, "multiarray._reconstruct") ? array->u.object.state : NULL;
    const sn_value *shape = item(state, 1), *dtype = item(state, 2), *fortran = item(state, 3), *bytes = item(state, 4);
    int64_t rows = whole(item(shape, 0)), columns = whole(item(shape, 1)), size = 0, all;
    bool is_dtype = dtype && dtype->kind == SN_VALUE_OBJECT && strcmp(dtype->u.object.name, "numpy.dtype") == 0, known = false;
    const sn_value *name = is_dtype ? item(dtype->u.object.arguments, 0) : NULL, *order = is_dtype ? item(dtype->u.object.state, 1) : NULL;
    sn_type type = SN_TYPE_F32;
    for (size_t i = 0; name && i < 2; i++)
        if (sn_value_is_text(name, types[i].name)) type = types[i].type, known = true;
    if (!bytes || bytes->kind != SN_VALUE_BYTES) return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: expected one numpy array of rows", path);
    if (!known || (order && sn_value_is_text(order, ">")) || (fortran && fortran->kind == SN_VALUE_BOOL && fortran->u.truth))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: embeddings: expected little-endian float32 or float16 rows", path);
    if (rows < 1 || columns < 1 || (shape->u.list.count != 2)) return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: expected the shape [pictures, size]", path);
    if (!sn_type_bytes(type, columns, &size) || __builtin_mul_overflow(size, rows, &all) || (uint64_t)all != bytes->u.text.length)
        return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: [%lld, %lld] does not fit %zu bytes", path, (long long)rows, (long long)columns, bytes->u.text.length);
    *out = sn_weight_view(type, SN_SHAPE(rows, columns), bytes->u.text.data);
    return SN_OK;
}

static sn_status read_paths(const char *path, const sn_value *list, int64_t rows, sn_fromage_gallery *g, sn_error *error) {
    if (!list || list->kind != SN_VALUE_LIST || (int64_t)list->u.list.count != rows)
        return sn_fail(error, SN_ERROR_INPUT, "%s: paths: found %lld, expected one for each of %lld rows", path, list && list->kind == SN_VALUE_LIST ? (long long)list->u.list.count : 0LL, (long long)rows);
    g->paths = sn_arena_alloc(g->arena, (size_t)rows, sizeof *g->paths);
    if (!g->paths) return sn_fail_memory(error);
    for (int64_t i = 0; i < rows; i++) {
        const sn_value *v = list->u.list.items[i];
        if (v->kind != SN_VALUE_TEXT) return sn_fail(error, SN_ERROR_INPUT, "%s: paths[%lld]: expected a text", path, (long long)i);
        if (!(g->paths[i] = sn_arena_format(g->arena, "%.*s", (int)v->u.text.length, v->u.text.data))) return sn_fail_memory(error);
    }
    return SN_OK;
}

sn_status sn_fromage_gallery_open(const char *path, int64_t size, sn_fromage_gallery *g, sn_error *error) {
    sn_pickle pickle;
    *g = (sn_fromage_gallery){0};
    sn_status status = sn_map_file(path, &g->file, error);
    if (!status && !(g->arena = sn_arena_new())) status = sn_fail_memory(error);
    if (!status) status = sn_pickle_read(path, g->file.data, g->file.size, g->arena, &pickle, error);
    if (!status && pickle.top->kind != SN_VALUE_DICT) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a dictionary with paths and embeddings", path);
    if (!status) status = read_array(path, sn_value_get(pickle.top, "embeddings"), &g->rows, error);
    if (!status && g->rows.columns != size)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: its rows are %lld wide, this model's queries %lld: a gallery of another model", path, (long long)g->rows.columns, (long long)size);
    if (!status) status = read_paths(path, sn_value_get(pickle.top, "paths"), g->rows.rows, g, error);
    int64_t zero = -1;
    if (!status && !(g->scale = sn_alloc((size_t)g->rows.rows, sizeof *g->scale))) status = sn_fail_memory(error);
    if (!status) sn_row_scales(&g->rows, g->scale, &zero);
    if (status) sn_fromage_gallery_close(g);
    return status;
}
