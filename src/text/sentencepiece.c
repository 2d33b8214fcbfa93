/* SentencePiece (tokenizers.md 2): the model file, the normalisation, BPE by score.
 *
 * Encoding keeps one symbol per character in a linked list and every mergeable pair of neighbours in a heap,
 * best score first, leftmost first among equals: n log n for a text of n characters. */
#include "base/utf8.h"
#include "text/engine.h"

#include <string.h>

static const char blank[] = "\xe2\x96\x81"; /* U+2581 stands for a blank */

typedef struct sentencepiece {
    const sn_tokenizer *tokenizer;
    bool dummy_prefix, remove_extra, escape, byte_fallback;
    int32_t byte_id[256];
    const char *unk_surface;
} sentencepiece;

/* ---- the protobuf file ---- */

typedef struct field {
    uint32_t number, wire;
    uint64_t value;
    const unsigned char *bytes;
    size_t length;
} field;

static bool varint(const unsigned char **at, const unsigned char *end, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64 && *at < end; shift += 7) {
        unsigned char c = *(*at)++;
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return true;
    }
    return false;
}

static bool next_field(const unsigned char **at, const unsigned char *end, field *f) {
    uint64_t key;
    if (!varint(at, end, &key)) return false;
    *f = (field){.number = (uint32_t)(key >> 3), .wire = key & 7};
    switch (f->wire) {
    case 0: return varint(at, end, &f->value);
    case 1:
    case 5: {
        size_t n = f->wire == 1 ? 8 : 4;
        if ((size_t)(end - *at) < n) return false;
        for (size_t i = n; i-- > 0;) f->value = f->value << 8 | (*at)[i];
        f->bytes = *at, f->length = n, *at += n;
        return true;
    }
    case 2:
        if (!varint(at, end, &f->value) || f->value > (uint64_t)(end - *at)) return false;
        f->bytes = *at, f->length = f->value, *at += f->length;
        return true;
    }
    return false;
}

