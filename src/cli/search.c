/* sensorium search my.db "a red car": the files of a gallery that are most like words or pictures. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/gallery.h"
#include "cli/request.h"
#include "cli/show.h"
#include "generate/ask.h"
#include "media/data_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIALOGUE_LIMIT = 64 << 20 };

/* ---- the query: a sum of unit vectors ---- */

static sn_status add_part(const sn_gallery_model *m, bool picture, const char *part, double weight, float *sum, sn_error *error) {
    float *vector = sn_alloc((size_t)m->width, sizeof *vector);
    if (!vector) return sn_fail_memory(error);
    sn_status status = picture ? sn_vector_of_picture(m, part, vector, error) : sn_vector_of_text(m, part, vector, error);
    for (int64_t i = 0; i < m->width && !status; i++) sum[i] += (float)weight * vector[i];
    sn_free(vector);
    return status;
}

/* A conversation as chat's /save writes it, or {"prompt": [parts]}: texts and pictures in any order. */
static sn_status add_dialogue(const sn_gallery_model *m, const char *path, float *sum, sn_error *error) {
    sn_arena *arena = sn_arena_new();
    char *folder = sn_path_parent(path);
    float *vector = sn_alloc((size_t)m->width, sizeof *vector);
    json_t *object = NULL;
    sn_request request;
    if (!arena || !folder || !vector) sn_fail_memory(error);
    sn_status status = !arena || !folder || !vector ? SN_ERROR_MEMORY : sn_json_file(path, DIALOGUE_LIMIT, &object, error);
    if (!status && (!m->model->lm.query || !m->model->system->prompt)) status = sn_fail(error, SN_ERROR_SUPPORT, "search: --dialogue: %s asks for no pictures in a dialogue; give words or -i PICTURE", m->model->system->title);
    if (!status) status = sn_request_read(path, object, folder, arena, &request, error);
    if (!status) status = sn_ask_for_picture(m->model, &request, &m->pictures, NULL, vector, error);
    if (!status && !sn_unit(vector, m->width)) status = sn_fail(error, SN_ERROR_NUMERIC, "%s: the dialogue's vector is zero or not finite", path);
    for (int64_t i = 0; i < m->width && !status; i++) sum[i] += vector[i];
    json_decref(object);
    sn_arena_free(arena);
    sn_free(folder);
    sn_free(vector);
    return status;
}

static bool is_picture(const char *part) { return strcmp(part, "-") == 0 || sn_is_data_url(part) || sn_is_file(part); }

static sn_status make_query(const sn_arguments *a, const sn_gallery_model *m, const sn_buf *standard, float *query, sn_error *error) {
    const char *part;
    sn_status status = SN_OK;
    for (int i = 0; (part = sn_argument_at(a, "dialogue", i)) && !status; i++) status = add_dialogue(m, part, query, error);
    for (int i = 1; i < a->num_plain && !status; i++) status = add_part(m, false, a->plain[i], 1, query, error);
    for (int i = 0; (part = sn_argument_at(a, "image", i)) && !status; i++) status = add_part(m, true, sn_picture_argument(part, standard), 1, query, error);
    for (int i = 0; (part = sn_argument_at(a, "not", i)) && !status; i++) status = add_part(m, is_picture(part), sn_picture_argument(part, standard), -1, query, error);
    if (!status && !sn_unit(query, m->width)) status = sn_fail(error, SN_ERROR_USAGE, "search: the parts of the query take each other away");
    return status;
}

/* The gallery's own model, unless --model names another. */
static sn_status find_files(const sn_arguments *a, sn_gallery *gallery, json_t **keep, sn_model_files *files, sn_error *error) {
    const char *main = sn_argument(a, "model");
    if (main) return sn_arguments_model(a, main, files, error);
    char *text = sn_gallery_note(gallery, "files");
    sn_status status = text ? sn_json_bytes("the gallery's note of its model", text, strlen(text), keep, error) : sn_fail(error, SN_ERROR_INPUT, "%s: does not say where its model is; give --model", a->plain[0]);
    sn_free(text);
    if (status) return status;
    const json_t *o = *keep;
    *files = (sn_model_files){.main = sn_json_string(o, "main"), .llm = sn_json_string(o, "llm"), .vision = sn_json_string(o, "vision"), .connector = sn_json_string(o, "connector"),
                              .base = sn_json_string(o, "base"), .delta = sn_json_string(o, "delta"), .tokenizer = sn_json_string(o, "tokenizer"), .models = sn_json_string(o, "models")};
    return SN_OK;
}

/* ---- results ---- */

static void print_table(const sn_found *f) {
    for (int64_t i = 0; i < f->count; i++) {
        printf("%.4f  %s%s", (double)f->file[i].score, f->file[i].path, f->file[i].gone ? "  (deleted since)" : "");
        if (f->file[i].folded) printf("  (and %lld that look the same)", (long long)f->file[i].folded);
        putchar('\n');
    }
    if (!f->searched) puts("the gallery is empty");
    else printf("cosines; of the %lld vectors half are below %.3f and 99 %% below %.3f%s\n", (long long)f->searched, f->median, f->high,
                f->count && f->searched >= 100 && (double)f->file[0].score < f->high ? ": no result stands out" : "");
}

static void print_json(const sn_found *f) {
    json_t *list = json_array();
    for (int64_t i = 0; i < f->count; i++)
        json_array_append_new(list, json_pack("{s:o,s:f,s:b,s:I}", "path", sn_json_text(f->file[i].path), "score", (double)f->file[i].score, "gone", f->file[i].gone, "folded", (json_int_t)f->file[i].folded));
    json_t *all = json_pack("{s:o,s:s,s:I,s:f,s:f}", "results", list, "score", "cosine", "searched", (json_int_t)f->searched, "median", f->median, "percentile_99", f->high);
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(all);
}

