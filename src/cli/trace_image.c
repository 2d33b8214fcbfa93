/* The tasks of `sensorium trace` about pictures alone: decoding, resizing, and the chains from a picture to pixel values. */
#include "base/file.h"
#include "cli/trace.h"
#include "media/interpolate.h"
#include "media/processor.h"
#include "weights/npy.h"

#include <math.h>
#include <string.h>

static void put_picture(sn_tracer *t, const char *kind, const char *name, const sn_image *image) {
    const char *full = sn_arena_format(t->arena, "%s.%s", kind, name);
    if (full) sn_trace_put(&t->trace, full, SN_TYPE_U8, SN_SHAPE(image->height, image->width, image->channels), image->pixels);
    else t->trace.failed = true;
}

static char *case_path(sn_tracer *t, const char *path) { return sn_arena_format(t->arena, "%s/%s", t->folder, path); }

/* An array of numpy in C order, of that type and number of axes. Freed by sn_free. */
static sn_status read_array(const char *path, sn_type type, int rank, int64_t *dims, char **data, sn_error *error) {
    sn_npy npy;
    size_t size;
    sn_status status = sn_read_file(path, 64 << 20, data, &size, error);
    if (status) return status;
    status = sn_npy_header(path, (const unsigned char *)*data, size, &npy, error);
    if (!status && (npy.type != type || npy.shape.rank != rank || npy.swapped || npy.fortran || npy.begin < 0 || npy.bytes > (int64_t)size - npy.begin))
        status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a whole array of %d axes and type %s in C order", path, rank, sn_type_of(type)->name);
    for (int i = 0; i < rank && !status; i++) {
        dims[i] = npy.shape.dim[i];
        if (dims[i] < 1 || dims[i] > 16384) status = sn_fail(error, SN_ERROR_INPUT, "%s: found an axis of %lld, expected 1 to 16384", path, (long long)dims[i]);
    }
    if (status) {
        sn_free(*data);
        *data = NULL;
    } else {
        memmove(*data, *data + npy.begin, (size_t)npy.bytes);
    }
    return status;
}

/* A choice of two words, `off` being the published code's. */
static sn_status read_word(const sn_tracer *t, const char *key, const char *on, const char *off, bool *value) {
    const char *word = sn_json_string(t->options, key);
    *value = word && strcmp(word, on) == 0;
    if (!word || *value || strcmp(word, off) == 0) return SN_OK;
    return sn_fail(t->error, SN_ERROR_INPUT, "request.json: options.%s: found %s, expected %s or %s", key, word, on, off);
}

sn_status sn_trace_picture_options(const sn_tracer *t, sn_image_options *options, sn_resize_order *order) {
    bool horizontal;
    *options = (sn_image_options){0};
    sn_status status = read_word(t, "exif", "apply", "ignore", &options->exif_apply);
    if (!status) status = read_word(t, "alpha", "white", "drop", &options->alpha_white);
    if (!status) status = read_word(t, "gray16", "shift", "clip", &options->gray16_shift);
    if (!status) status = read_word(t, "resize_order", "horizontal", "auto", &horizontal);
    if (!status && order) *order = horizontal ? SN_RESIZE_HORIZONTAL : SN_RESIZE_AUTO;
    return status;
}

/* ---- decode: rgb, gray, upright; where there is alpha, rgba and white ---- */

static sn_status decode_inks(sn_tracer *t, const char *name, const char *path) {
    int64_t dims[3];
    char *inks;
    sn_status status = read_array(path, SN_TYPE_U8, 3, dims, &inks, t->error);
    if (status) return status;
    sn_image image = {0};
    status = dims[2] == 4 ? sn_image_new(path, dims[1], dims[0], 3, &image, t->error) : sn_fail(t->error, SN_ERROR_INPUT, "%s: expected four inks", path);
    if (!status) {
        sn_cmyk_to_rgb((const uint8_t *)inks, (size_t)(dims[0] * dims[1]), image.pixels);
        put_picture(t, "rgb", name, &image);
    }
    sn_image_free(&image);
    sn_free(inks);
    return status;
}

static sn_status decode_picture(sn_tracer *t, const char *name, const char *path) {
    static const struct { const char *kind; sn_image_options options; } kinds[] = {
        {"rgba", {.alpha_keep = true}}, {"white", {.alpha_white = true}}, {"rgb", {0}}, {"upright", {.exif_apply = true}}};
    bool alpha = true;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sn_image image;
        sn_status status = sn_image_open(path, &kinds[i].options, &image, t->error);
        if (status) return status;
        if (i == 0) alpha = image.channels == 4;
        if (alpha || i > 1) put_picture(t, kinds[i].kind, name, &image);
        if (strcmp(kinds[i].kind, "rgb") == 0) {
            uint8_t *grey = sn_alloc((size_t)image.width, (size_t)image.height);
            const char *full = sn_arena_format(t->arena, "gray.%s", name);
            if (grey && full) {
                sn_image_luminance(&image, grey);
                sn_trace_put(&t->trace, full, SN_TYPE_U8, SN_SHAPE(image.height, image.width), grey);
            } else {
                t->trace.failed = true;
            }
            sn_free(grey);
        }
        sn_image_free(&image);
    }
    return SN_OK;
}

