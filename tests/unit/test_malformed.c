/* Files made by hand to break readers: each is refused by name and reason, or read where it is sound. */
#include "unit/check.h"
#include "unit/limits.h"

#include "base/json.h"
#include "base/memory.h"
#include "weights/source.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder;

static char *in_case(const char *name) { return sn_format("%s/components/formats/malformed/%s", folder, name); }

/* Opens a file and reads every tensor in it. */
static sn_status read_all(const char *path, sn_error *error) {
    sn_source *source;
    sn_status status = sn_source_open(path, &source, error);
    if (status) return status;
    for (size_t i = 0; i < source->count && !status; i++) {
        void *values = sn_alloc((size_t)source->tensors[i].bytes + 1, 1);
        status = values ? sn_source_copy(&source->tensors[i], values, error) : sn_fail_memory(error);
        sn_free(values);
    }
    if (!status) status = sn_source_verify(source, error);
    sn_source_close(source);
    return status;
}

static void test_every_file_of_the_list(void **state) {
    char *list = in_case("manifest.json");
    json_error_t why;
    json_t *manifest = json_load_file(list, 0, &why), *entry;
    size_t i;
    assert_true(json_array_size(manifest) > 40);
    json_array_foreach(manifest, i, entry) {
        const char *name = sn_json_string(entry, "file"), *base = strrchr(name, '/') + 1;
        char *path = in_case(name);
        sn_error error = {0};
        sn_status status = read_all(path, &error);
        if (strcmp(sn_json_string(entry, "expect"), "load") == 0) {
            if (status) fail_msg("%s is sound, but: %s", name, error.message);
        } else {
            if (!status) fail_msg("%s was read: %s", name, sn_json_string(entry, "wrong"));
            if (!strstr(error.message, base)) fail_msg("%s: the message does not name it: %s", name, error.message);
            if (status == SN_ERROR_MEMORY) fail_msg("%s: only memory stopped it: %s", name, error.message);
        }
        sn_free(path);
    }
    json_decref(manifest);
    sn_free(list);
    assert_int_not_equal(access("PWNED", F_OK), 0); /* what the pickles that call os.system would make */
}

int main(void) {
    folder = getenv("SN_GOLDENS");
    limit_address_space((rlim_t)1 << 30);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_file_of_the_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
