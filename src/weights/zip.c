/* The end record, perhaps a zip64 one, the central directory; local headers only say where the data begin. */
#include "weights/zip.h"

#include "base/map.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>
#include <zlib.h>

struct sn_zip {
    const char *path;
    sn_arena *arena;
    sn_zip_entry *entries;
    size_t count;
    sn_map *index;
};

static uint64_t little(const unsigned char *p, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

/* Takes a value that the classic field could not hold from the zip64 extra field (id 1). */
static bool widen(const unsigned char **extra, const unsigned char *end, uint64_t *value) {
    if (*value != 0xffffffff) return true;
    if (end - *extra < 8) return false;
    *value = little(*extra, 8);
    *extra += 8;
    return true;
}

static sn_status read_entry(sn_zip *zip, const unsigned char *data, size_t size, uint64_t *at, uint64_t end, sn_zip_entry *out,
                            sn_error *error) {
    if (*at > end || end - *at < 46 || little(data + *at, 4) != 0x02014b50)
        return sn_fail(error, SN_ERROR_INPUT, "%s: broken zip directory at byte %llu", zip->path, (unsigned long long)*at);
    const unsigned char *h = data + *at;
    uint64_t flags = little(h + 8, 2), method = little(h + 10, 2), stored = little(h + 20, 4), inflated = little(h + 24, 4);
    uint64_t name_length = little(h + 28, 2), extra_length = little(h + 30, 2), comment = little(h + 32, 2), local = little(h + 42, 4);
    if (end - *at - 46 < name_length + extra_length + comment)
        return sn_fail(error, SN_ERROR_INPUT, "%s: broken zip directory at byte %llu", zip->path, (unsigned long long)*at);
    const char *name = (const char *)h + 46;
    if (name_length == 0 || memchr(name, 0, name_length) || !sn_utf8_valid(name, name_length, NULL))
        return sn_fail(error, SN_ERROR_INPUT, "%s: a zip entry's name is empty or not UTF-8", zip->path);
    char *copy = sn_arena_format(zip->arena, "%.*s", (int)name_length, name);
    if (!copy) return sn_fail_memory(error);
    const unsigned char *extra = h + 46 + name_length, *extra_end = extra + extra_length;
    bool wide_ok = stored != 0xffffffff && inflated != 0xffffffff && local != 0xffffffff;
    while (extra_end - extra >= 4 && !wide_ok) {
        uint64_t id = little(extra, 2), length = little(extra + 2, 2);
        if (length > (uint64_t)(extra_end - extra - 4)) break;
        if (id == 1) {
            const unsigned char *field = extra + 4, *field_end = field + length;
            wide_ok = widen(&field, field_end, &inflated) && widen(&field, field_end, &stored) && widen(&field, field_end, &local);
            if (!wide_ok) break;
        }
        extra += 4 + length;
    }
    if (!wide_ok) return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: sizes need zip64 fields that are missing", zip->path, copy);
    if (flags & 1) return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s is encrypted", zip->path, copy);
    if (method != 0 && method != 8)
        return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: found compression method %llu, expected 0 or 8", zip->path, copy, (unsigned long long)method);
    if (local > size || size - local < 30 || little(data + local, 4) != 0x04034b50)
        return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: its local header lies outside the file", zip->path, copy);
    uint64_t begin = local + 30 + little(data + local + 26, 2) + little(data + local + 28, 2);
    if (begin > size || stored > size - begin || inflated > (uint64_t)INT64_MAX || (method == 0 && stored != inflated))
        return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: found %llu bytes of data, the file ends before them (cut short?)", zip->path, copy,
                       (unsigned long long)stored);
    /* deflate makes at most 1032 bytes of one */
    if (method == 8 && inflated / 1032 > stored) return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: declares %llu bytes, more than its %llu can inflate to", zip->path, copy, (unsigned long long)inflated, (unsigned long long)stored);
    *out = (sn_zip_entry){.name = copy, .data = data + begin, .stored = (int64_t)stored, .size = (int64_t)inflated,
                          .crc = (uint32_t)little(h + 16, 4), .deflated = method == 8};
    *at += 46 + name_length + extra_length + comment;
    return SN_OK;
}

