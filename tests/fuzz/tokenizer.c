/* The files of a tokenizer: opened together as a folder, then used on a short text.
 *
 * SN_FUZZ_FILES names the files of one kind (script/fuzz says which). An input holds their contents in that order, with a line
 * of two bytes FF between them (bytes that no text has); an empty part is a file that is not there. A part behind the last
 * file is the text. */
#include "fuzz/fuzz.h"

#include "base/utf8.h"
#include "text/tokenizer.h"

#include <string.h>

static const char *const files[] = {SN_FUZZ_FILES};
enum { NUM_FILES = sizeof files / sizeof *files };

static const char separator[] = "\n\xff\xff\n";
static char folder[64];

static void path_in_folder(const char *name, char path[160]) { snprintf(path, 160, "%s/%s", folder, name); }

static void remove_folder(void) {
    char path[160];
    for (int i = 0; i < NUM_FILES; i++) path_in_folder(files[i], path), unlink(path);
    rmdir(folder);
}

static void put_file(const char *name, const char *bytes, size_t size) {
    char path[160];
    path_in_folder(name, path);
    unlink(path);
    if (!size) return;
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) abort();
}

static void use(const sn_tokenizer *t, const char *text, size_t length) {
    sn_error error = {0};
    sn_ids ids = {0}, types = {0};
    sn_buf decoded = {0};
    if (!sn_tokenizer_encode(t, text, length, NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error)) sn_tokenizer_decode(t, ids.data, ids.count, false, &decoded);
    decoded.length = ids.count = 0;
    if (!sn_tokenizer_encode(t, text, length, NULL, SN_ENCODE_NO_SPECIAL | SN_ENCODE_STRIP_ADDED, &ids, &error)) sn_tokenizer_decode(t, ids.data, ids.count, true, &decoded);
    ids.count = 0;
    sn_tokenizer_encode_pair(t, text, length, "a b", 3, &ids, &types, &error);
    sn_buf_free(&decoded);
    sn_ids_free(&ids);
    sn_ids_free(&types);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const char *at = (const char *)bytes, *end = at + size, *text = "Hello,  w\xc3\xb6rld <s> \xe7\x8c\xab 123\n\tx";
    size_t length = strlen(text), bad;
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/sensorium-fuzz-XXXXXX");
        if (!mkdtemp(folder)) abort();
        atexit(remove_folder);
    }
    for (int i = 0; i < NUM_FILES; i++) {
        const char *stop = at < end ? memmem(at, (size_t)(end - at), separator, 4) : NULL;
        put_file(files[i], at, (size_t)((stop ? stop : end) - at));
        at = stop ? stop + 4 : end;
    }
    if (at < end && end - at < 4096 && sn_utf8_valid(at, (size_t)(end - at), &bad)) text = at, length = (size_t)(end - at);
    sn_error error = {0};
    sn_tokenizer *tokenizer;
    if (sn_tokenizer_open(folder, true, &tokenizer, &error)) return 0;
    use(tokenizer, text, length);
    sn_tokenizer_close(tokenizer);
    return 0;
}
