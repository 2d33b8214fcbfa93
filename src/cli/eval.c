/* sensorium eval MODEL TASK DATA: a published benchmark, in its own files, by its own measure.
 *
 * A task (eval_*.c) goes through a set and writes each item into the results, where a later run finds it; the numbers
 * come from the items at the end, so that a run in pieces gives those of a run at once. */
#include "cli/eval.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/terminal.h"
#include "eval/ranking.h"

#include <stdlib.h>
#include <string.h>

static const sn_evaluation_task *const tasks[] = {&sn_task_answers, &sn_task_captions, &sn_task_classify, &sn_task_recall, &sn_task_visdial, &sn_task_visdial_pictures, &sn_task_vist, NULL};

/* ---- for the tasks ---- */

void sn_evaluation_begin(sn_evaluation *e, const char *what, int64_t steps) {
    sn_progress_end(&e->progress);
    sn_progress_begin(&e->progress, stderr, what, what, steps);
    e->done = 0;
}

sn_status sn_evaluation_step(sn_evaluation *e, sn_error *error) {
    sn_progress_to(&e->progress, ++e->done);
    return atomic_load(e->cancel) ? sn_fail(error, SN_ERROR_CANCELLED, "cancelled") : SN_OK;
}

static void note_missing(sn_evaluation *e, const char *name, const char *reason, bool tell) {
    json_object_set_new(e->missing, name, json_string(reason));
    if (tell && !e->quiet) fprintf(stderr, "%ssensorium: %s is left out: %s\n", e->progress.shown ? "\r\033[K" : "", name, reason);
}

const json_t *sn_evaluation_find(sn_evaluation *e, const char *name) {
    const json_t *item = sn_results_find(e->results, name);
    const char *reason = item ? sn_json_string(item, "missing") : NULL;
    if (item) sn_progress_had(&e->progress);
    if (reason) note_missing(e, name, reason, false);
    return item;
}

sn_status sn_evaluation_missing(sn_evaluation *e, const char *name, sn_status status, sn_error *error) {
    if (e->stop || (status != SN_ERROR_IO && status != SN_ERROR_INPUT && status != SN_ERROR_NUMERIC)) return status;
    char reason[sizeof error->message];
    snprintf(reason, sizeof reason, "%s", error->message);
    note_missing(e, name, reason, true);
    return sn_results_add(e->results, name, json_pack("{s:s}", "missing", reason), error);
}

static char *try_name(const sn_evaluation *e, const char *name, const char *ending) {
    char *file = sn_format("%s%s", name, ending), *path = file ? sn_path_join(e->folder, file) : NULL;
    sn_free(file);
    if (path && sn_is_file(path)) return path;
    sn_free(path);
    return NULL;
}

sn_status sn_evaluation_path(const sn_evaluation *e, const sn_set_picture *p, char **path, sn_error *error) {
    static const char *const endings[] = {"", ".jpg", ".png", ".jpeg", ".gif", ".webp", ".bmp", NULL};
    *path = NULL;
    for (int i = 0; i < SN_SET_NAMES && p->name[i]; i++) {
        const char *slash = strrchr(p->name[i], '/');
        bool named = strchr(slash ? slash : p->name[i], '.') != NULL; /* has an ending of its own */
        for (const char *const *ending = endings; *ending && !(named && **ending); ending++)
            if ((*path = try_name(e, p->name[i], *ending))) return SN_OK;
    }
    return sn_fail(error, SN_ERROR_IO, "no picture %s in %s", p->name[0], e->folder);
}

void sn_evaluation_put(json_t *metrics, const char *name, double value) { json_object_set_new(metrics, name, json_real(value)); }

sn_status sn_evaluation_ranks(json_t *metrics, const int64_t *ranks, int64_t count, sn_error *error) {
    static const int64_t cuts[] = {1, 5, 10};
    double median = 0;
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        char name[32];
        snprintf(name, sizeof name, "recall@%lld", (long long)cuts[i]);
        sn_evaluation_put(metrics, name, sn_recall_at(ranks, count, cuts[i]));
    }
    sn_evaluation_put(metrics, "mrr", sn_mean_reciprocal(ranks, count));
    sn_evaluation_put(metrics, "mean_rank", sn_mean_rank(ranks, count));
    sn_status status = count ? sn_median_rank(ranks, count, &median, error) : SN_OK;
    sn_evaluation_put(metrics, "median_rank", median);
    return status;
}

