/* Messages to prompt, prompt against cache, answer, and the answer becomes a message. */
#include "generate/conversation.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "media/data_url.h"

#include <string.h>

/* What stands at one position of the cache: an id, or a row of a picture. */
typedef struct place {
    uint64_t what[2];
} place;

typedef struct message {
    sn_role role;
    sn_content *content;
    sn_picture **pictures; /* beside the content; NULL for texts */
    int count;
} message;

struct sn_conversation {
    sn_model *model;
    sn_pictures *pictures;
    sn_arena *arena; /* texts of the messages; renewed when none is left */
    message *messages;
    size_t count, capacity;
    const char *template_name;
    sn_lm_session session;
    sn_sequence sequence; /* its first `length` positions are `places` */
    place *places;
    size_t place_capacity;
};

sn_status sn_conversation_new(sn_model *m, sn_pictures *pictures, sn_conversation **out, sn_error *error) {
    *out = NULL;
    if (!m->has_lm || !m->system->prompt) return sn_fail(error, SN_ERROR_USAGE, "%s has no language model to answer with", m->system->title);
    sn_conversation *c = sn_alloc(1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    *c = (sn_conversation){.model = m, .pictures = pictures, .arena = sn_arena_new()};
    sn_status status = c->arena ? sn_lm_session_open(&c->session, m->engine, m->store, &m->lm, sn_engine_compute(m->engine, m->store), error) : sn_fail_memory(error);
    if (status) sn_conversation_free(c);
    else *out = c;
    return status;
}

void sn_conversation_free(sn_conversation *c) {
    if (!c) return;
    sn_conversation_cut(c, 0);
    sn_sequence_free(&c->session, &c->sequence);
    sn_lm_session_close(&c->session);
    sn_arena_free(c->arena);
    sn_free(c->messages);
    sn_free(c->places);
    sn_free(c);
}

void sn_conversation_template(sn_conversation *c, const char *name) { c->template_name = name; }

int sn_conversation_count(const sn_conversation *c) { return (int)c->count; }

/* ---- messages ---- */

sn_status sn_conversation_add(sn_conversation *c, sn_role role, const sn_piece *pieces, int count, sn_error *error) {
    if (role == SN_ROLE_SYSTEM && c->count) return sn_fail(error, SN_ERROR_INPUT, "a system message stands first or nowhere");
    for (int i = 0; i < count; i++)
        if (!pieces[i].picture && !sn_utf8_valid(pieces[i].text, strlen(pieces[i].text), NULL)) return sn_fail(error, SN_ERROR_INPUT, "the text is not valid UTF-8");
    message m = {.role = role, .count = count, .content = sn_arena_alloc(c->arena, (size_t)count + 1, sizeof *m.content),
                 .pictures = sn_arena_alloc(c->arena, (size_t)count + 1, sizeof *m.pictures)};
    if (!m.content || !m.pictures || !sn_grow((void **)&c->messages, &c->capacity, c->count + 1, sizeof *c->messages)) return sn_fail_memory(error);
    for (int i = 0; i < count; i++) {
        m.content[i] = (sn_content){.is_media = pieces[i].picture != NULL, .text = sn_arena_strdup(c->arena, pieces[i].text)};
        if (!m.content[i].text) return sn_fail_memory(error);
        m.pictures[i] = pieces[i].picture;
    }
    for (int i = 0; i < count; i++)
        if (m.pictures[i]) m.pictures[i]->holders++;
    c->messages[c->count++] = m;
    return SN_OK;
}

void sn_conversation_cut(sn_conversation *c, int num_messages) {
    while (c->count > (size_t)num_messages) {
        const message *m = &c->messages[--c->count];
        for (int i = 0; i < m->count; i++) sn_picture_drop(c->pictures, m->pictures[i]);
    }
    if (c->count) return;
    sn_arena *fresh = sn_arena_new();
    if (!fresh) return; /* the old one serves on */
    sn_arena_free(c->arena);
    c->arena = fresh;
}

static sn_picture *picture_of(const sn_conversation *c, const char *media) {
    /* a prompt hands back the very string of the content it came from */
    for (size_t i = 0; i < c->count; i++)
        for (int k = 0; k < c->messages[i].count; k++)
            if (c->messages[i].content[k].text == media) return c->messages[i].pictures[k];
    return NULL;
}

static sn_status make_prompt(const sn_conversation *c, sn_prompt *out, sn_error *error) {
    *out = (sn_prompt){0};
    sn_message *list = sn_alloc(c->count, sizeof *list);
    if (!list) return sn_fail_memory(error);
    for (size_t i = 0; i < c->count; i++) list[i] = (sn_message){.role = c->messages[i].role, .content = c->messages[i].content, .count = c->messages[i].count};
    sn_request request = {.messages = list, .num_messages = (int)c->count, .template_name = c->template_name, .literal = true};
    sn_status status = c->model->system->prompt(c->model, &request, out, error);
    sn_free(list);
    return status;
}

/* ---- what the cache has ---- */

static place place_of(const sn_conversation *c, const sn_prompt *prompt, sn_picture *const *pictures, int32_t id) {
    if (id >= 0) return (place){{(uint64_t)id, UINT64_MAX}};
    int64_t row = -1 - (int64_t)id, positions = c->model->media_positions;
    const sn_picture *p = pictures[row / positions];
    return (place){{p->key[0] + (uint64_t)(row % positions), p->key[1]}};
}

/* The rows of the prompt's pictures that are not in the cache, and ids that count from the first of them. */
static sn_status encode_pictures(sn_conversation *c, const sn_prompt *prompt, sn_picture *const *pictures, const atomic_bool *cancel, sn_ids *ids, float **rows, sn_error *error) {
    int64_t size = c->model->media_positions * c->model->lm.hidden_size;
    int first = prompt->num_media;
    for (size_t i = (size_t)c->sequence.length; i < ids->count && first == prompt->num_media; i++)
        if (ids->data[i] < 0) first = (int)((-1 - (int64_t)ids->data[i]) / c->model->media_positions);
    *rows = sn_alloc((size_t)(prompt->num_media - first) + 1, (size_t)size * sizeof **rows);
    if (!*rows) return sn_fail_memory(error);
    for (int i = first; i < prompt->num_media; i++) {
        const float *encoded;
        sn_status status = sn_picture_rows(c->pictures, pictures[i], cancel, &encoded, error);
        if (status) return status;
        memcpy(*rows + (i - first) * size, encoded, (size_t)size * sizeof **rows);
    }
    for (size_t i = (size_t)c->sequence.length; i < ids->count; i++)
        if (ids->data[i] < 0) ids->data[i] += (int32_t)(first * c->model->media_positions);
    return SN_OK;
}

/* Cuts the cache to what it shares with the prompt, but for the prompt's last position, whose scores are wanted;
 * then notes the prompt as what the cache is about to hold. */
static sn_status reuse(sn_conversation *c, const sn_prompt *prompt, sn_picture *const *pictures, sn_error *error) {
    size_t count = prompt->ids.count, same = 0, most = (size_t)c->sequence.length < count - 1 ? (size_t)c->sequence.length : count - 1;
    if (!sn_grow((void **)&c->places, &c->place_capacity, count, sizeof *c->places)) return sn_fail_memory(error);
    while (same < most) {
        place p = place_of(c, prompt, pictures, prompt->ids.data[same]);
        if (memcmp(&c->places[same], &p, sizeof p) != 0) break;
        same++;
    }
    sn_sequence_cut(&c->session, &c->sequence, (int32_t)same);
    for (size_t i = same; i < count; i++) c->places[i] = place_of(c, prompt, pictures, prompt->ids.data[i]);
    return SN_OK;
}

/* The ids of the answer that the cache holds behind the prompt. */
static void note_answer(sn_conversation *c, const sn_prompt *prompt, const sn_ids *answer) {
    size_t at = prompt->ids.count, length = (size_t)c->sequence.length;
    if (length <= at) return;
    if (length - at > answer->count || !sn_grow((void **)&c->places, &c->place_capacity, length, sizeof *c->places)) {
        sn_sequence_cut(&c->session, &c->sequence, (int32_t)at);
        return;
    }
    for (size_t i = at; i < length; i++) c->places[i] = (place){{(uint64_t)answer->data[i - at], UINT64_MAX}};
}

/* ---- a turn ---- */

typedef struct teller {
    const sn_turn *turn;
    double begun, *first;
} teller;

static void tell(void *context, const char *text, size_t length) {
    teller *t = context;
    if (*t->first == 0) *t->first = sn_seconds() - t->begun;
    if (t->turn->on_text) t->turn->on_text(t->turn->context, text, length);
}

static void count_ids(void *context, int64_t ids) {
    teller *t = context;
    if (t->turn->on_id) t->turn->on_id(t->turn->context, ids);
}

static sn_status keep_answer(sn_conversation *c, const sn_reply *reply, sn_error *error) {
    if (reply->cancelled && !reply->text.length) return SN_OK;
    return sn_conversation_add(c, SN_ROLE_ASSISTANT, &(sn_piece){.text = reply->text.data ? reply->text.data : ""}, 1, error);
}

sn_status sn_conversation_answer(sn_conversation *c, const sn_turn *turn, sn_turn_result *out, sn_error *error) {
    *out = (sn_turn_result){0};
    if (!c->count || c->messages[c->count - 1].role != SN_ROLE_USER) return sn_fail(error, SN_ERROR_USAGE, "there is no question to answer");
    teller t = {turn, sn_seconds(), &out->seconds_first};
    sn_picture *pictures[SN_MAX_MEDIA];
    sn_prompt prompt;
    float *rows = NULL;
    sn_status status = make_prompt(c, &prompt, error);
    for (int i = 0; i < prompt.num_media && !status; i++) pictures[i] = picture_of(c, prompt.media[i]);
    if (!status) status = sn_check_prompt_length(c->model, &prompt, error);
    if (!status) status = reuse(c, &prompt, pictures, error);
    if (!status) {
        out->prompt_positions = (int64_t)prompt.ids.count, out->cached_positions = c->sequence.length;
        out->picture_positions = prompt.num_media * c->model->media_positions;
        status = encode_pictures(c, &prompt, pictures, turn->cancel, &prompt.ids, &rows, error);
        out->seconds_pictures = sn_seconds() - t.begun;
    }
    if (!status)
        status = sn_answer_prompt(&(sn_answer_request){.model = c->model, .prompt = &prompt, .rows = rows, .options = turn->options, .session = &c->session, .sequence = &c->sequence, .finder = turn->finder, .max_pictures = turn->max_pictures,
                                                       .on_text = tell, .on_id = count_ids, .context = &t, .cancel = turn->cancel}, &out->reply, error);
    if (status == SN_ERROR_CANCELLED) { /* while a picture was encoded: nothing was said */
        out->reply.cancelled = true;
        status = SN_OK;
    } else if (!status) {
        note_answer(c, &prompt, &out->reply.answer.ids);
        status = keep_answer(c, &out->reply, error);
        out->seconds_total = sn_seconds() - t.begun;
    } else if (c->sequence.length > (int64_t)prompt.ids.count) {
        sn_sequence_cut(&c->session, &c->sequence, (int32_t)prompt.ids.count);
    }
    sn_prompt_free(&prompt);
    sn_free(rows);
    if (status) sn_reply_free(&out->reply);
    return status;
}

/* ---- saved conversations ---- */

static const char *const roles[] = {[SN_ROLE_SYSTEM] = "system", [SN_ROLE_USER] = "user", [SN_ROLE_ASSISTANT] = "assistant"};

static void hash_text(const sn_picture *p, char text[33]) { snprintf(text, 33, "%016llx%016llx", (unsigned long long)p->key[0], (unsigned long long)p->key[1]); }

json_t *sn_conversation_json(const sn_conversation *c) {
    json_t *messages = json_array(), *whole = json_object();
    for (size_t i = 0; i < c->count; i++) {
        json_t *content = json_array();
        for (int k = 0; k < c->messages[i].count; k++) {
            const char *text = c->messages[i].content[k].text;
            const sn_picture *p = c->messages[i].pictures[k];
            char hash[33];
            if (p) hash_text(p, hash);
            json_array_append_new(content, p ? json_pack("{s:s, s:o, s:s}", "type", "image", "path", sn_json_text(text), "hash", hash) : json_pack("{s:s, s:s}", "type", "text", "text", text));
        }
        json_array_append_new(messages, json_pack("{s:s, s:o}", "role", roles[c->messages[i].role], "content", content));
    }
    if (c->template_name) json_object_set_new(whole, "template", json_string(c->template_name));
    json_object_set_new(whole, "messages", messages);
    return whole;
}

static sn_status read_piece(sn_conversation *c, const char *where, const json_t *part, const char *folder, const sn_image_options *options, char **path, sn_piece *out, int *changed,
                            sn_error *error) {
    const char *type = sn_json_string(part, "type"), *text = sn_json_string(part, "text"), *name = sn_json_string(part, "path"), *saved = sn_json_string(part, "hash");
    if (type && strcmp(type, "text") == 0 && text) {
        out->text = text;
        return SN_OK;
    }
    if (!type || strcmp(type, "image") != 0 || !name) return sn_fail(error, SN_ERROR_INPUT, "%s: content: expected parts of type text with a text, or image with a path", where);
    *path = sn_is_data_url(name) ? sn_strdup(name) : sn_path_join(folder, name);
    if (!*path) return sn_fail_memory(error);
    sn_status status = sn_picture_open(c->pictures, *path, options, &out->picture, error);
    if (status) return sn_is_data_url(name) ? sn_fail_prefix(error, "%s: path", where) : status;
    out->text = *path;
    char hash[33];
    hash_text(out->picture, hash);
    if (saved && strcmp(saved, hash) != 0) ++*changed;
    return SN_OK;
}

static sn_status read_message(sn_conversation *c, const char *where, const json_t *object, const char *folder, const sn_image_options *options, int *changed, sn_error *error) {
    const char *role = sn_json_string(object, "role");
    const json_t *content = json_object_get(object, "content");
    int r = 0, count = json_is_string(content) ? 1 : (int)json_array_size(content);
    while (r < 3 && !(role && strcmp(role, roles[r]) == 0)) r++;
    if (r == 3) return sn_fail(error, SN_ERROR_INPUT, "%s: role: expected system, user or assistant", where);
    if (count < 1 || count > 4 * SN_MAX_MEDIA) return sn_fail(error, SN_ERROR_INPUT, "%s: content: expected a text or up to %d parts", where, 4 * SN_MAX_MEDIA);
    sn_piece *pieces = sn_alloc((size_t)count, sizeof *pieces);
    char **paths = sn_alloc((size_t)count, sizeof *paths);
    sn_status status = pieces && paths ? SN_OK : sn_fail_memory(error);
    if (!status && json_is_string(content)) pieces[0].text = json_string_value(content);
    else
        for (int i = 0; i < count && !status; i++) status = read_piece(c, where, json_array_get(content, (size_t)i), folder, options, &paths[i], &pieces[i], changed, error);
    if (!status) status = sn_conversation_add(c, (sn_role)r, pieces, count, error);
    for (int i = 0; i < count && pieces && paths; i++) {
        if (pieces[i].picture) sn_picture_drop(c->pictures, pieces[i].picture);
        sn_free(paths[i]);
    }
    sn_free(pieces);
    sn_free(paths);
    return status;
}

sn_status sn_conversation_read(sn_conversation *c, const char *where, const json_t *object, const char *folder, const sn_image_options *options, int *changed, sn_error *error) {
    const json_t *messages = json_object_get(object, "messages");
    int before = (int)c->count;
    *changed = 0;
    if (!json_is_array(messages)) return sn_fail(error, SN_ERROR_INPUT, "%s: expected a list of messages", where);
    sn_status status = SN_OK;
    for (size_t i = 0; i < json_array_size(messages) && !status; i++) {
        char *name = sn_format("%s: messages[%zu]", where, i);
        status = name ? read_message(c, name, json_array_get(messages, i), folder, options, changed, error) : sn_fail_memory(error);
        sn_free(name);
    }
    if (status) sn_conversation_cut(c, before);
    return status;
}
