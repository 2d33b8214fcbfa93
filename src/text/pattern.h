/* Patterns of tokenizers: literal strings, the few well-known expressions (scanned by hand, exactly), and any
 * other regular expression (PCRE2). */
#ifndef SN_TEXT_PATTERN_H
#define SN_TEXT_PATTERN_H

#include "base/json.h"
#include "base/memory.h"

typedef struct sn_pattern sn_pattern;

/* Compiles a literal or an expression; `where` names the file and the field in errors. */
sn_status sn_pattern_literal(const char *text, size_t length, sn_pattern **out, sn_error *error);
sn_status sn_pattern_regex(const char *where, const char *expression, size_t length, sn_pattern **out, sn_error *error);
/* {"String": …}, {"Regex": …} or a plain string. */
sn_status sn_pattern_read(const char *where, const json_t *value, sn_pattern **out, sn_error *error);
void sn_pattern_free(sn_pattern *pattern);

/* The expressions that split text into words, of GPT-2 (OPT, GPT-NeoX, MPT) and of CLIP. */
extern const char sn_pattern_gpt2[], sn_pattern_clip[];

/* One pass over a text: next gives matches that are not empty, from left to right. */
typedef struct sn_search {
    const sn_pattern *pattern;
    const char *text;
    size_t length, at;
    void *scratch;
    bool failed; /* no memory, or an expression that costs too much on this text */
} sn_search;

void sn_search_begin(sn_search *s, const sn_pattern *pattern, const char *text, size_t length);
bool sn_search_next(sn_search *s, size_t *begin, size_t *end);
void sn_search_end(sn_search *s);

#endif
