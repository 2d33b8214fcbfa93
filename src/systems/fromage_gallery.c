/* The galleries published with FROMAGe, cc3m_embeddings*.pkl: pickles {"paths": [address, …], "embeddings": …} read by the
 * restricted reader. Embeddings that are one numpy array are searched where they are mapped; those that are a list of tensors
 * (as the authors' script writes them) are copied. Several files follow each other as parts of one matrix. */
#include "base/file.h"
#include "systems/fromage.h"
#include "vectors/search.h"
#include "weights/pickle.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
    const char *data;
    size_t length;
} text;

typedef struct part {
    sn_mapping file;
    sn_weight rows;
    float *copied; /* of a list of tensors */
    text *paths;   /* [rows], where they are mapped */
} part;

typedef struct gallery {
    part parts[SN_MAX_PARTS];
    int count;
    float *scale;
} gallery;

static void close_gallery(sn_finder *f) {
    gallery *g = f->own;
    for (int i = 0; i < g->count; i++) {
        sn_free(g->parts[i].copied);
        sn_free(g->parts[i].paths);
        sn_unmap_file(&g->parts[i].file);
    }
    sn_free(g->scale);
    sn_free(g);
}

static sn_status path_of(const sn_finder *f, int64_t row, char **path, sn_error *error) {
    const gallery *g = f->own;
    const part *p = g->parts;
    while (row >= p->rows.rows) row -= (p++)->rows.rows;
    return (*path = sn_strndup(p->paths[row].data, p->paths[row].length)) ? SN_OK : sn_fail_memory(error);
}

static const sn_value *item(const sn_value *list, size_t i) {
    bool has = list && (list->kind == SN_VALUE_TUPLE || list->kind == SN_VALUE_LIST) && i < list->u.list.count;
    return has ? list->u.list.items[i] : NULL;
}

static int64_t whole(const sn_value *v) { return v && v->kind == SN_VALUE_INT ? v->u.integer : -1; }

/* numpy.ndarray as it pickles itself: state (version, shape, dtype, fortran, bytes). */
static sn_status read_array(const char *path, const sn_value *array, part *p, sn_error *error) {
    static const struct { const char *name; sn_type type; } types[] = {{"f4", SN_TYPE_F32}, {"f2", SN_TYPE_F16}};
    const sn_value *state = array && array->kind == SN_VALUE_OBJECT && strstr(array->u.object.name, "multiarray._reconstruct") ? array->u.object.state : NULL;
    const sn_value *shape = item(state, 1), *dtype = item(state, 2), *fortran = item(state, 3), *bytes = item(state, 4);
    int64_t rows = whole(item(shape, 0)), columns = whole(item(shape, 1)), size = 0, all;
    bool is_dtype = dtype && dtype->kind == SN_VALUE_OBJECT && strcmp(dtype->u.object.name, "numpy.dtype") == 0, known = false;
    const sn_value *name = is_dtype ? item(dtype->u.object.arguments, 0) : NULL, *order = is_dtype ? item(dtype->u.object.state, 1) : NULL;
    sn_type type = SN_TYPE_F32;
    for (size_t i = 0; name && i < 2; i++)
        if (sn_value_is_text(name, types[i].name)) type = types[i].type, known = true;
    if (!bytes || bytes->kind != SN_VALUE_BYTES) return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: expected one numpy array of rows, or a list of tensors", path);
    if (!known || (order && sn_value_is_text(order, ">")) || (fortran && fortran->kind == SN_VALUE_BOOL && fortran->u.truth))
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: embeddings: expected little-endian float32 or float16 rows", path);
    if (rows < 1 || columns < 1 || (shape->u.list.count != 2)) return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: expected the shape [pictures, size]", path);
    if (!sn_type_bytes(type, columns, &size) || __builtin_mul_overflow(size, rows, &all) || (uint64_t)all != bytes->u.text.length)
        return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: [%lld, %lld] does not fit %zu bytes", path, (long long)rows, (long long)columns, bytes->u.text.length);
    p->rows = sn_weight_view(type, SN_SHAPE(rows, columns), bytes->u.text.data);
    return SN_OK;
}

/* [tensor of one row, …], each with its storage inside the pickle. Copied as floats: its views lie anywhere. */
static sn_status read_list(const char *path, const sn_value *list, int64_t size, part *p, sn_error *error) {
    int64_t rows = (int64_t)list->u.list.count;
    if (rows < 1) return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings: the list is empty", path);
    for (int64_t i = 0; i < rows; i++) {
        const sn_value *v = list->u.list.items[i];
        const sn_pickled_tensor *t = v->kind == SN_VALUE_TENSOR ? v->u.tensor : NULL;
        int64_t count = t ? sn_shape_count(&t->shape) : 0;
        if (!t || t->shape.rank < 1 || t->shape.dim[t->shape.rank - 1] != count)
            return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings[%lld]: expected a tensor that is one row", path, (long long)i);
        if (count != size)
            return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings[%lld] is %lld wide, this model's queries %lld: a gallery of another model", path, (long long)i, (long long)count, (long long)size);
    }
    p->copied = sn_alloc((size_t)rows, (size_t)size * sizeof *p->copied);
    if (!p->copied) return sn_fail_memory(error);
    for (int64_t i = 0; i < rows; i++)
        if (!sn_pickled_floats(list->u.list.items[i]->u.tensor, p->copied + i * size))
            return sn_fail(error, SN_ERROR_INPUT, "%s: embeddings[%lld]: expected a tensor of numbers with its values in the pickle", path, (long long)i);
    p->rows = sn_weight_view(SN_TYPE_F32, SN_SHAPE(rows, size), p->copied);
    return SN_OK;
}

