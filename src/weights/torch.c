/* PyTorch's zip archives: data.pkl says which tensors there are, data/<key> hold the storages. */
#include "weights/torch.h"

#include "weights/zip.h"

#include <stdio.h>
#include <string.h>

enum { MAX_VISITS = 1 << 20, MAX_NAME = 1000 };

/* ---- tensors ---- */

static bool is_contiguous(const sn_shape *shape, const int64_t *stride) {
    int64_t expected = 1;
    if (sn_shape_count(shape) == 0) return true;
    for (int i = shape->rank - 1; i >= 0; i--) {
        if (shape->dim[i] != 1 && stride[i] != expected) return false;
        expected *= shape->dim[i];
    }
    return true;
}

static sn_status add_tensor(sn_torch_reader *r, const char *name, const sn_pickled_tensor *v) {
    const sn_value *storage = v->storage;
    sn_torch_storage place;
    int64_t bytes, wanted;
    if (storage->u.storage.bytes || !sn_type_bytes(v->type, storage->u.storage.numel, &wanted))
        return sn_fail(r->error, SN_ERROR_SUPPORT, "%s: tensor %s: an untyped storage without a type", r->path, name);
    if (!r->find(r, storage->u.storage.key, &place)) return sn_fail(r->error, SN_ERROR_INPUT, "%s: tensor %s: the file has no storage %s", r->path, name, storage->u.storage.key);
    if (place.bytes != wanted)
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: storage %s: found %lld bytes, expected %lld", r->path, storage->u.storage.key, (long long)place.bytes, (long long)wanted);
    sn_source_tensor t = {.name = name, .type = v->type, .shape = v->shape, .file = r->path, .zip = place.zip, .entry = place.entry, .storage = wanted};
    memcpy(t.stride, v->stride, sizeof t.stride);
    t.contiguous = is_contiguous(&t.shape, t.stride);
    if (!sn_type_bytes(v->type, sn_shape_count(&t.shape), &bytes)) return sn_fail(r->error, SN_ERROR_INPUT, "%s: tensor %s: too large", r->path, name);
    t.bytes = bytes;
    t.offset = v->offset * sn_type_of(v->type)->bytes;
    if (place.data) t.data = place.data + t.offset;
    return sn_source_add(r->source, &t, r->error);
}

/* prefix + key, without its first `skip` bytes; false where that is no sensible name. */
static bool join(char out[MAX_NAME + 1], const char *prefix, const sn_value *key, size_t skip, const char *suffix) {
    size_t length = key->u.text.length - skip;
    if (length > MAX_NAME || memchr(key->u.text.data, 0, key->u.text.length)) return false;
    int n = snprintf(out, MAX_NAME + 1, "%s%.*s%s", prefix, (int)length, key->u.text.data + skip, suffix);
    return n > 0 && n <= MAX_NAME;
}

static bool is_text(const sn_value *key) { return key->kind == SN_VALUE_TEXT; }

/* The part that distributed training puts in front of every name, if it does. */
static size_t common_prefix(const sn_value *dict) {
    static const char module[] = "module.";
    size_t length = sizeof module - 1;
    for (size_t i = 0; i + 1 < dict->u.list.count; i += 2) {
        const sn_value *key = dict->u.list.items[i];
        if (dict->u.list.items[i + 1]->kind != SN_VALUE_TENSOR) continue;
        if (!is_text(key) || key->u.text.length <= length || memcmp(key->u.text.data, module, length) != 0) return 0;
    }
    return length;
}

