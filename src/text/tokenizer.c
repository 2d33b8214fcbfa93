/* Which files make a tokenizer; special tokens; streaming. */
#include "text/tokenizer.h"

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/engine.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 256 << 20 };

bool sn_ids_add(sn_ids *ids, int32_t id) {
    if (!sn_grow((void **)&ids->data, &ids->capacity, ids->count + 1, sizeof *ids->data)) return false;
    ids->data[ids->count++] = id;
    return true;
}

void sn_ids_free(sn_ids *ids) {
    sn_free(ids->data);
    *ids = (sn_ids){0};
}

void sn_tokenizer_close(sn_tokenizer *t) {
    if (!t) return;
    if (t->class) t->class->close(t->engine);
    sn_free(t->pieces);
    sn_free(t->added);
    sn_map_free(t->index);
    sn_arena_free(t->arena);
    sn_free(t);
}

const sn_tokenizer_info *sn_tokenizer_about(const sn_tokenizer *t) { return &t->info; }

/* ---- added tokens ---- */

static sn_status add_token(sn_tokenizer *t, const char *where, const char *content, int64_t id, bool special, sn_error *error) {
    size_t length = strlen(content);
    if (length == 0) return SN_OK;
    int64_t known;
    if (id < 0 || id > 1 << 24) return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has the impossible id %lld", where, content, (long long)id);
    if (sn_map_get(t->index, content, length, &known) && known != id)
        return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has id %lld, but the vocabulary says %lld", where, content, (long long)id, (long long)known);
    size_t piece_length;
    const char *piece = sn_tokenizer_piece(t, (int32_t)id, &piece_length);
    if (piece && (piece_length != length || memcmp(piece, content, length) != 0))
        return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has id %lld, which is %s already", where, content, (long long)id, piece);
    for (size_t i = 0; i < t->num_added; i++)
        if (t->added[i].id == id) {
            t->added[i].special |= special;
            return SN_OK;
        }
    char *copy = sn_arena_strdup(t->arena, content);
    if (!copy || !sn_grow((void **)&t->added, &t->added_capacity, t->num_added + 1, sizeof *t->added) || !sn_map_set(t->index, copy, length, id))
        return sn_fail_memory(error);
    t->added[t->num_added++] = (sn_added_token){.content = copy, .length = length, .id = (int32_t)id, .special = special};
    if (id >= t->info.vocab_size) t->info.vocab_size = (int32_t)id + 1;
    return SN_OK;
}

/* Some files write a token as a string, some as {"content": …}; an empty one means "not given". */
static const char *token_text(const json_t *value) {
    const char *text = json_is_object(value) ? sn_json_string(value, "content") : json_string_value(value);
    return text && text[0] ? text : NULL;
}

static sn_status read_added_tokens(sn_tokenizer *t, const char *folder, sn_error *error) {
    char *path = sn_path_join(folder, "added_tokens.json");
    json_t *root = NULL, *value;
    const char *key;
    sn_status status = SN_OK;
    if (path && sn_is_file(path) && !(status = sn_json_file(path, MAX_FILE, &root, error)))
        json_object_foreach(root, key, value)
            if (!status) status = json_is_integer(value) ? add_token(t, path, key, json_integer_value(value), true, error)
                                                         : sn_fail(error, SN_ERROR_INPUT, "%s: %s: expected an id", path, key);
    json_decref(root);
    sn_free(path);
    return status;
}