static sn_status read_directory(sn_zip *zip, const unsigned char *data, size_t size, sn_error *error) {
    if (size < 22) return sn_fail(error, SN_ERROR_INPUT, "%s: %zu bytes are too few for a zip archive", zip->path, size);
    size_t lowest = size > 65557 ? size - 65557 : 0, record = size - 22;
    while (!(little(data + record, 4) == 0x06054b50 && little(data + record + 20, 2) == size - record - 22)) {
        if (record == lowest)
            return sn_fail(error, SN_ERROR_INPUT, "%s: the zip archive has no end record (an interrupted download?)", zip->path);
        record--;
    }
    uint64_t count = little(data + record + 10, 2), length = little(data + record + 12, 4), begin = little(data + record + 16, 4);
    if (record >= 20 && little(data + record - 20, 4) == 0x07064b50) {
        uint64_t wide = little(data + record - 20 + 8, 8);
        if (wide > size || size - wide < 56 || little(data + wide, 4) != 0x06064b50)
            return sn_fail(error, SN_ERROR_INPUT, "%s: broken zip64 end record", zip->path);
        count = little(data + wide + 32, 8), length = little(data + wide + 40, 8), begin = little(data + wide + 48, 8);
    }
    if (begin > size || length > size - begin || count > length / 46)
        return sn_fail(error, SN_ERROR_INPUT, "%s: the zip directory lies outside the file", zip->path);
    zip->entries = sn_arena_alloc(zip->arena, count + 1, sizeof *zip->entries);
    if (!zip->entries) return sn_fail_memory(error);
    uint64_t at = begin, total = 0;
    for (uint64_t i = 0; i < count; i++) {
        sn_zip_entry *entry = &zip->entries[i];
        sn_status status = read_entry(zip, data, size, &at, begin + length, entry, error);
        if (status) return status;
        if (sn_map_get(zip->index, entry->name, strlen(entry->name), NULL))
            return sn_fail(error, SN_ERROR_INPUT, "%s: two zip entries are called %s", zip->path, entry->name);
        if (!sn_map_set(zip->index, entry->name, strlen(entry->name), (int64_t)i)) return sn_fail_memory(error);
        zip->count++;
        total += (uint64_t)entry->stored; /* each is at most the file, and there are fewer than 2^32 */
        if (total > size) return sn_fail(error, SN_ERROR_INPUT, "%s: zip entries overlap", zip->path);
    }
    return SN_OK;
}

sn_status sn_zip_open(const char *path, const unsigned char *data, size_t size, sn_zip **out, sn_error *error) {
    *out = NULL;
    sn_zip *zip = sn_alloc(1, sizeof *zip);
    if (!zip) return sn_fail_memory(error);
    zip->arena = sn_arena_new();
    zip->index = sn_map_new();
    zip->path = zip->arena ? sn_arena_strdup(zip->arena, path) : NULL;
    sn_status status = zip->path && zip->index ? read_directory(zip, data, size, error) : sn_fail_memory(error);
    if (status)
        sn_zip_close(zip);
    else
        *out = zip;
    return status;
}

void sn_zip_close(sn_zip *zip) {
    if (!zip) return;
    for (size_t i = 0; i < zip->count; i++) sn_free(zip->entries[i].inflated);
    sn_arena_free(zip->arena);
    sn_map_free(zip->index);
    sn_free(zip);
}

size_t sn_zip_count(const sn_zip *zip) { return zip->count; }
const sn_zip_entry *sn_zip_entry_at(const sn_zip *zip, size_t i) { return &zip->entries[i]; }

const sn_zip_entry *sn_zip_find(const sn_zip *zip, const char *name) {
    int64_t i;
    return sn_map_get(zip->index, name, strlen(name), &i) ? &zip->entries[i] : NULL;
}

