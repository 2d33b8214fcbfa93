/* A conversation behind its handle: the message that is being written, and what the last answer was.
 *
 * A message reaches the conversation only when it is answered, so that a failure leaves the conversation as it was. */
#include "api/api.h"

#include "gallery/gallery.h"
#include "generate/conversation.h"

#include <stdatomic.h>
#include <string.h>

/* Encoded pictures of former messages that a chat keeps for a while. */
enum { PICTURE_BYTES = 64 << 20 };

struct sn_chat {
    sn_assistant *assistant;
    sn_options options;
    sn_pictures *pictures;
    sn_conversation *conversation;
    char *system;
    sn_piece *pieces; /* the pending message: texts are its own, pictures held */
    size_t count, capacity;
    sn_parts answer; /* no parts: none */
    sn_finder finder; /* without rows: none */
    sn_finish finish;
    atomic_bool cancel;
    sn_text_callback *on_text; /* of the present answer */
    void *user;
};

static void drop_pending(sn_chat *c) {
    for (size_t i = 0; i < c->count; i++) {
        sn_free((char *)c->pieces[i].text);
        sn_picture_drop(c->pictures, c->pieces[i].picture);
    }
    c->count = 0;
}

static void drop_answer(sn_chat *c) {
    sn_parts_free(&c->answer);
    c->finish = SN_FINISH_NONE;
}

