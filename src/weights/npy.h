/* Arrays as numpy writes them. */
#ifndef SN_WEIGHTS_NPY_H
#define SN_WEIGHTS_NPY_H

#include "tensor/graph.h"

/* What the header says. A scalar () is read as [1]: every array here has an axis. */
typedef struct sn_npy {
    sn_type type;
    sn_shape shape;
    bool swapped, fortran; /* big-endian; column-major */
    int64_t begin, bytes;  /* of the data, from the beginning of the file */
} sn_npy;

enum { SN_NPY_MAX_HEADER = 1 << 16 }; /* bytes in which a header must end */

/* Reads the header from the first `size` bytes. `where` names the array in errors. */
sn_status sn_npy_header(const char *where, const unsigned char *bytes, size_t size, sn_npy *out, sn_error *error);

#endif
