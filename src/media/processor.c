/* Pad, resize with crop in one step, rescale, normalise. */
#include "media/processor.h"

#include <math.h>
#include <string.h>

#define CLIP_MEAN {0.48145466f, 0.4578275f, 0.40821073f}
#define CLIP_STD {0.26862954f, 0.26130258f, 0.27577711f}
#define IMAGENET_MEAN {0.485f, 0.456f, 0.406f}
#define IMAGENET_STD {0.229f, 0.224f, 0.225f}

/* ---- the published chains ---- */

static const struct {
    const char *name;
    sn_image_processor processor; /* sizes are filled in */
} chains[] = {
    {"clip", {.rule = SN_SIZE_SHORTEST, .crop = SN_CROP_CENTRE_EVEN, .filter = SN_FILTER_BICUBIC, .rescale = 1 / 255.0, .mean = CLIP_MEAN, .std = CLIP_STD}},
    {"clip_hf", {.rule = SN_SIZE_SHORTEST, .crop = SN_CROP_CENTRE, .filter = SN_FILTER_BICUBIC, .rescale = 1 / 255.0, .mean = CLIP_MEAN, .std = CLIP_STD}},
    {"llava_pad", {.rule = SN_SIZE_SHORTEST, .crop = SN_CROP_CENTRE, .pad_square = true, .filter = SN_FILTER_BICUBIC, .rescale = 1 / 255.0, .mean = CLIP_MEAN, .std = CLIP_STD}},
    {"blip", {.rule = SN_SIZE_EXACT, .crop = SN_CROP_NONE, .filter = SN_FILTER_BICUBIC, .rescale = 1 / 255.0, .mean = CLIP_MEAN, .std = CLIP_STD}},
    {"ram", {.rule = SN_SIZE_EXACT, .crop = SN_CROP_NONE, .filter = SN_FILTER_BILINEAR, .rescale = 1 / 255.0, .mean = IMAGENET_MEAN, .std = IMAGENET_STD}},
    {"sam", {.rule = SN_SIZE_LONGEST, .crop = SN_CROP_CORNER, .filter = SN_FILTER_BILINEAR, .rescale = 1, .mean = {123.675f, 116.28f, 103.53f}, .std = {58.395f, 57.12f, 57.375f}}},
    {"dino", {.rule = SN_SIZE_SHORTEST, .crop = SN_CROP_NONE, .filter = SN_FILTER_BILINEAR, .rescale = 1 / 255.0, .mean = IMAGENET_MEAN, .std = IMAGENET_STD}},
};

bool sn_image_processor_named(const char *name, int size, int longest, sn_image_processor *p) {
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        if (strcmp(chains[i].name, name) != 0) continue;
        *p = chains[i].processor;
        p->shortest = p->exact_width = p->exact_height = size;
        bool varies = p->rule == SN_SIZE_SHORTEST && p->crop == SN_CROP_NONE;
        p->longest = p->rule == SN_SIZE_LONGEST ? size : varies ? longest : 0;
        p->width = p->height = varies ? 0 : size;
        memcpy(p->fill, p->mean, sizeof p->fill);
        return true;
    }
    return false;
}

sn_image_processor sn_image_processor_clip(int size) {
    sn_image_processor processor;
    sn_image_processor_named("clip_hf", size, 0, &processor);
    return processor;
}

/* ---- sizes ---- */

/* Products and quotients in double and in this order: others differ by one. A side of 0 becomes 1. */
static void resized(const sn_image_processor *p, int64_t w, int64_t h, int64_t *width, int64_t *height) {
    int64_t small = w < h ? w : h, large = w < h ? h : w, shorter = p->shortest, longer;
    *width = w, *height = h;
    if (p->rule == SN_SIZE_KEEP) return;
    if (p->rule == SN_SIZE_EXACT) {
        *width = p->exact_width, *height = p->exact_height;
        return;
    }
    if (p->rule == SN_SIZE_LONGEST) {
        double factor = (double)p->longest / (double)large;
        *width = (int64_t)((double)w * factor + 0.5), *height = (int64_t)((double)h * factor + 0.5);
    } else {
        if (p->longest && (double)large / (double)small * (double)shorter > p->longest) shorter = (int64_t)rint((double)(p->longest * small) / (double)large);
        longer = (int64_t)((double)(shorter * large) / (double)small);
        *width = w <= h ? shorter : longer, *height = w <= h ? longer : shorter;
    }
    if (*width < 1) *width = 1;
    if (*height < 1) *height = 1;
}

