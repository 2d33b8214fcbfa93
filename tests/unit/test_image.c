/* Decoding pictures: what is refused and how, alpha and orientation. That every kind of file gives Pillow's pixels is
 * shown by the reference cases components/image/decode, whose inputs (SN_GOLDENS) are damaged here. */
#include "base/file.h"
#include "base/random.h"
#include "media/formats.h"
#include "tests/unit/check.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>
#include <zlib.h>

static const char *const inputs[] = {"rgb.png", "interlaced.png", "palette-trns.png", "gray16.png", "exif6.png", "photo.jpg", "progressive.jpg", "gray.jpg",
                                     "cmyk.jpg", "photo.webp", "lossless.webp", "palette.gif", "rgb.bmp"};
enum { NUM_INPUTS = sizeof inputs / sizeof *inputs };

static unsigned char *read_input(const char *name, size_t *size) {
    const char *root = getenv("SN_GOLDENS");
    char *path = sn_format("%s/components/image/decode/inputs/%s", root ? root : "tests/goldens", name), *bytes;
    sn_error error = {0};
    assert_ok(sn_read_file(path, 1 << 20, &bytes, size, &error), error);
    sn_free(path);
    return (unsigned char *)bytes;
}

static void assert_refused(const void *bytes, size_t size, const char *why) {
    sn_image image;
    sn_error error = {0};
    assert_true(sn_image_decode("picture", bytes, size, NULL, &image, &error) != SN_OK);
    assert_null(image.pixels);
    assert_null(strchr(error.message, '\n'));
    if (!strstr(error.message, why)) fail_msg("found \"%s\", expected it to say \"%s\"", error.message, why);
}

static void test_refused_by_name(void **state) {
    (void)state;
    static const struct { const char *bytes; size_t size; const char *why; } files[] = {
        {"", 0, "picture: the file is empty"},
        {"dear diary, this is text\n", 25, "begins with \"dear diary, this\", expected JPEG, PNG, WebP, GIF or BMP"},
        {"\0\0\0\x18" "ftypheic\0\0\0\0", 16, "found HEIC, expected JPEG, PNG"},
        {"\0\0\0\x18" "ftypavif\0\0\0\0", 16, "found AVIF"},
        {"II*\0\x08\0\0\0", 8, "found TIFF"},
        {"MM\0*\0\0\0\x08", 8, "found TIFF"},
        {"8BPS\0\1", 6, "found PSD"},
        {"\xef\xbb\xbf\n<?xml version=\"1.0\"?>\n<svg/>", 32, "found SVG"},
        {"RIFF\4\0\0\0WAVEfmt ", 16, "begins with \"RIFF"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) assert_refused(files[i].bytes, files[i].size, files[i].why);
}

/* A file that ends early is refused wherever it ends. (A GIF's last byte says only that no further frame follows.) */
static void test_every_beginning_is_refused(void **state) {
    (void)state;
    for (int i = 0; i < NUM_INPUTS; i++) {
        size_t size;
        unsigned char *bytes = read_input(inputs[i], &size);
        size_t end = strstr(inputs[i], ".gif") ? size - 2 : size - 1;
        for (size_t length = 0; length <= end; length += length < 64 || length + 64 > end ? 1 : 61) {
            unsigned char *copy = malloc(length + 1); /* of exactly that length, so that reading on is seen by a sanitizer */
            memcpy(copy, bytes, length);
            sn_image image;
            sn_error error = {0};
            if (!sn_image_decode(inputs[i], copy, length, NULL, &image, &error)) fail_msg("%s: %zu of %zu bytes were taken", inputs[i], length, size);
            assert_null(image.pixels);
            free(copy);
        }
        sn_free(bytes);
    }
}

/* Random damage ends in pixels or in one error, never otherwise. */
static void test_damage(void **state) {
    (void)state;
    for (int i = 0; i < NUM_INPUTS; i++) {
        size_t size;
        unsigned char *bytes = read_input(inputs[i], &size);
        for (uint64_t round = 0; round < 60; round++) {
            unsigned char *copy = malloc(size);
            memcpy(copy, bytes, size);
            for (uint64_t k = 0; k < 3; k++) { /* mostly in the first bytes, where the headers are */
                float place = sn_uniform(7, round * 8 + k, (uint64_t)i);
                copy[(size_t)(place * place * place * (float)(size - 1))] = (unsigned char)(256 * sn_uniform(8, round * 8 + k, (uint64_t)i));
            }
            sn_image image;
            sn_error error = {0};
            sn_status status = sn_image_decode(inputs[i], copy, size, NULL, &image, &error);
            assert_true((status == SN_OK) == (image.pixels != NULL) && (status == SN_OK) == (error.message[0] == 0));
            sn_image_free(&image);
            free(copy);
        }
        sn_free(bytes);
    }
}

static void put_big(unsigned char *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> 8 * (3 - i));
}

