/* Data URLs: every spelling that clients send gives the same bytes; what is broken is refused, with the place and without
 * the URL in the message. */
#include "base/base64.h"
#include "base/file.h"
#include "media/data_url.h"
#include "media/image.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>

static void expect_bytes(const char *url, const char *bytes, size_t size) {
    unsigned char *found;
    size_t count;
    sn_error error = {0};
    assert_true(sn_is_data_url(url));
    if (sn_data_url_read(url, 64, &found, &count, &error)) fail_msg("%s: %s", url, error.message);
    assert_int_equal(count, size);
    assert_memory_equal(found, bytes, size);
    sn_free(found);
}

static void expect_refusal(const char *url, const char *why) {
    unsigned char *found;
    size_t count;
    sn_error error = {0};
    assert_int_equal(sn_data_url_read(url, 8, &found, &count, &error), SN_ERROR_INPUT);
    assert_null(found);
    if (!strstr(error.message, why)) fail_msg("%s: found \"%s\", expected it to say \"%s\"", url, error.message, why);
    assert_true(strlen(error.message) < 120); /* never the whole URL */
}

static void test_every_spelling(void **state) {
    (void)state;
    static const char *const urls[] = {
        "data:image/png;base64,/+9BQg==", "DATA:IMAGE/PNG;BASE64,/+9BQg==",      "data:;base64,/+9BQg==",           "data:image/png;base64,/+9BQg",
        "data:image/png;base64,_-9BQg",   "data:image/jpg;name=a.jpg;base64,/+9BQg==", "data:image/png; base64 ,/+9BQg==", "data:image/png;base64, /+9B\r\n Qg =\n= \n",
        "data:image/png;base64,%2F%2b9BQg%3D%3D", "data:image/png;base64,/+9B%0AQg%3d=", "data:image/png,%ff%EF%41B", "data:,%FF%efA%42",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) expect_bytes(urls[i], "\xff\xef\x41\x42", 4);
    expect_bytes("data:;base64,AAAA", "\0\0\0", 3);
    expect_bytes("data:text/plain,a,b;base64", "a,b;base64", 10); /* the first comma ends the parameters */
    expect_bytes("data:base64,QUJD", "QUJD", 4);                  /* a media type and no parameter */
    expect_bytes("data:,%00", "\0", 1);
    expect_bytes("data:;base64,", "", 0);
    assert_false(sn_is_data_url("./data:x"));
    assert_false(sn_is_data_url("data"));
}

static void test_what_is_broken(void **state) {
    (void)state;
    static const struct { const char *url, *why; } broken[] = {
        {"data:", "found no comma"},
        {"data:image/png;base64", "found no comma"},
        {"data:;base64,QUJ*", "byte 16: found a character"},
        {"data:;base64,QUJ\xc3\xa4", "byte 16: found a character"},
        {"data:;base64,QU%00J", "byte 15: found a character"},
        {"data:;base64,QUJDR", "cut off"},
        {"data:;base64,A", "cut off"},
        {"data:;base64,Q===", "byte 14: found padding"},
        {"data:;base64,QUI==", "byte 17: found padding"},
        {"data:;base64,QUJD=", "byte 17: found padding"},
        {"data:;base64,QUI=QUJD", "byte 17: found padding"},
        {"data:;base64,=", "byte 13: found padding"},
        {"data:;base64,QU%4", "byte 15: found a % without"},
        {"data:,a%", "byte 7: found a % without"},
        {"data:,a%4", "byte 7: found a % without"},
        {"data:,a%g0", "byte 7: found a % without"},
        {"data:,123456789", "found 9 bytes, expected at most 8"},
        {"data:;base64,QUJDREVGR0hJ", "found 9 bytes, expected at most 8"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) expect_refusal(broken[i].url, broken[i].why);
}

/* The size is known before memory is taken: a long URL beyond the limit needs none. */
static void test_too_long_takes_no_memory(void **state) {
    (void)state;
    size_t length = 1 << 20;
    char *url = malloc(length + 1);
    memset(url, 'A', length);
    memcpy(url, "data:;base64,", 13);
    url[length] = 0;
    sn_memory_fail_at(1);
    expect_refusal(url, "found 786422 bytes");
    sn_memory_fail_at(0);
    free(url);
}

/* A picture in a URL is the picture of the file; what is in it and no picture is named without the URL. */
static void test_pictures(void **state) {
    (void)state;
    static const char *const names[] = {"rgb.png", "photo.jpg", "photo.webp", "palette.gif", "rgb.bmp"};
    const char *root = getenv("SN_GOLDENS");
    sn_error error = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = sn_format("%s/components/image/decode/inputs/%s", root ? root : "tests/goldens", names[i]), *bytes;
        size_t size;
        sn_image file, inside;
        sn_buf url = {0};
        assert_ok(sn_read_file(path, 1 << 20, &bytes, &size, &error), error);
        sn_buf_puts(&url, "data:text/plain;base64,"); /* the type comes from the bytes */
        sn_base64_add(&url, bytes, size);
        assert_ok(sn_image_open(path, NULL, &file, &error), error);
        assert_ok(sn_image_open(url.data, NULL, &inside, &error), error);
        assert_int_equal(file.width, inside.width);
        assert_int_equal(file.height, inside.height);
        assert_memory_equal(file.pixels, inside.pixels, (size_t)(file.width * file.height * 3));
        sn_image_free(&inside);
        url.data[url.length / 8 * 4] = 0; /* half of it */
        assert_int_equal(sn_image_open(url.data, NULL, &inside, &error), SN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "data URL: "));
        assert_null(strstr(error.message, "base64,"));
        sn_image_free(&file);
        sn_buf_free(&url);
        sn_free(bytes);
        sn_free(path);
    }
    sn_image image;
    assert_int_equal(sn_image_open("data:;base64,", NULL, &image, &error), SN_ERROR_INPUT);
    assert_string_equal(error.message, "data URL: the file is empty, expected JPEG, PNG, WebP, GIF or BMP");
    assert_int_equal(sn_image_open("data:image/png,hello", NULL, &image, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "data URL: not a picture"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_spelling), cmocka_unit_test(test_what_is_broken), cmocka_unit_test(test_too_long_takes_no_memory), cmocka_unit_test(test_pictures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
