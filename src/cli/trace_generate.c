/* Generation over a table of logits instead of a model: logits = table[n mod rows][last id], n = ids so far. The
 * same search, processors and stop rules as everywhere. */
#include "cli/request.h"
#include "cli/trace.h"
#include "generate/processors.h"
#include "generate/search.h"
#include "generate/stream.h"
#include "weights/source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ROWS = 16 };

typedef struct table {
    sn_source *source;
    const float *logits; /* [positions, vocab, vocab] */
    int64_t positions, vocab;
    int32_t eos;
    /* the state of a search: last id of each row and the number of ids */
    const int32_t *prompt;
    int64_t prompt_count, count;
} table;

static const float *row_of(const table *t, int64_t count, int32_t last) { return t->logits + ((count % t->positions) * t->vocab + last) * t->vocab; }

static sn_status start(void *context, float *scores, sn_error *error) {
    table *t = context;
    (void)error;
    t->count = t->prompt_count;
    memcpy(scores, row_of(t, t->count, t->prompt[t->prompt_count - 1]), (size_t)t->vocab * sizeof *scores);
    return SN_OK;
}

static sn_status step(void *context, int rows, const int32_t *parents, const int32_t *ids, float *scores, sn_error *error) {
    table *t = context;
    (void)parents, (void)error;
    t->count++;
    for (int r = 0; r < rows; r++) memcpy(scores + r * t->vocab, row_of(t, t->count, ids[r]), (size_t)t->vocab * sizeof *scores);
    return SN_OK;
}

static sn_status open_table(sn_tracer *t, table *out) {
    const char *name = sn_json_string(t->request, "model.table");
    int64_t eos = -1;
    sn_status status = sn_json_integer("request.json", t->request, "eos", 0, INT32_MAX, &eos, t->error);
    if (status) return status;
    if (!name) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: model.table: missing");
    status = sn_source_open(sn_arena_format(t->arena, "%s/%s", t->folder, name), &out->source, t->error);
    const sn_source_tensor *tensor = status ? NULL : sn_source_find(out->source, "table");
    if (!status && (!tensor || tensor->type != SN_TYPE_F32 || tensor->shape.rank != 3 || tensor->shape.dim[1] != tensor->shape.dim[2] || !sn_shape_count(&tensor->shape)))
        status = sn_fail(t->error, SN_ERROR_INPUT, "%s: expected a tensor table [positions, vocab, vocab] in F32", name);
    if (status) return status;
    out->logits = (const float *)tensor->data, out->positions = tensor->shape.dim[0], out->vocab = tensor->shape.dim[1], out->eos = (int32_t)eos;
    return SN_OK;
}

/* Ids of a JSON list, below the vocabulary's size. */
static sn_status read_ids(sn_tracer *t, const json_t *list, int64_t vocab, const int32_t **ids, int64_t *count) {
    size_t n = json_array_size(list);
    int32_t *out = sn_arena_alloc(t->arena, n + 1, sizeof *out);
    if (!out) return sn_fail_memory(t->error);
    for (size_t i = 0; i < n; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= vocab) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: expected ids from 0 to %lld", (long long)vocab - 1);
        out[i] = (int32_t)id;
    }
    *ids = out, *count = (int64_t)n;
    return n ? SN_OK : sn_fail(t->error, SN_ERROR_INPUT, "request.json: expected a list of ids that is not empty");
}

static json_t *ids_json(const sn_ids *ids) {
    json_t *list = json_array();
    for (size_t i = 0; i < ids->count; i++) json_array_append_new(list, json_integer(ids->data[i]));
    return list;
}

static sn_status search(sn_tracer *t, table *m, const json_t *prompt, const sn_generate_options *options, sn_answer *answers) {
    sn_status status = read_ids(t, prompt, m->vocab, &m->prompt, &m->prompt_count);
    sn_stepper stepper = {.context = m, .vocab = m->vocab, .start = start, .step = step};
    return status ? status : sn_generate(options, &stepper, m->prompt, m->prompt_count, false, NULL, NULL, answers, t->error);
}

