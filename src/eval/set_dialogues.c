/* VisDial (Das et al., CVPR 2017), version 1.0: dialogues of rounds that point into lists of questions and answers; and
 * the relevance of each option, which people gave for one round of each dialogue. */
#include "eval/set.h"

#include "base/map.h"

#include <string.h>

enum { MAX_ROUNDS = 100, MAX_OPTIONS = 1000 };

typedef struct reader {
    sn_set *set;
    const char *path;
    char split[64];
    const char **question, **answer;
    int64_t num_questions, num_answers;
    sn_map *dialogues;
    size_t picture_capacity, dialogue_capacity;
} reader;

static sn_status read_texts(reader *r, const json_t *list, const char *name, const char ***out, int64_t *count, sn_error *error) {
    const json_t *item;
    size_t i;
    *count = (int64_t)json_array_size(list);
    *out = sn_arena_alloc(r->set->arena, (size_t)*count + 1, sizeof **out);
    if (!*out) return sn_fail_memory(error);
    json_array_foreach(list, i, item) {
        const char *text = json_string_value(item);
        if (!text || strlen(text) != json_string_length(item)) return sn_fail(error, SN_ERROR_INPUT, "%s: data.%s[%zu]: expected a text", r->path, name, i);
        if (!((*out)[i] = sn_arena_strdup(r->set->arena, text))) return sn_fail_memory(error);
    }
    return SN_OK;
}

/* The text that a key of a round points at; NULL in *out where the key is absent. */
static sn_status text_at(reader *r, const char *where, const json_t *round, const char *key, const char *const *texts, int64_t count, const char **out, sn_error *error) {
    int64_t index = -1;
    sn_status status = sn_json_integer(where, round, key, 0, count - 1, &index, error);
    *out = !status && index >= 0 ? texts[index] : NULL;
    return status;
}

static sn_status read_options(reader *r, const char *where, const json_t *list, sn_set_round *out, sn_error *error) {
    const json_t *item;
    size_t i;
    out->num_options = (int64_t)json_array_size(list);
    if (out->num_options > MAX_OPTIONS) return sn_fail(error, SN_ERROR_INPUT, "%s: found %lld answer_options, expected at most %d", where, (long long)out->num_options, MAX_OPTIONS);
    if (!(out->option = sn_arena_alloc(r->set->arena, (size_t)out->num_options + 1, sizeof *out->option))) return sn_fail_memory(error);
    json_array_foreach(list, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) >= r->num_answers)
            return sn_fail(error, SN_ERROR_INPUT, "%s: answer_options[%zu]: expected a number below %lld, that of data.answers", where, i, (long long)r->num_answers);
        out->option[i] = r->answer[json_integer_value(item)];
    }
    return SN_OK;
}

static sn_status read_round(reader *r, const char *where, const json_t *round, sn_set_round *out, sn_error *error) {
    *out = (sn_set_round){.right = -1};
    sn_status status = text_at(r, where, round, "question", r->question, r->num_questions, &out->question, error);
    if (!status && !out->question) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a question", where);
    if (!status) status = text_at(r, where, round, "answer", r->answer, r->num_answers, &out->answer, error);
    if (!status) status = read_options(r, where, json_object_get(round, "answer_options"), out, error);
    return status ? status : sn_json_integer(where, round, "gt_index", 0, out->num_options - 1, &out->right, error);
}

/* Names as VisDial's own pictures and those of COCO, from which its training set comes. */
static sn_status add_picture(reader *r, const char *id, int64_t *index, sn_error *error) {
    sn_set_picture *p = sn_set_add_picture(r->set, &r->picture_capacity);
    sn_arena *arena = r->set->arena;
    int width = 12, length = (int)strlen(id) < width ? (int)strlen(id) : width;
    if (!p) return sn_fail_memory(error);
    *index = r->set->num_pictures - 1;
    p->id = id;
    p->name[0] = sn_arena_format(arena, "VisualDialog_%s_%.*s%s.jpg", r->split, width - length, "000000000000", id);
    p->name[1] = sn_arena_format(arena, "COCO_train2014_%.*s%s.jpg", width - length, "000000000000", id);
    p->name[2] = sn_arena_format(arena, "COCO_val2014_%.*s%s.jpg", width - length, "000000000000", id);
    p->name[3] = sn_arena_format(arena, "%.*s%s", width - length, "000000000000", id);
    p->name[4] = id;
    return p->name[0] && p->name[1] && p->name[2] && p->name[3] ? SN_OK : sn_fail_memory(error);
}

