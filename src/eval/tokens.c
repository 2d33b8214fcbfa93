/* A caption's words as the Penn Treebank has them, near to what COCO's evaluation takes from Stanford's tokenizer: small
 * letters, punctuation apart and then dropped, n't and 's words of their own, words with hyphens and numbers whole. */
#include "eval/captions.h"

#include "base/memory.h"
#include "eval/words.h"

#include <ctype.h>
#include <string.h>

typedef struct pair {
    const char *from, *to;
} pair;

/* Typographic signs as ASCII has them; blanks where they are dropped anyhow. */
static const pair signs[] = {{"\u2018", "'"}, {"\u2019", "'"}, {"\u201c", " "}, {"\u201d", " "}, {"\u2013", " "}, {"\u2014", " "}, {"\u2026", " "}, {"\u00a0", " "}, {NULL, NULL}};
static const pair joined[] = {{"cannot", "can not"}, {"gonna", "gon na"}, {"gotta", "got ta"}, {"wanna", "wan na"}, {"gimme", "gim me"}, {"lemme", "lem me"}, {NULL, NULL}};
static const char *const endings[] = {"n't", "'s", "'re", "'ve", "'ll", "'d", "'m", NULL};
static const char dropped[] = "'`\"(){}.?!,:;-";

static bool is_letter(char c) { return isalnum((unsigned char)c) || (unsigned char)c >= 0x80; }

static char *plain_signs(const char *text) {
    sn_buf out = {0};
    while (*text) {
        const pair *p = signs;
        while (p->from && strncmp(text, p->from, strlen(p->from)) != 0) p++;
        if (p->from) sn_buf_puts(&out, p->to), text += strlen(p->from);
        else sn_buf_add(&out, text++, 1);
    }
    char *copy = out.failed ? NULL : sn_strdup(out.data ? out.data : "");
    sn_buf_free(&out);
    return copy;
}

static void put(sn_buf *out, const char *text, size_t length) {
    if (!length) return;
    if (out->length) sn_buf_puts(out, " ");
    sn_buf_add(out, text, length);
}

/* A word of letters, digits and what stands inside: its ending apart. */
static void put_word(sn_buf *out, const char *word, size_t length) {
    for (const pair *p = joined; p->from; p++)
        if (length == strlen(p->from) && memcmp(word, p->from, length) == 0) {
            put(out, p->to, strlen(p->to));
            return;
        }
    for (const char *const *e = endings; *e; e++) {
        size_t end = strlen(*e);
        if (length > end && memcmp(word + length - end, *e, end) == 0) {
            put(out, word, length - end);
            put(out, word + length - end, end);
            return;
        }
    }
    put(out, word, length);
}

/* Whether the sign at `at` belongs to the word around it: t-shirt, don't, 3.5, 1,000. */
static bool inside(const char *at) {
    char before = at[-1], behind = at[1];
    if (*at == '-' || *at == '\'') return is_letter(before) && is_letter(behind);
    return (*at == '.' || *at == ',') && isdigit((unsigned char)before) && isdigit((unsigned char)behind);
}

char *sn_caption_tokens(const char *text) {
    sn_buf out = {0};
    char *lower = sn_text_lower(text), *plain = lower ? plain_signs(lower) : NULL;
    for (const char *at = plain; at && *at;) {
        const char *end = at;
        while (is_letter(*end) || (end > at && *end && inside(end))) end++;
        if (end > at) put_word(&out, at, (size_t)(end - at));
        else if (!isspace((unsigned char)*at) && !iscntrl((unsigned char)*at) && !strchr(dropped, *at)) put(&out, at, 1);
        at = end > at ? end : at + 1;
    }
    char *tokens = plain && !out.failed ? sn_strdup(out.data ? out.data : "") : NULL;
    sn_buf_free(&out);
    sn_free(plain);
    sn_free(lower);
    return tokens;
}
