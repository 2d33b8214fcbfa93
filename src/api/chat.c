/* A conversation: messages in the order in which they were said, the pictures in them as the model takes them.
 *
 * Nothing of a message is kept until its answer is whole, so that a failure or a cancelled answer leaves the
 * conversation as it was. */
#include "api/api.h"

#include <stdatomic.h>
#include <string.h>

/* A stretch of a message; a picture's `text` is only its name in the prompt: the prompt gives it back as it is. */
typedef struct piece {
    char *text;
    float *pixels; /* NULL: text */
} piece;

typedef struct turn {
    sn_role role;
    piece *pieces;
    size_t count, capacity;
} turn;

struct sn_chat {
    sn_assistant *assistant;
    sn_options options;
    char *system;
    turn *turns; /* the last one may be the pending message */
    size_t count, capacity;
    bool pending;
    char *answer; /* NULL: none */
    sn_finish finish;
    atomic_bool cancel;
    sn_text_callback *on_text; /* of the present answer */
    void *user;
};

static void free_turn(turn *t) {
    for (size_t i = 0; i < t->count; i++) {
        sn_free(t->pieces[i].text);
        sn_free(t->pieces[i].pixels);
    }
    sn_free(t->pieces);
    *t = (turn){0};
}

static void drop_pending(sn_chat *c) {
    if (c->pending) free_turn(&c->turns[--c->count]);
    c->pending = false;
}

static void drop_answer(sn_chat *c) {
    sn_free(c->answer);
    c->answer = NULL;
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
    if (status) sn_free(c);
    else *out = c;
    return status;
}

void sn_chat_free(sn_chat *c) {
    if (!c) return;
    sn_chat_reset(c);
    sn_free(c->turns);
    sn_free(c->system);
    sn_arena_free(c->options.arena);
    sn_free(c);
}

void sn_chat_reset(sn_chat *c) {
    if (!c) return;
    while (c->count) free_turn(&c->turns[--c->count]);
    c->pending = false;
    drop_answer(c);
}

void sn_chat_cancel(sn_chat *c) {
    if (c) atomic_store(&c->cancel, true);
}

sn_status sn_chat_set_system(sn_chat *c, const char *text, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_set_system", "chat", error);
    if (!status) status = sn_api_need_text(text, "sn_chat_set_system", "text", error);
    if (status) return status;
    char *copy = sn_strdup(text);
    if (!copy) return sn_fail_memory(error);
    sn_free(c->system);
    c->system = copy;
    return SN_OK;
}

/* ---- messages ---- */

static turn *add_turn(sn_chat *c, sn_role role) {
    if (!sn_grow((void **)&c->turns, &c->capacity, c->count + 1, sizeof *c->turns)) return NULL;
    c->turns[c->count] = (turn){.role = role};
    return &c->turns[c->count++];
}

/* Takes the pixels over, whatever happens. */
static sn_status add_piece(sn_chat *c, const char *text, float *pixels, sn_error *error) {
    char *copy = sn_strdup(text);
    turn *t = c->pending ? &c->turns[c->count - 1] : add_turn(c, SN_ROLE_USER);
    if (t) c->pending = true;
    if (!copy || !t || !sn_grow((void **)&t->pieces, &t->capacity, t->count + 1, sizeof *t->pieces)) {
        sn_free(copy);
        sn_free(pixels);
        return sn_fail_memory(error);
    }
    t->pieces[t->count++] = (piece){copy, pixels};
    return SN_OK;
}

sn_status sn_chat_add_text(sn_chat *c, const char *text, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_add_text", "chat", error);
    if (!status) status = sn_api_need_text(text, "sn_chat_add_text", "text", error);
    return status ? status : add_piece(c, text, NULL, error);
}

static sn_status add_picture(sn_chat *c, const char *path, const void *bytes, size_t size, sn_error *error) {
    float *pixels;
    sn_status status = sn_api_picture(c->assistant->model, path, bytes, size, &c->options.pictures, &pixels, error);
    return status ? status : add_piece(c, "picture", pixels, error);
}

sn_status sn_chat_add_picture(sn_chat *c, const char *path, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_add_picture", "chat", error);
    if (!status) status = sn_api_need(path, "sn_chat_add_picture", "path", error);
    return status ? status : add_picture(c, path, NULL, 0, error);
}

