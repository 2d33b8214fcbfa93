/* Decoders of tokenizer.json, piece by piece: what a step cannot decide yet it holds back, so that the pieces of a
 * stream joined are the decoding of the whole. */
#include "base/utf8.h"
#include "text/chain.h"

#include <stdlib.h>
#include <string.h>

static void emit(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length);

/* ---- each step: takes one piece, hands on what is certain ---- */

static void byte_level(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    sn_buf bytes = {0};
    bool all = true;
    for (size_t at = 0; at < length && all;) {
        int byte = sn_point_to_byte(sn_next_point(text, length, &at));
        all = byte >= 0;
        if (all) sn_buf_add(&bytes, &(char){(char)byte}, 1);
    }
    if (all) emit(c, d, step + 1, bytes.data ? bytes.data : "", bytes.length);
    else emit(c, d, step + 1, text, length); /* an added token with other characters */
    sn_buf_free(&bytes);
}

static void metaspace(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    const sn_decoder *s = &c->decoders[step];
    bool drop = d->steps[step].count++ == 0 && !s->keep_first;
    sn_buf plain = {0};
    for (size_t at = 0; at < length;) {
        bool mark = length - at >= s->find_length && memcmp(text + at, s->find, s->find_length) == 0;
        if (mark && !drop) sn_buf_add(&plain, " ", 1);
        if (!mark) sn_buf_add(&plain, text + at, 1);
        at += mark ? s->find_length : 1;
    }
    emit(c, d, step + 1, plain.data ? plain.data : "", plain.length);
    sn_buf_free(&plain);
}

static void replace_all(sn_buf *text, const char *find, size_t find_length, const char *by, size_t by_length) {
    sn_buf out = {0};
    size_t done = 0;
    for (const char *at; text->length && (at = memmem(text->data + done, text->length - done, find, find_length)); done = (size_t)(at - text->data) + find_length) {
        sn_buf_add(&out, text->data + done, (size_t)(at - text->data) - done);
        sn_buf_add(&out, by, by_length);
    }
    if (done) {
        sn_buf_add(&out, text->data + done, text->length - done);
        sn_buf swap = *text;
        *text = out, out = swap;
        text->failed |= swap.failed;
    }
    sn_buf_free(&out);
}

