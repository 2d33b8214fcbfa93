/* PyTorch's zip archives (formats.md 2): data.pkl says which tensors there are, data/<key> hold the storages. */
#include "weights/pickle.h"
#include "weights/source.h"
#include "weights/zip.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    sn_source *source;
    const char *path, *top;
    const sn_zip *zip;
    sn_error *error;
} reader;

static bool is_contiguous(const sn_shape *shape, const int64_t *stride) {
    int64_t expected = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        if (shape->dim[i] != 1 && stride[i] != expected) return false;
        expected *= shape->dim[i];
    }
    return true;
}

static sn_status add_tensor(reader *r, const char *name, size_t length, const sn_value *v) {
    const sn_value *storage = v->u.tensor.storage;
    if (length == 0 || length > 1000 || memchr(name, 0, length)) return sn_fail(r->error, SN_ERROR_INPUT, "%s: a tensor has an impossible name", r->path);
    char entry_name[600], text[1001];
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    snprintf(entry_name, sizeof entry_name, "%s/data/%s", r->top, storage->u.storage.key);
    const sn_zip_entry *entry = sn_zip_find(r->zip, entry_name);
    if (!entry) return sn_fail(r->error, SN_ERROR_INPUT, "%s: tensor %s: the archive has no entry %s", r->path, text, entry_name);
    int64_t bytes, wanted;
    sn_type type = v->u.tensor.type;
    if (storage->u.storage.bytes || !sn_type_bytes(type, storage->u.storage.numel, &wanted))
        return sn_fail(r->error, SN_ERROR_SUPPORT, "%s: tensor %s: an untyped storage without a type", r->path, text);
    if (entry->size != wanted)
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: entry %s: found %lld bytes, expected %lld", r->path, entry_name, (long long)entry->size, (long long)wanted);
    sn_source_tensor t = {.name = text, .type = type, .shape = v->u.tensor.shape, .file = r->path, .entry = entry, .offset = v->u.tensor.offset};
    memcpy(t.stride, v->u.tensor.stride, sizeof t.stride);
    t.contiguous = is_contiguous(&t.shape, t.stride);
    if (!sn_type_bytes(type, sn_shape_count(&t.shape), &bytes)) return sn_fail(r->error, SN_ERROR_INPUT, "%s: tensor %s: too large", r->path, text);
    t.bytes = bytes;
    if (!entry->deflated) t.data = entry->data + t.offset * sn_type_of(type)->bytes;
    return sn_source_add(r->source, &t, r->error);
}

/* Adds the tensors of a dict, and of dicts within it (TorchScript modules), under their joined names. */
static sn_status add_dict(reader *r, const char *prefix, const sn_value *dict, int depth, bool nested) {
    sn_status status = SN_OK;
    for (size_t i = 0; i + 1 < dict->u.list.count && !status; i += 2) {
        const sn_value *key = dict->u.list.items[i], *value = dict->u.list.items[i + 1];
        if (key->kind != SN_VALUE_TEXT) continue;
        const sn_value *inner = value->kind == SN_VALUE_OBJECT ? value->u.object.state : NULL;
        bool is_module = nested && inner && inner->kind == SN_VALUE_DICT;
        if (value->kind != SN_VALUE_TENSOR && !is_module) continue;
        char name[1001];
        int length = snprintf(name, sizeof name, "%s%.*s", prefix, (int)(key->u.text.length > 500 ? 500 : key->u.text.length), key->u.text.data);
        if (length <= 0 || length >= 999) return sn_fail(r->error, SN_ERROR_INPUT, "%s: a tensor has an impossible name", r->path);
        if (!is_module) {
            status = add_tensor(r, name, (size_t)length, value);
        } else if (depth < 64) {
            strcat(name, ".");
            status = add_dict(r, name, inner, depth + 1, true);
        }
    }
    return status;
}

static bool has_tensor(const sn_value *dict) {
    if (!dict || dict->kind != SN_VALUE_DICT) return false;
    for (size_t i = 1; i < dict->u.list.count; i += 2)
        if (dict->u.list.items[i]->kind == SN_VALUE_TENSOR) return true;
    return false;
}

static sn_status read_archive(reader *r, sn_arena *arena, sn_value **top) {
    const sn_zip_entry *pickle = NULL;
    for (size_t i = 0; i < sn_zip_count(r->zip) && !pickle; i++) {
        const char *name = sn_zip_entry_at(r->zip, i)->name, *slash = strchr(name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0) pickle = sn_zip_entry_at(r->zip, i), r->top = sn_arena_format(r->source->arena, "%.*s", (int)(slash - name), name);
    }
    if (!pickle || !r->top) return sn_fail(r->error, SN_ERROR_INPUT, "%s: a zip archive, but without data.pkl: not a PyTorch file", r->path);
    if (pickle->size > 1 << 30 || pickle->size > ((int64_t)1 << 20) + 1100 * pickle->stored)
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: data.pkl declares %lld bytes", r->path, (long long)pickle->size);
    char name[600];
    snprintf(name, sizeof name, "%s/byteorder", r->top);
    const sn_zip_entry *order = sn_zip_find(r->zip, name);
    char text[16] = "little";
    if (order && (order->size >= (int64_t)sizeof text || sn_zip_read(r->zip, order, text, r->error) || strncmp(text, "little", 6) != 0))
        return sn_fail(r->error, SN_ERROR_SUPPORT, "%s: byteorder: expected little", r->path);
    unsigned char *bytes = sn_arena_alloc(arena, (size_t)pickle->size + 1, 1);
    if (!bytes) return sn_fail_memory(r->error);
    sn_status status = sn_zip_read(r->zip, pickle, bytes, r->error);
    return status ? status : sn_pickle_read(r->path, bytes, (size_t)pickle->size, arena, top, NULL, r->error);
}

sn_status sn_torch_read(sn_source *source, const char *path, sn_error *error) {
    sn_mapping file;
    sn_status status = sn_source_map(source, path, &file, error);
    if (status) return status;
    sn_zip *zip;
    if ((status = sn_zip_open(path, file.data, file.size, &zip, error))) return status;
    if (!sn_grow((void **)&source->zips, &source->zip_capacity, source->num_zips + 1, sizeof *source->zips)) {
        sn_zip_close(zip);
        return sn_fail_memory(error);
    }
    source->zips[source->num_zips++] = zip;
    sn_arena *arena = sn_arena_new();
    if (!arena) return sn_fail_memory(error);
    reader r = {.source = source, .path = path, .zip = zip, .error = error};
    sn_value *top;
    status = read_archive(&r, arena, &top);
    if (!status && top->kind == SN_VALUE_OBJECT && top->u.object.state && top->u.object.state->kind == SN_VALUE_DICT) {
        status = add_dict(&r, "", top->u.object.state, 0, true);
    } else if (!status) {
        static const char *const wrappers[] = {"model", "state_dict", "model_state_dict", "module", "teacher"};
        const sn_value *dict = top;
        for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers && !has_tensor(dict); i++)
            if (has_tensor(sn_value_get(top, wrappers[i]))) dict = sn_value_get(top, wrappers[i]);
        if (!has_tensor(dict))
            status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a dictionary of tensors, found none in it", path);
        else
            status = add_dict(&r, "", dict, 0, false);
    }
    sn_arena_free(arena);
    return status;
}