static sn_status read_paths(const char *path, const sn_value *list, part *p, sn_error *error) {
    int64_t rows = p->rows.rows;
    if (!list || list->kind != SN_VALUE_LIST || (int64_t)list->u.list.count != rows)
        return sn_fail(error, SN_ERROR_INPUT, "%s: paths: found %lld, expected one for each of %lld rows", path, list && list->kind == SN_VALUE_LIST ? (long long)list->u.list.count : 0LL, (long long)rows);
    p->paths = sn_alloc((size_t)rows, sizeof *p->paths);
    if (!p->paths) return sn_fail_memory(error);
    for (int64_t i = 0; i < rows; i++) {
        const sn_value *v = list->u.list.items[i];
        bool mapped = v->kind == SN_VALUE_TEXT && (const unsigned char *)v->u.text.data >= p->file.data && (const unsigned char *)v->u.text.data < p->file.data + p->file.size; /* no huge integer */
        if (!mapped) return sn_fail(error, SN_ERROR_INPUT, "%s: paths[%lld]: expected a text", path, (long long)i);
        p->paths[i] = (text){v->u.text.data, v->u.text.length};
    }
    return SN_OK;
}

/* size: of the model's queries; a gallery of another width is refused. */
static sn_status read_part(const char *path, int64_t size, part *p, sn_error *error) {
    sn_pickle pickle;
    sn_arena *arena = NULL;
    sn_status status = sn_map_file(path, &p->file, error);
    if (!status && !(arena = sn_arena_new())) status = sn_fail_memory(error);
    if (!status) status = sn_pickle_read(path, p->file.data, p->file.size, arena, &pickle, error);
    if (!status && pickle.top->kind != SN_VALUE_DICT) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a dictionary with paths and embeddings", path);
    const sn_value *rows = status ? NULL : sn_value_get(pickle.top, "embeddings");
    if (!status) status = rows && rows->kind == SN_VALUE_LIST ? read_list(path, rows, size, p, error) : read_array(path, rows, p, error);
    if (!status && p->rows.columns != size)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: its rows are %lld wide, this model's queries %lld: a gallery of another model", path, (long long)p->rows.columns, (long long)size);
    if (!status) status = read_paths(path, sn_value_get(pickle.top, "paths"), p, error);
    sn_arena_free(arena);
    return status;
}

/* The parts as one matrix. */
static sn_status join(const char *path, gallery *g, sn_finder *out, sn_error *error) {
    sn_weight all = g->parts[0].rows;
    for (int i = 1; i < g->count; i++) {
        const sn_weight *next = &g->parts[i].rows;
        if (next->type != all.type) return sn_fail(error, SN_ERROR_SUPPORT, "%s: the files store their embeddings in different types; `sensorium index --import` makes one gallery of them", path);
        all.part[all.num_parts++] = next->part[0];
        all.rows += next->rows, all.shape.dim[0] += next->rows;
    }
    if (!(g->scale = sn_alloc((size_t)all.rows, sizeof *g->scale))) return sn_fail_memory(error);
    sn_row_scales(&all, g->scale, NULL);
    out->rows = all, out->scale = g->scale;
    return SN_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

sn_status sn_fromage_gallery(const sn_model *m, const char *path, sn_finder *out, sn_error *error) {
    glob_t found = {0};
    char *in_folder = sn_is_directory(path) ? sn_path_join(path, "cc3m_embeddings*.pkl") : NULL;
    const char *pattern = in_folder ? in_folder : path, *const *names = &path;
    size_t count = 1;
    gallery *g = sn_alloc(1, sizeof *g);
    *out = (sn_finder){.path = path_of, .close = close_gallery, .own = g};
    sn_status status = g ? SN_OK : sn_fail_memory(error);
    if (!status && !sn_is_file(path)) { /* a pattern: in the order of the names, which no locale changes */
        if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: there is no such file", pattern);
        else qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, by_name);
        names = (const char *const *)found.gl_pathv, count = found.gl_pathc;
    }
    if (!status && count > SN_MAX_PARTS)
        status = sn_fail(error, SN_ERROR_SUPPORT, "%s: found %zu files, at most %d are searched where they lie; `sensorium index --import` makes one gallery of them", pattern, count, SN_MAX_PARTS);
    for (size_t i = 0; i < count && !status; i++) status = read_part(names[i], m->lm.query_size, &g->parts[g->count++], error);
    if (!status) status = join(pattern, g, out, error);
    globfree(&found);
    sn_free(in_folder);
    if (status && g) sn_finder_close(out);
    return status;
}
