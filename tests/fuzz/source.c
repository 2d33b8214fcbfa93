/* Checkpoints of every format: opened, verified, and every tensor of sensible size read. */
#include "fuzz/fuzz.h"

#include "weights/gguf.h"
#include "weights/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_source *source;
    sn_error error = {0};
    if (sn_source_open(path_of(bytes, size), &source, &error)) return 0;
    sn_arena *arena = sn_arena_new();
    for (size_t i = 0; i < source->count; i++) {
        sn_weight weight = {0};
        if (source->tensors[i].bytes > 1 << 20) continue;
        if (!sn_source_weight(source, &source->tensors[i], arena, &weight, &error) && !sn_weight_ready(&weight, &error)) sn_weight_floats(&weight);
        sn_weight_release(&weight);
    }
    for (size_t i = 0; source->gguf && i < source->gguf->count; i++) json_decref(sn_gguf_json(&source->gguf->values[i]));
    sn_source_verify(source, &error);
    sn_arena_free(arena);
    sn_source_close(source);
    return 0;
}