static sn_status run_decode(sn_tracer *t) {
    const char *name;
    json_t *path;
    json_object_foreach(sn_json_at(t->request, "files"), name, path) {
        const char *full = json_is_string(path) ? case_path(t, json_string_value(path)) : NULL, *dot = full ? strrchr(full, '.') : NULL;
        if (!full) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: files.%s: expected a path", name);
        sn_status status = dot && strcmp(dot, ".npy") == 0 ? decode_inks(t, name, full) : decode_picture(t, name, full);
        if (status) return status;
    }
    return SN_OK;
}

/* ---- resize ---- */

static sn_status bad_op(sn_tracer *t, const char *name, const char *what) {
    return sn_fail(t->error, SN_ERROR_INPUT, "request.json: %s: expected %s", name, what);
}

/* A list of numbers within the limits of a picture. */
static bool read_numbers(const json_t *op, const char *key, size_t count, double *to) {
    const json_t *list = sn_json_at(op, key);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_number(list) ? list : json_array_get(list, i);
        to[i] = json_number_value(item);
        if (!json_is_number(item) || !(to[i] >= 0 && to[i] <= 16384)) return false;
    }
    return true;
}

static bool read_filter(const char *name, sn_filter *filter) {
    static const struct { const char *name; sn_filter filter; } filters[] = {
        {"nearest", SN_FILTER_NEAREST}, {"lanczos", SN_FILTER_LANCZOS}, {"bilinear", SN_FILTER_BILINEAR}, {"bicubic", SN_FILTER_BICUBIC}, {"box", SN_FILTER_BOX}, {"hamming", SN_FILTER_HAMMING}};
    for (size_t i = 0; name && i < sizeof filters / sizeof *filters; i++)
        if (strcmp(filters[i].name, name) == 0) {
            *filter = filters[i].filter;
            return true;
        }
    return false;
}

/* [height, width, channels] bytes to [channels, height, width] floats: the values, or value / 255. */
static float *to_planes(const sn_image *image, float one) {
    size_t pixels = (size_t)image->width * (size_t)image->height, channels = (size_t)image->channels;
    float *planes = sn_alloc(pixels, channels * sizeof *planes);
    for (size_t i = 0; planes && i < pixels * channels; i++) planes[i] = (float)image->pixels[i % pixels * channels + i / pixels] / one;
    return planes;
}

/* Pillow's resize: under the op's name, and as hfirst.* with the horizontal pass first where the op is named pil.*. */
static sn_status resize_pillow(sn_tracer *t, const char *name, const json_t *op, const sn_image *image) {
    double size[2], box[4] = {0};
    const char *filter = sn_json_string(op, "filter"), *order = sn_json_string(op, "resize_order");
    sn_resize r = {0};
    if (!read_numbers(op, "size", 2, size) || !read_filter(filter, &r.filter)) return bad_op(t, name, "a size and a filter");
    if (sn_json_at(op, "box") && !(read_numbers(op, "box", 4, box) && box[0] < box[2] && box[1] < box[3] && box[2] <= image->width && box[3] <= image->height))
        return bad_op(t, name, "a box within the picture");
    memcpy(r.box, box, sizeof box);
    r.width = r.columns = (int)size[0], r.height = r.rows = (int)size[1];
    r.order = order && strcmp(order, "horizontal") == 0 ? SN_RESIZE_HORIZONTAL : SN_RESIZE_AUTO;
    for (int again = 0; again < 2; again++) {
        sn_image out;
        sn_status status = sn_image_resize(image, &r, &out, t->error);
        if (status) return status;
        if (again) put_picture(t, "hfirst", name + strlen("pil."), &out);
        else sn_trace_put(&t->trace, name, SN_TYPE_U8, SN_SHAPE(out.height, out.width, out.channels), out.pixels);
        sn_image_free(&out);
        if (strncmp(name, "pil.", 4) != 0) break;
        r.order = SN_RESIZE_HORIZONTAL;
    }
    return SN_OK;
}