static uint32_t crc_of(const unsigned char *data, int64_t size) {
    uLong crc = crc32(0, NULL, 0);
    for (int64_t at = 0; at < size; at += 1 << 30) crc = crc32(crc, data + at, (uInt)(size - at < 1 << 30 ? size - at : 1 << 30));
    return (uint32_t)crc;
}

static sn_status damaged(const sn_zip *zip, const sn_zip_entry *entry, sn_error *error) {
    return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s: its checksum does not fit its bytes (a damaged file?)", zip->path, entry->name);
}

/* Inflates up to `room` bytes; *ended tells whether the stream ended there, neither sooner nor later. */
static bool inflate_entry(const sn_zip_entry *entry, unsigned char *to, int64_t room, int64_t *got, bool *ended) {
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return false;
    int64_t in = 0, out = 0;
    int code = Z_OK;
    unsigned char spare;
    while (code == Z_OK) {
        int64_t in_step = entry->stored - in < 1 << 30 ? entry->stored - in : 1 << 30;
        int64_t out_step = room - out < 1 << 30 ? room - out : 1 << 30;
        z.next_in = (Bytef *)(uintptr_t)(entry->data + in), z.avail_in = (uInt)in_step;
        z.next_out = out_step ? to + out : &spare, z.avail_out = out_step ? (uInt)out_step : 1;
        code = inflate(&z, Z_NO_FLUSH);
        in += in_step - z.avail_in;
        if (out_step == 0 && z.avail_out == 0) break; /* more than there is room for */
        if (out_step) out += out_step - z.avail_out;
    }
    inflateEnd(&z);
    *got = out;
    *ended = code == Z_STREAM_END;
    return true;
}

sn_status sn_zip_read(const sn_zip *zip, const sn_zip_entry *entry, void *to, sn_error *error) {
    if (entry->deflated) {
        int64_t got;
        bool ended;
        if (!inflate_entry(entry, to, entry->size, &got, &ended)) return sn_fail_memory(error);
        if (!ended || got != entry->size) /* neither more (a bomb) nor less */
            return sn_fail(error, SN_ERROR_INPUT, "%s: entry %s does not inflate to its %lld bytes", zip->path, entry->name, (long long)entry->size);
    } else {
        if (entry->size) memcpy(to, entry->data, (size_t)entry->size);
    }
    return crc_of(to, entry->size) == entry->crc ? SN_OK : damaged(zip, entry, error);
}

sn_status sn_zip_bytes(const sn_zip *zip, const sn_zip_entry *entry, const unsigned char **out, sn_error *error) {
    sn_zip_entry *e = &zip->entries[entry - zip->entries];
    *out = e->deflated ? __atomic_load_n(&e->inflated, __ATOMIC_ACQUIRE) : e->data;
    if (*out && (e->deflated || __atomic_load_n(&e->checked, __ATOMIC_RELAXED))) return SN_OK;
    if (!e->deflated) {
        if (crc_of(e->data, e->size) != e->crc) return damaged(zip, e, error);
        __atomic_store_n(&e->checked, true, __ATOMIC_RELAXED);
        return SN_OK;
    }
    unsigned char *bytes = sn_alloc((size_t)e->size, 1), *none = NULL;
    sn_status status = bytes ? sn_zip_read(zip, e, bytes, error) : sn_fail_memory(error);
    if (status || !__atomic_compare_exchange_n(&e->inflated, &none, bytes, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) sn_free(bytes);
    *out = e->inflated;
    return status;
}

sn_status sn_zip_peek(const sn_zip *zip, const sn_zip_entry *entry, void *to, int64_t count, int64_t *got, sn_error *error) {
    if (count > entry->size) count = entry->size;
    *got = count;
    if (!entry->deflated) {
        if (count) memcpy(to, entry->data, (size_t)count);
        return SN_OK;
    }
    bool ended;
    if (!inflate_entry(entry, to, count, got, &ended)) return sn_fail_memory(error);
    return *got == count ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: entry %s does not inflate to its %lld bytes", zip->path, entry->name, (long long)entry->size);
}
