/* SentencePiece: the normalisation, BPE by score, the unigram model, decoding.
 *
 * U+2581 stands for a blank in the pieces. A text is normalised as a whole, then cut into pieces without any regard
 * to words: pieces may cross blanks. */
#include "text/sentencepiece.h"

#include "base/utf8.h"
#include "text/cache.h"
#include "text/merge.h"

#include <string.h>

static const char blank[] = "\xe2\x96\x81";

/* ---- normalisation ---- */

/* What stands at the beginning of the input after normalising: a user-defined piece as it is, else the replacement of
 * the map's longest key, else one character. */
static const char *next_step(const sn_sentencepiece *s, const char *text, size_t length, size_t *used, size_t *size) {
    size_t found = 0;
    if (s->users && sn_trie_longest(s->users, text, length, &found) >= 0) {
        *used = *size = found;
        return text;
    }
    const char *replacement = s->map ? sn_charsmap_find(s->map, text, length, true, used) : NULL;
    if (replacement) {
        *size = strlen(replacement);
        return replacement;
    }
    uint32_t point;
    int bytes = sn_utf8_decode(text, length, &point);
    *used = bytes ? (size_t)bytes : 1, *size = bytes ? (size_t)bytes : 3;
    return bytes ? text : "\xef\xbf\xbd";
}

static void normalize(const sn_sentencepiece *s, const char *text, size_t length, bool prefix, sn_buf *out) {
    size_t at = 0, used, size, mark = s->escape ? 3 : 1, start = out->length;
    const char *step, *space = s->escape ? blank : " ";
    while (s->remove_extra && at < length) {
        step = next_step(s, text + at, length - at, &used, &size);
        if (size != 1 || step[0] != ' ') break;
        at += used;
    }
    if (at == length) return;
    if (prefix) sn_buf_add(out, space, mark);
    bool after_blank = s->remove_extra;
    for (; at < length; at += used) {
        step = next_step(s, text + at, length - at, &used, &size);
        for (; after_blank && size && step[0] == ' '; step++) size--;
        if (!size) continue;
        for (size_t i = 0; i < size; i++)
            if (step[i] == ' ') sn_buf_add(out, space, mark);
            else sn_buf_add(out, step + i, 1);
        after_blank = s->remove_extra && step[size - 1] == ' ';
    }
    while (s->remove_extra && out->length - start >= mark && memcmp(out->data + out->length - mark, space, mark) == 0) out->length -= mark;
}

/* ---- BPE ---- */

typedef struct joiner {
    const sn_sentencepiece *s;
    const char *text;
    sn_map *unused; /* pieces that are joined but not emitted → length of their left half */
    bool failed;
} joiner;

enum { FROZEN = -2 }; /* a user-defined piece: joined with nothing */

/* Neighbours may be joined when the whole is a piece; the best score comes first. */
static bool join(void *context, const sn_symbol *left, const sn_symbol *right, double *rank, int32_t *id) {
    joiner *j = context;
    if (left->id == FROZEN || right->id == FROZEN) return false;
    const char *text = j->text + left->begin;
    *id = sn_vocabulary_find(j->s->tokenizer, text, left->length + right->length);
    if (*id < 0) return false;
    const sn_vocabulary_piece *piece = &j->s->tokenizer->pieces[*id];
    *rank = -piece->score;
    if (piece->kind == SN_PIECE_UNUSED) {
        if (!j->unused) j->unused = sn_map_new();
        if (!j->unused || !sn_map_set(j->unused, text, left->length + right->length, left->length)) j->failed = true;
    }
    return piece->kind == SN_PIECE_NORMAL || piece->kind == SN_PIECE_USER || piece->kind == SN_PIECE_UNUSED;
}

