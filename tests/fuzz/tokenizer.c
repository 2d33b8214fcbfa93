/* tokenizer.model, tokenizer.json and the other files of vocabularies: opened, then used on a short text. */
#include "fuzz/fuzz.h"

#include "text/tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char text[] = "Hello,  wörld <s> 猫 123\n\tx";
    sn_error error = {0};
    sn_tokenizer *tokenizer;
    if (sn_tokenizer_open(path_of(bytes, size), true, &tokenizer, &error)) return 0;
    sn_ids ids = {0};
    sn_buf decoded = {0};
    if (!sn_tokenizer_encode(tokenizer, text, strlen(text), NULL, SN_ENCODE_SPECIAL_ENDS, &ids, &error))
        sn_tokenizer_decode(tokenizer, ids.data, ids.count, false, &decoded);
    sn_buf_free(&decoded);
    sn_ids_free(&ids);
    sn_tokenizer_close(tokenizer);
    return 0;
}
