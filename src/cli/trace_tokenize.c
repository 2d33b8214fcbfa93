/* The task `tokenize` of `sensorium trace`: texts to ids and ids to texts, by each of the tokenizers that a folder holds. */
#include "base/file.h"
#include "cli/trace.h"
#include "text/tokenizer.h"

#include <string.h>

/* One way to read a folder's files. */
typedef struct reading {
    const char *key;  /* of its results */
    const char *file; /* there only where this file is */
    bool folder;      /* with the folder's other files, as Hugging Face's slow classes read it; otherwise the file alone */
    int flags;
    const char *decoded; /* key of decoded texts, NULL = none */
    bool skip, bare;
    sn_tokenizer *tokenizer;
} reading;

static const reading readings[] = {
    {"json", "tokenizer.json", false, SN_ENCODE_SPECIAL_ENDS, "json", false, false},
    {"json_plain", "tokenizer.json", false, 0, "json_skip", true, false},
    {"sp", "tokenizer.model", false, SN_ENCODE_NO_SPECIAL, "sp", false, true},
    {"sp", "spiece.model", false, SN_ENCODE_NO_SPECIAL, "sp", false, true},
    {"original", "bpe_simple_vocab.txt.gz", false, SN_ENCODE_NO_MENDING, "original", false, false},
    {"original_ftfy", "bpe_simple_vocab.txt.gz", false, 0, NULL, false, false},
    {"legacy", "tokenizer.model", true, SN_ENCODE_SPECIAL_ENDS, NULL, false, false},
};
enum { NUM_READINGS = sizeof readings / sizeof *readings };

static json_t *ids_json(const sn_ids *ids) {
    json_t *list = json_array();
    for (size_t i = 0; i < ids->count; i++) json_array_append_new(list, json_integer(ids->data[i]));
    return list;
}

static json_t *text_json(const sn_buf *text) { return json_stringn(text->data ? text->data : "", text->length); }

static sn_status encode(sn_tracer *t, const reading *r, const json_t *text, json_t **out) {
    sn_ids ids = {0};
    sn_status status = sn_tokenizer_encode(r->tokenizer, json_string_value(text), json_string_length(text), NULL, r->flags, &ids, t->error);
    *out = status ? NULL : ids_json(&ids);
    sn_ids_free(&ids);
    return status;
}

static sn_status encode_all(sn_tracer *t, const reading *list, const json_t *texts) {
    json_t *results = json_array();
    sn_status status = SN_OK;
    for (size_t i = 0; i < json_array_size(texts) && !status; i++) {
        json_t *result = json_object(), *ids;
        for (int r = 0; r < NUM_READINGS && !status; r++) {
            if (!list[r].tokenizer) continue;
            status = encode(t, &list[r], json_array_get(texts, i), &ids);
            if (!status) json_object_set_new(result, list[r].key, ids);
        }
        json_array_append_new(results, result);
    }
    json_object_set_new(t->values, "encode", results);
    return status;
}

/* The texts of one list of ids, all at once, and one after each id where `pieces` is not NULL. */
static void decode(const reading *r, const json_t *ids, sn_buf *whole, json_t *pieces) {
    sn_detokenizer d;
    sn_detokenizer_begin(&d, r->tokenizer, r->skip);
    d.bare = r->bare;
    for (size_t i = 0; i <= json_array_size(ids); i++) {
        size_t before = whole->length;
        if (i < json_array_size(ids)) sn_detokenizer_push(&d, (int32_t)json_integer_value(json_array_get(ids, i)), whole);
        else sn_detokenizer_end(&d, whole);
        if (pieces) json_array_append_new(pieces, json_stringn(whole->length > before ? whole->data + before : "", whole->length - before));
    }
}

static void decode_all(sn_tracer *t, const reading *list, const json_t *sets) {
    json_t *results = json_array();
    for (size_t i = 0; i < json_array_size(sets); i++) {
        json_t *result = json_object();
        for (int r = 0; r < NUM_READINGS; r++) {
            if (!list[r].tokenizer || !list[r].decoded) continue;
            sn_buf text = {0};
            decode(&list[r], json_array_get(sets, i), &text, NULL);
            json_object_set_new(result, list[r].decoded, text_json(&text));
            sn_buf_free(&text);
        }
        json_array_append_new(results, result);
    }
    json_object_set_new(t->values, "decode", results);
}

