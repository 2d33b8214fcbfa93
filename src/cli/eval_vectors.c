/* Tasks of `sensorium eval` that compare vectors: pictures from captions and back, pictures from dialogues, the last
 * picture of a story. */
#include "cli/eval.h"

#include "eval/ranking.h"
#include "gallery/gallery.h"
#include "generate/ask.h"
#include "generate/pictures.h"

#include <math.h>
#include <string.h>

enum { FEATURES_KEPT = 256 << 20 }; /* bytes of pictures' rows; a story's picture is often in several stories */
static const double SEEN_BEFORE = 1e4; /* a picture of the story itself comes last, as in the published evaluation */

typedef struct vectors {
    float *row;
    bool *there;
    int64_t count, width;
} vectors;

static sn_status vectors_new(vectors *v, int64_t count, int64_t width, sn_error *error) {
    size_t bytes;
    *v = (vectors){.count = count, .width = width};
    if (__builtin_mul_overflow((size_t)width, sizeof(float), &bytes)) return sn_fail_memory(error);
    v->row = sn_alloc((size_t)count + 1, bytes), v->there = sn_alloc((size_t)count + 1, sizeof *v->there);
    return v->row && v->there ? SN_OK : sn_fail_memory(error);
}

static void vectors_free(vectors *v) {
    sn_free(v->row);
    sn_free(v->there);
}

static sn_status open_vectors(const sn_evaluation *e, sn_gallery_model *out, sn_error *error) {
    sn_status status = sn_gallery_model_of(e->model, &e->image, out, error);
    if (!status && !out->text && e->model->lm.query && e->model->system->prompt) out->text = sn_ask_in_words;
    if (!status && !out->text) status = sn_fail(error, SN_ERROR_SUPPORT, "%s gives no vectors of texts, which %s needs", e->model->system->title, e->task->name);
    return status;
}

/* Vector i of a list: from the results, or made by `make` and added to them. */
static sn_status vector_of(sn_evaluation *e, vectors *v, int64_t i, const char *kind, const char *id, sn_status (*make)(void *context, int64_t i, float *vector, sn_error *error), void *context,
                           sn_error *error) {
    char *name = sn_format("%s %s", kind, id);
    float *row = v->row + i * v->width;
    if (!name) return sn_fail_memory(error);
    const json_t *item = sn_evaluation_find(e, name);
    sn_status status = SN_OK;
    if (item && json_object_get(item, "missing")) v->there[i] = false;
    else if (item) {
        v->there[i] = sn_vector_read(json_object_get(item, "vector"), v->width, row);
        if (!v->there[i]) status = sn_fail(error, SN_ERROR_INPUT, "%s: the item %s: expected a vector of %lld numbers", sn_argument(e->arguments, "output"), name, (long long)v->width);
    } else if ((status = make(context, i, row, error))) status = sn_evaluation_missing(e, name, status, error);
    else {
        v->there[i] = true;
        status = sn_results_add(e->results, name, json_pack("{s:o}", "vector", sn_vector_json(row, v->width)), error);
    }
    sn_free(name);
    return status ? status : sn_evaluation_step(e, error);
}

typedef struct maker {
    sn_evaluation *e;
    sn_gallery_model *model;
    const char *const *text;
} maker;

static sn_status make_picture(void *context, int64_t i, float *vector, sn_error *error) {
    maker *m = context;
    char *path;
    sn_status status = sn_evaluation_path(m->e, &m->e->set.pictures[i], &path, error);
    if (!status) status = sn_vector_of_picture(m->model, path, vector, error);
    sn_free(path);
    return status;
}

static sn_status make_text(void *context, int64_t i, float *vector, sn_error *error) {
    maker *m = context;
    return sn_vector_of_text(m->model, m->text[i], vector, error);
}

static sn_status picture_vectors(sn_evaluation *e, sn_gallery_model *model, vectors *out, sn_error *error) {
    maker m = {.e = e, .model = model};
    sn_status status = vectors_new(out, e->set.num_pictures, model->width, error);
    sn_evaluation_begin(e, "pictures", e->set.num_pictures);
    for (int64_t i = 0; i < e->set.num_pictures && !status; i++) status = vector_of(e, out, i, "picture", e->set.pictures[i].id, make_picture, &m, error);
    return status;
}

/* ---- ranks ---- */

typedef struct ranker {
    const vectors *items;
    double *score;
    int64_t *order;
    bool *relevant, *seen;
} ranker;

static void ranker_free(ranker *r) {
    sn_free(r->score);
    sn_free(r->order);
    sn_free(r->relevant);
    sn_free(r->seen);
}

