/* FROMAGe's training text: a caption and [RET], padded to one length, read twice: behind its picture, where the
 * caption is learnt, and alone, where [RET] is learnt and asks for the picture. */
#include "systems/fromage.h"

#include <string.h>

enum { IGNORED = -100 };

sn_status sn_fromage_caption(const sn_model *m, const char *caption, int64_t length, int32_t *ids, int64_t *count, sn_error *error) {
    sn_ids all = {0};
    int32_t pad = sn_tokenizer_find(m->tokenizer, "<pad>");
    char *text = sn_format("%s[RET]", caption);
    sn_status status = text && sn_ids_add(&all, sn_tokenizer_about(m->tokenizer)->bos) ? SN_OK : sn_fail_memory(error);
    if (!status && pad < 0) status = sn_fail(error, SN_ERROR_INPUT, "the tokenizer has no <pad>");
    if (!status) status = sn_tokenizer_encode(m->tokenizer, text, strlen(text), NULL, 0, &all, error);
    for (int64_t i = 0; i < length && !status; i++) ids[i] = i < (int64_t)all.count ? all.data[i] : pad;
    if (!status && ids[length - 1] != m->query_id && ids[length - 1] != pad) ids[length - 1] = m->query_id;
    *count = 0;
    for (int64_t i = 0; i < length && !status; i++) *count += ids[i] != pad;
    sn_ids_free(&all);
    sn_free(text);
    return status;
}

/* Where the caption ends: its first [RET] or pad. */
static int64_t learnt_until(const sn_model *m, const int32_t *ids, int64_t length, int64_t count) {
    int64_t n = 0;
    while (n < length && n < count && ids[n] != m->query_id) n++;
    return n;
}

void sn_fromage_row(const sn_model *m, const int32_t *const *captions, const int64_t *counts, int num, int64_t length, int64_t first_picture, int32_t *ids, int32_t *labels) {
    int64_t at = 0, k = m->media_positions;
    for (int pass = 0; pass < 2; pass++)
        for (int c = 0; c < num; c++) {
            int64_t cut = learnt_until(m, captions[c], length, counts[c]);
            for (int64_t i = 0; pass == 0 && i < k; i++, at++) ids[at] = (int32_t)(-1 - ((first_picture + c) * k + i)), labels[at] = IGNORED;
            for (int64_t i = pass ? cut : 0; i < (pass ? length : cut); i++, at++) ids[at] = captions[c][i], labels[at] = pass ? IGNORED : captions[c][i];
        }
}
