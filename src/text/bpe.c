/* Byte-pair encoding by rank, as Hugging Face's files and GPT-2's have it. */
#include "text/chain.h"
#include "text/merge.h"

#include <string.h>

typedef struct bpe {
    const sn_tokenizer *tokenizer;
    sn_map *merges; /* (left id, right id) → rank << 32 | id of both together */
    int64_t num_merges;
    sn_map *whole; /* words that are not taken apart → id */
    const char *prefix, *suffix;
    size_t prefix_length, suffix_length;
    int32_t unk, byte_id[256];
    bool fuse_unk, byte_fallback, ignore_merges;
} bpe;

typedef struct symbols {
    sn_symbol *data;
    size_t count, capacity;
    sn_symbol local[48]; /* enough for nearly every word */
} symbols;

static bool add_symbol(symbols *s, int32_t id, size_t length) {
    if (s->count == s->capacity) {
        sn_symbol *grown = s->capacity < SIZE_MAX / 4 ? sn_alloc(s->capacity * 2, sizeof *grown) : NULL;
        if (!grown) return false;
        memcpy(grown, s->data, s->count * sizeof *grown);
        if (s->data != s->local) sn_free(s->data);
        s->data = grown, s->capacity *= 2;
    }
    int32_t at = (int32_t)s->count++;
    s->data[at] = (sn_symbol){.previous = at - 1, .next = -1, .length = (uint32_t)length, .id = id};
    if (at) s->data[at - 1].next = at;
    return true;
}

static bool join(void *context, const sn_symbol *left, const sn_symbol *right, double *rank, int32_t *id) {
    const bpe *b = context;
    int32_t key[2] = {left->id, right->id};
    int64_t value;
    if (!sn_map_get(b->merges, (const char *)key, sizeof key, &value)) return false;
    *rank = (double)(value >> 32), *id = (int32_t)value;
    return true;
}

/* A character as it stands in the vocabulary: with the prefix unless it is the first, the suffix if it is the last. */
static int32_t find_character(const bpe *b, const char *text, size_t length, bool is_first, bool is_last, sn_buf *name) {
    bool prefix = !is_first && b->prefix_length, suffix = is_last && b->suffix_length;
    if (!prefix && !suffix) return sn_vocabulary_find(b->tokenizer, text, length);
    name->length = 0;
    if (prefix) sn_buf_add(name, b->prefix, b->prefix_length);
    sn_buf_add(name, text, length);
    if (suffix) sn_buf_add(name, b->suffix, b->suffix_length);
    return name->failed ? -1 : sn_vocabulary_find(b->tokenizer, name->data, name->length);
}

static bool add_bytes(const bpe *b, const char *text, size_t length, symbols *out, bool *added) {
    *added = false;
    for (size_t i = 0; i < length; i++)
        if (b->byte_id[(unsigned char)text[i]] < 0) return true;
    for (size_t i = 0; i < length; i++)
        if (!add_symbol(out, b->byte_id[(unsigned char)text[i]], 1)) return false;
    *added = true;
    return true;
}

/* The word as symbols; unknown characters become unk, or vanish where there is none. */
static bool split(const bpe *b, const char *word, size_t length, symbols *out) {
    sn_buf name = {0};
    size_t unknown = 0; /* bytes of an unk that waits */
    bool ok = true;
    for (size_t at = 0; at < length && ok;) {
        size_t from = at;
        sn_next_point(word, length, &at);
        int32_t id = find_character(b, word + from, at - from, from == 0, at == length, &name);
        bool as_bytes = false;
        if (id < 0 && b->byte_fallback) ok = add_bytes(b, word + from, at - from, out, &as_bytes);
        if (as_bytes || (id < 0 && b->unk < 0)) continue;
        if (unknown && ok && (id >= 0 || !b->fuse_unk)) {
            ok = add_symbol(out, b->unk, unknown);
            unknown = 0;
        }
        if (id >= 0) ok = ok && add_symbol(out, id, at - from);
        else unknown += at - from;
    }
    if (unknown && ok) ok = add_symbol(out, b->unk, unknown);
    ok = ok && !name.failed;
    sn_buf_free(&name);
    return ok;
}

