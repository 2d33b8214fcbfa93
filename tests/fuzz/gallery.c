/* A gallery of somebody else's: what opens is checked, searched, listed and compacted. The input is the length of the database
 * (two bytes, in units of 16), the database, the vector file. */
#include "fuzz/fuzz.h"

#include "compute/rows.h"
#include "gallery/gallery.h"
#include "vectors/file.h"

#include <string.h>

static void product(const sn_weight *rows, const float *queries, int64_t count, float *scores, void *scratch) {
    float *row = scratch;
    for (int64_t r = 0; r < rows->rows; r++) {
        sn_weight_row_floats(rows, r, row);
        for (int64_t q = 0; q < count; q++) {
            float sum = 0;
            for (int64_t k = 0; k < rows->columns; k++) sum += queries[q * rows->columns + k] * row[k];
            scores[q * rows->rows + r] = sum;
        }
    }
}
static size_t scratch(int64_t queries, int64_t width) { return (size_t)width * sizeof(float); }
sn_rows_kernel sn_rows_kernel_cpu(void) { return (sn_rows_kernel){product, scratch}; } /* the kernels have tests of their own */

static char folder[] = "/dev/shm/sn-fuzz-XXXXXX";

static void put(const char *name, const uint8_t *bytes, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, size, out) != size || fclose(out) != 0) abort();
}

static void each(void *context, const char *path, const char *reason) { *(size_t *)context += strlen(path) + strlen(reason); }

static void use(sn_gallery *gallery, sn_error *error) {
    static float query[SN_MAX_VECTOR_WIDTH];
    const sn_fingerprint fingerprint = {.hash = "0", .form = "form", .width = 4, .sample = {.data = (char[]){"00"}}};
    sn_found found;
    bool rounded;
    size_t length = 0;
    query[0] = 1;
    for (int all = 0; all < 2; all++)
        if (!sn_gallery_search(gallery, query, 5, -1, all, &found, error)) sn_found_free(&found);
    sn_gallery_check(gallery, &fingerprint, &rounded, error);
    sn_gallery_pictures(gallery);
    sn_gallery_failed(gallery, each, &length, error);
    sn_free(sn_gallery_note(gallery, "files"));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const beside[] = {"g.db-wal", "g.db-shm", "g.db-journal", "g.vec.new"};
    sn_error error = {0};
    sn_gallery *gallery;
    char path[64];
    int64_t freed;
    if (size < 2) return 0;
    if (strchr(folder, 'X') && !mkdtemp(folder)) abort();
    size_t database = 16 * (size_t)(bytes[0] | bytes[1] << 8);
    if (database > size - 2) database = size - 2;
    put("g.db", bytes + 2, database);
    put("g.vec", bytes + 2 + database, size - 2 - database);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, beside[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/g.db", folder);
    if (!sn_gallery_open(path, false, &gallery, &error)) {
        use(gallery, &error);
        sn_gallery_close(gallery);
    }
    if (!sn_gallery_open(path, true, &gallery, &error)) {
        sn_gallery_compact(gallery, &freed, &error);
        use(gallery, &error);
        sn_gallery_close(gallery);
    }
    return 0;
}
