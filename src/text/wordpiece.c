/* WordPiece (BERT): greedy longest pieces from the left, the whole word unknown where one fails; and WordLevel,
 * whole words only. */
#include "text/chain.h"

#include <string.h>

typedef struct wordpiece {
    const sn_tokenizer *tokenizer;
    sn_trie *trie;  /* of all pieces */
    int32_t inside; /* the trie's node behind the prefix of inner pieces, -1 if there is none */
    int32_t unk;
    int64_t most_characters;
} wordpiece;

/* The longest piece from a node on: its id, or -1. */
static int32_t longest(const sn_trie *trie, int32_t node, const char *text, size_t length, size_t *found) {
    int32_t best = -1;
    for (size_t i = 0; i < length && node >= 0; i++) {
        node = sn_trie_step(trie, node, text[i]);
        if (node >= 0 && sn_trie_value(trie, node) >= 0) best = sn_trie_value(trie, node), *found = i + 1;
    }
    return best;
}

static bool encode(const void *model, const char *word, size_t length, int flags, sn_ids *out) {
    const wordpiece *w = model;
    int64_t characters = 0;
    for (size_t at = 0; at < length; characters++) sn_next_point(word, length, &at);
    size_t from = out->count, at = 0, found = 0;
    while (at < length && characters <= w->most_characters) {
        int32_t id = longest(w->trie, at ? w->inside : 0, word + at, length - at, &found);
        if (id < 0) break;
        if (!sn_ids_add(out, id)) return false;
        at += found;
    }
    if (at == length) return true;
    out->count = from;
    return w->unk < 0 || sn_ids_add(out, w->unk);
}

static void close_wordpiece(void *model) {
    wordpiece *w = model;
    sn_trie_free(w->trie);
    sn_free(w);
}

static const sn_word_model wordpiece_class = {"WordPiece", encode, close_wordpiece};

static sn_status find_unk(const sn_tokenizer *t, const char *where, const char *unk, int32_t *out, sn_error *error) {
    *out = unk && *unk ? sn_vocabulary_find(t, unk, strlen(unk)) : -1;
    return *out >= 0 ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "%s: unk_token %s is not in the vocabulary", where, unk ? unk : "(none)");
}

sn_status sn_wordpiece_new(sn_chain *c, const char *where, const char *unk_token, const char *prefix, int64_t most_characters, sn_error *error) {
    wordpiece *w = sn_alloc(1, sizeof *w);
    if (!w) return sn_fail_memory(error);
    const sn_tokenizer *t = c->tokenizer;
    c->model = w, c->model_class = &wordpiece_class;
    *w = (wordpiece){.tokenizer = t, .trie = sn_trie_new(), .most_characters = most_characters};
    if (!w->trie) return sn_fail_memory(error);
    for (int32_t i = 0; i < t->num_pieces; i++)
        if (t->pieces[i].text && !sn_trie_add(w->trie, t->pieces[i].text, t->pieces[i].length, i)) return sn_fail_memory(error);
    for (; *prefix && w->inside >= 0; prefix++) w->inside = sn_trie_step(w->trie, w->inside, *prefix);
    return find_unk(t, where, unk_token, &w->unk, error);
}

/* ---- WordLevel ---- */

typedef struct wordlevel {
    const sn_tokenizer *tokenizer;
    int32_t unk;
} wordlevel;

static bool encode_level(const void *model, const char *word, size_t length, int flags, sn_ids *out) {
    const wordlevel *w = model;
    int32_t id = sn_vocabulary_find(w->tokenizer, word, length);
    return sn_ids_add(out, id < 0 ? w->unk : id);
}

static void close_level(void *model) { sn_free(model); }

static const sn_word_model wordlevel_class = {"WordLevel", encode_level, close_level};

sn_status sn_wordlevel_new(sn_chain *c, const char *where, const char *unk_token, sn_error *error) {
    wordlevel *w = sn_alloc(1, sizeof *w);
    if (!w) return sn_fail_memory(error);
    c->model = w, c->model_class = &wordlevel_class;
    w->tokenizer = c->tokenizer;
    return find_unk(c->tokenizer, where, unk_token, &w->unk, error);
}
