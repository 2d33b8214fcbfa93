/* Which files make a source, and weights over its tensors. */
#include "weights/source.h"

#include "base/json.h"
#include "base/utf8.h"
#include "weights/gguf.h"
#include "weights/zip.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WARNINGS = 100, MAX_NOTES = 1000, MAX_TENSORS = 1 << 20, MAX_REPEATED = 64 << 20 };

sn_status sn_source_map(sn_source *source, const char *path, sn_mapping *out, sn_error *error) {
    sn_status status = sn_map_file(path, out, error);
    if (status) return status;
    if (!sn_grow((void **)&source->files, &source->file_capacity, source->num_files + 1, sizeof *source->files)) {
        sn_unmap_file(out);
        return sn_fail_memory(error);
    }
    source->files[source->num_files++] = *out;
    return SN_OK;
}

void sn_source_warn(sn_source *source, const char *format, ...) {
    char text[512];
    if (source->num_warnings == MAX_WARNINGS) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *copy = sn_arena_strdup(source->arena, text);
    if (copy && sn_grow((void **)&source->warnings, &source->warning_capacity, source->num_warnings + 1, sizeof *source->warnings))
        source->warnings[source->num_warnings++] = copy;
}

/* Text of a file that a terminal will see: one line, valid UTF-8. */
static void make_printable(char *text) {
    size_t bad;
    if (!sn_utf8_valid(text, strlen(text), &bad)) text[bad] = 0;
    for (; *text; text++)
        if ((unsigned char)*text < 32 || *text == 127) *text = ' ';
}

void sn_source_remark(sn_source *source, const char *name, const char *text) {
    if (source->num_notes == MAX_NOTES) return;
    char *a = sn_arena_strdup(source->arena, name), *b = sn_arena_strdup(source->arena, text);
    if (a) make_printable(a);
    if (b) make_printable(b);
    if (a && b && sn_grow((void **)&source->notes, &source->note_capacity, source->num_notes + 1, sizeof *source->notes))
        source->notes[source->num_notes++] = (sn_source_note){a, b};
}

