/* The two files of a gallery: made together, opened together, and held against each other. */
#include "gallery/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char schema[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, mtime INTEGER NOT NULL, hash TEXT NOT NULL, kind TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK(state IN ('indexed', 'failed', 'gone')), reason TEXT) STRICT;"
    "CREATE INDEX files_by_hash ON files(hash);"
    /* begin and finish: seconds of a sound, or frames; NULL where the vector is of the whole file */
    "CREATE TABLE windows(row INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES files(id), kind TEXT NOT NULL, begin REAL, finish REAL) STRICT;"
    "CREATE INDEX windows_by_file ON windows(file);"
    "CREATE TABLE free(row INTEGER PRIMARY KEY) STRICT;";
static const char format[] = "1";

sn_status sn_gallery_fail(const sn_gallery *g, const char *what, sn_error *error) {
    int code = sqlite3_errcode(g->db) & 0xff;
    const char *hint = code == SQLITE_BUSY || code == SQLITE_LOCKED                                ? "; another process has locked it: try again when that is done"
                       : code == SQLITE_READONLY                                                   ? "; the file or its folder is read-only"
                       : code == SQLITE_NOTADB || code == SQLITE_CORRUPT || code == SQLITE_ERROR ? "; it is no gallery, or a damaged one"
                                                                                                   : "";
    return sn_fail(error, SN_ERROR_IO, "%s: cannot %s: %s%s", g->path, what, sqlite3_errmsg(g->db), hint);
}

sn_status sn_gallery_run(const sn_gallery *g, const char *sql, sn_error *error) {
    return sqlite3_exec(g->db, sql, NULL, NULL, NULL) == SQLITE_OK ? SN_OK : sn_gallery_fail(g, g->write ? "write" : "read", error);
}

sqlite3_stmt *sn_gallery_prepare(const sn_gallery *g, const char *sql, sn_error *error) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(g->db, sql, -1, &statement, NULL) != SQLITE_OK) sn_gallery_fail(g, "read", error);
    return statement;
}

const char *sn_gallery_text(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

sn_status sn_gallery_step(const sn_gallery *g, sqlite3_stmt *statement, sn_error *error) {
    bool done = sqlite3_step(statement) == SQLITE_DONE;
    sn_status status = done ? SN_OK : sn_gallery_fail(g, "write", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

sn_status sn_gallery_set(const sn_gallery *g, const char *name, const char *value, sn_error *error) {
    sqlite3_stmt *s = sn_gallery_prepare(g, "INSERT OR REPLACE INTO meta VALUES(?, ?)", error);
    if (!s) return SN_ERROR_IO;
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC);
    sn_status status = sn_gallery_step(g, s, error);
    sqlite3_finalize(s);
    return status;
}

sn_status sn_gallery_number(const sn_gallery *g, const char *sql, int64_t *value, sn_error *error) {
    sqlite3_stmt *s = sn_gallery_prepare(g, sql, error);
    if (!s) return SN_ERROR_IO;
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) *value = sqlite3_column_int64(s, 0);
    sn_status status = code == SQLITE_ROW || code == SQLITE_DONE ? SN_OK : sn_gallery_fail(g, "read", error);
    sqlite3_finalize(s);
    return status;
}

char *sn_gallery_note(sn_gallery *g, const char *name) {
    sqlite3_stmt *s = sn_gallery_prepare(g, "SELECT value FROM meta WHERE name = ?", NULL);
    char *value = NULL;
    if (!s) return NULL;
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    if (sqlite3_step(s) == SQLITE_ROW) value = sn_strdup(sn_gallery_text(s, 0));
    sqlite3_finalize(s);
    return value;
}

sn_status sn_gallery_failed(sn_gallery *g, sn_failed_file *each, void *context, sn_error *error) {
    sqlite3_stmt *s = sn_gallery_prepare(g, "SELECT path, reason FROM files WHERE state = 'failed' ORDER BY path", error);
    if (!s) return SN_ERROR_IO;
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) each(context, sn_gallery_text(s, 0), sn_gallery_text(s, 1));
    sn_status status = code == SQLITE_DONE ? SN_OK : sn_gallery_fail(g, "read", error);
    sqlite3_finalize(s);
    return status;
}

/* ---- opening ---- */

/* my.db → my.vec; another ending gets .vec behind it. */
static char *vector_path(const char *path) {
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".db") == 0 ? sn_format("%.*s.vec", (int)(n - 3), path) : sn_format("%s.vec", path);
}

