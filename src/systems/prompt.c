/* Joining text and media. */
#include "systems/prompt.h"

#include <string.h>

void sn_prompt_free(sn_prompt *prompt) {
    sn_ids_free(&prompt->ids);
    *prompt = (sn_prompt){0};
}

void sn_prompt_text_free(sn_prompt_text *p) {
    sn_buf_free(&p->text);
    sn_buf_free(&p->literal);
}

void sn_prompt_text_add(sn_prompt_text *p, const char *text, bool literal) {
    size_t before = p->text.length;
    sn_buf_puts(&p->text, text);
    for (size_t i = before; i < p->text.length; i++) sn_buf_add(&p->literal, &(char){literal}, 1);
}

void sn_prompt_text_media(sn_prompt_text *p, const char *path) {
    if (p->num_media == SN_MAX_MEDIA) {
        p->overflow = true;
        return;
    }
    p->media[p->num_media].at = p->text.length;
    p->media[p->num_media++].path = path;
}

sn_status sn_prompt_encode(const sn_prompt_text *p, const sn_tokenizer *tokenizer, int64_t positions, sn_prompt *out, sn_error *error) {
    *out = (sn_prompt){0};
    if (p->overflow) return sn_fail(error, SN_ERROR_INPUT, "more than %d pictures in one conversation", SN_MAX_MEDIA);
    if (p->text.failed || p->literal.failed) return sn_fail_memory(error);
    const sn_tokenizer_info *info = sn_tokenizer_about(tokenizer);
    sn_status status = SN_OK;
    if (info->add_bos && info->bos >= 0 && !sn_ids_add(&out->ids, info->bos)) status = sn_fail_memory(error);
    size_t from = 0;
    int32_t row = 0;
    for (int m = 0; m <= p->num_media && !status; m++) {
        size_t end = m < p->num_media ? p->media[m].at : p->text.length;
        if (end > from)
            status = sn_tokenizer_encode(tokenizer, p->text.data + from, end - from, (unsigned char *)p->literal.data + from, m > 0 && p->one_text ? SN_ENCODE_CONTINUES : 0, &out->ids, error);
        from = end;
        for (int64_t i = 0; m < p->num_media && i < positions && !status; i++)
            if (!sn_ids_add(&out->ids, -1 - row++)) status = sn_fail_memory(error);
        if (m < p->num_media) out->media[out->num_media++] = p->media[m].path;
    }
    if (status) sn_prompt_free(out);
    return status;
}