static void wordpiece(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    static const char *const signs[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    const sn_decoder *s = &c->decoders[step];
    bool first = d->steps[step].count++ == 0, inner = length >= s->find_length && memcmp(text, s->find, s->find_length) == 0;
    sn_buf word = {0};
    if (!first && !inner) sn_buf_add(&word, " ", 1);
    size_t skip = !first && inner ? s->find_length : 0;
    sn_buf_add(&word, text + skip, length - skip);
    for (size_t i = 0; i < sizeof signs / sizeof *signs && s->cleanup; i++) replace_all(&word, signs[i][0], strlen(signs[i][0]), signs[i][1], strlen(signs[i][1]));
    emit(c, d, step + 1, word.data ? word.data : "", word.length);
    sn_buf_free(&word);
}

/* In one piece; or, behind a step that joins, in a stream, where the beginning of a match is held back. */
static void replace(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    const sn_decoder *s = &c->decoders[step];
    sn_buf *held = &d->steps[step].held;
    sn_search search;
    size_t done = 0, begin, end, keep = 0;
    sn_buf out = {0};
    sn_buf_add(held, text, length);
    sn_search_begin(&search, s->pattern, held->data ? held->data : "", held->length);
    while (sn_search_next(&search, &begin, &end)) {
        sn_buf_add(&out, held->data + done, begin - done);
        sn_buf_add(&out, s->content, s->content_length);
        done = end;
    }
    sn_search_end(&search);
    for (size_t n = 1; s->fused && n < s->find_length && n <= held->length - done; n++)
        if (memcmp(held->data + held->length - n, s->find, n) == 0) keep = n;
    sn_buf_add(&out, held->data + done, held->length - keep - done);
    if (keep) memmove(held->data, held->data + held->length - keep, keep);
    held->length = keep;
    emit(c, d, step + 1, out.data ? out.data : "", out.length);
    sn_buf_free(&out);
}

/* A run of bytes is text if all of it is valid, otherwise one U+FFFD for each. */
static void flush_bytes(const sn_chain *c, sn_detokenizer *d, size_t step) {
    sn_buf *held = &d->steps[step].held;
    if (held->length == 0) return;
    if (sn_utf8_valid(held->data, held->length, NULL)) {
        emit(c, d, step + 1, held->data, held->length);
    } else {
        for (size_t i = 0; i < held->length; i++) emit(c, d, step + 1, "\xef\xbf\xbd", 3);
    }
    held->length = 0;
}

static void byte_fallback(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    char hex[3] = {0}, *end = hex;
    if (length == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>') memcpy(hex, text + 3, 2);
    bool digits = strspn(hex, "0123456789abcdefABCDEF") == 2;
    long byte = strtol(hex, &end, 16);
    if (digits) {
        sn_buf_add(&d->steps[step].held, &(char){(char)byte}, 1);
        return;
    }
    flush_bytes(c, d, step);
    emit(c, d, step + 1, text, length);
}

/* Cuts the content off both ends of a piece, at most start and stop times; of a stream only off its beginning,
 * and off its end what is held back until then. */
static void strip(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    const sn_decoder *s = &c->decoders[step];
    size_t *cut = &d->steps[step].count, n = s->content_length, tail = 0;
    if (!s->fused) *cut = 0;
    while (*cut < s->start && length >= n && memcmp(text, s->content, n) == 0) text += n, length -= n, ++*cut;
    if (s->fused && length) *cut = s->start;
    if (!s->fused) {
        for (size_t i = 0; i < s->stop && length >= n && memcmp(text + length - n, s->content, n) == 0; i++) length -= n;
        emit(c, d, step + 1, text, length);
        return;
    }
    sn_buf *held = &d->steps[step].held;
    sn_buf_add(held, text, length);
    for (size_t i = 0; i < s->stop && held->length - tail >= n && memcmp(held->data + held->length - tail - n, s->content, n) == 0; i++) tail += n;
    emit(c, d, step + 1, held->data ? held->data : "", held->length - tail);
    if (tail) memmove(held->data, held->data + held->length - tail, tail);
    held->length = tail;
}

/* The suffix that ends a word becomes a blank, but not in the last piece. */
static void suffix(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    const sn_decoder *s = &c->decoders[step];
    sn_buf *held = &d->steps[step].held;
    if (d->steps[step].count++) {
        replace_all(held, s->find, s->find_length, " ", 1);
        emit(c, d, step + 1, held->data ? held->data : "", held->length);
    }
    held->length = 0;
    sn_buf_add(held, text, length);
}

static void spaced(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    if (d->steps[step].count++) emit(c, d, step + 1, " ", 1);
    emit(c, d, step + 1, text, length);
}

static void emit(const sn_chain *c, sn_detokenizer *d, size_t step, const char *text, size_t length) {
    static void (*const steps[])(const sn_chain *, sn_detokenizer *, size_t, const char *, size_t) = {
        [SN_DECODER_BYTE_LEVEL] = byte_level, [SN_DECODER_METASPACE] = metaspace, [SN_DECODER_WORDPIECE] = wordpiece, [SN_DECODER_REPLACE] = replace,
        [SN_DECODER_BYTE_FALLBACK] = byte_fallback, [SN_DECODER_FUSE] = NULL, [SN_DECODER_STRIP] = strip, [SN_DECODER_SUFFIX] = suffix, [SN_DECODER_SPACED] = spaced};
    while (step < c->num_decoders && !steps[c->decoders[step].kind]) step++;
    if (step == c->num_decoders) sn_buf_add(&d->pending, text, length);
    else steps[c->decoders[step].kind](c, d, step, text, length);
}

void sn_decoders_push(const sn_chain *c, sn_detokenizer *d, const char *piece, size_t length) { emit(c, d, 0, piece, length); }

void sn_decoders_finish(const sn_chain *c, sn_detokenizer *d) {
    for (size_t i = 0; i < c->num_decoders; i++) {
        const sn_decoder *s = &c->decoders[i];
        sn_buf held = d->steps[i].held;
        if (s->kind == SN_DECODER_BYTE_FALLBACK) flush_bytes(c, d, i);
        if (s->kind == SN_DECODER_SUFFIX && d->steps[i].count) replace_all(&d->steps[i].held, s->find, s->find_length, "", 0), held = d->steps[i].held;
        if (s->kind == SN_DECODER_SUFFIX || s->kind == SN_DECODER_REPLACE) emit(c, d, i + 1, held.data ? held.data : "", held.length);
        d->steps[i].held.length = 0;
    }
}

/* ---- reading ---- */

static sn_status add(sn_chain *c, const char *path, sn_decoder decoder, sn_error *error) {
    if (c->num_decoders == SN_DECODER_STEPS) return sn_fail(error, SN_ERROR_SUPPORT, "%s: decoder: more than %d steps", path, SN_DECODER_STEPS);
    if (!sn_grow((void **)&c->decoders, &c->decoder_capacity, c->num_decoders + 1, sizeof *c->decoders)) return sn_fail_memory(error);
    for (size_t i = 0; i < c->num_decoders; i++) decoder.fused |= c->decoders[i].kind == SN_DECODER_FUSE || c->decoders[i].kind == SN_DECODER_BYTE_LEVEL;
    c->decoders[c->num_decoders++] = decoder;
    return SN_OK;
}

static sn_status keep(sn_chain *c, const char *text, const char *fallback, const char **out, size_t *length, sn_error *error) {
    *out = sn_arena_strdup(c->tokenizer->arena, text ? text : fallback);
    *length = *out ? strlen(*out) : 0;
    return *out ? SN_OK : sn_fail_memory(error);
}

/* What each kind reads from its object. */
static sn_status read_one(sn_chain *c, const char *path, sn_decoder_kind kind, const json_t *o, sn_error *error) {
    sn_decoder s = {.kind = kind};
    const char *scheme = sn_json_string(o, "prepend_scheme");
    int64_t start = 0, stop = 0;
    sn_status status = SN_OK;
    if (kind == SN_DECODER_METASPACE) {
        s.keep_first = scheme ? strcmp(scheme, "never") == 0 : !sn_json_bool(o, "add_prefix_space", true);
        status = keep(c, sn_json_string(o, "replacement"), "\xe2\x96\x81", &s.find, &s.find_length, error);
    } else if (kind == SN_DECODER_WORDPIECE) {
        s.cleanup = sn_json_bool(o, "cleanup", true);
        status = keep(c, sn_json_string(o, "prefix"), "##", &s.find, &s.find_length, error);
    } else if (kind == SN_DECODER_REPLACE) {
        status = keep(c, sn_json_string(o, "content"), "", &s.content, &s.content_length, error);
        if (!status) status = keep(c, sn_json_string(o, "pattern.String"), "", &s.find, &s.find_length, error);
        if (!status) status = sn_pattern_read(path, json_object_get(o, "pattern"), &s.pattern, error);
    } else if (kind == SN_DECODER_STRIP) {
        status = keep(c, sn_json_string(o, "content"), " ", &s.content, &s.content_length, error);
        if (!status) status = sn_json_integer(path, o, "start", 0, 1 << 20, &start, error);
        if (!status) status = sn_json_integer(path, o, "stop", 0, 1 << 20, &stop, error);
        s.start = s.content_length ? (size_t)start : 0, s.stop = s.content_length ? (size_t)stop : 0;
    } else if (kind == SN_DECODER_SUFFIX) {
        status = keep(c, sn_json_string(o, "suffix"), "</w>", &s.find, &s.find_length, error);
        if (!status && !s.find_length) status = sn_fail(error, SN_ERROR_INPUT, "%s: decoder: suffix: found an empty one", path);
    }
    if (!status) status = add(c, path, s, error);
    if (status) sn_pattern_free(s.pattern);
    return status;
}

static sn_status read_list(sn_chain *c, const char *path, const json_t *object, sn_error *error) {
    static const struct { const char *type; sn_decoder_kind kind; } kinds[] = {
        {"ByteLevel", SN_DECODER_BYTE_LEVEL}, {"Metaspace", SN_DECODER_METASPACE}, {"WordPiece", SN_DECODER_WORDPIECE}, {"Replace", SN_DECODER_REPLACE}, {"ByteFallback", SN_DECODER_BYTE_FALLBACK},
        {"Fuse", SN_DECODER_FUSE}, {"Strip", SN_DECODER_STRIP}, {"BPEDecoder", SN_DECODER_SUFFIX}};
    const char *type = sn_json_string(object, "type");
    sn_status status = SN_OK;
    if (type && strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(object, "decoders");
        for (size_t i = 0; i < json_array_size(list) && !status; i++) status = read_list(c, path, json_array_get(list, i), error);
        return status;
    }
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (type && strcmp(kinds[k].type, type) == 0) return read_one(c, path, kinds[k].kind, object, error);
    return sn_fail(error, SN_ERROR_SUPPORT, "%s: decoder: found type %s, which is not supported", path, type ? type : "(none)");
}

sn_status sn_decoders_read(sn_chain *c, const char *path, const json_t *object, sn_error *error) {
    if (!object || json_is_null(object)) return add(c, path, (sn_decoder){.kind = SN_DECODER_SPACED}, error);
    return read_list(c, path, object, error);
}

void sn_decoder_free(sn_decoder *d) { sn_pattern_free(d->pattern); }