/* Adds the tensors of a dict, and of dicts within it (TorchScript modules), under their joined names. */
static sn_status add_dict(sn_torch_reader *r, const char *prefix, const sn_value *dict, int depth, bool nested) {
    sn_status status = SN_OK;
    size_t skip = nested ? 0 : common_prefix(dict);
    char name[MAX_NAME + 1];
    for (size_t i = 0; i + 1 < dict->u.list.count && !status; i += 2) {
        const sn_value *key = dict->u.list.items[i], *value = dict->u.list.items[i + 1];
        if (++r->visits > MAX_VISITS) return sn_fail(r->error, SN_ERROR_INPUT, "%s: modules that contain each other without end", r->path);
        if (!is_text(key)) continue;
        const sn_value *inner = value->kind == SN_VALUE_OBJECT ? value->u.object.state : NULL;
        bool is_module = nested && inner && inner->kind == SN_VALUE_DICT;
        if (value->kind != SN_VALUE_TENSOR && !is_module) continue;
        if (!join(name, prefix, key, value->kind == SN_VALUE_TENSOR ? skip : 0, is_module ? "." : ""))
            return sn_fail(r->error, SN_ERROR_INPUT, "%s: a tensor has an impossible name", r->path);
        if (!is_module) status = add_tensor(r, name, value->u.tensor);
        else if (depth < 64) status = add_dict(r, name, inner, depth + 1, true);
    }
    return status;
}

/* ---- what else there is ---- */

static void remark(sn_torch_reader *r, const char *name, const sn_value *v, int depth);

static void remark_child(sn_torch_reader *r, const char *name, const char *key, size_t length, const sn_value *v, int depth) {
    char joined[256];
    int n = snprintf(joined, sizeof joined, "%s%s%.*s", name, name[0] ? "." : "", (int)(length < 200 ? length : 200), key);
    if (n > 0 && (size_t)n < sizeof joined) remark(r, joined, v, depth + 1);
}

/* Numbers and texts by their path, "optimizer.param_groups.0.lr". */
static void remark(sn_torch_reader *r, const char *name, const sn_value *v, int depth) {
    char text[256];
    if (depth > 6 || ++r->visits > MAX_VISITS) return;
    switch (v->kind) {
    case SN_VALUE_BOOL: sn_source_remark(r->source, name, v->u.truth ? "true" : "false"); break;
    case SN_VALUE_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->u.integer);
        sn_source_remark(r->source, name, text);
        break;
    case SN_VALUE_FLOAT:
        snprintf(text, sizeof text, "%.17g", v->u.number);
        sn_source_remark(r->source, name, text);
        break;
    case SN_VALUE_TEXT:
        snprintf(text, sizeof text, "%.*s", (int)(v->u.text.length < 255 ? v->u.text.length : 255), v->u.text.data);
        sn_source_remark(r->source, name, text);
        break;
    case SN_VALUE_LIST:
    case SN_VALUE_TUPLE:
        for (size_t i = 0; i < v->u.list.count && i < 100; i++) {
            snprintf(text, sizeof text, "%zu", i);
            remark_child(r, name, text, strlen(text), v->u.list.items[i], depth);
        }
        break;
    case SN_VALUE_DICT:
        for (size_t i = 0; i + 1 < v->u.list.count && r->source->num_notes < 1000; i += 2) {
            const sn_value *key = v->u.list.items[i];
            if (key->kind == SN_VALUE_INT) snprintf(text, sizeof text, "%lld", (long long)key->u.integer);
            if (is_text(key)) remark_child(r, name, key->u.text.data, key->u.text.length, v->u.list.items[i + 1], depth);
            else if (key->kind == SN_VALUE_INT) remark_child(r, name, text, strlen(text), v->u.list.items[i + 1], depth);
        }
        break;
    case SN_VALUE_OBJECT:
        if (v->u.object.state) remark(r, name, v->u.object.state, depth + 1);
        break;
    default: break;
    }
}

/* ---- which dict ---- */

static bool has_tensor(const sn_value *dict) {
    if (!dict || dict->kind != SN_VALUE_DICT) return false;
    for (size_t i = 1; i < dict->u.list.count; i += 2)
        if (dict->u.list.items[i]->kind == SN_VALUE_TENSOR) return true;
    return false;
}

