/* sensorium chat: one answer, or a conversation in the terminal or from a pipe. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/terminal.h"
#include "cli/show.h"
#include "cli/gallery.h"
#include "generate/conversation.h"
#include "media/data_url.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_WORDS = 32 }; /* of a model that has no end of an answer, as its authors use it */
enum { FEATURES_KEPT = 256 << 20, SAVED_LIMIT = 64 << 20 };

typedef struct chat {
    const sn_arguments *arguments;
    sn_engine *engine;
    sn_model *model;
    sn_pictures *pictures;
    sn_conversation *conversation;
    sn_generate_options options;
    sn_image_options image;
    sn_picture *pending[SN_MAX_MEDIA]; /* pictures for the next question */
    char *paths[SN_MAX_MEDIA];
    int num_pending;
    atomic_bool *interrupts;
    bool json;
    bool closed; /* nobody reads what we print */
    double seconds_load;
    sn_finder finder; /* without rows: none was given, or it is empty */
    int show; /* sn_show */
    int64_t max_pictures;
    sn_buf page; /* the conversation as a page, where asked for */
    sn_buf standard; /* the picture on standard input, as a data URL */
} chat;

/* ---- pictures of the next question ---- */

static sn_status add_picture(chat *c, const char *path, sn_error *error) {
    if (c->num_pending == SN_MAX_MEDIA) return sn_fail(error, SN_ERROR_USAGE, "more than %d pictures in one question", SN_MAX_MEDIA);
    sn_picture *picture;
    sn_status status = sn_picture_open(c->pictures, path, &c->image, &picture, error);
    if (status) return status;
    char *whole = sn_is_data_url(path) ? NULL : realpath(path, NULL), *kept = sn_strdup(whole ? whole : path);
    free(whole);
    if (!kept) {
        sn_picture_drop(c->pictures, picture);
        return sn_fail_memory(error);
    }
    c->paths[c->num_pending] = kept;
    c->pending[c->num_pending++] = picture;
    return SN_OK;
}

static void drop_pictures(chat *c) {
    while (c->num_pending) {
        c->num_pending--;
        sn_picture_drop(c->pictures, c->pending[c->num_pending]);
        sn_free(c->paths[c->num_pending]);
    }
}

/* ---- one turn ---- */

static void print_piece(void *context, const char *text, size_t length) {
    chat *c = context;
    if (sn_print_text(text, length)) return;
    c->closed = true;
    atomic_store(c->interrupts, true);
}

static sn_status open_gallery(chat *c, sn_error *error) {
    static const char *const words[] = {"off", "paths", "inline", NULL};
    const char *path = sn_argument(c->arguments, "gallery");
    bool rounded;
    c->show = SN_SHOW_PATHS, c->max_pictures = 1;
    sn_status status = sn_argument_word(c->arguments, "pictures", words, &c->show, error);
    if (!status) status = sn_argument_integer(c->arguments, "max-pictures", 0, 64, &c->max_pictures, error);
    if (status || !path) return status;
    if (!c->model->lm.query) return sn_fail(error, SN_ERROR_USAGE, "chat: --gallery: %s answers with text alone", c->model->system->title);
    status = sn_gallery_finder(c->model, path, &c->finder, &rounded, error);
    if (!status && rounded) sn_gallery_warn_rounded(path);
    if (!status && !c->finder.rows.rows) fprintf(stderr, "sensorium: warning: %s holds no pictures\n", path);
    return status;
}

static json_t *parts_json(const sn_parts *parts) {
    json_t *list = json_array();
    for (size_t i = 0; i < parts->count; i++) {
        const sn_part *p = &parts->items[i];
        json_array_append_new(list, p->is_picture ? json_pack("{s:s, s:o, s:f}", "type", "image", "path", sn_json_text(p->text), "score", (double)p->similarity)
                                                  : json_pack("{s:s, s:s}", "type", "text", "text", p->text));
    }
    return list;
}

static json_t *texts_json(char *const *texts, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, sn_json_text(texts[i]));
    return list;
}

/* Whether the window or --max-tokens took the answer's end; NULL: neither, or the model's answers have none. */
static const char *cut_by(const chat *c, const sn_turn_result *r) {
    return r->reply.by_window ? "window" : r->reply.by_length && c->model->query_id < 0 ? "max_tokens" : NULL;
}

