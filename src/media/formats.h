/* For the decoders of one format (png.c, jpeg.c, …); everyone else includes media/image.h. */
#ifndef SN_MEDIA_FORMATS_H
#define SN_MEDIA_FORMATS_H

#include "media/image.h"

/* A decoder fills *out with RGB or RGBA pixels and out->orientation, having made it by sn_image_new once the header is
 * known and before anything else of the picture's size is allocated. On failure *out is empty. */
typedef sn_status sn_image_decoder(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                                   sn_error *error);
sn_image_decoder sn_png_decode, sn_jpeg_decode, sn_webp_decode, sn_gif_decode, sn_bmp_decode;

/* The orientation, 1 to 8, of an EXIF block (a TIFF file, with or without "Exif\0\0" before it); 1 where it says none. */
int sn_exif_orientation(const unsigned char *exif, size_t size);

/* One grey value per pixel, at the beginning of each row's place, becomes RGB. */
void sn_image_grey_row(uint8_t *row, int width);

#endif
