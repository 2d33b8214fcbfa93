/* Pictures with captions: COCO's two lists, Karpathy's one, and lines. */
#include "eval/set.h"

#include "base/map.h"

#include <string.h>
#include <strings.h>

typedef struct reader {
    sn_set *set;
    const char *path, *split;
    sn_map *pictures, *captions; /* ids to indices */
    size_t picture_capacity, caption_capacity;
    bool tabs;
} reader;

static sn_status add_picture(reader *r, const char *id, int64_t *index, sn_error *error) {
    sn_set_picture *p = sn_set_add_picture(r->set, &r->picture_capacity);
    *index = r->set->num_pictures - 1;
    if (!p || !sn_map_set(r->pictures, id, strlen(id), *index)) return sn_fail_memory(error);
    p->id = id;
    return SN_OK;
}

static sn_status add_caption(reader *r, const char *id, const char *text, int64_t picture, sn_error *error) {
    sn_set *s = r->set;
    const char *copy = sn_arena_strdup(s->arena, text);
    if (!copy || !sn_grow((void **)&s->captions, &r->caption_capacity, (size_t)s->num_captions + 1, sizeof *s->captions)) return sn_fail_memory(error);
    if (!id) id = sn_arena_format(s->arena, "%lld", (long long)s->num_captions + 1);
    if (!id) return sn_fail_memory(error);
    if (sn_map_get(r->captions, id, strlen(id), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: caption %lld: the id %s is there twice", r->path, (long long)s->num_captions + 1, id);
    if (!sn_map_set(r->captions, id, strlen(id), s->num_captions)) return sn_fail_memory(error);
    s->captions[s->num_captions++] = (sn_set_caption){.id = id, .text = copy, .picture = picture};
    return SN_OK;
}

/* ---- COCO ---- */

static sn_status read_image(reader *r, size_t i, const json_t *image, sn_error *error) {
    const char *id = sn_set_id(r->set, json_object_get(image, "id")), *name = sn_json_string(image, "file_name");
    int64_t index;
    if (!id || !name) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: expected id and file_name", r->path, i);
    if (sn_map_get(r->pictures, id, strlen(id), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: the id %s is there twice", r->path, i, id);
    sn_status status = add_picture(r, id, &index, error);
    if (!status && !(r->set->pictures[index].name[0] = sn_arena_strdup(r->set->arena, name))) status = sn_fail_memory(error);
    return status;
}

static sn_status read_annotation(reader *r, size_t i, const json_t *annotation, sn_error *error) {
    const json_t *number = json_object_get(annotation, "id");
    const char *picture = sn_set_id(r->set, json_object_get(annotation, "image_id")), *text = sn_json_string(annotation, "caption"), *id = number ? sn_set_id(r->set, number) : NULL;
    int64_t index;
    if (!picture) return sn_fail(error, SN_ERROR_INPUT, "%s: annotations[%zu]: a caption without image_id", r->path, i);
    if (!text || (number && !id)) return sn_fail(error, SN_ERROR_INPUT, "%s: annotations[%zu]: expected a caption, a text, and an id", r->path, i);
    if (!sn_map_get(r->pictures, picture, strlen(picture), &index)) return sn_fail(error, SN_ERROR_INPUT, "%s: annotations[%zu]: image_id %s is none of the images", r->path, i, picture);
    return add_caption(r, id, text, index, error);
}

static sn_status read_coco(reader *r, const json_t *images, const json_t *annotations, sn_error *error) {
    const json_t *item;
    size_t i;
    sn_status status = SN_OK;
    r->set->layout = "COCO captions";
    json_array_foreach(images, i, item) if ((status = read_image(r, i, item, error))) return status;
    json_array_foreach(annotations, i, item) if ((status = read_annotation(r, i, item, error))) return status;
    return status;
}

/* ---- Karpathy's splits ---- */

static sn_status read_split_image(reader *r, size_t i, const json_t *image, sn_error *error) {
    sn_arena *arena = r->set->arena;
    const char *name = sn_json_string(image, "filename"), *folder = sn_json_string(image, "filepath"), *id;
    const json_t *sentences = json_object_get(image, "sentences"), *sentence, *number = json_object_get(image, "cocoid");
    int64_t index;
    size_t k;
    if (!number) number = json_object_get(image, "imgid");
    if (!name || !json_array_size(sentences)) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: expected filename and sentences", r->path, i);
    if (!(id = number ? sn_set_id(r->set, number) : sn_arena_strdup(arena, name))) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: expected a number or a text as its id", r->path, i);
    if (sn_map_get(r->pictures, id, strlen(id), NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: the id %s is there twice", r->path, i, id);
    sn_status status = add_picture(r, id, &index, error);
    if (status) return status;
    sn_set_picture *p = &r->set->pictures[index];
    p->name[0] = folder ? sn_arena_format(arena, "%s/%s", folder, name) : sn_arena_strdup(arena, name);
    p->name[1] = folder ? sn_arena_strdup(arena, name) : NULL;
    if (!p->name[0] || (folder && !p->name[1])) return sn_fail_memory(error);
    json_array_foreach(sentences, k, sentence) {
        const char *text = sn_json_string(sentence, "raw");
        if (!text) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: sentences[%zu]: expected raw, a text", r->path, i, k);
        if ((status = add_caption(r, NULL, text, index, error))) return status;
    }
    return SN_OK;
}

static sn_status read_splits(reader *r, const json_t *images, sn_error *error) {
    const char *wanted = r->split ? r->split : "test";
    const json_t *image;
    size_t i;
    r->set->layout = "Karpathy's splits";
    json_array_foreach(images, i, image) {
        const char *split = sn_json_string(image, "split");
        if (!split) return sn_fail(error, SN_ERROR_INPUT, "%s: images[%zu]: expected split", r->path, i);
        sn_status status = strcmp(split, wanted) == 0 ? read_split_image(r, i, image, error) : SN_OK;
        if (status) return status;
    }
    return r->set->num_pictures ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: no picture is in the split %s", r->path, wanted);
}

static sn_status read_object(reader *r, sn_error *error) {
    json_t *data;
    sn_status status = sn_set_json(r->path, &data, error);
    if (status) return status;
    const json_t *images = json_object_get(data, "images"), *annotations = json_object_get(data, "annotations");
    if (json_is_array(images) && json_is_array(annotations)) status = read_coco(r, images, annotations, error);
    else if (json_is_array(images) && json_object_get(json_array_get(images, 0), "sentences")) status = read_splits(r, images, error);
    else status = sn_fail(error, SN_ERROR_INPUT, "%s: expected COCO's captions (images and annotations) or Karpathy's splits (images with sentences)", r->path);
    json_decref(data);
    return status;
}

/* ---- lines ---- */

/* A picture's captions may stand anywhere. */
static sn_status add_pair(reader *r, const char *picture, const char *caption, sn_error *error) {
    int64_t index;
    sn_status status = sn_set_named_picture(r->set, r->pictures, &r->picture_capacity, picture, &index, error);
    return status ? status : add_caption(r, NULL, caption, index, error);
}

static sn_status read_line(void *context, int64_t number, const char *line, size_t length, sn_error *error) {
    reader *r = context;
    char where[600];
    snprintf(where, sizeof where, "%.500s: line %lld", r->path, (long long)number);
    if (!r->tabs) {
        json_t *object;
        sn_status status = sn_json_bytes(where, line, length, &object, error);
        if (status) return status;
        const char *picture = sn_json_string(object, "image"), *caption = sn_json_string(object, "caption");
        status = picture && *picture && caption ? add_pair(r, picture, caption, error) : sn_fail(error, SN_ERROR_INPUT, "%s: expected image and caption, both texts", where);
        json_decref(object);
        return status;
    }
    const char *tab = memchr(line, '\t', length);
    json_t *right = tab ? json_stringn(tab + 1, length - (size_t)(tab + 1 - line)) : NULL, *left = tab ? json_stringn(line, (size_t)(tab - line)) : NULL; /* NULL: not UTF-8 */
    bool whole = left && right && json_string_length(left) && strlen(json_string_value(left)) == json_string_length(left) && strlen(json_string_value(right)) == json_string_length(right);
    sn_status status;
    if (!whole) status = sn_fail(error, SN_ERROR_INPUT, "%s: expected a picture, a tab and a caption, in UTF-8", where);
    else status = number == 1 && strcmp(json_string_value(left), "image") == 0 ? SN_OK : add_pair(r, json_string_value(left), json_string_value(right), error);
    json_decref(left);
    json_decref(right);
    return status;
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n >= m && strcasecmp(name + n - m, with) == 0;
}

/* Pictures without a caption have nothing to be held against. */
static sn_status drop_unused(reader *r, sn_error *error) {
    sn_set *s = r->set;
    int64_t *place = sn_alloc((size_t)s->num_pictures + 1, sizeof *place), kept = 0;
    if (!place) return sn_fail_memory(error);
    for (int64_t i = 0; i < s->num_captions; i++) place[s->captions[i].picture] = 1;
    for (int64_t i = 0; i < s->num_pictures; i++) {
        if (!place[i]) continue;
        s->pictures[kept] = s->pictures[i];
        place[i] = kept++;
    }
    for (int64_t i = 0; i < s->num_captions; i++) s->captions[i].picture = place[s->captions[i].picture];
    s->without = s->num_pictures - kept, s->num_pictures = kept;
    sn_free(place);
    return SN_OK;
}

sn_status sn_set_captions(const char *path, const char *split, sn_set *out, sn_error *error) {
    *out = (sn_set){.arena = sn_arena_new()};
    reader r = {.set = out, .path = path, .split = split, .pictures = sn_map_new(), .captions = sn_map_new(), .tabs = ends(path, ".tsv")};
    bool lines = r.tabs || ends(path, ".jsonl");
    if (lines) out->layout = r.tabs ? "tab-separated pictures and captions" : "JSON lines of image and caption";
    sn_status status = !out->arena || !r.pictures || !r.captions ? sn_fail_memory(error) : lines ? sn_set_lines(path, read_line, &r, error) : read_object(&r, error);
    if (!status && !out->num_captions) status = sn_fail(error, SN_ERROR_INPUT, "%s: holds no captions", path);
    if (!status) status = drop_unused(&r, error);
    sn_map_free(r.pictures);
    sn_map_free(r.captions);
    if (status) sn_set_free(out);
    return status;
}
