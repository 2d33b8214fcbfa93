/* Checkpoints as sources of named tensors.
 *
 * Whatever the format, opening a source reads only its directory: names, types, shapes, and where the bytes
 * lie. The data stay in the mapped file until somebody uses them. */
#ifndef SN_WEIGHTS_SOURCE_H
#define SN_WEIGHTS_SOURCE_H

#include "base/file.h"
#include "base/map.h"
#include "tensor/weight.h"

typedef struct sn_source_tensor {
    const char *name;
    sn_type type;
    sn_shape shape;
    int64_t stride[SN_MAX_RANK]; /* in elements */
    bool contiguous;
    const unsigned char *data; /* first element, in the mapped file; NULL: `zip_entry` must be inflated first */
    int64_t bytes;             /* of the elements, shape times type */
    const char *file;
    /* torch archives: the storage this tensor is a view of */
    const struct sn_zip_entry *entry;
    int64_t offset; /* elements into the storage */
} sn_source_tensor;

typedef struct sn_source {
    const char *path;
    const char *format; /* "safetensors", "torch", … */
    sn_arena *arena;
    sn_source_tensor *tensors;
    size_t count, capacity;
    sn_map *index;
    sn_mapping *files;
    size_t num_files, file_capacity;
    struct sn_zip **zips;
    size_t num_zips, zip_capacity;
    const char **warnings;
    size_t num_warnings, warning_capacity;
} sn_source;

/* Opens a file, or a folder's weights in the order of formats.md 1 (model.safetensors, its index,
 * pytorch_model.bin, its index, one *.pth or *.pt). A Git LFS pointer, an unfinished download and folders of
 * sharded training are recognised and named. */
sn_status sn_source_open(const char *path, sn_source **out, sn_error *error);
void sn_source_close(sn_source *source);

const sn_source_tensor *sn_source_find(const sn_source *source, const char *name);

/* A weight over the tensor: a view where the data are contiguous and in the file, otherwise derived. `arena`
 * keeps the recipe. */
sn_status sn_source_weight(sn_source *source, const sn_source_tensor *tensor, sn_arena *arena, sn_weight *out, sn_error *error);

/* Checks everything that opening leaves for later (CRC of every archive entry). */
sn_status sn_source_verify(const sn_source *source, sn_error *error);

/* ---- for the readers of one format ---- */
sn_status sn_source_add(sn_source *source, const sn_source_tensor *tensor, sn_error *error);
sn_status sn_source_map(sn_source *source, const char *path, sn_mapping *out, sn_error *error);
void sn_source_warn(sn_source *source, const char *format, ...) __attribute__((format(printf, 2, 3)));
sn_status sn_safetensors_read(sn_source *source, const char *path, sn_error *error);
sn_status sn_torch_read(sn_source *source, const char *path, sn_error *error);

#endif