static bool encode(const void *model, const char *word, size_t length, int flags, sn_ids *out) {
    const bpe *b = model;
    int64_t whole;
    if (b->whole && !(flags & (SN_ENCODE_NO_SPECIAL | SN_ENCODE_OUTER_SPECIAL)) && sn_map_get(b->whole, word, length, &whole)) return sn_ids_add(out, (int32_t)whole);
    int32_t known = b->ignore_merges ? sn_vocabulary_find(b->tokenizer, word, length) : -1;
    if (known >= 0) return sn_ids_add(out, known);
    if (length > INT32_MAX) return false;
    symbols s = {.capacity = sizeof s.local / sizeof *s.local};
    s.data = s.local;
    bool ok = split(b, word, length, &s) && sn_merge(s.data, s.count, join, (void *)b);
    for (int32_t i = s.count ? 0 : -1; i >= 0 && ok; i = s.data[i].next) ok = sn_ids_add(out, s.data[i].id);
    if (s.data != s.local) sn_free(s.data);
    return ok;
}

static void close_model(void *model) {
    bpe *b = model;
    sn_map_free(b->merges);
    sn_map_free(b->whole);
    sn_free(b);
}

static const sn_word_model class = {"BPE", encode, close_model};

static bool keep(sn_chain *c, const char *text, const char **out, size_t *length) {
    *length = text ? strlen(text) : 0;
    *out = *length ? sn_arena_strdup(c->tokenizer->arena, text) : "";
    return *out;
}

sn_status sn_bpe_new(sn_chain *c, const char *where, const sn_bpe_options *options, sn_error *error) {
    bpe *b = sn_alloc(1, sizeof *b);
    if (!b) return sn_fail_memory(error);
    c->model = b, c->model_class = &class;
    *b = (bpe){.tokenizer = c->tokenizer, .merges = sn_map_new(), .unk = -1, .fuse_unk = options->fuse_unk, .byte_fallback = options->byte_fallback, .ignore_merges = options->ignore_merges};
    if (!b->merges || !keep(c, options->prefix, &b->prefix, &b->prefix_length) || !keep(c, options->suffix, &b->suffix, &b->suffix_length)) return sn_fail_memory(error);
    sn_vocabulary_bytes(c->tokenizer, b->byte_id);
    const char *unk = options->unk_token;
    if (unk && *unk && (b->unk = sn_vocabulary_find(c->tokenizer, unk, strlen(unk))) < 0) return sn_fail(error, SN_ERROR_INPUT, "%s: unk_token %s is not in the vocabulary", where, unk);
    return SN_OK;
}

sn_status sn_bpe_merge(sn_chain *c, const char *where, const char *left, size_t left_length, const char *right, size_t right_length, sn_error *error) {
    bpe *b = c->model;
    const sn_tokenizer *t = c->tokenizer;
    if (b->num_merges > INT32_MAX - 1) return sn_fail(error, SN_ERROR_INPUT, "%s: too many merges", where);
    int32_t key[2] = {sn_vocabulary_find(t, left, left_length), sn_vocabulary_find(t, right, right_length)};
    size_t skip = right_length >= b->prefix_length && b->prefix_length && memcmp(right, b->prefix, b->prefix_length) == 0 ? b->prefix_length : 0;
    sn_buf both = {0};
    sn_buf_add(&both, left, left_length);
    sn_buf_add(&both, right + skip, right_length - skip);
    int32_t id = both.failed || !both.length ? -1 : sn_vocabulary_find(t, both.data, both.length);
    bool failed = both.failed;
    sn_buf_free(&both);
    if (failed) return sn_fail_memory(error);
    if (key[0] < 0 || key[1] < 0 || id < 0)
        return sn_fail(error, SN_ERROR_INPUT, "%s: merge %lld: \"%.*s %.*s\": a side or the whole is not in the vocabulary", where, (long long)b->num_merges, (int)(left_length < 60 ? left_length : 60), left,
                       (int)(right_length < 60 ? right_length : 60), right);
    if (!sn_map_set(b->merges, (const char *)key, sizeof key, b->num_merges++ << 32 | id)) return sn_fail_memory(error);
    return SN_OK;
}

sn_status sn_bpe_whole_word(sn_chain *c, const char *word, int32_t id, sn_error *error) {
    bpe *b = c->model;
    if (!b->whole) b->whole = sn_map_new();
    return b->whole && sn_map_set(b->whole, word, strlen(word), id) ? SN_OK : sn_fail_memory(error);
}
