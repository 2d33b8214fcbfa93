/* preprocessor_config.json: what CLIPFeatureExtractor wrote in 2022 (sizes as numbers) and what its successors write (sizes as
 * objects). Each key is optional; what is there must make sense. */
#include "base/json.h"
#include "media/processor.h"

#include <string.h>

enum { MAX_SIZE = 4096 };

static const char *kind_of(const json_t *value) {
    static const char *const kinds[] = {[JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number", [JSON_REAL] = "a broken number",
                                        [JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    return kinds[json_typeof(value)];
}

static sn_status read_flag(const char *path, const json_t *root, const char *key, bool *flag, sn_error *error) {
    const json_t *value = sn_json_at(root, key);
    if (!value) return SN_OK;
    if (!json_is_boolean(value)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %s, expected true or false", path, key, kind_of(value));
    *flag = json_is_true(value);
    return SN_OK;
}

static sn_status read_triple(const char *path, const json_t *root, const char *key, double low, float *to, sn_error *error) {
    json_t *array = sn_json_at(root, key);
    if (!array) return SN_OK;
    if (!json_is_array(array) || json_array_size(array) != 3)
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %s of %zu, expected three numbers", path, key, kind_of(array), json_array_size(array));
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(array, i);
        double value = json_number_value(item);
        if (!json_is_number(item)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %s, expected three numbers", path, key, kind_of(item));
        if (!(value >= low && value <= 1e4)) return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %g, expected %g to 10000", path, key, value, low);
        to[i] = (float)value;
    }
    return SN_OK;
}

/* A size as one number or as an object of two; *number is set by the first, *width and *height by the second. */
static sn_status read_size(const char *path, const json_t *root, const char *key, const char *expected, int64_t *number, int64_t *width, int64_t *height, sn_error *error) {
    const json_t *value = sn_json_at(root, key);
    char names[2][32];
    if (!value) return SN_OK;
    if (json_is_integer(value)) return sn_json_integer(path, root, key, 1, MAX_SIZE, number, error);
    snprintf(names[0], sizeof names[0], "%s.width", key), snprintf(names[1], sizeof names[1], "%s.height", key);
    bool both = sn_json_at(root, names[0]) && sn_json_at(root, names[1]);
    if (!json_is_object(value) || (!both && (strcmp(key, "size") != 0 || !sn_json_at(root, "size.shortest_edge"))))
        return sn_fail(error, SN_ERROR_INPUT, "%s: %s: found %s%s, expected %s", path, key, kind_of(value), json_is_object(value) ? " of other keys" : "", expected);
    if (!both) return sn_json_integer(path, root, "size.shortest_edge", 1, MAX_SIZE, number, error);
    sn_status status = sn_json_integer(path, root, names[0], 1, MAX_SIZE, width, error);
    return status ? status : sn_json_integer(path, root, names[1], 1, MAX_SIZE, height, error);
}

/* Whether one number means a square: so with the extractors that never crop. */
static bool number_is_square(const json_t *root) {
    static const char *const square[] = {"Blip", "ViT", "Beit", "Deit"};
    const char *type = sn_json_string(root, "image_processor_type");
    if (!type) type = sn_json_string(root, "feature_extractor_type");
    for (size_t i = 0; type && i < sizeof square / sizeof *square; i++)
        if (strncmp(type, square[i], strlen(square[i])) == 0) return true;
    return false;
}

static sn_status read_sizes(const char *path, const json_t *root, sn_image_processor *p, sn_error *error) {
    int64_t number = 0, width = 0, height = 0, longest = 0, crop = 0, crop_width = 0, crop_height = 0;
    bool resize = true, pad = p->pad_square;
    sn_status status = read_size(path, root, "size", "a number, {shortest_edge} or {height, width}", &number, &width, &height, error);
    if (!status) status = sn_json_integer(path, root, "size.longest_edge", 1, MAX_SIZE, &longest, error);
    if (!status) status = read_size(path, root, "crop_size", "a number or {height, width}", &crop, &crop_width, &crop_height, error);
    if (!status) status = read_flag(path, root, "do_resize", &resize, error);
    if (!status && number && number_is_square(root)) width = height = number, number = 0;
    bool exact = width != 0, cut = !exact || sn_json_at(root, "crop_size");
    if (!status) status = read_flag(path, root, "do_center_crop", &cut, error);
    if (!status) status = read_flag(path, root, "do_pad", &pad, error);
    if (status) return status;
    if (number) p->rule = SN_SIZE_SHORTEST, p->shortest = (int)number, p->longest = (int)longest;
    if (exact) p->rule = SN_SIZE_EXACT, p->exact_width = (int)width, p->exact_height = (int)height;
    if (crop) crop_width = crop_height = crop;
    if (!crop_width && exact) crop_width = width, crop_height = height;
    if (!cut) crop_width = exact ? width : p->shortest, crop_height = exact ? height : p->shortest;
    if (crop_width) p->width = (int)crop_width, p->height = (int)crop_height;
    p->crop = cut ? SN_CROP_CENTRE : SN_CROP_NONE;
    if (!resize) p->rule = SN_SIZE_KEEP;
    p->pad_square = pad && !exact && !longest; /* elsewhere do_pad evens out a batch */
    return SN_OK;
}

sn_status sn_image_processor_read(const char *path, sn_image_processor *p, sn_error *error) {
    static const sn_filter filters[] = {SN_FILTER_NEAREST, SN_FILTER_LANCZOS, SN_FILTER_BILINEAR, SN_FILTER_BICUBIC, SN_FILTER_BOX, SN_FILTER_HAMMING};
    json_t *root;
    sn_status status = sn_json_file(path, 1 << 20, &root, error);
    if (status) return status;
    int64_t filter = -1;
    bool rescale = true, normalise = true;
    status = read_sizes(path, root, p, error);
    if (!status) status = sn_json_integer(path, root, "resample", 0, 5, &filter, error);
    if (!status) status = sn_json_number(path, root, "rescale_factor", 1e-6, 1e3, &p->rescale, error);
    if (!status) status = read_triple(path, root, "image_mean", -1e4, p->mean, error);
    if (!status) status = read_triple(path, root, "image_std", 1e-6, p->std, error);
    if (!status) status = read_flag(path, root, "do_rescale", &rescale, error);
    if (!status) status = read_flag(path, root, "do_normalize", &normalise, error);
    json_decref(root);
    if (status) return status;
    if (filter >= 0) p->filter = filters[filter];
    if (!rescale) p->rescale = 1;
    for (int c = 0; c < 3; c++) {
        p->fill[c] = p->mean[c];
        if (!normalise) p->mean[c] = 0, p->std[c] = 1;
    }
    return SN_OK;
}
