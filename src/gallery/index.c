/* One run over the folders: what is there, what the database knows, and the difference.
 *
 * A file that has its size and time is not read. One that was changed is told by its hash; a new path with a known hash
 * whose old path is gone was moved and keeps its vector. The others are read ahead (reader.h) and embedded one by one.
 * Vectors are committed in batches: rows to the vector file, sync, then the transaction that names them. A row that the batch
 * itself sets free is not used again before the next one, so a run that is killed never leaves a path with another's vector. */
#include "gallery/private.h"
#include "gallery/reader.h"

#include "base/map.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, MAX_DEPTH = 128, MAX_FILE = 512 << 20 };

/* ---- the folders ---- */

typedef struct found {
    char *path;
    int64_t size, mtime; /* nanoseconds */
} found;

typedef struct walk {
    found *file;
    size_t count, capacity;
    sn_arena *arena;
    const sn_gallery *gallery;
} walk;

static sn_status add_file(walk *w, const char *path, const struct stat *info, sn_error *error) {
    size_t own = strlen(w->gallery->path);
    if (strncmp(path, w->gallery->path, own) == 0 && (!path[own] || path[own] == '-')) return SN_OK; /* the database and what SQLite puts beside it */
    if (strcmp(path, w->gallery->vectors.path) == 0) return SN_OK;
    if (!sn_grow((void **)&w->file, &w->capacity, w->count + 1, sizeof *w->file)) return sn_fail_memory(error);
    char *copy = sn_arena_strdup(w->arena, path);
    if (!copy) return sn_fail_memory(error);
    w->file[w->count++] = (found){copy, (int64_t)info->st_size, (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec};
    return SN_OK;
}

/* Hidden files, links, devices and pipes are passed over. */
static sn_status add_folder(walk *w, const char *folder, int depth, sn_error *error) {
    DIR *dir = opendir(folder);
    if (!dir) return sn_fail(error, SN_ERROR_IO, "%s: %s", folder, strerror(errno));
    sn_status status = depth < MAX_DEPTH ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: folders are nested more than %d deep", folder, MAX_DEPTH);
    for (struct dirent *entry; !status && (entry = readdir(dir));) {
        struct stat info;
        char *path = entry->d_name[0] == '.' ? NULL : sn_path_join(folder, entry->d_name);
        if (path && lstat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode)) status = add_folder(w, path, depth + 1, error);
            else if (S_ISREG(info.st_mode)) status = add_file(w, path, &info, error);
        }
        sn_free(path);
    }
    closedir(dir);
    return status;
}

static int by_path(const void *a, const void *b) { return strcmp(((const found *)a)->path, ((const found *)b)->path); }

static sn_status add_given(walk *w, const char *given, char **root, sn_error *error) {
    struct stat info;
    char *whole = realpath(given, NULL);
    if (!whole || stat(whole, &info) != 0) {
        free(whole);
        return sn_fail(error, SN_ERROR_IO, "%s: %s", given, strerror(errno));
    }
    *root = sn_arena_strdup(w->arena, whole);
    sn_status status = !*root ? sn_fail_memory(error) : S_ISDIR(info.st_mode) ? add_folder(w, whole, 0, error) : S_ISREG(info.st_mode) ? add_file(w, whole, &info, error) : SN_OK;
    free(whole);
    return status;
}

/* ---- one run ---- */

typedef struct pending {
    const found *file;
    char hash[33];
    float *vector; /* NULL: failed, for this reason */
    char reason[1024];
} pending;

typedef struct run {
    sn_gallery *g;
    const sn_gallery_model *model;
    const sn_index_options *options;
    sn_index_report *report;
    sqlite3_stmt *lookup, *by_hash, *touch, *move, *upsert, *drop_rows, *free_rows, *add_window, *list_free, *use_free;
    int64_t last_run;
    sn_reader *reader;
    pending *ahead; /* of the files that are being read, in their order: file n in place n % BATCH */
    uint64_t added, embedded;
    pending batch[BATCH];
    int num_batch;
    int64_t free[BATCH]; /* rows that were free before the batch */
    int num_free;
} run;

static sn_status hash_file(const char *path, char hash[33], sn_error *error) {
    char *bytes;
    size_t size;
    sn_status status = sn_read_file(path, MAX_FILE, &bytes, &size, error);
    if (status) return status;
    snprintf(hash, 33, "%016llx%016llx", (unsigned long long)sn_hash(bytes, size, 1), (unsigned long long)sn_hash(bytes, size, 2));
    sn_free(bytes);
    return SN_OK;
}

static void bind_text(sqlite3_stmt *s, int at, const char *text) { sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT); }

