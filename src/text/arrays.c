/* A vocabulary given as arrays, as GGUF files carry it (tokenizer.ggml.*). */
#include "text/arrays.h"

#include "text/classic.h"
#include "text/sentencepiece.h"

#include <string.h>

static const char blank[] = "\xe2\x96\x81";

static sn_piece_kind kind_of(const sn_vocabulary_arrays *v, size_t i) {
    static const sn_piece_kind kinds[] = {SN_PIECE_NORMAL, SN_PIECE_NORMAL, SN_PIECE_UNKNOWN, SN_PIECE_CONTROL, SN_PIECE_USER, SN_PIECE_UNUSED, SN_PIECE_BYTE};
    int32_t type = v->types ? v->types[i] : 1;
    return type >= 0 && type <= 6 ? kinds[type] : SN_PIECE_NORMAL;
}

/* BERT's pieces are rewritten in these files: the beginning of a word carries a U+2581, what goes on lost its ##. */
static void wordpiece_text(sn_text_span in, sn_piece_kind kind, sn_buf *out) {
    out->length = 0;
    bool plain = kind == SN_PIECE_CONTROL || kind == SN_PIECE_UNKNOWN, start = in.length > 3 && memcmp(in.text, blank, 3) == 0;
    if (!plain && !start) sn_buf_puts(out, "##");
    sn_buf_add(out, in.text + (start ? 3 : 0), in.length - (start ? 3 : 0));
}

static sn_status add_pieces(sn_tokenizer *t, const char *where, const sn_vocabulary_arrays *v, bool wordpiece, sn_error *error) {
    sn_status status = SN_OK;
    sn_buf rewritten = {0};
    t->file_pieces = (int64_t)v->count;
    for (size_t i = 0; i < v->count && !status; i++) {
        sn_piece_kind kind = kind_of(v, i);
        sn_vocabulary_piece piece = {.text = v->pieces[i].text, .length = v->pieces[i].length, .kind = kind, .score = v->scores ? (double)v->scores[i] : 0};
        if (wordpiece) {
            wordpiece_text(v->pieces[i], kind, &rewritten);
            if (rewritten.failed) status = sn_fail_memory(error);
            piece.text = rewritten.data, piece.length = rewritten.length;
        }
        if (!status) status = sn_vocabulary_add(t, where, (int64_t)i, piece, error);
    }
    sn_buf_free(&rewritten);
    t->info.vocab_size = t->num_pieces;
    return status;
}

/* Control and user-defined pieces are found in texts; the former are special. */
static sn_status add_tokens(sn_tokenizer *t, const char *where, sn_error *error) {
    sn_status status = SN_OK;
    for (int32_t i = 0; i < t->num_pieces && !status; i++) {
        const sn_vocabulary_piece *p = &t->pieces[i];
        bool special = p->kind == SN_PIECE_CONTROL || p->kind == SN_PIECE_UNKNOWN;
        if (special || p->kind == SN_PIECE_USER)
            status = sn_added_add(t, where, (sn_added_token){.content = p->text, .length = p->length, .id = i, .special = special, .builtin = special, .normalized = !special}, error);
    }
    return status;
}

static void set_ids(sn_tokenizer *t, const sn_vocabulary_arrays *v) {
    const int64_t given[] = {v->bos, v->eos, v->unk, v->pad};
    int32_t *own[] = {&t->info.bos, &t->info.eos, &t->info.unk, &t->info.pad};
    for (int i = 0; i < 4; i++)
        if (given[i] >= 0 && given[i] < t->num_pieces) *own[i] = (int32_t)given[i];
    if (v->add_bos >= 0) t->info.add_bos = v->add_bos;
    if (v->add_eos >= 0) t->info.add_eos = v->add_eos;
}

static sn_status build_sentencepiece(sn_tokenizer *t, const char *where, const sn_vocabulary_arrays *v, bool unigram, sn_error *error) {
    sn_sentencepiece *s;
    int32_t ids[256];
    sn_status status = sn_sentencepiece_new(t, &s, error);
    if (!status) status = add_pieces(t, where, v, false, error);
    if (status) return status;
    s->is_unigram = unigram, s->dummy_prefix = v->add_space_prefix != 0, s->remove_extra = v->remove_extra > 0;
    s->byte_fallback = sn_vocabulary_bytes(t, ids);
    if (v->charsmap_size) status = sn_charsmap_open(where, v->charsmap, v->charsmap_size, &s->map, error);
    t->info.add_bos = !unigram, t->info.add_eos = unigram;
    set_ids(t, v);
    if (!status) status = sn_sentencepiece_ready(s, where, error);
    return status ? status : add_tokens(t, where, error);
}

