/* Training data: the first byte chooses the form (a JSON list, JSON lines, tab-separated captions), the rest is the file. */
#include "fuzz/fuzz.h"

#include "data/dataset.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const ends[] = {"", ".jsonl", ".tsv"};
    static char folder[64];
    if (!size) return 0;
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/sensorium-fuzz-XXXXXX");
        if (!mkdtemp(folder)) abort();
    }
    char path[96];
    snprintf(path, sizeof path, "%s/data%s", folder, ends[bytes[0] % 3]);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes + 1, 1, size - 1, file) != size - 1 || fclose(file)) abort();
    sn_dataset *dataset;
    sn_error error = {0};
    if (!sn_dataset_open(path, NULL, &dataset, &error)) {
        size_t count = sn_dataset_count(dataset);
        for (size_t i = 0; i < count; i++)
            if (!sn_dataset_sample(dataset, sn_shuffled(1, 2, i, count)) || !sn_dataset_images(dataset)) abort();
        sn_dataset_close(dataset);
    }
    unlink(path);
    return 0;
}
