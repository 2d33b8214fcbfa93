/* sensorium bench: how fast and how large a model is on this machine, and how much of the machine it uses.
 *
 * One answer is taken apart into its phases: a picture through the encoder and the connector (vision), the prompt
 * through the language model at once (prefill), then token by token (decode). Every phase runs some times after a
 * first, cold run; medians are printed. Beside a speed stands its share of the limit: a decode step must read every
 * weight once, so its limit is how fast memory is read; a prompt and a picture are products of matrices, so theirs is
 * how fast numbers are multiplied. Both limits are measured here, with as many threads (probe.h). */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/probe.h"
#include "cli/terminal.h"
#include "compute/cpu/backend.h"
#include "compute/profile.h"
#include "generate/lm_session.h"
#include "systems/clip.h"
#include "systems/random.h"
#include "weights/writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEATS = 100, MAX_TOKENS = 1 << 20 };

typedef struct settings {
    const char *name, *preset, *output;
    sn_model_files files;
    sn_type type;
    int threads;
    sn_compute compute;
    int64_t prompt, tokens, repeat; /* prompt 0: what a picture and a question take */
    bool profile, json;
} settings;

typedef enum phase { VISION, PREFILL, DECODE, NUM_PHASES } phase;
static const char *const phase_names[NUM_PHASES] = {"vision", "prefill", "decode"};

/* What a phase took: each run's seconds and, over all of them but the cold one, what was done. */
typedef struct measured {
    double cold, seconds[MAX_REPEATS], processor[MAX_REPEATS]; /* processor: seconds of all threads, which a busy machine disturbs less */
    int count;
    sn_profile profile;
} measured;

typedef struct bench {
    const settings *set;
    sn_engine *engine;
    sn_model *model;
    float *pixels, *picture, *logits; /* picture: what vision gives */
    sn_shape picture_shape;
    int32_t *ids;
    int64_t prompt, tokens;
    measured phase[NUM_PHASES];
    double first[MAX_REPEATS]; /* seconds to the first token, by run */
    double load, read_limit, multiply_limit;
    int64_t num_parameters, weight_bytes, fresh_bytes, peak, beyond;
    sn_error *error;
} bench;