static sn_status ranker_new(ranker *r, const vectors *items, sn_error *error) {
    size_t n = (size_t)items->count + 1;
    *r = (ranker){.items = items, .score = sn_alloc(n, sizeof(double)), .order = sn_alloc(n, sizeof(int64_t)), .relevant = sn_alloc(n, sizeof(bool)), .seen = sn_alloc(n, sizeof(bool))};
    return r->score && r->order && r->relevant && r->seen ? SN_OK : sn_fail_memory(error);
}

static float dot(const float *a, const float *b, int64_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* From 1; 0 where nothing relevant is there. */
static sn_status rank_of(ranker *r, const float *query, int64_t *rank, sn_error *error) {
    const vectors *v = r->items;
    for (int64_t i = 0; i < v->count; i++) {
        r->score[i] = v->there[i] ? (double)dot(query, v->row + i * v->width, v->width) - (r->seen[i] ? SEEN_BEFORE : 0) : -INFINITY;
        r->relevant[i] &= v->there[i];
    }
    if (!sn_order(r->score, v->count, false, r->order)) return sn_fail_memory(error);
    *rank = sn_first_rank(r->order, v->count, r->relevant);
    return SN_OK;
}

/* The rank of one query: kept with the results. */
static sn_status put_rank(sn_evaluation *e, const char *kind, const char *id, int64_t rank, sn_error *error) {
    char *name = sn_format("rank of %s %s", kind, id);
    sn_status status = name ? SN_OK : sn_fail_memory(error);
    if (!status && !sn_results_find(e->results, name)) status = sn_results_add(e->results, name, json_pack("{s:I}", "rank", (json_int_t)rank), error);
    sn_free(name);
    return status;
}

/* Texts and pictures, where text i belongs to picture belongs[i]: every query's rank among the others. */
typedef struct pairs {
    const vectors *texts, *pictures;
    const int64_t *belongs;
    const char *text_kind, *const *text_id;
} pairs;

/* What query i looks for; false where the query or all that it looks for is missing. */
static bool look_for(const pairs *p, bool by_text, int64_t i, ranker *r) {
    const vectors *queries = by_text ? p->texts : p->pictures;
    bool any = false;
    if (!queries->there[i]) return false;
    for (int64_t k = 0; k < r->items->count; k++) any |= r->relevant[k] = r->items->there[k] && (by_text ? p->belongs[i] == k : p->belongs[k] == i);
    return any;
}

/* Pictures by texts, or texts by pictures. */
static sn_status rank_queries(sn_evaluation *e, const pairs *p, bool by_text, const char *name, sn_error *error) {
    const vectors *queries = by_text ? p->texts : p->pictures;
    ranker r;
    int64_t count = 0, *ranks = sn_alloc((size_t)queries->count + 1, sizeof *ranks);
    json_t *metrics = json_object();
    sn_status status = ranker_new(&r, by_text ? p->pictures : p->texts, error);
    if (!status && (!ranks || !metrics)) status = sn_fail_memory(error);
    sn_evaluation_begin(e, "queries", queries->count);
    for (int64_t i = 0; i < queries->count && !status; i++) {
        if (look_for(p, by_text, i, &r)) {
            status = rank_of(&r, queries->row + i * queries->width, &ranks[count], error);
            if (!status) status = put_rank(e, by_text ? p->text_kind : "picture", by_text ? p->text_id[i] : e->set.pictures[i].id, ranks[count++], error);
        }
        if (!status) status = sn_evaluation_step(e, error);
    }
    if (!status) status = sn_evaluation_ranks(metrics, ranks, count, error);
    json_object_set_new(metrics, "queries", json_integer(count));
    json_object_set(e->metrics, name, metrics);
    if (by_text) e->items = count;
    json_decref(metrics);
    ranker_free(&r);
    sn_free(ranks);
    return status;
}

/* Both ways over texts with their ids and pictures. */
static sn_status both_ways(sn_evaluation *e, const char *kind, const char *const *text, const char *const *id, const int64_t *belongs, int64_t count, sn_error *error) {
    sn_gallery_model model;
    vectors pictures = {0}, texts = {0};
    sn_status status = open_vectors(e, &model, error);
    if (!status) status = picture_vectors(e, &model, &pictures, error);
    if (!status) status = vectors_new(&texts, count, model.width, error);
    maker m = {.e = e, .model = &model, .text = text};
    sn_evaluation_begin(e, "texts", count);
    for (int64_t i = 0; i < count && !status; i++) status = vector_of(e, &texts, i, kind, id[i], make_text, &m, error);
    pairs p = {.texts = &texts, .pictures = &pictures, .belongs = belongs, .text_kind = kind, .text_id = id};
    if (!status) status = rank_queries(e, &p, true, "picture_from_text", error);
    if (!status) status = rank_queries(e, &p, false, "text_from_picture", error);
    vectors_free(&pictures);
    vectors_free(&texts);
    return status;
}

/* ---- recall ---- */

static sn_status read_captions(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_captions(path, sn_argument(e->arguments, "split"), &e->set, error); }

static sn_status recall(sn_evaluation *e, sn_error *error) {
    sn_set *s = &e->set;
    size_t n = (size_t)s->num_captions;
    const char **text = sn_arena_alloc(s->arena, n + 1, sizeof *text), **id = sn_arena_alloc(s->arena, n + 1, sizeof *id);
    int64_t *belongs = sn_arena_alloc(s->arena, n + 1, sizeof *belongs);
    if (!text || !id || !belongs) return sn_fail_memory(error);
    for (size_t i = 0; i < n; i++) text[i] = s->captions[i].text, id[i] = s->captions[i].id, belongs[i] = s->captions[i].picture;
    e->protocol = "cosine of one vector of each picture and caption; all pictures, all captions; the best of a picture's captions counts";
    return both_ways(e, "caption", text, id, belongs, s->num_captions, error);
}

const sn_evaluation_task sn_task_recall = {.name = "recall", .what = "captions", .options = "split", .read = read_captions, .run = recall};

/* ---- pictures from dialogues ---- */

static sn_status read_dialogues(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_dialogues(path, NULL, &e->set, error); }

/* "Q: …? A: …. Q: …? A: …." */
static const char *whole_dialogue(sn_set *s, const sn_set_dialogue *d) {
    sn_buf text = {0};
    for (int64_t i = 0; i < d->num_rounds; i++) {
        sn_buf_printf(&text, "%sQ: %s?", i ? " " : "", d->round[i].question);
        if (d->round[i].answer) sn_buf_printf(&text, " A: %s.", d->round[i].answer);
    }
    const char *copy = text.failed ? NULL : sn_arena_strdup(s->arena, text.data);
    sn_buf_free(&text);
    return copy;
}

static sn_status visdial_pictures(sn_evaluation *e, sn_error *error) {
    sn_set *s = &e->set;
    size_t n = (size_t)s->num_dialogues;
    const char **text = sn_arena_alloc(s->arena, n + 1, sizeof *text), **id = sn_arena_alloc(s->arena, n + 1, sizeof *id);
    int64_t *belongs = sn_arena_alloc(s->arena, n + 1, sizeof *belongs);
    if (!text || !id || !belongs) return sn_fail_memory(error);
    for (size_t i = 0; i < n; i++) {
        if (!(text[i] = whole_dialogue(s, &s->dialogues[i]))) return sn_fail_memory(error);
        id[i] = s->dialogues[i].id, belongs[i] = s->dialogues[i].picture;
    }
    e->protocol = "cosine of each picture and whole dialogue; FROMAGe's published script counts text_from_picture";
    return both_ways(e, "dialogue", text, id, belongs, s->num_dialogues, error);
}

const sn_evaluation_task sn_task_visdial_pictures = {.name = "visdial-pictures", .what = "dialogues", .read = read_dialogues, .run = visdial_pictures};

/* ---- stories ---- */

typedef struct stories {
    sn_evaluation *e;
    sn_gallery_model model;
    sn_pictures *pictures;
    ranker ranker;
    vectors gallery;
} stories;

static sn_status read_stories(sn_evaluation *e, const char *path, sn_error *error) { return sn_set_stories(path, &e->set, error); }

static sn_status story_rows(stories *s, const sn_set_story *story, float *rows, sn_error *error) {
    const sn_model *m = s->e->model;
    size_t size = (size_t)(m->media_positions * m->lm.hidden_size);
    sn_status status = SN_OK;
    for (int64_t i = 0; i + 1 < story->count && !status; i++) {
        char *path;
        sn_picture *picture = NULL;
        const float *encoded;
        status = sn_evaluation_path(s->e, &s->e->set.pictures[story->picture[i]], &path, error);
        if (!status) status = sn_picture_open(s->pictures, path, &s->e->image, &picture, error);
        if (!status) status = sn_picture_rows(s->pictures, picture, s->e->cancel, &encoded, error);
        if (!status) memcpy(rows + (size_t)i * size, encoded, size * sizeof *rows);
        if (picture) sn_picture_drop(s->pictures, picture);
        sn_free(path);
    }
    return status;
}

/* Caption, picture, caption, …, the last caption, each a text of its own. */
static sn_status ask_with_story(stories *s, const sn_set_story *story, float *query, sn_error *error) {
    sn_model *m = s->e->model;
    int64_t count = story->count;
    sn_content *parts = sn_alloc(2 * (size_t)count, sizeof *parts);
    float *rows = sn_alloc((size_t)(count * m->media_positions), (size_t)m->lm.hidden_size * sizeof *rows);
    sn_status status = parts && rows ? story_rows(s, story, rows, error) : sn_fail_memory(error);
    for (int64_t i = 0; i < count && !status; i++) {
        parts[2 * i] = (sn_content){.text = story->caption[i], .begins = true};
        parts[2 * i + 1] = (sn_content){.is_media = true, .text = ""};
    }
    if (!status) status = sn_ask_for_picture(m, &(sn_request){.prompt = parts, .num_prompt = 2 * (int)count - 1}, NULL, rows, query, error);
    sn_free(parts);
    sn_free(rows);
    return status;
}

static sn_status query_of(stories *s, const sn_set_story *story, float *query, sn_error *error) {
    for (int64_t i = 0; i < story->count; i++) {
        const sn_set_picture *p = &s->e->set.pictures[story->picture[i]];
        if (!s->gallery.there[story->picture[i]]) return sn_fail(error, SN_ERROR_INPUT, "its picture %s is missing", p->id);
    }
    if (s->pictures) return ask_with_story(s, story, query, error);
    return sn_vector_of_text(&s->model, story->caption[story->count - 1], query, error);
}

static sn_status rank_story(stories *s, const char *name, const sn_set_story *story, float *query, sn_error *error) {
    sn_status status = query_of(s, story, query, error);
    if (status) return sn_evaluation_missing(s->e, name, status, error);
    int64_t rank, last = story->count - 1;
    memset(s->ranker.seen, 0, (size_t)s->gallery.count);
    memset(s->ranker.relevant, 0, (size_t)s->gallery.count);
    for (int64_t i = 0; i < last; i++) s->ranker.seen[story->picture[i]] = true;
    s->ranker.relevant[story->picture[last]] = true;
    status = rank_of(&s->ranker, query, &rank, error);
    if (status) return status;
    json_t *top = json_array();
    for (int64_t i = 0; i < s->gallery.count && i < 10; i++)
        if (s->gallery.there[s->ranker.order[i]]) json_array_append_new(top, json_string(s->e->set.pictures[s->ranker.order[i]].id));
    return sn_results_add(s->e->results, name, json_pack("{s:I, s:o}", "rank", (json_int_t)rank, "top", top), error);
}

static sn_status rank_stories(stories *s, sn_error *error) {
    sn_evaluation *e = s->e;
    int64_t count = 0, *ranks = sn_alloc((size_t)e->set.num_stories + 1, sizeof *ranks);
    float *query = sn_alloc((size_t)s->model.width, sizeof *query);
    sn_status status = ranks && query ? SN_OK : sn_fail_memory(error);
    sn_evaluation_begin(e, "stories", e->set.num_stories);
    for (int64_t i = 0; i < e->set.num_stories && !status; i++) {
        const sn_set_story *story = &e->set.stories[i];
        char *name = sn_format("story %s", story->id);
        if (!name) status = sn_fail_memory(error);
        if (!status && !sn_evaluation_find(e, name)) status = rank_story(s, name, story, query, error);
        const json_t *item = status ? NULL : sn_results_find(e->results, name);
        if (item && json_object_get(item, "rank")) ranks[count++] = json_integer_value(json_object_get(item, "rank"));
        sn_free(name);
        if (!status) status = sn_evaluation_step(e, error);
    }
    if (!status) status = sn_evaluation_ranks(e->metrics, ranks, count, error);
    e->items = count;
    sn_free(ranks);
    sn_free(query);
    return status;
}

static sn_status vist(sn_evaluation *e, sn_error *error) {
    stories s = {.e = e};
    bool reads = e->model->lm.query && e->model->system->prompt;
    int64_t size = 0;
    sn_status status = open_vectors(e, &s.model, error);
    e->protocol = reads ? "query: all captions and the pictures before the last, in turn; the story's own pictures come last" : "query: the last caption alone; the story's own pictures come last";
    if (!status && reads) status = sn_pictures_new(e->model, FEATURES_KEPT, &s.pictures, error);
    if (!status) status = picture_vectors(e, &s.model, &s.gallery, error);
    if (!status) status = ranker_new(&s.ranker, &s.gallery, error);
    if (!status) status = rank_stories(&s, error);
    for (int64_t i = 0; i < s.gallery.count && s.gallery.there; i++) size += s.gallery.there[i];
    json_object_set_new(e->metrics, "gallery", json_integer(size));
    ranker_free(&s.ranker);
    vectors_free(&s.gallery);
    sn_pictures_free(s.pictures);
    return status;
}

const sn_evaluation_task sn_task_vist = {.name = "vist", .what = "stories", .read = read_stories, .run = vist};
