/* Pictures: decoded as Pillow's Image.open(f).convert("RGB") does. */
#ifndef SN_MEDIA_IMAGE_H
#define SN_MEDIA_IMAGE_H

#include "base/error.h"
#include "base/memory.h"

/* 8-bit pixels, rows from the top, `channels` per pixel: 3 (RGB) or 4 (RGBA). */
typedef struct sn_image {
    int width, height, channels;
    int orientation; /* EXIF's 1 to 8, as it still has to be applied: 1 = upright or turned already */
    uint8_t *pixels;
} sn_image;

/* What a person may choose. Zero is what the published code does ("parity"). */
typedef struct sn_image_options {
    bool alpha_white;  /* lay transparent pictures over white instead of dropping alpha */
    bool alpha_keep;   /* leave RGBA as it is */
    bool exif_apply;   /* turn as the EXIF orientation says */
    bool gray16_shift; /* 16-bit grey: high byte instead of clipping */
} sn_image_options;

enum { SN_MAX_IMAGE_FILE = 1 << 29 }; /* bytes */

/* JPEG, PNG, WebP, GIF (of the animated ones the first frame) and BMP; the type comes from the bytes. Truncated data
 * are refused. Limits: 16384 in either direction, 178 956 970 pixels, files of 512 MB. `where` names the picture in errors. */
sn_status sn_image_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                          sn_error *error);
/* The same of a file, or of a data URL ("data:image/png;base64,…", media/data_url.h); a file whose name begins with "data:"
 * is reached as "./data:…". */
sn_status sn_image_open(const char *path, const sn_image_options *options, sn_image *out, sn_error *error);
void sn_image_free(sn_image *image);

/* Whether a picture of that size is within the limits; and black pixels for one that is. */
sn_status sn_image_check(const char *where, int64_t width, int64_t height, sn_error *error);
sn_status sn_image_new(const char *where, int64_t width, int64_t height, int channels, sn_image *out, sn_error *error);

/* Turns the picture as its orientation says (5 to 8 exchange width and height). */
sn_status sn_image_upright(sn_image *image, sn_error *error);

/* Luminance, convert("L"): (19595 r + 38470 g + 7471 b + 32768) >> 16; grey: [height, width]. */
void sn_image_luminance(const sn_image *image, uint8_t *grey);

/* CMYK (0 = no ink) to RGB by Pillow's rule; both may be the same memory read from the front. */
void sn_cmyk_to_rgb(const uint8_t *cmyk, size_t count, uint8_t *rgb);

#endif
