/* Writing safetensors (what transformers reads), PyTorch archives, npy and GGUF. Every file is written aside and
 * renamed: a file that is there is whole. */
#ifndef SN_WEIGHTS_WRITER_H
#define SN_WEIGHTS_WRITER_H

#include "tensor/weight.h"
#include "weights/gguf.h"

typedef struct sn_tensor_out {
    const char *name;
    sn_type type;
    sn_shape shape;
    const void *data; /* row-major */
} sn_tensor_out;

sn_status sn_safetensors_write(const char *path, const sn_tensor_out *tensors, size_t count, sn_error *error);
/* The same for tensors that need not be in memory together: those without data are asked for when their turn comes; what is
 * given (NULL = an error) is looked at until the next is asked for. */
typedef const void *sn_tensor_give(void *context, size_t index, sn_error *error);
sn_status sn_safetensors_write_given(const char *path, const sn_tensor_out *tensors, size_t count, sn_tensor_give *give, void *context, sn_error *error);

/* The same as PyTorch's zip archive of a dictionary (torch.save), for tools that read nothing else; the dictionary lies
 * under the key `inside` of another one, or is the whole where that is NULL. */
sn_status sn_torch_write(const char *path, const char *inside, const sn_tensor_out *tensors, size_t count, sn_error *error);

/* One array, version 1.0; the name plays no part. bf16 and blocks have no npy type: SN_ERROR_SUPPORT. */
sn_status sn_npy_write(const char *path, const sn_tensor_out *tensor, sn_error *error);

/* A key-value of a GGUF file. Numbers point at values of the type as C has them (u32: uint32_t, bool: bool), strings at
 * an array of const char *. A scalar is count 1 without is_array. */
typedef struct sn_gguf_pair {
    const char *key;
    sn_gguf_type type; /* not SN_GGUF_ARRAY */
    bool is_array;
    size_t count;
    const void *values;
} sn_gguf_pair;

/* A weight on its way to a file: converted row by row to `type`, so that a model larger than memory can be written.
 * Weights of `type` already are copied as they are; others need its from_float. */
typedef struct sn_gguf_tensor {
    const char *name;
    sn_type type;
    sn_weight *weight;
} sn_gguf_tensor;

/* Version 3, aligned to 32; general.architecture and what else a reader expects are the caller's to give. */
sn_status sn_gguf_write(const char *path, const sn_gguf_pair *pairs, size_t num_pairs, const sn_gguf_tensor *tensors, size_t num_tensors, sn_error *error);
/* The same; told(context, …) hears how many bytes of tensors were written, row by row. */
typedef void sn_gguf_told(void *context, int64_t bytes);
sn_status sn_gguf_write_told(const char *path, const sn_gguf_pair *pairs, size_t num_pairs, const sn_gguf_tensor *tensors, size_t num_tensors, sn_gguf_told *told, void *context, sn_error *error);

#endif
