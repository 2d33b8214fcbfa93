/* Pictures: decoded as Pillow's Image.open(f).convert("RGB") does (image.md 1). */
#ifndef SN_MEDIA_IMAGE_H
#define SN_MEDIA_IMAGE_H

#include "base/error.h"
#include "base/memory.h"

/* 8-bit pixels, rows from the top, `channels` per pixel: 3 (RGB) or, before alpha is settled, 4 (RGBA). */
typedef struct sn_image {
    int width, height, channels;
    uint8_t *pixels;
} sn_image;

/* What a person may choose. Zero is what the published code does ("parity"). */
typedef struct sn_image_options {
    bool alpha_white;  /* lay transparent pictures over white instead of dropping alpha */
    bool exif_apply;   /* turn as the EXIF orientation says */
    bool gray16_shift; /* 16-bit grey: high byte instead of clipping */
} sn_image_options;

/* The type comes from the bytes. Limits: 16384 in either direction, 178 956 970 pixels. */
sn_status sn_image_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                          sn_error *error);
sn_status sn_image_open(const char *path, const sn_image_options *options, sn_image *out, sn_error *error);
void sn_image_free(sn_image *image);

/* ---- for the decoders of one format: RGB or RGBA pixels, size checked by sn_image_new ---- */
sn_status sn_image_new(const char *where, int64_t width, int64_t height, int channels, sn_image *out, sn_error *error);
sn_status sn_png_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out, sn_error *error);

#endif
