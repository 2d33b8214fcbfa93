/* Viterbi over byte positions, for SentencePiece in float32 and for tokenizer.json in float64. */
#include "text/unigram.h"

#include "text/chain.h"

#include <string.h>

typedef struct node {
    double score;
    size_t from;
    int32_t id;
    bool reached;
} node;

static double piece_score(const sn_unigram *u, int32_t id) {
    const sn_vocabulary_piece *p = &u->tokenizer->pieces[id];
    if (u->scored_users && p->kind == SN_PIECE_USER) return (double)(float)((double)p->length * u->max_score - 0.1);
    return p->score;
}

static void reach(const sn_unigram *u, node *to, double before, double score, size_t from, int32_t id) {
    double sum = u->single ? (double)(float)(before + score) : before + score;
    if (!to->reached || sum > to->score) *to = (node){sum, from, id, true};
}

bool sn_unigram_cut(const sn_unigram *u, const char *text, size_t length, sn_unigram_parts *parts) {
    node *best = sn_alloc(length + 1, sizeof *best);
    if (!best) return false;
    for (size_t at = 0, next; at < length; at = next) {
        next = at;
        sn_next_point(text, length, &next);
        bool covered = false; /* this character alone is a piece */
        int32_t place = 0;
        for (size_t i = at; i < length && (place = sn_trie_step(u->trie, place, text[i])) >= 0; i++) {
            int32_t id = sn_trie_value(u->trie, place);
            if (id < 0) continue;
            reach(u, &best[i + 1], best[at].score, piece_score(u, id), at, id);
            covered |= i + 1 == next;
        }
        if (!covered) reach(u, &best[next], best[at].score, u->unk_score, at, -1);
    }
    size_t count = 0;
    for (size_t at = length; at > 0; at = best[at].from) count++;
    bool ok = sn_grow((void **)&parts->data, &parts->capacity, count, sizeof *parts->data);
    parts->count = ok ? count : 0;
    for (size_t at = length; at > 0 && ok; at = best[at].from) parts->data[--count] = (sn_unigram_part){best[at].from, at - best[at].from, best[at].id};
    sn_free(best);
    return ok;
}

/* ---- as a model of tokenizer.json ---- */

typedef struct unigram {
    sn_unigram base;
    int32_t unk, byte_id[256];
    bool byte_fallback;
} unigram;

/* A run of unknown characters: one unk, unless it can be spelled in bytes. */
static bool add_unknown(const unigram *u, const char *text, size_t length, sn_ids *out) {
    bool bytes = u->byte_fallback;
    for (size_t i = 0; i < length && bytes; i++) bytes = u->byte_id[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; i < length && bytes; i++)
        if (!sn_ids_add(out, u->byte_id[(unsigned char)text[i]])) return false;
    return bytes || u->unk < 0 || sn_ids_add(out, u->unk);
}

static bool encode(const void *model, const char *word, size_t length, int flags, sn_ids *out) {
    const unigram *u = model;
    sn_unigram_parts parts = {0};
    bool ok = sn_unigram_cut(&u->base, word, length, &parts);
    for (size_t i = 0, end; i < parts.count && ok; i = end) {
        const sn_unigram_part *p = &parts.data[i];
        end = i + 1;
        size_t bytes = p->length;
        while (p->id < 0 && end < parts.count && parts.data[end].id < 0) bytes += parts.data[end++].length;
        ok = p->id >= 0 ? sn_ids_add(out, p->id) : add_unknown(u, word + p->begin, bytes, out);
    }
    sn_free(parts.data);
    return ok;
}

static void close_model(void *model) {
    unigram *u = model;
    sn_trie_free(u->base.trie);
    sn_free(u);
}

static const sn_word_model class = {"Unigram", encode, close_model};

sn_status sn_unigram_new(sn_chain *c, const char *where, int64_t unk_id, bool byte_fallback, sn_error *error) {
    unigram *u = sn_alloc(1, sizeof *u);
    if (!u) return sn_fail_memory(error);
    const sn_tokenizer *t = c->tokenizer;
    c->model = u, c->model_class = &class;
    *u = (unigram){.base = {.tokenizer = t, .trie = sn_trie_new()}, .unk = (int32_t)unk_id, .byte_fallback = byte_fallback};
    if (!u->base.trie) return sn_fail_memory(error);
    if (unk_id >= t->num_pieces) return sn_fail(error, SN_ERROR_INPUT, "%s: unk_id: found %lld in a vocabulary of %d", where, (long long)unk_id, t->num_pieces);
    double least = t->num_pieces ? t->pieces[0].score : 0;
    for (int32_t i = 0; i < t->num_pieces; i++) {
        if (t->pieces[i].score < least) least = t->pieces[i].score;
        if (i != unk_id && !sn_trie_add(u->base.trie, t->pieces[i].text, t->pieces[i].length, i)) return sn_fail_memory(error);
    }
    u->base.unk_score = least - 10;
    sn_vocabulary_bytes(t, u->byte_id);
    return SN_OK;
}
