/* A file of vectors: what opens is read to its last row. */
#include "fuzz/fuzz.h"

#include "vectors/file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    sn_vectors vectors;
    sn_weight rows;
    if (sn_vectors_open(path_of(bytes, size), false, &vectors, &error)) return 0;
    if (!sn_vectors_map(&vectors, &rows, &error) && rows.rows > 0) {
        float *row = malloc((size_t)rows.columns * sizeof *row);
        sn_weight_row_floats(&rows, 0, row);
        sn_weight_row_floats(&rows, rows.rows - 1, row);
        free(row);
    }
    sn_vectors_close(&vectors);
    return 0;
}
