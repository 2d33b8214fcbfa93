/* sensorium trace CASE -o DIR: every named tensor of one request, as files to compare. */
#include "base/file.h"
#include "base/folder.h"
#include "cli/command.h"
#include "cli/request.h"
#include "cli/trace.h"
#include "generate/answer.h"
#include "generate/processors.h"
#include "systems/clip.h"
#include "train/step.h"
#include "weights/writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sn_shape pixel_shape(const sn_model *m, int pictures) { return SN_SHAPE(pictures, 3, m->image_size, m->image_size); }

/* Prompt and pictures of one request object. */
static sn_status prepare(sn_tracer *t, const json_t *object, sn_prompt *prompt, float **pixels) {
    sn_request request;
    sn_image_options image;
    *pixels = NULL;
    sn_status status = sn_trace_picture_options(t, &image, NULL);
    if (!status) status = sn_request_read("request.json", object, t->folder, t->arena, &request, t->error);
    if (status) return status;
    request.template_name = sn_json_string(t->options, "conv_mode");
    if (!t->model->system->prompt) return sn_fail(t->error, SN_ERROR_SUPPORT, "%s has no prompt", t->model->system->title);
    status = t->model->system->prompt(t->model, &request, prompt, t->error);
    if (!status) status = sn_load_pictures(t->model, prompt->media, prompt->num_media, &image, pixels, t->error);
    return status;
}

static json_t *ids_json(const sn_ids *ids) {
    json_t *array = json_array();
    for (size_t i = 0; i < ids->count; i++) json_array_append_new(array, json_integer(ids->data[i]));
    return array;
}

/* ---- generate ---- */

static sn_status answer_one(sn_tracer *t, const json_t *object, sn_reply *reply) {
    sn_prompt prompt = {0};
    float *pixels = NULL;
    sn_generate_options options = sn_generate_defaults();
    sn_status status = sn_request_options("request.json", t->options, &options, t->error);
    if (!status) status = prepare(t, object, &prompt, &pixels);
    if (!status) {
        if (pixels) sn_trace_put(&t->trace, "pixel_values", SN_TYPE_F32, pixel_shape(t->model, prompt.num_media), pixels);
        sn_answer_request request = {.model = t->model, .prompt = &prompt, .pixels = pixels, .options = &options, .keep_logits = true, .keep_stream = true};
        status = sn_answer_prompt(&request, reply, t->error);
    }
    sn_prompt_free(&prompt);
    sn_free(pixels);
    return status;
}

static sn_status run_generate(sn_tracer *t) {
    const json_t *batch = sn_json_at(t->request, "batch");
    size_t n = batch ? json_array_size(batch) : 1;
    json_t *ids = json_array(), *texts = json_array();
    int64_t vocab = t->model->lm.vocab_size;
    float *first = sn_alloc(n * (size_t)vocab + 1, sizeof *first);
    sn_status status = first ? SN_OK : sn_fail_memory(t->error);
    for (size_t i = 0; i < n && !status; i++) {
        sn_reply reply = {0};
        status = answer_one(t, batch ? json_array_get(batch, i) : t->request, &reply);
        if (status) break;
        json_array_append_new(ids, ids_json(&reply.answer.ids));
        json_array_append_new(texts, json_stringn(reply.text.data ? reply.text.data : "", reply.text.length));
        if (reply.answer.logits) {
            memcpy(first + i * (size_t)vocab, reply.answer.logits, (size_t)vocab * sizeof *first);
            if (!batch) sn_trace_put(&t->trace, "generate.logits", SN_TYPE_F32, SN_SHAPE((int64_t)reply.answer.ids.count, vocab), reply.answer.logits);
        }
        if (!batch) {
            json_object_set(t->values, "stream", reply.stream);
            json_object_set_new(t->values, "beam_score", json_real(reply.answer.beam_score));
            json_object_set_new(t->values, "finish_reason", json_string(reply.by_length ? "length" : "stop"));
            if (reply.stopped_by) json_object_set_new(t->values, "stopped_by", json_string(reply.stopped_by));
        }
        sn_reply_free(&reply);
    }
    if (!status) {
        sn_trace_put(&t->trace, "generate.first_logits", SN_TYPE_F32, SN_SHAPE((int64_t)n, vocab), first);
        json_object_set(t->values, "generated_ids", batch ? ids : json_array_get(ids, 0));
        json_object_set(t->values, "text", batch ? texts : json_array_get(texts, 0));
    }
    json_decref(ids);
    json_decref(texts);
    sn_free(first);
    return status;
}

