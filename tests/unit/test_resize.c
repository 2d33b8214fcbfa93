/* Resizing: exact integers, the same by every path; windows and canvases that are never made; configuration files. That
 * the numbers are Pillow's and torch's is shown by the reference cases components/image. */
#include "base/file.h"
#include "base/random.h"
#include "media/interpolate.h"
#include "media/passes.h"
#include "media/processor.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static sn_image noise(int width, int height, int channels) {
    sn_image image;
    sn_error error = {0};
    assert_ok(sn_image_new("noise", width, height, channels, &image, &error), error);
    for (int i = 0; i < width * height * channels; i++) image.pixels[i] = (uint8_t)(256 * sn_uniform(3, (uint64_t)(width * 1000 + height), (uint64_t)i));
    return image;
}

static sn_image resize(const sn_image *image, const sn_resize *r) {
    sn_image out;
    sn_error error = {0};
    assert_ok(sn_image_resize(image, r, &out, &error), error);
    return out;
}

static sn_resize whole(int width, int height, sn_filter filter) {
    return (sn_resize){.width = width, .height = height, .columns = width, .rows = height, .filter = filter};
}

/* By hand: 4 x 1 to 2 x 1, bilinear. Weights of the first output: 0.5, 1.5 and 2.5 from its place, stretched by two. */
static void test_by_hand(void **state) {
    (void)state;
    uint8_t pixels[4] = {10, 20, 40, 80};
    sn_image image = {4, 1, 1, 1, pixels};
    sn_resize r = whole(2, 1, SN_FILTER_BILINEAR);
    sn_image out = resize(&image, &r);
    assert_int_equal(out.pixels[0], (int)((0.75 * 10 + 0.75 * 20 + 0.25 * 40) / 1.75 + 0.5));
    assert_int_equal(out.pixels[1], (int)((0.25 * 20 + 0.75 * 40 + 0.75 * 80) / 1.75 + 0.5));
    sn_image_free(&out);
}

/* The formula, without windows, vectors and tricks: horizontal pass first, each pass rounded. */
static void resize_plainly(const sn_image *image, int width, int height, sn_filter filter, uint8_t *out) {
    sn_taps x, y;
    int n = image->channels;
    assert_true(sn_taps_filter(filter, image->width, 0, image->width, width, 0, width, &x));
    assert_true(sn_taps_filter(filter, image->height, 0, image->height, height, 0, height, &y));
    uint8_t *between = malloc((size_t)(image->height * width * n));
    for (int axis = 0; axis < 2; axis++) {
        const sn_taps *t = axis ? &y : &x;
        int rows = axis ? height : image->height;
        for (int j = 0; j < rows; j++)
            for (int i = 0; i < width * n; i++) {
                int place = axis ? j : i / n;
                int64_t sum = 1 << 21;
                for (int k = 0; k < t->length[place]; k++) {
                    double w = t->weight[place * t->most + k];
                    int at = t->begin[place] + k, value = axis ? between[at * width * n + i] : image->pixels[(j * image->width + at) * n + i % n];
                    sum += (int64_t)value * (int32_t)(w * (1 << 22) + (w < 0 ? -0.5 : 0.5));
                }
                sum >>= 22;
                (axis ? out : between)[j * width * n + i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
            }
    }
    free(between);
    sn_taps_free(&x);
    sn_taps_free(&y);
}

/* Random sizes, channels and filters, by the kernels of this machine and by the plain ones. */
static void test_fast_is_plain(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        int size[4];
        for (uint64_t i = 0; i < 4; i++) size[i] = 1 + (int)(70 * sn_uniform(5, round, i));
        int channels = 1 + (int)(round % 3);
        sn_filter filter = (sn_filter)(1 + round % 5);
        sn_image image = noise(size[0], size[1], channels);
        uint8_t *want = malloc((size_t)(size[2] * size[3] * channels));
        resize_plainly(&image, size[2], size[3], filter, want);
        for (int plain = 0; plain < 2; plain++) {
            sn_resize r = whole(size[2], size[3], filter);
            r.order = SN_RESIZE_HORIZONTAL;
            setenv("SN_CPU", plain ? "plain" : "amx", 1);
            sn_image out = resize(&image, &r);
            unsetenv("SN_CPU");
            /* a pass that changes nothing is skipped; then its weights are 1 and the plain formula agrees */
            assert_memory_equal(out.pixels, want, (size_t)(size[2] * size[3] * channels));
            sn_image_free(&out);
        }
        free(want);
        sn_image_free(&image);
    }
}