sn_status sn_torch_add(sn_torch_reader *r, const sn_value *top) {
    static const char *const wrappers[] = {"model", "state_dict", "model_state_dict", "module", "teacher"};
    if (top->kind == SN_VALUE_OBJECT && top->u.object.state && top->u.object.state->kind == SN_VALUE_DICT) {
        r->source->format = "TorchScript";
        return add_dict(r, "", top->u.object.state, 0, true);
    }
    const sn_value *dict = top;
    const char *key = r->source->key;
    for (size_t i = 0; !key && i < sizeof wrappers / sizeof *wrappers && !has_tensor(dict); i++)
        if (has_tensor(sn_value_get(top, wrappers[i]))) dict = sn_value_get(top, wrappers[i]);
    if (key && !has_tensor(dict = sn_value_get(top, key))) return sn_fail(r->error, SN_ERROR_INPUT, "%s: expected a dictionary of tensors under %s, found none", r->path, key);
    if (!has_tensor(dict)) return sn_fail(r->error, SN_ERROR_INPUT, "%s: expected a dictionary of tensors, found none in it", r->path);
    sn_status status = add_dict(r, "", dict, 0, false);
    if (!status && dict != top) remark(r, "", top, 0);
    return status;
}

/* ---- the archive ---- */

typedef struct archive {
    const sn_zip *zip;
    const char *top; /* the one folder in it */
} archive;

static bool find_entry(const sn_torch_reader *r, const char *key, sn_torch_storage *out) {
    const archive *a = r->context;
    char name[600];
    snprintf(name, sizeof name, "%s/data/%s", a->top, key);
    const sn_zip_entry *entry = sn_zip_find(a->zip, name);
    if (entry) *out = (sn_torch_storage){entry->deflated ? NULL : entry->data, entry->size, a->zip, entry};
    return entry;
}

static sn_status read_pickle(sn_torch_reader *r, archive *a, sn_arena *arena, sn_pickle *out) {
    const sn_zip_entry *pickle = NULL;
    for (size_t i = 0; i < sn_zip_count(a->zip) && !pickle; i++) {
        const char *name = sn_zip_entry_at(a->zip, i)->name, *slash = strchr(name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0) pickle = sn_zip_entry_at(a->zip, i), a->top = sn_arena_format(arena, "%.*s", (int)(slash - name), name);
    }
    if (pickle && !a->top) return sn_fail_memory(r->error);
    if (!pickle || strlen(a->top) > 500) return sn_fail(r->error, SN_ERROR_INPUT, "%s: a zip archive without FOLDER/data.pkl: not a PyTorch file", r->path);
    if (pickle->size > 1 << 30) return sn_fail(r->error, SN_ERROR_INPUT, "%s: data.pkl declares %lld bytes", r->path, (long long)pickle->size);
    char name[600], text[16] = "little";
    snprintf(name, sizeof name, "%s/byteorder", a->top);
    const sn_zip_entry *order = sn_zip_find(a->zip, name);
    if (order && (order->size >= (int64_t)sizeof text || sn_zip_read(a->zip, order, text, r->error) || strncmp(text, "little", 6) != 0))
        return sn_fail(r->error, SN_ERROR_SUPPORT, "%s: byteorder: expected little", r->path);
    const unsigned char *bytes;
    sn_status status = sn_zip_bytes(a->zip, pickle, &bytes, r->error);
    return status ? status : sn_pickle_read(r->path, bytes, (size_t)pickle->size, arena, out, r->error);
}

sn_status sn_torch_read(sn_source *source, const char *path, const sn_zip *zip, sn_error *error) {
    sn_arena *arena = sn_arena_new();
    if (!arena) return sn_fail_memory(error);
    archive a = {.zip = zip};
    sn_torch_reader r = {.source = source, .path = path, .error = error, .find = find_entry, .context = &a};
    sn_pickle pickle;
    sn_status status = read_pickle(&r, &a, arena, &pickle);
    if (!status) status = sn_torch_add(&r, pickle.top);
    sn_arena_free(arena);
    return status;
}