/* ---- logits ---- */

/* Distributions that the next id would be drawn from, one for each entry of `sampling`. */
static sn_status sample_probabilities(sn_tracer *t, const float *last, const sn_ids *ids) {
    const json_t *sets = sn_json_at(t->request, "sampling");
    int64_t vocab = t->model->lm.vocab_size;
    size_t n = json_array_size(sets);
    if (!n) return SN_OK;
    float *p = sn_alloc(n * (size_t)vocab, sizeof *p);
    json_t *kept = json_array();
    sn_status status = p ? SN_OK : sn_fail_memory(t->error);
    for (size_t i = 0; i < n && !status; i++) {
        float *row = p + i * (size_t)vocab;
        sn_generate_options options = sn_generate_defaults();
        memcpy(row, last, (size_t)vocab * sizeof *row);
        status = sn_request_options("request.json: sampling", json_array_get(sets, i), &options, t->error);
        if (!status) status = sn_process_scores(&options, ids->data, (int64_t)ids->count, 0, row, vocab, t->error);
        if (!status) status = sn_warp_scores(&options, row, vocab, t->error);
        if (status) break;
        sn_softmax(row, vocab);
        int64_t count = 0;
        for (int64_t k = 0; k < vocab; k++) count += row[k] > 0;
        json_array_append_new(kept, json_integer(count));
    }
    if (!status) sn_trace_put(&t->trace, "sample.probs", SN_TYPE_F32, SN_SHAPE((int64_t)n, vocab), p);
    json_object_set_new(t->values, "kept", kept);
    sn_free(p);
    return status;
}

/* mean_nll: the mean log-likelihood of the prompt's words, each after what stands before it. */
static sn_status put_likelihood(sn_tracer *t, const sn_prompt *prompt, const float *logits) {
    int64_t vocab = t->model->lm.vocab_size, words = 0;
    double sum = 0;
    float *row = sn_alloc((size_t)vocab, sizeof *row);
    if (!row) return sn_fail_memory(t->error);
    for (size_t i = 1; i < prompt->ids.count; i++) {
        if (prompt->ids.data[i] < 0) continue;
        memcpy(row, logits + (int64_t)(i - 1) * vocab, (size_t)vocab * sizeof *row);
        sn_log_softmax(row, vocab);
        sum += (double)row[prompt->ids.data[i]], words++;
    }
    if (words) json_object_set_new(t->values, "mean_nll", json_real(sum / (double)words));
    sn_free(row);
    return SN_OK;
}

/* embed.text: what the hidden state at every position asks for. */
static sn_status put_queries(sn_tracer *t, sn_lm_session *session, const sn_prompt *prompt, const float *rows) {
    int64_t positions = (int64_t)prompt->ids.count, size = t->model->lm.query_size;
    sn_sequence sequence = {0};
    float *queries = sn_alloc((size_t)positions, (size_t)size * sizeof *queries);
    sn_status status = queries ? SN_OK : sn_fail_memory(t->error);
    if (!status) status = sn_lm_extend_query(session, &(sn_lm_row){.sequence = &sequence, .ids = prompt->ids.data, .count = positions, .media = rows}, 1, true, queries, t->error);
    if (!status) sn_trace_put(&t->trace, "embed.text", SN_TYPE_F32, SN_SHAPE(positions, size), queries);
    sn_sequence_free(session, &sequence);
    sn_free(queries);
    return status;
}

