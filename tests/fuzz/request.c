/* Requests as JSON: messages or prompt, paths, data URLs, options. */
#include "fuzz/fuzz.h"

#include "cli/request.h"
#include "media/data_url.h"

static void read_urls(const sn_content *content, int count) {
    for (int i = 0; i < count; i++) {
        sn_error error = {0};
        unsigned char *data;
        size_t size;
        if (content[i].is_media && sn_is_data_url(content[i].text) && !sn_data_url_read(content[i].text, 1 << 16, &data, &size, &error)) sn_free(data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    json_t *object;
    sn_request request;
    sn_model_files files;
    sn_generate_options options = sn_generate_defaults();
    if (sn_json_bytes("fuzz", (const char *)bytes, size, &object, &error)) return 0;
    sn_arena *arena = sn_arena_new();
    if (!sn_request_read("fuzz", object, "/folder", arena, &request, &error)) {
        read_urls(request.prompt, request.num_prompt);
        for (int i = 0; i < request.num_messages; i++) read_urls(request.messages[i].content, request.messages[i].count);
    }
    sn_request_files("fuzz", object, "/folder", arena, &files, &error);
    sn_request_options("fuzz", object, &options, &error);
    sn_arena_free(arena);
    json_decref(object);
    return 0;
}
