/* PyTorch's form of before 1.6: five pickles one after the other (a magic number, the version, what
 * the machine was, the object, the keys of its storages), then each storage in the order of the keys. */
#include "base/map.h"
#include "weights/torch.h"

#include <string.h>

typedef struct stream {
    const unsigned char *data;
    size_t size, at;
    sn_map *index; /* key to the place in `storages` */
    sn_torch_storage *storages;
} stream;

static bool find_storage(const sn_torch_reader *r, const char *key, sn_torch_storage *out) {
    const stream *s = r->context;
    int64_t i;
    if (!sn_map_get(s->index, key, strlen(key), &i) || !s->storages || !s->storages[i].data) return false;
    *out = s->storages[i];
    return true;
}

static sn_status next_pickle(sn_torch_reader *r, stream *s, sn_arena *arena, sn_pickle *out) {
    sn_status status = sn_pickle_read(r->path, s->data + s->at, s->size - s->at, arena, out, r->error);
    s->at += out->used;
    return status;
}

/* Element types by key, as the object's pickle mentions them: the stream itself says only how many elements. */
static sn_status index_storages(sn_torch_reader *r, stream *s, const sn_pickle *object, sn_arena *arena, const sn_value ***mentions, size_t *count) {
    size_t total = 0;
    *count = 0;
    for (const sn_value *v = object->storages; v; v = v->u.storage.next) total++;
    *mentions = sn_arena_alloc(arena, total + 1, sizeof **mentions);
    s->storages = sn_arena_alloc(arena, total + 1, sizeof *s->storages);
    s->index = sn_map_new();
    if (!*mentions || !s->storages || !s->index) return sn_fail_memory(r->error);
    for (const sn_value *v = object->storages; v; v = v->u.storage.next) {
        const char *key = v->u.storage.key;
        int64_t i;
        if (sn_map_get(s->index, key, strlen(key), &i)) {
            if ((*mentions)[i]->u.storage.type != v->u.storage.type || (*mentions)[i]->u.storage.numel != v->u.storage.numel)
                return sn_fail(r->error, SN_ERROR_INPUT, "%s: storage %s is described in two ways", r->path, key);
            continue;
        }
        if (!sn_map_set(s->index, key, strlen(key), (int64_t)*count)) return sn_fail_memory(r->error);
        (*mentions)[(*count)++] = v;
    }
    return SN_OK;
}

static sn_status read_storage(sn_torch_reader *r, stream *s, const sn_value *key, const sn_value **mentions) {
    int64_t i, bytes;
    if (key->kind != SN_VALUE_TEXT || !sn_map_get(s->index, key->u.text.data, key->u.text.length, &i) || s->storages[i].data)
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: the list of storages names one that no tensor has, or one twice", r->path);
    const sn_value *v = mentions[i];
    uint64_t numel = 0;
    if (s->size - s->at < 8) return sn_fail(r->error, SN_ERROR_INPUT, "%s: storage %s: the file ends before it (cut short?)", r->path, v->u.storage.key);
    for (int k = 7; k >= 0; k--) numel = numel << 8 | s->data[s->at + (size_t)k];
    s->at += 8;
    if (numel != (uint64_t)v->u.storage.numel || !sn_type_bytes(v->u.storage.type, v->u.storage.numel, &bytes))
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: storage %s: found %llu elements, expected %lld", r->path, v->u.storage.key, (unsigned long long)numel, (long long)v->u.storage.numel);
    if ((uint64_t)bytes > s->size - s->at)
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: storage %s: the file ends within its %lld bytes (cut short?)", r->path, v->u.storage.key, (long long)bytes);
    s->storages[i] = (sn_torch_storage){.data = s->data + s->at, .bytes = bytes};
    s->at += (size_t)bytes;
    return SN_OK;
}

static sn_status read_stream(sn_torch_reader *r, stream *s, sn_arena *arena) {
    sn_pickle magic, version, machine, object, keys;
    const sn_value **mentions, *little;
    size_t count = 0;
    sn_status status = next_pickle(r, s, arena, &magic);
    if (!status) status = next_pickle(r, s, arena, &version);
    if (!status) status = next_pickle(r, s, arena, &machine);
    if (status) return status;
    if (version.top->kind != SN_VALUE_INT || version.top->u.integer != 1001) return sn_fail(r->error, SN_ERROR_SUPPORT, "%s: expected PyTorch's file version 1001", r->path);
    little = sn_value_get(machine.top, "little_endian");
    if (!little || little->kind != SN_VALUE_BOOL || !little->u.truth) return sn_fail(r->error, SN_ERROR_SUPPORT, "%s: little_endian: expected true", r->path);
    status = next_pickle(r, s, arena, &object);
    if (!status) status = next_pickle(r, s, arena, &keys);
    if (!status) status = index_storages(r, s, &object, arena, &mentions, &count);
    if (status) return status;
    if (keys.top->kind != SN_VALUE_LIST || keys.top->u.list.count != count)
        return sn_fail(r->error, SN_ERROR_INPUT, "%s: expected a list of the %zu storages that the tensors have", r->path, count);
    for (size_t i = 0; i < count && !status; i++) status = read_storage(r, s, keys.top->u.list.items[i], mentions);
    return status ? status : sn_torch_add(r, object.top);
}

sn_status sn_torch_read_legacy(sn_source *source, const char *path, sn_error *error) {
    sn_mapping file;
    sn_status status = sn_source_map(source, path, &file, error);
    if (status) return status;
    sn_arena *arena = sn_arena_new();
    if (!arena) return sn_fail_memory(error);
    stream s = {.data = file.data, .size = file.size};
    sn_torch_reader r = {.source = source, .path = path, .error = error, .find = find_storage, .context = &s};
    status = read_stream(&r, &s, arena);
    sn_map_free(s.index);
    sn_arena_free(arena);
    return status;
}