sn_status sn_source_add(sn_source *source, const sn_source_tensor *tensor, sn_error *error) {
    size_t length = strlen(tensor->name);
    if (!length || !sn_utf8_valid(tensor->name, length, NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: a tensor's name is empty or not UTF-8", tensor->file);
    if (source->count == MAX_TENSORS) return sn_fail(error, SN_ERROR_INPUT, "%s: more than a million tensors", tensor->file);
    if (sn_map_get(source->index, tensor->name, length, NULL))
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s is there twice", tensor->file, tensor->name);
    if (!sn_grow((void **)&source->tensors, &source->capacity, source->count + 1, sizeof *source->tensors) ||
        !sn_map_set(source->index, tensor->name, length, (int64_t)source->count))
        return sn_fail_memory(error);
    sn_source_tensor *t = &source->tensors[source->count], *before = source->count ? t - 1 : NULL;
    *t = *tensor;
    t->name = sn_arena_strdup(source->arena, tensor->name);
    t->file = before && strcmp(before->file, tensor->file) == 0 ? before->file : sn_arena_strdup(source->arena, tensor->file);
    if (!t->name || !t->file) return sn_fail_memory(error);
    int64_t stride = 1;
    for (int i = t->shape.rank - 1; i >= 0 && t->contiguous; i--) {
        t->stride[i] = stride;
        if (__builtin_mul_overflow(stride, t->shape.dim[i], &stride)) stride = 0; /* only where another dimension is 0 */
    }
    source->count++;
    return SN_OK;
}

const sn_source_tensor *sn_source_find(const sn_source *source, const char *name) {
    int64_t i;
    return sn_map_get(source->index, name, strlen(name), &i) ? &source->tensors[i] : NULL;
}

/* ---- files ---- */

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n > m && strcmp(name + n - m, with) == 0;
}

static sn_status read_zip(sn_source *source, const char *path, sn_error *error) {
    sn_mapping file;
    sn_zip *zip;
    sn_status status = sn_source_map(source, path, &file, error);
    if (!status) status = sn_zip_open(path, file.data, file.size, &zip, error);
    if (status) return status;
    if (!sn_grow((void **)&source->zips, &source->zip_capacity, source->num_zips + 1, sizeof *source->zips)) {
        sn_zip_close(zip);
        return sn_fail_memory(error);
    }
    source->zips[source->num_zips++] = zip;
    bool arrays = sn_zip_count(zip) > 0;
    for (size_t i = 0; i < sn_zip_count(zip); i++) {
        const char *name = sn_zip_entry_at(zip, i)->name;
        if (ends(name, "/data.pkl")) return sn_torch_read(source, path, zip, error);
        arrays = arrays && ends(name, ".npy");
    }
    if (!arrays) return sn_fail(error, SN_ERROR_INPUT, "%s: a zip archive without data.pkl: neither a PyTorch file nor numpy's npz", path);
    source->format = "npz";
    return sn_npz_read(source, path, zip, error);
}

static sn_status refuse_tar(sn_source *source, const char *path, sn_error *error) {
    return sn_fail(error, SN_ERROR_SUPPORT, "%s: a tar archive; unpack it, or (PyTorch of 2016) save it again with a newer PyTorch", path);
}

static sn_status refuse_pointer(sn_source *source, const char *path, sn_error *error) {
    return sn_fail(error, SN_ERROR_INPUT, "%s: found a Git LFS pointer, expected the file itself; fetch it with `git lfs pull`", path);
}

static sn_status refuse_page(sn_source *source, const char *path, sn_error *error) {
    return sn_fail(error, SN_ERROR_INPUT, "%s: found a web page, expected a checkpoint; the download got an error page", path);
}

/* What a file is, by its first bytes. */
static const struct kind {
    size_t at, length;
    const char *bytes, *format;
    sn_status (*read)(sn_source *source, const char *path, sn_error *error);
} kinds[] = {
    {0, 23, "version https://git-lfs", "Git LFS", refuse_pointer},
    {0, 4, "PK\3\4", "PyTorch", read_zip},
    {0, 4, "PK\5\6", "zip", read_zip},
    {0, 14, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "PyTorch (before 1.6)", sn_torch_read_legacy},
    {0, 4, "GGUF", "GGUF", sn_gguf_read},
    {0, 6, "\x93NUMPY", "npy", sn_npy_read},
    {257, 5, "ustar", "tar", refuse_tar},
    {8, 1, "{", "safetensors", sn_safetensors_read},
    {0, 9, "<!DOCTYPE", "HTML", refuse_page},
    {0, 9, "<!doctype", "HTML", refuse_page},
    {0, 5, "<html", "HTML", refuse_page},
};

static sn_status read_one(sn_source *source, const char *path, sn_error *error) {
    static const char *const unfinished[] = {".incomplete", ".part", ".crdownload"};
    unsigned char head[512] = {0};
    if (!sn_is_file(path)) return sn_map_file(path, &(sn_mapping){0}, error); /* says why */
    for (size_t i = 0; i < sizeof unfinished / sizeof *unfinished; i++)
        if (ends(path, unfinished[i])) return sn_fail(error, SN_ERROR_INPUT, "%s: an unfinished download; fetch the file again", path);
    FILE *file = fopen(path, "rb");
    if (!file) return sn_fail(error, SN_ERROR_IO, "%s: %s", path, strerror(errno));
    size_t got = fread(head, 1, sizeof head, file);
    fclose(file);
    if (got == 0) return sn_fail(error, SN_ERROR_INPUT, "%s: found an empty file, expected a checkpoint", path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct kind *k = &kinds[i];
        if (got < k->at + k->length || memcmp(head + k->at, k->bytes, k->length) != 0) continue;
        source->format = k->format;
        return k->read(source, path, error);
    }
    if (ends(path, ".safetensors")) return sn_safetensors_read(source, path, error); /* says what is wrong with it */
    return sn_fail(error, SN_ERROR_INPUT, "%s: not a checkpoint: found none of safetensors, PyTorch, GGUF, npy, npz", path);
}

static bool plain_name(const char *name) {
    return name[0] && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, "..") != 0 && strcmp(name, ".") != 0;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* {"weight_map": {tensor: file}}: every named file is read once; the map must hold. */
static sn_status read_index(sn_source *source, const char *folder, const char *index_path, sn_error *error) {
    json_t *root;
    sn_status status = sn_json_file(index_path, 64 << 20, &root, error);
    if (status) return status;
    json_t *map = json_object_get(root, "weight_map"), *value;
    const char *key;
    size_t count = json_object_size(map), n = 0;
    const char **files = sn_alloc(count + 1, sizeof *files);
    if (!json_is_object(map) || count == 0) status = sn_fail(error, SN_ERROR_INPUT, "%s: weight_map: expected an object that names files", index_path);
    if (!files) status = sn_fail_memory(error);
    if (!status) json_object_foreach(map, key, value) {
        const char *file = json_string_value(value);
        if (!file || strlen(file) != json_string_length(value) || !plain_name(file)) {
            status = sn_fail(error, SN_ERROR_INPUT, "%s: weight_map.%s: expected the name of a file in the same folder", index_path, key);
            break;
        }
        files[n++] = file;
    }
    if (!status) qsort(files, n, sizeof *files, by_text);
    for (size_t i = 0; i < n && !status; i++) {
        if (i && strcmp(files[i], files[i - 1]) == 0) continue;
        char *path = sn_path_join(folder, files[i]);
        if (!path) status = sn_fail_memory(error);
        else if (!sn_is_file(path)) status = sn_fail(error, SN_ERROR_INPUT, "%s: the index names %s, which is not there", index_path, files[i]);
        else status = read_one(source, path, error);
        sn_free(path);
    }
    if (!status) json_object_foreach(map, key, value) {
        const sn_source_tensor *t = sn_source_find(source, key);
        const char *name = t ? strrchr(t->file, '/') : NULL;
        if (!t || strcmp(name ? name + 1 : t->file, json_string_value(value)) != 0) {
            status = sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: the index says it is in %s, which does not hold it", index_path, key, json_string_value(value));
            break;
        }
    }
    for (size_t i = 0; i < source->count && !status; i++)
        if (!json_object_get(map, source->tensors[i].name)) sn_source_warn(source, "%s holds %s, which the index does not name", source->tensors[i].file, source->tensors[i].name);
    sn_free(files);
    json_decref(root);
    return status;
}

static bool exists_in(const char *folder, const char *name) {
    char *path = sn_path_join(folder, name);
    bool there = path && sn_is_file(path);
    sn_free(path);
    return there;
}

/* The folder's only checkpoint of another name; names of sharded training are refused with what to do. */
static sn_status scan_folder(sn_source *source, const char *folder, sn_error *error) {
    DIR *dir = opendir(folder);
    if (!dir) return sn_fail(error, SN_ERROR_IO, "%s: cannot read the folder", folder);
    static const char *const endings[] = {".safetensors", ".bin", ".pth", ".pt", ".gguf", ".incomplete"};
    static const char *const of_shards[] = {"mp_rank_*", "*zero_pp_rank_*", "global_step*", "*.distcp"};
    char *found = NULL;
    int best = 99;
    bool sharded = false, several = false;
    for (struct dirent *e; (e = readdir(dir));) {
        for (size_t i = 0; i < sizeof of_shards / sizeof *of_shards; i++) sharded = sharded || fnmatch(of_shards[i], e->d_name, 0) == 0;
        for (int i = 0; i < (int)(sizeof endings / sizeof *endings); i++) {
            if (!ends(e->d_name, endings[i]) || i > best) continue;
            several = i == best;
            best = i;
            sn_free(found);
            found = sn_path_join(folder, e->d_name);
        }
    }
    closedir(dir);
    sn_status status;
    if (sharded)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: a folder of sharded training; gather it first (DeepSpeed: zero_to_fp32.py, FSDP: torch.distributed.checkpoint.format_utils)", folder);
    else if (!found)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: found no weights, expected model.safetensors, pytorch_model.bin, an index of shards, or one .pth or .gguf file", folder);
    else if (several)
        status = sn_fail(error, SN_ERROR_INPUT, "%s: found several %s files and no index that says which belong together", folder, endings[best]);
    else
        status = read_one(source, found, error);
    sn_free(found);
    return status;
}

static sn_status read_folder(sn_source *source, const char *folder, sn_error *error) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!exists_in(folder, names[i])) continue;
        char *path = sn_path_join(folder, names[i]);
        if (!path) return sn_fail_memory(error);
        sn_status status = i % 2 ? read_index(source, folder, path, error) : read_one(source, path, error);
        sn_free(path);
        return status;
    }
    return scan_folder(source, folder, error);
}

