/* Which files make a source, and weights over its tensors. */
#include "weights/source.h"

#include "base/json.h"
#include "weights/zip.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *copy = sn_arena_strdup(source->arena, text);
    if (copy && sn_grow((void **)&source->warnings, &source->warning_capacity, source->num_warnings + 1, sizeof *source->warnings))
        source->warnings[source->num_warnings++] = copy;
}

sn_status sn_source_add(sn_source *source, const sn_source_tensor *tensor, sn_error *error) {
    size_t length = strlen(tensor->name);
    if (!length) return sn_fail(error, SN_ERROR_INPUT, "%s: a tensor has an empty name", tensor->file);
    if (sn_map_get(source->index, tensor->name, length, NULL))
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s is there twice", tensor->file, tensor->name);
    if (!sn_grow((void **)&source->tensors, &source->capacity, source->count + 1, sizeof *source->tensors) ||
        !sn_map_set(source->index, tensor->name, length, (int64_t)source->count))
        return sn_fail_memory(error);
    sn_source_tensor *t = &source->tensors[source->count];
    *t = *tensor;
    t->name = sn_arena_strdup(source->arena, tensor->name);
    t->file = sn_arena_strdup(source->arena, tensor->file);
    if (!t->name || !t->file) return sn_fail_memory(error);
    if (!t->entry) {
        int64_t stride = 1;
        for (int i = t->shape.rank - 1; i >= 0; i--) t->stride[i] = stride, stride *= t->shape.dim[i];
    }
    source->count++;
    return SN_OK;
}

const sn_source_tensor *sn_source_find(const sn_source *source, const char *name) {
    int64_t i;
    return sn_map_get(source->index, name, strlen(name), &i) ? &source->tensors[i] : NULL;
}

/* ---- files ---- */