/* What torchvision makes of floats for an 8-bit tensor: rounded, halves to even, and clipped. */
static sn_status put_rounded(sn_tracer *t, const char *name, sn_shape shape, const float *values) {
    size_t count = (size_t)sn_shape_count(&shape);
    uint8_t *bytes = sn_alloc(count, 1);
    if (!bytes) return sn_fail_memory(t->error);
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)(values[i] < 0 ? 0 : values[i] > 255 ? 255 : rintf(values[i]));
    sn_trace_put(&t->trace, name, SN_TYPE_U8, shape, bytes);
    sn_free(bytes);
    return SN_OK;
}

/* F.interpolate, or Pillow's mode F, of planes. `size` is [width, height], or as torch has it [height, width]. */
static sn_status resize_floats(sn_tracer *t, const char *name, const json_t *op, const float *from, int64_t planes, int height, int width, bool height_first) {
    static const struct { const char *name; sn_interpolation mode; } modes[] = {
        {"nearest", SN_INTERPOLATE_NEAREST}, {"bilinear", SN_INTERPOLATE_BILINEAR}, {"bicubic", SN_INTERPOLATE_BICUBIC}, {"area", SN_INTERPOLATE_AREA}};
    const char *mode = sn_json_string(op, "mode"), *filter = sn_json_string(op, "filter");
    sn_interpolate how = {.mode = mode ? SN_INTERPOLATE_ANTIALIAS : SN_INTERPOLATE_PILLOW, .align_corners = sn_json_bool(op, "align_corners", false)};
    double size[2], factor[2];
    for (size_t i = 0; mode && !sn_json_bool(op, "antialias", false) && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, mode) == 0) how.mode = modes[i].mode;
    if (how.mode >= SN_INTERPOLATE_ANTIALIAS && (!read_filter(mode ? mode : filter, &how.filter) || how.filter == SN_FILTER_NEAREST)) return bad_op(t, name, "a mode or filter");
    if (how.mode == SN_INTERPOLATE_ANTIALIAS && how.filter != SN_FILTER_BILINEAR && how.filter != SN_FILTER_BICUBIC) return bad_op(t, name, "bilinear or bicubic");
    if (read_numbers(op, "scale_factor", 2, factor)) {
        size[height_first] = floor(width * factor[1]), size[!height_first] = floor(height * factor[0]);
        if (!sn_json_bool(op, "recompute_scale_factor", false)) how.scale_y = factor[0], how.scale_x = factor[1];
    } else if (!read_numbers(op, "size", 2, size)) {
        return bad_op(t, name, "a size or scale_factor");
    }
    int out_width = (int)size[height_first], out_height = (int)size[!height_first];
    sn_status status = sn_image_check(name, out_width, out_height, t->error);
    if (status) return status;
    float *to = sn_alloc((size_t)planes, (size_t)out_width * (size_t)out_height * sizeof *to);
    status = to ? sn_interpolate_planes(&how, from, planes, height, width, to, out_height, out_width, t->error) : sn_fail_memory(t->error);
    bool bytes = sn_json_string(op, "engine") && strcmp(sn_json_string(op, "engine"), "torchvision-uint8") == 0;
    if (!status && bytes) status = put_rounded(t, name, SN_SHAPE(planes, out_height, out_width), to);
    if (!status && !bytes) sn_trace_put(&t->trace, name, SN_TYPE_F32, mode ? SN_SHAPE(planes, out_height, out_width) : SN_SHAPE(out_height, out_width), to);
    sn_free(to);
    return status;
}
static sn_status resize_array(sn_tracer *t, const char *name, const json_t *op, const char *path, bool torch) {
    int64_t dims[4] = {0};
    char *data;
    sn_status status = read_array(path, SN_TYPE_F32, torch ? 4 : 2, dims, &data, t->error);
    if (status) return status;
    if (torch) status = resize_floats(t, name, op, (const float *)data, dims[0] * dims[1], (int)dims[2], (int)dims[3], true);
    else status = resize_floats(t, name, op, (const float *)data, 1, (int)dims[0], (int)dims[1], false);
    sn_free(data);
    return status;
}

static sn_status resize_one(sn_tracer *t, const json_t *op) {
    const char *name = sn_json_string(op, "name"), *path = sn_json_string(op, "image"), *engine = sn_json_string(op, "engine");
    if (!name || !path || !engine) return bad_op(t, "ops", "name, image and engine");
    char *full = case_path(t, path);
    if (!full) return sn_fail_memory(t->error);
    bool torch = strcmp(engine, "torch") == 0, pillow = strcmp(engine, "pil") == 0, torchvision = strcmp(engine, "torchvision-uint8") == 0;
    if (!torch && !pillow && !torchvision && strcmp(engine, "pil-float") != 0) return bad_op(t, name, "engine pil, pil-float, torch or torchvision-uint8");
    if (strcmp(engine, "pil-float") == 0 || strstr(path, ".npy")) return resize_array(t, name, op, full, torch);
    sn_image image;
    int64_t channels = 3;
    sn_status status = sn_json_integer(name, op, "channels", 3, 4, &channels, t->error);
    if (!status) status = sn_image_open(full, &(sn_image_options){.alpha_keep = channels == 4}, &image, t->error);
    if (status) return status;
    if (pillow) {
        status = resize_pillow(t, name, op, &image);
    } else {
        float *planes = to_planes(&image, torch ? 255 : 1);
        status = planes ? resize_floats(t, name, op, planes, image.channels, image.height, image.width, false) : sn_fail_memory(t->error);
        sn_free(planes);
    }
    sn_image_free(&image);
    return status;
}