/* Unknown text: its bytes, or one unk for a run. */
static bool emit_unknown(const sn_sentencepiece *s, const char *text, size_t length, sn_ids *out, size_t from) {
    if (s->byte_fallback) {
        for (size_t i = 0; i < length; i++)
            if (!sn_ids_add(out, s->byte_id[(unsigned char)text[i]])) return false;
        return true;
    }
    if (out->count > from && out->data[out->count - 1] == s->tokenizer->info.unk) return true;
    return sn_ids_add(out, s->tokenizer->info.unk);
}

static bool emit(const joiner *j, const char *text, size_t length, sn_ids *out, size_t from) {
    int32_t id = sn_vocabulary_find(j->s->tokenizer, text, length);
    sn_piece_kind kind = id < 0 ? SN_PIECE_UNKNOWN : j->s->tokenizer->pieces[id].kind;
    int64_t left;
    if (kind == SN_PIECE_UNUSED && j->unused && sn_map_get(j->unused, text, length, &left))
        return emit(j, text, (size_t)left, out, from) && emit(j, text + left, length - (size_t)left, out, from);
    bool found = kind == SN_PIECE_NORMAL || kind == SN_PIECE_USER || kind == SN_PIECE_UNUSED;
    return found ? sn_ids_add(out, id) : emit_unknown(j->s, text, length, out, from);
}

/* `from`: where the ids of the whole text begin; `symbols` has room for the stretch. */
static bool encode_stretch(const sn_sentencepiece *s, const char *text, size_t length, size_t from, sn_symbol *symbols, sn_ids *out) {
    joiner j = {.s = s, .text = text};
    size_t count = 0, size;
    for (size_t at = 0; at < length; at += size, count++) {
        uint32_t point;
        int bytes = sn_utf8_decode(text + at, length - at, &point);
        bool frozen = s->users && sn_trie_longest(s->users, text + at, length - at, &size) >= 0;
        if (!frozen) size = bytes ? (size_t)bytes : 1;
        symbols[count] = (sn_symbol){(int32_t)count - 1, (int32_t)count + 1, (uint32_t)at, (uint32_t)size, frozen ? FROZEN : 0};
    }
    if (count) symbols[count - 1].next = -1;
    bool ok = sn_merge(symbols, count, join, &j) && !j.failed;
    for (int32_t i = count ? 0 : -1; i >= 0 && ok; i = symbols[i].next) ok = emit(&j, text + symbols[i].begin, symbols[i].length, out, from);
    sn_map_free(j.unused);
    return ok;
}

/* The beginning of the next word: a U+2581 that no other stands before. */
static size_t word_end(const char *text, size_t length) {
    for (size_t at = 0; (at = at + 1) + 3 <= length;) {
        const char *next = memchr(text + at, blank[0], length - at - 2);
        if (!next) break;
        at = (size_t)(next - text);
        bool after_blank = at >= 3 && memcmp(text + at - 3, blank, 3) == 0;
        if (!after_blank && memcmp(next, blank, 3) == 0) return at;
    }
    return length;
}

static bool encode_bpe(const sn_sentencepiece *s, const char *text, size_t length, sn_ids *out) {
    sn_word_cache *cache = s->word_starts ? sn_word_cache_new(length) : NULL;
    sn_symbol *symbols = NULL;
    size_t room = 0, from = out->count;
    bool ok = true;
    for (size_t at = 0, size; at < length && ok; at += size) {
        size = s->word_starts ? word_end(text + at, length - at) : length;
        int known = sn_word_cache_find(cache, text + at, size, out);
        size_t before = out->count;
        if (known) ok = known > 0;
        else ok = sn_grow((void **)&symbols, &room, size, sizeof *symbols) && encode_stretch(s, text + at, size, from, symbols, out);
        if (!known && ok) sn_word_cache_keep(cache, text + at, size, out->data + before, out->count - before);
    }
    sn_word_cache_free(cache);
    sn_free(symbols);
    return ok;
}

