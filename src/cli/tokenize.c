/* sensorium tokenize: text to the ids of a model's tokenizer, and back. */
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/request.h"
#include "cli/terminal.h"
#include "systems/gguf_vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 30, MAX_REQUEST = 16 << 20 };

/* ---- the text: an argument, a file, standard input ---- */

/* Every byte that is no UTF-8 becomes U+FFFD; gives how many. */
static size_t mend(const char *bytes, size_t length, sn_buf *out) {
    size_t bad = 0;
    for (size_t at = 0; at < length;) {
        uint32_t point;
        int n = sn_utf8_decode(bytes + at, length - at, &point);
        if (n) sn_buf_add(out, bytes + at, (size_t)n);
        else sn_buf_puts(out, "\xef\xbf\xbd"), bad++;
        at += n ? (size_t)n : 1;
    }
    return bad;
}

static sn_status read_text(const sn_arguments *a, sn_buf *out, sn_error *error) {
    const char *path = sn_argument(a, "file"), *text = a->num_plain > 1 ? a->plain[1] : NULL;
    if (path && text) return sn_fail(error, SN_ERROR_USAGE, "tokenize: found a text and --file; expected one of them");
    if (text && strcmp(text, "-") != 0) {
        size_t bad, length = strlen(text);
        if (!sn_utf8_valid(text, length, &bad)) return sn_fail(error, SN_ERROR_INPUT, "the text is not valid UTF-8 (byte %zu)", bad);
        sn_buf_add(out, text, length);
        return out->failed ? sn_fail_memory(error) : SN_OK;
    }
    bool from_file = path && strcmp(path, "-") != 0;
    sn_buf raw = {0};
    char *bytes = NULL;
    size_t size = 0;
    sn_status status = from_file ? sn_read_file(path, MAX_TEXT, &bytes, &size, error) : sn_read_standard_input(MAX_TEXT, &raw, error);
    size_t bad = status ? 0 : mend(from_file ? bytes : raw.data ? raw.data : "", from_file ? size : raw.length, out);
    if (bad) fprintf(stderr, "sensorium: warning: %s: %zu byte%s no UTF-8 became U+FFFD\n", from_file ? path : "standard input", bad, bad == 1 ? " that is" : "s that are");
    sn_free(bytes);
    sn_buf_free(&raw);
    return status || !out->failed ? status : sn_fail_memory(error);
}

/* ---- what is printed ---- */

static sn_status print_json(json_t *object, sn_error *error) {
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text && sn_print(text, strlen(text))) sn_print("\n", 1);
    sn_status status = text ? SN_OK : sn_fail_memory(error);
    free(text);
    json_decref(object);
    return status;
}

/* Where a picture stands (negative ids, in requests only) the id is -1 and the piece says so. */
static const char *piece_of(const sn_tokenizer *t, int32_t id, size_t *length) {
    if (id >= 0) return sn_tokenizer_piece(t, id, length);
    *length = strlen("<picture>");
    return "<picture>";
}

static sn_status print_ids_json(const sn_tokenizer *t, const sn_ids *ids, sn_error *error) {
    json_t *numbers = json_array(), *pieces = json_array();
    for (size_t i = 0; i < ids->count; i++) {
        size_t length;
        const char *piece = piece_of(t, ids->data[i], &length);
        json_array_append_new(numbers, json_integer(ids->data[i]));
        json_array_append_new(pieces, piece ? json_stringn(piece, length) : json_null());
    }
    return print_json(json_pack("{s:o, s:o}", "ids", numbers, "pieces", pieces), error);
}

