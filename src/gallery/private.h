/* What the files of the gallery share. */
#ifndef SN_GALLERY_PRIVATE_H
#define SN_GALLERY_PRIVATE_H

#include "gallery/gallery.h"
#include "vectors/file.h"

#include <sqlite3.h>

struct sn_gallery {
    char *path;
    sqlite3 *db;
    sn_vectors vectors;
    int64_t rows; /* that the database knows of */
    bool write;
};

/* The error that SQLite has just reported. */
sn_status sn_gallery_fail(const sn_gallery *gallery, const char *what, sn_error *error);
sn_status sn_gallery_run(const sn_gallery *gallery, const char *sql, sn_error *error);
/* A statement to be stepped; NULL after a failure. */
sqlite3_stmt *sn_gallery_prepare(const sn_gallery *gallery, const char *sql, sn_error *error);
/* Steps a statement that gives no rows, and resets it. */
sn_status sn_gallery_step(const sn_gallery *gallery, sqlite3_stmt *statement, sn_error *error);
sn_status sn_gallery_set(const sn_gallery *gallery, const char *name, const char *value, sn_error *error);
/* A whole number of `SELECT …`; *value stays where there is no row. */
sn_status sn_gallery_number(const sn_gallery *gallery, const char *sql, int64_t *value, sn_error *error);

#endif