static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count) {
    double sorted[MAX_REPEATS];
    if (count < 1) return 0;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* ---- what is measured ---- */

static sn_status open_model(bench *b) {
    const settings *s = b->set;
    double begin = sn_seconds();
    sn_status status = s->preset ? sn_model_random(b->engine, s->preset, s->type, 1, &b->model, b->error)
                                 : sn_model_open(b->engine, &s->files, &b->model, b->error);
    b->load = sn_seconds() - begin;
    for (size_t i = 0; !status && i < b->model->store->count; i++) {
        const sn_store_entry *e = b->model->store->entries[i];
        int64_t bytes = 0;
        sn_type_bytes(e->weight.type, e->weight.columns, &bytes);
        b->num_parameters += sn_shape_count(&e->weight.shape);
        b->weight_bytes += e->weight.rows * bytes;
        if (e->fresh) b->fresh_bytes += e->weight.rows * bytes;
    }
    return status;
}

/* A picture, a prompt that begins with its rows, and tokens to go on with: any values, but always the same ones. */
static sn_status make_inputs(bench *b) {
    const sn_model *m = b->model;
    const settings *s = b->set;
    if (!m->has_lm && strcmp(m->system->name, "clip") != 0) return sn_fail(b->error, SN_ERROR_SUPPORT, "bench: %s alone cannot be measured", m->system->title);
    if (m->has_vision) {
        int64_t count = 3 * m->image_size * m->image_size;
        const sn_clip *clip = m->own;
        b->picture_shape = m->has_lm ? SN_SHAPE(m->media_positions, m->lm.hidden_size)
                                     : SN_SHAPE(1, clip->has_projection ? clip->vision.projection_dim : clip->vision.hidden_size);
        b->pixels = sn_alloc((size_t)count, sizeof *b->pixels);
        b->picture = sn_alloc((size_t)sn_shape_count(&b->picture_shape), sizeof *b->picture);
        if (!b->pixels || !b->picture) return sn_fail_memory(b->error);
        for (int64_t i = 0; i < count; i++) b->pixels[i] = (float)(i * 7919 % 2003) / 1001.0f - 1;
    }
    if (!m->has_lm) return SN_OK;
    int64_t window = m->lm.max_positions, rows = m->has_vision ? m->media_positions : 0;
    b->tokens = s->tokens;
    b->prompt = s->prompt ? s->prompt : rows ? rows + 24 : 600;
    if (!s->prompt && b->prompt + b->tokens > window) b->prompt = window - b->tokens;
    if (b->prompt < 1 || b->prompt + b->tokens > window)
        return sn_fail(b->error, SN_ERROR_USAGE, "--prompt %lld and --tokens %lld: the model's window holds %lld positions", (long long)b->prompt, (long long)b->tokens, (long long)window);
    b->ids = sn_alloc((size_t)(b->prompt + b->tokens), sizeof *b->ids);
    b->logits = sn_alloc((size_t)m->lm.vocab_size, sizeof *b->logits);
    if (!b->ids || !b->logits) return sn_fail_memory(b->error);
    for (int64_t i = 0; i < b->prompt + b->tokens; i++) b->ids[i] = i < rows && i < b->prompt ? -1 - (int32_t)i : (int32_t)((i * 31 + 7) % m->lm.vocab_size);
    return SN_OK;
}

/* ---- the phases ---- */

static sn_status see(bench *b) {
    sn_model *m = b->model;
    if (m->has_lm) return sn_model_encode(m, b->pixels, 1, NULL, b->picture, b->error);
    const sn_clip *clip = m->own;
    const char *result = clip->has_projection ? "embed.image" : "vision.pooled";
    sn_program *program;
    sn_status status = sn_engine_program(m->engine, &(sn_program_key){.owner = m->store, .part = "image", .a = 1}, sn_clip_build_image, &(sn_clip_image_program){m, 1},
                                         m->store, &result, 1, &program, b->error);
    return status ? status : sn_engine_run(m->engine, program, (const void *const[]){b->pixels}, NULL, NULL, &b->picture, b->error);
}

static sn_status read_prompt(bench *b, sn_lm_session *session, sn_sequence *sequence) {
    return sn_lm_extend(session, &(sn_lm_row){.sequence = sequence, .ids = b->ids, .count = b->prompt, .media = b->picture}, 1, false, b->logits, b->error);
}

static sn_status step_on(bench *b, sn_lm_session *session, sn_sequence *sequence) {
    sn_status status = SN_OK;
    for (int64_t i = 0; i < b->tokens && !status; i++)
        status = sn_lm_extend(session, &(sn_lm_row){.sequence = sequence, .ids = &b->ids[b->prompt + i], .count = 1}, 1, false, b->logits, b->error);
    return status;
}

/* One answer. The first run is cold: plans are made, weights are read from the disk. */
static sn_status run_once(bench *b, bool cold) {
    const sn_model *m = b->model;
    sn_lm_session session = {0};
    sn_sequence sequence = {0};
    double taken[NUM_PHASES] = {0};
    bool wanted[NUM_PHASES] = {m->has_vision, m->has_lm, m->has_lm && b->tokens > 0};
    sn_status status = m->has_lm ? sn_lm_session_open(&session, m->engine, m->store, &m->lm, sn_engine_compute(b->engine, m->store), b->error) : SN_OK;
    for (phase p = VISION; p < NUM_PHASES && !status; p++) {
        if (!wanted[p]) continue;
        sn_engine_set_profile(m->engine, cold ? NULL : &b->phase[p].profile);
        double begin = sn_seconds(), processor = processor_seconds();
        status = p == VISION ? see(b) : p == PREFILL ? read_prompt(b, &session, &sequence) : step_on(b, &session, &sequence);
        taken[p] = sn_seconds() - begin;
        measured *x = &b->phase[p];
        if (cold) x->cold = taken[p];
        else x->processor[x->count] = processor_seconds() - processor, x->seconds[x->count++] = taken[p];
    }
    if (!cold && m->has_lm && !status) b->first[b->phase[PREFILL].count - 1] = taken[VISION] + taken[PREFILL];
    sn_engine_set_profile(m->engine, NULL);
    sn_sequence_free(&session, &sequence);
    sn_lm_session_close(&session);
    return status;
}

/* Before the limits are measured, which take memory of their own. What lies in mapped files is not counted as beyond
 * the weights: those are the weights, and the program itself. */
static void measure_memory(bench *b) {
    b->peak = sn_process_memory("VmHWM");
    b->beyond = b->peak - sn_process_memory("RssFile") - b->fresh_bytes;
}

/* ---- what comes out ---- */

static sn_profile_entry one_run(const measured *m, phase p, const bench *b) {
    sn_profile_entry e = sn_profile_total(&m->profile);
    double runs = m->count * (p == DECODE ? (double)b->tokens : 1);
    e.operations /= runs, e.bytes /= runs;
    return e;
}

/* Seconds of one picture, one prompt, one token. */
static double seconds_of(const bench *b, phase p) { return median(b->phase[p].seconds, b->phase[p].count) / (p == DECODE ? (double)b->tokens : 1); }

static double limit_of(const bench *b, phase p) { return p == DECODE ? b->read_limit : b->multiply_limit; }

static double share_of(const bench *b, phase p) {
    sn_profile_entry e = one_run(&b->phase[p], p, b);
    double limit = limit_of(b, p);
    return limit > 0 ? (p == DECODE ? e.bytes : e.operations) / seconds_of(b, p) / limit : 0;
}

static const char *weight_type(const bench *b) { return sn_type_of(sn_store_main_type(b->model->store))->name; }
static sn_type compute_type(const bench *b) { return sn_engine_compute(b->engine, b->model->store); }

static json_t *profile_json(const sn_profile *profile, double runs) {
    json_t *object = json_object();
    for (int op = 0; op < SN_OP_COUNT; op++)
        if (profile->op[op].calls)
            json_object_set_new(object, sn_op_name((sn_op)op),
                                json_pack("{s:f, s:f, s:f, s:f}", "calls", (double)profile->op[op].calls / runs, "seconds", profile->op[op].seconds / runs,
                                          "operations", profile->op[op].operations / runs, "bytes", profile->op[op].bytes / runs));
    return object;
}

static void print_json(const bench *b) {
    const sn_model *m = b->model;
    json_t *root = json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:f, s:{s:f, s:f}, s:{s:I, s:I}}",
                             "model", sn_json_text(b->set->name), "system", m->system->name, "weights", weight_type(b), "compute", sn_type_of(compute_type(b))->name,
                             "cpu", sn_cpu_level_name(sn_cpu_features().level), "kernels", sn_backend_cpu(SN_TYPE_F32)->name, "threads", sn_engine_threads(b->engine),
                             "parameters", (json_int_t)b->num_parameters, "weight_bytes", (json_int_t)b->weight_bytes, "load_seconds", b->load,
                             "limits", "read_bytes_per_second", b->read_limit, "operations_per_second", b->multiply_limit,
                             "memory", "peak_bytes", (json_int_t)b->peak, "beyond_weights_bytes", (json_int_t)b->beyond);
    for (phase p = VISION; p < NUM_PHASES; p++) {
        const measured *x = &b->phase[p];
        if (!x->count) continue;
        sn_profile_entry e = one_run(x, p, b);
        double units = p == VISION ? 1 : p == PREFILL ? (double)b->prompt : (double)b->tokens;
        json_t *object = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", p == VISION ? "pictures" : "tokens", units, "seconds", median(x->seconds, x->count), "cold_seconds", x->cold,
                                   "processor_seconds", median(x->processor, x->count),
                                   p == VISION ? "pictures_per_second" : "tokens_per_second", units / median(x->seconds, x->count),
                                   p == DECODE ? "bytes_per_token" : "operations", p == DECODE ? e.bytes : e.operations, "share_of_limit", share_of(b, p));
        if (b->set->profile) json_object_set_new(object, "profile", profile_json(&x->profile, x->count * (p == DECODE ? (double)b->tokens : 1)));
        json_object_set_new(root, phase_names[p], object);
    }
    if (m->has_lm) {
        json_object_set_new(root, "first_token_seconds", json_real(median(b->first, b->phase[PREFILL].count)));
        json_object_set_new(root, "cold_first_token_seconds", json_real(b->load + b->phase[VISION].cold + b->phase[PREFILL].cold));
    }
    char *text = json_dumps(root, JSON_INDENT(1));
    if (text) puts(text);
    free(text);
    json_decref(root);
}