static sn_status read_config(sn_tokenizer *t, const char *folder, sn_error *error) {
    char *path = sn_path_join(folder, "tokenizer_config.json");
    json_t *root = NULL, *value;
    const char *key;
    sn_status status = SN_OK;
    if (path && sn_is_file(path) && !(status = sn_json_file(path, MAX_FILE, &root, error))) {
        t->info.legacy = sn_json_bool(root, "legacy", true);
        t->info.add_bos = sn_json_bool(root, "add_bos_token", t->info.add_bos);
        t->info.add_eos = sn_json_bool(root, "add_eos_token", t->info.add_eos);
        json_t *most = sn_json_at(root, "model_max_length"); /* often a float far beyond any length: not given */
        if (json_is_integer(most) && json_integer_value(most) > 0 && json_integer_value(most) < 1 << 24) t->info.max_length = json_integer_value(most);
        json_object_foreach(sn_json_at(root, "added_tokens_decoder"), key, value) {
            char *rest;
            long long id = strtoll(key, &rest, 10);
            const char *content = token_text(value);
            if (content && *rest == 0 && !status) status = add_token(t, path, content, id, sn_json_bool(value, "special", true), error);
        }
        /* special tokens by name: ids come from the vocabulary, which wins over config files (users/llava.md 19) */
        static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
        int32_t *ids[] = {&t->info.bos, &t->info.eos, &t->info.unk, &t->info.pad};
        for (int i = 0; i < 4 && !status; i++) {
            const char *content = token_text(json_object_get(root, names[i]));
            int64_t id;
            if (!content || !sn_map_get(t->index, content, strlen(content), &id)) continue;
            *ids[i] = (int32_t)id;
            status = add_token(t, path, content, id, true, error);
        }
    }
    json_decref(root);
    sn_free(path);
    return status;
}

/* bos, eos and unk are special in every class that reads a .model. */
static sn_status add_builtin(sn_tokenizer *t, sn_error *error) {
    int32_t ids[] = {t->info.bos, t->info.eos, t->info.unk};
    sn_status status = SN_OK;
    for (int i = 0; i < 3 && !status; i++)
        if (ids[i] >= 0 && ids[i] < t->num_pieces) status = add_token(t, "vocabulary", t->pieces[ids[i]].text, ids[i], true, error);
    return status;
}

static sn_status read_sentencepiece(sn_tokenizer *t, const char *path, sn_error *error) {
    char *bytes;
    size_t size;
    sn_status status = sn_read_file(path, MAX_FILE, &bytes, &size, error);
    if (status) return status;
    status = sn_sentencepiece_read(t, path, (const unsigned char *)bytes, size, error);
    sn_free(bytes);
    t->info.vocab_size = t->num_pieces;
    t->info.add_bos = true;
    return status ? status : add_builtin(t, error);
}

sn_status sn_tokenizer_open(const char *path, bool prefer_sentencepiece, sn_tokenizer **out, sn_error *error) {
    (void)prefer_sentencepiece;
    *out = NULL;
    sn_tokenizer *t = sn_alloc(1, sizeof *t);
    if (!t) return sn_fail_memory(error);
    t->info = (sn_tokenizer_info){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .legacy = true};
    t->arena = sn_arena_new();
    t->index = sn_map_new();
    bool folder = sn_is_directory(path);
    char *file = folder ? sn_path_join(path, "tokenizer.model") : sn_strdup(path);
    sn_status status = t->arena && t->index && file ? SN_OK : sn_fail_memory(error);
    if (!status && !sn_is_file(file)) status = sn_fail(error, SN_ERROR_INPUT, "%s: found no tokenizer.model", path);
    if (!status) status = read_sentencepiece(t, file, error);
    if (!status && folder) status = read_added_tokens(t, path, error);
    if (!status && folder) status = read_config(t, path, error);
    sn_free(file);
    if (status)
        sn_tokenizer_close(t);
    else
        *out = t;
    return status;
}

/* ---- encoding ---- */

int32_t sn_tokenizer_find(const sn_tokenizer *t, const char *content) {
    int64_t id;
    return sn_map_get(t->index, content, strlen(content), &id) ? (int32_t)id : -1;
}

const char *sn_tokenizer_piece(const sn_tokenizer *t, int32_t id, size_t *length) {
    if (id >= 0 && id < t->num_pieces) {
        *length = t->pieces[id].length;
        return t->pieces[id].text;
    }
    for (size_t i = 0; i < t->num_added; i++)
        if (t->added[i].id == id) {
            *length = t->added[i].length;
            return t->added[i].content;
        }
    return NULL;
}

static const sn_added_token *added_token(const sn_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->num_added; i++)
        if (t->added[i].id == id) return &t->added[i];
    return NULL;
}