static sn_status run_resize(sn_tracer *t) {
    size_t i;
    json_t *op;
    sn_status status = SN_OK;
    json_array_foreach(sn_json_at(t->request, "ops"), i, op) {
        if ((status = resize_one(t, op))) break;
    }
    return status;
}

/* ---- chain: from a picture to pixel values; coordinates on the resized picture ---- */

/* x' = x * (w' / w), y likewise; rows of `list` have 2 (points) or 4 (boxes) numbers. */
static sn_status put_places(sn_tracer *t, const char *name, const json_t *list, size_t per_row, const sn_image *image, const sn_image_sizes *s) {
    size_t rows = json_array_size(list);
    float *places = sn_alloc(rows * per_row + 1, sizeof *places);
    sn_status status = places ? SN_OK : sn_fail_memory(t->error);
    double factor[2] = {(double)s->resized_width / image->width, (double)s->resized_height / image->height};
    for (size_t i = 0; i < rows * per_row && !status; i++) {
        const json_t *row = json_array_get(list, i / per_row), *item = json_array_get(row, i % per_row);
        if (json_array_size(row) != per_row || !json_is_number(item)) status = bad_op(t, name, per_row == 2 ? "points of two numbers" : "boxes of four numbers");
        else places[i] = (float)(json_number_value(item) * factor[i % 2]);
    }
    if (!status) sn_trace_put(&t->trace, name, SN_TYPE_F32, SN_SHAPE((int64_t)rows, (int64_t)per_row), places);
    sn_free(places);
    return status;
}

static sn_status run_one_chain(sn_tracer *t, const json_t *op) {
    const char *name = sn_json_string(op, "name"), *path = sn_json_string(op, "image"), *chain = sn_json_string(op, "chain");
    int64_t size = 0, longest = 0;
    sn_image_processor processor;
    if (!name || !path || !chain) return bad_op(t, "chains", "name, image and chain");
    bool places = strcmp(chain, "sam-coords") == 0 || strcmp(chain, "sam-boxes") == 0;
    sn_status status = sn_json_integer(name, op, "size", 1, 4096, &size, t->error);
    if (!status) status = sn_json_integer(name, op, "max_size", 1, 4096, &longest, t->error);
    if (status) return status;
    if (!size || !sn_image_processor_named(places ? "sam" : chain, (int)size, (int)longest, &processor)) return bad_op(t, name, "a size, and a chain of those published");
    char *full = case_path(t, path);
    sn_image image = {0};
    sn_image_sizes s;
    float *planes = NULL;
    status = full ? sn_image_open(full, NULL, &image, t->error) : sn_fail_memory(t->error);
    if (!status) status = sn_image_processor_sizes(&processor, &image, &s, t->error);
    if (!status && places) {
        bool boxes = strcmp(chain, "sam-boxes") == 0;
        status = put_places(t, name, sn_json_at(op, boxes ? "boxes" : "points"), boxes ? 4 : 2, &image, &s);
    } else if (!status) {
        planes = sn_alloc((size_t)s.width * (size_t)s.height, 3 * sizeof *planes);
        status = planes ? sn_image_process(&processor, &image, planes, t->error) : sn_fail_memory(t->error);
        if (!status) sn_trace_put(&t->trace, name, SN_TYPE_F32, SN_SHAPE(3, s.height, s.width), planes);
    }
    sn_free(planes);
    sn_image_free(&image);
    return status;
}

static sn_status run_chain(sn_tracer *t) {
    size_t i;
    json_t *op;
    sn_status status = SN_OK;
    json_array_foreach(sn_json_at(t->request, "chains"), i, op) {
        if ((status = run_one_chain(t, op))) break;
    }
    return status;
}

sn_status sn_trace_image(sn_tracer *t) {
    static const struct { const char *op; sn_status (*run)(sn_tracer *t); } ops[] = {{"decode", run_decode}, {"resize", run_resize}, {"chain", run_chain}};
    const char *op = sn_json_string(t->request, "op");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (op && strcmp(ops[i].op, op) == 0) return ops[i].run(t);
    return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: op: found %s, expected decode, resize or chain", op ? op : "nothing");
}
