/* PNG through libpng, with Pillow's rules for what is not 8-bit RGB (image.md 1). */
#include "media/image.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct reader {
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

/* One row as libpng gives it (after unpacking to at least 8 bits) to RGB or RGBA. */
static void convert_row(const uint8_t *row, int width, int type, int depth, bool shift16, const png_color *palette, int num_palette,
                        const uint8_t *alphas, int num_alphas, bool has_trns_alpha, int channels, uint8_t *to) {
    for (int x = 0; x < width; x++, to += channels) {
        const uint8_t *p;
        switch (type) {
        case PNG_COLOR_TYPE_GRAY:
            p = row + x * (depth / 8);
            to[0] = depth == 16 ? (shift16 ? p[0] : (p[0] ? 255 : p[1])) : p[0]; /* mode I;16 is clipped by convert("RGB") */
            to[1] = to[2] = to[0];
            break;
        case PNG_COLOR_TYPE_GRAY_ALPHA:
            p = row + x * 2 * (depth / 8);
            to[0] = to[1] = to[2] = p[0];
            to[3] = p[depth / 8];
            break;
        case PNG_COLOR_TYPE_PALETTE:
            p = row + x;
            if (*p < num_palette) to[0] = palette[*p].red, to[1] = palette[*p].green, to[2] = palette[*p].blue;
            if (has_trns_alpha) to[3] = *p < num_alphas ? alphas[*p] : 255;
            break;
        default: {
            int n = type == PNG_COLOR_TYPE_RGB ? 3 : 4;
            p = row + x * n * (depth / 8);
            for (int c = 0; c < n; c++) to[c] = p[c * (depth / 8)]; /* 16 bit: the high byte */
        }
        }
    }
}

sn_status sn_png_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                        sn_error *error) {
    reader r = {.bytes = bytes, .size = size};
    *out = (sn_image){0};
    uint8_t *volatile rows = NULL;
    png_bytep *volatile pointers = NULL;
    volatile sn_status status = SN_OK;
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return sn_fail_memory(error);
    }
    if (setjmp(png_jmpbuf(png))) {
        status = sn_fail(error, SN_ERROR_INPUT, "%s: broken PNG: %s", where, r.message);
        goto done;
    }
    png_set_read_fn(png, &r, read_bytes);
    png_set_user_limits(png, 1 << 20, 1 << 20);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png, info);
    int width = (int)png_get_image_width(png, info), height = (int)png_get_image_height(png, info);
    int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info), num_palette = 0, num_alphas = 0;
    png_colorp palette = NULL;
    png_bytep alphas = NULL;
    if (type == PNG_COLOR_TYPE_PALETTE) png_get_PLTE(png, info, &palette, &num_palette);
    bool trns = type == PNG_COLOR_TYPE_PALETTE && png_get_tRNS(png, info, &alphas, &num_alphas, NULL);
    if (depth < 8) {
        if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
        else png_set_packing(png);
    }
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    int channels = trns || type & PNG_COLOR_MASK_ALPHA ? 4 : 3;
    if ((status = sn_image_new(where, width, height, channels, out, error))) goto done;
    size_t row_bytes = png_get_rowbytes(png, info);
    rows = sn_alloc((size_t)height, row_bytes);
    pointers = sn_alloc((size_t)height, sizeof *pointers);
    if (!rows || !pointers) {
        status = sn_fail_memory(error);
        goto done;
    }
    for (int y = 0; y < height; y++) pointers[y] = rows + (size_t)y * row_bytes;
    png_read_image(png, pointers);
    png_read_end(png, NULL);
    for (int y = 0; y < height; y++)
        convert_row(pointers[y], width, type, depth < 8 ? 8 : depth, options->gray16_shift, palette, num_palette, alphas, num_alphas, trns, channels,
                    out->pixels + (size_t)y * (size_t)width * (size_t)channels);
done:
    png_destroy_read_struct(&png, &info, NULL);
    sn_free(rows);
    sn_free(pointers);
    if (status) sn_image_free(out);
    return status;
}