static void print_profile(const bench *b, phase p) {
    const measured *x = &b->phase[p];
    double all = sn_profile_total(&x->profile).seconds, runs = x->count * (p == DECODE ? (double)b->tokens : 1);
    printf("\n%s, one %s by operator\n  %-18s %8s %12s %7s %10s %10s\n", phase_names[p], p == VISION ? "picture" : p == PREFILL ? "prompt" : "token", "operator", "calls", "milliseconds", "share",
           "GFLOP/s", "GB/s");
    for (int op = 0; op < SN_OP_COUNT; op++) {
        const sn_profile_entry *e = &x->profile.op[op];
        if (e->calls)
            printf("  %-18s %8.0f %12.3f %6.1f%% %10.1f %10.1f\n", sn_op_name((sn_op)op), (double)e->calls / runs, 1e3 * e->seconds / runs, 100 * e->seconds / all,
                   e->operations / e->seconds * 1e-9, e->bytes / e->seconds * 1e-9);
    }
    double outside = median(x->seconds, x->count) / (p == DECODE ? (double)b->tokens : 1) - all / runs;
    printf("  %-18s %8s %12.3f\n", "between steps", "", 1e3 * fmax(outside, 0));
}

static void print_text(const bench *b) {
    const sn_model *m = b->model;
    printf("model        %s: %s, %s weights, %.3g G parameters, %.3g GB\n", b->set->name, m->system->title, weight_type(b),
           (double)b->num_parameters * 1e-9, (double)b->weight_bytes * 1e-9);
    printf("machine      %s, %d threads, kernels %s, compute type %s\n", sn_cpu_level_name(sn_cpu_features().level), sn_engine_threads(b->engine), sn_backend_cpu(SN_TYPE_F32)->name, sn_type_of(compute_type(b))->name);
    printf("limits       reading %.1f GB/s, multiplying and adding %.1f GFLOP/s (measured)\n", b->read_limit * 1e-9, b->multiply_limit * 1e-9);
    printf("load         %.3f s\n", b->load);
    for (phase p = VISION; p < NUM_PHASES; p++) {
        if (!b->phase[p].count) continue;
        sn_profile_entry e = one_run(&b->phase[p], p, b);
        double seconds = seconds_of(b, p);
        if (p == VISION) printf("vision       %.3f s a picture: %.1f GFLOP/s", seconds, e.operations / seconds * 1e-9);
        if (p == PREFILL) printf("prefill      %.1f tokens/s (%lld in %.3f s): %.1f GFLOP/s", (double)b->prompt / seconds, (long long)b->prompt, seconds, e.operations / seconds * 1e-9);
        if (p == DECODE) printf("decode       %.2f tokens/s (%lld after the prompt): %.3f GB a token, %.1f GB/s", 1 / seconds, (long long)b->tokens, e.bytes * 1e-9, e.bytes / seconds * 1e-9);
        printf(", %.0f %% of the limit\n", 100 * share_of(b, p));
    }
    if (m->has_lm)
        printf("first token  %.3f s; with loading and all cold %.3f s\n", median(b->first, b->phase[PREFILL].count), b->load + b->phase[VISION].cold + b->phase[PREFILL].cold);
    printf("memory       peak %.1f MB, %.1f MB of it beyond the weights\n", (double)b->peak * 1e-6, (double)b->beyond * 1e-6);
    for (phase p = VISION; p < NUM_PHASES && b->set->profile; p++)
        if (b->phase[p].count) print_profile(b, p);
}

