/* A gallery as the place where a model's answers find pictures. */
#include "base/file.h"
#include "gallery/private.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct finder {
    sn_gallery *gallery;
    sqlite3_stmt *path;
    uint64_t *skip;
    float *scale; /* of rows in half precision, which are not quite of length 1 */
} finder;

static void close_finder(sn_finder *out) {
    finder *f = out->own;
    sqlite3_finalize(f->path);
    sn_gallery_close(f->gallery);
    sn_free(f->skip);
    sn_free(f->scale);
    sn_free(f);
}

/* Asked for when it is needed: what was indexed since is seen, and a gallery that was made anew is not taken for the old one. */
static sn_status path_of(const sn_finder *out, int64_t row, char **path, sn_error *error) {
    const finder *f = out->own;
    *path = NULL;
    if (!sn_gallery_paired(f->gallery)) return sn_fail(error, SN_ERROR_IO, "%s: was compacted while it was open; open it again", f->gallery->path);
    sqlite3_bind_int64(f->path, 1, row);
    int code = sqlite3_step(f->path);
    const char *text = code == SQLITE_ROW ? sn_gallery_text(f->path, 0) : NULL;
    sn_status status = text && !(*path = sn_strdup(text)) ? sn_fail_memory(error) : code == SQLITE_ROW || code == SQLITE_DONE ? SN_OK : sn_gallery_fail(f->gallery, "read", error);
    sqlite3_reset(f->path);
    return status;
}

static sn_status open_finder(sn_model *m, const char *path, finder *f, sn_finder *out, bool *rounded, sn_error *error) {
    sn_fingerprint fingerprint = {0};
    sn_status status = sn_gallery_open(path, false, &f->gallery, error);
    if (status) return status;
    sn_image_options pictures = sn_gallery_pictures(f->gallery);
    status = sn_fingerprint_of(m, &pictures, &fingerprint, error);
    if (!status) status = sn_gallery_check(f->gallery, &fingerprint, rounded, error);
    sn_fingerprint_free(&fingerprint);
    if (!status) status = sn_gallery_rows(f->gallery, &out->rows, &f->skip, error);
    if (!status && out->rows.type != SN_TYPE_F32) {
        f->scale = sn_alloc((size_t)out->rows.rows + 1, sizeof *f->scale);
        if (!f->scale) return sn_fail_memory(error);
        sn_row_scales(&out->rows, f->scale, NULL);
    }
    if (!status && !(f->path = sn_gallery_prepare(f->gallery, "SELECT files.path FROM windows JOIN files ON files.id = windows.file WHERE windows.row = ?", error))) status = SN_ERROR_IO;
    out->skip = f->skip, out->scale = f->scale;
    return status;
}

/* What SQLite writes at the beginning of its files; a gallery that is not there, or is damaged, is told by its name. */
static bool is_own(const char *path) {
    char head[16] = "";
    size_t length = strlen(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool own = fd >= 0 && read(fd, head, sizeof head) == sizeof head && memcmp(head, "SQLite format 3", sizeof head) == 0;
    if (fd >= 0) close(fd);
    return own || (length > 3 && strcmp(path + length - 3, ".db") == 0);
}

sn_status sn_gallery_finder(sn_model *m, const char *path, sn_finder *out, bool *rounded, sn_error *error) {
    *out = (sn_finder){0};
    *rounded = false;
    if (!m->lm.query) return sn_fail(error, SN_ERROR_USAGE, "%s: %s answers with text alone", path, m->system->title);
    if (!is_own(path) && m->system->gallery) return m->system->gallery(m, path, out, error);
    finder *f = sn_alloc(1, sizeof *f);
    if (!f) return sn_fail_memory(error);
    *out = (sn_finder){.path = path_of, .close = close_finder, .own = f};
    sn_status status = open_finder(m, path, f, out, rounded, error);
    if (status) sn_finder_close(out);
    return status;
}