sn_status sn_source_open(const char *path, sn_source **out, sn_error *error) { return sn_source_open_at(path, NULL, out, error); }

sn_status sn_source_open_at(const char *path, const char *key, sn_source **out, sn_error *error) {
    *out = NULL;
    sn_source *source = sn_alloc(1, sizeof *source);
    if (!source) return sn_fail_memory(error);
    source->arena = sn_arena_new();
    source->index = sn_map_new();
    source->path = source->arena ? sn_arena_strdup(source->arena, path) : NULL;
    source->format = "unknown";
    if (key && source->arena && !(source->key = sn_arena_strdup(source->arena, key))) source->path = NULL;
    sn_status status = !source->path || !source->index ? sn_fail_memory(error)
                       : sn_is_directory(path)         ? read_folder(source, path, error)
                                                       : read_one(source, path, error);
    if (status)
        sn_source_close(source);
    else
        *out = source;
    return status;
}

void sn_source_close(sn_source *source) {
    if (!source) return;
    for (size_t i = 0; i < source->num_zips; i++) sn_zip_close(source->zips[i]);
    for (size_t i = 0; i < source->num_files; i++) sn_unmap_file(&source->files[i]);
    sn_free(source->zips);
    sn_free(source->files);
    sn_free(source->tensors);
    sn_free(source->warnings);
    sn_free(source->notes);
    if (source->gguf) sn_map_free(source->gguf->index);
    sn_map_free(source->index);
    sn_arena_free(source->arena);
    sn_free(source);
}

