/* Pillow's resize, exact to the grey level. */
#ifndef SN_MEDIA_RESIZE_H
#define SN_MEDIA_RESIZE_H

#include "media/filter.h"
#include "media/image.h"

/* Which pass comes first. AUTO: as Pillow decides today (vertical where the height shrinks by more than twice what
 * the width does); HORIZONTAL: as Pillow up to 11 always did; TORCHVISION: as torchvision does with 8-bit tensors,
 * horizontal first and weights of 16 bits (the window must be the whole result). */
typedef enum sn_resize_order { SN_RESIZE_AUTO, SN_RESIZE_HORIZONTAL, SN_RESIZE_TORCHVISION } sn_resize_order;

/* The window [left, left + columns) x [top, top + rows) of the picture resized to width x height: only what the
 * window needs is computed, so a very thin picture costs no memory. */
typedef struct sn_resize {
    int64_t width, height;
    int64_t left, top;
    int columns, rows;
    sn_filter filter;
    sn_resize_order order;
    double box[4]; /* left, top, right, bottom of the part that is resized; all zero = everything */
    /* Where the picture lies first on a larger canvas (no canvas: zeros); the canvas itself is never made. */
    struct {
        int width, height, left, top;
        uint8_t fill[3];
    } canvas;
} sn_resize;

/* 8-bit pictures of 1 to 4 channels; those of 4 are premultiplied by their alpha while they are resized. */
sn_status sn_image_resize(const sn_image *image, const sn_resize *resize, sn_image *out, sn_error *error);

#endif