static sn_status read_dialogue(reader *r, size_t i, const json_t *object, sn_error *error) {
    sn_set *s = r->set;
    const char *id = sn_set_id(s, json_object_get(object, "image_id"));
    const json_t *rounds = json_object_get(object, "dialog"), *round;
    size_t k, count = json_array_size(rounds);
    char where[600];
    if (!id) return sn_fail(error, SN_ERROR_INPUT, "%s: data.dialogs[%zu]: a dialogue without image_id", r->path, i);
    if (!count || count > MAX_ROUNDS) return sn_fail(error, SN_ERROR_INPUT, "%s: data.dialogs[%zu]: dialog: found %zu rounds, expected 1 to %d", r->path, i, count, MAX_ROUNDS);
    if (sn_map_get(r->dialogues, id, strlen(id), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: data.dialogs[%zu]: image_id %s is there twice", r->path, i, id);
    if (!sn_map_set(r->dialogues, id, strlen(id), s->num_dialogues) || !sn_grow((void **)&s->dialogues, &r->dialogue_capacity, (size_t)s->num_dialogues + 1, sizeof *s->dialogues)) return sn_fail_memory(error);
    sn_set_dialogue *d = &s->dialogues[s->num_dialogues++];
    *d = (sn_set_dialogue){.id = id, .num_rounds = (int64_t)count, .round = sn_arena_alloc(s->arena, count, sizeof *d->round)};
    sn_status status = d->round ? add_picture(r, id, &d->picture, error) : sn_fail_memory(error);
    json_array_foreach(rounds, k, round) {
        snprintf(where, sizeof where, "%.450s: data.dialogs[%zu].dialog[%zu]", r->path, i, k);
        if (!status) status = read_round(r, where, round, &d->round[k], error);
    }
    return status;
}

static sn_status read_all(reader *r, const json_t *data, sn_error *error) {
    const json_t *questions = sn_json_at(data, "data.questions"), *answers = sn_json_at(data, "data.answers"), *dialogues = sn_json_at(data, "data.dialogs"), *dialogue;
    const char *split = sn_json_string(data, "split");
    size_t i;
    if (!json_is_array(questions) || !json_is_array(answers) || !json_is_array(dialogues))
        return sn_fail(error, SN_ERROR_INPUT, "%s: expected VisDial v1.0: data with questions, answers and dialogs", r->path);
    if (split && strlen(split) >= sizeof r->split) return sn_fail(error, SN_ERROR_INPUT, "%s: split: expected a short name", r->path);
    strcpy(r->split, split ? split : "val2018");
    sn_status status = read_texts(r, questions, "questions", &r->question, &r->num_questions, error);
    if (!status) status = read_texts(r, answers, "answers", &r->answer, &r->num_answers, error);
    json_array_foreach(dialogues, i, dialogue) if (!status) status = read_dialogue(r, i, dialogue, error);
    if (!status && !r->set->num_dialogues) status = sn_fail(error, SN_ERROR_INPUT, "%s: holds no dialogues", r->path);
    return status;
}

/* round_id counts from 1. */
static sn_status read_relevance(reader *r, const char *path, size_t i, const json_t *object, sn_error *error) {
    const char *id = sn_set_id(r->set, json_object_get(object, "image_id"));
    const json_t *list = json_object_get(object, "gt_relevance"), *item;
    int64_t index, number = 0;
    size_t k;
    char where[600];
    snprintf(where, sizeof where, "%.450s: item %zu", path, i);
    if (!list) list = json_object_get(object, "relevance");
    if (!id || !sn_map_get(r->dialogues, id, strlen(id), &index)) return sn_fail(error, SN_ERROR_INPUT, "%s: image_id: expected that of a dialogue", where);
    sn_set_dialogue *d = &r->set->dialogues[index];
    sn_status status = sn_json_integer(where, object, "round_id", 1, d->num_rounds, &number, error);
    if (status) return status;
    if (!number || (int64_t)json_array_size(list) != d->round[number - 1].num_options || !json_array_size(list))
        return sn_fail(error, SN_ERROR_INPUT, "%s: expected round_id and gt_relevance, a number for each of the round's %lld options", where, number ? (long long)d->round[number - 1].num_options : 0);
    if (d->round[number - 1].relevance) return sn_fail(error, SN_ERROR_INPUT, "%s: the same round is there twice", where);
    double *relevance = d->round[number - 1].relevance = sn_arena_alloc(r->set->arena, json_array_size(list), sizeof *relevance);
    if (!relevance) return sn_fail_memory(error);
    json_array_foreach(list, k, item) {
        relevance[k] = json_number_value(item);
        if (!json_is_number(item) || !(relevance[k] >= 0 && relevance[k] <= 1e6)) return sn_fail(error, SN_ERROR_INPUT, "%s: gt_relevance[%zu]: expected a number from 0", where, k);
    }
    return SN_OK;
}

static sn_status read_all_relevance(reader *r, const char *path, sn_error *error) {
    json_t *data, *item;
    size_t i;
    sn_status status = sn_set_json(path, &data, error);
    if (status) return status;
    if (!json_is_array(data)) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected VisDial's dense annotations, a list", path);
    json_array_foreach(data, i, item) if (!status) status = read_relevance(r, path, i, item, error);
    json_decref(data);
    return status;
}

sn_status sn_set_dialogues(const char *path, const char *relevance, sn_set *out, sn_error *error) {
    json_t *data = NULL;
    *out = (sn_set){.arena = sn_arena_new(), .layout = "VisDial v1.0"};
    reader r = {.set = out, .path = path, .dialogues = sn_map_new()};
    sn_status status = out->arena && r.dialogues ? sn_set_json(path, &data, error) : sn_fail_memory(error);
    if (!status) status = read_all(&r, data, error);
    json_decref(data);
    if (!status && relevance) status = read_all_relevance(&r, relevance, error);
    sn_map_free(r.dialogues);
    if (status) sn_set_free(out);
    return status;
}
