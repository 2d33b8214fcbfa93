/* The file of an evaluation that goes on: its lines are read, one is added, and what was read is still there when the file
 * is opened again. */
#include "fuzz/fuzz.h"

#include "eval/results.h"

static sn_results *open_results(const char *path) {
    json_t *identity = json_pack("{s:i, s:s}", "results", 1, "task", "recall");
    sn_results *results;
    sn_error error = {0};
    sn_status status = sn_results_open(path, identity, &results, &error);
    json_decref(identity);
    return status ? NULL : results;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static char path[64];
    sn_error error = {0};
    float vector[3];
    if (!path[0]) {
        snprintf(path, sizeof path, "/dev/shm/sensorium-fuzz-XXXXXX");
        int fd = mkstemp(path);
        if (fd < 0) abort();
        close(fd);
    }
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) abort();
    sn_results *results = open_results(path);
    if (!results) return 0;
    int64_t count = sn_results_resumed(results);
    const json_t *item = sn_results_find(results, "a");
    sn_vector_read(json_object_get(item, "vector"), 3, vector);
    bool added = !item && !sn_results_add(results, "a", json_pack("{s:o}", "vector", sn_vector_json((const float[]){1, 2, 3}, 3)), &error);
    sn_results_close(results);
    results = open_results(path);
    if (!results || sn_results_resumed(results) != count + added) abort();
    sn_results_close(results);
    return 0;
}
