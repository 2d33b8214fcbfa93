/* Searching.
 *
 * The expressions of GPT-2 and CLIP are recognised by their text and scanned by hand: one look at each
 * character, whatever the text. Other expressions are written for Oniguruma: \s and \w are written out as the classes
 * that it means by them before PCRE2 sees them, and ^ and $ stand at every line. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include "base/utf8.h"
#include "text/unicode.h"

#include <pcre2.h>
#include <string.h>

typedef size_t scanner(const char *text, size_t length); /* length of the match at the beginning, 0 = none */

struct sn_pattern {
    char *literal;
    size_t length;
    scanner *scan;
    pcre2_code *code;
};

const char sn_pattern_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char sn_pattern_clip[] = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

/* ---- scanners ---- */

typedef enum kind { LETTER, NUMBER, SPACE, OTHER, END } kind;

static kind kind_at(const char *text, size_t length, size_t at, size_t *next) {
    *next = at;
    if (at >= length) return END;
    uint32_t p = sn_next_point(text, length, next);
    return sn_is_letter(p) ? LETTER : sn_is_number(p) ? NUMBER : sn_is_space(p) ? SPACE : OTHER;
}

static size_t run_end(const char *text, size_t length, size_t at, kind want) {
    size_t next;
    while (kind_at(text, length, at, &next) == want) at = next;
    return at;
}

static size_t contraction(const char *text, size_t length) {
    static const char *const known[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; text[0] == '\'' && i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (n <= length && memcmp(text, known[i], n) == 0) return n;
    }
    return 0;
}

static size_t scan_gpt2(const char *text, size_t length) {
    size_t found = contraction(text, length), next, from = length && text[0] == ' ';
    if (found) return found;
    kind k = kind_at(text, length, from, &next);
    if (k == LETTER || k == NUMBER || k == OTHER) return run_end(text, length, next, k);
    /* white space: before a word the run leaves its last character to it */
    size_t end = 0, last = 0;
    while (kind_at(text, length, end, &next) == SPACE) last = end, end = next;
    return end < length && last > 0 ? last : end;
}

static size_t scan_clip(const char *text, size_t length) {
    static const char *const special[] = {"<|startoftext|>", "<|endoftext|>"};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(special[i]);
        if (n <= length && memcmp(text, special[i], n) == 0) return n;
    }
    size_t found = contraction(text, length), next;
    if (found) return found;
    kind k = kind_at(text, length, 0, &next);
    return k == SPACE || k == END ? 0 : k == NUMBER ? next : run_end(text, length, next, k);
}

static size_t scan_spaces(const char *text, size_t length) { return run_end(text, length, 0, SPACE); }

static const struct {
    const char *expression;
    scanner *scan;
} known_expressions[] = {{sn_pattern_gpt2, scan_gpt2}, {sn_pattern_clip, scan_clip}, {"\\s+", scan_spaces}};

/* ---- compiling ---- */

void sn_pattern_free(sn_pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    sn_free(p->literal);
    sn_free(p);
}

sn_status sn_pattern_literal(const char *text, size_t length, sn_pattern **out, sn_error *error) {
    *out = sn_alloc(1, sizeof **out);
    if (*out && ((*out)->literal = sn_alloc(length + 1, 1))) {
        memcpy((*out)->literal, text, length);
        (*out)->length = length;
        return SN_OK;
    }
    sn_pattern_free(*out);
    *out = NULL;
    return sn_fail_memory(error);
}

/* \s and \w written out; inside a class without their brackets. */
static void write_out(const char *e, size_t length, sn_buf *out) {
    static const struct { char name; const char *open, *members; } classes[] = {
        {'s', "[", "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"},
        {'S', "[^", "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"},
        {'w', "[", "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"},
        {'W', "[^", "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"}};
    bool in_class = false;
    for (size_t i = 0; i < length; i++) {
        if (e[i] == '[') in_class = true;
        if (e[i] == ']') in_class = false;
        size_t c = 0;
        while (e[i] == '\\' && i + 1 < length && c < 4 && classes[c].name != e[i + 1]) c++;
        bool negated_in_class = in_class && c < 4 && classes[c].open[1];
        if (e[i] == '\\' && i + 1 < length && c < 4 && !negated_in_class) {
            if (!in_class) sn_buf_puts(out, classes[c].open);
            sn_buf_puts(out, classes[c].members);
            if (!in_class) sn_buf_puts(out, "]");
            i++;
        } else if (e[i] == '\\' && i + 1 < length) {
            sn_buf_add(out, e + i++, 2);
        } else {
            sn_buf_add(out, e + i, 1);
        }
    }
}

