/* Pictures with one of a list of classes each. */
#include "eval/set.h"

#include <string.h>

enum { MAX_CLASSES = 100000 };
static const char place[] = "<image>"; /* of the picture in the prompt */

typedef struct reader {
    sn_set *set;
    const char *path;
    sn_map *pictures, *classes, *ids;
    size_t picture_capacity, label_capacity;
} reader;

static sn_status read_prompt(reader *r, const json_t *value, sn_error *error) {
    const char *text = value ? sn_set_text(value) : place, *at = text ? strstr(text, place) : NULL;
    if (!text) return sn_fail(error, SN_ERROR_INPUT, "%s: prompt: expected a text", r->path);
    if (at && strstr(at + 1, place)) return sn_fail(error, SN_ERROR_INPUT, "%s: prompt: found %s twice, expected one picture", r->path, place);
    r->set->before = sn_arena_format(r->set->arena, "%.*s", at ? (int)(at - text) : 0, text);
    r->set->behind = sn_arena_strdup(r->set->arena, at ? at + strlen(place) : text);
    return r->set->before && r->set->behind ? SN_OK : sn_fail_memory(error);
}

static sn_status read_classes(reader *r, const json_t *list, sn_error *error) {
    sn_set *s = r->set;
    const json_t *item;
    size_t i, count = json_array_size(list);
    if (!count || count > MAX_CLASSES) return sn_fail(error, SN_ERROR_INPUT, "%s: classes: found %zu, expected a list of 1 to %d texts", r->path, count, MAX_CLASSES);
    if (!(s->classes = sn_arena_alloc(s->arena, count, sizeof *s->classes))) return sn_fail_memory(error);
    json_array_foreach(list, i, item) {
        const char *text = sn_set_text(item);
        if (!text || !*text) return sn_fail(error, SN_ERROR_INPUT, "%s: classes[%zu]: expected a text that is not empty", r->path, i);
        if (sn_map_get(r->classes, text, strlen(text), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: classes[%zu]: %s is there twice", r->path, i, text);
        if (!(s->classes[i] = sn_arena_strdup(s->arena, text)) || !sn_map_set(r->classes, text, strlen(text), (int64_t)i)) return sn_fail_memory(error);
    }
    s->num_classes = (int64_t)count;
    return SN_OK;
}

static sn_status read_label(reader *r, size_t i, const json_t *object, sn_error *error) {
    sn_set *s = r->set;
    const char *picture = sn_set_text(json_object_get(object, "image")), *text = sn_set_text(json_object_get(object, "label"));
    const json_t *number = json_object_get(object, "label"), *id = json_object_get(object, "id");
    sn_set_label label = {.right = json_is_integer(number) ? json_integer_value(number) : -1, .id = id ? sn_set_id(s, id) : sn_arena_format(s->arena, "%zu", i + 1)};
    if (!picture || !*picture || !label.id) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: expected image, a text (and id, a text or a number, where there is one)", r->path, i);
    if (text && !sn_map_get(r->classes, text, strlen(text), &label.right)) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: label: found %s, which is none of the classes", r->path, i, text);
    if (label.right < 0 || label.right >= s->num_classes)
        return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: label: expected one of the classes, or its number from 0 to %lld", r->path, i, (long long)s->num_classes - 1);
    if (sn_map_get(r->ids, label.id, strlen(label.id), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: the id %s is there twice", r->path, i, label.id);
    sn_status status = sn_set_named_picture(s, r->pictures, &r->picture_capacity, picture, &label.picture, error);
    if (status) return status;
    if (!sn_map_set(r->ids, label.id, strlen(label.id), 0) || !sn_grow((void **)&s->labels, &r->label_capacity, (size_t)s->num_labels + 1, sizeof label)) return sn_fail_memory(error);
    s->labels[s->num_labels++] = label;
    return SN_OK;
}

static sn_status read_all(reader *r, const json_t *data, sn_error *error) {
    const json_t *classes = json_object_get(data, "classes"), *images = json_object_get(data, "images"), *item;
    size_t i;
    if (!json_is_array(classes) || !json_is_array(images)) return sn_fail(error, SN_ERROR_INPUT, "%s: expected classes and images, two lists", r->path);
    sn_status status = read_prompt(r, json_object_get(data, "prompt"), error);
    if (!status) status = read_classes(r, classes, error);
    json_array_foreach(images, i, item) if (!status) status = read_label(r, i, item, error);
    return status || r->set->num_labels ? status : sn_fail(error, SN_ERROR_INPUT, "%s: holds no images", r->path);
}

sn_status sn_set_classes(const char *path, sn_set *out, sn_error *error) {
    json_t *data = NULL;
    *out = (sn_set){.arena = sn_arena_new(), .layout = "classes and images"};
    reader r = {.set = out, .path = path, .pictures = sn_map_new(), .classes = sn_map_new(), .ids = sn_map_new()};
    sn_status status = out->arena && r.pictures && r.classes && r.ids ? sn_set_json(path, &data, error) : sn_fail_memory(error);
    if (!status) status = read_all(&r, data, error);
    json_decref(data);
    sn_map_free(r.pictures);
    sn_map_free(r.classes);
    sn_map_free(r.ids);
    if (status) sn_set_free(out);
    return status;
}
