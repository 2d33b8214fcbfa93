/* Resizing of floats: as torch's F.interpolate does it, and as Pillow does in mode F. */
#ifndef SN_MEDIA_INTERPOLATE_H
#define SN_MEDIA_INTERPOLATE_H

#include "base/error.h"
#include "media/filter.h"

typedef enum sn_interpolation {
    SN_INTERPOLATE_NEAREST,
    SN_INTERPOLATE_BILINEAR,
    SN_INTERPOLATE_BICUBIC, /* a = -0.75, four taps, clamped at the border */
    SN_INTERPOLATE_AREA,    /* adaptive average pooling */
    SN_INTERPOLATE_ANTIALIAS, /* torch's antialias=True; filter: bilinear or bicubic (a = -0.5) */
    SN_INTERPOLATE_PILLOW     /* Pillow's mode F, any filter but nearest */
} sn_interpolation;

typedef struct sn_interpolate {
    sn_interpolation mode;
    sn_filter filter;         /* of ANTIALIAS and PILLOW */
    bool align_corners;       /* of bilinear and bicubic */
    double scale_y, scale_x;  /* scale_factor, where it was given and is not recomputed from the sizes; 0 = not so */
} sn_interpolate;

/* from: [planes, in_height, in_width], to: [planes, out_height, out_width]. */
sn_status sn_interpolate_planes(const sn_interpolate *how, const float *from, int64_t planes, int in_height, int in_width, float *to, int out_height, int out_width,
                                sn_error *error);

#endif