/* The header alone decides: the files hold no such data, and no memory is taken for them. */
static void test_absurd_sizes(void **state) {
    (void)state;
    size_t size;
    unsigned char *bytes = read_input("rgb.png", &size);
    static const uint32_t sizes[][2] = {{30000, 30000}, {16385, 1}, {1, 16385}, {16000, 16000}, {0x7fffffff, 0x7fffffff}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char why[64];
        snprintf(why, sizeof why, "found a picture of %u x %u, expected at most 16384", sizes[i][0], sizes[i][1]);
        put_big(bytes + 16, sizes[i][0]), put_big(bytes + 20, sizes[i][1]);
        put_big(bytes + 29, (uint32_t)crc32(0, bytes + 12, 17));
        assert_refused(bytes, size, why);
    }
    sn_free(bytes);
    bytes = read_input("palette.gif", &size);
    memset(bytes + 6, 0xff, 4);
    assert_refused(bytes, size, "found a picture of 65535 x 65535");
    sn_free(bytes);
    bytes = read_input("rgb.bmp", &size);
    memcpy(bytes + 18, "\x30\x75\0\0", 4);
    assert_refused(bytes, size, "found a picture of 30000 x");
    memcpy(bytes + 18, "\0\0\0\x80", 4);
    assert_refused(bytes, size, "picture: found a picture of -2147483648 x");
    sn_free(bytes);
}

static void test_damaged_checksum(void **state) {
    (void)state;
    size_t size;
    unsigned char *bytes = read_input("rgb.png", &size);
    bytes[size - 20] ^= 1; /* within the last IDAT */
    assert_refused(bytes, size, "broken PNG");
    sn_free(bytes);
}

/* A BMP of 4 x 2 with the header's fields as given and a palette of black, red, green, blue. */
static size_t make_bmp(unsigned char *to, int bits, int compression, const unsigned char *pixels, size_t count) {
    static const unsigned char colors[16] = {0, 0, 0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0};
    memset(to, 0, 70);
    memcpy(to, "BM", 2);
    to[10] = 70, to[14] = 40, to[18] = 4, to[22] = 2, to[26] = 1, to[28] = (unsigned char)bits, to[30] = (unsigned char)compression, to[46] = 4;
    memcpy(to + 54, colors, 16);
    memcpy(to + 70, pixels, count);
    return 70 + count;
}

/* Letters name the colours, rows from the top. */
static void assert_colors(const unsigned char *bmp, size_t size, const char *want) {
    sn_image image;
    sn_error error = {0};
    assert_ok(sn_image_decode("bmp", bmp, size, NULL, &image, &error), error);
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = image.pixels + 3 * i;
        char found = p[0] ? 'r' : p[1] ? 'g' : p[2] ? 'b' : '.';
        if (found != want[i]) fail_msg("pixel %d: found %c, expected %c", i, found, want[i]);
    }
    sn_image_free(&image);
}

static void test_bmp_run_lengths(void **state) {
    (void)state;
    unsigned char bmp[128];
    /* bottom row: 3 x red, end of row; top row: a step right by one, then "blue green" literally, end of picture */
    static const unsigned char runs_8[] = {3, 1, 0, 0, 0, 2, 1, 0, 0, 3, 3, 2, 3, 0, 0, 1};
    assert_colors(bmp, make_bmp(bmp, 8, 1, runs_8, sizeof runs_8), ".bgbrrr.");
    static const unsigned char runs_4[] = {3, 0x12, 0, 0, 0, 3, 0x32, 0x10, 0, 1};
    assert_colors(bmp, make_bmp(bmp, 4, 2, runs_4, sizeof runs_4), "bgr.rgr.");
    static const unsigned char too_long[] = {255, 1, 0, 0, 255, 3, 0, 1}; /* what is beyond the row is dropped */
    assert_colors(bmp, make_bmp(bmp, 8, 1, too_long, sizeof too_long), "bbbbrrrr");
    static const unsigned char no_end[] = {3, 1, 0, 0, 4};
    size_t size = make_bmp(bmp, 8, 1, no_end, sizeof no_end);
    assert_refused(bmp, size, "the file ends early");
}