static json_t *result_json(const chat *c, const sn_turn_result *r) {
    const sn_reply *reply = &r->reply;
    json_t *ids = json_array();
    for (size_t i = 0; i < reply->answer.ids.count; i++) json_array_append_new(ids, json_integer(reply->answer.ids.data[i]));
    json_int_t generated = (json_int_t)reply->answer.ids.count, prompt = r->prompt_positions;
    return json_pack("{s:s%, s:o, s:s, s:s?, s:s?, s:I, s:{s:I, s:I, s:I, s:I, s:{s:I}}, s:{s:f, s:f, s:f, s:f}, s:o, s:o}", "text", reply->text.data ? reply->text.data : "", reply->text.length,
                     "generated_ids", ids, "finish_reason", sn_finish_reason(reply), "cut_by", cut_by(c, r), "stopped_by", reply->stopped_by, "seed", (json_int_t)c->options.seed,
                     "usage", "prompt_tokens", prompt, "completion_tokens", generated, "total_tokens", prompt + generated, "image_tokens", (json_int_t)r->picture_positions,
                     "prompt_tokens_details", "cached_tokens", (json_int_t)r->cached_positions,
                     "seconds", "load", c->seconds_load, "pictures", r->seconds_pictures, "first_text", r->seconds_first, "total", r->seconds_total, "parts", parts_json(&reply->parts),
                     "left_out", texts_json(reply->parts.left_out, reply->parts.num_left_out));
}

static void tell_cut(const chat *c, const sn_turn_result *r) {
    const char *by = cut_by(c, r);
    if (!by) return;
    if (!r->reply.by_window) fprintf(stderr, "sensorium: warning: the answer is cut after %zu tokens; --max-tokens allows more\n", r->reply.answer.ids.count);
    else fprintf(stderr, "sensorium: warning: the answer is cut: the model's window of %lld positions is full, %lld of them the prompt's; a shorter question or a new conversation leaves more for the answer\n", (long long)c->model->lm.max_positions, (long long)r->prompt_positions);
}

/* Pictures that fit better and could not be shown, and how many are missing because of them. */
static void tell_left_out(const chat *c, const sn_parts *parts) {
    for (size_t i = 0; i < parts->num_left_out; i++) fprintf(stderr, "sensorium: warning: %s; the next one is taken\n", parts->left_out[i]);
    if (parts->short_of && c->finder.rows.rows && c->max_pictures) fprintf(stderr, "sensorium: warning: the gallery has %d pictures less than asked for\n", parts->short_of);
}

static sn_status print_result(const chat *c, const sn_turn_result *r, sn_error *error) {
    json_t *object = result_json(c, r);
    char *line = object ? json_dumps(object, JSON_REAL_PRECISION(6)) : NULL;
    json_decref(object);
    if (!line) return sn_fail_memory(error);
    sn_print(line, strlen(line));
    sn_print("\n", 1);
    free(line);
    return SN_OK;
}

/* A question with the pictures that wait for it. SN_ERROR_CANCELLED: Ctrl-C; a partial answer stays a message, a
 * question without any answer does not, and its pictures wait on. */