/* One line a token: its id, its piece with control characters written out, and whether it stands for unknown text. */
static void print_ids(const sn_tokenizer *t, const sn_ids *ids) {
    const sn_tokenizer_info *info = sn_tokenizer_about(t);
    int32_t unk = info->unk == info->eos ? -1 : info->unk; /* where one token is both, it says nothing */
    sn_buf line = {0};
    bool open = true;
    for (size_t i = 0; i < ids->count && open; i++) {
        size_t length;
        const char *piece = piece_of(t, ids->data[i], &length);
        line.length = 0;
        sn_buf_printf(&line, "%d\t", ids->data[i]);
        for (size_t k = 0; piece && k < length; k++) {
            unsigned char c = (unsigned char)piece[k];
            if (c < 0x20 || c == 0x7f) sn_buf_printf(&line, "\\x%02x", c);
            else sn_buf_add(&line, piece + k, 1);
        }
        sn_buf_puts(&line, ids->data[i] == unk ? "\t(unknown)\n" : "\n");
        open = !line.failed && sn_print_text(line.data, line.length);
    }
    sn_buf_free(&line);
}

/* ---- there and back ---- */

static sn_status print(const sn_arguments *a, const sn_tokenizer *t, const sn_ids *ids, sn_error *error) {
    if (sn_argument_given(a, "json")) return print_ids_json(t, ids, error);
    if (sn_argument_given(a, "count")) printf("%zu\n", ids->count);
    else print_ids(t, ids);
    return SN_OK;
}

static sn_status encode(const sn_arguments *a, const sn_tokenizer *t, sn_error *error) {
    sn_buf text = {0};
    sn_ids ids = {0};
    int flags = (sn_argument_given(a, "no-special") ? 0 : SN_ENCODE_SPECIAL_ENDS) | (sn_argument_given(a, "plain") ? SN_ENCODE_NO_SPECIAL : 0);
    sn_status status = read_text(a, &text, error);
    if (!status) status = sn_tokenizer_encode(t, text.data ? text.data : "", text.length, NULL, flags, &ids, error);
    if (!status) status = print(a, t, &ids, error);
    sn_ids_free(&ids);
    sn_buf_free(&text);
    return status;
}

static sn_status read_ids(const char *list, int32_t most, sn_ids *out, sn_error *error) {
    for (const char *at = list; *at;) {
        char *end;
        if (*at == ' ' || *at == ',' || *at == '[' || *at == ']' || *at == '\n') {
            at++;
            continue;
        }
        long long id = strtoll(at, &end, 10);
        if (end == at) return sn_fail(error, SN_ERROR_USAGE, "--decode: found %.20s, expected ids with commas or blanks between them", at);
        if (id < 0 || id >= most) return sn_fail(error, SN_ERROR_INPUT, "--decode: found id %lld, expected 0 to %d", id, most - 1);
        if (!sn_ids_add(out, (int32_t)id)) return sn_fail_memory(error);
        at = end;
    }
    return SN_OK;
}

static sn_status decode(const sn_arguments *a, const sn_tokenizer *t, sn_error *error) {
    sn_ids ids = {0};
    sn_buf text = {0};
    sn_status status = read_ids(sn_argument(a, "decode"), sn_tokenizer_about(t)->vocab_size, &ids, error);
    if (!status) sn_tokenizer_decode(t, ids.data, ids.count, sn_argument_given(a, "no-special"), &text);
    if (!status && text.failed) status = sn_fail_memory(error);
    if (!status && sn_argument_given(a, "json")) {
        status = print_json(json_pack("{s:s%}", "text", text.data ? text.data : "", text.length), error);
    } else if (!status && (!text.length || sn_print_text(text.data, text.length))) {
        sn_print("\n", 1);
    }
    sn_ids_free(&ids);
    sn_buf_free(&text);
    return status;
}

/* ---- a whole request, as chat would send it ---- */

/* The conversation of a file: {"messages": [...]} or {"prompt": [...]}; paths are relative to the file's folder. */
static sn_status read_chat(const char *path, sn_arena *arena, sn_request *out, json_t **object, sn_error *error) {
    const char *slash = strrchr(path, '/');
    const char *folder = slash ? sn_arena_format(arena, "%.*s", (int)(slash - path), path) : ".";
    sn_status status = folder ? sn_json_file(path, MAX_REQUEST, object, error) : sn_fail_memory(error);
    return status ? status : sn_request_read(path, *object, folder[0] ? folder : "/", arena, out, error);
}

