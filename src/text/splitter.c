/* Pre-tokenizers of tokenizer.json: text to words. */
#include "text/chain.h"

#include <string.h>

static void add_piece(sn_pieces *p, const char *text, size_t length) {
    if (length == 0) return;
    sn_buf_add(&p->text, text, length);
    if (!sn_grow((void **)&p->ends, &p->capacity, p->count + 1, sizeof *p->ends)) p->text.failed = true;
    else p->ends[p->count++] = p->text.length;
}

void sn_pieces_free(sn_pieces *p) {
    sn_buf_free(&p->text);
    sn_free(p->ends);
    *p = (sn_pieces){0};
}

/* ---- matches and gaps, joined as the behaviour says ---- */

typedef struct cutter {
    const sn_splitter *s;
    const char *text;
    sn_pieces *out;
    size_t begin, end; /* the piece that is growing */
    bool open, open_match; /* whether there is one; whether its last part was a match */
} cutter;

static void flush(cutter *c) {
    if (c->open) add_piece(c->out, c->text + c->begin, c->end - c->begin);
    c->open = false;
}

static void part(cutter *c, size_t begin, size_t end, bool match) {
    if (begin == end) return;
    match ^= c->s->invert;
    bool join = false;
    switch (c->s->behavior) {
    case SN_SPLIT_REMOVED:
        if (match) {
            if (begin == 0 && c->out->count == 0) c->out->first = false; /* what follows does not begin the text */
            return;
        }
        break;
    case SN_SPLIT_ISOLATED: break;
    case SN_SPLIT_CONTIGUOUS: join = c->open && c->open_match == match; break;
    case SN_SPLIT_PREVIOUS: join = c->open && match && !c->open_match; break;
    case SN_SPLIT_NEXT: join = c->open && c->open_match && !match; break;
    }
    if (!join) {
        flush(c);
        c->open = true, c->begin = begin;
    }
    c->end = end, c->open_match = match;
}

static bool search_member(const sn_splitter *s, const char *text, size_t length, size_t *at, size_t *begin, size_t *end) {
    while (*at < length) {
        *begin = *at;
        if (!s->member(sn_next_point(text, length, at))) continue;
        *end = *at;
        for (size_t next = *at; s->whole_runs && *at < length && s->member(sn_next_point(text, length, &next)); *at = *end = next) {}
        return true;
    }
    return false;
}

static void cut(const sn_splitter *s, const char *text, size_t length, sn_pieces *out) {
    cutter c = {.s = s, .text = text, .out = out};
    size_t done = 0, begin, end, at = 0;
    sn_search search = {0};
    if (s->pattern) sn_search_begin(&search, s->pattern, text, length);
    while (s->pattern ? sn_search_next(&search, &begin, &end) : search_member(s, text, length, &at, &begin, &end)) {
        part(&c, done, begin, false);
        part(&c, begin, end, true);
        done = end;
    }
    part(&c, done, length, false);
    flush(&c);
    if (s->pattern) {
        out->text.failed |= search.failed;
        sn_search_end(&search);
    }
}

static void apply_cut(const sn_splitter *s, const char *text, size_t length, bool first, sn_pieces *out) { cut(s, text, length, out); }

/* ---- the kinds that change the text ---- */

uint32_t sn_byte_to_point(unsigned char b) {
    if ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) return b;
    /* the other 68 in ascending order from U+0100 */
    return 0x100u + (b <= 32 ? b : b <= 160 ? b - 127u + 33 : 67);
}

int sn_point_to_byte(uint32_t p) {
    if (p < 0x100) return sn_byte_to_point((unsigned char)p) == p ? (int)p : -1;
    if (p >= 0x100 + 68) return -1;
    uint32_t n = p - 0x100;
    return n <= 32 ? (int)n : n < 67 ? (int)(n - 33 + 127) : 173;
}

