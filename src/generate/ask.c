/* One prompt, one run, the hidden state at its end. */
#include "generate/ask.h"

#include "generate/answer.h"
#include "generate/lm_session.h"

static sn_status encode_pictures(sn_model *m, const sn_prompt *prompt, const sn_image_options *options, float **rows, sn_error *error) {
    float *pixels = NULL;
    if (!prompt->num_media) return SN_OK;
    sn_status status = sn_load_pictures(m, prompt->media, prompt->num_media, options, &pixels, error);
    if (!status && !(*rows = sn_alloc((size_t)(prompt->num_media * m->media_positions), (size_t)m->lm.hidden_size * sizeof **rows))) status = sn_fail_memory(error);
    if (!status) status = sn_model_encode(m, pixels, prompt->num_media, NULL, *rows, error);
    sn_free(pixels);
    return status;
}

static sn_status ask_prompt(sn_model *m, sn_prompt *prompt, const float *rows, float *vector, sn_error *error) {
    sn_lm_session session = {0};
    sn_sequence sequence = {0};
    sn_lm_row row = {.sequence = &sequence, .ids = prompt->ids.data, .count = (int64_t)prompt->ids.count, .media = rows};
    sn_status status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, error);
    if (status) return status;
    status = sn_lm_extend_query(&session, &row, 1, false, vector, error);
    sn_sequence_free(&session, &sequence);
    sn_lm_session_close(&session);
    return status;
}

sn_status sn_ask_for_picture(sn_model *m, const sn_request *request, const sn_image_options *pictures, const float *rows, float *vector, sn_error *error) {
    sn_prompt prompt = {0};
    float *encoded = NULL;
    sn_status status = m->system->prompt(m, request, &prompt, error);
    bool asks = !status && prompt.ids.count && prompt.ids.data[prompt.ids.count - 1] == m->query_id;
    if (!status && !asks && !sn_ids_add(&prompt.ids, m->query_id)) status = sn_fail_memory(error);
    if (!status) status = sn_check_prompt_length(m, &prompt, error);
    if (!status && !rows) status = encode_pictures(m, &prompt, pictures, &encoded, error);
    if (!status) status = ask_prompt(m, &prompt, rows ? rows : encoded, vector, error);
    sn_prompt_free(&prompt);
    sn_free(encoded);
    return status;
}

sn_status sn_ask_in_words(sn_model *m, const char *text, float *vector, sn_error *error) {
    sn_content content = {.text = text};
    return sn_ask_for_picture(m, &(sn_request){.prompt = &content, .num_prompt = 1}, NULL, NULL, vector, error);
}
