/* VIST (Huang et al., NAACL 2016), stories in sequence: each annotation is a list of one sentence with its picture. */
#include "eval/set.h"

#include "base/map.h"

#include <string.h>

enum { MAX_STORY = 32 };

typedef struct reader {
    sn_set *set;
    const char *path;
    sn_map *pictures, *stories;
    size_t picture_capacity, story_capacity;
} reader;

static sn_status story_of(reader *r, const char *id, sn_set_story **out, sn_error *error) {
    sn_set *s = r->set;
    int64_t index;
    if (!sn_map_get(r->stories, id, strlen(id), &index)) {
        index = s->num_stories;
        if (!sn_grow((void **)&s->stories, &r->story_capacity, (size_t)index + 1, sizeof *s->stories) || !sn_map_set(r->stories, id, strlen(id), index)) return sn_fail_memory(error);
        s->stories[s->num_stories++] = (sn_set_story){
            .id = id, .caption = sn_arena_alloc(s->arena, MAX_STORY, sizeof(char *)), .picture = sn_arena_alloc(s->arena, MAX_STORY, sizeof(int64_t))};
    }
    *out = &s->stories[index];
    return (*out)->caption && (*out)->picture ? SN_OK : sn_fail_memory(error);
}

static sn_status read_sentence(reader *r, size_t i, const json_t *list, sn_error *error) {
    const json_t *sentence = json_array_get(list, 0);
    const char *id = sn_set_id(r->set, json_object_get(sentence, "story_id")), *picture = sn_set_id(r->set, json_object_get(sentence, "photo_flickr_id")), *text = sn_json_string(sentence, "text");
    int64_t place = -1, index;
    sn_set_story *story;
    if (json_array_size(list) != 1 || !id || !text) return sn_fail(error, SN_ERROR_INPUT, "%s: annotations[%zu]: expected a list of one object with story_id and text", r->path, i);
    if (!picture) return sn_fail(error, SN_ERROR_INPUT, "%s: annotations[%zu]: story %s: a caption without photo_flickr_id", r->path, i, id);
    sn_status status = sn_json_integer(r->path, sentence, "worker_arranged_photo_order", 0, MAX_STORY - 1, &place, error);
    if (!status) status = sn_set_named_picture(r->set, r->pictures, &r->picture_capacity, picture, &index, error); /* its file is named by its id */
    if (!status) status = story_of(r, id, &story, error);
    if (status) return status;
    if (place >= 0 && place != story->count)
        return sn_fail(error, SN_ERROR_INPUT, "%s: annotations[%zu]: story %s: worker_arranged_photo_order: found %lld, expected %lld: a sentence is missing, out of order or there twice", r->path, i, id,
                       (long long)place, (long long)story->count);
    if (story->count == MAX_STORY) return sn_fail(error, SN_ERROR_INPUT, "%s: story %s: more than %d sentences", r->path, id, MAX_STORY);
    story->picture[story->count] = index;
    return (story->caption[story->count++] = sn_arena_strdup(r->set->arena, text)) ? SN_OK : sn_fail_memory(error);
}

static sn_status read_all(reader *r, const json_t *annotations, sn_error *error) {
    const json_t *list;
    size_t i;
    sn_status status;
    if (!json_is_array(annotations)) return sn_fail(error, SN_ERROR_INPUT, "%s: expected VIST's stories in sequence: images and annotations", r->path);
    json_array_foreach(annotations, i, list) if ((status = read_sentence(r, i, list, error))) return status;
    if (!r->set->num_stories) return sn_fail(error, SN_ERROR_INPUT, "%s: holds no stories", r->path);
    for (int64_t k = 0; k < r->set->num_stories; k++)
        if (r->set->stories[k].count < 2) return sn_fail(error, SN_ERROR_INPUT, "%s: story %s: a single sentence, expected two at least", r->path, r->set->stories[k].id);
    return SN_OK;
}

sn_status sn_set_stories(const char *path, sn_set *out, sn_error *error) {
    json_t *data = NULL;
    *out = (sn_set){.arena = sn_arena_new(), .layout = "VIST, stories in sequence"};
    reader r = {.set = out, .path = path, .pictures = sn_map_new(), .stories = sn_map_new()};
    sn_status status = out->arena && r.pictures && r.stories ? sn_set_json(path, &data, error) : sn_fail_memory(error);
    if (!status) status = read_all(&r, json_object_get(data, "annotations"), error);
    json_decref(data);
    sn_map_free(r.pictures);
    sn_map_free(r.stories);
    if (status) sn_set_free(out);
    return status;
}