static sn_status read_one(sn_source *source, const char *path, sn_error *error) {
    unsigned char head[64] = {0};
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(head, 1, sizeof head - 1, file) : 0;
    if (file) fclose(file);
    if (file && got == 0) return sn_fail(error, SN_ERROR_INPUT, "%s: found an empty file, expected a checkpoint", path);
    if (memcmp(head, "version https://git-lfs", 23) == 0)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found a Git LFS pointer, expected the file itself; fetch it with `git lfs pull`", path);
    if (got >= 5 && head[0] == 0x80 && head[1] == 2 && memcmp(head + 2, "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12) == 0)
        return sn_fail(error, SN_ERROR_SUPPORT, "%s: a PyTorch file of before 1.6, which this version does not read yet; save it again with a newer PyTorch", path);
    if (memcmp(head, "PK\3\4", 4) == 0) {
        source->format = "PyTorch";
        return sn_torch_read(source, path, error);
    }
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    size_t length = strlen(name);
    if (length > 11 && strcmp(name + length - 11, ".incomplete") == 0)
        return sn_fail(error, SN_ERROR_INPUT, "%s: an unfinished download; fetch the file again", path);
    if (got >= 9 && head[8] == '{') {
        source->format = "safetensors";
        return sn_safetensors_read(source, path, error);
    }
    if (length > 12 && strcmp(name + length - 12, ".safetensors") == 0) return sn_safetensors_read(source, path, error);
    if (!file) return sn_read_file(path, 0, &(char *){NULL}, &(size_t){0}, error);
    return sn_fail(error, SN_ERROR_INPUT, "%s: not a checkpoint: found neither a safetensors header nor a PyTorch zip archive", path);
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
        if (!file || !plain_name(file)) {
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

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n > m && strcmp(name + n - m, with) == 0;
}

/* The folder's only checkpoint of another name; names of sharded training are refused with what to do. */
static sn_status scan_folder(sn_source *source, const char *folder, sn_error *error) {
    DIR *dir = opendir(folder);
    if (!dir) return sn_fail(error, SN_ERROR_IO, "%s: cannot read the folder", folder);
    static const char *const endings[] = {".safetensors", ".bin", ".pth", ".pt", ".incomplete"};
    char *found = NULL;
    int best = 99;
    bool sharded = false, several = false;
    for (struct dirent *e; (e = readdir(dir));) {
        if (strncmp(e->d_name, "mp_rank_", 8) == 0 || strncmp(e->d_name, "zero_pp_rank_", 13) == 0 || ends(e->d_name, ".distcp")) sharded = true;
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
        status = sn_fail(error, SN_ERROR_INPUT, "%s: found no weights, expected model.safetensors, pytorch_model.bin, an index of shards, or one .pth file", folder);
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

sn_status sn_source_open(const char *path, sn_source **out, sn_error *error) {
    *out = NULL;
    sn_source *source = sn_alloc(1, sizeof *source);
    if (!source) return sn_fail_memory(error);
    source->arena = sn_arena_new();
    source->index = sn_map_new();
    source->path = source->arena ? sn_arena_strdup(source->arena, path) : NULL;
    source->format = "unknown";
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
    sn_map_free(source->index);
    sn_arena_free(source->arena);
    sn_free(source);
}

sn_status sn_source_verify(const sn_source *source, sn_error *error) {
    for (size_t z = 0; z < source->num_zips; z++)
        for (size_t i = 0; i < sn_zip_count(source->zips[z]); i++) {
            const sn_zip_entry *entry = sn_zip_entry_at(source->zips[z], i);
            void *bytes = sn_alloc((size_t)entry->size, 1);
            if (!bytes) return sn_fail_memory(error);
            sn_status status = sn_zip_read(source->zips[z], entry, bytes, error);
            sn_free(bytes);
            if (status) return status;
        }
    return SN_OK;
}

/* ---- weights ---- */

typedef struct gather {
    const sn_source *source;
    const sn_source_tensor *tensor;
} gather;

static void gather_strided(const sn_source_tensor *t, int axis, const unsigned char **from, int64_t size, unsigned char **to) {
    const unsigned char *at = *from;
    if (axis == t->shape.rank) {
        memcpy(*to, at, (size_t)size);
        *to += size;
        return;
    }
    for (int64_t i = 0; i < t->shape.dim[axis]; i++) {
        const unsigned char *inner = at + i * t->stride[axis] * size;
        gather_strided(t, axis + 1, &inner, size, to);
    }
}

/* Inflates and checks the storage where it is compressed, then copies the tensor's elements in row-major order. */
static sn_status make_gathered(const void *recipe, void *to, sn_error *error) {
    const gather *g = recipe;
    const sn_source_tensor *t = g->tensor;
    int64_t size = sn_type_of(t->type)->bytes;
    const unsigned char *from = t->data;
    void *inflated = NULL;
    for (size_t z = 0; !from && z < g->source->num_zips; z++) {
        if (sn_zip_find(g->source->zips[z], t->entry->name) != t->entry) continue;
        inflated = sn_alloc((size_t)t->entry->size, 1);
        if (!inflated) return sn_fail_memory(error);
        sn_status status = sn_zip_read(g->source->zips[z], t->entry, inflated, error);
        if (status) {
            sn_free(inflated);
            return status;
        }
        from = (unsigned char *)inflated + t->offset * size;
    }
    unsigned char *target = to;
    if (sn_shape_count(&t->shape) > 0) gather_strided(t, 0, &from, size, &target);
    sn_free(inflated);
    return SN_OK;
}

sn_status sn_source_weight(sn_source *source, const sn_source_tensor *t, sn_arena *arena, sn_weight *out, sn_error *error) {
    if (!sn_type_of(t->type)->to_float)
        return sn_fail(error, SN_ERROR_INPUT, "%s: tensor %s: found type %s, expected floating-point weights", t->file, t->name, sn_type_of(t->type)->name);
    *out = sn_weight_view(t->type, t->shape, t->data);
    if (t->contiguous && t->data) return SN_OK;
    gather *recipe = sn_arena_alloc(arena, 1, sizeof *recipe);
    if (!recipe) return sn_fail_memory(error);
    *recipe = (gather){source, t};
    out->make = make_gathered, out->recipe = recipe;
    return SN_OK;
}