static void stream_all(sn_tracer *t, const reading *first, const json_t *sets) {
    json_t *results = json_array();
    for (size_t i = 0; i < json_array_size(sets); i++) {
        json_t *pieces = json_array();
        sn_buf text = {0};
        decode(first, json_array_get(sets, i), &text, pieces);
        sn_buf_free(&text);
        json_array_append_new(results, pieces);
    }
    json_object_set_new(t->values, "stream", results);
}

static sn_status pair_all(sn_tracer *t, const reading *first, const json_t *pairs) {
    json_t *results = json_array();
    sn_status status = SN_OK;
    for (size_t i = 0; i < json_array_size(pairs) && !status; i++) {
        const json_t *a = json_array_get(json_array_get(pairs, i), 0), *b = json_array_get(json_array_get(pairs, i), 1);
        sn_ids ids = {0}, types = {0};
        if (!json_is_string(a) || !json_is_string(b)) status = sn_fail(t->error, SN_ERROR_INPUT, "request.json: pairs[%zu]: expected two strings", i);
        else status = sn_tokenizer_encode_pair(first->tokenizer, json_string_value(a), json_string_length(a), json_string_value(b), json_string_length(b), &ids, &types, t->error);
        if (!status) json_array_append_new(results, json_pack("{s:o, s:o}", "ids", ids_json(&ids), "type_ids", ids_json(&types)));
        sn_ids_free(&ids);
        sn_ids_free(&types);
    }
    json_object_set_new(t->values, "pairs", results);
    return status;
}

static sn_status check_strings(sn_tracer *t, const char *name, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i))) return sn_fail(t->error, SN_ERROR_INPUT, "request.json: %s[%zu]: expected a string", name, i);
    return SN_OK;
}

/* CLIP's window of 77, of the original where it is there. */
static sn_status window_all(sn_tracer *t, const reading *list, const reading *first, const json_t *texts) {
    json_t *results = json_array();
    sn_status status = check_strings(t, "batch77", texts);
    for (int r = 0; r < NUM_READINGS; r++)
        if (list[r].tokenizer && strcmp(list[r].key, "original") == 0) first = &list[r];
    for (size_t i = 0; i < json_array_size(texts) && !status; i++) {
        const json_t *text = json_array_get(texts, i);
        sn_ids ids = {0};
        status = sn_tokenizer_encode_window(first->tokenizer, json_string_value(text), json_string_length(text), 77, 0, first->flags, &ids, t->error);
        if (!status) json_array_append_new(results, ids_json(&ids));
        sn_ids_free(&ids);
    }
    json_object_set_new(t->values, "batch77", results);
    return status;
}

sn_status sn_trace_tokenize(sn_tracer *t) {
    const char *model = sn_json_string(t->request, "model");
    const char *folder = sn_arena_format(t->arena, "%s/%s", t->folder, model ? model : "model");
    reading list[NUM_READINGS];
    const reading *first = NULL;
    sn_status status = folder ? check_strings(t, "texts", sn_json_at(t->request, "texts")) : sn_fail_memory(t->error);
    memcpy(list, readings, sizeof list);
    for (int r = 0; r < NUM_READINGS && !status; r++) {
        const char *file = sn_arena_format(t->arena, "%s/%s", folder, list[r].file);
        if (!file) status = sn_fail_memory(t->error);
        else if (sn_is_file(file)) status = sn_tokenizer_open(list[r].folder ? folder : file, list[r].folder, &list[r].tokenizer, t->error);
        if (!status && !first && list[r].tokenizer) first = &list[r];
    }
    if (!status && !first) status = sn_fail(t->error, SN_ERROR_INPUT, "%s: found no tokenizer", folder);
    const json_t *decoded = sn_json_at(t->request, "decode"), *pairs = sn_json_at(t->request, "pairs"), *stream = sn_json_at(t->request, "stream"), *windows = sn_json_at(t->request, "batch77");
    if (!status) status = encode_all(t, list, sn_json_at(t->request, "texts"));
    if (!status && pairs) status = pair_all(t, first, pairs);
    if (!status && windows) status = window_all(t, list, first, windows);
    if (!status && decoded) decode_all(t, list, decoded);
    if (!status && stream) stream_all(t, first, stream);
    for (int r = 0; r < NUM_READINGS; r++) sn_tokenizer_close(list[r].tokenizer);
    return status;
}