static sn_status ask(chat *c, const char *question, sn_error *error) {
    sn_piece pieces[SN_MAX_MEDIA + 1];
    sn_turn_result result;
    int count = 0, before = sn_conversation_count(c->conversation);
    size_t bad;
    if (!sn_utf8_valid(question, strlen(question), &bad)) return sn_fail(error, SN_ERROR_INPUT, "the question is not valid UTF-8 (byte %zu)", bad);
    for (; count < c->num_pending; count++) pieces[count] = (sn_piece){.text = c->paths[count], .picture = c->pending[count]};
    if (question[0] || !count) pieces[count++] = (sn_piece){.text = question};
    sn_status status = sn_conversation_add(c->conversation, SN_ROLE_USER, pieces, count, error);
    if (status) return status;
    sn_turn turn = {.options = &c->options, .on_text = c->json ? NULL : print_piece, .context = c, .cancel = c->interrupts,
                    .finder = c->finder.rows.rows && c->max_pictures ? &c->finder : NULL, .max_pictures = (int)c->max_pictures};
    status = sn_conversation_answer(c->conversation, &turn, &result, error);
    if (status || (result.reply.cancelled && !result.reply.text.length)) sn_conversation_cut(c->conversation, before);
    else drop_pictures(c);
    if (status) return status;
    status = c->json ? print_result(c, &result, error) : SN_OK;
    if (!c->json && !c->closed) sn_print("\n", 1);
    tell_left_out(c, &result.reply.parts);
    if (!c->json) tell_cut(c, &result);
    for (size_t i = 0; !status && !c->json && !c->closed && i < result.reply.parts.count; i++)
        if (result.reply.parts.items[i].is_picture) sn_show_picture((sn_show)c->show, result.reply.parts.items[i].text);
    if (!status && sn_argument(c->arguments, "html")) status = sn_page_write(sn_argument(c->arguments, "html"), &c->page, question, &result.reply.parts, error);
    if (!status && result.reply.cancelled) status = SN_ERROR_CANCELLED;
    c->options.seed++; /* the next turn draws other numbers */
    sn_reply_free(&result.reply);
    return status;
}

/* ---- saved conversations ---- */

static sn_status save(chat *c, const char *path, sn_error *error) {
    json_t *object = sn_conversation_json(c->conversation);
    char *text = object ? json_dumps(object, JSON_INDENT(1)) : NULL;
    sn_status status = text ? sn_write_file(path, text, strlen(text), error) : sn_fail_memory(error);
    free(text);
    json_decref(object);
    return status;
}

static sn_status load(chat *c, const char *path, sn_error *error) {
    json_t *object;
    int changed = 0;
    sn_status status = sn_json_file(path, SAVED_LIMIT, &object, error);
    if (status) return status;
    char *folder = sn_path_parent(path);
    status = folder ? sn_conversation_read(c->conversation, path, object, folder, &c->image, &changed, error) : sn_fail_memory(error);
    if (!status && changed) fprintf(stderr, "sensorium: warning: %s: %d of its pictures are no longer what they were\n", path, changed);
    sn_free(folder);
    json_decref(object);
    return status;
}

/* ---- the conversation ---- */

static sn_status begin(chat *c, sn_error *error) {
    const char *system = sn_argument(c->arguments, "system-prompt");
    sn_conversation_cut(c->conversation, 0);
    return system ? sn_conversation_add(c->conversation, SN_ROLE_SYSTEM, &(sn_piece){.text = system}, 1, error) : SN_OK;
}

static sn_status do_image(chat *c, const char *path, sn_error *error) {
    return strcmp(path, "-") == 0 ? sn_fail(error, SN_ERROR_USAGE, "/image -: standard input is read for the questions; expected a file or a data URL") : add_picture(c, path, error);
}

static sn_status do_reset(chat *c, const char *none, sn_error *error) {
    drop_pictures(c);
    return begin(c, error);
}

static sn_status do_load(chat *c, const char *path, sn_error *error) {
    drop_pictures(c);
    sn_conversation_cut(c->conversation, 0);
    return load(c, path, error);
}

static sn_status do_help(chat *c, const char *none, sn_error *error);

static const struct verb {
    const char *name, *value, *help;
    sn_status (*run)(chat *c, const char *value, sn_error *error);
} verbs[] = {
    {"/image", "PATH", "a picture for the next question; several times for several", do_image},
    {"/reset", NULL, "begin a new conversation", do_reset},
    {"/save", "FILE", "write the conversation as JSON", save},
    {"/load", "FILE", "continue a saved conversation", do_load},
    {"/help", NULL, "this text", do_help},
};
enum { NUM_VERBS = sizeof verbs / sizeof *verbs };

static sn_status do_help(chat *c, const char *none, sn_error *error) {
    sn_buf text = {0};
    for (int i = 0; i < NUM_VERBS; i++) sn_buf_printf(&text, "  %-7s %-5s %s\n", verbs[i].name, verbs[i].value ? verbs[i].value : "", verbs[i].help);
    sn_buf_puts(&text, "  Ctrl-C stops an answer, Ctrl-D leaves. A line that begins with // is a question that begins with /.\n");
    if (text.length) sn_print(text.data, text.length);
    sn_buf_free(&text);
    return SN_OK;
}

