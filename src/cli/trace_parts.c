/* Answers with pictures of a gallery: generate with num_words, retrieve. */
#include "cli/request.h"
#include "cli/trace.h"
#include "generate/answer.h"
#include "generate/parts.h"
#include "generate/processors.h"

#include <math.h>
#include <string.h>

static bool usable(const void *context, const char *path) {
    const json_t *unavailable = context;
    for (size_t i = 0; i < json_array_size(unavailable); i++) {
        const char *gone = json_string_value(json_array_get(unavailable, i));
        if (gone && strcmp(gone, path) == 0) return false;
    }
    return true;
}

static sn_status open_gallery(sn_tracer *t, sn_finder *g, sn_parts_request *r) {
    const char *path = sn_json_string(t->request, "model.gallery");
    if (!path || !t->model->lm.query || !t->model->system->gallery) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: expected a gallery, for a model that finds pictures");
    r->finder = g, r->usable = usable, r->context = sn_json_at(t->options, "unavailable");
    return t->model->system->gallery(t->model, sn_arena_format(t->arena, "%s/%s", t->folder, path), g, t->error);
}

/* Scores of all rows for some queries, in the order of the gallery. */
static sn_status scores_of(sn_tracer *t, const sn_finder *g, const float *queries, int n, float *scores) {
    int64_t rows = g->rows.rows, width = g->rows.columns;
    float *row = sn_alloc((size_t)width, sizeof *row);
    if (!row) return sn_fail_memory(t->error);
    for (int64_t r = 0; r < rows; r++) {
        sn_weight_row_floats(&g->rows, r, row);
        for (int q = 0; q < n; q++) {
            double dot = 0;
            for (int64_t k = 0; k < width; k++) dot += (double)row[k] * (double)queries[q * width + k];
            scores[q * rows + r] = (float)(dot * (double)g->scale[r] * (double)t->model->query_scale);
        }
    }
    sn_free(row);
    return SN_OK;
}

static sn_status put_found(sn_tracer *t, const sn_finder *g, const float *queries, int n) {
    int64_t rows = g->rows.rows, width = g->rows.columns;
    float *scores = sn_alloc((size_t)n * (size_t)rows + 1, sizeof *scores);
    sn_status status = scores ? scores_of(t, g, queries, n, scores) : sn_fail_memory(t->error);
    if (!status) {
        sn_trace_put(&t->trace, "embed.ret", SN_TYPE_F32, SN_SHAPE(n, width), queries);
        sn_trace_put(&t->trace, "scores", SN_TYPE_F32, SN_SHAPE(n, rows), scores);
    }
    sn_free(scores);
    return status;
}

/* ["text", {"images": [path, …]}, …] */
static json_t *parts_json(const sn_parts *parts) {
    json_t *list = json_array(), *images = NULL;
    for (size_t i = 0; i < parts->count; i++) {
        const sn_part *p = &parts->items[i];
        if (!p->is_picture) images = NULL, json_array_append_new(list, json_string(p->text));
        if (p->is_picture && !images) json_array_append_new(list, json_pack("{s:o}", "images", images = json_array()));
        if (p->is_picture) json_array_append_new(images, json_string(p->text));
    }
    return list;
}

static sn_status prompt_of(sn_tracer *t, const json_t *parts, sn_prompt *prompt, float **pixels, float **rows) {
    sn_request request;
    json_t *object = json_pack("{s:O}", "prompt", parts);
    sn_status status = object ? sn_request_read("request.json", object, t->folder, t->arena, &request, t->error) : sn_fail_memory(t->error);
    if (!status) status = t->model->system->prompt(t->model, &request, prompt, t->error);
    if (!status) status = sn_load_pictures(t->model, prompt->media, prompt->num_media, NULL, pixels, t->error);
    if (!status && prompt->num_media) {
        *rows = sn_alloc((size_t)(prompt->num_media * t->model->media_positions), (size_t)t->model->lm.hidden_size * sizeof **rows);
        status = *rows ? sn_model_encode(t->model, *pixels, prompt->num_media, NULL, *rows, t->error) : sn_fail_memory(t->error);
    }
    json_decref(object);
    return status;
}

static sn_status limits(sn_tracer *t, sn_parts_request *r, int64_t *words) {
    int64_t queries = 1, pictures = 1;
    sn_status status = sn_json_integer("request.json", t->options, "max_num_rets", 0, 4096, &queries, t->error);
    if (!status) status = sn_json_integer("request.json", t->options, "max_img_per_ret", 0, 4096, &pictures, t->error);
    if (!status) status = sn_json_integer("request.json", t->options, "num_words", 0, 1 << 20, words, t->error);
    r->max_queries = (int)queries, r->max_pictures = (int)pictures;
    return status;
}

