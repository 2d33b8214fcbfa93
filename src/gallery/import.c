/* Rows that another program made: a published gallery becomes one of one's own, once. */
#include "gallery/private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS_AT_ONCE = 4096 };

typedef struct import {
    sn_gallery *g;
    const sn_finder *from;
    sqlite3_stmt *file, *window;
    float *block; /* [ROWS_AT_ONCE, width] */
    int64_t held, added, normalised;
} import;

/* The row's picture gets a file and a place behind the last one; a path that is known keeps what it has. */
static sn_status add_row(import *i, int64_t row, sn_error *error) {
    char *path;
    int64_t width = i->g->vectors.width;
    float *vector = i->block + i->held * width;
    sn_status status = i->from->path(i->from, row, &path, error);
    if (status || !path) return status;
    sqlite3_bind_text(i->file, 1, path, -1, SQLITE_TRANSIENT);
    int code = sqlite3_step(i->file);
    int64_t id = code == SQLITE_ROW ? sqlite3_column_int64(i->file, 0) : -1;
    sqlite3_reset(i->file);
    sn_free(path);
    if (code == SQLITE_DONE) return SN_OK;
    if (code != SQLITE_ROW) return sn_gallery_fail(i->g, "write", error);
    sn_weight_row_floats(&i->from->rows, row, vector);
    if (i->from->scale) i->normalised += fabs(1 / (double)i->from->scale[row] - 1) > 1e-3;
    sn_unit(vector, width);
    sqlite3_bind_int64(i->window, 1, i->g->vectors.rows + i->held++);
    sqlite3_bind_int64(i->window, 2, id);
    return sn_gallery_step(i->g, i->window, error);
}

/* Rows on the disk before the transaction that names them. */
static sn_status add_block(import *i, int64_t begin, int64_t end, sn_error *error) {
    char rows[24];
    int64_t before = i->g->vectors.rows;
    i->held = 0;
    sn_status status = sn_gallery_run(i->g, "BEGIN IMMEDIATE", error);
    for (int64_t row = begin; row < end && !status; row++) status = add_row(i, row, error);
    if (!status) status = sn_vectors_append(&i->g->vectors, i->block, i->held, error);
    if (!status) status = sn_vectors_sync(&i->g->vectors, error);
    snprintf(rows, sizeof rows, "%lld", (long long)i->g->vectors.rows);
    if (!status) status = sn_gallery_set(i->g, "rows", rows, error);
    if (!status) status = sn_gallery_run(i->g, "COMMIT", error);
    if (status) {
        sqlite3_exec(i->g->db, "ROLLBACK", NULL, NULL, NULL);
        sn_vectors_cut(&i->g->vectors, before, NULL);
        return status;
    }
    i->added += i->held;
    i->g->rows = i->g->vectors.rows;
    return SN_OK;
}

sn_status sn_gallery_import(sn_gallery *g, const sn_finder *from, const char *where, int64_t *added, int64_t *normalised, sn_error *error) {
    import i = {.g = g, .from = from};
    int64_t rows = from->rows.rows;
    if (from->rows.columns != g->vectors.width)
        return sn_fail(error, SN_ERROR_INPUT, "%s: its rows are %lld wide, the gallery's %lld", where, (long long)from->rows.columns, (long long)g->vectors.width);
    for (int64_t row = 0; row < rows && from->scale; row++)
        if (from->scale[row] == 0) return sn_fail(error, SN_ERROR_INPUT, "%s: row %lld is zero or not finite: it points nowhere; nothing was added", where, (long long)row);
    i.file = sn_gallery_prepare(g, "INSERT INTO files(path, size, mtime, hash, kind, state) VALUES(?, 0, 0, '', 'picture', 'indexed') ON CONFLICT(path) DO NOTHING RETURNING id", error);
    i.window = i.file ? sn_gallery_prepare(g, "INSERT INTO windows VALUES(?, ?, 'picture', NULL, NULL)", error) : NULL;
    i.block = sn_alloc(ROWS_AT_ONCE, (size_t)g->vectors.width * sizeof *i.block);
    sn_status status = !i.window ? SN_ERROR_IO : !i.block ? sn_fail_memory(error) : SN_OK;
    for (int64_t row = 0; row < rows && !status; row += ROWS_AT_ONCE) status = add_block(&i, row, row + ROWS_AT_ONCE < rows ? row + ROWS_AT_ONCE : rows, error);
    sqlite3_finalize(i.file);
    sqlite3_finalize(i.window);
    sn_free(i.block);
    *added = i.added, *normalised = i.normalised;
    return status;
}
