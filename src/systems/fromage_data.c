/* FROMAGe's training text: a caption and [RET], padded to one length, read twice: behind its picture, where the
 * caption is learnt, and alone, where [RET] is learnt and asks for the picture. */
#include "systems/fromage.h"

#include "base/json.h"

#include <string.h>

enum { IGNORED = -100 };

sn_status sn_fromage_words(const sn_model *m, const char *caption, sn_ids *ids, sn_error *error) {
    char *text = sn_format("%s[RET]", caption);
    sn_status status = text && sn_ids_add(ids, sn_tokenizer_about(m->tokenizer)->bos) ? SN_OK : sn_fail_memory(error);
    if (!status && sn_tokenizer_find(m->tokenizer, "<pad>") < 0) status = sn_fail(error, SN_ERROR_INPUT, "the tokenizer has no <pad>");
    if (!status) status = sn_tokenizer_encode(m->tokenizer, text, strlen(text), NULL, 0, ids, error);
    sn_free(text);
    return status;
}

/* The answer of the one turn is the caption; what was asked is not read. */
sn_status sn_fromage_sample(const sn_model *m, const char *conversation, const json_t *sample, sn_sample *out, sn_error *error) {
    const json_t *turns = sn_json_at(sample, "conversations"), *answer = json_array_get(turns, 1);
    const char *id = sn_json_string(sample, "id"), *caption = sn_json_string(answer, "value"), *image = sn_json_string(sample, "image");
    *out = (sn_sample){0};
    if (!id) id = "(without id)";
    if (conversation && strcmp(conversation, "caption") != 0) return sn_fail(error, SN_ERROR_USAGE, "template: found %s; FROMAGe learns captions, which have none", conversation);
    if (json_array_size(turns) != 2 || !caption || !caption[0] || !image) return sn_fail(error, SN_ERROR_INPUT, "sample %s: expected a picture (image) and its caption: one turn of conversations, or image and caption", id);
    sn_status status = sn_fromage_words(m, caption, &out->ids, error);
    for (size_t i = 0; i < out->ids.count && !status; i++)
        if (!sn_ids_add(&out->labels, out->ids.data[i])) status = sn_fail_memory(error);
    out->media[out->num_media++] = image;
    if (status) sn_ids_free(&out->ids), sn_ids_free(&out->labels);
    return status;
}

int64_t sn_fromage_pad(const sn_model *m, const sn_ids *words, int64_t length, int32_t *ids) {
    int32_t pad = sn_tokenizer_find(m->tokenizer, "<pad>");
    int64_t count = 0;
    for (int64_t i = 0; i < length; i++) ids[i] = i < (int64_t)words->count ? words->data[i] : pad;
    if (ids[length - 1] != m->query_id && ids[length - 1] != pad) ids[length - 1] = m->query_id;
    for (int64_t i = 0; i < length; i++) count += ids[i] != pad;
    return count;
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