static void add_escaped(sn_buf *out, const char *text, bool address) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || strchr("/._-~", *c);
        if (address) sn_buf_printf(out, plain ? "%c" : "%%%02X", *c);
        else if (strchr("<>&\"'", *c)) sn_buf_printf(out, "&#%d;", *c);
        else sn_buf_add(out, c, 1);
    }
}

static void add_address(sn_buf *out, const char *path) {
    if (!strstr(path, "://")) sn_buf_puts(out, "file://");
    add_escaped(out, path, !strstr(path, "://"));
}

/* One page with small copies of the pictures in it; what cannot be read (an address) is left to the browser. */
static sn_status write_page(const char *path, const sn_found *f, sn_error *error) {
    sn_buf page = {0};
    sn_buf_puts(&page, "<!doctype html><meta charset=\"utf-8\"><title>Found</title>\n<style>body{font:15px sans-serif;margin:2em}figure{display:inline-block;width:240px;margin:8px;vertical-align:top}"
                       "img{width:240px;height:180px;object-fit:contain;background:#eee}figcaption{overflow-wrap:anywhere}</style>\n");
    for (int64_t i = 0; i < f->count; i++) {
        sn_buf_puts(&page, "<figure><a href=\"");
        add_address(&page, f->file[i].path);
        sn_buf_puts(&page, "\"><img loading=\"lazy\" alt=\"\" src=\"");
        if (!sn_add_thumbnail(&page, f->file[i].path)) add_address(&page, f->file[i].path);
        sn_buf_printf(&page, "\"></a><figcaption>%.4f ", (double)f->file[i].score);
        add_escaped(&page, f->file[i].path, false);
        sn_buf_puts(&page, f->file[i].gone ? " (deleted since)</figcaption></figure>\n" : "</figcaption></figure>\n");
    }
    sn_status status = page.failed ? sn_fail_memory(error) : sn_write_file(path, page.data, page.length, error);
    sn_buf_free(&page);
    return status;
}

static sn_status show(const sn_arguments *a, const sn_found *found, sn_error *error) {
    const char *page = sn_argument(a, "html");
    if (sn_argument_given(a, "json")) print_json(found);
    else print_table(found);
    return page ? write_page(page, found, error) : SN_OK;
}

static sn_status run(const sn_arguments *a, sn_error *error) {
    int64_t k = 10;
    double min_score = -1;
    sn_gallery *gallery = NULL;
    sn_gallery_opened opened = {0};
    sn_model_files files;
    sn_found found = {0};
    json_t *keep = NULL;
    float *query = NULL;
    sn_buf standard = {0};
    bool rounded = false;
    sn_status status = sn_argument_integer(a, "top", 1, 1000000, &k, error);
    if (!status) status = sn_argument_number(a, "min-score", -1, 1, &min_score, error);
    if (!status && a->num_plain < 2 && !sn_argument_given(a, "image") && !sn_argument_given(a, "dialogue")) status = sn_fail(error, SN_ERROR_USAGE, "search: expected words, -i PICTURE or --dialogue FILE; see `sensorium search --help`");
    if (!status) status = sn_arguments_standard_picture(a, (const char *const[]){"image", "not", NULL}, NULL, &standard, error);
    if (!status) status = sn_gallery_open(a->plain[0], false, &gallery, error);
    if (!status) status = find_files(a, gallery, &keep, &files, error);
    if (!status) status = sn_gallery_open_model(a, gallery, &files, &opened, error);
    if (!status) status = sn_gallery_check(gallery, &opened.fingerprint, &rounded, error);
    if (!status && rounded) sn_gallery_warn_rounded(a->plain[0]);
    if (!status && !(query = sn_alloc((size_t)opened.vectors.width, sizeof *query))) status = sn_fail_memory(error);
    if (!status) status = make_query(a, &opened.vectors, &standard, query, error);
    if (!status) status = sn_gallery_search(gallery, query, k, min_score, sn_argument_given(a, "all"), &found, error);
    if (!status) status = show(a, &found, error);
    sn_found_free(&found);
    sn_free(query);
    sn_buf_free(&standard);
    json_decref(keep);
    sn_gallery_close(gallery);
    sn_gallery_close_model(&opened);
    return status;
}

static const sn_option options[] = {{"image", 'i', "PATH", "look for files like this picture (a file, a data URL, - for standard input); may be given several times, and with words"},
                                    {"dialogue", 0, "FILE", "what the model asks for at the end of a dialogue of texts and pictures (JSON)"},
                                    {"not", 0, "TEXT|PATH", "take this away from the query"},
                                    {"top", 'k', "N", "how many files (default 10)"},
                                    {"min-score", 0, "S", "only files with at least this cosine, -1 to 1"},
                                    {"all", 0, NULL, "list pictures that look the same one by one"},
                                    {"model", 0, "MODEL", "the model, where it is not at its old place any more"},
                                    {"html", 0, "FILE", "also write a page with the pictures"},
                                    {"json", 0, NULL, "the results as JSON"},
                                    {0}};

const sn_command sn_command_search = {
    .name = "search", .summary = "the files of a gallery that fit words or pictures", .plain = "GALLERY [TEXT...]", .min_plain = 1, .max_plain = -1,
    .details = "Scores are cosines: 1 is the same picture. Each part of a query is brought to length 1, then they are added.\n"
               "A search always finds something: the last line says where the scores lie in the gallery.",
    .example = "sensorium search /tmp/my.db -i tests/goldens/components/clip_vit/hf-clip/inputs/a.png",
    .tables = (const sn_option *const[]){options, sn_model_options, sn_picture_options, sn_engine_options, NULL}, .run = run};
