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
/* A text column; "" where it is none. */
const char *sn_gallery_text(sqlite3_stmt *statement, int column);
/* Steps a statement that gives no rows, and resets it. */
sn_status sn_gallery_step(const sn_gallery *gallery, sqlite3_stmt *statement, sn_error *error);
sn_status sn_gallery_set(const sn_gallery *gallery, const char *name, const char *value, sn_error *error);
/* Whether the vector file that is open is the one that the database refers to now. */
bool sn_gallery_paired(sn_gallery *gallery);
/* 32 hexadecimal digits. */
void sn_gallery_identity(const sn_vectors *vectors, char text[40]);
/* Adds a weight to a sample; row: its first one. */
void sn_sample_add(sn_buf *sample, const char *name, const sn_weight *weight, const float *row);
/* Whether two samples (sn_fingerprint) are of one model, but for the rounding of the types that its weights are stored in. */
bool sn_sample_agrees(const char *a, const char *b);
/* The rows that the database knows, and those of them that belong to nothing, one bit each (freed by sn_free). */
sn_status sn_gallery_rows(sn_gallery *gallery, sn_weight *rows, uint64_t **skip, sn_error *error);
/* A whole number of `SELECT …`; *value stays where there is no row. */
sn_status sn_gallery_number(const sn_gallery *gallery, const char *sql, int64_t *value, sn_error *error);

#endif