sn_status sn_source_verify(const sn_source *source, sn_error *error) {
    for (size_t z = 0; z < source->num_zips; z++)
        for (size_t i = 0; i < sn_zip_count(source->zips[z]); i++) {
            const sn_zip_entry *entry = sn_zip_entry_at(source->zips[z], i);
            const unsigned char *mapped;
            void *inflated = entry->deflated ? sn_alloc((size_t)entry->size, 1) : NULL;
            if (entry->deflated && !inflated) return sn_fail_memory(error);
            sn_status status = entry->deflated ? sn_zip_read(source->zips[z], entry, inflated, error) : sn_zip_bytes(source->zips[z], entry, &mapped, error);
            sn_free(inflated);
            if (status) return status;
        }
    return SN_OK;
}

/* ---- weights ---- */

static void gather_strided(const sn_source_tensor *t, int axis, const unsigned char *at, int64_t size, unsigned char **to) {
    if (axis == t->shape.rank) {
        memcpy(*to, at, (size_t)size);
        *to += size;
        return;
    }
    for (int64_t i = 0; i < t->shape.dim[axis]; i++) gather_strided(t, axis + 1, at + i * t->stride[axis] * size, size, to);
}

static void swap_bytes(unsigned char *values, int64_t bytes, int64_t size) {
    for (int64_t i = 0; i < bytes; i += size)
        for (int64_t a = i, b = i + size - 1; a < b; a++, b--) {
            unsigned char kept = values[a];
            values[a] = values[b], values[b] = kept;
        }
}

/* Strides of 0 let a few bytes stand for 2^48 values. */
static sn_status check_repeated(const sn_source_tensor *t, sn_error *error) {
    if (t->contiguous || t->bytes <= MAX_REPEATED || t->bytes / 4 <= t->storage) return SN_OK;
    return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: repeats its %lld bytes to %lld, which no checkpoint needs", t->file, t->name, (long long)t->storage,
                   (long long)t->bytes);
}

sn_status sn_source_copy(const sn_source_tensor *t, void *to, sn_error *error) {
    sn_status status = check_repeated(t, error);
    if (status) return status;
    const unsigned char *from = t->data;
    if (t->entry) {
        if ((status = sn_zip_bytes(t->zip, t->entry, &from, error))) return status;
        from += t->offset;
    }
    int64_t size = sn_type_of(t->type)->bytes;
    unsigned char *target = to;
    if (t->bytes && t->contiguous) memcpy(to, from, (size_t)t->bytes);
    else if (t->bytes) gather_strided(t, 0, from, size, &target);
    if (t->swapped) swap_bytes(to, t->bytes, size);
    return SN_OK;
}

static sn_status make_gathered(const void *recipe, void *to, sn_error *error) { return sn_source_copy(recipe, to, error); }

sn_status sn_source_check(const sn_source_tensor *t, sn_error *error) {
    char shape[96];
    if (!sn_type_of(t->type)->is_float)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found %s of %s, expected floating-point numbers%s", t->name, sn_shape_text(&t->shape, shape), sn_type_of(t->type)->name,
                       t->type == SN_TYPE_U8 ? "; packed by a 4-bit loader: save it again without packing" : "");
    if (sn_shape_count(&t->shape) == 0)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found %s, a tensor without values; written by a sharded training run that did not gather", t->name, sn_shape_text(&t->shape, shape));
    return SN_OK;
}

sn_status sn_source_weight(sn_source *source, const sn_source_tensor *t, sn_arena *arena, sn_weight *out, sn_error *error) {
    if (!sn_type_of(t->type)->to_float)
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: found type %s, expected floating-point weights", t->file, t->name, sn_type_of(t->type)->name);
    *out = sn_weight_view(t->type, t->shape, t->data);
    if (t->contiguous && t->data && !t->swapped) return SN_OK;
    sn_status status = check_repeated(t, error);
    if (status) return status;
    sn_source_tensor *recipe = sn_arena_alloc(arena, 1, sizeof *recipe);
    if (!recipe) return sn_fail_memory(error);
    *recipe = *t; /* the source's array may move while shards are added */
    out->make = make_gathered, out->recipe = recipe;
    return SN_OK;
}
