/* The unigram model: of all ways to cut a text into pieces the one with the best sum of scores. */
#ifndef SN_TEXT_UNIGRAM_H
#define SN_TEXT_UNIGRAM_H

#include "text/engine.h"

typedef struct sn_unigram {
    const sn_tokenizer *tokenizer;
    sn_trie *trie;      /* pieces that may be found */
    double max_score, unk_score;
    bool single;        /* sums are rounded to float32, as SentencePiece has them */
    bool scored_users;  /* user-defined pieces score by their length (SentencePiece) */
} sn_unigram;

/* A part of the text: id -1 is one character that no piece covers. */
typedef struct sn_unigram_part {
    size_t begin, length;
    int32_t id;
} sn_unigram_part;

typedef struct sn_unigram_parts {
    sn_unigram_part *data;
    size_t count, capacity;
} sn_unigram_parts;

/* Viterbi's path over byte positions, from left to right; false without memory. Freed by sn_free(parts->data). */
bool sn_unigram_cut(const sn_unigram *u, const char *text, size_t length, sn_unigram_parts *parts);

#endif