/* ---- what is evaluated: the first line of the results ---- */

static sn_status hash_file(const char *path, char text[33], sn_error *error) {
    sn_mapping file;
    sn_status status = sn_map_file(path, &file, error);
    if (status) return status;
    snprintf(text, 33, "%016llx%016llx", (unsigned long long)sn_hash(file.data, file.size, 1), (unsigned long long)sn_hash(file.data, file.size, 2));
    sn_unmap_file(&file);
    return SN_OK;
}

/* Every option but those that change nothing in the results. */
static json_t *describe_options(const sn_evaluation *e, const sn_option *const *tables) {
    static const char *const aside[] = {"output", "json", "quiet", "threads", "missing", "batch", NULL};
    json_t *object = json_object();
    for (; *tables; tables++)
        for (const sn_option *o = *tables; o->name; o++) {
            bool other = false;
            for (const char *const *a = aside; *a; a++) other |= strcmp(*a, o->name) == 0;
            json_t *values = json_array();
            const char *value;
            for (int i = 0; !other && (value = sn_argument_at(e->arguments, o->name, i)); i++) json_array_append_new(values, sn_json_text(value));
            if (json_array_size(values)) json_object_set(object, o->name, values);
            json_decref(values);
        }
    return object;
}

static sn_status describe(sn_evaluation *e, const char *data, const sn_option *const *tables, json_t **out, sn_error *error) {
    uint64_t hash[2], form[2];
    char weights[33], file[33], relevance[33] = "";
    const char *more = sn_argument(e->arguments, "relevance");
    sn_status status = sn_model_hash(e->model, hash, form, NULL, NULL, error);
    if (!status) status = hash_file(data, file, error);
    if (!status && more) status = hash_file(more, relevance, error);
    if (status) return status;
    for (int i = 0; i < 2; i++) hash[i] = sn_hash(&form[i], sizeof form[i], hash[i]);
    snprintf(weights, sizeof weights, "%016llx%016llx", (unsigned long long)hash[0], (unsigned long long)hash[1]);
    json_t *options = describe_options(e, tables);
    *out = json_pack("{s:i, s:s, s:{s:s, s:s}, s:{s:s, s:s}, s:o}", "results", 1, "task", e->task->name, "model", "system", e->model->system->name, "weights", weights, "data", "layout", e->set.layout,
                     "hash", file, "options", options);
    if (*out && more) json_object_set_new(json_object_get(*out, "data"), "relevance", json_string(relevance));
    return *out ? SN_OK : sn_fail_memory(error);
}

/* ---- the report ---- */

static void print_metrics(const json_t *metrics, const char *prefix) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)metrics, name, value) {
        char whole[128];
        snprintf(whole, sizeof whole, "%s%s", prefix, name);
        if (json_is_object(value)) {
            strncat(whole, ".", sizeof whole - strlen(whole) - 1);
            print_metrics(value, whole);
        } else if (json_is_integer(value)) printf("  %-32s %lld\n", whole, (long long)json_integer_value(value));
        else printf("  %-32s %.4f\n", whole, json_number_value(value));
    }
}

static void print_table(const sn_evaluation *e, double seconds) {
    printf("%s of %s: %lld %s (%s)", e->task->name, e->model->system->title, (long long)e->items, e->task->what, e->set.layout);
    if (json_object_size(e->missing)) printf(", %zu left out", json_object_size(e->missing));
    if (sn_results_resumed(e->results)) printf(", %lld results were there", (long long)sn_results_resumed(e->results));
    printf("; %.1f s\n%s\n", seconds, e->protocol);
    print_metrics(e->metrics, "");
}

