/* Pieces and added tokens of a tokenizer, from whatever file. */
#include "base/utf8.h"
#include "text/engine.h"

#include <stdio.h>
#include <string.h>

/* Ids that no published vocabulary leaves out in one place; more is a broken file. */
enum { MOST_PIECES = 1 << 22, MOST_MISSING = 1 << 16 };
/* Published pieces have up to a few hundred bytes. Looking for pieces costs their length at every place of a text. */
enum { MOST_BYTES = 4096 };

sn_status sn_vocabulary_add(sn_tokenizer *t, const char *where, int64_t id, sn_vocabulary_piece piece, sn_error *error) {
    if (id < 0 || id >= MOST_PIECES || id >= t->file_pieces + MOST_MISSING)
        return sn_fail(error, SN_ERROR_INPUT, "%s: piece %.*s: found id %lld in a vocabulary of %lld pieces", where, (int)(piece.length < 80 ? piece.length : 80), piece.text, (long long)id,
                       (long long)t->file_pieces);
    if (!piece.length || !sn_utf8_valid(piece.text, piece.length, NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %lld: empty or not UTF-8", where, (long long)id);
    if (piece.length > MOST_BYTES) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %lld has %zu bytes, more than %d", where, (long long)id, piece.length, MOST_BYTES);
    if (!sn_grow((void **)&t->pieces, &t->piece_capacity, (size_t)id + 1, sizeof *t->pieces)) return sn_fail_memory(error);
    for (; t->num_pieces <= id; t->num_pieces++) t->pieces[t->num_pieces] = (sn_vocabulary_piece){.kind = SN_PIECE_UNUSED};
    char *copy = sn_arena_alloc(t->arena, piece.length + 1, 1);
    if (!copy) return sn_fail_memory(error);
    memcpy(copy, piece.text, piece.length);
    piece.text = copy;
    if (t->pieces[id].text) return sn_fail(error, SN_ERROR_INPUT, "%s: pieces %s and %s have the same id %lld", where, t->pieces[id].text, copy, (long long)id);
    if (sn_map_get(t->index, copy, piece.length, NULL)) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %s is there twice", where, copy);
    if (!sn_map_set(t->index, copy, piece.length, id)) return sn_fail_memory(error);
    t->pieces[id] = piece;
    return SN_OK;
}

int32_t sn_vocabulary_find(const sn_tokenizer *t, const char *text, size_t length) {
    int64_t id;
    return sn_map_get(t->index, text, length, &id) && id < t->num_pieces && t->pieces[id].text ? (int32_t)id : -1;
}

bool sn_vocabulary_bytes(const sn_tokenizer *t, int32_t byte_id[256]) {
    bool all = true;
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        byte_id[b] = sn_vocabulary_find(t, name, 6);
        all &= byte_id[b] >= 0;
    }
    return all;
}

const sn_added_token *sn_added_of(const sn_tokenizer *t, int32_t id) {
    int64_t place;
    return sn_map_get(t->added_index, (const char *)&id, sizeof id, &place) ? &t->added[place] : NULL;
}

sn_status sn_added_add(sn_tokenizer *t, const char *where, sn_added_token token, sn_error *error) {
    int64_t known, id = token.id, place;
    if (token.length == 0) return SN_OK;
    if (token.length > MOST_BYTES) return sn_fail(error, SN_ERROR_INPUT, "%s: token %.40s… has %zu bytes, more than %d", where, token.content, token.length, MOST_BYTES);
    if (id < 0 || id > t->info.vocab_size + (int64_t)t->num_added + MOST_MISSING)
        return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has the impossible id %lld", where, token.content, (long long)id);
    if (sn_map_get(t->index, token.content, token.length, &known) && known != id)
        return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has id %lld, but the vocabulary says %lld", where, token.content, (long long)id, (long long)known);
    size_t piece_length;
    const char *piece = sn_tokenizer_piece(t, token.id, &piece_length);
    if (piece && (piece_length != token.length || memcmp(piece, token.content, token.length) != 0))
        return sn_fail(error, SN_ERROR_INPUT, "%s: token %s has id %lld, which is %s already", where, token.content, (long long)id, piece);
    if (sn_map_get(t->added_index, (const char *)&token.id, sizeof token.id, &place)) {
        t->added[place].special |= token.special;
        return SN_OK;
    }
    char *copy = sn_arena_alloc(t->arena, token.length + 1, 1);
    if (!copy || !sn_grow((void **)&t->added, &t->added_capacity, t->num_added + 1, sizeof *t->added)) return sn_fail_memory(error);
    memcpy(copy, token.content, token.length);
    token.content = copy;
    if (!sn_map_set(t->index, copy, token.length, id) || !sn_map_set(t->added_index, (const char *)&token.id, sizeof token.id, (int64_t)t->num_added) ||
        (!token.inert && !sn_trie_add(t->added_trie, copy, token.length, (int32_t)t->num_added)))
        return sn_fail_memory(error);
    t->added[t->num_added++] = token;
    if (id >= t->info.vocab_size) t->info.vocab_size = (int32_t)id + 1;
    return SN_OK;
}