/* Rows of a file are free for others. */
static sn_status release_rows(run *r, int64_t file, sn_error *error) {
    sqlite3_bind_int64(r->free_rows, 1, file);
    sn_status status = sn_gallery_step(r->g, r->free_rows, error);
    sqlite3_bind_int64(r->drop_rows, 1, file);
    return status ? status : sn_gallery_step(r->g, r->drop_rows, error);
}

static void list_free(run *r) {
    for (r->num_free = 0; r->num_free < BATCH && sqlite3_step(r->list_free) == SQLITE_ROW;) {
        int64_t row = sqlite3_column_int64(r->list_free, 0);
        if (row >= 0 && row < r->g->vectors.rows) r->free[r->num_free++] = row;
    }
    sqlite3_reset(r->list_free);
}

/* A vector into a row that was free before, or behind the last. */
static sn_status place_vector(run *r, const float *vector, int64_t *row, sn_error *error) {
    bool reused = r->num_free > 0;
    *row = reused ? r->free[--r->num_free] : r->g->vectors.rows;
    if (!reused) return sn_vectors_append(&r->g->vectors, vector, 1, error);
    sqlite3_bind_int64(r->use_free, 1, *row);
    sn_status status = sn_gallery_step(r->g, r->use_free, error);
    return status ? status : sn_vectors_put(&r->g->vectors, *row, vector, error);
}

static sn_status write_one(run *r, const pending *p, sn_error *error) {
    bind_text(r->upsert, 1, p->file->path);
    sqlite3_bind_int64(r->upsert, 2, p->file->size);
    sqlite3_bind_int64(r->upsert, 3, p->file->mtime);
    bind_text(r->upsert, 4, p->hash);
    bind_text(r->upsert, 5, p->vector ? "indexed" : "failed");
    if (!p->vector) bind_text(r->upsert, 6, p->reason);
    int64_t file = sqlite3_step(r->upsert) == SQLITE_ROW ? sqlite3_column_int64(r->upsert, 0) : -1, row;
    sn_status status = file >= 0 ? SN_OK : sn_gallery_fail(r->g, "write", error);
    sqlite3_reset(r->upsert);
    sqlite3_clear_bindings(r->upsert);
    if (!status) status = release_rows(r, file, error);
    if (status || !p->vector) return status;
    if ((status = place_vector(r, p->vector, &row, error))) return status;
    sqlite3_bind_int64(r->add_window, 1, row);
    sqlite3_bind_int64(r->add_window, 2, file);
    return sn_gallery_step(r->g, r->add_window, error);
}

static sn_status write_rows_count(run *r, sn_error *error) {
    char rows[24];
    snprintf(rows, sizeof rows, "%lld", (long long)r->g->vectors.rows);
    return sn_gallery_set(r->g, "rows", rows, error);
}

static sn_status commit(run *r, sn_error *error) {
    int64_t before = r->g->vectors.rows;
    if (!r->num_batch) return SN_OK;
    sn_status status = sn_gallery_run(r->g, "BEGIN IMMEDIATE", error);
    if (!status) list_free(r);
    for (int i = 0; i < r->num_batch && !status; i++) status = write_one(r, &r->batch[i], error);
    if (!status) status = sn_vectors_sync(&r->g->vectors, error);
    if (!status) status = write_rows_count(r, error);
    if (!status) status = sn_gallery_run(r->g, "COMMIT", error);
    if (status) {
        sqlite3_exec(r->g->db, "ROLLBACK", NULL, NULL, NULL);
        sn_vectors_cut(&r->g->vectors, before, NULL);
    }
    for (int i = 0; i < r->num_batch; i++) {
        pending *p = &r->batch[i];
        if (!status) *(p->vector ? &r->report->indexed : &r->report->failed) += 1;
        sn_free(p->vector);
        p->vector = NULL;
    }
    r->num_batch = 0;
    r->g->rows = r->g->vectors.rows;
    return status;
}

/* Waits for the oldest of the files that are being read, embeds it, and puts it into the batch. */
static sn_status embed_next(run *r, sn_error *error) {
    const float *pixels;
    void *what;
    sn_status status = SN_OK;
    sn_error why = {0};
    if (!sn_reader_next(r->reader, &what, &pixels, &status, &why)) return SN_OK;
    pending *p = &r->batch[r->num_batch++];
    *p = *(pending *)what;
    p->vector = sn_alloc((size_t)r->model->width, sizeof(float));
    if (!p->vector) return sn_fail_memory(error);
    if (!status) status = sn_vector_of_pixels(r->model, pixels, p->vector, &why);
    if (status == SN_ERROR_MEMORY || status == SN_ERROR_CANCELLED) {
        if (error) *error = why;
        return status;
    }
    if (status) {
        snprintf(p->reason, sizeof p->reason, "%s", why.message);
        sn_free(p->vector);
        p->vector = NULL;
        if (r->options->failure) r->options->failure(r->options->context, p->file->path, p->reason);
    }
    r->embedded++;
    if (r->options->progress) r->options->progress(r->options->context, r->report->unchanged + r->report->moved + (int64_t)r->embedded, r->report->files);
    return r->num_batch == BATCH ? commit(r, error) : SN_OK;
}