static void assert_window(const sn_image *image, sn_resize r) {
    sn_image all = resize(image, &r);
    for (int corner = 0; corner < 4; corner++) {
        sn_resize part = r;
        part.left = corner % 2 * r.width / 3, part.top = corner / 2 * r.height / 3;
        part.columns = (int)(r.width - part.left) / 2 + 1, part.rows = (int)(r.height - part.top) / 2 + 1;
        sn_image window = resize(image, &part);
        for (int y = 0; y < part.rows; y++)
            assert_memory_equal(window.pixels + y * part.columns * 3, all.pixels + ((part.top + y) * r.width + part.left) * 3, (size_t)(part.columns * 3));
        sn_image_free(&window);
    }
    sn_image_free(&all);
}

/* A window of the result is that part of the whole result; also where the vertical pass comes first. */
static void test_windows(void **state) {
    (void)state;
    static const int sizes[][4] = {{50, 40, 20, 30}, {20, 90, 18, 20}, {7, 5, 40, 33}, {31, 64, 31, 20}, {64, 31, 20, 31}, {9, 9, 9, 9}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sn_image image = noise(sizes[i][0], sizes[i][1], 3);
        for (int filter = SN_FILTER_NEAREST; filter <= SN_FILTER_HAMMING; filter++) assert_window(&image, whole(sizes[i][2], sizes[i][3], (sn_filter)filter));
        sn_image_free(&image);
    }
}

/* A canvas gives what the same picture pasted on a real canvas gives. */
static void test_canvas(void **state) {
    (void)state;
    static const int sizes[][6] = {/* picture, canvas, result */ {30, 10, 30, 30, 12, 12}, {10, 30, 30, 30, 12, 12}, {10, 30, 30, 30, 44, 20}, {5, 5, 40, 90, 38, 20},
                                   {1, 40, 40, 40, 40, 8},       {40, 1, 40, 40, 8, 40},   {3, 3, 4, 4, 4, 4}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int *s = sizes[i];
        sn_image image = noise(s[0], s[1], 3), canvas = noise(s[2], s[3], 3);
        sn_resize r = whole(s[4], s[5], SN_FILTER_BICUBIC), real = r;
        r.canvas.width = s[2], r.canvas.height = s[3], r.canvas.left = (s[2] - s[0]) / 2, r.canvas.top = (s[3] - s[1]) / 2;
        memcpy(r.canvas.fill, "\x7a\x74\x68", 3);
        for (int k = 0; k < s[2] * s[3]; k++) memcpy(canvas.pixels + 3 * k, r.canvas.fill, 3);
        for (int y = 0; y < s[1]; y++) memcpy(canvas.pixels + 3 * ((r.canvas.top + y) * s[2] + r.canvas.left), image.pixels + 3 * y * s[0], 3 * (size_t)s[0]);
        for (int filter = SN_FILTER_NEAREST; filter <= SN_FILTER_HAMMING; filter++) {
            r.filter = real.filter = (sn_filter)filter;
            sn_image got = resize(&image, &r), want = resize(&canvas, &real);
            assert_memory_equal(got.pixels, want.pixels, (size_t)(3 * s[4] * s[5]));
            sn_image_free(&got);
            sn_image_free(&want);
        }
        sn_image_free(&image);
        sn_image_free(&canvas);
    }
}

static void process(const sn_image_processor *p, const sn_image *image, float *planes) {
    sn_error error = {0};
    assert_ok(sn_image_process(p, image, planes, &error), error);
}

