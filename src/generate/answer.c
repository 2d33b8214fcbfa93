/* From a prompt to a text. */
#include "generate/answer.h"

#include "runtime/trace.h"

#include <ctype.h>
#include <string.h>

void sn_reply_free(sn_reply *r) {
    sn_answer_free(&r->answer);
    sn_buf_free(&r->text);
    json_decref(r->stream);
    *r = (sn_reply){0};
}

sn_status sn_load_pictures(const sn_model *m, const char *const *paths, int count, const sn_image_options *options, float **pixels, sn_error *error) {
    *pixels = NULL;
    if (count == 0) return SN_OK;
    if (!m->has_vision) return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", paths[0]);
    size_t size = 3 * (size_t)m->image_size * (size_t)m->image_size;
    float *all = sn_alloc((size_t)count * size, sizeof *all);
    sn_status status = all ? SN_OK : sn_fail_memory(error);
    for (int i = 0; i < count && !status; i++) {
        sn_image image;
        status = sn_image_open(paths[i], options, &image, error);
        if (!status) status = sn_image_process(&m->processor, &image, all + (size_t)i * size, error);
        sn_image_free(&image);
    }
    if (status) sn_free(all);
    else *pixels = all;
    return status;
}

sn_status sn_penalty_ids(const sn_model *m, const sn_prompt *prompt, sn_ids *out, sn_error *error) {
    for (size_t i = 0; m->ids_known && i < prompt->ids.count; i++)
        if (!sn_ids_add(out, prompt->ids.data[i] < 0 ? m->media_id : prompt->ids.data[i])) return sn_fail_memory(error);
    return SN_OK;
}

typedef struct listener {
    const sn_answer_request *request;
    sn_text_stream stream;
    sn_reply *reply;
    int64_t ids;
} listener;

static void give(listener *l) {
    size_t length;
    const char *text = sn_text_stream_next(&l->stream, &length);
    if (length && l->request->on_text) l->request->on_text(l->request->context, text, length);
}

static bool on_id(void *context, int32_t id) {
    listener *l = context;
    bool stopped = sn_text_stream_push(&l->stream, id);
    give(l);
    l->ids++;
    if (l->request->on_id) l->request->on_id(l->request->context, l->ids);
    if (l->reply->stream) json_array_append_new(l->reply->stream, json_stringn(l->stream.text.data ? l->stream.text.data : "", l->stream.text.length));
    return stopped;
}

static void strip(sn_buf *text) {
    size_t end = text->length, begin = 0;
    while (end && isspace((unsigned char)text->data[end - 1])) end--;
    while (begin < end && isspace((unsigned char)text->data[begin])) begin++;
    if (text->data) memmove(text->data, text->data + begin, end - begin), text->data[end - begin] = 0;
    text->length = end - begin;
}

sn_status sn_answer_prompt(const sn_answer_request *r, sn_reply *out, sn_error *error) {
    sn_model *m = r->model;
    *out = (sn_reply){0};
    if (!m->has_lm) return sn_fail(error, SN_ERROR_USAGE, "%s has no language model to answer with", m->system->title);
    sn_generate_options options = *r->options;
    for (int i = 0; i < m->num_eos && options.num_eos < SN_MAX_EOS; i++) options.eos[options.num_eos++] = m->eos[i];
    if (r->prompt->stop && options.num_stops < SN_MAX_STOPS) options.stops[options.num_stops++] = r->prompt->stop;
    int64_t positions = (int64_t)r->prompt->ids.count;
    if (positions + 1 > m->lm.max_positions)
        return sn_fail(error, SN_ERROR_INPUT, "the prompt takes %lld positions (%lld of text, %d pictures of %lld), the model's window holds %lld", (long long)positions,
                       (long long)(positions - r->prompt->num_media * m->media_positions), r->prompt->num_media, (long long)m->media_positions, (long long)m->lm.max_positions);
    if (positions + options.max_new_tokens > m->lm.max_positions) options.max_new_tokens = (int)(m->lm.max_positions - positions);
    sn_lm_session session = {0};
    sn_lm_prompt prompt = {0};
    listener l = {.request = r, .reply = out};
    float *rows = NULL;
    sn_ids counted = {0};
    sn_text_stream_begin(&l.stream, m->tokenizer, options.stops, options.num_stops);
    if (r->keep_stream) out->stream = json_array();
    sn_status status = sn_penalty_ids(m, r->prompt, &counted, error);
    if (!status && r->prompt->num_media) {
        rows = sn_alloc((size_t)(r->prompt->num_media * m->media_positions), (size_t)m->lm.hidden_size * sizeof *rows);
        status = rows ? sn_model_encode(m, r->pixels, r->prompt->num_media, rows, error) : sn_fail_memory(error);
    }
    if (!status) status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, error);
    if (!status) {
        session.cancel = r->cancel;
        sn_stepper stepper = sn_lm_stepper_of(&prompt, &session, r->prompt->ids.data, positions, rows);
        status = sn_search(&options, &stepper, counted.data, (int64_t)counted.count, r->keep_logits, on_id, &l, &out->answer, error);
        sn_lm_stepper_free(&prompt);
    }
    if (!status && options.num_beams > 1) /* beams are known only at the end */
        for (size_t i = 0; i < out->answer.ids.count; i++)
            if (on_id(&l, out->answer.ids.data[i])) break;
    if (!status) {
        sn_text_stream_end(&l.stream);
        give(&l);
        sn_buf_add(&out->text, l.stream.text.data ? l.stream.text.data : "", l.stream.text.length);
        if (m->strip_answer) strip(&out->text);
        out->stopped_by = l.stream.stopped_by;
        out->by_length = !out->answer.ended && !out->stopped_by;
    }
    sn_text_stream_free(&l.stream);
    sn_lm_session_close(&session);
    sn_ids_free(&counted);
    sn_free(rows);
    if (status) sn_reply_free(out);
    return status;
}
