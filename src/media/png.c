/* PNG through libpng, with Pillow's rules for what is not 8-bit RGB. Rows are read into their place in the
 * result, all passes of an interlaced picture too, so nothing else of the picture's size is held. */
#include "media/formats.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const char *where;
    const unsigned char *bytes;
    size_t size, at;
    char message[128];
} reader;

static void read_bytes(png_structp png, png_bytep to, size_t count) {
    reader *r = png_get_io_ptr(png);
    if (count > r->size - r->at) png_error(png, "the file ends early");
    memcpy(to, r->bytes + r->at, count);
    r->at += count;
}

static void on_error(png_structp png, png_const_charp message) {
    reader *r = png_get_error_ptr(png);
    snprintf(r->message, sizeof r->message, "%s", message);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp message) { (void)png, (void)message; }

/* 16-bit grey, at the beginning of the row's place, to 8-bit RGB or RGBA. Pillow's mode I;16 is clipped by convert("RGB"). */
static void settle_grey16(uint8_t *row, int width, int channels, bool shift) {
    int step = channels == 4 ? 4 : 2;
    for (int x = width - 1; x >= 0; x--) {
        const uint8_t *p = row + x * step;
        uint8_t value = shift || p[0] == 0 ? p[shift ? 0 : 1] : 255, alpha = step == 4 ? p[2] : 0;
        uint8_t *to = row + x * channels;
        to[0] = to[1] = to[2] = value;
        if (channels == 4) to[3] = alpha;
    }
}

/* The part that libpng may leave by longjmp. */
static sn_status read_picture(const reader *r, png_structp png, png_infop info, const sn_image_options *options, sn_image *out, sn_error *error) {
    png_read_info(png, info);
    int type = png_get_color_type(png, info);
    bool transparent = type & PNG_COLOR_MASK_ALPHA || png_get_valid(png, info, PNG_INFO_tRNS), grey16 = type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
    int channels = transparent ? 4 : 3;
    sn_status status = sn_image_new(r->where, png_get_image_width(png, info), png_get_image_height(png, info), channels, out, error);
    if (status) return status;
    png_set_expand(png); /* palettes to RGB, fewer bits to eight, tRNS to alpha */
    if (!grey16) {
        png_set_strip_16(png); /* the high byte */
        png_set_gray_to_rgb(png);
    }
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t stride = (size_t)out->width * (size_t)channels;
    if (png_get_rowbytes(png, info) > stride) png_error(png, "rows are longer than the header says");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < out->height; y++) png_read_row(png, out->pixels + (size_t)y * stride, NULL);
    png_read_end(png, info);
    for (int y = 0; y < out->height && grey16; y++) settle_grey16(out->pixels + (size_t)y * stride, out->width, channels, options->gray16_shift);
    png_bytep exif;
    png_uint_32 exif_size;
    if (png_get_eXIf_1(png, info, &exif_size, &exif)) out->orientation = sn_exif_orientation(exif, exif_size);
    return SN_OK;
}

sn_status sn_png_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                        sn_error *error) {
    reader r = {.where = where, .bytes = bytes, .size = size};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return sn_fail_memory(error);
    }
    sn_status status;
    if (setjmp(png_jmpbuf(png))) {
        status = sn_fail(error, SN_ERROR_INPUT, "%s: broken PNG: %s", where, r.message);
    } else {
        png_set_read_fn(png, &r, read_bytes);
        png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* sn_image_new has ours */
        png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
        status = read_picture(&r, png, info, options, out, error);
    }
    png_destroy_read_struct(&png, &info, NULL);
    if (status) sn_image_free(out);
    return status;
}
