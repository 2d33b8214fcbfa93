/* The model of a gallery, and what a language model asks for. */
#include "cli/gallery.h"

#include "cli/common.h"
#include "generate/answer.h"
#include "generate/lm_session.h"

#include <stdio.h>

static sn_status encode_pictures(sn_model *m, const sn_prompt *prompt, const sn_image_options *options, float **rows, sn_error *error) {
    float *pixels = NULL;
    if (!prompt->num_media) return SN_OK;
    sn_status status = sn_load_pictures(m, prompt->media, prompt->num_media, options, &pixels, error);
    if (!status && !(*rows = sn_alloc((size_t)(prompt->num_media * m->media_positions), (size_t)m->lm.hidden_size * sizeof **rows))) status = sn_fail_memory(error);
    if (!status) status = sn_model_encode(m, pixels, prompt->num_media, NULL, *rows, error);
    sn_free(pixels);
    return status;
}

sn_status sn_ask_dialogue(sn_model *m, const sn_request *request, const sn_image_options *pictures, float *vector, sn_error *error) {
    sn_prompt prompt = {0};
    sn_lm_session session = {0};
    sn_sequence sequence = {0};
    float *rows = NULL;
    sn_status status = m->system->prompt(m, request, &prompt, error);
    bool asks = !status && prompt.ids.count && prompt.ids.data[prompt.ids.count - 1] == m->query_id;
    if (!status && !asks && !sn_ids_add(&prompt.ids, m->query_id)) status = sn_fail_memory(error);
    if (!status) status = sn_check_prompt_length(m, &prompt, error);
    if (!status) status = encode_pictures(m, &prompt, pictures, &rows, error);
    if (!status && !(status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, error))) {
        sn_lm_row row = {.sequence = &sequence, .ids = prompt.ids.data, .count = (int64_t)prompt.ids.count, .media = rows};
        status = sn_lm_extend_query(&session, &row, 1, false, vector, error);
        sn_sequence_free(&session, &sequence);
        sn_lm_session_close(&session);
    }
    sn_prompt_free(&prompt);
    sn_free(rows);
    return status;
}

static sn_status ask_in_words(sn_model *m, const char *text, float *vector, sn_error *error) {
    sn_content content = {.text = text};
    sn_request request = {.prompt = &content, .num_prompt = 1};
    return sn_ask_dialogue(m, &request, NULL, vector, error);
}

sn_status sn_gallery_open_model(const sn_arguments *a, sn_gallery *gallery, const sn_model_files *files, sn_gallery_opened *out, sn_error *error) {
    sn_model *model = NULL;
    sn_image_options pictures;
    int threads = 0;
    *out = (sn_gallery_opened){0};
    sn_status status = sn_arguments_pictures(a, &pictures, error);
    if (!status && gallery) {
        sn_image_options kept = sn_gallery_pictures(gallery);
        if (!sn_argument_given(a, "exif")) pictures.exif_apply = kept.exif_apply;
        if (!sn_argument_given(a, "alpha")) pictures.alpha_white = kept.alpha_white;
    }
    if (!status) status = sn_arguments_threads(a, &threads, error);
    if (!status) status = sn_engine_new(threads, &out->engine, error);
    if (!status) status = sn_model_open(out->engine, files, &model, error);
    if (!status) status = sn_gallery_model_of(model, &pictures, &out->vectors, error);
    out->vectors.model = model;
    if (!status && !out->vectors.text && model->lm.query && model->system->prompt) out->vectors.text = ask_in_words;
    return status ? status : sn_fingerprint_of(model, &pictures, &out->fingerprint, error);
}

void sn_gallery_close_model(sn_gallery_opened *o) {
    sn_fingerprint_free(&o->fingerprint);
    sn_model_close(o->vectors.model);
    sn_engine_free(o->engine);
}

void sn_gallery_warn_rounded(const char *path) {
    fprintf(stderr, "sensorium: warning: %s was made by this model with its weights in another type: scores differ by rounding\n", path);
}
