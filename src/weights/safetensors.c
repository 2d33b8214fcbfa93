/* safetensors: u64 length, a JSON object of that length, the data. */
#include "base/json.h"
#include "weights/source.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 };

static sn_type type_named(const char *name) {
    for (int t = 0; t < SN_TYPE_COUNT; t++) {
        const char *known = sn_type_of((sn_type)t)->safetensors;
        if (known && strcmp(known, name) == 0) return (sn_type)t;
    }
    return SN_TYPE_COUNT;
}

typedef struct extent {
    int64_t begin, end;
    const char *name;
} extent;

static int by_begin(const void *a, const void *b) {
    const extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static sn_status read_tensor(sn_source *source, const char *path, const char *name, const json_t *value, const unsigned char *data,
                             int64_t size, extent *out, sn_error *error) {
    const char *dtype = sn_json_string(value, "dtype");
    const json_t *shape = json_object_get(value, "shape"), *offsets = json_object_get(value, "data_offsets");
    if (!dtype || strlen(dtype) != json_string_length(json_object_get(value, "dtype")) || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2 || json_object_size(value) != 3)
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: expected exactly dtype, shape and two data_offsets", path, name);
    if (!name[0]) return sn_fail(error, SN_ERROR_INPUT, "%s: a tensor has an empty name", path);
    sn_source_tensor tensor = {.name = name, .type = type_named(dtype), .file = path, .contiguous = true};
    if (tensor.type == SN_TYPE_COUNT) return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: unknown dtype %s", path, name, dtype);
    if (json_array_size(shape) > SN_MAX_RANK)
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: found %zu dimensions, expected at most %d", path, name,
                       json_array_size(shape), SN_MAX_RANK);
    tensor.shape.rank = (int)json_array_size(shape);
    int64_t count = 1;
    for (int i = 0; i < tensor.shape.rank; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0 || __builtin_mul_overflow(count, json_integer_value(d), &count))
            return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: dimension %d of its shape is impossible", path, name, i);
        tensor.shape.dim[i] = json_integer_value(d);
    }
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (!json_is_integer(b) || !json_is_integer(e))
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: data_offsets are not whole numbers", path, name);
    int64_t begin = json_integer_value(b), end = json_integer_value(e), bytes;
    if (begin < 0 || begin > end || end > size)
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: data_offsets %lld to %lld lie outside the %lld bytes of data (a truncated file?)",
                       path, name, (long long)begin, (long long)end, (long long)size);
    if (!sn_type_bytes(tensor.type, count, &bytes) || bytes != end - begin)
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: shape and dtype do not take the %lld bytes it has", path, name,
                       (long long)(end - begin));
    tensor.bytes = bytes;
    tensor.data = data + begin;
    *out = (extent){begin, end, name};
    return sn_source_add(source, &tensor, error);
}

sn_status sn_safetensors_read(sn_source *source, const char *path, sn_error *error) {
    sn_mapping file;
    sn_status status = sn_source_map(source, path, &file, error);
    if (status) return status;
    uint64_t length = 0;
    if (file.size >= 8)
        for (int i = 7; i >= 0; i--) length = length << 8 | file.data[i];
    if (file.size < 8 || length > MAX_HEADER || length > file.size - 8)
        return sn_fail(error, SN_ERROR_INPUT, "%s: header length %llu does not fit the file of %zu bytes (not a safetensors file, or cut short)",
                       path, (unsigned long long)length, file.size);
    const char *header = (const char *)file.data + 8;
    size_t end = length;
    while (end && header[end - 1] == ' ') end--;
    if (end < 2 || header[0] != '{' || header[end - 1] != '}')
        return sn_fail(error, SN_ERROR_INPUT, "%s: the header is not one JSON object padded with blanks", path);
    json_t *root;
    if ((status = sn_json_bytes(path, header, end, &root, error))) return status;
    const unsigned char *data = file.data + 8 + length;
    int64_t size = (int64_t)(file.size - 8 - length), at = 0;
    size_t count = json_object_size(root), n = 0;
    extent *extents = sn_alloc(count + 1, sizeof *extents);
    if (!extents) status = sn_fail_memory(error);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (status) break;
        if (strcmp(key, "__metadata__") != 0) {
            status = read_tensor(source, path, key, value, data, size, &extents[n++], error);
            continue;
        }
        const char *meta;
        json_t *text;
        if (!json_is_object(value)) status = sn_fail(error, SN_ERROR_INPUT, "%s: __metadata__ is not an object", path);
        else json_object_foreach(value, meta, text)
            if (!json_is_string(text)) status = sn_fail(error, SN_ERROR_INPUT, "%s: __metadata__.%s is not a string", path, meta);
            else sn_source_remark(source, meta, json_string_value(text));
    }
    if (!status) qsort(extents, n, sizeof *extents, by_begin);
    for (size_t i = 0; i < n && !status; i++) { /* the tensors tile the data exactly */
        if (extents[i].begin != at)
            status = sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: begins at byte %lld, expected %lld (%s)", path, extents[i].name,
                             (long long)extents[i].begin, (long long)at, extents[i].begin < at ? "it overlaps another" : "there is a hole before it");
        at = extents[i].end;
    }
    if (!status && at != size)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: found %lld bytes of data, the tensors take %lld", path, (long long)size, (long long)at);
    sn_free(extents);
    json_decref(root);
    return status;
}
