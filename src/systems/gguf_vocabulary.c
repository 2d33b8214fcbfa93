/* tokenizer.ggml.* as the arrays that text/ builds a tokenizer from. */
#include "systems/gguf_vocabulary.h"

#include "text/arrays.h"

#include <string.h>

typedef struct reader {
    const char *where;
    const sn_gguf *gguf;
    sn_arena *arena;
    sn_error *error;
} reader;

/* An array of texts; absent: count 0. The number is bounded by the file, in which each text takes 8 bytes at least. */
static sn_status read_texts(reader *r, const char *key, const sn_text_span **out, size_t *count) {
    sn_gguf_value walk;
    *out = NULL, *count = 0;
    if (!sn_gguf_find(r->gguf, key, &walk)) return SN_OK;
    if (!walk.is_array || walk.type != SN_GGUF_STRING) return sn_fail(r->error, SN_ERROR_INPUT, "%s: %s: expected an array of texts", r->where, key);
    sn_text_span *list = sn_arena_alloc(r->arena, walk.left + 1, sizeof *list);
    if (!list) return sn_fail_memory(r->error);
    while (sn_gguf_next_text(&walk, &list[*count].text, &list[*count].length)) ++*count;
    *out = list;
    return SN_OK;
}

/* Scores (floats) and types (integers), one for each piece. */
static sn_status read_numbers(reader *r, const char *key, size_t count, float **floats, int32_t **integers) {
    sn_gguf_value walk;
    if (!sn_gguf_find(r->gguf, key, &walk)) return SN_OK;
    if (!walk.is_array || walk.left != count) return sn_fail(r->error, SN_ERROR_INPUT, "%s: %s: expected an array of %zu numbers", r->where, key, count);
    double number = 0;
    int64_t whole = 0;
    void *list = sn_arena_alloc(r->arena, count + 1, 4);
    if (!list) return sn_fail_memory(r->error);
    for (size_t i = 0; i < count; i++) {
        bool ok = floats ? sn_gguf_next_number(&walk, &number) : sn_gguf_next_integer(&walk, &whole);
        if (!ok) return sn_fail(r->error, SN_ERROR_INPUT, "%s: %s[%zu]: expected a number", r->where, key, i);
        if (floats) ((float *)list)[i] = (float)number;
        else ((int32_t *)list)[i] = whole >= 0 && whole <= 6 ? (int32_t)whole : 1;
    }
    if (floats) *floats = list;
    else *integers = list;
    return SN_OK;
}

static sn_status read_charsmap(reader *r, sn_vocabulary_arrays *v) {
    sn_gguf_value walk;
    if (!sn_gguf_find(r->gguf, "tokenizer.ggml.precompiled_charsmap", &walk) || !walk.is_array) return SN_OK;
    size_t count = walk.left;
    unsigned char *bytes = sn_arena_alloc(r->arena, count + 1, 1);
    if (!bytes) return sn_fail_memory(r->error);
    for (size_t i = 0; i < count; i++) {
        int64_t byte;
        if (!sn_gguf_next_integer(&walk, &byte)) return sn_fail(r->error, SN_ERROR_INPUT, "%s: precompiled_charsmap: expected bytes", r->where);
        bytes[i] = (unsigned char)byte;
    }
    v->charsmap = bytes, v->charsmap_size = count;
    return SN_OK;
}

static const char *read_word(reader *r, const char *key) {
    const char *text;
    size_t length;
    return sn_gguf_text(r->gguf, key, &text, &length) && length < 64 ? sn_arena_format(r->arena, "%.*s", (int)length, text) : NULL;
}

static int read_bool(const reader *r, const char *key) {
    int64_t value;
    return sn_gguf_integer(r->gguf, key, &value) ? value != 0 : -1;
}

static sn_status read_arrays(reader *r, sn_vocabulary_arrays *v) {
    const char *names[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id"};
    int64_t *ids[] = {&v->bos, &v->eos, &v->unk, &v->pad};
    float *scores = NULL;
    int32_t *types = NULL;
    *v = (sn_vocabulary_arrays){.model = read_word(r, "tokenizer.ggml.model"), .pre = read_word(r, "tokenizer.ggml.pre"), .bos = -1, .eos = -1, .unk = -1, .pad = -1,
                                .add_bos = read_bool(r, "tokenizer.ggml.add_bos_token"), .add_eos = read_bool(r, "tokenizer.ggml.add_eos_token"),
                                .add_space_prefix = read_bool(r, "tokenizer.ggml.add_space_prefix"), .remove_extra = read_bool(r, "tokenizer.ggml.remove_extra_whitespaces")};
    if (!v->model) return sn_fail(r->error, SN_ERROR_INPUT, "%s: tokenizer.ggml.model: the file holds no vocabulary", r->where);
    for (int i = 0; i < 4; i++) sn_gguf_integer(r->gguf, names[i], ids[i]);
    sn_status status = read_texts(r, "tokenizer.ggml.tokens", &v->pieces, &v->count);
    if (!status) status = read_texts(r, "tokenizer.ggml.merges", &v->merges, &v->num_merges);
    if (!status) status = read_numbers(r, "tokenizer.ggml.scores", v->count, &scores, NULL);
    if (!status) status = read_numbers(r, "tokenizer.ggml.token_type", v->count, NULL, &types);
    if (!status) status = read_charsmap(r, v);
    v->scores = scores, v->types = types;
    return status || v->count ? status : sn_fail(r->error, SN_ERROR_INPUT, "%s: tokenizer.ggml.tokens: the vocabulary is empty", r->where);
}

sn_status sn_gguf_tokenizer(const char *where, const sn_gguf *gguf, sn_tokenizer **out, sn_error *error) {
    reader r = {where, gguf, sn_arena_new(), error};
    sn_vocabulary_arrays v;
    *out = NULL;
    sn_status status = r.arena ? read_arrays(&r, &v) : sn_fail_memory(error);
    if (!status) status = sn_tokenizer_open_arrays(where, &v, out, error);
    sn_arena_free(r.arena);
    return status;
}

sn_status sn_open_any_tokenizer(const char *path, bool prefer_sentencepiece, sn_tokenizer **out, sn_error *error) {
    sn_mapping file;
    *out = NULL;
    bool gguf = !sn_is_directory(path) && !sn_map_file(path, &file, NULL);
    if (gguf) {
        gguf = file.size > 4 && memcmp(file.data, "GGUF", 4) == 0;
        sn_unmap_file(&file);
    }
    if (!gguf) return sn_tokenizer_open(path, prefer_sentencepiece, out, error);
    sn_source *source;
    sn_status status = sn_source_open(path, &source, error);
    if (status) return status;
    status = source->gguf ? sn_gguf_tokenizer(path, source->gguf, out, error) : sn_fail(error, SN_ERROR_INPUT, "%s: expected a GGUF file", path);
    sn_source_close(source);
    return status;
}
