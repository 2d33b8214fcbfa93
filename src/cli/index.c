/* sensorium index MODEL DIR... -o my.db: a gallery of one's own pictures. */
#include "base/json.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/gallery.h"
#include "generate/lm_session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool cancelled;

static void on_signal(int number) {
    (void)number;
    atomic_store(&cancelled, true);
}

/* What a language model asks for when it has read the text and then its token for a picture. */
static sn_status ask_in_words(sn_model *m, const char *text, float *vector, sn_error *error) {
    sn_content content = {.text = text};
    sn_request request = {.prompt = &content, .num_prompt = 1};
    sn_prompt prompt = {0};
    sn_lm_session session = {0};
    sn_sequence sequence = {0};
    sn_status status = m->system->prompt(m, &request, &prompt, error);
    if (!status && !sn_ids_add(&prompt.ids, m->query_id)) status = sn_fail_memory(error);
    if (!status && !(status = sn_lm_session_open(&session, m->engine, m->store, &m->lm, SN_TYPE_F32, error))) {
        sn_lm_row row = {.sequence = &sequence, .ids = prompt.ids.data, .count = (int64_t)prompt.ids.count};
        status = sn_lm_extend_query(&session, &row, 1, false, vector, error);
        sn_sequence_free(&session, &sequence);
        sn_lm_session_close(&session);
    }
    sn_prompt_free(&prompt);
    return status;
}

sn_status sn_gallery_open_model(const sn_arguments *a, const sn_model_files *files, sn_gallery_opened *out, sn_error *error) {
    sn_model *model = NULL;
    sn_image_options pictures;
    int threads = 0;
    *out = (sn_gallery_opened){0};
    sn_status status = sn_arguments_pictures(a, &pictures, error);
    if (!status) status = sn_arguments_threads(a, &threads, error);
    if (!status) status = sn_engine_new(threads, &out->engine, error);
    if (!status) status = sn_model_open(out->engine, files, &model, error);
    if (!status) status = sn_gallery_model_of(model, &pictures, &out->vectors, error);
    out->vectors.model = model;
    if (!status && !out->vectors.text && model->lm.query && model->system->prompt) out->vectors.text = ask_in_words;
    return status ? status : sn_fingerprint_of(model, &pictures, &out->fingerprint, error);
}

void sn_gallery_close_model(sn_gallery_opened *o) {
    sn_model_close(o->vectors.model);
    sn_engine_free(o->engine);
}

/* ---- where the model is, for who searches later ---- */

static bool keep_path(json_t *object, const char *role, const char *path) {
    if (!path) return true;
    char *whole = realpath(path, NULL);
    bool kept = json_object_set_new(object, role, json_string(whole ? whole : path)) == 0;
    free(whole);
    return kept;
}

static char *describe_files(const sn_model_files *f) {
    json_t *object = json_object();
    bool ok = object && keep_path(object, "main", f->main) && keep_path(object, "llm", f->llm) && keep_path(object, "vision", f->vision) && keep_path(object, "connector", f->connector) &&
              keep_path(object, "base", f->base) && keep_path(object, "delta", f->delta) && keep_path(object, "tokenizer", f->tokenizer) && keep_path(object, "models", f->models);
    char *text = ok ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

/* ---- what a person sees ---- */

typedef struct view {
    sn_progress progress;
    bool quiet;
} view;

static void on_progress(void *context, int64_t done, int64_t total) {
    view *v = context;
    v->progress.total = total;
    sn_progress_to(&v->progress, done);
}

static void on_failure(void *context, const char *path, const char *reason) {
    view *v = context;
    if (!v->quiet) fprintf(stderr, "%ssensorium: %s is left out: %s\n", v->progress.shown ? "\r\033[K" : "", path, strncmp(reason, path, strlen(path)) == 0 ? reason + strlen(path) + 2 : reason);
}

static void print_failed(void *context, const char *path, const char *reason) { printf("%s\t%s\n", path, reason); }

static void add_failed(void *context, const char *path, const char *reason) { json_array_append_new(context, json_pack("{s:s,s:s}", "path", path, "reason", reason)); }

static void print_json(json_t *object) {
    json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
}

static sn_status list_failed(const char *path, bool json, sn_error *error) {
    sn_gallery *gallery;
    json_t *list = json ? json_array() : NULL;
    sn_status status = sn_gallery_open(path, false, &gallery, error);
    if (!status) status = sn_gallery_failed(gallery, json ? add_failed : print_failed, list, error);
    if (!status && json) print_json(json_pack("{s:O}", "failed", list));
    json_decref(list);
    sn_gallery_close(gallery);
    return status;
}

static void print_report(const sn_index_report *r, bool json) {
    if (json) {
        print_json(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)r->files, "indexed", (json_int_t)r->indexed, "failed", (json_int_t)r->failed, "unchanged", (json_int_t)r->unchanged,
                             "moved", (json_int_t)r->moved, "gone", (json_int_t)r->gone, "total_indexed", (json_int_t)r->total_indexed, "total_failed", (json_int_t)r->total_failed));
        return;
    }
    printf("%lld files: %lld indexed, %lld failed, %lld unchanged, %lld moved; %lld are gone\n", (long long)r->files, (long long)r->indexed, (long long)r->failed, (long long)r->unchanged, (long long)r->moved,
           (long long)r->gone);
    printf("the gallery holds %lld files; %lld could not be read (sensorium index --failed names them)\n", (long long)r->total_indexed, (long long)r->total_failed);
}

