/* WebDataset's tar shards. Members in a row whose names agree up to the first dot of their last part are one sample:
 * pictures (.jpg, .png, …), a conversation or a caption (.json), a caption (.txt).
 *
 * Indexing walks over the headers once and keeps where each sample's members begin and end; reading a sample gives
 * that stretch of the mapped file to libarchive again. So any sample is reached at once, and nothing of a shard is in
 * memory but the sample at hand. Members are never written anywhere: their names are text alone. */
#include "data/record.h"

#include "base/utf8.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_NAME = 4096 };

static sn_status open_tar(const char *path, const char *bytes, size_t size, struct archive **out, sn_error *error) {
    struct archive *a = archive_read_new();
    *out = a;
    if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK) return sn_fail_memory(error);
    if (archive_read_open_memory(a, bytes, size) != ARCHIVE_OK) return sn_fail(error, SN_ERROR_INPUT, "%s: not a tar file: %s", path, archive_error_string(a));
    return SN_OK;
}

/* The next member that is a plain file; *name is NULL behind the last. */
static sn_status next_member(const char *path, struct archive *a, size_t number, struct archive_entry **entry, const char **name, sn_error *error) {
    for (;;) {
        *name = NULL;
        int code = archive_read_next_header(a, entry);
        if (code == ARCHIVE_EOF) return SN_OK;
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return sn_fail(error, SN_ERROR_INPUT, "%s: behind member %zu: not a tar file or cut off: %s", path, number, archive_error_string(a));
        if (archive_entry_filetype(*entry) != AE_IFREG || archive_entry_hardlink(*entry)) continue;
        const char *found = archive_entry_pathname_utf8(*entry);
        if (!found) found = archive_entry_pathname(*entry);
        size_t length = found ? strlen(found) : 0, bad = 0;
        bool text = length && length <= MAX_NAME && sn_utf8_valid(found, length, &bad);
        for (size_t i = 0; i < length && text; i++) text = (unsigned char)found[i] >= ' ' && found[i] != 127;
        if (!text) return sn_fail(error, SN_ERROR_INPUT, "%s: member %zu: its name is empty, longer than %d bytes or not text", path, number + 1, MAX_NAME);
        *name = found;
        return SN_OK;
    }
}

/* Length of the key: up to the first dot behind the last slash. */
static size_t key_length(const char *name) {
    const char *last = strrchr(name, '/');
    last = last ? last + 1 : name;
    return (size_t)(last - name) + strcspn(last, ".");
}

sn_status sn_shard_index(const char *path, const char *bytes, size_t size, sn_stretches *all, sn_error *error) {
    struct archive *a;
    struct archive_entry *entry;
    sn_buf key = {0};
    size_t begin = 0, number = 0, samples = 0;
    sn_status status = open_tar(path, bytes, size, &a, error);
    while (!status) {
        const char *name;
        if ((status = next_member(path, a, number, &entry, &name, error)) || !name) break;
        size_t length = key_length(name), at = (size_t)archive_read_header_position(a);
        bool same = number && length == key.length && memcmp(key.data, name, length) == 0;
        if (at > size || at < begin) status = sn_fail(error, SN_ERROR_INPUT, "%s: member %zu: its place is outside the file", path, number + 1);
        else if (number && !same) status = sn_stretch_add(all, path, begin, at - begin, ++samples, error);
        if (!same) {
            begin = at, key.length = 0;
            sn_buf_add(&key, name, length);
        }
        if (key.failed && !status) status = sn_fail_memory(error);
        number++;
    }
    if (!status && number) status = sn_stretch_add(all, path, begin, size - begin, ++samples, error);
    archive_read_free(a);
    sn_buf_free(&key);
    return status;
}

/* ---- one sample ---- */