static bool encode_unigram(const sn_sentencepiece *s, const char *text, size_t length, sn_ids *out) {
    sn_unigram_parts parts = {0};
    size_t from = out->count;
    bool ok = sn_unigram_cut(&s->unigram, text, length, &parts);
    for (size_t i = 0; i < parts.count && ok; i++) {
        const sn_unigram_part *p = &parts.data[i];
        ok = p->id >= 0 ? sn_ids_add(out, p->id) : emit_unknown(s, text + p->begin, p->length, out, from);
    }
    sn_free(parts.data);
    return ok;
}

static sn_status encode(const void *engine, const char *text, size_t length, bool first, int flags, sn_ids *out, sn_error *error) {
    const sn_sentencepiece *s = engine;
    if (length == 0) return SN_OK;
    sn_buf normal = {0};
    normalize(s, text, length, s->dummy_prefix && !(flags & SN_ENCODE_CONTINUES) && (first || s->tokenizer->info.legacy), &normal);
    bool ok = !normal.failed && normal.length <= INT32_MAX;
    if (ok && normal.length) ok = s->is_unigram ? encode_unigram(s, normal.data, normal.length, out) : encode_bpe(s, normal.data, normal.length, out);
    sn_buf_free(&normal);
    return ok ? SN_OK : sn_fail_memory(error);
}

/* ---- decoding ---- */

static void decode(const void *engine, int32_t id, const sn_added_token *added, sn_detokenizer *d) {
    const sn_sentencepiece *s = engine;
    bool first = !d->begun;
    if (added && (id >= s->tokenizer->num_pieces || added->special)) {
        sn_buf_add(&d->pending, added->content, added->length);
        d->begun = true;
        return;
    }
    if (id >= s->tokenizer->num_pieces) return;
    const sn_vocabulary_piece *piece = &s->tokenizer->pieces[id];
    const char *text = piece->text, *end = text + piece->length;
    if (piece->kind == SN_PIECE_CONTROL) {
        d->cut = true; /* it prints nothing, but bytes before and behind it do not join */
        return;
    }
    d->begun = true;
    if (piece->kind == SN_PIECE_UNKNOWN) {
        sn_buf_puts(&d->pending, s->unk_surface);
        return;
    }
    if (piece->kind == SN_PIECE_BYTE) {
        for (int b = 0; b < 256; b++)
            if (s->byte_id[b] == id) sn_buf_add(&d->pending, &(char){(char)b}, 1);
        return;
    }
    /* the first piece loses one leading blank (every one, as long as nothing is printed, where extra ones are removed) */
    while (first && (s->dummy_prefix || s->remove_extra) && end - text >= 3 && memcmp(text, blank, 3) == 0) {
        text += 3;
        if (!s->remove_extra) break;
        d->begun = text < end;
    }
    while (text < end) {
        bool mark = end - text >= 3 && memcmp(text, blank, 3) == 0;
        sn_buf_add(&d->pending, mark ? " " : text, 1);
        text += mark ? 3 : 1;
    }
}

static void close_engine(void *engine) {
    sn_sentencepiece *s = engine;
    sn_charsmap_close(s->map);
    sn_trie_free(s->users);
    sn_trie_free(s->unigram.trie);
    sn_free(s);
}

static const sn_engine_class class = {.encode = encode, .decode = decode, .close = close_engine, .raw_matching = true};

/* ---- building ---- */

sn_status sn_sentencepiece_new(sn_tokenizer *t, sn_sentencepiece **out, sn_error *error) {
    sn_sentencepiece *s = *out = sn_alloc(1, sizeof *s);
    if (!s) return sn_fail_memory(error);
    t->engine = s, t->class = &class;
    *s = (sn_sentencepiece){.tokenizer = t, .is_unigram = true, .dummy_prefix = true, .remove_extra = true, .escape = true, .unk_surface = " \xe2\x81\x87 "};
    t->info.unk = 0, t->info.bos = 1, t->info.eos = 2, t->info.pad = -1;
    for (int b = 0; b < 256; b++) s->byte_id[b] = -1;
    return SN_OK;
}