static sn_status run_logits(sn_tracer *t) {
    sn_model *m = t->model;
    sn_prompt prompt = {0};
    float *pixels = NULL, *rows = NULL, *logits = NULL;
    sn_lm_session session = {0};
    sn_sequence sequence = {0};
    sn_ids counted = {0};
    sn_status status = prepare(t, t->request, &prompt, &pixels);
    int64_t vocab = m->lm.vocab_size, positions = (int64_t)prompt.ids.count;
    if (!status && pixels) sn_trace_put(&t->trace, "pixel_values", SN_TYPE_F32, pixel_shape(m, prompt.num_media), pixels);
    if (!status && prompt.num_media) {
        rows = sn_alloc((size_t)(prompt.num_media * m->media_positions), (size_t)m->lm.hidden_size * sizeof *rows);
        status = rows ? sn_model_encode(m, pixels, prompt.num_media, NULL, rows, t->error) : sn_fail_memory(t->error);
    }
    if (!status && !(logits = sn_alloc((size_t)positions * (size_t)vocab, sizeof *logits))) status = sn_fail_memory(t->error);
    if (!status) status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, t->error);
    if (!status) status = sn_lm_extend(&session, &(sn_lm_row){.sequence = &sequence, .ids = prompt.ids.data, .count = positions, .media = rows}, 1, true, logits, t->error);
    if (!status) {
        const float *last = logits + (positions - 1) * vocab;
        sn_trace_put(&t->trace, "lm.last_logits", SN_TYPE_F32, SN_SHAPE(1, vocab), last);
        status = sn_penalty_ids(m, &prompt, &counted, t->error);
        if (!status) status = sample_probabilities(t, last, &counted);
    }
    if (!status) status = put_likelihood(t, &prompt, logits);
    if (!status && m->lm.query) status = put_queries(t, &session, &prompt, rows);
    sn_sequence_free(&session, &sequence);
    sn_lm_session_close(&session);
    sn_ids_free(&counted);
    sn_prompt_free(&prompt);
    sn_free(pixels);
    sn_free(rows);
    sn_free(logits);
    return status;
}

/* ---- embed: CLIP ---- */

typedef struct inputs {
    const char *pictures[SN_MAX_MEDIA], *texts[SN_MAX_MEDIA];
    bool squash[SN_MAX_MEDIA];
    int num_pictures, num_texts;
} inputs;

static sn_status read_inputs(sn_tracer *t, inputs *in) {
    sn_request request;
    *in = (inputs){0};
    sn_status status = sn_request_read("request.json", t->request, t->folder, t->arena, &request, t->error);
    for (int i = 0; i < request.num_prompt && !status; i++) {
        if (in->num_pictures == SN_MAX_MEDIA || in->num_texts == SN_MAX_MEDIA) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: too many inputs");
        if (request.prompt[i].is_media) in->squash[in->num_pictures] = request.prompt[i].squash;
        if (request.prompt[i].is_media) in->pictures[in->num_pictures++] = request.prompt[i].text;
        else in->texts[in->num_texts++] = request.prompt[i].text;
    }
    return status;
}

