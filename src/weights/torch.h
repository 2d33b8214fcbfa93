/* What PyTorch's two file forms share: from an unpickled value to named tensors. */
#ifndef SN_WEIGHTS_TORCH_H
#define SN_WEIGHTS_TORCH_H

#include "weights/pickle.h"
#include "weights/source.h"

/* Where the bytes of a storage are: in the mapped file, or in an archive's entry (data NULL where it is deflated). */
typedef struct sn_torch_storage {
    const unsigned char *data;
    int64_t bytes;
    const struct sn_zip *zip;
    const struct sn_zip_entry *entry;
} sn_torch_storage;

typedef struct sn_torch_reader sn_torch_reader;
struct sn_torch_reader {
    sn_source *source;
    const char *path;
    sn_error *error;
    bool (*find)(const sn_torch_reader *r, const char *key, sn_torch_storage *out);
    const void *context;
    int64_t visits; /* of values, so far: containers can contain themselves */
};

/* Adds the tensors of a state dict, of the dict that wraps one, or of a TorchScript module; scalars beside them
 * become notes. */
sn_status sn_torch_add(sn_torch_reader *r, const sn_value *top);

#endif
