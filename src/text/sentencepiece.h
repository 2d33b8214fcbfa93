/* The SentencePiece engine: what its file says, and the pieces it needs besides the tokenizer's vocabulary. */
#ifndef SN_TEXT_SENTENCEPIECE_H
#define SN_TEXT_SENTENCEPIECE_H

#include "text/charsmap.h"
#include "text/engine.h"
#include "text/unigram.h"

typedef struct sn_sentencepiece {
    const sn_tokenizer *tokenizer;
    bool is_unigram; /* otherwise BPE by score */
    bool dummy_prefix, remove_extra, escape, byte_fallback;
    bool word_starts; /* BPE: no piece holds a U+2581 behind another character, so nothing is merged across the beginning of a word */
    int32_t byte_id[256];
    const char *unk_surface;
    sn_charsmap *map; /* NULL: identity */
    sn_trie *users;   /* user-defined pieces, taken out of the text as they stand; NULL = none */
    sn_unigram unigram;
} sn_sentencepiece;

/* Makes a SentencePiece engine with the format's defaults the engine of a tokenizer. */
sn_status sn_sentencepiece_new(sn_tokenizer *t, sn_sentencepiece **out, sn_error *error);
/* When all pieces are there: checks the special ids, finds bytes and user-defined pieces, builds what encoding needs. */
sn_status sn_sentencepiece_ready(sn_sentencepiece *s, const char *path, sn_error *error);

#endif