static sn_status run(const sn_arguments *a, sn_error *error) {
    const char *out = sn_argument(a, "output");
    bool json = sn_argument_given(a, "json");
    int type = 0;
    if (sn_argument_given(a, "failed")) return a->num_plain == 1 ? list_failed(a->plain[0], json, error) : sn_fail(error, SN_ERROR_USAGE, "index: --failed expects one gallery: index --failed my.db");
    if (!out || a->num_plain < 2) return sn_fail(error, SN_ERROR_USAGE, "index: expected MODEL, folders and -o my.db; see `sensorium index --help`");
    sn_model_files files;
    sn_gallery_opened opened = {0};
    sn_gallery *gallery = NULL;
    sn_index_report report;
    view v = {.quiet = sn_argument_given(a, "quiet")};
    sn_index_options options = {.folders = a->plain + 1, .num_folders = a->num_plain - 1, .cancel = &cancelled, .progress = on_progress, .failure = on_failure, .context = &v};
    char *described = NULL;
    sn_status status = sn_argument_word(a, "type", (const char *const[]){"f32", "f16", "bf16", NULL}, &type, error);
    if (!status) status = sn_arguments_model(a, a->plain[0], &files, error);
    if (!status) status = sn_gallery_open_model(a, &files, &opened, error);
    if (!status && !(described = describe_files(&files))) status = sn_fail_memory(error);
    if (!status) status = sn_gallery_make(out, &opened.fingerprint, (const sn_type[]){SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16}[type], described, &gallery, error);
    if (!status) {
        signal(SIGINT, on_signal);
        sn_progress_begin(&v.progress, stderr, "files", "files", 0);
        status = sn_gallery_index(gallery, &opened.vectors, &options, &report, error);
        sn_progress_end(&v.progress);
    }
    if (!status) print_report(&report, json);
    sn_gallery_close(gallery);
    sn_gallery_close_model(&opened);
    free(described);
    return status;
}

static const sn_option options[] = {{"output", 'o', "FILE", "the gallery: FILE.db, with FILE.vec beside it"},
                                    {"type", 0, "f32|f16|bf16", "how vectors are stored in a new gallery (default f32)"},
                                    {"failed", 0, NULL, "list the files that could not be read: index --failed my.db"},
                                    {"json", 0, NULL, "the report as JSON"},
                                    {"quiet", 'q', NULL, "do not name each file that cannot be read"},
                                    {0}};

const sn_command sn_command_index = {
    .name = "index", .summary = "a gallery of one's own pictures, for search", .plain = "MODEL DIR...", .min_plain = 1, .max_plain = -1,
    .details = "Makes a gallery, or brings it up to date: what did not change is not read again, what was moved keeps its\n"
               "vector, what cannot be read is kept apart with the reason. It may be stopped at any moment; the next run\n"
               "goes on from there. MODEL gives the vectors; a gallery takes those of one model alone.",
    .example = "sensorium index tests/goldens/components/clip_vit/hf-clip/model tests/goldens/components/clip_vit/hf-clip/inputs -o /tmp/my.db",
    .tables = (const sn_option *const[]){options, sn_model_options, sn_picture_options, sn_engine_options, NULL}, .run = run};
