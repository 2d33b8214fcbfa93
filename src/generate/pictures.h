/* Pictures that were decoded, preprocessed and, once somebody needed it, encoded: kept by content.
 *
 * The key is a hash of what the encoder receives, so the same picture under another name is found again and a
 * file with new content is another picture. The cache is bounded in bytes; pictures in use stay. */
#ifndef SN_GENERATE_PICTURES_H
#define SN_GENERATE_PICTURES_H

#include "systems/model.h"

typedef struct sn_picture {
    uint64_t key[2];
    float *planes; /* [3, size, size]; freed when they are encoded */
    float *rows;   /* [media_positions, hidden], NULL until sn_picture_rows */
    int holders;
    uint64_t last_use;
    struct sn_picture *next;
} sn_picture;

typedef struct sn_pictures sn_pictures;

/* For one model. limit: bytes that pictures nobody holds may take. */
sn_status sn_pictures_new(sn_model *model, size_t limit, sn_pictures **out, sn_error *error);
void sn_pictures_free(sn_pictures *pictures);

/* Reads a file (always anew) or a data URL. The picture is held until it is dropped. */
sn_status sn_picture_open(sn_pictures *pictures, const char *path, const sn_image_options *options, sn_picture **out, sn_error *error);
/* The same from bytes in memory; `where` names them in errors. */
sn_status sn_picture_decode(sn_pictures *pictures, const char *where, const void *bytes, size_t size, const sn_image_options *options, sn_picture **out, sn_error *error);
/* The same from pixels: RGB, 8 bits, rows from the top, width * height * 3 bytes. */
sn_status sn_picture_pixels(sn_pictures *pictures, const char *where, const uint8_t *rgb, int64_t width, int64_t height, sn_picture **out, sn_error *error);
void sn_picture_drop(sn_pictures *pictures, sn_picture *picture);

/* The connector's rows, encoded at the first call; SN_ERROR_CANCELLED soon after *cancel (or NULL) became true. */
sn_status sn_picture_rows(sn_pictures *pictures, sn_picture *picture, const atomic_bool *cancel, const float **rows, sn_error *error);

/* How often the encoder ran. */
int64_t sn_pictures_encoded(const sn_pictures *pictures);

#endif