/* What was computed, so that it can be held against another program's. */
static sn_status write_outputs(const bench *b) {
    sn_tensor_out tensors[2];
    size_t count = 0;
    if (b->model->has_vision) tensors[count++] = (sn_tensor_out){"picture", SN_TYPE_F32, b->picture_shape, b->picture};
    if (b->model->has_lm) tensors[count++] = (sn_tensor_out){"logits", SN_TYPE_F32, SN_SHAPE(b->model->lm.vocab_size), b->logits};
    return sn_safetensors_write(b->set->output, tensors, count, b->error);
}

/* ---- the command ---- */

static const sn_option options[] = {
    {"random", 0, "PRESET", "random weights of a published size in place of MODEL"},
    {"type", 't', "TYPE", "how random weights are stored: f32 (default), f16, bf16, q8_0"},
    {"prompt", 0, "N", "tokens of the prompt (default: a picture and 24 tokens, or 600)"},
    {"tokens", 0, "N", "tokens of the answer (default 16)"},
    {"repeat", 0, "N", "runs after the cold one, of which the median counts (default 3)"},
    {"profile", 0, NULL, "where the time goes, by operator"},
    {"json", 0, NULL, "the same for programs"},
    {"output", 'o', "FILE", "what was computed, as safetensors, to hold against another program's"},
    {0}};

