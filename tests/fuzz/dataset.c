/* Training data: the first byte chooses the form among SN_FUZZ_FORMS, the rest is the file. Shards get the checksums that
 * their headers should have, unless the first byte is odd: nothing else would be read of most of them. */
#include "fuzz/fuzz.h"

#include "data/dataset.h"

#include <string.h>

static void mend_checksums(char *bytes, size_t size) {
    enum { BLOCK = 512, MAGIC = 257, CHECKSUM = 148 };
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK) {
        unsigned sum = 0;
        if (memcmp(bytes + at + MAGIC, "ustar", 5) != 0) continue;
        memset(bytes + at + CHECKSUM, ' ', 8);
        for (size_t i = 0; i < BLOCK; i++) sum += (unsigned char)bytes[at + i];
        snprintf(bytes + at + CHECKSUM, 7, "%06o", sum);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const ends[] = {SN_FUZZ_FORMS};
    static char folder[64];
    if (!size) return 0;
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/sensorium-fuzz-XXXXXX");
        if (!mkdtemp(folder)) abort();
    }
    char path[96], *copy = malloc(size);
    const char *end = ends[bytes[0] % (sizeof ends / sizeof *ends)];
    if (!copy) abort();
    memcpy(copy, bytes + 1, size - 1);
    if (strcmp(end, ".tar") == 0 && bytes[0] % 2 == 0) mend_checksums(copy, size - 1);
    snprintf(path, sizeof path, "%s/data%s", folder, end);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(copy, 1, size - 1, file) != size - 1 || fclose(file)) abort();
    free(copy);
    sn_dataset *dataset;
    sn_error error = {0};
    if (!sn_dataset_open(path, NULL, &dataset, &error)) {
        size_t count = sn_dataset_count(dataset);
        for (size_t i = 0; i < count && i < 1000; i++) {
            sn_record record;
            if (sn_dataset_read(dataset, sn_shuffled(1, 2, i, count), i % 4 != 3, &record, &error)) continue;
            if (!json_is_object(record.object) || !sn_dataset_images(dataset)) abort();
            sn_record_free(&record);
        }
        sn_dataset_close(dataset);
    }
    unlink(path);
    return 0;
}
