/* From a prompt to a text. */
#include "generate/answer.h"

#include "media/data_url.h"
#include "runtime/trace.h"

#include <string.h>

void sn_reply_free(sn_reply *r) {
    sn_answer_free(&r->answer);
    sn_buf_free(&r->text);
    sn_parts_free(&r->parts);
    json_decref(r->stream);
    *r = (sn_reply){0};
}

sn_status sn_load_pictures(const sn_model *m, const char *const *paths, int count, const sn_image_options *options, float **pixels, sn_error *error) {
    *pixels = NULL;
    if (count == 0) return SN_OK;
    if (!m->has_vision) return sn_fail(error, SN_ERROR_INPUT, "%s: this model takes text alone", sn_picture_name(paths[0]));
    size_t size = 3 * (size_t)m->image_size * (size_t)m->image_size;
    float *all = sn_alloc((size_t)count * size, sizeof *all);
    sn_status status = all ? SN_OK : sn_fail_memory(error);
    for (int i = 0; i < count && !status; i++) {
        sn_image image;
        status = sn_image_open(paths[i], options, &image, error);
        if (!status) status = sn_image_process(&m->processor, &image, all + (size_t)i * size, error);
        sn_image_free(&image);
        if (status && sn_is_data_url(paths[i])) sn_fail_prefix(error, "picture %d", i + 1);
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

const char *sn_finish_reason(const sn_reply *r) { return r->cancelled ? "cancelled" : r->by_length ? "length" : "stop"; }

/* ---- the text while it grows ---- */

typedef struct listener {
    const sn_answer_request *request;
    sn_text_stream stream;
    sn_reply *reply;
    int64_t ids;
    sn_buf blanks; /* that end what was given so far: told only when something follows */
    bool begun;
} listener;

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Tells what is new, without blanks at both ends of the whole where they are no part of an answer. */
static void give(listener *l) {
    size_t length, from = 0;
    const char *text = sn_text_stream_next(&l->stream, &length);
    if (!length || !l->request->on_text || l->request->model->query_id >= 0) return; /* which of it stays is known at the end */
    if (!l->request->model->strip_answer) {
        l->request->on_text(l->request->context, text, length);
        return;
    }
    while (!l->begun && from < length && is_blank(text[from])) from++;
    size_t to = length;
    while (to > from && is_blank(text[to - 1])) to--;
    if (to > from) {
        if (l->blanks.length) l->request->on_text(l->request->context, l->blanks.data, l->blanks.length);
        l->blanks.length = 0;
        l->begun = true;
        l->request->on_text(l->request->context, text + from, to - from);
    }
    if (l->begun) sn_buf_add(&l->blanks, text + to, length - to);
}

static bool on_id(void *context, int32_t id) {
    listener *l = context;
    const sn_model *m = l->request->model;
    bool stopped = sn_text_stream_push(&l->stream, id);
    if (!l->request->all_ids && m->query_id >= 0) stopped |= id == m->query_id || (id == m->cut_id && l->ids > 0);
    give(l);
    l->ids++;
    if (l->request->on_id) l->request->on_id(l->request->context, l->ids);
    if (l->reply->stream) json_array_append_new(l->reply->stream, json_stringn(l->stream.text.data ? l->stream.text.data : "", l->stream.text.length));
    return stopped;
}

static void strip(sn_buf *text) {
    size_t end = text->length, begin = 0;
    while (end && is_blank(text->data[end - 1])) end--;
    while (begin < end && is_blank(text->data[begin])) begin++;
    if (text->data) memmove(text->data, text->data + begin, end - begin), text->data[end - begin] = 0;
    text->length = end - begin;
}

static sn_status finish(listener *l, sn_error *error) {
    sn_reply *out = l->reply;
    if (!out->cancelled) sn_text_stream_end(&l->stream); /* a cancelled answer ends with what was certain */
    give(l);
    sn_buf_add(&out->text, l->stream.text.data ? l->stream.text.data : "", out->cancelled ? l->stream.given : l->stream.text.length);
    if (l->request->model->strip_answer) strip(&out->text);
    out->stopped_by = l->stream.stopped_by;
    out->by_length = !out->cancelled && !out->answer.ended && !out->stopped_by;
    out->by_window = out->by_length && (int64_t)(l->request->prompt->ids.count + out->answer.ids.count) >= l->request->model->lm.max_positions;
    return out->text.failed || l->stream.text.failed ? sn_fail_memory(error) : SN_OK;
}

/* Texts and pictures, where the model asks for some; else the text is the only part. */
static sn_status make_parts(listener *l, sn_lm_session *session, const sn_sequence *sequence, const float *rows, bool asks, sn_error *error) {
    const sn_answer_request *r = l->request;
    sn_reply *out = l->reply;
    sn_ids all = {0};
    if (r->model->query_id < 0 || out->cancelled) return sn_parts_text(&out->parts, out->text.data, out->text.length, error);
    sn_status status = SN_OK;
    for (size_t i = 0; i < r->prompt->ids.count + out->answer.ids.count && !status; i++)
        if (!sn_ids_add(&all, i < r->prompt->ids.count ? r->prompt->ids.data[i] : out->answer.ids.data[i - r->prompt->ids.count])) status = sn_fail_memory(error);
    sn_parts_request request = {.model = r->model, .session = session, .sequence = sequence, .ids = all.data, .count = (int64_t)all.count, .from = (int64_t)r->prompt->ids.count - asks, .media = rows,
                                .finder = r->finder, .max_queries = 1, .max_pictures = r->max_pictures ? r->max_pictures : 1};
    if (!status) status = sn_answer_parts(&request, &out->parts, error);
    out->text.length = 0;
    for (size_t i = 0; i < out->parts.count && !status; i++)
        if (!out->parts.items[i].is_picture) sn_buf_puts(&out->text, out->parts.items[i].text);
    if (!status && r->on_text && out->text.length) r->on_text(r->context, out->text.data, out->text.length);
    sn_ids_free(&all);
    return status || !out->text.failed ? status : sn_fail_memory(error);
}

/* ---- the answer ---- */

/* Searches behind what the sequence holds of the prompt, and hands the sequence back. */
static sn_status search(const sn_answer_request *r, const sn_generate_options *options, const float *rows, sn_lm_session *session, sn_sequence *sequence, listener *l,
                        sn_error *error) {
    const sn_ids *ids = &r->prompt->ids;
    sn_lm_prompt prompt = {0};
    sn_ids counted = {0};
    sn_status status = sn_penalty_ids(r->model, r->prompt, &counted, error);
    if (!status) {
        session->cancel = r->cancel;
        sn_stepper stepper = sn_lm_stepper_of(&prompt, session, ids->data + sequence->length, (int64_t)ids->count - sequence->length, rows);
        prompt.stepper.rows[0] = *sequence;
        status = sn_generate(options, &stepper, counted.data, (int64_t)counted.count, r->keep_logits, on_id, l, &l->reply->answer, error);
        *sequence = prompt.stepper.rows[0];
        prompt.stepper.rows[0] = (sn_sequence){0};
        /* which beam the first row is nobody knows: the prompt is what they share */
        if (options->num_beams > 1) sn_sequence_cut(session, sequence, (int32_t)ids->count);
        sn_lm_stepper_free(&prompt);
    }
    sn_ids_free(&counted);
    return status;
}

sn_status sn_check_prompt_length(const sn_model *m, const sn_prompt *prompt, sn_error *error) {
    int64_t positions = (int64_t)prompt->ids.count;
    if (positions < 1) return sn_fail(error, SN_ERROR_INPUT, "the prompt is empty");
    if (positions + 1 <= m->lm.max_positions) return SN_OK;
    return sn_fail(error, SN_ERROR_INPUT, "the prompt takes %lld positions (%lld of text, %d pictures of %lld), the model's window holds %lld, with one at least for the answer: shorten it, or begin a new conversation", (long long)positions,
                   (long long)(positions - prompt->num_media * m->media_positions), prompt->num_media, (long long)m->media_positions, (long long)m->lm.max_positions);
}

sn_status sn_answer_prompt(const sn_answer_request *r, sn_reply *out, sn_error *error) {
    sn_model *m = r->model;
    *out = (sn_reply){0};
    if (!m->has_lm) return sn_fail(error, SN_ERROR_USAGE, "%s has no language model to answer with", m->system->title);
    sn_generate_options options = *r->options;
    for (int i = 0; i < m->num_eos && options.num_eos < SN_MAX_EOS; i++) options.eos[options.num_eos++] = m->eos[i];
    if (r->prompt->stop && options.num_stops < SN_MAX_STOPS) options.stops[options.num_stops++] = r->prompt->stop;
    options.mark = m->query_id;
    sn_status status = sn_check_prompt_length(m, r->prompt, error);
    if (status) return status;
    int64_t room = m->lm.max_positions - (int64_t)r->prompt->ids.count;
    if (options.max_new_tokens > room) options.max_new_tokens = (int)room;
    sn_lm_session own = {0}, *session = r->session ? r->session : &own;
    sn_sequence own_sequence = {0}, *sequence = r->session ? r->sequence : &own_sequence;
    listener l = {.request = r, .reply = out};
    float *encoded = NULL;
    sn_text_stream_begin(&l.stream, m->tokenizer, options.stops, options.num_stops);
    if (r->keep_stream) out->stream = json_array();
    if (r->prompt->num_media && !r->rows) {
        encoded = sn_alloc((size_t)(r->prompt->num_media * m->media_positions), (size_t)m->lm.hidden_size * sizeof *encoded);
        status = encoded ? sn_model_encode(m, r->pixels, r->prompt->num_media, r->cancel, encoded, error) : sn_fail_memory(error);
    }
    if (!status && !r->session) status = sn_lm_session_open(&own, m->engine, m->store, &m->lm, sn_engine_compute(m->engine, m->store), error);
    bool asks = m->query_id >= 0 && r->prompt->ids.data[r->prompt->ids.count - 1] == m->query_id && !r->all_ids; /* a picture, at once: nothing is said before */
    out->answer.ended = asks;
    if (!status && !asks) status = search(r, &options, r->rows ? r->rows : encoded, session, sequence, &l, error);
    out->cancelled = status == SN_ERROR_CANCELLED;
    if (out->cancelled) status = SN_OK;
    if (!status && options.num_beams > 1) /* beams are known only at the end */
        for (size_t i = 0; i < out->answer.ids.count; i++)
            if (on_id(&l, out->answer.ids.data[i])) break;
    if (!status) status = finish(&l, error);
    if (!status) status = make_parts(&l, session, sequence, r->rows ? r->rows : encoded, asks, error);
    sn_text_stream_free(&l.stream);
    sn_buf_free(&l.blanks);
    sn_sequence_free(&own, &own_sequence);
    sn_lm_session_close(&own);
    sn_free(encoded);
    if (status) sn_reply_free(out);
    return status;
}
