/* The vector file written anew without the rows that belong to nothing. The new file gets a mark of its own, the database
 * commits to that mark, then the new file takes the old one's name: whenever the process ends, one of the two files is the
 * one that the database refers to, and whoever opens the gallery finds it (gallery.c). */
#include "gallery/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { ROWS_AT_ONCE = 256 };

/* Copies the rows that windows name, in their order. */
static sn_status copy_rows(sn_gallery *g, sn_vectors *to, sn_error *error) {
    sn_weight rows;
    sqlite3_stmt *all = sn_gallery_prepare(g, "SELECT row FROM windows ORDER BY row", error);
    float *block = sn_alloc(ROWS_AT_ONCE, (size_t)g->vectors.width * sizeof *block);
    sn_status status = !all ? SN_ERROR_IO : !block ? sn_fail_memory(error) : sn_vectors_map(&g->vectors, &rows, error);
    int64_t held = 0;
    int code = SQLITE_DONE;
    while (!status && (code = sqlite3_step(all)) == SQLITE_ROW) {
        int64_t row = sqlite3_column_int64(all, 0);
        if (row < 0 || row >= rows.rows) status = sn_fail(error, SN_ERROR_INPUT, "%s: names row %lld of %lld; it is damaged", g->path, (long long)row, (long long)rows.rows);
        else sn_weight_row_floats(&rows, row, block + held++ * g->vectors.width);
        if (!status && held == ROWS_AT_ONCE) status = sn_vectors_append(to, block, held, error), held = 0;
    }
    if (!status && code != SQLITE_DONE) status = sn_gallery_fail(g, "read", error);
    if (!status) status = sn_vectors_append(to, block, held, error);
    if (!status) status = sn_vectors_sync(to, error);
    sqlite3_finalize(all);
    sn_free(block);
    return status;
}

/* The windows' rows count from 0 without gaps. None is ever above its old place, so in rising order none meets another. */
static sn_status renumber(sn_gallery *g, const sn_vectors *to, sn_error *error) {
    char identity[40], rows[24];
    sqlite3_stmt *next = NULL, *move = NULL;
    sn_gallery_identity(to, identity);
    snprintf(rows, sizeof rows, "%lld", (long long)to->rows);
    sn_status status = sn_gallery_run(g, "BEGIN IMMEDIATE", error);
    if (status) return status;
    next = sn_gallery_prepare(g, "SELECT row FROM windows WHERE row >= ? ORDER BY row LIMIT 1", error);
    move = sn_gallery_prepare(g, "UPDATE windows SET row = ? WHERE row = ?", error);
    if (!next || !move) status = SN_ERROR_IO;
    for (int64_t row = 0; row < to->rows && !status; row++) {
        sqlite3_bind_int64(next, 1, row);
        int64_t old = sqlite3_step(next) == SQLITE_ROW ? sqlite3_column_int64(next, 0) : row;
        sqlite3_reset(next);
        if (old == row) continue;
        sqlite3_bind_int64(move, 1, row);
        sqlite3_bind_int64(move, 2, old);
        status = sn_gallery_step(g, move, error);
    }
    sqlite3_finalize(next);
    sqlite3_finalize(move);
    if (!status) status = sn_gallery_run(g, "DELETE FROM free", error);
    if (!status) status = sn_gallery_set(g, "rows", rows, error);
    if (!status) status = sn_gallery_set(g, "vectors", identity, error);
    if (!status) status = sn_gallery_run(g, "COMMIT", error);
    if (status) sqlite3_exec(g->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

sn_status sn_gallery_compact(sn_gallery *g, int64_t *freed, sn_error *error) {
    int64_t used = 0, before = g->rows;
    sn_vectors to = {.fd = -1};
    *freed = 0;
    sn_status status = sn_gallery_number(g, "SELECT count(*) FROM windows", &used, error);
    if (status || used == before) return status;
    char *aside = sn_format("%s.new", g->vectors.path);
    if (!aside) return sn_fail_memory(error);
    unlink(aside);
    status = sn_vectors_create(aside, g->vectors.type, g->vectors.width, &to, error);
    if (!status && flock(to.fd, LOCK_EX | LOCK_NB) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: cannot lock: %s", aside, strerror(errno));
    if (!status) status = copy_rows(g, &to, error);
    if (!status) status = renumber(g, &to, error);
    if (status) {
        if (to.fd >= 0) unlink(aside);
        sn_vectors_close(&to);
    } else {
        if (rename(aside, g->vectors.path) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: %s; the next run will do it", aside, strerror(errno));
        char *name = g->vectors.path;
        g->vectors.path = NULL;
        sn_vectors_close(&g->vectors);
        sn_free(to.path);
        g->vectors = to, g->vectors.path = name;
        g->rows = to.rows;
        *freed = before - to.rows;
    }
    sn_free(aside);
    return status;
}