/* {"generated_ids": [[..]], "scores": [..] or null} */
static sn_status run_one(sn_tracer *t, table *m, const json_t *run, bool rule_2023, json_t **out) {
    sn_generate_options options = sn_generate_defaults();
    sn_answer answers[MAX_ROWS] = {0};
    sn_status status = sn_request_options("request.json", sn_json_at(run, "options"), &options, t->error);
    options.eos[options.num_eos++] = m->eos, options.beam_length_2023 = rule_2023;
    if (!status) status = search(t, m, sn_json_at(run, "prompt"), &options, answers);
    if (status) return status;
    json_t *ids = json_array(), *scores = options.num_beams > 1 ? json_array() : json_null();
    for (int i = 0; i < options.num_return; i++) {
        json_array_append_new(ids, ids_json(&answers[i].ids));
        if (options.num_beams > 1) json_array_append_new(scores, json_real(answers[i].beam_score));
        sn_answer_free(&answers[i]);
    }
    *out = json_pack("{s:o, s:o}", "generated_ids", ids, "scores", scores);
    return SN_OK;
}

static sn_status run_runs(sn_tracer *t) {
    table m = {0};
    sn_status status = open_table(t, &m);
    json_t *runs = json_array(), *run;
    size_t i;
    json_array_foreach(sn_json_at(t->request, "runs"), i, run) {
        json_t *result = NULL, *old = NULL;
        if (!status) status = run_one(t, &m, run, false, &result);
        if (!status && json_is_array(json_object_get(result, "scores"))) {
            status = run_one(t, &m, run, true, &old);
            if (!status) json_object_set_new(result, "old_length", old);
        }
        if (result) json_array_append_new(runs, result);
    }
    json_object_set_new(t->values, "runs", runs);

    /* batch: rows padded to one length on both sides as `generate` returns them */
    const json_t *batch = sn_json_at(t->request, "batch"), *prompts = sn_json_at(batch, "prompts");
    json_t *beams, *list = json_array();
    int64_t pad = 0, most = 1;
    if (!status) status = sn_json_integer("request.json", t->request, "pad", 0, INT32_MAX, &pad, t->error);
    if (!status) status = sn_json_integer("request.json", batch, "max_new_tokens", 1, 1 << 20, &most, t->error);
    json_array_foreach(sn_json_at(batch, "num_beams"), i, beams) {
        sn_generate_options options = sn_generate_defaults();
        options.num_beams = (int)json_integer_value(beams), options.max_new_tokens = (int)most, options.eos[options.num_eos++] = m.eos;
        if (options.num_beams < 1 || options.num_beams > MAX_ROWS) status = sn_fail(t->error, SN_ERROR_USAGE, "request.json: batch.num_beams: expected 1 to %d", MAX_ROWS);
        json_t *each = json_array(), *sequences = json_array();
        size_t longest = 0, n = json_array_size(prompts), new_longest = 0;
        for (size_t k = 0; k < n && !status; k++) {
            sn_answer answer = {0};
            status = search(t, &m, json_array_get(prompts, k), &options, &answer);
            if ((size_t)m.prompt_count > longest) longest = (size_t)m.prompt_count;
            if (answer.ids.count > new_longest) new_longest = answer.ids.count;
            json_array_append_new(each, ids_json(&answer.ids));
            sn_answer_free(&answer);
        }
        for (size_t k = 0; k < n && !status; k++) {
            json_t *row = json_array(), *prompt = json_array_get(prompts, k), *ids = json_array_get(each, k);
            for (size_t p = json_array_size(prompt); p < longest; p++) json_array_append_new(row, json_integer(pad));
            json_array_extend(row, prompt);
            json_array_extend(row, ids);
            /* behind an ended row beam search repeats the eos */
            while (json_array_size(row) < longest + new_longest) json_array_append_new(row, json_integer(options.num_beams > 1 ? m.eos : pad));
            json_array_append_new(sequences, row);
        }
        json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "num_beams", options.num_beams, "sequences", sequences, "each", each));
    }
    json_object_set_new(t->values, "batch", list);
    sn_source_close(m.source);
    return status;
}

/* ---- processors ---- */

/* [[ids], …] or [[[ids], bias], …] */
static sn_status read_words(sn_tracer *t, const json_t *list, int64_t vocab, bool biased, const sn_word **out, int *count) {
    size_t n = json_array_size(list), i;
    sn_word *words = sn_arena_alloc(t->arena, n + 1, sizeof *words);
    json_t *entry;
    if (!words) return sn_fail_memory(t->error);
    json_array_foreach(list, i, entry) {
        int64_t length;
        sn_status status = read_ids(t, biased ? json_array_get(entry, 0) : entry, vocab, &words[i].ids, &length);
        if (status) return status;
        words[i].count = (int)length;
        words[i].bias = biased ? (float)json_number_value(json_array_get(entry, 1)) : 0;
    }
    *out = words, *count = (int)n;
    return SN_OK;
}

