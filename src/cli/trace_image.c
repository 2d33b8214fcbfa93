/* The tasks of `sensorium trace` about pictures alone: decoding, resizing, and the chains from a picture to pixel values. */
#include "base/file.h"
#include "cli/trace.h"
#include "media/image.h"

#include <stdlib.h>
#include <string.h>

static void put_picture(sn_tracer *t, const char *kind, const char *name, const sn_image *image) {
    const char *full = sn_arena_format(t->arena, "%s.%s", kind, name);
    if (full) sn_trace_put(&t->trace, full, SN_TYPE_U8, SN_SHAPE(image->height, image->width, image->channels), image->pixels);
    else t->trace.failed = true;
}

static char *case_path(sn_tracer *t, const char *path) { return sn_arena_format(t->arena, "%s/%s", t->folder, path); }

/* An array of numpy, C order, little-endian: `type` is "f4" or "u1". Freed by sn_free. */
static sn_status read_array(const char *path, const char *type, int rank, int64_t *dims, char **data, sn_error *error) {
    char *bytes;
    size_t size, at = 10, count = strcmp(type, "f4") == 0 ? 4 : 1;
    *data = NULL;
    sn_status status = sn_read_file(path, 64 << 20, &bytes, &size, error);
    if (status) return status;
    const char *shape = NULL, *header = bytes + at;
    if (size > at && memcmp(bytes, "\x93NUMPY\1\0", 8) == 0) at += (size_t)(unsigned char)bytes[8] | (size_t)(unsigned char)bytes[9] << 8;
    if (at > 10 && at <= size && memmem(header, at - 10, type, 2) && memmem(header, at - 10, "'fortran_order': False", 22)) shape = memmem(header, at - 10, "'shape': (", 10);
    if (shape) shape += 10;
    for (int i = 0; i < rank && shape; i++) {
        char *end;
        dims[i] = strtoll(shape, &end, 10);
        bool last = i == rank - 1;
        if (dims[i] < 1 || dims[i] > 1 << 20 || *end != (last ? ')' : ',')) shape = NULL;
        else shape = end + 1, count *= (size_t)dims[i];
        if (count > size) shape = NULL;
    }
    if (!shape || size - at != count) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected an array of %d axes and type %s", path, rank, type);
    else if (!(*data = sn_alloc(count, 1))) status = sn_fail_memory(error);
    else memcpy(*data, bytes + at, count);
    sn_free(bytes);
    return status;
}

/* ---- decode: rgb, gray, upright; where there is alpha, rgba and white ---- */

static sn_status decode_inks(sn_tracer *t, const char *name, const char *path) {
    int64_t dims[3];
    char *inks;
    sn_status status = read_array(path, "u1", 3, dims, &inks, t->error);
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

sn_status sn_trace_image(sn_tracer *t) {
    static const struct { const char *op; sn_status (*run)(sn_tracer *t); } ops[] = {{"decode", run_decode}};
    const char *op = sn_json_string(t->request, "op");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (op && strcmp(ops[i].op, op) == 0) return ops[i].run(t);
    return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: op: found %s, expected decode", op ? op : "nothing");
}
