/* sensorium index MODEL DIR... -o my.db: a gallery of one's own pictures. */
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/gallery.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

static atomic_bool cancelled;

static void on_signal(int number) {
    (void)number;
    atomic_store(&cancelled, true);
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

static void add_failed(void *context, const char *path, const char *reason) { json_array_append_new(context, json_pack("{s:o,s:o}", "path", sn_json_text(path), "reason", sn_json_text(reason))); }

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

/* ---- work on galleries that needs no model ---- */

static sn_status compact(const char *path, bool json, sn_error *error) {
    sn_gallery *gallery;
    int64_t freed = 0;
    sn_status status = sn_gallery_open(path, true, &gallery, error);
    if (!status) status = sn_gallery_compact(gallery, &freed, error);
    if (!status && json) print_json(json_pack("{s:I}", "rows_freed", (json_int_t)freed));
    else if (!status) printf("%lld rows of deleted files are gone from the vector file\n", (long long)freed);
    sn_gallery_close(gallery);
    return status;
}

/* Locks of SQLite may not hold there. */
static void warn_network(const char *path) {
    static const struct { long magic; const char *name; } kinds[] = {{0x6969, "NFS"}, {0x517b, "SMB"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"}, {0x65735546, "FUSE"}};
    struct statfs info;
    char *folder = sn_path_parent(path);
    bool known = folder && statfs(folder, &info) == 0;
    for (size_t i = 0; known && i < sizeof kinds / sizeof *kinds; i++)
        if (info.f_type == kinds[i].magic)
            fprintf(stderr, "sensorium: warning: %s lies on a network file system (%s), where locks may not hold: let one machine at a time write to it\n", path, kinds[i].name);
    sn_free(folder);
}

/* ---- a run ---- */

static sn_status import_all(const sn_arguments *a, sn_gallery *gallery, sn_model *model, sn_error *error) {
    const char *path;
    sn_status status = SN_OK;
    for (int i = 0; (path = sn_argument_at(a, "import", i)) && !status; i++) {
        sn_finder from = {0};
        int64_t added = 0, normalised = 0;
        if (!model->system->gallery) return sn_fail(error, SN_ERROR_USAGE, "index: --import: there are no published galleries of %s", model->system->title);
        status = model->system->gallery(model, path, &from, error);
        if (!status) status = sn_gallery_import(gallery, &from, path, &added, &normalised, error);
        if (!status && !sn_argument_given(a, "json"))
            printf("%s: %lld rows, scores are cosines; %lld were new, %lld of these not of length 1 and brought to it\n", path, (long long)from.rows.rows, (long long)added, (long long)normalised);
        sn_finder_close(&from);
    }
    return status;
}

static sn_status index_folders(const sn_arguments *a, sn_gallery *gallery, const sn_gallery_model *model, sn_error *error) {
    sn_index_report report;
    view v = {.quiet = sn_argument_given(a, "quiet")};
    sn_index_options options = {.folders = a->plain + 1, .num_folders = a->num_plain - 1, .cancel = &cancelled, .progress = on_progress, .failure = on_failure, .context = &v};
    signal(SIGINT, on_signal);
    sn_progress_begin(&v.progress, stderr, "files", "files", 0);
    sn_status status = sn_gallery_index(gallery, model, &options, &report, error);
    sn_progress_end(&v.progress);
    if (!status) print_report(&report, sn_argument_given(a, "json"));
    return status;
}

/* A new gallery, or the one that is there; that one remembers how its pictures are taken. */
static sn_status open_gallery(const sn_arguments *a, const char *out, const sn_model_files *files, sn_gallery_opened *opened, sn_gallery **gallery, sn_error *error) {
    bool rebuild = sn_argument_given(a, "rebuild"), rounded = false;
    sn_gallery *old = NULL;
    int type = 0;
    sn_status status = sn_argument_word(a, "type", (const char *const[]){"f32", "f16", "bf16", NULL}, &type, error);
    if (!status && !rebuild && access(out, F_OK) == 0) status = sn_gallery_open(out, false, &old, error);
    if (!status) status = sn_gallery_open_model(a, old, files, opened, error);
    sn_gallery_close(old);
    char *described = status ? NULL : describe_files(files);
    if (!status && !described) status = sn_fail_memory(error);
    if (!status && rebuild && access(out, F_OK) == 0) status = sn_gallery_remove(out, error);
    if (!status) status = sn_gallery_make(out, &opened->fingerprint, (const sn_type[]){SN_TYPE_F32, SN_TYPE_F16, SN_TYPE_BF16}[type], described, gallery, &rounded, error);
    if (!status && rounded) sn_gallery_warn_rounded(out);
    free(described);
    return status;
}

static sn_status run(const sn_arguments *a, sn_error *error) {
    const char *out = sn_argument(a, "output");
    bool json = sn_argument_given(a, "json"), imports = sn_argument_given(a, "import");
    if (sn_argument_given(a, "failed")) return a->num_plain == 1 ? list_failed(a->plain[0], json, error) : sn_fail(error, SN_ERROR_USAGE, "index: --failed expects one gallery: index --failed my.db");
    if (sn_argument_given(a, "compact")) return a->num_plain == 1 ? compact(a->plain[0], json, error) : sn_fail(error, SN_ERROR_USAGE, "index: --compact expects one gallery: index --compact my.db");
    if (!out || a->num_plain < 2 - imports) return sn_fail(error, SN_ERROR_USAGE, "index: expected MODEL, folders and -o my.db; see `sensorium index --help`");
    sn_model_files files;
    sn_gallery_opened opened = {0};
    sn_gallery *gallery = NULL;
    warn_network(out);
    sn_status status = sn_arguments_model(a, a->plain[0], &files, error);
    if (!status) status = open_gallery(a, out, &files, &opened, &gallery, error);
    if (!status) status = import_all(a, gallery, opened.vectors.model, error);
    if (!status && a->num_plain > 1) status = index_folders(a, gallery, &opened.vectors, error);
    sn_gallery_close(gallery);
    sn_gallery_close_model(&opened);
    return status;
}

static const sn_option options[] = {{"output", 'o', "FILE", "the gallery: FILE.db, with FILE.vec beside it"},
                                    {"type", 0, "f32|f16|bf16", "how vectors are stored in a new gallery (default f32)"},
                                    {"import", 0, "FILE", "add a gallery published with the model (a file, a folder, or a pattern in quotes)"},
                                    {"rebuild", 0, NULL, "make the gallery anew, whatever model made the old one"},
                                    {"compact", 0, NULL, "close the gaps that deleted files left: index --compact my.db"},
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