sn_status sn_chat_new(sn_assistant *assistant, const sn_options *options, sn_chat **out, sn_error *error) {
    sn_status status = sn_api_need(out, "sn_chat_new", "out", error);
    if (status) return status;
    *out = NULL;
    if ((status = sn_api_need(assistant, "sn_chat_new", "assistant", error))) return status;
    if (!sn_assistant_answers(assistant)) return sn_fail(error, SN_ERROR_SUPPORT, "sn_chat_new: %s has no language model to answer with", assistant->model->system->title);
    sn_chat *c = sn_alloc(1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    c->assistant = assistant;
    status = sn_api_options_copy(options, &c->options, error);
    if (c->options.own_temperature && c->options.generate.num_beams == 1) c->options.generate.temperature = assistant->model->system->temperature;
    if (!status && c->options.generate.num_beams > 1 && c->options.generate.temperature > 0)
        status = sn_fail(error, SN_ERROR_USAGE, "sn_chat_new: num_beams above 1 takes no temperature above 0");
    if (!status) status = sn_pictures_new(assistant->model, PICTURE_BYTES, &c->pictures, error);
    if (!status) status = sn_conversation_new(assistant->model, c->pictures, &c->conversation, error);
    if (!status) sn_conversation_template(c->conversation, c->options.template_name);
    if (status) sn_chat_free(c);
    else *out = c;
    return status;
}

void sn_chat_free(sn_chat *c) {
    if (!c) return;
    drop_pending(c);
    drop_answer(c);
    sn_conversation_free(c->conversation);
    sn_pictures_free(c->pictures);
    sn_finder_close(&c->finder);
    sn_free(c->pieces);
    sn_free(c->system);
    sn_arena_free(c->options.arena);
    sn_free(c);
}

void sn_chat_reset(sn_chat *c) {
    if (!c) return;
    drop_pending(c);
    drop_answer(c);
    sn_conversation_cut(c->conversation, 0);
}

void sn_chat_cancel(sn_chat *c) {
    if (c) atomic_store(&c->cancel, true);
}

sn_status sn_chat_set_system(sn_chat *c, const char *text, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_set_system", "chat", error);
    if (!status) status = sn_api_need_text(text, "sn_chat_set_system", "text", error);
    if (status) return status;
    if (sn_conversation_count(c->conversation)) return sn_fail(error, SN_ERROR_USAGE, "sn_chat_set_system: the conversation has begun; reset it first");
    char *copy = sn_strdup(text);
    if (!copy) return sn_fail_memory(error);
    sn_free(c->system);
    c->system = copy;
    return SN_OK;
}

static void tell(const sn_chat *c, const char *message) {
    const sn_context *context = c->assistant->context;
    if (context->on_log) context->on_log(context->log_user, message);
}

sn_status sn_chat_set_gallery(sn_chat *c, const char *path, sn_error *error) {
    sn_finder finder = {0};
    bool rounded = false;
    sn_status status = sn_api_need(c, "sn_chat_set_gallery", "chat", error);
    if (!status && path && !c->assistant->model->lm.query) status = sn_fail(error, SN_ERROR_USAGE, "sn_chat_set_gallery: %s answers with text alone", c->assistant->model->system->title);
    if (!status && path) status = sn_gallery_finder(c->assistant->model, path, &finder, &rounded, error);
    if (status) return status;
    if (rounded) tell(c, "the gallery was made by this model with its weights in another type: scores differ by rounding");
    sn_finder_close(&c->finder);
    c->finder = finder;
    return SN_OK;
}

/* ---- messages ---- */

/* Takes the picture over, whatever happens. */
static sn_status add_piece(sn_chat *c, const char *text, sn_picture *picture, sn_error *error) {
    char *copy = sn_strdup(text);
    if (!copy || !sn_grow((void **)&c->pieces, &c->capacity, c->count + 1, sizeof *c->pieces)) {
        sn_free(copy);
        sn_picture_drop(c->pictures, picture);
        return sn_fail_memory(error);
    }
    c->pieces[c->count++] = (sn_piece){copy, picture};
    return SN_OK;
}

sn_status sn_chat_add_text(sn_chat *c, const char *text, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_add_text", "chat", error);
    if (!status) status = sn_api_need_text(text, "sn_chat_add_text", "text", error);
    return status ? status : add_piece(c, text, NULL, error);
}

sn_status sn_chat_add_picture(sn_chat *c, const char *path, sn_error *error) {
    sn_picture *picture;
    sn_status status = sn_api_need(c, "sn_chat_add_picture", "chat", error);
    if (!status) status = sn_api_need(path, "sn_chat_add_picture", "path", error);
    if (!status) status = sn_picture_open(c->pictures, path, &c->options.pictures, &picture, error);
    return status ? status : add_piece(c, "", picture, error);
}

sn_status sn_chat_add_picture_bytes(sn_chat *c, const void *bytes, size_t size, sn_error *error) {
    sn_picture *picture;
    sn_status status = sn_api_need(c, "sn_chat_add_picture_bytes", "chat", error);
    if (!status) status = sn_api_need(bytes, "sn_chat_add_picture_bytes", "bytes", error);
    if (!status) status = sn_picture_decode(c->pictures, "the picture", bytes, size, &c->options.pictures, &picture, error);
    return status ? status : add_piece(c, "", picture, error);
}

sn_status sn_chat_add_picture_pixels(sn_chat *c, const unsigned char *rgb, int64_t width, int64_t height, sn_error *error) {
    sn_picture *picture;
    sn_status status = sn_api_need(c, "sn_chat_add_picture_pixels", "chat", error);
    if (!status) status = sn_api_need(rgb, "sn_chat_add_picture_pixels", "rgb", error);
    if (!status) status = sn_picture_pixels(c->pictures, "the picture", rgb, width, height, &picture, error);
    return status ? status : add_piece(c, "", picture, error);
}

/* ---- answers ---- */

static void on_text(void *context, const char *text, size_t length) {
    const sn_chat *c = context;
    if (c->on_text) c->on_text(c->user, text, length);
}

static void on_id(void *context, int64_t ids) {
    const sn_chat *c = context;
    sn_api_progress(c->assistant->context, "answer", ids, c->options.generate.max_new_tokens);
}

/* The pending message becomes part of the conversation, behind the system sentence where it is the first. */
static sn_status say(sn_chat *c, sn_error *error) {
    sn_status status = SN_OK;
    if (c->system && !sn_conversation_count(c->conversation))
        status = sn_conversation_add(c->conversation, SN_ROLE_SYSTEM, &(sn_piece){.text = c->system}, 1, error);
    return status ? status : sn_conversation_add(c->conversation, SN_ROLE_USER, c->pieces, (int)c->count, error);
}

static void keep_answer(sn_chat *c, sn_reply *reply) {
    c->answer = reply->parts, reply->parts = (sn_parts){0};
    c->finish = reply->cancelled ? SN_FINISH_CANCELLED : reply->by_length ? SN_FINISH_LENGTH : SN_FINISH_STOP;
}

sn_status sn_chat_answer(sn_chat *c, sn_text_callback *text_callback, void *user, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_answer", "chat", error);
    if (status) return status;
    if (!c->count) return sn_fail(error, SN_ERROR_USAGE, "sn_chat_answer: there is no message to answer; add a text or a picture first");
    atomic_store(&c->cancel, false);
    if ((status = sn_api_enter(c->assistant->context, "sn_chat_answer", error))) return status;
    drop_answer(c);
    c->on_text = text_callback, c->user = user;
    int before = sn_conversation_count(c->conversation);
    sn_turn turn = {.options = &c->options.generate, .on_text = on_text, .on_id = on_id, .context = c, .cancel = &c->cancel, .finder = c->finder.rows.rows ? &c->finder : NULL};
    sn_turn_result result = {0};
    status = say(c, error);
    if (!status) status = sn_conversation_answer(c->conversation, &turn, &result, error);
    bool empty = status || (!result.reply.text.length && result.reply.parts.count < 2);
    for (size_t i = 0; i < result.reply.parts.num_left_out; i++) tell(c, result.reply.parts.left_out[i]);
    if (!status) keep_answer(c, &result.reply);
    if (empty) sn_conversation_cut(c->conversation, before);
    drop_pending(c);
    sn_reply_free(&result.reply);
    sn_api_leave(c->assistant->context);
    return status;
}

static const sn_part *part_at(const sn_chat *c, int part, bool is_picture) {
    const sn_part *p = c && part >= 0 && (size_t)part < c->answer.count ? &c->answer.items[part] : NULL;
    return p && p->is_picture == is_picture ? p : NULL;
}

int sn_chat_num_parts(const sn_chat *c) { return c ? (int)c->answer.count : 0; }
sn_part_kind sn_chat_part_kind(const sn_chat *c, int part) { return part_at(c, part, false) ? SN_PART_TEXT : part_at(c, part, true) ? SN_PART_PICTURE : SN_PART_NONE; }
const char *sn_chat_part_text(const sn_chat *c, int part) { return part_at(c, part, false) ? part_at(c, part, false)->text : NULL; }
const char *sn_chat_part_path(const sn_chat *c, int part) { return part_at(c, part, true) ? part_at(c, part, true)->text : NULL; }
double sn_chat_part_score(const sn_chat *c, int part) { return part_at(c, part, true) ? (double)part_at(c, part, true)->similarity : 0; }
sn_finish sn_chat_finish(const sn_chat *c) { return c ? c->finish : SN_FINISH_NONE; }
