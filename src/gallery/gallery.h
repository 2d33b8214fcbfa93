/* A gallery: an index of one's own files, for finding them by vectors.
 *
 * NAME.db (SQLite) says which files there are and which row of NAME.vec (vectors/file.h) belongs to each. Rows are on
 * the disk before the transaction that names them commits, so a process that is killed at any moment loses nothing
 * that was committed and leaves nothing that is not found again. Several may read while one writes.
 *
 * A gallery knows no system: it takes unit vectors of one width, and a fingerprint of what made them. */
#ifndef SN_GALLERY_GALLERY_H
#define SN_GALLERY_GALLERY_H

#include "media/image.h"
#include "systems/finder.h"
#include "systems/model.h"
#include "vectors/search.h"

typedef struct sn_gallery sn_gallery;

/* What makes the vectors: weights, preprocessing, how pictures are taken. Two whose hashes are equal give the same vectors. */
typedef struct sn_fingerprint {
    char hash[33];
    char form[33];  /* the same without the weights' values */
    char title[64]; /* of the system, for people */
    int64_t width;
    sn_image_options pictures;
    sn_buf sample; /* some values of each weight in hexadecimal digits, by which a model is known in another weight type */
} sn_fingerprint;
sn_status sn_fingerprint_of(sn_model *model, const sn_image_options *pictures, sn_fingerprint *out, sn_error *error);
void sn_fingerprint_free(sn_fingerprint *fingerprint);

/* Opens an existing gallery. For writing: a second writer is refused, with the first one's process. What does not fit
 * together (a vector file of another gallery, one that is cut) is refused. */
sn_status sn_gallery_open(const char *path, bool write, sn_gallery **out, sn_error *error);
/* The same for writing, made new where it is not there. `files` is kept for who searches later (sn_gallery_note). *rounded:
 * as sn_gallery_check says. */
sn_status sn_gallery_make(const char *path, const sn_fingerprint *fingerprint, sn_type type, const char *files, sn_gallery **out, bool *rounded, sn_error *error);
void sn_gallery_close(sn_gallery *gallery);

/* Removes a gallery's files. What is no gallery, or is being written to, is refused. */
sn_status sn_gallery_remove(const char *path, sn_error *error);

/* Another model's gallery is refused, both named. *rounded: the same model, its weights stored in another type (of f32, f16,
 * bf16, q8_0): vectors differ by rounding. */
sn_status sn_gallery_check(sn_gallery *gallery, const sn_fingerprint *fingerprint, bool *rounded, sn_error *error);

/* How the gallery's pictures were taken. */
sn_image_options sn_gallery_pictures(sn_gallery *gallery);

/* Where the answers of a model find pictures, by a path: a gallery of one's own, or one as it was published with the system. */
sn_status sn_gallery_finder(sn_model *model, const char *path, sn_finder *out, bool *rounded, sn_error *error);

/* What the gallery remembers by that name: "files" (the model's, as JSON), "title", …; NULL where nothing. Freed by sn_free. */
char *sn_gallery_note(sn_gallery *gallery, const char *name);

/* Vectors of files and texts by a model; both of length 1. `text` is the system's own, or what its caller sets for a
 * language model that asks for pictures. */
typedef struct sn_gallery_model {
    sn_model *model;
    sn_image_options pictures;
    int64_t width;
    sn_status (*text)(sn_model *model, const char *text, float *vector, sn_error *error); /* NULL: pictures alone */
} sn_gallery_model;
sn_status sn_gallery_model_of(sn_model *model, const sn_image_options *pictures, sn_gallery_model *out, sn_error *error);
sn_status sn_vector_of_picture(const sn_gallery_model *model, const char *path, float *vector, sn_error *error);
/* pixels [3, size, size] as the model's processor makes them */
sn_status sn_vector_of_pixels(const sn_gallery_model *model, const float *pixels, float *vector, sn_error *error);
sn_status sn_vector_of_text(const sn_gallery_model *model, const char *text, float *vector, sn_error *error);

/* ---- indexing ---- */

typedef struct sn_index_report {
    int64_t files, indexed, failed, unchanged, moved, gone; /* of this run; files = all that were found */
    int64_t total_indexed, total_failed;                    /* in the gallery after it */
} sn_index_report;

typedef struct sn_index_options {
    const char *const *folders; /* folders or single files */
    int num_folders;
    const atomic_bool *cancel; /* may be NULL */
    void (*progress)(void *context, int64_t done, int64_t total);
    void (*failure)(void *context, const char *path, const char *reason);
    void *context;
} sn_index_options;

/* Brings the gallery up to date with the folders: new, changed, moved and deleted files. A file that cannot be read is
 * kept as failed and not tried again until it changes. Cancelled: what was committed stays. */
sn_status sn_gallery_index(sn_gallery *gallery, const sn_gallery_model *model, const sn_index_options *options, sn_index_report *out, sn_error *error);

/* Adds the rows of a gallery from elsewhere, its pictures under the paths or addresses it has; those that are there already
 * are passed over. A row without length is refused by its number, and nothing is added. *normalised: rows whose length was
 * not 1. *added: rows. */
sn_status sn_gallery_import(sn_gallery *gallery, const sn_finder *from, const char *where, int64_t *added, int64_t *normalised, sn_error *error);

/* Closes the gaps that deleted files left in the vector file. *freed: rows. Who has the gallery open for reading has to open it again. */
sn_status sn_gallery_compact(sn_gallery *gallery, int64_t *freed, sn_error *error);

/* Every failed file. */
typedef void sn_failed_file(void *context, const char *path, const char *reason);
sn_status sn_gallery_failed(sn_gallery *gallery, sn_failed_file *each, void *context, sn_error *error);

/* ---- searching ---- */

typedef struct sn_found_file {
    char *path;
    float score;    /* cosine, -1 to 1 */
    bool gone;      /* the file is not there any more */
    int64_t folded; /* results that look the same and are not listed */
} sn_found_file;

typedef struct sn_found {
    sn_found_file *file;
    int64_t count, searched;
    double median, high; /* of this query's scores in the whole gallery; high: 99 of 100 are below it */
} sn_found;

/* The k best files for a unit vector, fewer where there are fewer. all: near-duplicates (cosine above 0.98) are listed. */
sn_status sn_gallery_search(sn_gallery *gallery, const float *query, int64_t k, double min_score, bool all, sn_found *out, sn_error *error);
void sn_found_free(sn_found *found);

#endif
