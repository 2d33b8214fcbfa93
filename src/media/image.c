/* Which decoder, what is refused by name, limits, alpha, orientation. The decoders themselves are one file a format. */
#include "media/image.h"

#include "base/file.h"
#include "media/data_url.h"
#include "media/formats.h"

#include <string.h>

enum { MAX_SIDE = 16384, MAX_PIXELS = 178956970 };

void sn_image_free(sn_image *image) {
    sn_free(image->pixels);
    *image = (sn_image){0};
}

sn_status sn_image_check(const char *where, int64_t width, int64_t height, sn_error *error) {
    if (width < 1 || height < 1) return sn_fail(error, SN_ERROR_INPUT, "%s: found a picture of %lld x %lld, expected at least one pixel", where, (long long)width, (long long)height);
    if (width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found a picture of %lld x %lld, expected at most %d in each direction and %d pixels", where, (long long)width,
                       (long long)height, MAX_SIDE, MAX_PIXELS);
    return SN_OK;
}

sn_status sn_image_new(const char *where, int64_t width, int64_t height, int channels, sn_image *out, sn_error *error) {
    *out = (sn_image){0};
    sn_status status = sn_image_check(where, width, height, error);
    if (status) return status;
    uint8_t *pixels = sn_alloc((size_t)(width * height), (size_t)channels);
    if (!pixels) return sn_fail_memory(error);
    *out = (sn_image){(int)width, (int)height, channels, 1, pixels};
    return SN_OK;
}

/* ---- alpha and colours ---- */

/* RGBA to RGB in place: alpha dropped, or over white: (c a + 255 (255 - a)) / 255, rounded. */
static void settle_alpha(sn_image *image, bool white) {
    size_t count = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++) {
            unsigned value = image->pixels[4 * i + (size_t)c], alpha = image->pixels[4 * i + 3];
            image->pixels[3 * i + (size_t)c] = (uint8_t)(white ? (2 * (value * alpha + 255 * (255 - alpha)) + 255) / 510 : value);
        }
    image->channels = 3;
}

void sn_image_grey_row(uint8_t *row, int width) {
    for (int x = width - 1; x >= 0; x--) row[3 * x + 2] = row[3 * x + 1] = row[3 * x] = row[x];
}