sn_status sn_chat_add_picture_bytes(sn_chat *c, const void *bytes, size_t size, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_add_picture_bytes", "chat", error);
    if (!status) status = sn_api_need(bytes, "sn_chat_add_picture_bytes", "bytes", error);
    return status ? status : add_picture(c, NULL, bytes, size, error);
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

/* The conversation as a request of the system's prompt; everything in the arena but the texts. */
static sn_status make_request(const sn_chat *c, sn_arena *arena, sn_request *out, sn_error *error) {
    sn_message *messages = sn_arena_alloc(arena, c->count + 1, sizeof *messages);
    if (!messages) return sn_fail_memory(error);
    int n = 0;
    sn_content *system = sn_arena_alloc(arena, 1, sizeof *system);
    if (!system) return sn_fail_memory(error);
    system->text = c->system;
    if (c->system) messages[n++] = (sn_message){SN_ROLE_SYSTEM, system, 1};
    for (size_t i = 0; i < c->count; i++) {
        const turn *t = &c->turns[i];
        sn_content *content = sn_arena_alloc(arena, t->count + 1, sizeof *content);
        if (!content) return sn_fail_memory(error);
        for (size_t k = 0; k < t->count; k++) content[k] = (sn_content){t->pieces[k].pixels != NULL, t->pieces[k].text};
        messages[n++] = (sn_message){t->role, content, (int)t->count};
    }
    *out = (sn_request){.messages = messages, .num_messages = n, .template_name = c->options.template_name, .literal = true};
    return SN_OK;
}

static const float *pixels_of(const sn_chat *c, const char *name) {
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < c->turns[i].count; k++)
            if (c->turns[i].pieces[k].text == name) return c->turns[i].pieces[k].pixels;
    return NULL;
}

/* The pictures of a prompt in its order, [pictures, 3, size, size]. */
static sn_status gather_pixels(const sn_chat *c, const sn_prompt *prompt, float **out, sn_error *error) {
    int64_t side = c->assistant->model->image_size, each = 3 * side * side;
    *out = NULL;
    if (prompt->num_media == 0) return SN_OK;
    *out = sn_alloc((size_t)prompt->num_media, (size_t)each * sizeof **out);
    if (!*out) return sn_fail_memory(error);
    for (int i = 0; i < prompt->num_media; i++) memcpy(*out + i * each, pixels_of(c, prompt->media[i]), (size_t)each * sizeof **out);
    return SN_OK;
}

/* Makes the answer a turn of its own. */
static sn_status keep_answer(sn_chat *c, sn_reply *reply, sn_error *error) {
    const char *text = reply->text.data ? reply->text.data : "";
    char *answer = sn_strdup(text), *copy = sn_strdup(text);
    piece *pieces = sn_alloc(1, sizeof *pieces);
    turn *t = answer && copy && pieces ? add_turn(c, SN_ROLE_ASSISTANT) : NULL;
    if (!t) {
        sn_free(answer);
        sn_free(copy);
        sn_free(pieces);
        return sn_fail_memory(error);
    }
    pieces[0].text = copy;
    *t = (turn){SN_ROLE_ASSISTANT, pieces, 1, 1};
    c->pending = false;
    c->answer = answer;
    c->finish = reply->by_length ? SN_FINISH_LENGTH : SN_FINISH_STOP;
    return SN_OK;
}

sn_status sn_chat_answer(sn_chat *c, sn_text_callback *text_callback, void *user, sn_error *error) {
    sn_status status = sn_api_need(c, "sn_chat_answer", "chat", error);
    if (status) return status;
    if (!c->pending) return sn_fail(error, SN_ERROR_USAGE, "sn_chat_answer: there is no message to answer; add a text or a picture first");
    atomic_store(&c->cancel, false);
    if ((status = sn_api_enter(c->assistant->context, "sn_chat_answer", error))) return status;
    drop_answer(c);
    c->on_text = text_callback, c->user = user;
    sn_model *m = c->assistant->model;
    sn_arena *arena = sn_arena_new();
    sn_request request;
    sn_prompt prompt = {0};
    sn_reply reply = {0};
    float *pixels = NULL;
    status = arena ? make_request(c, arena, &request, error) : sn_fail_memory(error);
    if (!status) status = m->system->prompt(m, &request, &prompt, error);
    if (!status) status = gather_pixels(c, &prompt, &pixels, error);
    if (!status) {
        sn_answer_request r = {.model = m, .prompt = &prompt, .pixels = pixels, .options = &c->options.generate, .on_text = on_text, .on_id = on_id, .context = c,
                               .cancel = &c->cancel};
        status = sn_answer_prompt(&r, &reply, error);
        if (!status && reply.cancelled) status = sn_fail(error, SN_ERROR_CANCELLED, "cancelled");
    }
    if (!status) status = keep_answer(c, &reply, error);
    if (status) drop_pending(c);
    sn_reply_free(&reply);
    sn_prompt_free(&prompt);
    sn_free(pixels);
    sn_arena_free(arena);
    sn_api_leave(c->assistant->context);
    return status;
}

int sn_chat_num_parts(const sn_chat *c) { return c && c->answer ? 1 : 0; }
sn_part_kind sn_chat_part_kind(const sn_chat *c, int part) { return part == 0 && sn_chat_num_parts(c) ? SN_PART_TEXT : SN_PART_NONE; }
const char *sn_chat_part_text(const sn_chat *c, int part) { return sn_chat_part_kind(c, part) == SN_PART_TEXT ? c->answer : NULL; }
sn_finish sn_chat_finish(const sn_chat *c) { return c ? c->finish : SN_FINISH_NONE; }
