/* Tokenizers: text to ids and back, whatever the files they come from.
 *
 * A tokenizer is opened from a model's folder (or from one of its files) and never changes. Special tokens are
 * cut out of the text first, the stretches between them are encoded by the engine (SentencePiece, BPE, …). */
#ifndef SN_TEXT_TOKENIZER_H
#define SN_TEXT_TOKENIZER_H

#include "base/error.h"
#include "base/memory.h"

typedef struct sn_ids {
    int32_t *data;
    size_t count, capacity;
} sn_ids;
bool sn_ids_add(sn_ids *ids, int32_t id);
void sn_ids_free(sn_ids *ids);

typedef struct sn_tokenizer sn_tokenizer;

/* What the files say that is not in the vocabulary. Special ids are -1 where there is none. */
typedef struct sn_tokenizer_info {
    const char *engine; /* "SentencePiece BPE", "BPE", "WordPiece", … */
    int32_t vocab_size; /* ids from 0; added tokens included */
    int32_t bos, eos, unk, pad;
    bool add_bos, add_eos;
    bool legacy; /* SentencePiece in Hugging Face's slow classes: every stretch gets the blank in front */
    int64_t max_length; /* model_max_length; 0 = not given */
} sn_tokenizer_info;

/* path: a folder, or one file (tokenizer.json, tokenizer.model, vocab.json, vocab.txt, bpe_simple_vocab….txt.gz). prefer_sentencepiece: take tokenizer.model where a tokenizer.json lies beside it. */
sn_status sn_tokenizer_open(const char *path, bool prefer_sentencepiece, sn_tokenizer **out, sn_error *error);
void sn_tokenizer_close(sn_tokenizer *tokenizer);
const sn_tokenizer_info *sn_tokenizer_about(const sn_tokenizer *tokenizer);

enum {
    SN_ENCODE_SPECIAL_ENDS = 1, /* bos / eos, or the frame, that the tokenizer's files ask for */
    SN_ENCODE_NO_SPECIAL = 2,   /* special tokens in the text are plain text */
    SN_ENCODE_STRIP_ADDED = 4,  /* added tokens swallow the blanks beside them (slow classes before 2023's end) */
    SN_ENCODE_OUTER_SPECIAL = 8, /* (set by encode itself: special tokens were cut out of the raw text) */
    SN_ENCODE_NO_MENDING = 16,  /* OpenAI's CLIP without ftfy: quotes, ligatures and widths as they stand */
    SN_ENCODE_CONTINUES = 32    /* the text goes on behind a picture: SentencePiece puts no blank in front */
};

/* Adds a token behind all others, as systems do with their own words; it swallows the blanks beside it, as transformers'
 * slow classes had it in 2022. One that is there already keeps its id. Before anybody else uses the tokenizer. */
sn_status sn_tokenizer_add(sn_tokenizer *tokenizer, const char *content, bool special, int32_t *id, sn_error *error);

/* Adds the ids of the text, which is valid UTF-8. literal (may be NULL) has one byte per byte of text; where it
 * is not 0, special tokens are not recognised: the words of a user. */
sn_status sn_tokenizer_encode(const sn_tokenizer *tokenizer, const char *text, size_t length, const unsigned char *literal, int flags,
                              sn_ids *out, sn_error *error);

/* Two texts in the frame for pairs, which the files must have: ids, and segments (0, 1) of the same count. */
sn_status sn_tokenizer_encode_pair(const sn_tokenizer *tokenizer, const char *a, size_t a_length, const char *b, size_t b_length, sn_ids *ids,
                                   sn_ids *types, sn_error *error);

/* A text in a window of fixed size, as CLIP's towers take it: bos, ids, eos, then `pad`; what is longer is cut, with eos
 * last. Adds exactly `window` ids. */
sn_status sn_tokenizer_encode_window(const sn_tokenizer *tokenizer, const char *text, size_t length, size_t window, int32_t pad, int flags, sn_ids *out,
                                     sn_error *error);

/* Id of a token by its exact content (special or of the vocabulary), or -1; content of an id, or NULL. */
int32_t sn_tokenizer_find(const sn_tokenizer *tokenizer, const char *content);
const char *sn_tokenizer_piece(const sn_tokenizer *tokenizer, int32_t id, size_t *length);
bool sn_tokenizer_is_special(const sn_tokenizer *tokenizer, int32_t id);

/* Streaming decoder: each push gives the text that is certain, in whole characters; the pieces joined are the
 * decoding of all ids. Special tokens give nothing when skip_special. */
enum { SN_DECODER_STEPS = 8 };
typedef struct sn_detokenizer {
    const sn_tokenizer *tokenizer;
    bool skip_special, begun;
    bool bare; /* added tokens count for nothing, as where SentencePiece alone decodes; set after begin */
    bool cut;  /* the bytes in pending cannot be continued any more */
    sn_buf pending; /* bytes of a character that is not complete */
    struct {
        size_t count;
        sn_buf held;
    } steps[SN_DECODER_STEPS]; /* where each step of a tokenizer.json's decoder stands */
} sn_detokenizer;

void sn_detokenizer_begin(sn_detokenizer *d, const sn_tokenizer *tokenizer, bool skip_special);
/* Ids beyond the vocabulary give nothing (padding rows of the table can be chosen). */
void sn_detokenizer_push(sn_detokenizer *d, int32_t id, sn_buf *out);
void sn_detokenizer_end(sn_detokenizer *d, sn_buf *out);

/* The whole text of some ids. */
void sn_tokenizer_decode(const sn_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special, sn_buf *out);

#endif