static sn_status build_bpe(sn_tokenizer *t, const char *where, const sn_vocabulary_arrays *v, sn_error *error) {
    sn_chain *c;
    static const char *const known[] = {"default", "gpt-2", "mpt", "olmo", "jais", "phi-2"};
    bool ok = !v->pre;
    for (size_t i = 0; i < sizeof known / sizeof *known && !ok; i++) ok = strcmp(known[i], v->pre) == 0;
    if (!ok) return sn_fail(error, SN_ERROR_SUPPORT, "%s: pre-tokenizer %s is not supported", where, v->pre);
    sn_status status = sn_chain_new(t, &c, error);
    if (!status) status = add_pieces(t, where, v, false, error);
    if (!status) status = sn_bpe_new(c, where, &(sn_bpe_options){0}, error);
    for (size_t i = 0; i < v->num_merges && !status; i++) {
        const sn_text_span m = v->merges[i];
        const char *cut = m.length > 1 ? memchr(m.text + 1, ' ', m.length - 1) : NULL;
        if (!cut) status = sn_fail(error, SN_ERROR_INPUT, "%s: merge %zu: expected two pieces", where, i);
        else status = sn_bpe_merge(c, where, m.text, (size_t)(cut - m.text), cut + 1, m.length - (size_t)(cut + 1 - m.text), error);
    }
    if (!status) status = add_tokens(t, where, error);
    if (!status) status = sn_classic_links(c, where, SN_CLASSIC_GPT2, false, error);
    set_ids(t, v);
    return status;
}

static sn_status build_wordpiece(sn_tokenizer *t, const char *where, const sn_vocabulary_arrays *v, sn_error *error) {
    sn_chain *c;
    sn_status status = sn_chain_new(t, &c, error);
    if (!status) status = add_pieces(t, where, v, true, error);
    if (!status) status = sn_wordpiece_new(c, where, "[UNK]", "##", 100, error);
    return status ? status : sn_classic_links(c, where, SN_CLASSIC_BERT, true, error);
}

sn_status sn_tokenizer_open_arrays(const char *where, const sn_vocabulary_arrays *v, sn_tokenizer **out, sn_error *error) {
    sn_tokenizer *t;
    *out = NULL;
    sn_status status = sn_tokenizer_new(&t, error);
    if (status) return status;
    if (strcmp(v->model, "llama") == 0 || strcmp(v->model, "t5") == 0) status = build_sentencepiece(t, where, v, v->model[0] == 't', error);
    else if (strcmp(v->model, "gpt2") == 0) status = build_bpe(t, where, v, error);
    else if (strcmp(v->model, "bert") == 0) status = build_wordpiece(t, where, v, error);
    else status = sn_fail(error, SN_ERROR_SUPPORT, "%s: found vocabulary model %s, expected llama, t5, gpt2 or bert", where, v->model);
    if (status) sn_tokenizer_close(t);
    else *out = t;
    return status;
}

bool sn_tokenizer_arrays(const sn_tokenizer *t, sn_arena *arena, sn_vocabulary_arrays *out) {
    static const int32_t types[] = {[SN_PIECE_NORMAL] = 1, [SN_PIECE_UNKNOWN] = 2, [SN_PIECE_CONTROL] = 3, [SN_PIECE_USER] = 4, [SN_PIECE_UNUSED] = 5, [SN_PIECE_BYTE] = 6};
    if (strcmp(t->info.engine, "SentencePiece BPE") != 0) return false;
    size_t count = (size_t)t->info.vocab_size;
    sn_text_span *pieces = sn_arena_alloc(arena, count, sizeof *pieces);
    float *scores = sn_arena_alloc(arena, count, sizeof *scores);
    int32_t *kinds = sn_arena_alloc(arena, count, sizeof *kinds);
    if (!pieces || !scores || !kinds) return false;
    for (size_t i = 0; i < count; i++) { /* added tokens stand behind the pieces: user-defined, found in any text */
        bool piece = (int32_t)i < t->num_pieces;
        size_t length = 0;
        const char *text = sn_tokenizer_piece(t, (int32_t)i, &length);
        pieces[i] = (sn_text_span){text ? text : "", length};
        scores[i] = piece ? (float)t->pieces[i].score : 0;
        kinds[i] = piece ? types[t->pieces[i].kind] : text ? 4 : 5;
    }
    *out = (sn_vocabulary_arrays){.model = "llama", .pieces = pieces, .scores = scores, .types = kinds, .count = count, .bos = t->info.bos, .eos = t->info.eos, .unk = t->info.unk, .pad = t->info.pad,
                                  .add_bos = t->info.add_bos, .add_eos = t->info.add_eos, .add_space_prefix = -1, .remove_extra = -1};
    return true;
}