static void apply_byte_level(const sn_splitter *s, const char *text, size_t length, bool first, sn_pieces *out) {
    sn_buf prefixed = {0};
    sn_pieces words = {0};
    if (s->prefix_space && length && text[0] != ' ') sn_buf_add(&prefixed, " ", 1);
    sn_buf_add(&prefixed, text, length);
    if (s->pattern) cut(s, prefixed.data, prefixed.length, &words);
    else add_piece(&words, prefixed.data, prefixed.length);
    for (size_t i = 0, at = 0; i < words.count; i++) {
        for (; at < words.ends[i]; at++) sn_add_point(&out->text, sn_byte_to_point((unsigned char)words.text.data[at]));
        if (!sn_grow((void **)&out->ends, &out->capacity, out->count + 1, sizeof *out->ends)) out->text.failed = true;
        else out->ends[out->count++] = out->text.length;
    }
    out->text.failed |= prefixed.failed || words.text.failed;
    sn_buf_free(&prefixed);
    sn_pieces_free(&words);
}

static void apply_metaspace(const sn_splitter *s, const char *text, size_t length, bool first, sn_pieces *out) {
    sn_buf marked = {0};
    bool wants = s->prepend == SN_PREPEND_ALWAYS || (s->prepend == SN_PREPEND_FIRST && first);
    bool has = text[0] == ' ' || (length >= s->content_length && memcmp(text, s->content, s->content_length) == 0);
    if (wants && !has) sn_buf_add(&marked, s->content, s->content_length);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ') sn_buf_add(&marked, s->content, s->content_length);
        else sn_buf_add(&marked, text + i, 1);
    }
    if (s->split) cut(s, marked.data, marked.length, out);
    else add_piece(out, marked.data, marked.length);
    out->text.failed |= marked.failed;
    sn_buf_free(&marked);
}

/* ---- reading ---- */

static bool other_sign(uint32_t p) { return !sn_is_word(p) && !sn_is_space(p); }

static sn_status read_behavior(const char *path, const json_t *o, sn_split_behavior fallback, sn_split_behavior *out, sn_error *error) {
    static const char *const names[] = {[SN_SPLIT_REMOVED] = "Removed", [SN_SPLIT_ISOLATED] = "Isolated", [SN_SPLIT_PREVIOUS] = "MergedWithPrevious", [SN_SPLIT_NEXT] = "MergedWithNext", [SN_SPLIT_CONTIGUOUS] = "Contiguous"};
    const char *name = sn_json_string(o, "behavior");
    *out = fallback;
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (sn_split_behavior)i;
            return SN_OK;
        }
    return name ? sn_fail(error, SN_ERROR_INPUT, "%s: pre_tokenizer: behavior: found %s", path, name) : SN_OK;
}

static sn_status read_byte_level(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error) {
    s->prefix_space = sn_json_bool(o, "add_prefix_space", true);
    if (!sn_json_bool(o, "use_regex", true)) return SN_OK;
    return sn_pattern_regex(path, sn_pattern_gpt2, strlen(sn_pattern_gpt2), &s->pattern, error);
}

static sn_status read_metaspace(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error) {
    const char *content = sn_json_string(o, "replacement"), *scheme = sn_json_string(o, "prepend_scheme");
    static const char *const schemes[] = {[SN_PREPEND_ALWAYS] = "always", [SN_PREPEND_FIRST] = "first", [SN_PREPEND_NEVER] = "never"};
    if (!content || !*content) content = "\xe2\x96\x81";
    s->prepend = sn_json_bool(o, "add_prefix_space", true) ? SN_PREPEND_ALWAYS : SN_PREPEND_NEVER;
    for (int i = 0; i < 3 && scheme; i++)
        if (strcmp(schemes[i], scheme) == 0) s->prepend = (sn_prepend)i;
    s->split = sn_json_bool(o, "split", true);
    s->behavior = SN_SPLIT_NEXT;
    s->content = sn_arena_strdup(c->tokenizer->arena, content), s->content_length = strlen(content);
    return s->content ? sn_pattern_literal(content, s->content_length, &s->pattern, error) : sn_fail_memory(error);
}