static sn_status processor_options(sn_tracer *t, const json_t *object, int64_t vocab, sn_generate_options *o) {
    int64_t forced = -1, eos = -1, count;
    sn_status status = sn_request_options("request.json", object, o, t->error);
    if (!status) status = sn_json_integer("request.json", object, "forced_eos_token_id", 0, INT32_MAX, &forced, t->error);
    if (!status) status = sn_json_integer("request.json", t->request, "eos", 0, INT32_MAX, &eos, t->error);
    if (!status) status = read_words(t, sn_json_at(object, "bad_words_ids"), vocab, false, &o->bad_words, &o->num_bad_words);
    if (!status) status = read_words(t, sn_json_at(object, "sequence_bias"), vocab, true, &o->bias, &o->num_bias);
    if (!status && sn_json_at(object, "suppress_tokens")) {
        status = read_ids(t, sn_json_at(object, "suppress_tokens"), vocab, &o->suppress, &count);
        o->num_suppress = status ? 0 : (int)count;
    }
    o->forced_eos = (int32_t)forced;
    if (eos >= 0) o->eos[o->num_eos++] = (int32_t)eos;
    return status;
}

static sn_status run_processors(sn_tracer *t) {
    const char *name = sn_json_string(t->request, "logits");
    sn_source *source;
    if (!name) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: logits: missing");
    sn_status status = sn_source_open(sn_arena_format(t->arena, "%s/%s", t->folder, name), &source, t->error);
    if (status) return status;
    const sn_source_tensor *logits = sn_source_find(source, "logits"), *ids = sn_source_find(source, "input_ids");
    if (!logits || !ids || logits->type != SN_TYPE_F32 || ids->type != SN_TYPE_I64 || logits->shape.rank != 2 || ids->shape.rank != 2 || logits->shape.dim[0] != ids->shape.dim[0])
        status = sn_fail(t->error, SN_ERROR_INPUT, "%s: expected logits F32 [rows, vocab] and input_ids I64 [rows, count]", name);
    size_t i;
    json_t *op;
    json_array_foreach(sn_json_at(t->request, "ops"), i, op) {
        if (status) break;
        int64_t rows = logits->shape.dim[0], vocab = logits->shape.dim[1], count = ids->shape.dim[1];
        sn_generate_options options = sn_generate_defaults();
        if ((status = processor_options(t, sn_json_at(op, "options"), vocab, &options))) break;
        float *scores = sn_arena_alloc(t->arena, (size_t)(rows * vocab), sizeof *scores), *probs = sn_arena_alloc(t->arena, (size_t)(rows * vocab), sizeof *probs);
        int32_t *said = sn_arena_alloc(t->arena, (size_t)count, sizeof *said);
        if (!scores || !probs || !said) status = sn_fail_memory(t->error);
        for (int64_t r = 0; r < rows && !status; r++) {
            float *row = scores + r * vocab;
            memcpy(row, logits->data + r * vocab * 4, (size_t)vocab * sizeof *row);
            for (int64_t k = 0; k < count; k++) {
                int64_t id;
                memcpy(&id, ids->data + (r * count + k) * 8, 8);
                said[k] = (int32_t)id;
            }
            status = sn_process_scores(&options, said, count, count, row, vocab, t->error);
            if (!status) status = sn_warp_scores(&options, row, vocab, t->error);
            memcpy(probs + r * vocab, row, (size_t)vocab * sizeof *row);
            sn_softmax(probs + r * vocab, vocab);
            for (int64_t k = 0; k < vocab; k++)
                if (isinf(row[k])) row[k] = -1e30f; /* as the case writes minus infinity */
        }
        const char *label = sn_json_string(op, "name");
        if (status) break;
        sn_trace_put(&t->trace, sn_arena_format(t->arena, "scores.%s", label ? label : ""), SN_TYPE_F32, SN_SHAPE(rows, vocab), scores);
        sn_trace_put(&t->trace, sn_arena_format(t->arena, "probs.%s", label ? label : ""), SN_TYPE_F32, SN_SHAPE(rows, vocab), probs);
    }
    sn_source_close(source);
    return status;
}

/* ---- stop strings ---- */

static json_t *next_text(sn_text_stream *s) {
    size_t length;
    const char *text = sn_text_stream_next(s, &length);
    return json_stringn(text, length);
}