static sn_status open_database(sn_gallery *g, int flags, sn_error *error) {
    int64_t tables = 0;
    if (sqlite3_open_v2(g->path, &g->db, flags, NULL) != SQLITE_OK) return sn_gallery_fail(g, "open", error);
    sqlite3_busy_timeout(g->db, 2000);
    sqlite3_db_config(g->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); /* the file may be anybody's */
    sqlite3_db_config(g->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sn_status status = sn_gallery_number(g, "SELECT count(*) FROM sqlite_schema", &tables, error);
    if (!status || flags & SQLITE_OPEN_READWRITE) return status;
    /* a folder where SQLite cannot put its shared memory: nobody writes there, so the file stays as it is */
    char *uri = sn_format("file:%s?immutable=1", g->path);
    sqlite3_close(g->db);
    bool opened = uri && !strpbrk(g->path, "?#%") && sqlite3_open_v2(uri, &g->db, flags | SQLITE_OPEN_URI, NULL) == SQLITE_OK;
    sn_free(uri);
    return opened && !sn_gallery_number(g, "SELECT count(*) FROM sqlite_schema", &tables, NULL) ? SN_OK : status;
}

void sn_gallery_identity(const sn_vectors *v, char text[40]) { snprintf(text, 40, "%016llx%016llx", (unsigned long long)v->identity[0], (unsigned long long)v->identity[1]); }

/* Tables and their indexes, and nothing that computes when it is read: a view can go on for ever. */
static sn_status check_tables(sn_gallery *g, sn_error *error) {
    int64_t others = 0;
    sn_status status = sn_gallery_number(g, "SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR sql LIKE '%VIRTUAL%' OR sql LIKE '%GENERATED%'", &others, error);
    return status || !others ? status : sn_fail(error, SN_ERROR_INPUT, "%s: no gallery of this program: it has views, triggers or computed columns", g->path);
}

/* The vector file is the one that the database was written with, and no older copy of it. */
static sn_status check_pair(sn_gallery *g, sn_error *error) {
    char identity[40], *known = sn_gallery_note(g, "vectors"), *version = sn_gallery_note(g, "format");
    sn_status status = SN_OK;
    sn_gallery_identity(&g->vectors, identity);
    if (!known || !version || g->rows < 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: no gallery of this program", g->path);
    else if (strcmp(version, format) != 0) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: format: found %s, expected %s", g->path, version, format);
    else if (strcmp(known, identity) != 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: belongs to another gallery than %s: its mark is %s, expected %s", g->vectors.path, g->path, identity, known);
    else if (g->rows > g->vectors.rows)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: found %lld rows, %s knows %lld: it is an older copy, or cut", g->vectors.path, (long long)g->vectors.rows, g->path, (long long)g->rows);
    sn_free(known);
    sn_free(version);
    return status;
}

bool sn_gallery_paired(sn_gallery *g) {
    char identity[40], *known = sn_gallery_note(g, "vectors");
    sn_gallery_identity(&g->vectors, identity);
    bool same = known && strcmp(known, identity) == 0;
    sn_free(known);
    return same;
}

/* One writer at a time: whoever holds the vector file. */
static sn_status lock(sn_gallery *g, sn_error *error) {
    if (flock(g->vectors.fd, LOCK_EX | LOCK_NB) == 0) return SN_OK;
    char *writer = g->db ? sn_gallery_note(g, "writer") : NULL;
    sn_fail(error, SN_ERROR_IO, "%s: process %s is writing to it; wait until that is done", g->path, writer ? writer : "(unknown)");
    sn_free(writer);
    return SN_ERROR_IO;
}

/* Rows behind the last commit are cut off. */
static sn_status become_writer(sn_gallery *g, sn_error *error) {
    char process[24];
    snprintf(process, sizeof process, "%d", (int)getpid());
    sn_status status = lock(g, error);
    if (!status && !sn_gallery_paired(g)) status = sn_fail(error, SN_ERROR_IO, "%s: was compacted a moment ago; try again", g->path);
    if (!status) status = sn_gallery_set(g, "writer", process, error);
    if (!status && g->vectors.rows > g->rows) status = sn_vectors_cut(&g->vectors, g->rows, error);
    return status;
}

/* Compacting commits to a new vector file and then gives it the old one's name: where it was killed between the two, the
 * new one still has its own. */
static sn_status open_vectors(sn_gallery *g, const char *path, sn_error *error) {
    sn_vectors newer;
    sn_status status = sn_vectors_open(path, g->write, &g->vectors, error);
    if (status || sn_gallery_paired(g)) return status;
    char *aside = sn_format("%s.new", path);
    if (aside && !sn_vectors_open(aside, g->write, &newer, NULL)) {
        sn_vectors old = g->vectors;
        g->vectors = newer;
        bool fits = sn_gallery_paired(g) && (!g->write || rename(aside, path) == 0);
        if (!fits) g->vectors = old;
        sn_vectors_close(fits ? &old : &newer);
        if (fits && g->write) {
            sn_free(g->vectors.path);
            g->vectors.path = sn_strdup(path);
        }
    }
    sn_free(aside);
    return g->vectors.path ? SN_OK : sn_fail_memory(error);
}

static sn_status open_both(sn_gallery *g, sn_error *error) {
    char *vectors = vector_path(g->path);
    if (!vectors) return sn_fail_memory(error);
    sn_status status = open_database(g, g->write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY, error);
    if (!status) status = check_tables(g, error);
    g->rows = -1; /* asked for first: a writer's rows are there before the database knows them */
    if (!status) status = sn_gallery_number(g, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'rows'", &g->rows, error);
    if (!status) status = open_vectors(g, vectors, error);
    sn_free(vectors);
    if (!status) status = check_pair(g, error);
    if (!status && g->write) status = become_writer(g, error);
    return status ? status : sn_gallery_run(g, "PRAGMA foreign_keys = ON", error);
}

static sn_status start(const char *path, bool write, sn_gallery **out, sn_error *error) {
    sn_gallery *g = *out = sn_alloc(1, sizeof *g);
    if (!g) return sn_fail_memory(error);
    *g = (sn_gallery){.path = sn_strdup(path), .write = write, .vectors.fd = -1};
    return g->path ? SN_OK : sn_fail_memory(error);
}

sn_status sn_gallery_open(const char *path, bool write, sn_gallery **out, sn_error *error) {
    sn_gallery *g;
    sn_status status = start(path, write, &g, error);
    if (!status && access(path, F_OK) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: %s; `sensorium index MODEL DIR -o %s` makes a gallery", path, strerror(errno), path);
    if (!status) status = open_both(g, error);
    if (status) sn_gallery_close(g);
    *out = status ? NULL : g;
    return status;
}

void sn_gallery_close(sn_gallery *g) {
    if (!g) return;
    sqlite3_close(g->db);
    sn_vectors_close(&g->vectors);
    sn_free(g->path);
    sn_free(g);
}

/* ---- making ---- */

static sn_status fill(sn_gallery *g, const sn_fingerprint *f, const char *files, sn_error *error) {
    char identity[40], width[24], pictures[8];
    sn_gallery_identity(&g->vectors, identity);
    snprintf(width, sizeof width, "%lld", (long long)f->width);
    snprintf(pictures, sizeof pictures, "%d%d%d%d", f->pictures.exif_apply, f->pictures.alpha_white, f->pictures.alpha_keep, f->pictures.gray16_shift);
    const char *const notes[][2] = {{"format", format},    {"program", SN_VERSION}, {"fingerprint", f->hash},     {"form", f->form}, {"sample", f->sample.data},
                                    {"pictures", pictures}, {"title", f->title},     {"width", width},             {"vectors", identity}, {"rows", "0"},
                                    {"files", files},      {"last_run", "0"}};
    sn_status status = sn_gallery_run(g, "BEGIN IMMEDIATE", error);
    if (!status) status = sn_gallery_run(g, schema, error);
    for (size_t i = 0; i < sizeof notes / sizeof *notes && !status; i++) status = sn_gallery_set(g, notes[i][0], notes[i][1], error);
    return status ? status : sn_gallery_run(g, "INSERT INTO meta VALUES('created', datetime('now')); COMMIT", error);
}

/* What a run that was killed while it made a gallery left: a vector file without rows. */
static sn_status clear_leftovers(const char *vectors, const char *aside, sn_error *error) {
    sn_vectors left;
    unlink(aside);
    if (access(vectors, F_OK) != 0) return SN_OK;
    bool empty = !sn_vectors_open(vectors, true, &left, NULL) && left.rows == 0 && flock(left.fd, LOCK_EX | LOCK_NB) == 0;
    if (empty) unlink(vectors);
    if (empty) sn_vectors_close(&left);
    return empty ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: is there without its database; move it away, or give another -o", vectors);
}

/* The database is written aside, so that under its name it is whole; the vector file stands before it. */
static sn_status make_files(sn_gallery *g, const char *vectors, char *aside, const sn_fingerprint *f, sn_type type, const char *files, sn_error *error) {
    char *path = g->path;
    sn_status status = clear_leftovers(vectors, aside, error);
    if (!status) status = sn_vectors_create(vectors, type, f->width, &g->vectors, error);
    if (status) return status;
    g->path = aside; /* named in errors */
    status = lock(g, error);
    if (!status) status = open_database(g, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, error);
    if (!status) status = fill(g, f, files, error);
    sqlite3_close(g->db);
    g->db = NULL;
    g->path = path;
    if (!status && rename(aside, path) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: %s", path, strerror(errno));
    if (!status) status = open_database(g, SQLITE_OPEN_READWRITE, error);
    if (!status) status = sn_gallery_run(g, "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON", error);
    if (status) unlink(vectors), unlink(aside);
    return status ? status : become_writer(g, error);
}

sn_status sn_gallery_make(const char *path, const sn_fingerprint *f, sn_type type, const char *files, sn_gallery **out, bool *rounded, sn_error *error) {
    *rounded = false;
    if (access(path, F_OK) == 0) {
        sn_status status = sn_gallery_open(path, false, out, error); /* nothing is written before it is known to fit */
        if (!status) status = sn_gallery_check(*out, f, rounded, error);
        sn_gallery_close(*out);
        *out = NULL;
        return status ? status : sn_gallery_open(path, true, out, error);
    }
    sn_gallery *g;
    char *vectors = vector_path(path), *aside = sn_format("%s.new", path);
    sn_status status = start(path, true, &g, error);
    if (!status && (!vectors || !aside)) status = sn_fail_memory(error);
    if (!status) status = make_files(g, vectors, aside, f, type, files, error);
    if (status) sn_gallery_close(g);
    sn_free(vectors);
    sn_free(aside);
    *out = status ? NULL : g;
    return status;
}

sn_status sn_gallery_remove(const char *path, sn_error *error) {
    static const char *const beside[] = {"-wal", "-shm", "-journal"};
    sn_gallery *g;
    sn_vectors writer;
    char *vectors = vector_path(path), *aside = vectors ? sn_format("%s.new", vectors) : NULL;
    sn_status status = start(path, false, &g, error);
    if (!status && !aside) status = sn_fail_memory(error);
    if (!status) status = open_database(g, SQLITE_OPEN_READONLY, error);
    if (!status) status = check_tables(g, error);
    char *mark = status ? NULL : sn_gallery_note(g, "vectors");
    if (!status && !mark) status = sn_fail(error, SN_ERROR_INPUT, "%s: is no gallery, so it is not removed", path);
    if (!status && !sn_vectors_open(vectors, true, &writer, NULL)) { /* a damaged one is nobody's */
        g->vectors.fd = writer.fd;
        status = lock(g, error);
        g->vectors.fd = -1;
        sn_vectors_close(&writer);
    }
    sn_gallery_close(g);
    for (size_t i = 0; i < sizeof beside / sizeof *beside && !status; i++) {
        char *name = sn_format("%s%s", path, beside[i]);
        if (name) unlink(name);
        sn_free(name);
    }
    if (!status && unlink(path) != 0) status = sn_fail(error, SN_ERROR_IO, "%s: cannot remove: %s", path, strerror(errno));
    if (!status) unlink(vectors), unlink(aside);
    sn_free(mark);
    sn_free(vectors);
    sn_free(aside);
    return status;
}

sn_image_options sn_gallery_pictures(sn_gallery *g) {
    char *note = sn_gallery_note(g, "pictures");
    bool known = note && strlen(note) == 4;
    sn_image_options out = {.exif_apply = !known || note[0] == '1', .alpha_white = !known || note[1] == '1', .alpha_keep = known && note[2] == '1', .gray16_shift = known && note[3] == '1'};
    sn_free(note);
    return out;
}

sn_status sn_gallery_check(sn_gallery *g, const sn_fingerprint *f, bool *rounded, sn_error *error) {
    char *hash = sn_gallery_note(g, "fingerprint"), *title = sn_gallery_note(g, "title"), *form = sn_gallery_note(g, "form"), *sample = sn_gallery_note(g, "sample");
    sn_status status = SN_OK;
    bool same = hash && title && strcmp(hash, f->hash) == 0 && g->vectors.width == f->width;
    *rounded = !same && form && sample && strcmp(form, f->form) == 0 && g->vectors.width == f->width && sn_sample_agrees(sample, f->sample.data);
    if (!same && !*rounded)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: was made by another model (%s, %lld wide, %.8s), this is %s, %lld wide, %.8s: make a new gallery, or --rebuild", g->path, title ? title : "?",
                         (long long)g->vectors.width, hash ? hash : "?", f->title, (long long)f->width, f->hash);
    sn_free(hash);
    sn_free(title);
    sn_free(form);
    sn_free(sample);
    return status;
}