/* Hands the file to the reader; as much as it holds is read ahead. */
static sn_status take(run *r, const found *f, const char *hash, sn_error *error) {
    sn_status status = sn_reader_has_room(r->reader) ? SN_OK : embed_next(r, error);
    if (status) return status;
    pending *p = &r->ahead[r->added++ % BATCH];
    *p = (pending){.file = f};
    snprintf(p->hash, sizeof p->hash, "%s", hash);
    sn_reader_add(r->reader, f->path, p);
    return SN_OK;
}

/* What is still being read. */
static sn_status embed_rest(run *r, sn_error *error) {
    sn_status status = SN_OK;
    for (uint64_t done = r->embedded; !status && done < r->added; done++) status = embed_next(r, error);
    return status ? status : commit(r, error);
}

/* Another path with this content that is not there any more: its id, or -1. */
static int64_t moved_from(run *r, const char *hash) {
    int64_t id = -1;
    bind_text(r->by_hash, 1, hash);
    while (id < 0 && sqlite3_step(r->by_hash) == SQLITE_ROW)
        if (access(sn_gallery_text(r->by_hash, 1), F_OK) != 0) id = sqlite3_column_int64(r->by_hash, 0);
    sqlite3_reset(r->by_hash);
    return id;
}

static sn_status keep_as(run *r, sqlite3_stmt *statement, int64_t id, const found *f, sn_error *error) {
    bind_text(statement, 1, f->path);
    sqlite3_bind_int64(statement, 2, f->size);
    sqlite3_bind_int64(statement, 3, f->mtime);
    sqlite3_bind_int64(statement, 4, id);
    return sn_gallery_step(r->g, statement, error);
}

static sn_status visit(run *r, const found *f, sn_error *error) {
    char hash[33] = "", known[33] = "";
    bind_text(r->lookup, 1, f->path);
    int64_t id = -1;
    bool same = false, settled = false;
    if (sqlite3_step(r->lookup) == SQLITE_ROW) {
        id = sqlite3_column_int64(r->lookup, 0);
        same = sqlite3_column_int64(r->lookup, 1) == f->size && sqlite3_column_int64(r->lookup, 2) == f->mtime;
        snprintf(known, sizeof known, "%s", sn_gallery_text(r->lookup, 3));
        settled = strcmp(sn_gallery_text(r->lookup, 4), "gone") != 0;
    }
    sqlite3_reset(r->lookup);
    /* a change within the clock's step of the last run would not show in the time */
    if (settled && same && f->mtime < r->last_run - 2000000000) return r->report->unchanged++, SN_OK;
    sn_error why = {0};
    if (hash_file(f->path, hash, &why)) hash[0] = 0; /* reading it again says why */
    if (settled && hash[0] && strcmp(hash, known) == 0) return r->report->unchanged++, same ? SN_OK : keep_as(r, r->touch, id, f, error);
    int64_t old = id < 0 && hash[0] ? moved_from(r, hash) : -1;
    if (old >= 0) return r->report->moved++, keep_as(r, r->move, old, f, error);
    return take(r, f, hash, error);
}

/* ---- files that are not there any more ---- */

static bool is_under(const char *path, const char *root) {
    size_t n = strlen(root);
    return strncmp(path, root, n) == 0 && (!path[n] || path[n] == '/' || (n && root[n - 1] == '/'));
}

static bool is_found(const walk *w, const char *path) {
    found key = {.path = (char *)path};
    return w->count && bsearch(&key, w->file, w->count, sizeof *w->file, by_path);
}

