/* The vocabulary inside a GGUF file, and what is made of it. */
#include "fuzz/fuzz.h"

#include "systems/gguf_vocabulary.h"
#include "text/arrays.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char text[] = "Hello,  w\xc3\xb6rld <s> \xe7\x8c\xab 123\n\tx";
    sn_tokenizer *tokenizer;
    sn_error error = {0};
    if (size < 4 || memcmp(bytes, "GGUF", 4) != 0 || sn_open_any_tokenizer(path_of(bytes, size), false, &tokenizer, &error)) return 0;
    sn_ids ids = {0};
    sn_buf decoded = {0};
    if (!sn_tokenizer_encode(tokenizer, text, strlen(text), NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error)) sn_tokenizer_decode(tokenizer, ids.data, ids.count, false, &decoded);
    sn_arena *arena = sn_arena_new();
    sn_vocabulary_arrays arrays;
    sn_tokenizer_arrays(tokenizer, arena, &arrays);
    sn_arena_free(arena);
    sn_buf_free(&decoded);
    sn_ids_free(&ids);
    sn_tokenizer_close(tokenizer);
    return 0;
}