/* 16384 x 1 and 1 x 16384, cropped and padded, need neither the long strip nor the square. */
/* A board of single black and white pixels, made small with antialias, is grey; without it would be stripes. */
static void test_checkerboard(void **state) {
    (void)state;
    sn_image board = noise(1024, 1024, 3);
    for (int i = 0; i < 1024 * 1024 * 3; i++) board.pixels[i] = (i / 3 % 1024 + i / 3 / 1024) % 2 ? 255 : 0;
    for (int filter = 0; filter < 2; filter++) {
        sn_resize r = whole(224, 224, filter ? SN_FILTER_BICUBIC : SN_FILTER_BILINEAR);
        sn_image grey = resize(&board, &r);
        for (int y = 2; y < 222; y++)
            for (int x = 2; x < 222; x++) assert_in_range(grey.pixels[3 * (224 * y + x)], 126, 129);
        sn_image_free(&grey);
    }
    sn_image_free(&board);
}

static void test_thin_pictures(void **state) {
    (void)state;
    float *planes = malloc(3 * 56 * 56 * sizeof *planes);
    for (int tall = 0; tall < 2; tall++) {
        sn_image image = noise(tall ? 1 : 16384, tall ? 16384 : 1, 3);
        sn_image_processor p = sn_image_processor_clip(56);
        process(&p, &image, planes);
        p.pad_square = true;
        process(&p, &image, planes);
        /* far from the picture only the mean colour is seen */
        for (int c = 0; c < 3; c++) assert_float_equal(planes[c * 56 * 56], ((float)(int)(255 * (double)p.mean[c]) / 255 - p.mean[c]) / p.std[c], 1e-6);
        sn_image_free(&image);
    }
    free(planes);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    assert_true(usage.ru_maxrss < 200 << 10); /* kilobytes */
}