bool sn_tokenizer_is_special(const sn_tokenizer *t, int32_t id) {
    const sn_added_token *added = added_token(t, id);
    return added && added->special;
}

/* The longest added token that stands at this place. */
static const sn_added_token *token_at(const sn_tokenizer *t, const char *text, size_t length, const unsigned char *literal) {
    const sn_added_token *best = NULL;
    for (size_t i = 0; i < t->num_added; i++) {
        const sn_added_token *a = &t->added[i];
        if (a->length > length || (best && a->length <= best->length) || a->content[0] != text[0] || memcmp(text, a->content, a->length) != 0) continue;
        if (literal && memchr(literal, 1, a->length)) continue;
        best = a;
    }
    return best;
}

sn_status sn_tokenizer_encode(const sn_tokenizer *t, const char *text, size_t length, const unsigned char *literal, int flags, sn_ids *out,
                              sn_error *error) {
    sn_status status = SN_OK;
    if (flags & SN_ENCODE_SPECIAL_ENDS && t->info.add_bos && t->info.bos >= 0 && !sn_ids_add(out, t->info.bos)) return sn_fail_memory(error);
    size_t from = 0, at = 0;
    while (at < length && !status) {
        const sn_added_token *token = flags & SN_ENCODE_NO_SPECIAL ? NULL : token_at(t, text + at, length - at, literal ? literal + at : NULL);
        if (!token) {
            at++;
            continue;
        }
        status = t->class->encode(t->engine, text + from, at - from, from == 0, out, error);
        if (!status && !sn_ids_add(out, token->id)) status = sn_fail_memory(error);
        at += token->length;
        from = at;
    }
    if (!status) status = t->class->encode(t->engine, text + from, length - from, from == 0, out, error);
    if (!status && flags & SN_ENCODE_SPECIAL_ENDS && t->info.add_eos && t->info.eos >= 0 && !sn_ids_add(out, t->info.eos)) status = sn_fail_memory(error);
    return status;
}

/* ---- decoding ---- */

void sn_detokenizer_begin(sn_detokenizer *d, const sn_tokenizer *tokenizer, bool skip_special) {
    *d = (sn_detokenizer){.tokenizer = tokenizer, .skip_special = skip_special};
}

/* Moves what is certain from pending to out: whole characters, and U+FFFD for each byte that can no longer become one. */
static void settle(sn_detokenizer *d, bool all, sn_buf *out) {
    size_t at = 0, keep = all ? 0 : sn_utf8_unfinished(d->pending.data, d->pending.length), end = d->pending.length - keep;
    while (at < end) {
        uint32_t point;
        int bytes = sn_utf8_decode(d->pending.data + at, d->pending.length - at, &point);
        if (bytes) sn_buf_add(out, d->pending.data + at, (size_t)bytes), at += (size_t)bytes;
        else sn_buf_puts(out, "\xef\xbf\xbd"), at++;
    }
    memmove(d->pending.data, d->pending.data + at, d->pending.length - at);
    d->pending.length -= at;
}

void sn_detokenizer_push(sn_detokenizer *d, int32_t id, sn_buf *out) {
    const sn_tokenizer *t = d->tokenizer;
    const sn_added_token *added = added_token(t, id);
    if (added && added->special && d->skip_special) return;
    if (added && (id >= t->num_pieces || added->special)) sn_buf_add(&d->pending, added->content, added->length), d->begun = true;
    else if (id >= 0 && id < t->num_pieces) t->class->decode(t->engine, id, &d->begun, &d->pending);
    if (d->pending.length) settle(d, false, out);
}

void sn_detokenizer_end(sn_detokenizer *d, sn_buf *out) {
    if (d->pending.length) settle(d, true, out);
    sn_buf_free(&d->pending);
}

void sn_tokenizer_decode(const sn_tokenizer *t, const int32_t *ids, size_t count, bool skip_special, sn_buf *out) {
    sn_detokenizer d;
    sn_detokenizer_begin(&d, t, skip_special);
    for (size_t i = 0; i < count; i++) sn_detokenizer_push(&d, ids[i], out);
    sn_detokenizer_end(&d, out);
}
