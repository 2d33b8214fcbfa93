/* The engine of Hugging Face's tokenizer.json: normalise, split into words, one model per word, decode.
 * The older files (vocab.json and merges.txt, vocab.txt, …) are such chains with known links. */
#ifndef SN_TEXT_CHAIN_H
#define SN_TEXT_CHAIN_H

#include "base/json.h"
#include "text/charsmap.h"
#include "text/engine.h"
#include "text/pattern.h"
#include "text/unicode.h"

/* ---- normalisers: text to text ---- */

typedef struct sn_normalizer {
    void (*apply)(const struct sn_normalizer *n, const char *text, size_t length, sn_buf *out); /* failure: out->failed */
    int unless; /* flags of encode that leave this step out */
    sn_pattern *pattern;
    sn_charsmap *map;
    const char *content;
    size_t content_length;
    sn_normal_form form;
    bool left, right;                                  /* Strip */
    bool clean, chinese, strip_accents, lowercase;     /* BertNormalizer */
} sn_normalizer;

/* ---- splitters: pieces to pieces ---- */

typedef struct sn_pieces {
    sn_buf text;  /* all pieces, one after another */
    size_t *ends; /* of each piece, in text */
    size_t count, capacity;
    bool first; /* piece 0 stands at the beginning of the whole text */
} sn_pieces;

typedef enum sn_split_behavior { SN_SPLIT_REMOVED, SN_SPLIT_ISOLATED, SN_SPLIT_PREVIOUS, SN_SPLIT_NEXT, SN_SPLIT_CONTIGUOUS } sn_split_behavior;
typedef enum sn_prepend { SN_PREPEND_ALWAYS, SN_PREPEND_FIRST, SN_PREPEND_NEVER } sn_prepend;

typedef struct sn_splitter {
    /* Appends the pieces of one piece; failure: out->text.failed. */
    void (*apply)(const struct sn_splitter *s, const char *text, size_t length, bool first, sn_pieces *out);
    sn_pattern *pattern;
    bool (*member)(uint32_t point); /* splits at characters of a class, in place of a pattern */
    bool whole_runs;                /* a run of members is one match */
    sn_split_behavior behavior;
    bool invert, prefix_space, split;
    sn_prepend prepend;
    const char *content; /* Metaspace */
    size_t content_length;
} sn_splitter;

/* ---- models: one word to ids ---- */

typedef struct sn_word_model {
    const char *title;
    bool (*encode)(const void *model, const char *word, size_t length, int flags, sn_ids *out); /* false without memory */
    void (*close)(void *model);
} sn_word_model;

/* ---- decoders: pieces to text ---- */

typedef enum sn_decoder_kind {
    SN_DECODER_BYTE_LEVEL, SN_DECODER_METASPACE, SN_DECODER_WORDPIECE, SN_DECODER_REPLACE, SN_DECODER_BYTE_FALLBACK, SN_DECODER_FUSE,
    SN_DECODER_STRIP, SN_DECODER_SUFFIX, SN_DECODER_SPACED
} sn_decoder_kind;

typedef struct sn_decoder {
    sn_decoder_kind kind;
    bool fused; /* a step before has joined the pieces: this one sees a stream */
    bool keep_first, cleanup;
    sn_pattern *pattern;
    const char *find, *content;
    size_t find_length, content_length, start, stop;
} sn_decoder;

typedef struct sn_chain {
    sn_tokenizer *tokenizer;
    sn_normalizer *normalizers;
    size_t num_normalizers, normalizer_capacity;
    sn_splitter *splitters;
    size_t num_splitters, splitter_capacity;
    sn_decoder *decoders;
    size_t num_decoders, decoder_capacity;
    const sn_word_model *model_class;
    void *model;
    sn_trie *normalized; /* normalised contents of the tokens that are matched in normalised text */
} sn_chain;

/* Makes the (empty) chain the engine of a tokenizer. */
sn_status sn_chain_new(sn_tokenizer *t, sn_chain **out, sn_error *error);
/* When all is added: the added tokens' normalised forms. */
sn_status sn_chain_ready(sn_chain *c, sn_error *error);

/* Links from the objects of tokenizer.json; NULL adds nothing. */
sn_status sn_normalizers_read(sn_chain *c, const char *path, const json_t *object, sn_error *error);
sn_status sn_splitters_read(sn_chain *c, const char *path, const json_t *object, sn_error *error);
sn_status sn_decoders_read(sn_chain *c, const char *path, const json_t *object, sn_error *error);

/* One stretch through all normalisers; *out is replaced. */
void sn_normalizers_run(const sn_chain *c, const char *text, size_t length, int flags, sn_buf *out);
/* One stretch through all splitters; *out is replaced. */
void sn_splitters_run(const sn_chain *c, const char *text, size_t length, bool first, sn_pieces *out);
void sn_pieces_free(sn_pieces *p);
void sn_decoders_push(const sn_chain *c, sn_detokenizer *d, const char *piece, size_t length);
void sn_decoders_finish(const sn_chain *c, sn_detokenizer *d);

void sn_normalizer_free(sn_normalizer *n);
void sn_splitter_free(sn_splitter *s);
void sn_decoder_free(sn_decoder *d);

/* The models; all take their vocabulary from the tokenizer. */
typedef struct sn_bpe_options {
    const char *unk_token, *prefix, *suffix; /* NULL or "" = none */
    bool fuse_unk, byte_fallback, ignore_merges;
} sn_bpe_options;
sn_status sn_bpe_new(sn_chain *c, const char *where, const sn_bpe_options *options, sn_error *error);
/* The next merge in order of rank. */
sn_status sn_bpe_merge(sn_chain *c, const char *where, const char *left, size_t left_length, const char *right, size_t right_length, sn_error *error);
/* A word that is one piece as it stands, special where special tokens are on. */
sn_status sn_bpe_whole_word(sn_chain *c, const char *word, int32_t id, sn_error *error);

sn_status sn_wordpiece_new(sn_chain *c, const char *where, const char *unk_token, const char *prefix, int64_t most_characters, sn_error *error);
sn_status sn_wordlevel_new(sn_chain *c, const char *where, const char *unk_token, sn_error *error);
sn_status sn_unigram_new(sn_chain *c, const char *where, int64_t unk_id, bool byte_fallback, sn_error *error);

/* Byte-level alphabets: every byte as a printable character. */
uint32_t sn_byte_to_point(unsigned char byte);
int sn_point_to_byte(uint32_t point); /* -1: no such character */

#endif
