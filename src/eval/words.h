/* Texts as lists of words, for the metrics. */
#ifndef SN_EVAL_WORDS_H
#define SN_EVAL_WORDS_H

#include "base/memory.h"

/* Words are pieces of a text that stays where it is. */
typedef struct sn_word {
    const char *text;
    size_t length;
} sn_word;

typedef struct sn_words {
    sn_word *word;
    size_t count, capacity;
} sn_words;

/* At runs of white space, as Python's split() does; false without memory. The old list is replaced. */
bool sn_words_split(sn_words *words, const char *text);
/* At every single blank, as split(" ") does: blanks beside each other make empty words, an empty text is one. */
bool sn_words_split_blanks(sn_words *words, const char *text);
void sn_words_free(sn_words *words);

bool sn_word_is(sn_word word, const char *text);

/* In small letters; NULL without memory. Freed by sn_free. */
char *sn_text_lower(const char *text);

/* Porter's stem (Porter 1980) with nltk's extensions, which its default mode has; the word is in small letters and
 * `stem` has room for its length + 2. */
void sn_porter_stem(const char *word, char *stem);

/* A value to two decimals, as round(value, 2) gives it. */
double sn_round2(double value);

#endif