static void test_bmp_bits(void **state) {
    (void)state;
    unsigned char bmp[128];
    static const unsigned char one[] = {0x50, 0, 0, 0, 0xa0, 0, 0, 0};
    assert_colors(bmp, make_bmp(bmp, 1, 0, one, sizeof one), "r.r..r.r");
    static const unsigned char sixteen[] = {0, 0x7c, 0xe0, 3, 0x1f, 0, 0, 0, 0, 0, 0, 0x7c, 0, 0, 0, 0};
    assert_colors(bmp, make_bmp(bmp, 16, 0, sixteen, sizeof sixteen), ".r..rgb.");
}

/* Fields of four masks behind a header that counts only two of them, at the end of the file: found by fuzzing. */
static void test_bmp_masks_beyond_the_file(void **state) {
    (void)state;
    unsigned char bmp[128];
    make_bmp(bmp, 16, 6, (unsigned char[16]){0}, 16);
    bmp[14] = 48;
    for (size_t size = 14 + 40; size < 14 + 40 + 16; size++) {
        unsigned char *exact = sn_alloc(size, 1); /* with nothing behind it, so that sanitizers see every step too far */
        memcpy(exact, bmp, size);
        assert_refused(exact, size, "the file ends early");
        sn_free(exact);
    }
}

/* What is below transparent pixels goes or stays as asked. */
static void test_alpha(void **state) {
    (void)state;
    size_t size;
    unsigned char *bytes = read_input("rgba.png", &size);
    static const sn_image_options choices[] = {{.alpha_keep = true}, {0}, {.alpha_white = true}};
    sn_image image[3];
    sn_error error = {0};
    for (int i = 0; i < 3; i++) assert_ok(sn_image_decode("rgba.png", bytes, size, &choices[i], &image[i], &error), error);
    assert_int_equal(image[0].channels, 4);
    for (int i = 0; i < image[0].width * image[0].height; i++)
        for (int c = 0; c < 3; c++) {
            int value = image[0].pixels[4 * i + c], alpha = image[0].pixels[4 * i + 3];
            assert_int_equal(image[1].pixels[3 * i + c], value);
            assert_int_equal(image[2].pixels[3 * i + c], (int)((value * alpha + 255 * (255 - alpha)) / 255.0 + 0.5));
        }
    for (int i = 0; i < 3; i++) sn_image_free(&image[i]);
    sn_free(bytes);
}

/* The same four colours with and without alpha, and by a palette, are the same pixels; a picture one pixel wide is no grey one. */
static void test_forms(void **state) {
    (void)state;
    static const uint8_t colours[4][4] = {{255, 0, 0, 255}, {0, 200, 0, 0}, {0, 0, 90, 0}, {250, 240, 10, 255}};
    static const struct { int width, height; } sizes[] = {{16, 12}, {5, 1}, {1, 5}};
    static const uint32_t forms[] = {PNG_FORMAT_RGB, PNG_FORMAT_RGBA, PNG_FORMAT_RGB_COLORMAP};
    for (int s = 0; s < 3; s++) {
        int width = sizes[s].width, height = sizes[s].height;
        for (int f = 0; f < 3; f++) {
            uint8_t pixels[16 * 12 * 4], map[4 * 3], file[4096];
            int channels = f == 0 ? 3 : f == 1 ? 4 : 1;
            for (int i = 0; i < width * height; i++) {
                int colour = i % width * 2 / width + 2 * (i / width * 2 / height);
                if (f == 2) pixels[i] = (uint8_t)colour;
                else memcpy(pixels + i * channels, colours[colour], (size_t)channels);
            }
            for (int i = 0; i < 4; i++) memcpy(map + 3 * i, colours[i], 3);
            png_image out = {.version = PNG_IMAGE_VERSION, .width = (uint32_t)width, .height = (uint32_t)height, .format = forms[f], .colormap_entries = 4};
            png_alloc_size_t size = sizeof file;
            assert_true(png_image_write_to_memory(&out, file, &size, 0, pixels, 0, map));
            sn_image image;
            sn_error error = {0};
            assert_ok(sn_image_decode("forms.png", file, size, NULL, &image, &error), error);
            assert_int_equal(image.width, width);
            assert_int_equal(image.height, height);
            assert_int_equal(image.channels, 3);
            for (int i = 0; i < width * height; i++) assert_memory_equal(image.pixels + 3 * i, colours[i % width * 2 / width + 2 * (i / width * 2 / height)], 3);
            sn_image_free(&image);
        }
    }
}