void sn_image_luminance(const sn_image *image, uint8_t *grey) {
    size_t count = (size_t)image->width * (size_t)image->height;
    const uint8_t *p = image->pixels;
    for (size_t i = 0; i < count; i++, p += image->channels) grey[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
}

void sn_cmyk_to_rgb(const uint8_t *cmyk, size_t count, uint8_t *rgb) {
    for (size_t i = 0; i < count; i++, cmyk += 4, rgb += 3) {
        int paper = 255 - cmyk[3];
        for (int c = 0; c < 3; c++) {
            int product = cmyk[c] * paper + 128, value = paper - (((product >> 8) + product) >> 8);
            rgb[c] = (uint8_t)(value < 0 ? 0 : value);
        }
    }
}

/* ---- orientation ---- */

static unsigned read_number(const unsigned char *p, int bytes, bool big) {
    unsigned value = 0;
    for (int i = 0; i < bytes; i++) value |= (unsigned)p[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

int sn_exif_orientation(const unsigned char *exif, size_t size) {
    if (size >= 6 && memcmp(exif, "Exif\0\0", 6) == 0) exif += 6, size -= 6;
    if (size < 8 || (memcmp(exif, "II*\0", 4) != 0 && memcmp(exif, "MM\0*", 4) != 0)) return 1;
    bool big = exif[0] == 'M';
    size_t at = read_number(exif + 4, 4, big);
    if (at > size - 2) return 1;
    unsigned count = read_number(exif + at, 2, big);
    for (at += 2; count > 0 && at + 12 <= size; count--, at += 12) {
        unsigned type = read_number(exif + at + 2, 2, big), value;
        if (read_number(exif + at, 2, big) != 0x0112) continue;
        value = type == 3 ? read_number(exif + at + 8, 2, big) : type == 4 ? read_number(exif + at + 8, 4, big) : 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

sn_status sn_image_upright(sn_image *image, sn_error *error) {
    /* Where the upright picture's pixel (x, y) comes from: the axes exchanged or not, then each one mirrored or not. */
    static const struct { bool exchange, mirror_x, mirror_y; } turns[9] = {
        [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true}, [5] = {true, false, false},
        [6] = {true, false, true},  [7] = {true, true, true},  [8] = {true, true, false}};
    int o = image->orientation, w = image->width, h = image->height, n = image->channels;
    if (o < 2 || o > 8) return SN_OK;
    sn_image turned;
    sn_status status = sn_image_new("turned", turns[o].exchange ? h : w, turns[o].exchange ? w : h, n, &turned, error);
    if (status) return status;
    uint8_t *to = turned.pixels;
    for (int y = 0; y < turned.height; y++)
        for (int x = 0; x < turned.width; x++, to += n) {
            int from_x = turns[o].exchange ? y : x, from_y = turns[o].exchange ? x : y;
            if (turns[o].mirror_x) from_x = w - 1 - from_x;
            if (turns[o].mirror_y) from_y = h - 1 - from_y;
            memcpy(to, image->pixels + ((size_t)from_y * (size_t)w + (size_t)from_x) * (size_t)n, (size_t)n);
        }
    sn_image_free(image);
    *image = turned;
    return SN_OK;
}

/* ---- recognition ---- */

static const struct {
    size_t offset;
    const char *bytes, *name; /* compared without the NUL; '?' stands for any byte */
    size_t length;
    sn_image_decoder *decode; /* NULL: recognised and refused */
} formats[] = {
    {0, "\x89PNG\r\n\x1a\n", "PNG", 8, sn_png_decode},
    {0, "\xff\xd8\xff", "JPEG", 3, sn_jpeg_decode},
    {0, "RIFF????WEBP", "WebP", 12, sn_webp_decode},
    {0, "GIF8?a", "GIF", 6, sn_gif_decode},
    {0, "BM", "BMP", 2, sn_bmp_decode},
    {4, "ftypavif", "AVIF", 8, NULL},
    {4, "ftypavis", "AVIF", 8, NULL},
    {4, "ftyphei?", "HEIC", 8, NULL},
    {4, "ftyphev?", "HEIC", 8, NULL},
    {4, "ftypmif1", "HEIC", 8, NULL},
    {4, "ftypmsf1", "HEIC", 8, NULL},
    {0, "II*\0", "TIFF", 4, NULL},
    {0, "MM\0*", "TIFF", 4, NULL},
    {0, "8BPS", "PSD", 4, NULL},
    {0, "\xff\x0a", "JPEG XL", 2, NULL},
    {4, "JXL \r\n\x87\n", "JPEG XL", 8, NULL},
    {4, "jP  \r\n\x87\n", "JPEG 2000", 8, NULL},
    {0, "%PDF-", "PDF", 5, NULL},
};

static bool begins(const unsigned char *bytes, size_t size, size_t offset, const char *magic, size_t length) {
    if (size < offset + length) return false;
    for (size_t i = 0; i < length; i++)
        if (magic[i] != '?' && bytes[offset + i] != (unsigned char)magic[i]) return false;
    return true;
}

/* XML with an svg element near its beginning. */
static bool is_svg(const unsigned char *bytes, size_t size) {
    size_t at = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && strchr(" \t\r\n", bytes[at]) && bytes[at]) at++;
    return at < size && bytes[at] == '<' && memmem(bytes, size < 4096 ? size : 4096, "<svg", 4) != NULL;
}

static sn_status decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out, sn_error *error) {
    static const char read[] = "expected JPEG, PNG, WebP, GIF or BMP";
    if (size == 0) return sn_fail(error, SN_ERROR_INPUT, "%s: the file is empty, %s", where, read);
    const char *name = is_svg(bytes, size) ? "SVG" : NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !name; i++)
        if (begins(bytes, size, formats[i].offset, formats[i].bytes, formats[i].length)) {
            if (formats[i].decode) return formats[i].decode(where, bytes, size, options, out, error);
            name = formats[i].name;
        }
    if (name) return sn_fail(error, SN_ERROR_SUPPORT, "%s: found %s, %s: convert it first", where, name, read);
    char start[17] = "";
    memcpy(start, bytes, size < 16 ? size : 16);
    return sn_fail(error, SN_ERROR_INPUT, "%s: not a picture: found a file that begins with \"%s\", %s", where, start, read);
}

sn_status sn_image_decode(const char *where, const unsigned char *bytes, size_t size, const sn_image_options *options, sn_image *out,
                          sn_error *error) {
    static const sn_image_options parity;
    if (!options) options = &parity;
    *out = (sn_image){0};
    sn_status status = decode(where, bytes, size, options, out, error);
    if (status) return status;
    if (out->channels == 4 && !options->alpha_keep) settle_alpha(out, options->alpha_white);
    if (options->exif_apply) status = sn_image_upright(out, error);
    if (status) sn_image_free(out);
    return status;
}

sn_status sn_image_open(const char *path, const sn_image_options *options, sn_image *out, sn_error *error) {
    unsigned char *bytes;
    size_t size;
    *out = (sn_image){0};
    sn_status status = sn_is_data_url(path) ? sn_data_url_read(path, SN_MAX_IMAGE_FILE, &bytes, &size, error) : sn_read_file(path, SN_MAX_IMAGE_FILE, (char **)&bytes, &size, error);
    if (status) return status;
    status = sn_image_decode(sn_picture_name(path), bytes, size, options, out, error);
    sn_free(bytes);
    return status;
}