sn_status sn_pattern_regex(const char *where, const char *expression, size_t length, sn_pattern **out, sn_error *error) {
    sn_pattern *p = *out = sn_alloc(1, sizeof *p);
    if (!p) return sn_fail_memory(error);
    for (size_t i = 0; i < sizeof known_expressions / sizeof *known_expressions; i++)
        if (strlen(known_expressions[i].expression) == length && memcmp(known_expressions[i].expression, expression, length) == 0) {
            p->scan = known_expressions[i].scan;
            return SN_OK;
        }
    sn_buf full = {0};
    write_out(expression, length, &full);
    int code = 0;
    size_t offset = 0;
    if (!full.failed) p->code = pcre2_compile((PCRE2_SPTR)(full.data ? full.data : ""), full.length, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &offset, NULL);
    bool failed = full.failed;
    sn_buf_free(&full);
    if (p->code) {
        pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* where there is none, matching is merely slower */
        return SN_OK;
    }
    sn_pattern_free(p);
    *out = NULL;
    if (failed) return sn_fail_memory(error);
    char why[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return sn_fail(error, SN_ERROR_INPUT, "%s: the expression %.80s cannot be used: %s", where, expression, why);
}

sn_status sn_pattern_read(const char *where, const json_t *value, sn_pattern **out, sn_error *error) {
    const json_t *text = json_is_string(value) ? value : json_object_get(value, "String"), *regex = json_object_get(value, "Regex");
    *out = NULL;
    if (json_is_string(regex)) return sn_pattern_regex(where, json_string_value(regex), json_string_length(regex), out, error);
    if (!json_is_string(text)) return sn_fail(error, SN_ERROR_INPUT, "%s: pattern: expected {\"String\": …} or {\"Regex\": …}", where);
    return sn_pattern_literal(json_string_value(text), json_string_length(text), out, error);
}

/* ---- searching ---- */

void sn_search_begin(sn_search *s, const sn_pattern *pattern, const char *text, size_t length) {
    *s = (sn_search){.pattern = pattern, .text = text, .length = length};
    if (pattern->code && !(s->scratch = pcre2_match_data_create_from_pattern(pattern->code, NULL))) s->failed = true;
}

void sn_search_end(sn_search *s) {
    pcre2_match_data_free(s->scratch);
    s->scratch = NULL;
}

static bool next_literal(sn_search *s, size_t *begin, size_t *end) {
    const sn_pattern *p = s->pattern;
    const char *at = p->length ? memmem(s->text + s->at, s->length - s->at, p->literal, p->length) : NULL;
    if (!at) return false;
    *begin = (size_t)(at - s->text), *end = *begin + p->length;
    return true;
}

static bool next_scanned(sn_search *s, size_t *begin, size_t *end) {
    for (size_t at = s->at; at < s->length; sn_next_point(s->text, s->length, &at)) {
        size_t n = s->pattern->scan(s->text + at, s->length - at);
        if (n == 0) continue;
        *begin = at, *end = at + n;
        return true;
    }
    return false;
}

static bool next_regex(sn_search *s, size_t *begin, size_t *end) {
    while (s->at <= s->length) {
        int found = pcre2_match(s->pattern->code, (PCRE2_SPTR)s->text, s->length, s->at, PCRE2_NO_UTF_CHECK, s->scratch, NULL);
        if (found < 0) {
            s->failed = found != PCRE2_ERROR_NOMATCH;
            return false;
        }
        const size_t *span = pcre2_get_ovector_pointer(s->scratch);
        if (span[1] > span[0] && span[0] >= s->at) {
            *begin = span[0], *end = span[1];
            return true;
        }
        s->at = span[1] > s->at ? span[1] : s->at; /* an empty match: go on behind the next character */
        if (s->at >= s->length) return false;
        sn_next_point(s->text, s->length, &s->at);
    }
    return false;
}

bool sn_search_next(sn_search *s, size_t *begin, size_t *end) {
    if (s->failed || s->at >= s->length) return false;
    const sn_pattern *p = s->pattern;
    bool found = p->code ? next_regex(s, begin, end) : p->scan ? next_scanned(s, begin, end) : next_literal(s, begin, end);
    if (found) s->at = *end;
    else s->at = s->length;
    return found;
}