/* WebP's alpha too, over white: (200 * 51 + 255 * 204) / 255 = 244. */
static void test_webp_alpha(void **state) {
    (void)state;
    uint8_t pixels[4 * 12], *bytes;
    for (int i = 0; i < 12; i++) memcpy(pixels + 4 * i, i < 6 ? "\xc8\x64\0\x33" : "\xc8\x64\0\xff", 4);
    size_t size = WebPEncodeLosslessRGBA(pixels, 4, 3, 16, &bytes);
    assert_true(size > 0);
    sn_image image;
    sn_error error = {0};
    assert_ok(sn_image_decode("webp", bytes, size, &(sn_image_options){.alpha_white = true}, &image, &error), error);
    assert_int_equal(image.width * 100 + image.height, 403);
    assert_memory_equal(image.pixels, "\xf4\xe0\xcc", 3);
    assert_memory_equal(image.pixels + 33, "\xc8\x64\0", 3);
    sn_image_free(&image);
    WebPFree(bytes);
}

static void test_exif_block(void **state) {
    (void)state;
    unsigned char intel[] = "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
    unsigned char motorola[] = "MM\0*\0\0\0\x08\0\x02\x01\0\0\x03\0\0\0\x01\0\x05\0\0\x01\x12\0\x03\0\0\0\x01\0\x08\0\0";
    assert_int_equal(sn_exif_orientation(intel, sizeof intel - 1), 6);
    assert_int_equal(sn_exif_orientation(motorola, sizeof motorola - 1), 8);
    for (size_t i = 0; i < 30; i++) assert_in_range(sn_exif_orientation(intel, i), 1, 6); /* cut anywhere */
    intel[24] = 9;
    assert_int_equal(sn_exif_orientation(intel, sizeof intel - 1), 1);
    memset(intel + 10, 0xff, 4); /* the directory beyond the end */
    assert_int_equal(sn_exif_orientation(intel, sizeof intel - 1), 1);
}

/* Four turns by a quarter, or two mirrors, bring a picture back. */
static void test_upright(void **state) {
    (void)state;
    static const int back[9] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
    for (int o = 1; o <= 8; o++) {
        sn_image image;
        sn_error error = {0};
        assert_ok(sn_image_new("made", 3, 2, 3, &image, &error), error);
        for (int i = 0; i < 18; i++) image.pixels[i] = (uint8_t)i;
        image.orientation = o;
        assert_ok(sn_image_upright(&image, &error), error);
        assert_int_equal(image.width, o >= 5 ? 2 : 3);
        image.orientation = back[o];
        assert_ok(sn_image_upright(&image, &error), error);
        for (int i = 0; i < 18; i++) assert_int_equal(image.pixels[i], i);
        sn_image_free(&image);
    }
}

static void test_without_memory(void **state) {
    (void)state;
    for (int i = 0; i < NUM_INPUTS; i++) {
        size_t size;
        unsigned char *bytes = read_input(inputs[i], &size);
        sn_image image;
        sn_memory_fail_at(1);
        sn_status status = sn_image_decode(inputs[i], bytes, size, NULL, &image, NULL);
        sn_memory_fail_at(0);
        assert_int_equal(status, SN_ERROR_MEMORY);
        assert_null(image.pixels);
        sn_free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_by_name), cmocka_unit_test(test_every_beginning_is_refused), cmocka_unit_test(test_damage), cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_damaged_checksum), cmocka_unit_test(test_bmp_run_lengths), cmocka_unit_test(test_bmp_bits), cmocka_unit_test(test_bmp_masks_beyond_the_file), cmocka_unit_test(test_alpha), cmocka_unit_test(test_forms), cmocka_unit_test(test_webp_alpha),
        cmocka_unit_test(test_exif_block), cmocka_unit_test(test_upright), cmocka_unit_test(test_without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
