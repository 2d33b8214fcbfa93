/* Checkpoints as sources of named tensors.
 *
 * Whatever the format, opening a source reads only its directory: names, types, shapes, and where the bytes
 * lie. The data stay in the mapped file until somebody uses them. */
#ifndef SN_WEIGHTS_SOURCE_H
#define SN_WEIGHTS_SOURCE_H

#include "base/file.h"
#include "base/map.h"
#include "tensor/weight.h"

struct sn_zip;
struct sn_zip_entry;
struct sn_gguf;

typedef struct sn_source_tensor {
    const char *name; /* UTF-8, not empty, unique in its source */
    sn_type type;
    sn_shape shape;
    int64_t stride[SN_MAX_RANK]; /* in elements */
    bool contiguous, swapped;    /* swapped: big-endian */
    const unsigned char *data;   /* first element, in the mapped file; NULL: `entry` must be inflated first */
    int64_t bytes;               /* of the elements, shape times type */
    const char *file;
    /* archives: the entry that holds the tensor, and the place of its first element in the (inflated) entry */
    const struct sn_zip *zip;
    const struct sn_zip_entry *entry;
    int64_t offset;
    int64_t storage; /* bytes of the storage that a strided tensor is a view of */
} sn_source_tensor;

/* What a file holds beside tensors, for a person to see: "epoch" "3". */
typedef struct sn_source_note {
    const char *name, *text;
} sn_source_note;

typedef struct sn_source {
    const char *path;
    const char *format; /* "safetensors", "PyTorch", "GGUF", … */
    const char *key;    /* wanted by the caller: the dictionary inside a PyTorch file; NULL = found out */
    sn_arena *arena;
    sn_source_tensor *tensors;
    size_t count, capacity;
    sn_map *index;
    sn_mapping *files;
    size_t num_files, file_capacity;
    struct sn_zip **zips;
    size_t num_zips, zip_capacity;
    struct sn_gguf *gguf; /* key-values of a GGUF file (weights/gguf.h), else NULL */
    sn_source_note *notes;
    size_t num_notes, note_capacity;
    const char **warnings;
    size_t num_warnings, warning_capacity;
} sn_source;

/* Opens a file (safetensors, PyTorch's zip archives and older streams, GGUF, npy, npz), or a folder's weights in the
 * order of transformers (model.safetensors, its index, pytorch_model.bin, its index, one other file). A Git LFS
 * pointer, an unfinished download and folders of sharded training are recognised and named. */
sn_status sn_source_open(const char *path, sn_source **out, sn_error *error);

/* The same; `key` names the dictionary of tensors inside a PyTorch file that wraps several (NULL = the first of the
 * usual names that has tensors). */
sn_status sn_source_open_at(const char *path, const char *key, sn_source **out, sn_error *error);
void sn_source_close(sn_source *source);

const sn_source_tensor *sn_source_find(const sn_source *source, const char *name);

/* Whether a tensor can be a parameter: floating-point numbers, and not none of them. */
sn_status sn_source_check(const sn_source_tensor *tensor, sn_error *error);

/* A weight over the tensor: a view where the data are contiguous and in the file, otherwise derived. `arena`
 * keeps the recipe. */
sn_status sn_source_weight(sn_source *source, const sn_source_tensor *tensor, sn_arena *arena, sn_weight *out, sn_error *error);

/* The tensor's elements in row-major order and in its type, into `to`, which holds tensor->bytes. The CRC of what was
 * read from an archive is checked. A view that repeats its elements far beyond its storage is refused. */
sn_status sn_source_copy(const sn_source_tensor *tensor, void *to, sn_error *error);

/* Checks everything that opening leaves for later (CRC of every archive entry). */
sn_status sn_source_verify(const sn_source *source, sn_error *error);

/* ---- for the readers of one format ---- */
sn_status sn_source_add(sn_source *source, const sn_source_tensor *tensor, sn_error *error);
sn_status sn_source_map(sn_source *source, const char *path, sn_mapping *out, sn_error *error);
void sn_source_warn(sn_source *source, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The strings are copied; those beyond the first thousand are dropped. */
void sn_source_remark(sn_source *source, const char *name, const char *text);
sn_status sn_safetensors_read(sn_source *source, const char *path, sn_error *error);
sn_status sn_torch_read(sn_source *source, const char *path, const struct sn_zip *zip, sn_error *error);
sn_status sn_torch_read_legacy(sn_source *source, const char *path, sn_error *error);
sn_status sn_gguf_read(sn_source *source, const char *path, sn_error *error);
sn_status sn_npy_read(sn_source *source, const char *path, sn_error *error);
sn_status sn_npz_read(sn_source *source, const char *path, const struct sn_zip *zip, sn_error *error);

#endif
