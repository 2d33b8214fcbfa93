/* From rows back to files. More rows are looked up than files are wanted, since a file's windows and pictures that look
 * the same are folded under the best of them; where too few are left, the search is made again with more. */
#include "gallery/private.h"

#include <string.h>
#include <unistd.h>

static const float same_cosine = 0.98f;

typedef struct lookup {
    sn_gallery *g;
    sn_weight rows;
    uint64_t *skip;
    sqlite3_stmt *file;
    float *kept; /* vectors of the results so far [k, width] */
    int64_t *ids;
} lookup;

static sn_status read_skip(sn_gallery *g, int64_t rows, uint64_t **skip, sn_error *error) {
    sqlite3_stmt *s = sn_gallery_prepare(g, "SELECT row FROM free", error);
    *skip = sn_alloc((size_t)(rows / 64 + 1), sizeof **skip);
    if (!s || !*skip) {
        sqlite3_finalize(s);
        return s ? sn_fail_memory(error) : SN_ERROR_IO;
    }
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t row = sqlite3_column_int64(s, 0);
        if (row >= 0 && row < rows) (*skip)[row / 64] |= (uint64_t)1 << (row % 64);
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? SN_OK : sn_gallery_fail(g, "read", error);
}

sn_status sn_gallery_rows(sn_gallery *g, sn_weight *out, uint64_t **skip, sn_error *error) {
    int64_t rows = g->rows;
    if (!sn_gallery_paired(g)) return sn_fail(error, SN_ERROR_IO, "%s: was compacted while it was open; open it again", g->path);
    sn_status status = sn_gallery_number(g, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'rows'", &rows, error);
    if (!status) status = sn_vectors_map(&g->vectors, out, error);
    if (!status && rows >= 0 && rows < out->rows) *out = sn_weight_view(g->vectors.type, SN_SHAPE(rows, g->vectors.width), out->part[0].data);
    return status ? status : read_skip(g, out->rows, skip, error);
}

/* Stored in half precision, a row is not quite of length 1: what is shown is the cosine all the same. */
static float cosine(const float *query, float *row, int64_t width) {
    double sum = 0;
    if (!sn_unit(row, width)) return 0;
    for (int64_t i = 0; i < width; i++) sum += (double)query[i] * row[i];
    return sum > 1 ? 1 : sum < -1 ? -1 : (float)sum;
}

static float dot(const float *a, const float *b, int64_t width) {
    double sum = 0;
    for (int64_t i = 0; i < width; i++) sum += (double)a[i] * b[i];
    return (float)sum;
}

/* Adds a hit as a result of its own, or folds it under one that is there. */
static sn_status add_hit(lookup *l, const float *query, sn_hit hit, bool all, sn_found *out, sn_error *error) {
    int64_t width = l->rows.columns;
    sqlite3_bind_int64(l->file, 1, hit.row);
    int code = sqlite3_step(l->file);
    int64_t id = code == SQLITE_ROW ? sqlite3_column_int64(l->file, 0) : -1;
    char *path = code == SQLITE_ROW ? sn_strdup(sn_gallery_text(l->file, 1)) : NULL;
    sqlite3_reset(l->file);
    if (code == SQLITE_DONE) return SN_OK; /* a row that no file names */
    if (code != SQLITE_ROW) return sn_gallery_fail(l->g, "read", error);
    if (!path) return sn_fail_memory(error);
    float *vector = l->kept + out->count * width;
    sn_weight_row_floats(&l->rows, hit.row, vector);
    float score = cosine(query, vector, width);
    for (int64_t i = 0; i < out->count; i++) {
        bool same_file = l->ids[i] == id, same_look = !all && dot(l->kept + i * width, vector, width) > same_cosine;
        if (!same_file && !same_look) continue;
        out->file[i].folded += !same_file;
        sn_free(path);
        return SN_OK;
    }
    l->ids[out->count] = id;
    out->file[out->count++] = (sn_found_file){.path = path, .score = score, .gone = !strstr(path, "://") && access(path, F_OK) != 0};
    return SN_OK;
}

/* They stand in the order of the stored rows' products, which the exact cosines may exchange by a place. */
static void sort(sn_found *out) {
    for (int64_t i = 1; i < out->count; i++)
        for (int64_t j = i; j > 0 && out->file[j].score > out->file[j - 1].score; j--) {
            sn_found_file better = out->file[j];
            out->file[j] = out->file[j - 1], out->file[j - 1] = better;
        }
}

static void clear(sn_found *out) {
    for (int64_t i = 0; i < out->count; i++) sn_free(out->file[i].path);
    out->count = 0;
}

/* Looks at the best `depth` rows; *enough: k files were found, or there are no further rows. */
static sn_status look(lookup *l, const float *query, int64_t depth, int64_t k, double min_score, bool all, sn_found *out, bool *enough, sn_error *error) {
    sn_hit *hits = sn_alloc((size_t)depth, sizeof *hits);
    sn_spread *spread = sn_alloc(1, sizeof *spread);
    sn_search search = {.rows = &l->rows, .skip = l->skip, .clamp = true, .k = depth};
    int64_t found = 0, i = 0;
    sn_status status = hits && spread ? sn_search_rows(&search, query, 1, hits, &found, spread, error) : sn_fail_memory(error);
    clear(out);
    for (; i < found && out->count < k && !status && (double)hits[i].score >= min_score; i++) status = add_hit(l, query, hits[i], all, out, error);
    *enough = out->count >= k || found < depth || (i < found && (double)hits[i].score < min_score);
    if (!status) out->searched = spread->total, out->median = sn_spread_at(spread, 0.5), out->high = sn_spread_at(spread, 0.99);
    sn_free(hits);
    sn_free(spread);
    return status;
}

sn_status sn_gallery_search(sn_gallery *g, const float *query, int64_t k, double min_score, bool all, sn_found *out, sn_error *error) {
    lookup l = {.g = g};
    bool enough = false;
    *out = (sn_found){0};
    sn_status status = sn_gallery_run(g, "BEGIN", error); /* one view of the database from the first look to the last */
    if (status) return status;
    status = sn_gallery_rows(g, &l.rows, &l.skip, error);
    if (!status && k > l.rows.rows) k = l.rows.rows;
    if (!status && !(l.file = sn_gallery_prepare(g, "SELECT files.id, files.path FROM windows JOIN files ON files.id = windows.file WHERE windows.row = ?", error))) status = SN_ERROR_IO;
    l.kept = sn_alloc((size_t)k + 1, (size_t)g->vectors.width * sizeof *l.kept);
    l.ids = sn_alloc((size_t)k + 1, sizeof *l.ids);
    out->file = sn_alloc((size_t)k + 1, sizeof *out->file);
    if (!status && (!l.kept || !l.ids || !out->file)) status = sn_fail_memory(error);
    for (int64_t depth = 4 * k + 32; k > 0 && !status && !enough; depth *= 4) {
        if (depth > l.rows.rows) depth = l.rows.rows;
        status = look(&l, query, depth, k, min_score, all, out, &enough, error);
        enough = enough || depth == l.rows.rows;
    }
    sort(out);
    sqlite3_finalize(l.file);
    sqlite3_exec(g->db, "COMMIT", NULL, NULL, NULL);
    sn_free(l.kept);
    sn_free(l.ids);
    sn_free(l.skip);
    if (status) sn_found_free(out);
    return status;
}

void sn_found_free(sn_found *f) {
    clear(f);
    sn_free(f->file);
    *f = (sn_found){0};
}