static void print_json(const sn_evaluation *e, json_t *identity, double seconds) {
    json_t *report = json_pack("{s:s, s:O, s:O, s:s, s:I, s:O, s:{s:I, s:O}, s:I, s:I, s:f}", "task", e->task->name, "model", json_object_get(identity, "model"), "data", json_object_get(identity, "data"),
                               "protocol", e->protocol, "items", (json_int_t)e->items, "metrics", e->metrics, "missing", "count", (json_int_t)json_object_size(e->missing), "items", e->missing,
                               "without_annotation", (json_int_t)e->set.without, "resumed", (json_int_t)sn_results_resumed(e->results), "seconds", seconds);
    if (report) {
        if (e->task->generates) json_object_set_new(report, "seed", json_integer((json_int_t)e->generation.seed));
        json_object_set(report, "options", json_object_get(identity, "options"));
        json_dumpf(report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
        putchar('\n');
    }
    json_decref(report);
}

/* ---- the command ---- */

static sn_status find_task(const char *name, const sn_evaluation_task **out, sn_error *error) {
    sn_buf names = {0};
    for (int i = 0; tasks[i]; i++) {
        if (strcmp(tasks[i]->name, name) == 0) *out = tasks[i];
        sn_buf_printf(&names, "%s%s", i ? ", " : "", tasks[i]->name);
    }
    sn_status status = *out ? SN_OK : sn_fail(error, SN_ERROR_USAGE, "eval: there is no task %s; expected one of %s", name, names.data ? names.data : "");
    sn_buf_free(&names);
    return status;
}

static sn_status open_model(sn_evaluation *e, sn_error *error) {
    const sn_arguments *a = e->arguments;
    sn_model_files files;
    int threads = 0;
    int64_t square = -1;
    sn_compute compute;
    sn_status status = sn_arguments_model(a, a->plain[0], &files, error);
    if (!status) status = sn_arguments_threads(a, &threads, error);
    if (!status) status = sn_arguments_compute(a, &compute, error);
    if (!status) status = sn_argument_integer(a, "square", 0, 4096, &square, error);
    if (!status) status = sn_engine_new(threads, &e->engine, error);
    if (status) return status;
    sn_engine_set_compute(e->engine, compute);
    status = sn_model_open(e->engine, &files, &e->model, error);
    for (size_t i = 0; !status && i < e->model->num_warnings; i++) fprintf(stderr, "sensorium: warning: %s\n", e->model->warnings[i]);
    if (!status) e->model->processor.squash = square >= 0 ? (int)square : e->model->system->evaluation_square;
    return status;
}

/* An option that the task has no use for is a mistake of the person who gave it. */
static sn_status check_options(const sn_evaluation *e, sn_error *error) {
    static const char *const some[] = {"split", "relevance", "prompt", "batch", NULL};
    for (const char *const *name = some; *name; name++)
        if (sn_argument_given(e->arguments, *name) && !(e->task->options && strstr(e->task->options, *name))) return sn_fail(error, SN_ERROR_USAGE, "eval: --%s does nothing in the task %s", *name, e->task->name);
    for (const sn_option *o = sn_generation_options; o->name && !e->task->generates; o++)
        if (sn_argument_given(e->arguments, o->name)) return sn_fail(error, SN_ERROR_USAGE, "eval: --%s does nothing in the task %s, which generates no text", o->name, e->task->name);
    return SN_OK;
}

/* Arguments first, then the data, then the model: what is wrong is told before long work. */
static sn_status begin(sn_evaluation *e, const sn_option *const *tables, char **folder, json_t **identity, sn_error *error) {
    const sn_arguments *a = e->arguments;
    const char *data = a->plain[2];
    int64_t limit = 0;
    int missing = 0;
    e->generation = sn_generate_defaults();
    sn_status status = find_task(a->plain[1], &e->task, error);
    if (!status) status = check_options(e, error);
    if (!status) status = sn_argument_integer(a, "limit", 1, INT32_MAX, &limit, error);
    if (!status) status = sn_argument_word(a, "missing", (const char *const[]){"skip", "stop", NULL}, &missing, error);
    if (!status) status = sn_arguments_pictures(a, &e->image, error);
    if (!status) status = sn_arguments_generation(a, &e->generation, error);
    e->stop = missing == 1;
    *folder = sn_argument(a, "images") ? sn_strdup(sn_argument(a, "images")) : sn_path_parent(data);
    if (!status && !*folder) status = sn_fail_memory(error);
    e->folder = *folder;
    if (!status && !sn_is_directory(e->folder)) status = sn_fail(error, SN_ERROR_INPUT, "--images: %s is no folder", e->folder);
    if (!status) status = e->task->read(e, data, error);
    if (!status && limit) sn_set_limit(&e->set, limit);
    if (!status) status = open_model(e, error);
    if (!status) status = describe(e, data, tables, identity, error);
    return status ? status : sn_results_open(sn_argument(a, "output"), *identity, &e->results, error);
}

static sn_status nothing_evaluated(const sn_evaluation *e, sn_error *error) {
    void *first = json_object_iter(e->missing);
    return sn_fail(error, SN_ERROR_INPUT, "%s: none of the %s could be evaluated%s%s", e->task->name, e->task->what, first ? "; the first reason: " : "",
                   first ? json_string_value(json_object_iter_value(first)) : "");
}

static const sn_option options[] = {{"images", 'i', "DIR", "the folder of the pictures (default: that of DATA)"},
                                    {"output", 'o', "FILE", "results item by item, JSON lines; the same command goes on where it was stopped"},
                                    {"limit", 'l', "N", "the first N items alone, and their pictures"},
                                    {"split", 0, "NAME", "of Karpathy's splits (default test)"},
                                    {"relevance", 0, "FILE", "visdial: dense annotations, for NDCG"},
                                    {"prompt", 0, "TEXT", "captions: what the model is asked (default: the system's own way)"},
                                    {"batch", 0, "N", "visdial, classify: options scored in one run (default 16)"},
                                    {"square", 0, "N", "pictures are first made N wide and high (default: as the system's authors evaluate it; 0: never)"},
                                    {"missing", 0, "skip|stop", "items whose picture or text cannot be had are left out and named (default), or end the run"},
                                    {"json", 0, NULL, "the report as JSON"},
                                    {"quiet", 'q', NULL, "do not name each item that is left out"},
                                    {0}};
static const sn_option *const tables[] = {options, sn_generation_options, sn_picture_options, sn_model_options, sn_engine_options, sn_compute_options, NULL};

static sn_status run(const sn_arguments *a, sn_error *error) {
    sn_evaluation e = {.arguments = a, .cancel = sn_interrupts(), .quiet = sn_argument_given(a, "quiet"), .metrics = json_object(), .missing = json_object()};
    char *folder = NULL;
    json_t *identity = NULL;
    sn_status status = e.metrics && e.missing ? begin(&e, tables, &folder, &identity, error) : sn_fail_memory(error);
    double begun = sn_seconds();
    if (!status) status = e.task->run(&e, error);
    sn_progress_end(&e.progress);
    if (!status && !e.items) status = nothing_evaluated(&e, error);
    if (!status && sn_argument_given(a, "json")) print_json(&e, identity, sn_seconds() - begun);
    else if (!status) print_table(&e, sn_seconds() - begun);
    if (status == SN_ERROR_CANCELLED && e.results)
        fprintf(stderr, "sensorium: stopped; %s\n", sn_argument(a, "output") ? "the same command goes on from here" : "with -o FILE the same command would go on from here");
    sn_results_close(e.results);
    sn_set_free(&e.set);
    sn_model_close(e.model);
    sn_engine_free(e.engine);
    json_decref(e.metrics);
    json_decref(e.missing);
    json_decref(identity);
    sn_free(folder);
    return status;
}

const sn_command sn_command_eval = {
    .name = "eval", .summary = "a published benchmark in its own files", .plain = "MODEL TASK DATA", .min_plain = 3, .max_plain = 3,
    .details = "TASK: answers (questions and their right answers), captions (BLEU, CIDEr-D, ROUGE-L, METEOR on stems), classify\n"
               "(the likeliest of given classes), recall (pictures from captions and captions from pictures), visdial (ranking of given\n"
               "answers), visdial-pictures (pictures from dialogues), vist (the last picture of a story). DATA is the benchmark's own file. docs/evaluation.md says which, and how each is\n"
               "measured. A run may be stopped at any moment: with -o the same command goes on from there.",
    .example = "sensorium eval models/demo answers models/demo/questions.jsonl --limit 20",
    .tables = tables, .run = run};
