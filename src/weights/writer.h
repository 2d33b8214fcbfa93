/* Writing safetensors (formats.md 1, "Writing"): what transformers reads. */
#ifndef SN_WEIGHTS_WRITER_H
#define SN_WEIGHTS_WRITER_H

#include "tensor/graph.h"

typedef struct sn_tensor_out {
    const char *name;
    sn_type type;
    sn_shape shape;
    const void *data; /* row-major */
} sn_tensor_out;

/* Written aside and renamed: a file that is there is whole. */
sn_status sn_safetensors_write(const char *path, const sn_tensor_out *tensors, size_t count, sn_error *error);

/* The same as PyTorch's zip archive of a dictionary (torch.save), for tools that read nothing else. */
sn_status sn_torch_write(const char *path, const sn_tensor_out *tensors, size_t count, sn_error *error);

#endif