static bool is_picture(const char *name) {
    static const char *const ends[] = {"jpg", "jpeg", "png", "webp", "gif", "bmp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (strcasecmp(dot + 1, ends[i]) == 0) return true;
    return false;
}

/* A member's bytes with a NUL behind them. No more than the stretch holds is ever asked for. */
static sn_status read_member(const char *where, struct archive *a, struct archive_entry *entry, size_t most, char **bytes, size_t *size, sn_error *error) {
    int64_t length = archive_entry_size(entry);
    *bytes = NULL;
    if (archive_entry_sparse_count(entry) > 0 || length < 0 || (uint64_t)length > most)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found a member of %lld bytes, expected at most the %zu that the file has there, none left out", where, (long long)length, most);
    *size = (size_t)length;
    char *to = sn_alloc(*size + 1, 1);
    if (!to) return sn_fail_memory(error);
    if (archive_read_data(a, to, *size) != (la_ssize_t)*size) {
        sn_free(to);
        return sn_fail(error, SN_ERROR_INPUT, "%s: cut off", where);
    }
    *bytes = to;
    return SN_OK;
}

typedef struct parts {
    char key[MAX_NAME + 1];
    char where[900]; /* names the sample in errors */
    json_t *object, *images; /* of the .json; names of the pictures */
    char *text;              /* of the .txt */
} parts;

static sn_status take_text(parts *p, bool json, char *bytes, size_t size, sn_error *error) {
    if ((json && p->object) || (!json && p->text)) {
        sn_free(bytes);
        return sn_fail(error, SN_ERROR_INPUT, "%s: found two of .%s", p->where, json ? "json" : "txt");
    }
    if (!json) {
        while (size && strchr("\r\n", bytes[size - 1])) bytes[--size] = 0;
        p->text = bytes;
        return strlen(bytes) == size ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: the caption is not text", p->where);
    }
    sn_status status = sn_json_bytes(p->where, bytes, size, &p->object, error);
    sn_free(bytes);
    return status;
}

static sn_status take_member(parts *p, struct archive *a, struct archive_entry *entry, const char *name, bool pictures, size_t most, sn_record *out, sn_error *error) {
    size_t key = key_length(name), size = 0;
    char *bytes = NULL;
    bool json = strcmp(name + key, ".json") == 0, text = strcmp(name + key, ".txt") == 0, picture = is_picture(name + key);
    if (!json && !text && !picture) return SN_OK;
    if (picture && out->num_pictures == SN_RECORD_PICTURES) return sn_fail(error, SN_ERROR_INPUT, "%s: found more than %d pictures", p->where, SN_RECORD_PICTURES);
    sn_status status = picture && !pictures ? SN_OK : read_member(p->where, a, entry, most, &bytes, &size, error);
    if (status || !picture) return status ? status : take_text(p, json, bytes, size, error);
    out->pictures[out->num_pictures].bytes = bytes, out->pictures[out->num_pictures++].size = size;
    return json_array_append_new(p->images, json_string(name)) == 0 ? SN_OK : sn_fail_memory(error);
}

static const char *last_part(const char *name) {
    const char *slash = name ? strrchr(name, '/') : NULL;
    return slash ? slash + 1 : name;
}

/* Whether a path of a .json means that member: by its last part, or by what stands behind the key. */
static bool means(const char *path, const char *member) {
    return path && (strcmp(path, last_part(member)) == 0 || strcmp(path, member + key_length(member) + (member[key_length(member)] == '.')) == 0);
}

/* Pictures stand in the order in which "image" of the .json names them, where it names them; else as in the shard. */
static void order_pictures(const parts *p, sn_record *out) {
    const json_t *named = json_object_get(p->object, "image");
    for (size_t i = 0; json_array_size(named) == (size_t)out->num_pictures && i < json_array_size(named); i++)
        for (size_t k = i + 1; k < json_array_size(named); k++) {
            const char *wanted = last_part(json_string_value(json_array_get(named, i))), *there = json_string_value(json_array_get(p->images, k));
            if (!means(wanted, there)) continue;
            json_t *first = json_incref(json_array_get(p->images, i)), *second = json_incref(json_array_get(p->images, k));
            char *bytes = out->pictures[i].bytes;
            size_t size = out->pictures[i].size;
            out->pictures[i] = out->pictures[k], out->pictures[k].bytes = bytes, out->pictures[k].size = size;
            json_array_set_new(p->images, i, second), json_array_set_new(p->images, k, first);
        }
}

/* The sample that the parts are: a conversation with its own words, or a caption. */
static sn_status join(const parts *p, sn_record *out, sn_error *error) {
    const char *caption = p->text ? p->text : sn_json_string(p->object, "caption");
    bool talk = json_object_get(p->object, "conversations") != NULL;
    if (!talk && (!caption || !out->num_pictures)) return sn_fail(error, SN_ERROR_INPUT, "%s: expected a picture with a caption (.txt, or caption in .json), or conversations in .json", p->where);
    order_pictures(p, out);
    json_t *image = json_incref(out->num_pictures == 1 ? json_array_get(p->images, 0) : p->images);
    if (talk) {
        out->object = json_incref(p->object);
        bool ok = sn_json_string(out->object, "id") || json_object_set_new(out->object, "id", json_string(p->key)) == 0;
        if (out->num_pictures) ok = json_object_set(out->object, "image", image) == 0 && ok;
        json_decref(image);
        return ok ? SN_OK : sn_fail_memory(error);
    }
    out->object = sn_captioned(p->key, image, caption);
    return out->object ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: the caption is not UTF-8", p->where);
}

sn_status sn_shard_read(const char *path, const char *bytes, const sn_stretch *at, bool pictures, sn_record *out, sn_error *error) {
    struct archive *a;
    struct archive_entry *entry;
    parts p = {.images = json_array()};
    size_t number = 0;
    *out = (sn_record){0};
    sn_status status = open_tar(path, bytes + at->offset, at->length, &a, error);
    if (!status && !p.images) status = sn_fail_memory(error);
    while (!status) {
        const char *name;
        if ((status = next_member(path, a, number++, &entry, &name, error)) || !name) break;
        snprintf(p.key, sizeof p.key, "%.*s", (int)key_length(name), name);
        snprintf(p.where, sizeof p.where, "%.400s: sample %.400s", path, p.key);
        status = take_member(&p, a, entry, name, pictures, at->length, out, error);
    }
    if (!status) status = join(&p, out, error);
    archive_read_free(a);
    json_decref(p.object);
    json_decref(p.images);
    sn_free(p.text);
    if (status) sn_record_free(out);
    return status;
}