static sn_status run_stop_strings(sn_tracer *t) {
    json_t *items = json_array(), *item, *value;
    size_t i, k;
    json_array_foreach(sn_json_at(t->request, "items"), i, item) {
        const char *stops[SN_MAX_STOPS];
        int num_stops = 0;
        json_array_foreach(json_object_get(item, "stops"), k, value)
            if (num_stops < SN_MAX_STOPS && json_is_string(value)) stops[num_stops++] = json_string_value(value);
        sn_text_stream s;
        sn_text_stream_begin(&s, NULL, stops, num_stops);
        json_t *streamed = json_array(), *finish = json_null(), *tail = NULL;
        json_array_foreach(json_object_get(item, "chunks"), k, value) {
            bool stopped = sn_text_stream_push_text(&s, json_string_value(value) ? json_string_value(value) : "", json_string_length(value));
            json_array_append_new(streamed, next_text(&s));
            if (!stopped) continue;
            char *with = sn_arena_format(t->arena, "%s%s", s.text.data, s.stopped_by);
            finish = json_pack("{s:s, s:I, s:s, s:s}", "stop", s.stopped_by, "after_chunks", (json_int_t)k + 1, "text", s.text.data, "text_with_stop", with);
            break;
        }
        sn_text_stream_end(&s);
        tail = next_text(&s);
        json_array_append_new(items, json_pack("{s:o, s:o, s:o}", "finish", finish, "streamed", streamed, "tail", tail));
        sn_text_stream_free(&s);
    }
    json_object_set_new(t->values, "items", items);
    return SN_OK;
}

/* ---- choices ---- */

static json_t *best_first(const double *score, int n) {
    json_t *order = json_array();
    bool used[MAX_ROWS] = {false};
    for (int k = 0; k < n; k++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (!used[i] && (best < 0 || score[i] > score[best])) best = i;
        used[best] = true;
        json_array_append_new(order, json_integer(best));
    }
    return order;
}

static sn_status run_choices(sn_tracer *t) {
    table m = {0};
    sn_status status = open_table(t, &m);
    json_t *items = json_array(), *item;
    size_t i;
    json_array_foreach(sn_json_at(t->request, "items"), i, item) {
        sn_candidate candidates[MAX_ROWS];
        double sum[MAX_ROWS], mean[MAX_ROWS];
        const json_t *list = json_object_get(item, "candidates");
        int n = (int)json_array_size(list);
        if (n > MAX_ROWS) status = sn_fail(t->error, SN_ERROR_INPUT, "request.json: more than %d candidates", MAX_ROWS);
        if (!status) status = read_ids(t, json_object_get(item, "prompt"), m.vocab, &m.prompt, &m.prompt_count);
        for (int k = 0; k < n && !status; k++) {
            int64_t count = 0;
            status = read_ids(t, json_array_get(list, (size_t)k), m.vocab, &candidates[k].ids, &count);
            candidates[k].count = (int)count;
        }
        sn_stepper stepper = {.context = &m, .vocab = m.vocab, .start = start, .step = step};
        if (!status) status = sn_score_candidates(&stepper, candidates, n, sum, t->error);
        if (status) break;
        json_t *sums = json_array(), *means = json_array();
        for (int k = 0; k < n; k++) {
            mean[k] = sum[k] / candidates[k].count;
            json_array_append_new(sums, json_real(sum[k]));
            json_array_append_new(means, json_real(mean[k]));
        }
        json_t *by_sum = best_first(sum, n), *by_mean = best_first(mean, n);
        json_array_append_new(items, json_pack("{s:o, s:o, s:O, s:O, s:o}", "sum", sums, "mean", means, "best_sum", json_array_get(by_sum, 0), "best_mean", json_array_get(by_mean, 0), "rank_mean", by_mean));
        json_decref(by_sum);
    }
    json_object_set_new(t->values, "items", items);
    sn_source_close(m.source);
    return status;
}

sn_status sn_trace_table_generate(sn_tracer *t) {
    static const struct { const char *op; sn_status (*run)(sn_tracer *); } ops[] = {{"processors", run_processors}, {"stop_strings", run_stop_strings}, {"choices", run_choices}};
    const char *op = sn_json_string(t->request, "op");
    if (!op) return run_runs(t);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].op, op) == 0) return ops[i].run(t);
    return sn_fail(t->error, SN_ERROR_SUPPORT, "request.json: op: found %s, which is not supported", op);
}