static sn_status read_split(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error) {
    s->invert = sn_json_bool(o, "invert", false);
    sn_status status = read_behavior(path, o, SN_SPLIT_REMOVED, &s->behavior, error);
    return status ? status : sn_pattern_read(path, json_object_get(o, "pattern"), &s->pattern, error);
}

static sn_status read_delimiter(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error) {
    return sn_pattern_read(path, json_object_get(o, "delimiter"), &s->pattern, error);
}

static sn_status read_digits(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error) {
    s->behavior = sn_json_bool(o, "individual_digits", false) ? SN_SPLIT_ISOLATED : SN_SPLIT_CONTIGUOUS;
    return SN_OK;
}

static sn_status read_punctuation(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error) {
    return read_behavior(path, o, SN_SPLIT_ISOLATED, &s->behavior, error);
}

/* Bert and Whitespace are two cuts each: the second works on what the first leaves. */
typedef struct cut_kind {
    const char *type;
    sn_splitter start;
    sn_status (*read)(sn_chain *c, const char *path, const json_t *o, sn_splitter *s, sn_error *error);
} cut_kind;

static const cut_kind kinds[] = {
    {"ByteLevel", {.apply = apply_byte_level, .behavior = SN_SPLIT_ISOLATED}, read_byte_level},
    {"Metaspace", {.apply = apply_metaspace}, read_metaspace},
    {"Split", {.apply = apply_cut}, read_split},
    {"CharDelimiterSplit", {.apply = apply_cut}, read_delimiter},
    {"WhitespaceSplit", {.apply = apply_cut, .member = sn_is_space}},
    {"BertPreTokenizer", {.apply = apply_cut, .member = sn_is_space}},
    {"BertPreTokenizer", {.apply = apply_cut, .member = sn_is_punctuation, .behavior = SN_SPLIT_ISOLATED}},
    {"Whitespace", {.apply = apply_cut, .member = sn_is_space}},
    {"Whitespace", {.apply = apply_cut, .member = other_sign, .whole_runs = true, .behavior = SN_SPLIT_ISOLATED}},
    {"Punctuation", {.apply = apply_cut, .member = sn_is_punctuation}, read_punctuation},
    {"Digits", {.apply = apply_cut, .member = sn_is_number}, read_digits}};

sn_status sn_splitters_read(sn_chain *c, const char *path, const json_t *object, sn_error *error) {
    if (!object || json_is_null(object)) return SN_OK;
    const char *type = sn_json_string(object, "type");
    sn_status status = SN_OK;
    bool known = type && strcmp(type, "Sequence") == 0;
    const json_t *list = known ? json_object_get(object, "pretokenizers") : NULL;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) status = sn_splitters_read(c, path, json_array_get(list, i), error);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && !status; k++) {
        if (!type || strcmp(kinds[k].type, type) != 0) continue;
        known = true;
        if (!sn_grow((void **)&c->splitters, &c->splitter_capacity, c->num_splitters + 1, sizeof *c->splitters)) return sn_fail_memory(error);
        sn_splitter *s = &c->splitters[c->num_splitters++];
        *s = kinds[k].start;
        if (kinds[k].read) status = kinds[k].read(c, path, object, s, error);
    }
    return status || known ? status : sn_fail(error, SN_ERROR_SUPPORT, "%s: pre_tokenizer: found type %s, which is not supported", path, type ? type : "(none)");
}

void sn_splitter_free(sn_splitter *s) { sn_pattern_free(s->pattern); }

void sn_splitters_run(const sn_chain *c, const char *text, size_t length, bool first, sn_pieces *out) {
    sn_pieces from = {0};
    out->text.length = out->count = 0, out->first = first;
    add_piece(out, text, length);
    for (size_t i = 0; i < c->num_splitters; i++) {
        sn_pieces swap = from;
        from = *out, *out = swap;
        out->text.length = out->count = 0, out->first = from.first, out->text.failed |= from.text.failed;
        for (size_t p = 0, at = 0; p < from.count; at = from.ends[p++])
            c->splitters[i].apply(&c->splitters[i], from.text.data + at, from.ends[p] - at, p == 0 && from.first, out);
    }
    sn_pieces_free(&from);
}