static sn_status read_piece(sn_tokenizer *t, const char *path, const field *message, sn_vocabulary_piece *piece, sn_error *error) {
    const unsigned char *at = message->bytes, *end = at + message->length;
    field f;
    static const sn_piece_kind kinds[] = {0, SN_PIECE_NORMAL, SN_PIECE_UNKNOWN, SN_PIECE_CONTROL, SN_PIECE_USER, SN_PIECE_UNUSED, SN_PIECE_BYTE};
    while (at < end) {
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %d: broken", path, t->num_pieces);
        if (f.number == 1 && f.wire == 2) piece->text = (const char *)f.bytes, piece->length = f.length;
        if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&piece->score, &bits, 4);
        }
        if (f.number == 3 && f.wire == 0) {
            if (f.value < 1 || f.value > 6) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %d: unknown type", path, t->num_pieces);
            piece->kind = kinds[f.value];
        }
    }
    if (!piece->length || !sn_utf8_valid(piece->text, piece->length, NULL))
        return sn_fail(error, SN_ERROR_INPUT, "%s: piece %d: empty or not UTF-8", path, t->num_pieces);
    char *copy = sn_arena_alloc(t->arena, piece->length + 1, 1);
    if (!copy) return sn_fail_memory(error);
    memcpy(copy, piece->text, piece->length);
    piece->text = copy;
    if (sn_map_get(t->index, copy, piece->length, NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %s is there twice", path, copy);
    if (!sn_map_set(t->index, copy, piece->length, t->num_pieces)) return sn_fail_memory(error);
    return SN_OK;
}

static sn_status read_trainer(sn_tokenizer *t, sentencepiece *s, const char *path, const field *message, sn_error *error) {
    const unsigned char *at = message->bytes, *end = at + message->length;
    field f;
    uint64_t type = 1;
    while (at < end) {
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: trainer_spec is broken", path);
        if (f.wire == 2 && f.number == 44) s->unk_surface = sn_arena_format(t->arena, "%.*s", (int)(f.length < 64 ? f.length : 64), (const char *)f.bytes);
        if (f.wire != 0) continue;
        if (f.number == 3) type = f.value;
        if (f.number == 35) s->byte_fallback = f.value;
        if (f.number == 40) t->info.unk = (int32_t)f.value;
        if (f.number == 41) t->info.bos = (int32_t)f.value;
        if (f.number == 42) t->info.eos = (int32_t)f.value;
        if (f.number == 43) t->info.pad = (int32_t)f.value;
    }
    if (type != 2) return sn_fail(error, SN_ERROR_SUPPORT, "%s: found model type %llu, expected BPE (2)", path, (unsigned long long)type);
    return SN_OK;
}

static sn_status read_normalizer(sentencepiece *s, const char *path, const field *message, sn_error *error) {
    const unsigned char *at = message->bytes, *end = at + message->length;
    field f;
    while (at < end) {
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: normalizer_spec is broken", path);
        if (f.number == 2 && f.length) return sn_fail(error, SN_ERROR_SUPPORT, "%s: a normalisation map is not supported yet", path);
        if (f.wire == 0 && f.number == 3) s->dummy_prefix = f.value;
        if (f.wire == 0 && f.number == 4) s->remove_extra = f.value;
        if (f.wire == 0 && f.number == 5) s->escape = f.value;
    }
    return SN_OK;
}

/* ---- encoding ---- */

typedef struct symbol {
    int32_t previous, next; /* -1 = none */
    uint32_t begin, length; /* in the normalised text; length 0 = merged away */
} symbol;

typedef struct pair {
    float score;
    int32_t left, right;
    uint32_t length; /* of both: stale if either has changed since */
} pair;

typedef struct agenda {
    pair *heap;
    size_t count, capacity;
} agenda;

static bool before(const pair *a, const pair *b) { return a->score > b->score || (a->score == b->score && a->left < b->left); }

static bool agenda_add(agenda *a, pair p) {
    if (!sn_grow((void **)&a->heap, &a->capacity, a->count + 1, sizeof *a->heap)) return false;
    size_t i = a->count++;
    while (i && before(&p, &a->heap[(i - 1) / 2])) a->heap[i] = a->heap[(i - 1) / 2], i = (i - 1) / 2;
    a->heap[i] = p;
    return true;
}

static pair agenda_take(agenda *a) {
    pair top = a->heap[0], last = a->heap[--a->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < a->count; i = child) {
        if (child + 1 < a->count && before(&a->heap[child + 1], &a->heap[child])) child++;
        if (!before(&a->heap[child], &last)) break;
        a->heap[i] = a->heap[child];
    }
    if (a->count) a->heap[i] = last;
    return top;
}

static bool offer(const sentencepiece *s, const char *text, const symbol *symbols, int32_t left, int32_t right, agenda *a) {
    if (left < 0 || right < 0) return true;
    uint32_t length = symbols[left].length + symbols[right].length;
    int64_t id;
    if (!sn_map_get(s->tokenizer->index, text + symbols[left].begin, length, &id) || id >= s->tokenizer->num_pieces) return true;
    const sn_vocabulary_piece *piece = &s->tokenizer->pieces[id];
    if (piece->kind != SN_PIECE_NORMAL && piece->kind != SN_PIECE_USER && piece->kind != SN_PIECE_UNUSED) return true;
    return agenda_add(a, (pair){piece->score, left, right, length});
}

/* Piece of a final symbol, or its bytes, or unknown. */
static bool emit(const sentencepiece *s, const char *text, size_t length, sn_ids *out, size_t from) {
    int64_t id;
    if (sn_map_get(s->tokenizer->index, text, length, &id) && id < s->tokenizer->num_pieces &&
        (s->tokenizer->pieces[id].kind == SN_PIECE_NORMAL || s->tokenizer->pieces[id].kind == SN_PIECE_USER))
        return sn_ids_add(out, (int32_t)id);
    if (s->byte_fallback) {
        for (size_t i = 0; i < length; i++)
            if (!sn_ids_add(out, s->byte_id[(unsigned char)text[i]])) return false;
        return true;
    }
    if (out->count > from && out->data[out->count - 1] == s->tokenizer->info.unk) return true; /* a run of unknowns is one */
    return sn_ids_add(out, s->tokenizer->info.unk);
}

static sn_status encode(const void *engine, const char *text, size_t length, bool first, sn_ids *out, sn_error *error) {
    const sentencepiece *s = engine;
    if (length == 0) return SN_OK;
    sn_buf normal = {0};
    if (s->dummy_prefix && (first || s->tokenizer->info.legacy)) sn_buf_add(&normal, s->escape ? blank : " ", s->escape ? 3 : 1);
    size_t at = 0, end = length;
    if (s->remove_extra) {
        while (at < end && text[at] == ' ') at++;
        while (end > at && text[end - 1] == ' ') end--;
    }
    for (bool was_blank = false; at < end; at++) {
        bool is_blank = text[at] == ' ';
        if (!(is_blank && was_blank && s->remove_extra)) {
            if (is_blank && s->escape) sn_buf_add(&normal, blank, 3);
            else sn_buf_add(&normal, text + at, 1);
        }
        was_blank = is_blank;
    }
    sn_status status = SN_OK;
    symbol *symbols = NULL;
    agenda a = {0};
    size_t count = 0, from = out->count;
    if (normal.failed || normal.length > INT32_MAX) {
        status = sn_fail_memory(error);
        goto done;
    }
    symbols = sn_alloc(normal.length + 1, sizeof *symbols);
    if (!symbols) {
        status = sn_fail_memory(error);
        goto done;
    }
    for (size_t i = 0; i < normal.length; count++) {
        uint32_t point;
        int bytes = sn_utf8_decode(normal.data + i, normal.length - i, &point);
        if (bytes == 0) bytes = 1;
        symbols[count] = (symbol){(int32_t)count - 1, (int32_t)count + 1, (uint32_t)i, (uint32_t)bytes};
        i += (size_t)bytes;
    }
    if (count) symbols[count - 1].next = -1;
    bool ok = true;
    for (size_t i = 1; i < count && ok; i++) ok = offer(s, normal.data, symbols, (int32_t)i - 1, (int32_t)i, &a);
    while (ok && a.count) {
        pair p = agenda_take(&a);
        symbol *left = &symbols[p.left], *right = &symbols[p.right];
        if (!left->length || !right->length || left->length + right->length != p.length) continue;
        left->length = p.length, left->next = right->next, right->length = 0;
        if (left->next >= 0) symbols[left->next].previous = p.left;
        ok = offer(s, normal.data, symbols, left->previous, p.left, &a) && offer(s, normal.data, symbols, p.left, left->next, &a);
    }
    for (int32_t i = count ? 0 : -1; i >= 0 && ok; i = symbols[i].next) ok = emit(s, normal.data + symbols[i].begin, symbols[i].length, out, from);
    if (!ok) status = sn_fail_memory(error);
done:
    sn_buf_free(&normal);
    sn_free(symbols);
    sn_free(a.heap);
    return status;
}

/* ---- decoding ---- */

static void decode(const void *engine, int32_t id, bool *begun, sn_buf *out) {
    const sentencepiece *s = engine;
    const sn_vocabulary_piece *piece = &s->tokenizer->pieces[id];
    const char *text = piece->text, *end = text + piece->length;
    if (piece->kind == SN_PIECE_CONTROL) return;
    bool first = !*begun;
    *begun = true;
    if (piece->kind == SN_PIECE_UNKNOWN) {
        sn_buf_puts(out, s->unk_surface);
        return;
    }
    if (piece->kind == SN_PIECE_BYTE) {
        for (int b = 0; b < 256; b++)
            if (s->byte_id[b] == id) sn_buf_add(out, &(char){(char)b}, 1);
        return;
    }
    /* the first piece loses one leading blank (every one, as long as nothing is printed, where extra ones are removed) */
    while (first && (s->dummy_prefix || s->remove_extra) && end - text >= 3 && memcmp(text, blank, 3) == 0) {
        text += 3;
        if (!s->remove_extra) break;
        *begun = text < end;
    }
    while (text < end) {
        if (end - text >= 3 && memcmp(text, blank, 3) == 0) {
            sn_buf_add(out, " ", 1);
            text += 3;
        } else {
            sn_buf_add(out, text++, 1);
        }
    }
}

static void close_engine(void *engine) { sn_free(engine); }

static const sn_engine_class class = {encode, decode, close_engine};

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

sn_status sn_sentencepiece_read(sn_tokenizer *t, const char *path, const unsigned char *bytes, size_t size, sn_error *error) {
    sentencepiece *s = sn_alloc(1, sizeof *s);
    if (!s) return sn_fail_memory(error);
    t->engine = s, t->class = &class, t->info.engine = "SentencePiece BPE";
    *s = (sentencepiece){.tokenizer = t, .dummy_prefix = true, .remove_extra = true, .escape = true, .unk_surface = " \xe2\x81\x87 "};
    t->info.unk = 0, t->info.bos = 1, t->info.eos = 2, t->info.pad = -1;
    for (int b = 0; b < 256; b++) s->byte_id[b] = -1;
    size_t capacity = 0;
    const unsigned char *at = bytes, *end = bytes + size;
    sn_status status = SN_OK;
    int num_unknown = 0;
    while (at < end && !status) {
        field f;
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: broken at byte %zu: not a SentencePiece model", path, (size_t)(at - bytes));
        if (f.wire != 2) continue;
        if (f.number == 1) {
            if (t->num_pieces > 1 << 22 || !sn_grow((void **)&t->pieces, &capacity, (size_t)t->num_pieces + 1, sizeof *t->pieces)) return sn_fail_memory(error);
            sn_vocabulary_piece *piece = &t->pieces[t->num_pieces];
            *piece = (sn_vocabulary_piece){0};
            status = read_piece(t, path, &f, piece, error);
            num_unknown += piece->kind == SN_PIECE_UNKNOWN;
            if (!status && piece->kind == SN_PIECE_BYTE && piece->length == 6 && hex(piece->text[3]) >= 0 && hex(piece->text[4]) >= 0)
                s->byte_id[hex(piece->text[3]) * 16 + hex(piece->text[4])] = t->num_pieces;
            t->num_pieces++;
        } else if (f.number == 2) {
            status = read_trainer(t, s, path, &f, error);
        } else if (f.number == 3) {
            status = read_normalizer(s, path, &f, error);
        }
    }
    if (status) return status;
    if (t->num_pieces == 0 || num_unknown != 1)
        return sn_fail(error, SN_ERROR_INPUT, "%s: found %d pieces and %d unknown ones, expected a vocabulary with one", path, t->num_pieces, num_unknown);
    int32_t *special[] = {&t->info.bos, &t->info.eos, &t->info.unk, &t->info.pad};
    for (int i = 0; i < 4; i++)
        if (*special[i] < 0 || *special[i] >= t->num_pieces) *special[i] = -1;
    if (t->info.unk < 0) return sn_fail(error, SN_ERROR_INPUT, "%s: unk_id lies outside the vocabulary", path);
    for (int b = 0; b < 256 && s->byte_fallback; b++)
        if (s->byte_id[b] < 0) return sn_fail(error, SN_ERROR_INPUT, "%s: byte fallback without the piece <0x%02X>", path, (unsigned)b);
    return SN_OK;
}
