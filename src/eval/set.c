/* What the readers share. */
#include "eval/set.h"

#include "base/file.h"

#include <string.h>

void sn_set_free(sn_set *s) {
    sn_arena_free(s->arena);
    sn_free(s->pictures);
    sn_free(s->captions);
    sn_free(s->stories);
    sn_free(s->dialogues);
    sn_free(s->questions);
    sn_free(s->labels);
    *s = (sn_set){0};
}

static void keep(int64_t *count, int64_t n) {
    if (*count > n) *count = n;
}

static void use(int64_t *used, int64_t picture) {
    if (picture >= *used) *used = picture + 1;
}

/* Pictures stand in the order of their first use, so those of a beginning are a beginning. */
void sn_set_limit(sn_set *s, int64_t n) {
    int64_t used = 0, kept = 0;
    keep(&s->num_stories, n), keep(&s->num_dialogues, n), keep(&s->num_questions, n), keep(&s->num_labels, n);
    for (int64_t i = 0; i < s->num_stories; i++)
        for (int64_t k = 0; k < s->stories[i].count; k++) use(&used, s->stories[i].picture[k]);
    for (int64_t i = 0; i < s->num_dialogues; i++) use(&used, s->dialogues[i].picture);
    for (int64_t i = 0; i < s->num_questions; i++) use(&used, s->questions[i].picture);
    for (int64_t i = 0; i < s->num_labels; i++) use(&used, s->labels[i].picture);
    if (s->num_captions) used = n;
    for (int64_t i = 0; i < s->num_captions; i++)
        if (s->captions[i].picture < n) s->captions[kept++] = s->captions[i];
    s->num_captions = kept;
    keep(&s->num_pictures, used);
}

sn_status sn_set_json(const char *path, json_t **out, sn_error *error) {
    char *bytes;
    size_t length;
    *out = NULL;
    sn_status status = sn_read_file(path, SN_SET_MAX_FILE, &bytes, &length, error);
    if (status) return status;
    status = sn_json_value(path, bytes, length, out, error);
    sn_free(bytes);
    return status;
}

sn_status sn_set_lines(const char *path, sn_status (*each)(void *context, int64_t number, const char *line, size_t length, sn_error *error), void *context, sn_error *error) {
    char *bytes;
    size_t length;
    sn_status status = sn_read_file(path, SN_SET_MAX_FILE, &bytes, &length, error);
    if (status) return status;
    int64_t number = 1;
    for (const char *at = bytes, *end = bytes + length; at < end && !status; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((stop ? stop : end) - at);
        at += size + (stop != NULL);
        const char *line = at - size - (stop != NULL);
        if (size && line[size - 1] == '\r') size--;
        if (size) status = each(context, number, line, size, error);
    }
    sn_free(bytes);
    return status;
}

const char *sn_set_id(sn_set *s, const json_t *value) {
    if (json_is_integer(value)) return sn_arena_format(s->arena, "%lld", (long long)json_integer_value(value));
    const char *text = sn_set_text(value);
    return text && *text ? sn_arena_strdup(s->arena, text) : NULL;
}

sn_set_picture *sn_set_add_picture(sn_set *s, size_t *capacity) {
    if (!sn_grow((void **)&s->pictures, capacity, (size_t)s->num_pictures + 1, sizeof *s->pictures)) return NULL;
    s->pictures[s->num_pictures] = (sn_set_picture){0};
    return &s->pictures[s->num_pictures++];
}

const char *sn_set_text(const json_t *value) {
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

sn_status sn_set_named_picture(sn_set *s, sn_map *known, size_t *capacity, const char *name, int64_t *index, sn_error *error) {
    if (sn_map_get(known, name, strlen(name), index)) return SN_OK;
    sn_set_picture *p = sn_set_add_picture(s, capacity);
    *index = s->num_pictures - 1;
    if (!p || !sn_map_set(known, name, strlen(name), *index)) return sn_fail_memory(error);
    p->id = p->name[0] = sn_arena_strdup(s->arena, name);
    return p->id ? SN_OK : sn_fail_memory(error);
}