/* The two best scores of each step, after the rule for the query's token. */
static sn_status put_top2(sn_tracer *t, const sn_answer *answer, const sn_generate_options *o) {
    int64_t vocab = t->model->lm.vocab_size, n = (int64_t)answer->ids.count;
    float *top = sn_alloc((size_t)n * 2 + 1, sizeof *top), *row = sn_alloc((size_t)vocab, sizeof *row);
    sn_status status = top && row ? SN_OK : sn_fail_memory(t->error);
    for (int64_t i = 0; i < n && !status; i++) {
        memcpy(row, answer->logits + i * vocab, (size_t)vocab * sizeof *row);
        status = sn_process_scores(o, answer->ids.data, i, i, row, vocab, t->error);
        for (int k = 0; k < 2 && !status; k++) {
            int64_t best = sn_argmax(row, vocab);
            top[i * 2 + k] = row[best], row[best] = -INFINITY;
        }
    }
    if (!status) sn_trace_put(&t->trace, "step.logits_top2", SN_TYPE_F32, SN_SHAPE(n, 2), top);
    sn_free(top);
    sn_free(row);
    return status;
}

sn_status sn_trace_generate_parts(sn_tracer *t) {
    sn_model *m = t->model;
    sn_finder g = {0};
    sn_prompt prompt = {0};
    sn_lm_session session = {0};
    sn_sequence sequence = {0};
    sn_reply reply = {0};
    sn_parts parts = {0};
    sn_parts_request r = {.model = m, .session = &session, .sequence = &sequence};
    float *pixels = NULL, *rows = NULL;
    int64_t words = 0;
    sn_generate_options options = sn_generate_defaults();
    sn_status status = limits(t, &r, &words);
    if (!status) status = sn_request_options("request.json", t->options, &options, t->error);
    options.max_new_tokens = (int)words, options.mark = m->query_id;
    if (!status) status = open_gallery(t, &g, &r);
    if (!status) status = prompt_of(t, sn_json_at(t->request, "prompt"), &prompt, &pixels, &rows);
    if (!status) status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, t->error);
    if (!status && words) {
        sn_answer_request request = {.model = m, .prompt = &prompt, .rows = rows, .session = &session, .sequence = &sequence, .options = &options, .keep_logits = true, .all_ids = true};
        status = sn_answer_prompt(&request, &reply, t->error);
    }
    r.from = words ? (int64_t)prompt.ids.count : 0, r.media = rows;
    for (size_t i = 0; i < reply.answer.ids.count && !status; i++)
        if (!sn_ids_add(&prompt.ids, reply.answer.ids.data[i])) status = sn_fail_memory(t->error);
    r.ids = prompt.ids.data, r.count = (int64_t)prompt.ids.count;
    if (!status) status = sn_answer_parts(&r, &parts, t->error);
    if (!status && words) status = put_top2(t, &reply.answer, &options);
    if (!status) status = put_found(t, &g, parts.queries, parts.num_queries);
    if (!status) {
        json_t *ids = json_array();
        for (size_t i = 0; i < reply.answer.ids.count; i++) json_array_append_new(ids, json_integer(reply.answer.ids.data[i]));
        json_object_set_new(t->values, "generated_ids", ids);
        json_object_set_new(t->values, "text", json_string(parts.items[0].text));
        json_object_set_new(t->values, "outputs", parts_json(&parts));
    }
    sn_parts_free(&parts);
    sn_reply_free(&reply);
    sn_sequence_free(&session, &sequence);
    sn_lm_session_close(&session);
    sn_prompt_free(&prompt);
    sn_finder_close(&g);
    sn_free(pixels);
    sn_free(rows);
    return status;
}

/* ---- retrieve ---- */

/* One query: its embedding at the last position, the order of the gallery, and the answer where it is text alone. */
static sn_status retrieve_one(sn_tracer *t, const sn_finder *g, const sn_parts_request *limits, const json_t *query, float *embedding, json_t *rankings, json_t *bests, json_t *outputs) {
    sn_model *m = t->model;
    sn_prompt prompt = {0};
    sn_lm_session session = {0};
    sn_sequence sequence = {0}, empty = {0};
    sn_parts parts = {0};
    float *pixels = NULL, *rows = NULL;
    int64_t n = g->rows.rows, found = 0;
    sn_hit *hits = sn_alloc((size_t)n, sizeof *hits);
    sn_status status = hits ? prompt_of(t, query, &prompt, &pixels, &rows) : sn_fail_memory(t->error);
    if (!status) status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, t->error);
    sn_lm_row row = {.sequence = &sequence, .ids = prompt.ids.data, .count = (int64_t)prompt.ids.count, .media = rows};
    if (!status) status = sn_lm_extend_query(&session, &row, 1, false, embedding, t->error);
    if (!status) status = sn_find_rows(g, embedding, NULL, n, hits, &found, t->error);
    if (!status) {
        json_t *ranking = json_array();
        for (int64_t i = 0; i < found; i++) json_array_append_new(ranking, json_integer(hits[i].row));
        json_array_append_new(rankings, ranking);
        char *best = NULL;
        status = found ? g->path(g, hits[0].row, &best, t->error) : SN_OK;
        json_array_append_new(bests, best ? json_string(best) : json_null());
        sn_free(best);
    }
    sn_parts_request r = *limits;
    r.session = &session, r.sequence = &empty, r.ids = prompt.ids.data, r.count = (int64_t)prompt.ids.count, r.media = rows;
    if (!status && !prompt.num_media) status = sn_answer_parts(&r, &parts, t->error);
    if (!status) json_array_append_new(outputs, prompt.num_media ? json_null() : parts_json(&parts));
    sn_parts_free(&parts);
    sn_sequence_free(&session, &sequence);
    sn_lm_session_close(&session);
    sn_prompt_free(&prompt);
    sn_free(pixels);
    sn_free(rows);
    sn_free(hits);
    return status;
}

