/* JPEG out, for thumbnails: libjpeg-turbo's baseline coder into memory. */
#include "media/jpeg_writer.h"

#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <setjmp.h>

typedef struct failure {
    struct jpeg_error_mgr base;
    jmp_buf back;
} failure;

static void on_error(j_common_ptr info) { longjmp(((failure *)info->err)->back, 1); }
static void on_message(j_common_ptr info, int level) { (void)info, (void)level; }

/* The part that libjpeg may leave by longjmp. */
static void compress(j_compress_ptr info, const sn_image *image, int quality, unsigned char **bytes, unsigned long *length) {
    jpeg_create_compress(info);
    jpeg_mem_dest(info, bytes, length);
    info->image_width = (JDIMENSION)image->width, info->image_height = (JDIMENSION)image->height;
    info->input_components = 3, info->in_color_space = JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_quality(info, quality, TRUE);
    jpeg_start_compress(info, TRUE);
    while (info->next_scanline < info->image_height) {
        JSAMPROW row = image->pixels + 3 * (size_t)info->next_scanline * (size_t)image->width;
        jpeg_write_scanlines(info, &row, 1);
    }
    jpeg_finish_compress(info);
}

bool sn_jpeg_write(const sn_image *image, int quality, sn_buf *out) {
    struct jpeg_compress_struct info = {0};
    failure f = {0};
    struct { unsigned char *bytes; unsigned long length; } volatile made = {0};
    info.err = jpeg_std_error(&f.base);
    f.base.error_exit = on_error, f.base.emit_message = on_message;
    bool ok = image->channels == 3 && setjmp(f.back) == 0;
    if (ok) compress(&info, image, quality, (unsigned char **)&made.bytes, (unsigned long *)&made.length);
    jpeg_destroy_compress(&info);
    if (ok) sn_buf_add(out, made.bytes, made.length);
    free(made.bytes);
    return ok && !out->failed;
}
