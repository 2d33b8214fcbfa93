/* Pillow's resize, exact to the grey level (image.md 2). */
#ifndef SN_MEDIA_RESIZE_H
#define SN_MEDIA_RESIZE_H

#include "media/image.h"

typedef enum sn_filter { SN_FILTER_NEAREST, SN_FILTER_LANCZOS, SN_FILTER_BILINEAR, SN_FILTER_BICUBIC, SN_FILTER_BOX, SN_FILTER_HAMMING } sn_filter;

/* Which pass comes first. AUTO: as Pillow decides today (vertical where the height shrinks by more than twice what
 * the width does); HORIZONTAL: as Pillow up to 11 always did. */
typedef enum sn_resize_order { SN_RESIZE_AUTO, SN_RESIZE_HORIZONTAL } sn_resize_order;

/* The window [left, left + columns) x [top, top + rows) of the picture resized to width x height: only what the
 * window needs is computed, so a very thin picture costs no memory. */
typedef struct sn_resize {
    int64_t width, height;
    int64_t left, top;
    int columns, rows;
    sn_filter filter;
    sn_resize_order order;
} sn_resize;

/* 8-bit pictures of 1 to 4 channels. */
sn_status sn_image_resize(const sn_image *image, const sn_resize *resize, sn_image *out, sn_error *error);

#endif
