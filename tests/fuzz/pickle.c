/* The restricted unpickler alone, without a checksum in its way. It begins at the first PROTO opcode, so that whole .pth
 * files serve as seeds. */
#include "fuzz/fuzz.h"

#include "weights/pickle.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    sn_error error = {0};
    sn_pickle pickle;
    const uint8_t *begin = memchr(bytes, 0x80, size);
    if (!begin) return 0;
    sn_arena *arena = sn_arena_new();
    if (!sn_pickle_read("fuzz", begin, size - (size_t)(begin - bytes), arena, &pickle, &error)) sn_value_get(pickle.top, "model");
    sn_arena_free(arena);
    return 0;
}
