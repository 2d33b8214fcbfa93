/* What an engine of the tokenizer gives; private to text/. */
#ifndef SN_TEXT_ENGINE_H
#define SN_TEXT_ENGINE_H

#include "base/map.h"
#include "text/tokenizer.h"
#include "text/trie.h"

typedef enum sn_piece_kind { SN_PIECE_NORMAL, SN_PIECE_UNKNOWN, SN_PIECE_CONTROL, SN_PIECE_BYTE, SN_PIECE_UNUSED, SN_PIECE_USER } sn_piece_kind;

typedef struct sn_vocabulary_piece {
    const char *text; /* NULL where a vocabulary has no piece of this id */
    size_t length;
    sn_piece_kind kind;
    double score;
} sn_vocabulary_piece;

/* A special or added token: cut out of the text before the engine sees it. */
typedef struct sn_added_token {
    const char *content;
    size_t length;
    int32_t id;
    bool special, lstrip, rstrip, single_word;
    bool normalized; /* matched in the normalised text, where the engine normalises before it splits */
    bool inert;      /* found by the engine's model, never cut out of a text */
    bool builtin;    /* bos, eos, unk of the vocabulary itself: never stripped around */
} sn_added_token;

typedef struct sn_engine_class {
    /* Ids of one stretch without added tokens. first: it stands at the very beginning of the text. */
    sn_status (*encode)(const void *engine, const char *text, size_t length, bool first, int flags, sn_ids *out, sn_error *error);
    /* Appends to d->pending what an id decodes to; added: its added token, or NULL. */
    void (*decode)(const void *engine, int32_t id, const sn_added_token *added, sn_detokenizer *d);
    /* Appends what a step has held back until the end; may be NULL. */
    void (*finish)(const void *engine, sn_detokenizer *d);
    /* When tokens were added after reading; may be NULL. */
    sn_status (*refresh)(void *engine, sn_error *error);
    void (*close)(void *engine);
    bool raw_matching;   /* added tokens are always matched in the raw text, whatever `normalized` says */
    bool whole_subparts; /* one U+FFFD for a cut sequence, not one for each of its bytes */
} sn_engine_class;

/* One place of the frame around a text, or around two. */
enum { SN_TEMPLATE_A = -1, SN_TEMPLATE_B = -2 };
typedef struct sn_template_item {
    int32_t id; /* of a token, or SN_TEMPLATE_A, SN_TEMPLATE_B */
    int32_t type;
} sn_template_item;

typedef struct sn_template {
    sn_template_item *items;
    size_t count, capacity;
} sn_template;

struct sn_tokenizer {
    sn_arena *arena;
    sn_tokenizer_info info;
    const sn_engine_class *class;
    void *engine;
    sn_vocabulary_piece *pieces; /* the engine's vocabulary */
    int32_t num_pieces;
    size_t piece_capacity;
    int64_t file_pieces; /* how many pieces the file lists: ids may not lie far beyond */
    sn_map *index; /* content → id, of pieces and added tokens */
    sn_added_token *added;
    size_t num_added, added_capacity;
    sn_map *added_index; /* id (4 bytes) → place in added */
    sn_trie *added_trie; /* content → place in added */
    sn_template single, pair; /* empty: bos and eos as info says */
};

/* An empty tokenizer, to be filled. */
sn_status sn_tokenizer_new(sn_tokenizer **out, sn_error *error);

/* ---- vocabulary (vocabulary.c) ---- */

/* Puts a piece at an id; refused when the id is taken, the content known, empty or no UTF-8. The text is copied. */
sn_status sn_vocabulary_add(sn_tokenizer *t, const char *where, int64_t id, sn_vocabulary_piece piece, sn_error *error);
/* Id of a piece of the engine's vocabulary (added tokens do not count), or -1. */
int32_t sn_vocabulary_find(const sn_tokenizer *t, const char *text, size_t length);
/* Ids of the pieces <0x00> … <0xFF>, -1 where there is none; whether all are there. */
bool sn_vocabulary_bytes(const sn_tokenizer *t, int32_t byte_id[256]);

/* Adds an added token; an id or content that contradicts the vocabulary is refused. Known tokens stay as they are,
 * special if either says so. */
sn_status sn_added_add(sn_tokenizer *t, const char *where, sn_added_token token, sn_error *error);
const sn_added_token *sn_added_of(const sn_tokenizer *t, int32_t id);

/* ---- matching of added tokens (added.c) ---- */

/* From which place on, and which tokens: those that `wanted` accepts (NULL = all). */
typedef struct sn_added_search {
    const sn_tokenizer *tokenizer;
    const sn_trie *trie; /* values are places in tokenizer->added */
    const char *text;
    size_t length;
    bool (*wanted)(const struct sn_added_search *s, const sn_added_token *token, size_t begin, size_t end);
    const void *context;
    int flags;
    size_t at, done; /* next place to look at; end of the previous match */
} sn_added_search;

/* The next token, leftmost and then longest: [*begin, *end) is what it takes of the text, with the blanks that its
 * flags swallow. NULL when there is none. */
const sn_added_token *sn_added_next(sn_added_search *s, size_t *begin, size_t *end);

/* ---- what opens a tokenizer ---- */

/* From the bytes of a tokenizer.model. */
sn_status sn_sentencepiece_read(sn_tokenizer *t, const char *path, const unsigned char *bytes, size_t size, sn_error *error);
/* From a tokenizer.json. */
sn_status sn_huggingface_read(sn_tokenizer *t, const char *path, sn_error *error);

#endif
