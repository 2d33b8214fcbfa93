/* The SentencePiece model file: a protobuf message, read by hand since three of its messages matter. */
#include "text/sentencepiece.h"

#include <string.h>

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

static sn_status read_piece(sn_tokenizer *t, const char *path, const field *message, sn_error *error) {
    sn_vocabulary_piece piece = {0};
    const unsigned char *at = message->bytes, *end = at + message->length;
    field f;
    static const sn_piece_kind kinds[] = {0, SN_PIECE_NORMAL, SN_PIECE_UNKNOWN, SN_PIECE_CONTROL, SN_PIECE_USER, SN_PIECE_UNUSED, SN_PIECE_BYTE};
    while (at < end) {
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %d: broken", path, t->num_pieces);
        if (f.number == 1 && f.wire == 2) piece.text = (const char *)f.bytes, piece.length = f.length;
        if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            float score;
            memcpy(&score, &bits, 4);
            piece.score = score;
        }
        if (f.number == 3 && f.wire == 0) {
            if (f.value < 1 || f.value > 6) return sn_fail(error, SN_ERROR_INPUT, "%s: piece %d: unknown type", path, t->num_pieces);
            piece.kind = kinds[f.value];
        }
    }
    return sn_vocabulary_add(t, path, t->num_pieces, piece, error);
}

static sn_status read_trainer(sn_tokenizer *t, sn_sentencepiece *s, const char *path, const field *message, sn_error *error) {
    const unsigned char *at = message->bytes, *end = at + message->length;
    field f;
    uint64_t type = 1, suffix = 0;
    while (at < end) {
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: trainer_spec is broken", path);
        if (f.wire == 2 && f.number == 44) s->unk_surface = sn_arena_format(t->arena, "%.*s", (int)(f.length < 64 ? f.length : 64), (const char *)f.bytes);
        if (f.wire != 0) continue;
        if (f.number == 3) type = f.value;
        if (f.number == 24) suffix = f.value;
        if (f.number == 35) s->byte_fallback = f.value;
        if (f.number == 40) t->info.unk = (int32_t)f.value;
        if (f.number == 41) t->info.bos = (int32_t)f.value;
        if (f.number == 42) t->info.eos = (int32_t)f.value;
        if (f.number == 43) t->info.pad = (int32_t)f.value;
    }
    if (!s->unk_surface) return sn_fail_memory(error);
    if (type != 1 && type != 2) return sn_fail(error, SN_ERROR_SUPPORT, "%s: found model type %llu, expected unigram (1) or BPE (2)", path, (unsigned long long)type);
    if (suffix) return sn_fail(error, SN_ERROR_SUPPORT, "%s: treat_whitespace_as_suffix is not supported", path);
    s->is_unigram = type == 1;
    return SN_OK;
}

static sn_status read_normalizer(sn_sentencepiece *s, const char *path, const field *message, sn_error *error) {
    const unsigned char *at = message->bytes, *end = at + message->length;
    field f;
    while (at < end) {
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: normalizer_spec is broken", path);
        if (f.wire == 2 && f.number == 2 && f.length) {
            sn_charsmap_close(s->map);
            sn_status status = sn_charsmap_open(path, f.bytes, f.length, &s->map, error);
            if (status) return status;
        }
        if (f.wire == 0 && f.number == 3) s->dummy_prefix = f.value;
        if (f.wire == 0 && f.number == 4) s->remove_extra = f.value;
        if (f.wire == 0 && f.number == 5) s->escape = f.value;
    }
    return SN_OK;
}

sn_status sn_sentencepiece_read(sn_tokenizer *t, const char *path, const unsigned char *bytes, size_t size, sn_error *error) {
    sn_sentencepiece *s;
    sn_status status = sn_sentencepiece_new(t, &s, error);
    const unsigned char *at = bytes, *end = bytes + size;
    t->file_pieces = (int64_t)size;
    while (at < end && !status) {
        field f;
        if (!next_field(&at, end, &f)) return sn_fail(error, SN_ERROR_INPUT, "%s: broken at byte %zu: not a SentencePiece model", path, (size_t)(at - bytes));
        if (f.wire != 2) continue;
        if (f.number == 1) status = read_piece(t, path, &f, error);
        if (f.number == 2) status = read_trainer(t, s, path, &f, error);
        if (f.number == 3) status = read_normalizer(s, path, &f, error);
    }
    return status ? status : sn_sentencepiece_ready(s, path, error);
}