static sn_status read_settings(const sn_arguments *a, settings *s, sn_error *error) {
    static const char *const words[] = {"f32", "f16", "bf16", "q8_0", NULL};
    *s = (settings){.preset = sn_argument(a, "random"), .output = sn_argument(a, "output"), .tokens = 16, .repeat = 3,
                    .profile = sn_argument_given(a, "profile"), .json = sn_argument_given(a, "json")};
    int word = 0;
    sn_status status = sn_argument_word(a, "type", words, &word, error);
    if (!status) status = sn_arguments_compute(a, &s->compute, error);
    if (!status) status = sn_argument_integer(a, "prompt", 1, MAX_TOKENS, &s->prompt, error);
    if (!status) status = sn_argument_integer(a, "tokens", 0, MAX_TOKENS, &s->tokens, error);
    if (!status) status = sn_argument_integer(a, "repeat", 1, MAX_REPEATS, &s->repeat, error);
    if (!status) status = sn_arguments_threads(a, &s->threads, error);
    if (status) return status;
    s->type = sn_type_by_name(words[word]);
    const char *main = a->num_plain ? a->plain[0] : NULL;
    s->name = s->preset ? s->preset : main ? main : "parts";
    if (s->preset && main) return sn_fail(error, SN_ERROR_USAGE, "bench: %s and --random %s: expected one of them", main, s->preset);
    if (!s->preset && sn_argument_given(a, "type")) return sn_fail(error, SN_ERROR_USAGE, "bench: --type: a model's weights keep their type; it is for --random");
    return s->preset ? SN_OK : sn_arguments_model(a, main, &s->files, error);
}

static sn_status run(const sn_arguments *arguments, sn_error *error) {
    settings set;
    sn_status status = read_settings(arguments, &set, error);
    if (status) return status;
    bench *b = sn_alloc(1, sizeof *b);
    if (!b) return sn_fail_memory(error);
    b->set = &set, b->error = error;
    status = sn_engine_new(set.threads, &b->engine, error);
    if (!status) sn_engine_set_compute(b->engine, set.compute);
    if (!status) status = open_model(b);
    if (!status) status = make_inputs(b);
    for (int64_t i = -1; i < set.repeat && !status; i++) status = run_once(b, i < 0);
    if (!status) {
        measure_memory(b);
        b->read_limit = sn_probe_read(b->model->store, sn_engine_threads(b->engine));
        b->multiply_limit = sn_probe_multiply(sn_engine_threads(b->engine));
        if (set.json) print_json(b);
        else print_text(b);
        status = sn_print_status(error);
    }
    if (!status && set.output) status = write_outputs(b);
    sn_model_close(b->model);
    sn_engine_free(b->engine);
    sn_free(b->pixels);
    sn_free(b->picture);
    sn_free(b->logits);
    sn_free(b->ids);
    sn_free(b);
    return status;
}

const sn_command sn_command_bench = {
    .name = "bench", .summary = "speeds and memory of a model, as shares of this machine's limits", .plain = "[MODEL]", .max_plain = 1,
    .details = "Measures seconds for a picture, tokens/s for a prompt and for an answer, time to the first token, loading and\n"
               "memory. Picture and prompt are made up. Presets of --random: clip-vit-l-336, clip-vit-l-224, tinyllama,\n"
               "llama-7b-4layers, llama-7b, llama-13b, llava-7b-4layers, llava-7b, llava-tiny.",
    .example = "sensorium bench --random llava-tiny --profile", .tables = (const sn_option *const[]){options, sn_model_options, sn_engine_options, sn_compute_options, NULL}, .run = run};
