/* Which files make a tokenizer; special tokens; streaming. */
#include "text/tokenizer.h"

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/classic.h"

#include <stdio.h>
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
    sn_free(t->single.items);
    sn_free(t->pair.items);
    sn_map_free(t->index);
    sn_map_free(t->added_index);
    sn_trie_free(t->added_trie);
    sn_arena_free(t->arena);
    sn_free(t);
}

const sn_tokenizer_info *sn_tokenizer_about(const sn_tokenizer *t) { return &t->info; }

/* ---- added tokens ---- */

static sn_status add_token(sn_tokenizer *t, const char *where, const char *content, int64_t id, bool special, sn_error *error) {
    if (id < 0 || id > INT32_MAX) return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has the impossible id %lld", where, content, (long long)id);
    return sn_added_add(t, where, (sn_added_token){.content = content, .length = strlen(content), .id = (int32_t)id, .special = special}, error);
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

/* T5's sentinels <extra_id_0>, <extra_id_1>, … lie behind the model file's pieces and run downward; a text ends in </s>. */
static sn_status add_sentinels(sn_tokenizer *t, const char *path, const json_t *root, sn_error *error) {
    int64_t count = 0;
    char name[32];
    sn_status status = sn_json_integer(path, root, "extra_ids", 0, 10000, &count, error);
    if (count && t->info.eos >= 0) t->info.add_eos = true;
    for (int64_t i = 0; i < count && !status; i++) {
        snprintf(name, sizeof name, "<extra_id_%d>", (int)i);
        if (sn_tokenizer_find(t, name) < 0) status = add_token(t, path, name, t->num_pieces + count - 1 - i, true, error);
    }
    return status;
}

static sn_status read_config(sn_tokenizer *t, const char *folder, sn_error *error) {
    char *path = sn_path_join(folder, "tokenizer_config.json");
    json_t *root = NULL, *value;
    const char *key;
    sn_status status = SN_OK;
    if (path && sn_is_file(path) && !(status = sn_json_file(path, MAX_FILE, &root, error))) {
        t->info.legacy = sn_json_bool(root, "legacy", true);
        if (t->class->raw_matching) status = add_sentinels(t, path, root, error);
        t->info.add_bos = sn_json_bool(root, "add_bos_token", t->info.add_bos);
        t->info.add_eos = sn_json_bool(root, "add_eos_token", t->info.add_eos);
        json_t *most = sn_json_at(root, "model_max_length"); /* often a float far beyond any length: not given */
        if (json_is_integer(most) && json_integer_value(most) > 0 && json_integer_value(most) < 1 << 24) t->info.max_length = json_integer_value(most);
        json_object_foreach(sn_json_at(root, "added_tokens_decoder"), key, value) {
            char *rest;
            long long id = strtoll(key, &rest, 10);
            const char *content = token_text(value);
            if (!content || *rest || status) continue;
            if (id < 0 || id > INT32_MAX) status = sn_fail(error, SN_ERROR_INPUT, "%s: token %s has the impossible id %lld", path, content, id);
            else status = sn_added_add(t, path, (sn_added_token){.content = content, .length = strlen(content), .id = (int32_t)id, .special = sn_json_bool(value, "special", true),
                                  .lstrip = sn_json_bool(value, "lstrip", false), .rstrip = sn_json_bool(value, "rstrip", false),
                                  .single_word = sn_json_bool(value, "single_word", false), .normalized = sn_json_bool(value, "normalized", false)}, error);
        }
        /* special tokens by name: ids come from the vocabulary, which wins over config files */
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
        if (ids[i] >= 0 && ids[i] < t->num_pieces)
            status = sn_added_add(t, "vocabulary", (sn_added_token){.content = t->pieces[ids[i]].text, .length = t->pieces[ids[i]].length, .id = ids[i], .special = true, .builtin = true}, error);
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

/* The files that a folder may hold, in the order in which they are asked for. */
static const struct source {
    const char *name;
    sn_status (*read)(sn_tokenizer *t, const char *path, sn_error *error);
    bool sentencepiece;
} sources[] = {{"tokenizer.json", sn_huggingface_read}, {"tokenizer.model", read_sentencepiece, true}, {"spiece.model", read_sentencepiece, true},
             {"vocab.json", sn_classic_read_bpe}, {"vocab.txt", sn_classic_read_wordpiece},
             {"bpe_simple_vocab_16e6.txt.gz", sn_clip_original_read}, {"bpe_simple_vocab.txt.gz", sn_clip_original_read}};
enum { NUM_SOURCES = sizeof sources / sizeof *sources };

static sn_status open_folder(sn_tokenizer *t, const char *folder, bool prefer_sentencepiece, sn_error *error) {
    for (int pass = prefer_sentencepiece ? 0 : 1; pass < 2; pass++)
        for (int i = 0; i < NUM_SOURCES; i++) {
            char *file = sources[i].sentencepiece || pass ? sn_path_join(folder, sources[i].name) : NULL;
            bool there = file && sn_is_file(file);
            sn_status status = there ? sources[i].read(t, file, error) : SN_OK;
            sn_free(file);
            if (!there) continue;
            if (!status) status = read_added_tokens(t, folder, error);
            if (!status) status = read_config(t, folder, error);
            return status || !t->class->refresh ? status : t->class->refresh(t->engine, error);
        }
    return sn_fail(error, SN_ERROR_INPUT, "%s: found no tokenizer: expected one of tokenizer.json, tokenizer.model, spiece.model, vocab.json with merges.txt, vocab.txt, bpe_simple_vocab_16e6.txt.gz", folder);
}

/* One file: its name says what it is; what no name tells is taken for a SentencePiece model. */
static sn_status open_file(sn_tokenizer *t, const char *path, sn_error *error) {
    static const struct { const char *end; sn_status (*read)(sn_tokenizer *t, const char *path, sn_error *error); } ends[] = {
        {"vocab.json", sn_classic_read_bpe}, {".json", sn_huggingface_read}, {".txt", sn_classic_read_wordpiece}, {".txt.gz", sn_clip_original_read}, {"", read_sentencepiece}};
    size_t length = strlen(path), i = 0, n;
    if (!sn_is_file(path)) return sn_fail(error, SN_ERROR_INPUT, "%s: there is no such file or folder", path);
    while ((n = strlen(ends[i].end)) > length || strcmp(path + length - n, ends[i].end) != 0) i++;
    return ends[i].read(t, path, error);
}

sn_status sn_tokenizer_new(sn_tokenizer **out, sn_error *error) {
    sn_tokenizer *t = *out = sn_alloc(1, sizeof *t);
    if (!t) return sn_fail_memory(error);
    t->info = (sn_tokenizer_info){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .legacy = true};
    t->arena = sn_arena_new();
    t->index = sn_map_new(), t->added_index = sn_map_new(), t->added_trie = sn_trie_new();
    if (t->arena && t->index && t->added_index && t->added_trie) return SN_OK;
    sn_tokenizer_close(t);
    *out = NULL;
    return sn_fail_memory(error);
}

sn_status sn_tokenizer_open(const char *path, bool prefer_sentencepiece, sn_tokenizer **out, sn_error *error) {
    sn_tokenizer *t;
    *out = NULL;
    sn_status status = sn_tokenizer_new(&t, error);
    if (status) return status;
    status = sn_is_directory(path) ? open_folder(t, path, prefer_sentencepiece, error) : open_file(t, path, error);
    if (status)
        sn_tokenizer_close(t);
    else
        *out = t;
    return status;
}

sn_status sn_tokenizer_add(sn_tokenizer *t, const char *content, bool special, int32_t *id, sn_error *error) {
    *id = sn_tokenizer_find(t, content);
    if (*id >= 0) return SN_OK;
    *id = t->info.vocab_size;
    sn_status status = sn_added_add(t, "tokenizer", (sn_added_token){.content = content, .length = strlen(content), .id = *id, .special = special, .lstrip = true, .rstrip = true}, error);
    return status || !t->class->refresh ? status : t->class->refresh(t->engine, error);
}

/* ---- encoding ---- */

int32_t sn_tokenizer_find(const sn_tokenizer *t, const char *content) {
    int64_t id;
    return sn_map_get(t->index, content, strlen(content), &id) ? (int32_t)id : -1;
}

const char *sn_tokenizer_piece(const sn_tokenizer *t, int32_t id, size_t *length) {
    if (id >= 0 && id < t->num_pieces && t->pieces[id].text) {
        *length = t->pieces[id].length;
        return t->pieces[id].text;
    }
    const sn_added_token *added = sn_added_of(t, id);
    *length = added ? added->length : 0;
    return added ? added->content : NULL;
}

bool sn_tokenizer_is_special(const sn_tokenizer *t, int32_t id) {
    const sn_added_token *added = sn_added_of(t, id);
    return added && added->special;
}

/* Which tokens are cut out of the raw text: those that are not matched after normalising; where some words must not
 * be read as special tokens, all special ones, since only here their places are known. */
static bool wanted_raw(const sn_added_search *s, const sn_added_token *token, size_t begin, size_t end) {
    const unsigned char *literal = s->context;
    if (token->special && s->flags & SN_ENCODE_NO_SPECIAL) return false;
    if (token->special && literal && memchr(literal + begin, 1, end - begin)) return false;
    return !token->normalized || s->tokenizer->class->raw_matching || (token->special && s->flags & SN_ENCODE_OUTER_SPECIAL);
}

static sn_status encode_plain(const sn_tokenizer *t, const char *text, size_t length, const unsigned char *literal, int flags, sn_ids *out, sn_error *error) {
    if (literal) flags |= SN_ENCODE_OUTER_SPECIAL;
    sn_added_search s = {.tokenizer = t, .trie = t->added_trie, .text = text, .length = length, .wanted = wanted_raw, .context = literal, .flags = flags};
    const sn_added_token *token;
    size_t done = 0, begin, end;
    sn_status status = SN_OK;
    while (!status && (token = sn_added_next(&s, &begin, &end))) {
        status = t->class->encode(t->engine, text + done, begin - done, done == 0, flags, out, error);
        if (!status && !sn_ids_add(out, token->id)) status = sn_fail_memory(error);
        done = end;
    }
    return status ? status : t->class->encode(t->engine, text + done, length - done, done == 0, flags, out, error);
}

static bool end_token(const sn_tokenizer *t, bool wanted, int32_t id, sn_ids *out) { return !wanted || id < 0 || sn_ids_add(out, id); }

sn_status sn_tokenizer_encode(const sn_tokenizer *t, const char *text, size_t length, const unsigned char *literal, int flags, sn_ids *out,
                              sn_error *error) {
    bool ends = flags & SN_ENCODE_SPECIAL_ENDS;
    size_t items = ends ? t->single.count : 0;
    sn_status status = SN_OK;
    if (items) {
        for (size_t i = 0; i < items && !status; i++) {
            if (t->single.items[i].id < 0) status = encode_plain(t, text, length, literal, flags, out, error);
            else if (!sn_ids_add(out, t->single.items[i].id)) status = sn_fail_memory(error);
        }
        return status;
    }
    if (!end_token(t, ends && t->info.add_bos, t->info.bos, out)) return sn_fail_memory(error);
    status = encode_plain(t, text, length, literal, flags, out, error);
    return status || end_token(t, ends && t->info.add_eos, t->info.eos, out) ? status : sn_fail_memory(error);
}

sn_status sn_tokenizer_encode_pair(const sn_tokenizer *t, const char *a, size_t a_length, const char *b, size_t b_length, sn_ids *ids, sn_ids *types,
                                   sn_error *error) {
    sn_status status = t->pair.count ? SN_OK : sn_fail(error, SN_ERROR_SUPPORT, "the tokenizer has no frame for pairs of texts");
    for (size_t i = 0; i < t->pair.count && !status; i++) {
        const sn_template_item *item = &t->pair.items[i];
        if (item->id == SN_TEMPLATE_A) status = encode_plain(t, a, a_length, NULL, 0, ids, error);
        else if (item->id == SN_TEMPLATE_B) status = encode_plain(t, b, b_length, NULL, 0, ids, error);
        else if (!sn_ids_add(ids, item->id)) status = sn_fail_memory(error);
        while (!status && types->count < ids->count)
            if (!sn_ids_add(types, item->type)) status = sn_fail_memory(error);
    }
    return status;
}

sn_status sn_tokenizer_encode_window(const sn_tokenizer *t, const char *text, size_t length, size_t window, int32_t pad, int flags, sn_ids *out,
                                     sn_error *error) {
    size_t from = out->count;
    sn_status status = sn_tokenizer_encode(t, text, length, NULL, flags | SN_ENCODE_SPECIAL_ENDS, out, error);
    if (!status && window && out->count - from > window) {
        out->count = from + window;
        if (t->info.eos >= 0) out->data[out->count - 1] = t->info.eos;
    }
    while (!status && out->count - from < window)
        if (!sn_ids_add(out, pad)) status = sn_fail_memory(error);
    return status;
}

/* ---- decoding ---- */

void sn_detokenizer_begin(sn_detokenizer *d, const sn_tokenizer *tokenizer, bool skip_special) {
    *d = (sn_detokenizer){.tokenizer = tokenizer, .skip_special = skip_special};
}

/* Moves what is certain from pending to out: whole characters, and U+FFFD for what can no longer become one. */
static void settle(sn_detokenizer *d, bool all, sn_buf *out) {
    size_t at = 0, keep = all ? 0 : sn_utf8_unfinished(d->pending.data, d->pending.length), end = d->pending.length - keep;
    while (at < end) {
        uint32_t point;
        int bytes = sn_utf8_decode(d->pending.data + at, d->pending.length - at, &point);
        if (bytes) sn_buf_add(out, d->pending.data + at, (size_t)bytes), at += (size_t)bytes;
        else sn_buf_puts(out, "\xef\xbf\xbd"), at += d->tokenizer->class->whole_subparts ? sn_utf8_bad_length(d->pending.data + at, d->pending.length - at) : 1;
    }
    memmove(d->pending.data, d->pending.data + at, d->pending.length - at);
    d->pending.length -= at;
}

void sn_detokenizer_push(sn_detokenizer *d, int32_t id, sn_buf *out) {
    const sn_tokenizer *t = d->tokenizer;
    const sn_added_token *added = d->bare ? NULL : sn_added_of(t, id);
    if (id < 0 || (added && added->special && d->skip_special)) return;
    t->class->decode(t->engine, id, added, d);
    if (d->pending.length) settle(d, d->cut, out);
    d->cut = false;
}

void sn_detokenizer_end(sn_detokenizer *d, sn_buf *out) {
    if (d->tokenizer && d->tokenizer->class->finish) d->tokenizer->class->finish(d->tokenizer->engine, d);
    if (d->pending.length) settle(d, true, out);
    sn_buf_free(&d->pending);
    for (int i = 0; i < SN_DECODER_STEPS; i++) sn_buf_free(&d->steps[i].held);
}

void sn_tokenizer_decode(const sn_tokenizer *t, const int32_t *ids, size_t count, bool skip_special, sn_buf *out) {
    sn_detokenizer d;
    sn_detokenizer_begin(&d, t, skip_special);
    for (size_t i = 0; i < count; i++) sn_detokenizer_push(&d, ids[i], out);
    sn_detokenizer_end(&d, out);
}