/* embed.gallery, embed.image and similarity, image by query. */
static sn_status put_pictures(sn_tracer *t, const sn_finder *g, const float *queries, int n) {
    sn_model *m = t->model;
    const json_t *images = sn_json_at(t->request, "images");
    int count = (int)json_array_size(images);
    int64_t width = m->lm.query_size, rows = g->rows.rows;
    const char **paths = sn_arena_alloc(t->arena, (size_t)count + 1, sizeof *paths);
    float *pixels = NULL, *keys = sn_alloc((size_t)(count + rows) * (size_t)width + 1, sizeof *keys), *similar = sn_alloc((size_t)count * (size_t)n + 1, sizeof *similar);
    sn_status status = paths && keys && similar ? SN_OK : sn_fail_memory(t->error);
    for (int64_t r = 0; r < rows && !status; r++) {
        float *to = keys + r * width, factor = g->scale[r] * m->query_scale;
        sn_weight_row_floats(&g->rows, r, to);
        for (int64_t k = 0; k < width; k++) to[k] *= factor;
    }
    if (!status) sn_trace_put(&t->trace, "gallery.embeddings", SN_TYPE_F32, SN_SHAPE(rows, width), keys);
    for (int i = 0; i < count && !status; i++) {
        const char *path = sn_json_string(json_array_get(images, (size_t)i), "path");
        if (!path || !(paths[i] = sn_arena_format(t->arena, "%s/%s", t->folder, path))) status = sn_fail(t->error, SN_ERROR_INPUT, "request.json: images: expected paths");
    }
    if (!status) status = sn_load_pictures(m, paths, count, NULL, &pixels, t->error);
    if (!status && count) status = sn_model_keys(m, pixels, count, keys, t->error);
    for (int i = 0; i < count && !status; i++) {
        double norm = 0;
        for (int64_t k = 0; k < width; k++) norm += (double)keys[i * width + k] * (double)keys[i * width + k];
        for (int q = 0; q < n; q++) {
            double dot = 0;
            for (int64_t k = 0; k < width; k++) dot += (double)keys[i * width + k] * (double)queries[q * width + k];
            similar[i * n + q] = (float)((double)m->query_scale * dot / sqrt(norm));
        }
    }
    if (!status && count) {
        sn_trace_put(&t->trace, "pixel_values", SN_TYPE_F32, SN_SHAPE(count, 3, m->image_size, m->image_size), pixels);
        sn_trace_put(&t->trace, "embed.image", SN_TYPE_F32, SN_SHAPE(count, width), keys);
        sn_trace_put(&t->trace, "similarity", SN_TYPE_F32, SN_SHAPE(count, n), similar);
    }
    sn_free(pixels);
    sn_free(keys);
    sn_free(similar);
    return status;
}

sn_status sn_trace_retrieve(sn_tracer *t) {
    sn_finder g = {0};
    const json_t *queries = sn_json_at(t->request, "queries");
    int n = (int)json_array_size(queries);
    int64_t words = 0;
    sn_parts_request r = {.model = t->model};
    json_t *rankings = json_array(), *bests = json_array(), *outputs = json_array();
    float *embeddings = NULL;
    sn_status status = limits(t, &r, &words);
    if (!status) status = open_gallery(t, &g, &r);
    if (!status && !(embeddings = sn_alloc((size_t)n * (size_t)t->model->lm.query_size + 1, sizeof *embeddings))) status = sn_fail_memory(t->error);
    for (int i = 0; i < n && !status; i++)
        status = retrieve_one(t, &g, &r, json_array_get(queries, (size_t)i), embeddings + i * t->model->lm.query_size, rankings, bests, outputs);
    if (!status) status = put_found(t, &g, embeddings, n);
    if (!status) status = put_pictures(t, &g, embeddings, n);
    json_object_set_new(t->values, "ranking", rankings);
    json_object_set_new(t->values, "best", bests);
    json_object_set_new(t->values, "outputs", outputs);
    sn_finder_close(&g);
    sn_free(embeddings);
    return status;
}
