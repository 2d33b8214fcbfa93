/* Questions with their answers, one JSON object a line. */
#include "eval/set.h"

#include "base/map.h"

#include <string.h>

enum { MAX_ANSWERS = 1000 };

typedef struct reader {
    sn_set *set;
    const char *path;
    sn_map *pictures, *ids;
    size_t picture_capacity, question_capacity;
} reader;

/* The first of some keys that is there. */
static const json_t *first_of(const json_t *object, const char *const *keys) {
    const json_t *found = NULL;
    for (; *keys && !found; keys++) found = sn_json_at(object, *keys);
    return found;
}

/* A text, a list of texts, or a list of {"answer": text}, as VQA has them. */
static sn_status read_answers(reader *r, const char *where, const json_t *value, sn_set_question *out, sn_error *error) {
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (!count || count > MAX_ANSWERS) return sn_fail(error, SN_ERROR_INPUT, "%s: found %zu answers, expected 1 to %d", where, count, MAX_ANSWERS);
    out->num_answers = (int64_t)count;
    if (!(out->answer = sn_arena_alloc(r->set->arena, count, sizeof *out->answer))) return sn_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        const char *text = sn_set_text(json_is_object(item) ? json_object_get(item, "answer") : item);
        if (!text) return sn_fail(error, SN_ERROR_INPUT, "%s: expected answer, a text, or answers, a list of texts", where);
        if (!(out->answer[i] = sn_arena_strdup(r->set->arena, text))) return sn_fail_memory(error);
    }
    return SN_OK;
}

static sn_status read_question(reader *r, const char *where, int64_t number, const json_t *object, sn_error *error) {
    static const char *const ids[] = {"question_id", "id", NULL}, *const texts[] = {"question", "text", NULL}, *const answers[] = {"answers", "answer", NULL};
    static const char *const pictures[] = {"image", "scene", NULL}, *const kinds[] = {"kind", "category", NULL};
    sn_set *s = r->set;
    const json_t *id = first_of(object, ids), *picture = first_of(object, pictures);
    const char *text = sn_set_text(first_of(object, texts)), *kind = sn_set_text(first_of(object, kinds)), *language = sn_json_string(object, "language");
    sn_set_question q = {.picture = -1, .id = id ? sn_set_id(s, id) : sn_arena_format(s->arena, "line %lld", (long long)number)};
    if (!text) return sn_fail(error, SN_ERROR_INPUT, "%s: expected question, a text", where);
    if (!q.id || (picture && (!sn_set_text(picture) || !*sn_set_text(picture)))) return sn_fail(error, SN_ERROR_INPUT, "%s: expected an id, a number or a text, and a picture's name", where);
    if (sn_map_get(r->ids, q.id, strlen(q.id), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: the id %s is there twice", where, q.id);
    sn_status status = read_answers(r, where, first_of(object, answers), &q, error);
    if (!status && picture) status = sn_set_named_picture(s, r->pictures, &r->picture_capacity, sn_set_text(picture), &q.picture, error);
    if (status) return status;
    q.text = sn_arena_strdup(s->arena, text);
    q.kind = kind && language ? sn_arena_format(s->arena, "%s.%s", kind, language) : kind || language ? sn_arena_strdup(s->arena, kind ? kind : language) : NULL;
    if (!q.text || ((kind || language) && !q.kind) || !sn_map_set(r->ids, q.id, strlen(q.id), 0) || !sn_grow((void **)&s->questions, &r->question_capacity, (size_t)s->num_questions + 1, sizeof q))
        return sn_fail_memory(error);
    s->questions[s->num_questions++] = q;
    return SN_OK;
}

static sn_status read_line(void *context, int64_t number, const char *line, size_t length, sn_error *error) {
    reader *r = context;
    json_t *object;
    char where[600];
    snprintf(where, sizeof where, "%.500s: line %lld", r->path, (long long)number);
    sn_status status = sn_json_bytes(where, line, length, &object, error);
    if (!status) status = read_question(r, where, number, object, error);
    json_decref(object);
    return status;
}

sn_status sn_set_questions(const char *path, sn_set *out, sn_error *error) {
    *out = (sn_set){.arena = sn_arena_new(), .layout = "JSON lines of question and answer"};
    reader r = {.set = out, .path = path, .pictures = sn_map_new(), .ids = sn_map_new()};
    sn_status status = out->arena && r.pictures && r.ids ? sn_set_lines(path, read_line, &r, error) : sn_fail_memory(error);
    if (!status && !out->num_questions) status = sn_fail(error, SN_ERROR_INPUT, "%s: holds no questions", path);
    sn_map_free(r.pictures);
    sn_map_free(r.ids);
    if (status) sn_set_free(out);
    return status;
}
