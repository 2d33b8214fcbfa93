/* Writes a picture of 3 channels as JPEG, quality 1 to 100; false where that failed. */
#ifndef SN_MEDIA_JPEG_WRITER_H
#define SN_MEDIA_JPEG_WRITER_H

#include "media/image.h"

bool sn_jpeg_write(const sn_image *image, int quality, sn_buf *out);

#endif