static sn_status drop_gone(run *r, const walk *w, char *const *roots, sn_error *error) {
    sqlite3_stmt *all = sn_gallery_prepare(r->g, "SELECT id, path FROM files WHERE state != 'gone'", error);
    sqlite3_stmt *mark = sn_gallery_prepare(r->g, "UPDATE files SET state = 'gone', reason = NULL WHERE id = ?", error);
    sn_status status = all && mark ? sn_gallery_run(r->g, "BEGIN IMMEDIATE", error) : SN_ERROR_IO;
    while (!status && sqlite3_step(all) == SQLITE_ROW) {
        const char *path = sn_gallery_text(all, 1);
        bool under = false;
        for (int i = 0; i < r->options->num_folders && !under; i++) under = is_under(path, roots[i]);
        if (!under || is_found(w, path)) continue;
        int64_t id = sqlite3_column_int64(all, 0);
        status = release_rows(r, id, error);
        sqlite3_bind_int64(mark, 1, id);
        if (!status) status = sn_gallery_step(r->g, mark, error);
        r->report->gone++;
    }
    if (!status) status = sn_gallery_run(r->g, "COMMIT", error);
    sqlite3_finalize(all);
    sqlite3_finalize(mark);
    if (status) sqlite3_exec(r->g->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- all of it ---- */

typedef struct prepared {
    sqlite3_stmt **statement;
    const char *sql;
} prepared;

static sn_status with_statements(run *r, bool open, sn_error *error) {
    const prepared list[] = {
        {&r->lookup, "SELECT id, size, mtime, hash, state FROM files WHERE path = ?"},
        {&r->by_hash, "SELECT id, path FROM files WHERE hash = ? AND state = 'indexed'"},
        {&r->touch, "UPDATE files SET path = ?, size = ?, mtime = ? WHERE id = ?"},
        {&r->move, "UPDATE OR REPLACE files SET path = ?, size = ?, mtime = ? WHERE id = ?"},
        {&r->upsert, "INSERT INTO files(path, size, mtime, hash, kind, state, reason) VALUES(?1, ?2, ?3, ?4, 'picture', ?5, ?6)"
                     " ON CONFLICT(path) DO UPDATE SET size = ?2, mtime = ?3, hash = ?4, state = ?5, reason = ?6 RETURNING id"},
        {&r->free_rows, "INSERT INTO free SELECT row FROM windows WHERE file = ?"},
        {&r->drop_rows, "DELETE FROM windows WHERE file = ?"},
        {&r->add_window, "INSERT INTO windows VALUES(?, ?, 'picture', NULL, NULL)"},
        {&r->list_free, "SELECT row FROM free ORDER BY row LIMIT 32"}, /* BATCH */
        {&r->use_free, "DELETE FROM free WHERE row = ?"},
    };
    sn_status status = SN_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (!open) sqlite3_finalize(*list[i].statement);
        else if (!status && !(*list[i].statement = sn_gallery_prepare(r->g, list[i].sql, error))) status = SN_ERROR_IO;
    }
    return status;
}

static sn_status visit_all(run *r, const walk *w, sn_error *error) {
    sn_status status = SN_OK;
    for (size_t i = 0; i < w->count && !status; i++) {
        if (r->options->cancel && atomic_load(r->options->cancel)) {
            if ((status = commit(r, error))) return status;
            return sn_fail(error, SN_ERROR_CANCELLED, "stopped; the next run goes on from here");
        }
        status = visit(r, &w->file[i], error);
    }
    return status ? status : embed_rest(r, error);
}

sn_status sn_gallery_index(sn_gallery *g, const sn_gallery_model *model, const sn_index_options *options, sn_index_report *out, sn_error *error) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (sn_index_report){0};
    run *r = sn_alloc(1, sizeof *r);
    walk w = {.gallery = g, .arena = sn_arena_new()};
    char **roots = sn_alloc((size_t)options->num_folders + 1, sizeof *roots), *last = sn_gallery_note(g, "last_run"), begun[32];
    sn_status status = r && w.arena && roots ? SN_OK : sn_fail_memory(error);
    for (int i = 0; i < options->num_folders && !status; i++) status = add_given(&w, options->folders[i], &roots[i], error);
    if (!status) {
        qsort(w.file, w.count, sizeof *w.file, by_path);
        size_t kept = 0; /* a file may be given twice */
        for (size_t i = 0; i < w.count; i++)
            if (!kept || strcmp(w.file[kept - 1].path, w.file[i].path) != 0) w.file[kept++] = w.file[i];
        w.count = kept;
        *r = (run){.g = g, .model = model, .options = options, .report = out, .last_run = last ? strtoll(last, NULL, 10) : 0};
        out->files = (int64_t)w.count;
        status = with_statements(r, true, error);
        if (!status && !(r->ahead = sn_alloc(BATCH, sizeof *r->ahead))) status = sn_fail_memory(error);
        if (!status) status = sn_reader_new(model, &r->reader, error);
    }
    if (!status) status = visit_all(r, &w, error);
    if (!status) status = drop_gone(r, &w, roots, error);
    snprintf(begun, sizeof begun, "%lld", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    if (!status) status = sn_gallery_set(g, "last_run", begun, error);
    if (!status) status = sn_gallery_number(g, "SELECT count(*) FROM files WHERE state = 'indexed'", &out->total_indexed, error);
    if (!status) status = sn_gallery_number(g, "SELECT count(*) FROM files WHERE state = 'failed'", &out->total_failed, error);
    if (r) {
        sn_reader_free(r->reader);
        sn_free(r->ahead);
        for (int i = 0; i < r->num_batch; i++) sn_free(r->batch[i].vector);
        with_statements(r, false, NULL);
    }
    sn_arena_free(w.arena);
    sn_free(w.file);
    sn_free(roots);
    sn_free(last);
    sn_free(r);
    return status;
}