static sn_status embed_pictures(sn_tracer *t, const inputs *in, float *vectors) {
    sn_model *m = t->model;
    const sn_clip *c = m->own;
    float *pixels;
    sn_status status = sn_load_pictures(m, in->pictures, in->num_pictures, NULL, &pixels, t->error);
    if (status) return status;
    sn_trace_put(&t->trace, "pixel_values", SN_TYPE_F32, pixel_shape(m, in->num_pictures), pixels);
    status = sn_clip_embed_pictures(m, pixels, in->num_pictures, vectors, t->error);
    sn_free(pixels);
    if (status) return status;
    /* vision.hidden: all hidden states on top of each other; vision.output: the selected one */
    int64_t layers = c->vision.num_layers + 1, tokens = 1 + sn_clip_patches(&c->vision), width = c->vision.hidden_size, size = in->num_pictures * tokens * width;
    int64_t layer = -2;
    if ((status = sn_json_integer("request.json", t->options, "vision_select_layer", -1000, 1000, &layer, t->error))) return status;
    const char *feature = sn_json_string(t->options, "vision_select_feature");
    if (layer < 0) layer += layers;
    float *all = sn_alloc((size_t)(layers * size), sizeof *all), *output = sn_alloc((size_t)size, sizeof *output);
    for (int64_t l = 0; all && output && l < layers; l++) {
        char name[48];
        snprintf(name, sizeof name, "vision.hidden.%lld", (long long)l);
        const sn_traced *hidden = sn_trace_find(&t->trace, name);
        if (hidden) memcpy(all + l * size, hidden->data, (size_t)size * sizeof *all);
    }
    bool keep = feature && (strcmp(feature, "cls_patch") == 0 || strcmp(feature, "full") == 0), only = feature && strcmp(feature, "cls") == 0;
    int64_t from = keep || only ? 0 : 1, count = only ? 1 : tokens - from;
    if (all && output && layer >= 0 && layer < layers) {
        for (int64_t i = 0; i < in->num_pictures; i++)
            memcpy(output + i * count * width, all + layer * size + (i * tokens + from) * width, (size_t)(count * width) * sizeof *output);
        sn_trace_put(&t->trace, "vision.hidden", SN_TYPE_F32, SN_SHAPE(layers, in->num_pictures, tokens, width), all);
        sn_trace_put(&t->trace, "vision.output", SN_TYPE_F32, SN_SHAPE(in->num_pictures, count, width), output);
    } else {
        status = sn_fail(t->error, SN_ERROR_INPUT, "request.json: vision_select_layer: no such hidden state");
    }
    sn_free(all);
    sn_free(output);
    return status;
}

static sn_status run_embed(sn_tracer *t) {
    inputs in;
    sn_status status = read_inputs(t, &in);
    if (status) return status;
    if (strcmp(t->model->system->name, "clip") != 0) return sn_fail(t->error, SN_ERROR_SUPPORT, "%s does not embed", t->model->system->title);
    const sn_clip *c = t->model->own;
    int64_t width = c->has_projection ? c->vision.projection_dim : c->vision.hidden_size;
    float *pictures = sn_alloc((size_t)(in.num_pictures * width) + 1, sizeof *pictures), *texts = sn_alloc((size_t)(in.num_texts * width) + 1, sizeof *texts);
    float *similar = sn_alloc((size_t)(in.num_pictures * in.num_texts) + 1, sizeof *similar);
    if (!pictures || !texts || !similar) status = sn_fail_memory(t->error);
    if (!status && in.num_pictures) status = embed_pictures(t, &in, pictures);
    if (!status && in.num_texts) status = sn_clip_embed_texts(t->model, in.texts, in.num_texts, texts, t->error);
    for (int i = 0; i < in.num_pictures && !status; i++)
        for (int j = 0; j < in.num_texts; j++) {
            double dot = 0, a = 0, b = 0;
            for (int64_t k = 0; k < width; k++) {
                double x = pictures[i * width + k], y = texts[j * width + k];
                dot += x * y, a += x * x, b += y * y;
            }
            similar[i * in.num_texts + j] = (float)(exp((double)c->logit_scale) * dot / sqrt(a * b));
        }
    if (!status && in.num_pictures && in.num_texts) sn_trace_put(&t->trace, "similarity", SN_TYPE_F32, SN_SHAPE(in.num_pictures, in.num_texts), similar);
    sn_free(pictures);
    sn_free(texts);
    sn_free(similar);
    return status;
}

/* ---- preprocess ---- */

enum { SQUASHED = 224 }; /* pictures from an address, whatever the tower takes */

