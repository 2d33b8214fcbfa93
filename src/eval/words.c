/* Splitting, small letters, rounding. */
#include "eval/words.h"

#include "base/utf8.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* White space of ASCII in Python's sense. */
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }

static bool add(sn_words *words, const char *text, size_t length) {
    if (!sn_grow((void **)&words->word, &words->capacity, words->count + 1, sizeof *words->word)) return false;
    words->word[words->count++] = (sn_word){text, length};
    return true;
}

bool sn_words_split(sn_words *words, const char *text) {
    words->count = 0;
    for (;;) {
        while (is_space(*text)) text++;
        size_t length = 0;
        while (text[length] && !is_space(text[length])) length++;
        if (!length) return true;
        if (!add(words, text, length)) return false;
        text += length;
    }
}

bool sn_words_split_blanks(sn_words *words, const char *text) {
    words->count = 0;
    for (;;) {
        size_t length = strcspn(text, " ");
        if (!add(words, text, length)) return false;
        if (!text[length]) return true;
        text += length + 1;
    }
}

void sn_words_free(sn_words *words) {
    sn_free(words->word);
    *words = (sn_words){0};
}

bool sn_word_is(sn_word word, const char *text) { return strlen(text) == word.length && memcmp(word.text, text, word.length) == 0; }

char *sn_text_lower(const char *text) {
    sn_buf out = {0};
    size_t left = strlen(text);
    while (left) {
        uint32_t point, lower[2];
        int length = sn_utf8_decode(text, left, &point), count = length ? sn_lower(point, lower) : 0;
        char bytes[4];
        for (int i = 0; i < count; i++) sn_buf_add(&out, bytes, (size_t)sn_utf8_encode(lower[i], bytes));
        if (!length) sn_buf_add(&out, text, (size_t)(length = 1));
        text += length, left -= (size_t)length;
    }
    char *copy = out.failed ? NULL : sn_strdup(out.data ? out.data : "");
    sn_buf_free(&out);
    return copy;
}

double sn_round2(double value) {
    char text[400];
    snprintf(text, sizeof text, "%.2f", value);
    return strtod(text, NULL);
}
