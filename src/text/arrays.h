/* A tokenizer from arrays: what a file that is no tokenizer's own (GGUF) says about its vocabulary. */
#ifndef SN_TEXT_ARRAYS_H
#define SN_TEXT_ARRAYS_H

#include "text/tokenizer.h"

typedef struct sn_text_span {
    const char *text; /* not terminated */
    size_t length;
} sn_text_span;

typedef struct sn_vocabulary_arrays {
    const char *model; /* "llama" (SentencePiece BPE), "t5" (unigram), "gpt2" (byte-level BPE), "bert" (WordPiece) */
    const char *pre;   /* how byte-level BPE splits into words; NULL = as GPT-2 */
    const sn_text_span *pieces;
    const float *scores;  /* [count] or NULL */
    const int32_t *types; /* [count] as SentencePiece numbers them, or NULL */
    size_t count;
    const sn_text_span *merges; /* "a b" */
    size_t num_merges;
    const unsigned char *charsmap;
    size_t charsmap_size;
    int64_t bos, eos, unk, pad;                            /* -1 = not given */
    int add_bos, add_eos, add_space_prefix, remove_extra; /* -1 = not given */
} sn_vocabulary_arrays;

/* The arrays may go afterwards. `where` names the source in errors. */
sn_status sn_tokenizer_open_arrays(const char *where, const sn_vocabulary_arrays *vocabulary, sn_tokenizer **out, sn_error *error);

/* The other way round, for SentencePiece BPE ("llama"): arrays of the arena over the tokenizer's own texts. False for other
 * engines, or without memory. */
bool sn_tokenizer_arrays(const sn_tokenizer *tokenizer, sn_arena *arena, sn_vocabulary_arrays *out);

#endif