static sn_status preprocess_as(sn_tracer *t, const inputs *in, const char *aspect, sn_image_processor processor) {
    processor.pad_square = strcmp(aspect, "pad") == 0;
    size_t size = 3 * (size_t)processor.width * (size_t)processor.height;
    float *all = sn_alloc((size_t)in->num_pictures * size + 1, sizeof *all);
    sn_status status = all ? SN_OK : sn_fail_memory(t->error);
    for (int i = 0; i < in->num_pictures && !status; i++) {
        sn_image image = {0};
        sn_image_options options;
        processor.squash = in->squash[i] ? SQUASHED : 0;
        status = sn_trace_picture_options(t, &options, &processor.order);
        if (!status) status = sn_image_open(in->pictures[i], &options, &image, t->error);
        if (!status) status = sn_image_process(&processor, &image, all + (size_t)i * size, t->error);
        sn_image_free(&image);
        if (!status)
            sn_trace_put(&t->trace, sn_arena_format(t->arena, "pixel_values.%d", i), SN_TYPE_F32, SN_SHAPE(3, processor.height, processor.width), all + (size_t)i * size);
    }
    const char *name = strcmp(aspect, "square") == 0 ? "pixel_values" : "pixel_values.pad";
    if (!status) sn_trace_put(&t->trace, name, SN_TYPE_F32, SN_SHAPE(in->num_pictures, 3, processor.height, processor.width), all);
    sn_free(all);
    return status;
}

static sn_status run_preprocess(sn_tracer *t) {
    inputs in;
    sn_image_processor processor = sn_image_processor_clip(224);
    sn_model_files files;
    sn_status status = read_inputs(t, &in);
    if (!status) status = sn_request_files("request.json", t->request, t->folder, t->arena, &files, t->error);
    if (status) return status;
    const char *folder = files.vision ? files.vision : files.main;
    const char *path = folder ? sn_arena_format(t->arena, "%s/preprocessor_config.json", folder) : NULL;
    if (path && (status = sn_image_processor_read(path, &processor, t->error))) return status;
    const json_t *aspect = sn_json_at(t->options, "image_aspect_ratio");
    for (size_t i = 0; json_is_array(aspect) && i < json_array_size(aspect) && !status; i++) {
        const char *name = json_string_value(json_array_get(aspect, i));
        status = name ? preprocess_as(t, &in, name, processor) : sn_fail(t->error, SN_ERROR_INPUT, "request.json: image_aspect_ratio: expected names");
    }
    if (!json_is_array(aspect)) {
        const char *name = json_is_string(aspect) ? json_string_value(aspect) : processor.pad_square ? "pad" : "square";
        status = preprocess_as(t, &in, name, processor);
        const sn_traced *padded = sn_trace_find(&t->trace, "pixel_values.pad");
        if (padded) sn_trace_put(&t->trace, "pixel_values", SN_TYPE_F32, padded->shape, padded->data);
    }
    return status;
}

/* ---- train_step ---- */