/* The argument of a verb: blanks around it and quotes, as a terminal puts them around a dropped file, go. */
static char *verb_value(const char *rest) {
    rest += strspn(rest, " \t");
    size_t length = strlen(rest);
    while (length && (rest[length - 1] == ' ' || rest[length - 1] == '\t')) length--;
    if (length > 1 && (rest[0] == '\'' || rest[0] == '"') && rest[length - 1] == rest[0]) rest++, length -= 2;
    return sn_strndup(rest, length);
}

static sn_status do_verb(chat *c, const char *line, sn_error *error) {
    size_t length = strcspn(line, " \t");
    for (int i = 0; i < NUM_VERBS; i++) {
        if (strlen(verbs[i].name) != length || memcmp(verbs[i].name, line, length) != 0) continue;
        char *value = verb_value(line + length);
        if (!value) return sn_fail_memory(error);
        sn_status status = !value[0] == !verbs[i].value ? verbs[i].run(c, value, error)
                           : verbs[i].value           ? sn_fail(error, SN_ERROR_USAGE, "%s expects a %s", verbs[i].name, verbs[i].value)
                                                      : sn_fail(error, SN_ERROR_USAGE, "%s takes nothing behind it", verbs[i].name);
        sn_free(value);
        return status;
    }
    return sn_fail(error, SN_ERROR_USAGE, "there is no %.*s; /help lists what there is", (int)length, line);
}

/* In a terminal an error is told and the conversation goes on; from a pipe the first one ends it. */
static sn_status converse(chat *c, sn_error *error) {
    sn_lines *lines;
    sn_status status = sn_lines_open("> ", &lines, error);
    if (status) return status;
    bool person = sn_lines_edited(lines);
    if (person) printf("%s, template %s. /help lists the commands, Ctrl-D leaves.\n", c->model->system->title, c->model->template_name ? c->model->template_name : "none");
    const char *line;
    while (!status && !c->closed && (line = sn_lines_next(lines))) {
        if (line[strspn(line, " \t")] == 0) continue;
        if (line[0] == '/' && line[1] != '/') status = do_verb(c, line, error);
        else status = ask(c, line + (line[0] == '/'), error);
        if (!person) continue;
        if (status && status != SN_ERROR_CANCELLED) fprintf(stderr, "sensorium: error: %s\n", error->message);
        atomic_store(c->interrupts, c->closed);
        status = SN_OK;
    }
    if (person && !c->closed) sn_print("\n", 1);
    else if (!status && !c->closed && atomic_load(c->interrupts)) status = SN_ERROR_CANCELLED; /* while waiting for a line */
    sn_lines_close(lines);
    return status;
}

/* ---- opening ---- */

static sn_status open_chat(chat *c, const char *main, sn_error *error) {
    const sn_arguments *a = c->arguments;
    sn_model_files files;
    int threads = 0;
    sn_compute compute;
    double begun = sn_seconds();
    sn_status status = sn_arguments_model(a, main, &files, error);
    c->options = sn_generate_defaults();
    if (!status) status = sn_arguments_pictures(a, &c->image, error);
    if (!status) status = sn_arguments_generation(a, &c->options, error);
    if (!status) status = sn_arguments_threads(a, &threads, error);
    if (!status) status = sn_arguments_compute(a, &compute, error);
    if (!status) status = sn_engine_new(threads, &c->engine, error);
    if (!status) sn_engine_set_compute(c->engine, compute);
    if (!status) status = sn_model_open(c->engine, &files, &c->model, error);
    for (size_t i = 0; !status && i < c->model->num_warnings; i++) fprintf(stderr, "sensorium: warning: %s\n", c->model->warnings[i]);
    if (!status) status = sn_pictures_new(c->model, FEATURES_KEPT, &c->pictures, error);
    if (!status) status = sn_conversation_new(c->model, c->pictures, &c->conversation, error);
    if (!status) status = open_gallery(c, error);
    if (status) return status;
    if (c->model->query_id >= 0 && !sn_argument_given(a, "max-tokens")) c->options.max_new_tokens = ANSWER_WORDS;
    if (!sn_argument_given(a, "temperature") && c->options.num_beams == 1) c->options.temperature = c->model->system->temperature;
    if (c->options.temperature > 0 && c->options.num_beams > 1) return sn_fail(error, SN_ERROR_USAGE, "chat: --beams takes no --temperature above 0");
    sn_conversation_template(c->conversation, sn_argument(a, "template"));
    c->seconds_load = sn_seconds() - begun;
    return SN_OK;
}

