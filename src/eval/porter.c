/* Porter's stemmer: suffixes are replaced in steps, each rule under a condition on what is left of the word.
 *
 * C is a run of consonants, V of vowels: every word is [C](VC)^m[V], and m is its measure. The extensions (irregular
 * words, "ies" and "ied" of short words, y after a consonant, -fulli and -logi) are those of nltk, whose stems METEOR's
 * published Python form uses. */
#include "eval/words.h"

#include <string.h>

static const struct {
    const char *word, *stem;
} irregular[] = {{"sky", "sky"}, {"skies", "sky"}, {"dying", "die"}, {"lying", "lie"}, {"tying", "tie"}, {"news", "news"}, {"innings", "inning"}, {"inning", "inning"},
                 {"outings", "outing"}, {"outing", "outing"}, {"cannings", "canning"}, {"canning", "canning"}, {"howe", "howe"}, {"proceed", "proceed"}, {"exceed", "exceed"},
                 {"succeed", "succeed"}};

static bool is_consonant(const char *word, size_t at) {
    if (strchr("aeiou", word[at])) return false;
    return word[at] != 'y' || at == 0 || !is_consonant(word, at - 1);
}

static int measure(const char *word, size_t length) {
    int m = 0;
    for (size_t i = 1; i < length; i++) m += is_consonant(word, i) && !is_consonant(word, i - 1);
    return m;
}

static bool has_vowel(const char *word, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!is_consonant(word, i)) return true;
    return false;
}

static bool ends_double(const char *word, size_t n) { return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1); }

/* consonant, vowel, consonant that is not w, x, y; of two letters: vowel, consonant */
static bool ends_cvc(const char *word, size_t n) {
    if (n == 2) return !is_consonant(word, 0) && is_consonant(word, 1);
    return n >= 3 && is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) && !strchr("wxy", word[n - 1]);
}

static bool ends_with(const char *word, const char *suffix) {
    size_t n = strlen(word), s = strlen(suffix);
    return n >= s && strcmp(word + n - s, suffix) == 0;
}

/* ---- rules: the first whose suffix fits decides, whether its condition holds or not ---- */

typedef bool condition(const char *word, size_t stem);

static bool always(const char *word, size_t n) { return true; }
static bool positive(const char *word, size_t n) { return measure(word, n) > 0; }
static bool above_one(const char *word, size_t n) { return measure(word, n) > 1; }
static bool after_s_or_t(const char *word, size_t n) { return n > 0 && measure(word, n) > 1 && strchr("st", word[n - 1]); }
static bool short_end(const char *word, size_t n) { return measure(word, n) == 1 && ends_cvc(word, n); }
static bool after_consonant(const char *word, size_t n) { return n > 1 && is_consonant(word, n - 1); }
static bool positive_with_l(const char *word, size_t n) { return measure(word, n + 1) > 0; } /* of "logi": the l belongs to the stem */
static bool above_one_with_l(const char *word, size_t n) { return measure(word, n + 1) > 1; }

typedef struct rule {
    const char *suffix, *replacement;
    condition *holds;
} rule;

static bool apply(char *word, const rule *rules) {
    for (const rule *r = rules; r->suffix; r++) {
        if (!ends_with(word, r->suffix)) continue;
        size_t stem = strlen(word) - strlen(r->suffix);
        if (!r->holds(word, stem)) return false;
        strcpy(word + stem, r->replacement); /* never more than one letter longer than the suffix */
        return true;
    }
    return false;
}

static const rule plural[] = {{"sses", "ss", always}, {"ies", "i", always}, {"ss", "ss", always}, {"s", "", always}, {0}};
static const rule restore[] = {{"at", "ate", always}, {"bl", "ble", always}, {"iz", "ize", always}, {0}};
static const rule add_e[] = {{"", "e", short_end}, {0}};
static const rule final_y[] = {{"y", "i", after_consonant}, {0}};
static const rule step2[] = {
    {"ational", "ate", positive}, {"tional", "tion", positive}, {"enci", "ence", positive}, {"anci", "ance", positive}, {"izer", "ize", positive}, {"bli", "ble", positive}, {"alli", "al", positive},
    {"entli", "ent", positive}, {"eli", "e", positive}, {"ousli", "ous", positive}, {"ization", "ize", positive}, {"ation", "ate", positive}, {"ator", "ate", positive}, {"alism", "al", positive},
    {"iveness", "ive", positive}, {"fulness", "ful", positive}, {"ousness", "ous", positive}, {"aliti", "al", positive}, {"iviti", "ive", positive}, {"biliti", "ble", positive},
    {"fulli", "ful", positive}, {"logi", "log", positive_with_l}, {0}};
static const rule step3[] = {{"icate", "ic", positive}, {"ative", "", positive}, {"alize", "al", positive}, {"iciti", "ic", positive}, {"ical", "ic", positive}, {"ful", "", positive}, {"ness", "", positive}, {0}};
static const rule step4[] = {
    {"al", "", above_one}, {"ance", "", above_one}, {"ence", "", above_one}, {"er", "", above_one}, {"ic", "", above_one}, {"able", "", above_one}, {"ible", "", above_one}, {"ant", "", above_one},
    {"ement", "", above_one}, {"ment", "", above_one}, {"ent", "", above_one}, {"ion", "", after_s_or_t}, {"ou", "", above_one}, {"ism", "", above_one}, {"ate", "", above_one}, {"iti", "", above_one},
    {"ous", "", above_one}, {"ive", "", above_one}, {"ize", "", above_one}, {0}};
static const rule double_l[] = {{"ll", "l", above_one_with_l}, {0}};

static void step1a(char *word) {
    if (strlen(word) == 4 && ends_with(word, "ies")) word[3] = 0; /* dies: die */
    else apply(word, plural);
}

static void step1b(char *word) {
    size_t n = strlen(word), stem = n;
    if (ends_with(word, "ied")) {
        word[n - (n == 4 ? 1 : 2)] = 0; /* died: die; spied: spi */
        return;
    }
    if (ends_with(word, "eed")) {
        if (measure(word, n - 3) > 0) word[n - 1] = 0;
        return;
    }
    if (ends_with(word, "ed") && has_vowel(word, n - 2)) stem = n - 2;
    else if (ends_with(word, "ing") && has_vowel(word, n - 3)) stem = n - 3;
    if (stem == n) return;
    word[stem] = 0;
    if (apply(word, restore)) return;
    if (ends_double(word, stem)) {
        if (!strchr("lsz", word[stem - 1])) word[stem - 1] = 0;
    } else {
        apply(word, add_e);
    }
}

static void step5a(char *word) {
    size_t n = strlen(word);
    if (n == 0 || word[n - 1] != 'e') return;
    int m = measure(word, n - 1);
    if (m > 1 || (m == 1 && !ends_cvc(word, n - 1))) word[n - 1] = 0;
}

void sn_porter_stem(const char *word, char *stem) {
    strcpy(stem, word);
    for (size_t i = 0; i < sizeof irregular / sizeof *irregular; i++)
        if (strcmp(word, irregular[i].word) == 0) {
            strcpy(stem, irregular[i].stem);
            return;
        }
    if (strlen(word) <= 2) return;
    step1a(stem);
    step1b(stem);
    apply(stem, final_y);
    while (ends_with(stem, "alli") && measure(stem, strlen(stem) - 4) > 0) stem[strlen(stem) - 2] = 0; /* and what this uncovers */
    apply(stem, step2);
    apply(stem, step3);
    apply(stem, step4);
    step5a(stem);
    apply(stem, double_l);
}