sn_status sn_trace_optimizer(sn_tracer *t, sn_optimizer_options *o) {
    const json_t *object = sn_json_at(t->request, "optimizer");
    *o = (sn_optimizer_options){.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    const json_t *betas = sn_json_at(object, "betas");
    if (json_array_size(betas) == 2) o->beta1 = json_number_value(json_array_get(betas, 0)), o->beta2 = json_number_value(json_array_get(betas, 1));
    (void)sn_json_number("request.json", object, "beta1", 0, 1, &o->beta1, NULL);
    (void)sn_json_number("request.json", object, "beta2", 0, 1, &o->beta2, NULL);
    const char *name = sn_json_string(object, "name"), *schedule = sn_json_string(object, "schedule");
    if (name && strcmp(name, "adamw") != 0) return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: optimizer.name: found %s, expected adamw", name);
    if (schedule && strcmp(schedule, "constant") != 0) return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: optimizer.schedule: found %s, expected constant", schedule);
    sn_status status = sn_json_number("request.json", object, "lr", 0, 1e3, &o->lr, t->error);
    if (!status) status = sn_json_number("request.json", object, "eps", 0, 1, &o->eps, t->error);
    if (!status) status = sn_json_number("request.json", object, "weight_decay", 0, 10, &o->weight_decay, t->error);
    if (!status) status = sn_json_number("request.json", object, "mm_projector_lr", 0, 1e3, &o->connector_lr, t->error);
    static const char *const limits[] = {"max_grad_norm", "clip_grad_norm", "grad_clip", "clip_norm"}; /* the systems' spellings */
    for (size_t i = 0; i < sizeof limits / sizeof *limits && !status; i++) status = sn_json_number("request.json", object, limits[i], 0, 1e9, &o->max_grad_norm, t->error);
    return status;
}

/* pixel_values [samples, 3, H, W] with zeros for a sample without picture, labels padded with -100. */
static void put_batch(sn_tracer *t, const sn_sample *samples, int n, const float *pixels) {
    int64_t longest = 0, size = 3 * t->model->image_size * t->model->image_size, at = 0;
    for (int i = 0; i < n; i++)
        if ((int64_t)samples[i].ids.count > longest) longest = (int64_t)samples[i].ids.count;
    int64_t *labels = sn_alloc((size_t)(n * longest) + 1, sizeof *labels);
    float *all = sn_alloc((size_t)(n * size) + 1, sizeof *all);
    if (labels && all) {
        for (int i = 0; i < n; i++) {
            for (int64_t j = 0; j < longest; j++) labels[i * longest + j] = j < (int64_t)samples[i].labels.count ? samples[i].labels.data[j] : -100;
            if (samples[i].num_media) memcpy(all + i * size, pixels + at * size, (size_t)size * sizeof *all);
            at += samples[i].num_media;
        }
        sn_trace_put(&t->trace, "pixel_values", SN_TYPE_F32, pixel_shape(t->model, n), all);
        /* rows are laid out already: the sink must not lay them out again */
        sn_trace_put(&t->trace, "lm.labels", SN_TYPE_I64, SN_SHAPE(n, longest), labels);
    }
    sn_free(labels);
    sn_free(all);
}

static sn_status run_train_step(sn_tracer *t) {
    const json_t *batch = sn_json_at(t->request, "batch");
    int n = (int)json_array_size(batch), pictures = 0;
    int64_t steps = 1, window = t->model->lm.max_positions;
    const char *stage = sn_json_string(t->request, "stage"), *conversation = sn_json_string(t->options, "conv_mode"), *images = sn_json_string(t->options, "image_folder");
    const char *paths[SN_MAX_MEDIA];
    sn_optimizer_options optimizer;
    sn_trainer trainer = {0};
    float *pixels = NULL, *losses = NULL, *norms = NULL;
    sn_status status = sn_trace_optimizer(t, &optimizer);
    if (!status) status = sn_json_integer("request.json", t->request, "steps", 1, 100000, &steps, t->error);
    if (!status) status = sn_json_integer("request.json", t->options, "model_max_length", 1, 1 << 24, &window, t->error);
    if (!status && (!t->model->system->sample || !stage || n < 1)) status = sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: expected a stage and a batch for a system that trains");
    sn_sample *samples = sn_alloc((size_t)n + 1, sizeof *samples);
    losses = sn_alloc((size_t)steps, sizeof *losses), norms = sn_alloc((size_t)steps, sizeof *norms);
    if (!samples || !losses || !norms) status = sn_fail_memory(t->error);
    for (int i = 0; i < n && !status; i++) {
        status = t->model->system->sample(t->model, conversation ? conversation : "v1", json_array_get(batch, (size_t)i), &samples[i], t->error);
        if (status) break;
        for (size_t k = 0; k < samples[i].labels.count && samples[i].uneven; k++) samples[i].labels.data[k] = -100;
        if ((int64_t)samples[i].ids.count > window) samples[i].ids.count = samples[i].labels.count = (size_t)window;
        for (int k = 0; k < samples[i].num_media && !status; k++) {
            if (pictures == SN_MAX_MEDIA) status = sn_fail(t->error, SN_ERROR_INPUT, "request.json: more than %d pictures in a batch", SN_MAX_MEDIA);
            else paths[pictures++] = sn_arena_format(t->arena, "%s/%s/%s", t->folder, images ? images : ".", samples[i].media[k]);
        }
    }
    if (!status) status = sn_load_pictures(t->model, paths, pictures, NULL, &pixels, t->error);
    if (!status) put_batch(t, samples, n, pixels);
    int64_t learnt = 0;
    for (int i = 0; i < n && !status; i++) learnt += sn_sample_learnt(&samples[i]);
    if (!status) status = sn_trainer_open(t->model, &(sn_learning){.stage = stage}, &trainer, t->error);
    sn_pass pass = {.samples = samples, .num_samples = n, .pixels = pixels, .pictures = pictures, .count = (double)learnt};
    for (int64_t s = 0; s < steps && !status; s++) {
        status = sn_trainer_gradients(&trainer, &pass, false, &losses[s], t->error);
        if (status) break;
        norms[s] = (float)sn_trainer_norm(&trainer);
        for (size_t i = 0; i < trainer.count && s == 0; i++) {
            const sn_store_entry *e = trainer.trainables[i].entry;
            sn_trace_put(&t->trace, sn_arena_format(t->arena, "grad.%s", e->published), SN_TYPE_F32, e->weight.shape, trainer.trainables[i].gradient);
        }
        sn_trainer_update(&trainer, &optimizer, 1, (double)norms[s]);
    }
    for (size_t i = 0; i < trainer.count && !status; i++) {
        const sn_store_entry *e = trainer.trainables[i].entry;
        sn_trace_put(&t->trace, sn_arena_format(t->arena, "param.%s", e->published), SN_TYPE_F32, e->weight.shape, trainer.trainables[i].value);
    }
    if (!status) {
        sn_trace_put(&t->trace, "loss.lm", SN_TYPE_F32, SN_SHAPE(steps), losses);
        sn_trace_put(&t->trace, "loss.grad_norm", SN_TYPE_F32, SN_SHAPE(steps), norms);
    }
    sn_trainer_close(&trainer);
    for (int i = 0; i < n && samples; i++) sn_ids_free(&samples[i].ids), sn_ids_free(&samples[i].labels);
    sn_free(samples);
    sn_free(losses);
    sn_free(norms);
    sn_free(pixels);
    return status;
}

/* ---- the command ---- */

/* merged.<published name> = base + delta, where a delta was applied. */
static sn_status put_merged(sn_tracer *t) {
    if (!t->model->num_names || !t->model->names[0].delta) return SN_OK;
    for (size_t i = 0; i < t->model->store->count; i++) {
        sn_store_entry *e = t->model->store->entries[i];
        if (strncmp(e->name, "vision.", 7) == 0) continue;
        sn_status status = sn_weight_ready(&e->weight, t->error);
        if (status) return status;
        int64_t columns = e->weight.columns;
        float *values = sn_alloc((size_t)e->weight.rows, (size_t)columns * sizeof *values);
        if (!values) return sn_fail_memory(t->error);
        for (int64_t r = 0; r < e->weight.rows; r++) sn_weight_row_floats(&e->weight, r, values + r * columns);
        sn_trace_put(&t->trace, sn_arena_format(t->arena, "merged.%s", e->published), SN_TYPE_F32, e->weight.shape, values);
        sn_free(values);
    }
    return SN_OK;
}

static sn_status write_results(sn_tracer *t, const char *out) {
    sn_tensor_out *tensors = sn_alloc(t->trace.count + 1, sizeof *tensors);
    char *tensor_path = sn_path_join(out, "actual.safetensors"), *value_path = sn_path_join(out, "actual.json");
    sn_status status = tensors && tensor_path && value_path && !t->trace.failed ? SN_OK : sn_fail_memory(t->error);
    if (!status) status = sn_make_folder(out, t->error);
    for (size_t i = 0; i < t->trace.count && !status; i++)
        tensors[i] = (sn_tensor_out){t->trace.tensors[i].name, t->trace.tensors[i].type, t->trace.tensors[i].shape, t->trace.tensors[i].data};
    if (!status) status = sn_safetensors_write(tensor_path, tensors, t->trace.count, t->error);
    char *text = json_dumps(t->values, JSON_INDENT(1));
    if (!status) status = text ? sn_write_file(value_path, text, strlen(text), t->error) : sn_fail_memory(t->error);
    free(text);
    sn_free(tensors);
    sn_free(tensor_path);
    sn_free(value_path);
    return status;
}

/* The first that fits the request's task and keys. */
static const sn_trace_task tasks[] = {
    {"generate", false, "op", sn_trace_table_generate},
    {"generate", false, "runs", sn_trace_table_generate},
    {"generate", true, "options.num_words", sn_trace_generate_parts},
    {"generate", true, NULL, run_generate},
    {"retrieve", true, "queries", sn_trace_retrieve},
    {"logits", true, NULL, run_logits},
    {"embed", true, NULL, run_embed},
    {"preprocess", false, "op", sn_trace_image},
    {"preprocess", false, NULL, run_preprocess},
    {"tokenize", false, NULL, sn_trace_tokenize},
    {"train_step", true, "options.concat_captions", sn_trace_multitask},
    {"train_step", true, NULL, run_train_step},
    {"load", false, NULL, sn_trace_load},
    {"metric", false, NULL, sn_trace_metric},
    {"quantize", false, NULL, sn_trace_quantize},
};

static sn_status trace_case(sn_tracer *t, const char *out) {
    const char *name = sn_json_string(t->request, "task");
    const sn_trace_task *task = NULL;
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks && !task; i++)
        if (name && strcmp(tasks[i].name, name) == 0 && (!tasks[i].key || sn_json_at(t->request, tasks[i].key))) task = &tasks[i];
    if (!task) return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: task: found %s, which is not supported", name ? name : "nothing");
    sn_status status = SN_OK;
    if (task->needs_model) {
        sn_model_files files;
        status = sn_request_files("request.json", t->request, t->folder, t->arena, &files, t->error);
        if (!status) status = sn_engine_new(0, &t->engine, t->error);
        if (!status) status = sn_model_open(t->engine, &files, &t->model, t->error);
        if (!status && sn_json_bool(t->options, "squash_224", false)) t->model->processor.squash = SQUASHED;
        if (!status) sn_engine_set_trace(t->engine, &t->trace);
    }
    if (!status) status = task->run(t);
    if (!status && t->model) status = put_merged(t);
    return status ? status : write_results(t, out);
}

