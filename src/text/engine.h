/* What an engine of the tokenizer gives; private to text/. */
#ifndef SN_TEXT_ENGINE_H
#define SN_TEXT_ENGINE_H

#include "base/map.h"
#include "text/tokenizer.h"

typedef enum sn_piece_kind { SN_PIECE_NORMAL, SN_PIECE_UNKNOWN, SN_PIECE_CONTROL, SN_PIECE_BYTE, SN_PIECE_UNUSED, SN_PIECE_USER } sn_piece_kind;

typedef struct sn_engine_class {
    /* Ids of one stretch without special tokens. first: it stands at the very beginning of the text. */
    sn_status (*encode)(const void *engine, const char *text, size_t length, bool first, sn_ids *out, sn_error *error);
    /* Bytes that an id decodes to, appended. *begun says whether the text has begun (a leading blank then
     * counts); the engine sets it. */
    void (*decode)(const void *engine, int32_t id, bool *begun, sn_buf *out);
    void (*close)(void *engine);
} sn_engine_class;

typedef struct sn_vocabulary_piece {
    const char *text;
    size_t length;
    sn_piece_kind kind;
    float score;
} sn_vocabulary_piece;

/* A special or added token: cut out of the text before the engine sees it. */
typedef struct sn_added_token {
    const char *content;
    size_t length;
    int32_t id;
    bool special, lstrip, rstrip, single_word, normalized;
} sn_added_token;

struct sn_tokenizer {
    sn_arena *arena;
    sn_tokenizer_info info;
    const sn_engine_class *class;
    void *engine;
    sn_vocabulary_piece *pieces; /* the engine's vocabulary */
    int32_t num_pieces;
    sn_map *index; /* content → id, of pieces and added tokens */
    sn_added_token *added;
    size_t num_added, added_capacity;
};

/* Fills a tokenizer from the bytes of a tokenizer.model. */
sn_status sn_sentencepiece_read(sn_tokenizer *t, const char *path, const unsigned char *bytes, size_t size, sn_error *error);

#endif
