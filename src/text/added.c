/* Added tokens in a text: leftmost, then longest; what their flags ask for of their surroundings. */
#include "text/engine.h"
#include "text/unicode.h"

static bool accepted(const sn_added_search *s, const sn_added_token *token, size_t begin, size_t end) {
    return !s->wanted || s->wanted(s, token, begin, end);
}

static const sn_added_token *longest_at(const sn_added_search *s, size_t at, size_t *end) {
    const sn_added_token *best = NULL;
    int32_t node = 0;
    for (size_t i = at; i < s->length && (node = sn_trie_step(s->trie, node, s->text[i])) >= 0; i++) {
        int32_t value = sn_trie_value(s->trie, node);
        if (value < 0 || !accepted(s, &s->tokenizer->added[value], at, i + 1)) continue;
        best = &s->tokenizer->added[value], *end = i + 1;
    }
    return best;
}

/* The character that ends before `at`. */
static size_t step_back(const char *text, size_t at) {
    do at--;
    while (at && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static bool word_before(const char *text, size_t at) {
    if (at == 0) return false;
    size_t from = step_back(text, at);
    return sn_is_word(sn_next_point(text, at, &from));
}

static bool word_after(const char *text, size_t length, size_t at) { return at < length && sn_is_word(sn_next_point(text, length, &at)); }

static size_t without_blanks_before(const char *text, size_t at, size_t least) {
    while (at > least) {
        size_t from = step_back(text, at), to = from;
        if (!sn_is_space(sn_next_point(text, at, &to))) break;
        at = from;
    }
    return at < least ? least : at;
}

static size_t blanks_after(const char *text, size_t length, size_t at) {
    for (size_t next = at; at < length && sn_is_space(sn_next_point(text, length, &next)); at = next) {}
    return at;
}

const sn_added_token *sn_added_next(sn_added_search *s, size_t *begin, size_t *end) {
    while (s->at < s->length) {
        size_t from = s->at, to;
        const sn_added_token *token = longest_at(s, from, &to);
        if (!token) {
            s->at++;
            continue;
        }
        s->at = to;
        if (token->single_word && (word_before(s->text, from) || word_after(s->text, s->length, to))) continue;
        bool strip = s->flags & SN_ENCODE_STRIP_ADDED && !token->builtin;
        if (from < s->done) from = s->done; /* its beginning was swallowed as blanks */
        if (token->lstrip || strip) from = without_blanks_before(s->text, from, s->done);
        if (token->rstrip || strip) to = blanks_after(s->text, s->length, to);
        if (to < from) to = from;
        s->done = to;
        *begin = from, *end = to;
        return token;
    }
    return NULL;
}
