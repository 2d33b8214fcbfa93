/* Published galleries: what opens is read to its last row. */
#include "fuzz/fuzz.h"

#include "compute/rows.h"
#include "systems/fromage.h"

sn_rows_kernel sn_rows_kernel_cpu(void) { return (sn_rows_kernel){0}; } /* nothing is searched here */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    sn_finder finder;
    const sn_model model = {.lm.query_size = 24};
    char *path;
    if (sn_fromage_gallery(&model, path_of(bytes, size), &finder, &error)) return 0;
    float row[24];
    for (int64_t r = 0; r < finder.rows.rows; r += finder.rows.rows / 2 + 1) {
        sn_weight_row_floats(&finder.rows, r, row);
        if (!finder.path(&finder, r, &path, &error)) sn_free(path);
    }
    sn_finder_close(&finder);
    return 0;
}
