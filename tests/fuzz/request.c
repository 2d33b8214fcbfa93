/* Requests as JSON: messages or prompt, paths, options. */
#include "fuzz/fuzz.h"

#include "cli/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    json_t *object;
    sn_request request;
    sn_model_files files;
    sn_generate_options options = sn_generate_defaults();
    if (sn_json_bytes("fuzz", (const char *)bytes, size, &object, &error)) return 0;
    sn_arena *arena = sn_arena_new();
    sn_request_read("fuzz", object, "/folder", arena, &request, &error);
    sn_request_files("fuzz", object, "/folder", arena, &files, &error);
    sn_request_options("fuzz", object, &options, &error);
    sn_arena_free(arena);
    json_decref(object);
    return 0;
}
