/* Choice of kernels at run time. */
#include "compute/cpu/backend.h"

const sn_backend *sn_backend_cpu(void) { return sn_backend_reference(); }