static sn_status run(const sn_arguments *arguments, sn_error *error) {
    const char *folder = arguments->plain[0], *out = sn_argument(arguments, "output");
    if (!out) return sn_fail(error, SN_ERROR_USAGE, "trace: expected -o DIR; see `sensorium trace --help`");
    sn_tracer t = {.folder = folder, .error = error, .arena = sn_arena_new(), .values = json_object()};
    char *path = sn_path_join(folder, "request.json");
    sn_status status = t.arena && t.values && path ? sn_json_file(path, 64 << 20, &t.request, error) : sn_fail_memory(error);
    t.options = sn_json_at(t.request, "options");
    if (!status) status = trace_case(&t, out);
    sn_model_close(t.model);
    sn_engine_free(t.engine);
    sn_trace_free(&t.trace);
    json_decref(t.request);
    json_decref(t.values);
    sn_arena_free(t.arena);
    sn_free(path);
    return status;
}

static const sn_option options[] = {{"output", 'o', "DIR", "the folder that the results go to"}, {0}};

const sn_command sn_command_trace = {
    .name = "trace", .summary = "every named tensor of one request, to compare with a reference's", .plain = "CASE", .min_plain = 1, .max_plain = 1,
    .details = "CASE is a folder with request.json (see docs/trace.md). DIR/actual.safetensors gets the named tensors,\n"
               "DIR/actual.json the ids, texts and scalars. Arithmetic is float32, pictures are taken as the published\n"
               "code takes them.",
    .example = "sensorium trace tests/goldens/llava/v15-generate -o /tmp/out", .tables = (const sn_option *const[]){options, NULL}, .run = run};