/* One grey level through the whole chain; a picture smaller than the crop lies in the middle of zeros. */
static void test_crops(void **state) {
    (void)state;
    static const struct { sn_crop crop; int size, at; } cases[] = {{SN_CROP_CENTRE, 5, 2}, {SN_CROP_CENTRE_EVEN, 5, 1}, {SN_CROP_CORNER, 5, 0}, {SN_CROP_CENTRE, 4, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_image image = noise(cases[i].size, cases[i].size, 3);
        float planes[3 * 64];
        memset(image.pixels, 200, (size_t)(3 * cases[i].size * cases[i].size));
        sn_image_processor p = sn_image_processor_clip(8);
        p.rule = SN_SIZE_KEEP, p.crop = cases[i].crop;
        process(&p, &image, planes);
        for (int x = 0; x < 8; x++) {
            bool inside = x >= cases[i].at && x < cases[i].at + cases[i].size;
            float outside = cases[i].crop == SN_CROP_CORNER ? 0 : -p.mean[1] / p.std[1];
            assert_float_equal(planes[64 + 8 * 3 + x], inside ? ((float)(200 / 255.0) - p.mean[1]) / p.std[1] : outside, 1e-6);
        }
        sn_image_free(&image);
    }
}

/* 640 x 427 with 224 for the shorter side is 335 wide, not 336. */
static void test_sizes(void **state) {
    (void)state;
    static const struct { const char *chain; int size, longest, width, height, want_width, want_height; } cases[] = {
        {"clip_hf", 224, 0, 640, 427, 335, 224}, {"clip", 224, 0, 427, 640, 224, 335}, {"sam", 1024, 0, 640, 427, 1024, 683}, {"dino", 800, 1333, 640, 427, 1199, 800},
        {"dino", 800, 1333, 1000, 300, 1333, 400}, {"blip", 364, 0, 640, 427, 364, 364}, {"llava_pad", 336, 0, 640, 427, 336, 336}, {"sam", 64, 0, 16384, 1, 64, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_image_processor p;
        sn_image image = {cases[i].width, cases[i].height, 3, 1, NULL};
        sn_image_sizes s;
        sn_error error = {0};
        assert_true(sn_image_processor_named(cases[i].chain, cases[i].size, cases[i].longest, &p));
        assert_ok(sn_image_processor_sizes(&p, &image, &s, &error), error);
        assert_int_equal(s.resized_width, cases[i].want_width);
        assert_int_equal(s.resized_height, cases[i].want_height);
    }
}

/* ---- preprocessor_config.json ---- */

static sn_status read_config(const char *text, sn_image_processor *p, sn_error *error) {
    char path[] = "/tmp/preprocessor-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    *p = sn_image_processor_clip(224);
    sn_status status = sn_image_processor_read(path, p, error);
    unlink(path);
    return status;
}

static void test_spellings(void **state) {
    (void)state;
    static const struct { const char *text; sn_size_rule rule; int shortest, width; sn_crop crop; bool pad; } cases[] = {
        {"{}", SN_SIZE_SHORTEST, 224, 224, SN_CROP_CENTRE, false},
        {"{\"size\": 336, \"crop_size\": 336, \"feature_extractor_type\": \"CLIPFeatureExtractor\"}", SN_SIZE_SHORTEST, 336, 336, SN_CROP_CENTRE, false},
        {"{\"size\": {\"shortest_edge\": 336}, \"crop_size\": {\"height\": 336, \"width\": 336}, \"do_pad\": true}", SN_SIZE_SHORTEST, 336, 336, SN_CROP_CENTRE, true},
        {"{\"size\": {\"height\": 364, \"width\": 364}, \"image_processor_type\": \"BlipImageProcessor\"}", SN_SIZE_EXACT, 224, 364, SN_CROP_NONE, false},
        {"{\"size\": 364, \"image_processor_type\": \"BlipImageProcessor\"}", SN_SIZE_EXACT, 224, 364, SN_CROP_NONE, false},
        {"{\"size\": {\"height\": 256, \"width\": 256}, \"crop_size\": 224, \"do_center_crop\": true}", SN_SIZE_EXACT, 224, 224, SN_CROP_CENTRE, false},
        {"{\"size\": 336, \"do_center_crop\": false}", SN_SIZE_SHORTEST, 336, 336, SN_CROP_NONE, false},
        {"{\"do_resize\": false, \"crop_size\": 100}", SN_SIZE_KEEP, 224, 100, SN_CROP_CENTRE, false},
        {"{\"crop_size\": null, \"size\": null}", SN_SIZE_SHORTEST, 224, 224, SN_CROP_CENTRE, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_image_processor p;
        sn_error error = {0};
        assert_ok(read_config(cases[i].text, &p, &error), error);
        if (p.rule != cases[i].rule || p.shortest != cases[i].shortest || p.width != cases[i].width || p.height != cases[i].width || p.crop != cases[i].crop || p.pad_square != cases[i].pad)
            fail_msg("%s: rule %d, shortest %d, result %d x %d, crop %d, pad %d", cases[i].text, p.rule, p.shortest, p.width, p.height, p.crop, p.pad_square);
    }
}

static void test_absurd_configs(void **state) {
    (void)state;
    static const struct { const char *text, *why; } cases[] = {
        {"{\"size\": 0}", ": size: found 0, expected 1 to 4096"},
        {"{\"size\": 1000000}", ": size: found 1000000, expected"},
        {"{\"size\": {\"shortest_edge\": -1}}", ": size.shortest_edge: found -1, expected"},
        {"{\"size\": {\"height\": 224}}", ": size: found an object of other keys, expected a number"},
        {"{\"size\": \"224\"}", ": size: found a text, expected a number"},
        {"{\"size\": [224, 224]}", ": size: found a list, expected"},
        {"{\"crop_size\": {\"height\": 5000, \"width\": 1}}", ": crop_size.height: found 5000, expected 1 to 4096"},
        {"{\"do_center_crop\": 1}", ": do_center_crop: found a number, expected true or false"},
        {"{\"resample\": 9}", ": resample: found 9, expected 0 to 5"},
        {"{\"image_std\": [0.5, 0, 0.5]}", ": image_std: found 0, expected"},
        {"{\"image_mean\": [0.5]}", ": image_mean: found a list of 1, expected three numbers"},
        {"{\"image_mean\": [0.5, \"x\", 0.5]}", ": image_mean: found a text, expected three numbers"},
        {"{\"rescale_factor\": 0}", ": rescale_factor: found 0, expected"},
        {"[]", "expected a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sn_image_processor p;
        sn_error error = {0};
        assert_int_equal(read_config(cases[i].text, &p, &error), SN_ERROR_INPUT);
        if (!strstr(error.message, cases[i].why)) fail_msg("%s: found \"%s\"", cases[i].text, error.message);
    }
}

/* What is not cropped must come out in the one size that the encoder takes. */
static void test_uncropped(void **state) {
    (void)state;
    sn_image_processor p;
    sn_error error = {0};
    float *planes = malloc(3 * 16 * 16 * sizeof *planes);
    assert_ok(read_config("{\"size\": 16, \"do_center_crop\": false, \"do_rescale\": false, \"do_normalize\": false}", &p, &error), error);
    sn_image square = noise(16, 16, 3), wide = noise(32, 16, 3);
    process(&p, &square, planes);
    assert_float_equal(planes[0], square.pixels[0], 0);
    assert_int_equal(sn_image_process(&p, &wide, planes, &error), SN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "32 x 16 becomes 32 x 16 and is not cropped, expected 16 x 16"));
    p.pad_square = true;
    process(&p, &wide, planes);
    sn_image_free(&square);
    sn_image_free(&wide);
    free(planes);
}

/* ---- floats ---- */

/* A ramp stays a ramp between the outermost samples; halves of align_corners meet the corners. */
static void test_interpolation_of_a_ramp(void **state) {
    (void)state;
    float ramp[8], out[15];
    for (int i = 0; i < 8; i++) ramp[i] = (float)i;
    sn_error error = {0};
    static const sn_interpolation modes[] = {SN_INTERPOLATE_BILINEAR, SN_INTERPOLATE_BICUBIC};
    for (int i = 0; i < 2; i++) {
        assert_ok(sn_interpolate_planes(&(sn_interpolate){.mode = modes[i], .align_corners = true}, ramp, 1, 1, 8, out, 1, 15, &error), error);
        assert_float_equal(out[0], 0, 0);
        assert_float_equal(out[14], 7, 1e-6);
        for (int x = 4; x < 11; x++) assert_float_equal(out[x], x / 2.0, 1e-5);
    }
    assert_ok(sn_interpolate_planes(&(sn_interpolate){.mode = SN_INTERPOLATE_AREA}, ramp, 1, 1, 8, out, 1, 3, &error), error);
    assert_float_equal(out[1], (2 + 3 + 4 + 5) / 4.0, 1e-6); /* bins of adaptive pooling overlap */
    assert_int_equal(sn_interpolate_planes(&(sn_interpolate){.mode = SN_INTERPOLATE_AREA}, ramp, 1, 1, 8, out, 0, 3, &error), SN_ERROR_USAGE);
}

static void test_without_memory(void **state) {
    (void)state;
    sn_image image = noise(40, 30, 3);
    sn_image_processor p = sn_image_processor_clip(16);
    p.pad_square = true;
    float *planes = malloc(3 * 16 * 16 * sizeof *planes);
    for (int64_t n = 1; n < 100; n++) {
        sn_memory_fail_at(n);
        sn_status status = sn_image_process(&p, &image, planes, NULL);
        sn_memory_fail_at(0);
        if (!status) break;
        assert_int_equal(status, SN_ERROR_MEMORY);
        assert_true(n < 99);
    }
    free(planes);
    sn_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand), cmocka_unit_test(test_fast_is_plain), cmocka_unit_test(test_windows), cmocka_unit_test(test_canvas), cmocka_unit_test(test_checkerboard), cmocka_unit_test(test_thin_pictures),
        cmocka_unit_test(test_crops), cmocka_unit_test(test_sizes), cmocka_unit_test(test_spellings), cmocka_unit_test(test_absurd_configs), cmocka_unit_test(test_uncropped),
        cmocka_unit_test(test_interpolation_of_a_ramp), cmocka_unit_test(test_without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