sn_status sn_image_processor_sizes(const sn_image_processor *p, const sn_image *image, sn_image_sizes *s, sn_error *error) {
    int64_t w = image->width, h = image->height;
    if (p->pad_square) w = h = w > h ? w : h;
    resized(p, w, h, &s->resized_width, &s->resized_height);
    s->width = p->width, s->height = p->height;
    if (p->crop != SN_CROP_NONE || (s->resized_width == p->width && s->resized_height == p->height)) return SN_OK;
    if (p->width) /* resized, not cut, and yet of one size: only some pictures will do */
        return sn_fail(error, SN_ERROR_INPUT, "the picture of %lld x %lld becomes %lld x %lld and is not cropped, expected %d x %d", (long long)w, (long long)h,
                       (long long)s->resized_width, (long long)s->resized_height, p->width, p->height);
    sn_status status = sn_image_check("the resized picture", s->resized_width, s->resized_height, error);
    s->width = (int)s->resized_width, s->height = (int)s->resized_height;
    return status;
}

/* One axis: the window [*first, *first + *count) of `size` resized pixels, laid at *at of the result. */
static void crop_axis(sn_crop crop, int64_t size, int result, int64_t *first, int *count, int *at) {
    *first = 0, *at = 0, *count = size < result ? (int)size : result;
    if (crop == SN_CROP_CENTRE) *first = size > result ? (size - result) / 2 : 0, *at = size < result ? (int)(result - size + 1) / 2 : 0;
    if (crop == SN_CROP_CENTRE_EVEN) *first = size > result ? (int64_t)rint((double)(size - result) / 2.0) : 0, *at = size < result ? (int)(result - size) / 2 : 0;
}

/* ---- pixels ---- */

/* value * rescale in double, rounded to float, then (x - mean) / std: one of 256 results for each channel. */
static void normalise(const sn_image_processor *p, const sn_image *small, int left, int top, int width, int height, float *planes) {
    float table[3][256];
    for (int c = 0; c < 3; c++)
        for (int value = 0; value < 256; value++) table[c][value] = ((float)(value * p->rescale) - p->mean[c]) / p->std[c];
    for (int c = 0; c < 3; c++) {
        float outside = p->crop == SN_CROP_CORNER ? 0 : table[c][0];
        for (int y = 0; y < height; y++) {
            float *to = planes + ((size_t)c * (size_t)height + (size_t)y) * (size_t)width;
            bool inside = y >= top && y < top + small->height;
            const uint8_t *from = small->pixels + 3 * (size_t)(inside ? y - top : 0) * (size_t)small->width + (size_t)c;
            int begin = inside ? left : width, end = inside ? left + small->width : width;
            for (int x = 0; x < begin; x++) to[x] = outside;
            for (int x = begin; x < end; x++) to[x] = table[c][from[3 * (x - begin)]];
            for (int x = end; x < width; x++) to[x] = outside;
        }
    }
}

/* First a square, then as usual. */
static sn_status process_squashed(const sn_image_processor *p, const sn_image *image, float *planes, sn_error *error) {
    sn_image square = {0};
    sn_image_processor rest = *p;
    rest.squash = 0;
    sn_status status = sn_image_resize(image, &(sn_resize){.width = p->squash, .height = p->squash, .columns = p->squash, .rows = p->squash, .filter = SN_FILTER_BICUBIC, .order = p->order}, &square, error);
    if (!status) status = sn_image_process(&rest, &square, planes, error);
    sn_image_free(&square);
    return status;
}

sn_status sn_image_process(const sn_image_processor *p, const sn_image *image, float *planes, sn_error *error) {
    sn_image small = {0};
    sn_image_sizes s;
    if (p->squash > 0) return process_squashed(p, image, planes, error);
    if (image->channels != 3) return sn_fail(error, SN_ERROR_USAGE, "found a picture of %d channels, expected 3", image->channels);
    sn_status status = sn_image_processor_sizes(p, image, &s, error);
    if (status) return status;
    int left, top;
    sn_resize r = {.width = s.resized_width, .height = s.resized_height, .filter = p->filter, .order = p->order};
    crop_axis(p->crop, r.width, s.width, &r.left, &r.columns, &left);
    crop_axis(p->crop, r.height, s.height, &r.top, &r.rows, &top);
    if (p->pad_square && image->width != image->height) {
        int side = image->width > image->height ? image->width : image->height;
        r.canvas.width = r.canvas.height = side;
        r.canvas.left = (side - image->width) / 2, r.canvas.top = (side - image->height) / 2;
        for (int c = 0; c < 3; c++) r.canvas.fill[c] = (uint8_t)(255 * (double)p->fill[c]);
    }
    status = sn_image_resize(image, &r, &small, error);
    if (!status) normalise(p, &small, left, top, s.width, s.height, planes);
    sn_image_free(&small);
    return status;
}
