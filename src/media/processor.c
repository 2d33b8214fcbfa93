/* Pad, resize with crop in one step, rescale, normalise. */
#include "media/processor.h"

#include "base/json.h"

#include <string.h>

sn_image_processor sn_image_processor_clip(int size) {
    return (sn_image_processor){
        .shortest = size, .width = size, .height = size, .filter = SN_FILTER_BICUBIC, .rescale = 1 / 255.0,
        .mean = {0.48145466f, 0.4578275f, 0.40821073f}, .std = {0.26862954f, 0.26130258f, 0.27577711f}};
}

static sn_status read_triple(const char *path, const json_t *root, const char *key, float *to, sn_error *error) {
    json_t *array = sn_json_at(root, key);
    if (!array) return SN_OK;
    if (!json_is_array(array) || json_array_size(array) != 3) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected three numbers", path, key);
    for (size_t i = 0; i < 3; i++) {
        double value = json_number_value(json_array_get(array, i));
        if (!json_is_number(json_array_get(array, i)) || !(value > -1e6 && value < 1e6) || (strcmp(key, "image_std") == 0 && value <= 0))
            return sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected three numbers", path, key);
        to[i] = (float)value;
    }
    return SN_OK;
}

sn_status sn_image_processor_read(const char *path, sn_image_processor *p, sn_error *error) {
    json_t *root;
    sn_status status = sn_json_file(path, 1 << 20, &root, error);
    if (status) return status;
    int64_t shortest = p->shortest, height = p->height, width = p->width, filter = p->filter, both = 0;
    const char *size_key = json_is_integer(sn_json_at(root, "size")) ? "size" : "size.shortest_edge";
    const char *crop = json_is_integer(sn_json_at(root, "crop_size")) ? "crop_size" : "crop_size.height";
    status = sn_json_integer(path, root, size_key, 1, 4096, &shortest, error);
    if (!status) status = sn_json_integer(path, root, "size.height", 1, 4096, &both, error);
    if (!status && both) { /* an exact size, no crop */
        shortest = 0, height = width = both;
        status = sn_json_integer(path, root, "size.width", 1, 4096, &width, error);
    }
    if (!status && !both) status = sn_json_integer(path, root, crop, 1, 4096, &height, error);
    if (!status && !both) width = height;
    if (!status && !both) status = sn_json_integer(path, root, "crop_size.width", 1, 4096, &width, error);
    if (!status) status = sn_json_integer(path, root, "resample", 0, 5, &filter, error);
    if (!status) status = sn_json_number(path, root, "rescale_factor", 0, 1e3, &p->rescale, error);
    if (!status) status = read_triple(path, root, "image_mean", p->mean, error);
    if (!status) status = read_triple(path, root, "image_std", p->std, error);
    static const sn_filter filters[] = {SN_FILTER_NEAREST, SN_FILTER_LANCZOS, SN_FILTER_BILINEAR, SN_FILTER_BICUBIC, SN_FILTER_BOX, SN_FILTER_HAMMING};
    if (!status) p->shortest = (int)shortest, p->height = (int)height, p->width = (int)width, p->filter = filters[filter];
    if (!status && sn_json_bool(root, "do_pad", false)) p->pad_square = true;
    json_decref(root);
    return status;
}

/* The picture centred on a square of its longer side, filled with int(255 mean). */
static sn_status pad_to_square(const sn_image_processor *p, const sn_image *image, sn_image *out, sn_error *error) {
    int side = image->width > image->height ? image->width : image->height;
    sn_status status = sn_image_new("pad", side, side, 3, out, error);
    if (status) return status;
    uint8_t fill[3];
    for (int c = 0; c < 3; c++) fill[c] = (uint8_t)(255 * (double)p->mean[c]);
    for (size_t i = 0; i < (size_t)side * (size_t)side; i++) memcpy(out->pixels + 3 * i, fill, 3);
    size_t left = (size_t)(side - image->width) / 2, top = (size_t)(side - image->height) / 2;
    for (size_t y = 0; y < (size_t)image->height; y++)
        memcpy(out->pixels + 3 * ((top + y) * (size_t)side + left), image->pixels + 3 * y * (size_t)image->width, 3 * (size_t)image->width);
    return SN_OK;
}

sn_status sn_image_process(const sn_image_processor *p, const sn_image *image, float *planes, sn_error *error) {
    sn_image square = {0}, small = {0};
    sn_status status = SN_OK;
    if (p->pad_square && image->width != image->height) {
        if ((status = pad_to_square(p, image, &square, error))) return status;
        image = &square;
    }
    sn_resize r = {.width = p->width, .height = p->height, .columns = p->width, .rows = p->height, .filter = p->filter, .order = p->order};
    int64_t w = image->width, h = image->height;
    int left = 0, top = 0; /* of the resized picture within the result, where it is smaller than the crop */
    if (p->shortest) {
        int64_t *shorter = w <= h ? &r.width : &r.height, *longer = w <= h ? &r.height : &r.width;
        *shorter = p->shortest;
        *longer = (int64_t)((double)(p->shortest * (w <= h ? h : w)) / (double)(w <= h ? w : h));
        if (r.width >= p->width) r.left = (r.width - p->width) / 2;
        else r.columns = (int)r.width, left = (int)(p->width - r.width + 1) / 2;
        if (r.height >= p->height) r.top = (r.height - p->height) / 2;
        else r.rows = (int)r.height, top = (int)(p->height - r.height + 1) / 2;
    }
    status = sn_image_resize(image, &r, &small, error);
    sn_image_free(&square);
    if (status) return status;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < p->height; y++)
            for (int x = 0; x < p->width; x++) {
                bool inside = y >= top && y < top + small.height && x >= left && x < left + small.width;
                uint8_t value = inside ? small.pixels[3 * ((y - top) * small.width + x - left) + c] : 0;
                planes[(c * p->height + y) * p->width + x] = ((float)(value * p->rescale) - p->mean[c]) / p->std[c];
            }
    sn_image_free(&small);
    return SN_OK;
}
