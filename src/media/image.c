/* Which decoder, limits, alpha. */
#include "media/image.h"

#include "base/file.h"

#include <string.h>

enum { MAX_SIDE = 16384, MAX_PIXELS = 178956970, MAX_FILE = 1 << 29 };

void sn_image_free(sn_image *image) {
    sn_free(image->pixels);
    *image = (sn_image){0};
}

sn_status sn_image_new(const char *where, int64_t width, int64_t height, int channels, sn_image *out, sn_error *error) {
    *out = (sn_image){0};
    if (width < 1 || height < 1) return sn_fail(error, SN_ERROR_INPUT, "%s: a picture of %lld x %lld", where, (long long)width, (long long)height);
    if (width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found a picture of %lld x %lld, expected at most %d in each direction", where, (long long)width,
                       (long long)height, MAX_SIDE);
    uint8_t *pixels = sn_alloc((size_t)(width * height), (size_t)channels);
    if (!pixels) return sn_fail_memory(error);
    *out = (sn_image){(int)width, (int)height, channels, pixels};
    return SN_OK;
}

/* RGBA to RGB: alpha dropped, or over white: (c a + 255 (255 - a)) / 255, rounded. */
static void settle_alpha(sn_image *image, bool white) {
    if (image->channels != 4) return;
    size_t count = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++) {
            unsigned value = image->pixels[4 * i + (size_t)c], alpha = image->pixels[4 * i + 3];
            image->pixels[3 * i + (size_t)c] = (uint8_t)(white ? (2 * (value * alpha + 255 * (255 - alpha)) + 255) / 510 : value);
        }
    image->channels = 3;
}

sn_status sn_image_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                          sn_error *error) {
    static const sn_image_options parity;
    if (!options) options = &parity;
    *out = (sn_image){0};
    sn_status status;
    if (size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0)
        status = sn_png_decode(where, bytes, size, options, out, error);
    else
        status = sn_fail(error, SN_ERROR_INPUT, "%s: not a picture: %s", where, size ? "found none of PNG" : "the file is empty");
    if (!status) settle_alpha(out, options->alpha_white);
    return status;
}

sn_status sn_image_open(const char *path, const sn_image_options *options, sn_image *out, sn_error *error) {
    char *bytes;
    size_t size;
    *out = (sn_image){0};
    sn_status status = sn_read_file(path, MAX_FILE, &bytes, &size, error);
    if (status) return status;
    status = sn_image_decode(path, (const unsigned char *)bytes, size, options, out, error);
    sn_free(bytes);
    return status;
}