/* Scores and trie of the unigram model: normal and user-defined pieces. */
static bool build_unigram(sn_sentencepiece *s) {
    const sn_tokenizer *t = s->tokenizer;
    double least = 0, most = 0; /* the published code's greatest score is never below 0 */
    bool any = false;
    s->unigram = (sn_unigram){.tokenizer = t, .trie = sn_trie_new(), .single = true, .scored_users = true};
    if (!s->unigram.trie) return false;
    for (int32_t i = 0; i < t->num_pieces; i++) {
        const sn_vocabulary_piece *p = &t->pieces[i];
        bool normal = p->kind == SN_PIECE_NORMAL;
        if (normal && (!any || p->score < least)) least = p->score;
        if (normal && p->score > most) most = p->score;
        any |= normal;
        if ((normal || p->kind == SN_PIECE_USER) && !sn_trie_add(s->unigram.trie, p->text, p->length, i)) return false;
    }
    s->unigram.max_score = most, s->unigram.unk_score = (double)((float)least - 10.0f);
    return true;
}

/* Words can be taken one by one where no piece goes on beyond the beginning of one, where unknown text is spelled in bytes
 * (otherwise neighbours become one unk), and where no user-defined piece cuts through. */
static bool words_are_separate(const sn_sentencepiece *s) {
    const sn_tokenizer *t = s->tokenizer;
    bool separate = s->escape && s->byte_fallback && !s->users;
    for (int32_t i = 0; i < t->num_pieces && separate; i++) {
        const sn_vocabulary_piece *p = &t->pieces[i];
        if (p->kind != SN_PIECE_NORMAL && p->kind != SN_PIECE_UNUSED) continue;
        separate = word_end(p->text, p->length) == p->length;
    }
    return separate;
}

sn_status sn_sentencepiece_ready(sn_sentencepiece *s, const char *path, sn_error *error) {
    sn_tokenizer *t = (sn_tokenizer *)s->tokenizer;
    int num_unknown = 0;
    for (int32_t i = 0; i < t->num_pieces; i++) {
        const sn_vocabulary_piece *p = &t->pieces[i];
        if (!p->text) return sn_fail(error, SN_ERROR_INPUT, "%s: there is no piece %d", path, i);
        num_unknown += p->kind == SN_PIECE_UNKNOWN;
        if (p->kind != SN_PIECE_USER) continue;
        if (!s->users && !(s->users = sn_trie_new())) return sn_fail_memory(error);
        if (!sn_trie_add(s->users, p->text, p->length, i)) return sn_fail_memory(error);
    }
    if (num_unknown != 1) return sn_fail(error, SN_ERROR_INPUT, "%s: found %d unknown pieces, expected one", path, num_unknown);
    int32_t *special[] = {&t->info.bos, &t->info.eos, &t->info.unk, &t->info.pad};
    for (int i = 0; i < 4; i++)
        if (*special[i] < 0 || *special[i] >= t->num_pieces) *special[i] = -1;
    if (t->info.unk < 0) return sn_fail(error, SN_ERROR_INPUT, "%s: unk_id lies outside the vocabulary", path);
    bool all = sn_vocabulary_bytes(t, s->byte_id);
    for (int b = 0; b < 256; b++)
        if (s->byte_id[b] >= 0 && t->pieces[s->byte_id[b]].kind != SN_PIECE_BYTE) s->byte_id[b] = -1, all = false;
    if (s->byte_fallback && !all) return sn_fail(error, SN_ERROR_INPUT, "%s: byte fallback, but not all pieces <0x00> to <0xFF> are there", path);
    if (s->is_unigram && !build_unigram(s)) return sn_fail_memory(error);
    s->word_starts = !s->is_unigram && words_are_separate(s);
    t->info.engine = s->is_unigram ? "SentencePiece unigram" : "SentencePiece BPE";
    return SN_OK;
}
