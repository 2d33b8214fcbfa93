/* The chain as an engine of the tokenizer. */
#include "text/cache.h"
#include "text/chain.h"

static bool wanted_normalized(const sn_added_search *s, const sn_added_token *token, size_t begin, size_t end) {
    return !(token->special && s->flags & (SN_ENCODE_NO_SPECIAL | SN_ENCODE_OUTER_SPECIAL));
}

static bool encode_word(const sn_chain *c, sn_word_cache *cache, const char *word, size_t length, int flags, sn_ids *out) {
    int known = sn_word_cache_find(cache, word, length, out);
    if (known) return known > 0;
    size_t from = out->count;
    if (!c->model_class->encode(c->model, word, length, flags, out)) return false;
    if (out->count > from) sn_word_cache_keep(cache, word, length, out->data + from, out->count - from);
    return true;
}

static sn_status encode_words(const sn_chain *c, const char *text, size_t length, bool first, int flags, sn_ids *out, sn_error *error) {
    if (length == 0) return SN_OK;
    sn_pieces words = {0};
    sn_splitters_run(c, text, length, first, &words);
    sn_word_cache *cache = sn_word_cache_new(length); /* flags are the same for all words of a text */
    bool ok = !words.text.failed;
    for (size_t i = 0, at = 0; i < words.count && ok; at = words.ends[i++]) ok = encode_word(c, cache, words.text.data + at, words.ends[i] - at, flags, out);
    sn_word_cache_free(cache);
    sn_pieces_free(&words);
    return ok ? SN_OK : sn_fail(error, SN_ERROR_MEMORY, "a text of %zu bytes: out of memory, or an expression of the tokenizer that costs too much", length);
}

static sn_status encode(const void *engine, const char *text, size_t length, bool first, int flags, sn_ids *out, sn_error *error) {
    const sn_chain *c = engine;
    if (length == 0) return SN_OK;
    sn_buf normal = {0};
    sn_normalizers_run(c, text, length, flags, &normal);
    sn_status status = normal.failed ? sn_fail(error, SN_ERROR_MEMORY, "a text of %zu bytes cannot be normalised: out of memory, or an expression that costs too much", length) : SN_OK;
    sn_added_search s = {.tokenizer = c->tokenizer, .trie = c->normalized, .text = normal.data, .length = status ? 0 : normal.length, .wanted = wanted_normalized, .flags = flags};
    const sn_added_token *token;
    size_t done = 0, begin, end;
    while (!status && (token = sn_added_next(&s, &begin, &end))) {
        status = encode_words(c, normal.data + done, begin - done, first && done == 0, flags, out, error);
        if (!status && !sn_ids_add(out, token->id)) status = sn_fail_memory(error);
        done = end;
    }
    if (!status && done < normal.length) status = encode_words(c, normal.data + done, normal.length - done, first && done == 0, flags, out, error);
    sn_buf_free(&normal);
    return status;
}

static void decode(const void *engine, int32_t id, const sn_added_token *added, sn_detokenizer *d) {
    const sn_chain *c = engine;
    size_t length;
    const char *piece = added ? added->content : sn_tokenizer_piece(c->tokenizer, id, &length);
    if (piece) sn_decoders_push(c, d, piece, added ? added->length : length);
}

static void finish(const void *engine, sn_detokenizer *d) { sn_decoders_finish(engine, d); }

static void close_engine(void *engine) {
    sn_chain *c = engine;
    for (size_t i = 0; i < c->num_normalizers; i++) sn_normalizer_free(&c->normalizers[i]);
    for (size_t i = 0; i < c->num_splitters; i++) sn_splitter_free(&c->splitters[i]);
    for (size_t i = 0; i < c->num_decoders; i++) sn_decoder_free(&c->decoders[i]);
    if (c->model) c->model_class->close(c->model);
    sn_trie_free(c->normalized);
    sn_free(c->normalizers);
    sn_free(c->splitters);
    sn_free(c->decoders);
    sn_free(c);
}

static sn_status refresh(void *engine, sn_error *error) { return sn_chain_ready(engine, error); }

static const sn_engine_class class = {.encode = encode, .decode = decode, .finish = finish, .refresh = refresh, .close = close_engine, .whole_subparts = true};

sn_status sn_chain_new(sn_tokenizer *t, sn_chain **out, sn_error *error) {
    sn_chain *c = *out = sn_alloc(1, sizeof *c);
    if (!c) return sn_fail_memory(error);
    t->engine = c, t->class = &class;
    c->tokenizer = t;
    return SN_OK;
}

sn_status sn_chain_ready(sn_chain *c, sn_error *error) {
    c->tokenizer->info.engine = c->model_class->title;
    sn_trie_free(c->normalized);
    c->normalized = sn_trie_new();
    bool ok = c->normalized;
    sn_buf form = {0};
    for (size_t i = 0; i < c->tokenizer->num_added && ok; i++) {
        const sn_added_token *a = &c->tokenizer->added[i];
        if (!a->normalized || a->inert) continue;
        sn_normalizers_run(c, a->content, a->length, 0, &form);
        ok = !form.failed && (!form.length || sn_trie_add(c->normalized, form.data, form.length, (int32_t)i));
    }
    sn_buf_free(&form);
    return ok ? SN_OK : sn_fail_memory(error);
}