static sn_status chat(const sn_arguments *a, sn_error *error) {
    const char *path = sn_argument(a, "chat");
    sn_model_files files;
    sn_arena *arena = sn_arena_new();
    sn_engine *engine = NULL;
    sn_model *model = NULL;
    sn_prompt prompt = {0};
    sn_request request = {0};
    json_t *object = NULL;
    sn_status status = arena ? sn_arguments_model(a, a->plain[0], &files, error) : sn_fail_memory(error);
    if (!status) status = read_chat(path, arena, &request, &object, error);
    if (!status) status = sn_engine_new(1, &engine, error);
    if (!status) status = sn_model_open(engine, &files, &model, error);
    request.literal = true; /* what a person typed is text, as in `chat` */
    request.template_name = sn_argument(a, "template");
    if (!status && (!model->system->prompt || !model->tokenizer)) status = sn_fail(error, SN_ERROR_SUPPORT, "%s: %s takes no conversation", a->plain[0], model->system->title);
    if (!status) status = model->system->prompt(model, &request, &prompt, error);
    for (size_t i = 0; !status && i < prompt.ids.count; i++)
        if (prompt.ids.data[i] < 0) prompt.ids.data[i] = -1;
    if (!status) status = print(a, model->tokenizer, &prompt.ids, error);
    sn_prompt_free(&prompt);
    sn_model_close(model);
    sn_engine_free(engine);
    json_decref(object);
    sn_arena_free(arena);
    return status;
}

static sn_status run(const sn_arguments *a, sn_error *error) {
    sn_tokenizer *t;
    if (sn_argument(a, "decode") && (a->num_plain > 1 || sn_argument(a, "file"))) return sn_fail(error, SN_ERROR_USAGE, "tokenize: found a text and --decode; expected one of them");
    if (sn_argument(a, "chat") && (sn_argument(a, "decode") || a->num_plain > 1 || sn_argument(a, "file")))
        return sn_fail(error, SN_ERROR_USAGE, "tokenize: --chat takes a file and nothing else; found another text beside it");
    if (sn_argument(a, "chat")) return chat(a, error);
    sn_status status = sn_open_any_tokenizer(a->plain[0], sn_argument_given(a, "sentencepiece"), &t, error);
    if (status) return status;
    status = sn_argument(a, "decode") ? decode(a, t, error) : encode(a, t, error);
    sn_tokenizer_close(t);
    return status;
}

static const sn_option options[] = {
    {"file", 'f', "PATH", "the text of a file; without TEXT and --file, standard input"},
    {"decode", 'd', "IDS", "the text of some ids: \"1,15043,29892\""},
    {"chat", 0, "FILE", "the ids of a whole request, {\"messages\": [...]}, as `chat` would send it; -1 where a picture stands"},
    {"template", 0, "NAME", "with --chat: another prompt template than the model's own"},
    {"count", 'c', NULL, "how many tokens, nothing else"},
    {"json", 0, NULL, "{\"ids\": [...], \"pieces\": [...]}, or {\"text\": ...} with --decode"},
    {"no-special", 0, NULL, "without the tokens that begin and end a text; with --decode, special tokens are left out"},
    {"plain", 0, NULL, "special tokens in the text are text like any other"},
    {"sentencepiece", 0, NULL, "take tokenizer.model where a tokenizer.json lies beside it"},
    {0}};

const sn_command sn_command_tokenize = {
    .name = "tokenize", .summary = "text to token ids, and back", .plain = "MODEL [TEXT]", .min_plain = 1, .max_plain = 2,
    .details = "MODEL is a model's folder, or a vocabulary alone: tokenizer.json, tokenizer.model, vocab.json with merges.txt,\n"
               "vocab.txt, or a GGUF file. One line a token: id, piece. In a file or on standard input each byte that is no UTF-8 becomes U+FFFD.",
    .example = "sensorium tokenize models/demo \"What is this?\"", .tables = (const sn_option *const[]){options, sn_model_options, NULL}, .run = run};