static void close_chat(chat *c) {
    drop_pictures(c);
    sn_conversation_free(c->conversation);
    sn_pictures_free(c->pictures);
    sn_finder_close(&c->finder);
    sn_buf_free(&c->page);
    sn_buf_free(&c->standard);
    sn_model_close(c->model);
    sn_engine_free(c->engine);
}

static bool is_path(const char *text) { return sn_is_directory(text) || sn_is_file(text); }

static sn_status run(const sn_arguments *a, sn_error *error) {
    chat c = {.arguments = a, .json = sn_argument_given(a, "json"), .interrupts = sn_interrupts()};
    /* with a language model given apart, a single argument that is no path is the question */
    bool apart = sn_argument_given(a, "llm") || sn_argument_given(a, "base") || sn_argument_given(a, "delta");
    bool has_model = a->num_plain == 2 || (a->num_plain == 1 && !(apart && !is_path(a->plain[0])));
    const char *question = a->num_plain == 2 ? a->plain[1] : a->num_plain == 1 && !has_model ? a->plain[0] : NULL, *path;
    sn_status status = sn_arguments_standard_picture(a, (const char *const[]){"image", NULL}, question ? NULL : "the questions are read from it; give one as an argument", &c.standard, error);
    if (!status) status = open_chat(&c, has_model ? a->plain[0] : NULL, error);
    if (!status) status = begin(&c, error);
    if (!status && (path = sn_argument(a, "load"))) {
        sn_conversation_cut(c.conversation, 0);
        status = load(&c, path, error);
    }
    for (int i = 0; !status && (path = sn_argument_at(a, "image", i)); i++) status = add_picture(&c, sn_picture_argument(path, &c.standard), error);
    if (!status) status = question ? ask(&c, question, error) : converse(&c, error);
    if (c.closed) status = SN_OK; /* main asks what became of stdout */
    close_chat(&c);
    return status;
}

static const sn_option options[] = {
    {"image", 'i', "PATH", "a picture of the question, several times for several: a file, a data URL, or - for standard input"},
    {"template", 0, "NAME", "another prompt template than the model's own"},
    {"system-prompt", 0, "TEXT", "another system sentence than the template's own"},
    {"load", 0, "FILE", "continue a conversation that /save has written"},
    {"gallery", 'g', "FILE", "where pictures of the answer are found: my.db of `sensorium index`, or published embeddings (cc3m_embeddings*.pkl)"},
    {"max-pictures", 0, "N", "pictures of each that the model asks for (1)"},
    {"pictures", 0, "HOW", "off | paths (the default) | inline: in terminals that can show them (kitty, sixel)"},
    {"html", 0, "FILE", "write the conversation as one page, with the pictures in it"},
    {"json", 0, NULL, "the answer with ids, reason of its end, counts and times, as one line of JSON"},
    {0}};

const sn_command sn_command_chat = {
    .name = "chat", .summary = "an answer about pictures, or a conversation", .plain = "MODEL [QUESTION]", .max_plain = 2,
    .details = "Answers QUESTION as it streams. Without a question it is a conversation: lines from the terminal, with history and\n"
               "editing, or from a pipe; /help lists its commands. Ctrl-C stops an answer. A model in several places is named by its\n"
               "parts instead of MODEL. What a person types is text: \"<image>\" or \"</s>\" in it have no special meaning.",
    .example = "sensorium chat models/demo -i models/demo/scenes/000.png \"Describe the picture.\"",
    .tables = (const sn_option *const[]){options, sn_generation_options, sn_picture_options, sn_model_options, sn_engine_options, sn_compute_options, NULL}, .run = run};
