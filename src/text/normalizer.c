/* Normalisers of tokenizer.json. */
#include "text/chain.h"

#include <string.h>

/* ---- what each does ---- */

static void apply_form(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) { sn_normal_form_add(n->form, text, length, out); }

static void add_lower(sn_buf *out, uint32_t point) {
    uint32_t lower[2];
    int count = sn_lower(point, lower);
    for (int i = 0; i < count; i++) sn_add_point(out, lower[i]);
}

static void apply_lowercase(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    for (size_t at = 0; at < length;) add_lower(out, sn_next_point(text, length, &at));
}

static void apply_strip(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    size_t begin = 0, end = 0, at = 0;
    bool seen = false;
    while (at < length) {
        size_t from = at;
        if (sn_is_space(sn_next_point(text, length, &at))) continue;
        if (!seen) begin = from;
        seen = true, end = at;
    }
    if (!n->left) begin = 0;
    if (!n->right) end = length;
    if (n->left && !seen) end = 0;
    if (end > begin) sn_buf_add(out, text + begin, end - begin);
}

static void apply_strip_accents(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    for (size_t at = 0; at < length;) {
        uint32_t point = sn_next_point(text, length, &at);
        if (!sn_is_mark(point)) sn_add_point(out, point);
    }
}

static void apply_replace(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    sn_search s;
    size_t done = 0, begin, end;
    sn_search_begin(&s, n->pattern, text, length);
    while (sn_search_next(&s, &begin, &end)) {
        sn_buf_add(out, text + done, begin - done);
        sn_buf_add(out, n->content, n->content_length);
        done = end;
    }
    sn_buf_add(out, text + done, length - done);
    out->failed |= s.failed;
    sn_search_end(&s);
}

static void apply_prepend(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    if (length) sn_buf_add(out, n->content, n->content_length);
    sn_buf_add(out, text, length);
}

static void apply_precompiled(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) { sn_charsmap_by_grapheme(n->map, text, length, out); }

static void apply_byte_level(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    for (size_t i = 0; i < length; i++) sn_add_point(out, sn_byte_to_point((unsigned char)text[i]));
}

static void apply_nmt(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    for (size_t at = 0; at < length;) {
        uint32_t p = sn_next_point(text, length, &at);
        bool dropped = (p >= 1 && p <= 8) || p == 0x0b || (p >= 0x0e && p <= 0x1f) || p == 0x7f || p == 0x8f || p == 0x9f;
        bool blank = p == 9 || p == 10 || p == 12 || p == 13 || p == 0x1680 || (p >= 0x200b && p <= 0x200f) || p == 0x2028 || p == 0x2029 || p == 0x2581 || p == 0xfeff || p == 0xfffd;
        if (!dropped) sn_add_point(out, blank ? ' ' : p);
    }
}

/* CJK ideographs as BERT has them: kana and hangul are none. */
static bool ideograph(uint32_t p) {
    static const uint32_t ranges[][2] = {{0x4e00, 0x9fff}, {0x3400, 0x4dbf}, {0x20000, 0x2a6df}, {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0xf900, 0xfaff}, {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (p >= ranges[i][0] && p <= ranges[i][1]) return true;
    return false;
}

static void apply_bert(const sn_normalizer *n, const char *text, size_t length, sn_buf *out) {
    sn_buf clean = {0}, plain = {0};
    for (size_t at = 0; at < length;) {
        uint32_t p = sn_next_point(text, length, &at);
        bool blank = p == '\t' || p == '\n' || p == '\r' || (sn_is_space(p) && !sn_is_control(p));
        if (n->clean && !blank && (p == 0 || p == 0xfffd || sn_is_control(p))) continue;
        bool alone = n->chinese && ideograph(p);
        if (alone) sn_buf_add(&clean, " ", 1);
        sn_add_point(&clean, n->clean && blank ? ' ' : p);
        if (alone) sn_buf_add(&clean, " ", 1);
    }
    if (n->strip_accents) sn_normal_form_add(SN_NFD, clean.data ? clean.data : "", clean.length, &plain);
    const sn_buf *from = n->strip_accents ? &plain : &clean;
    for (size_t at = 0; at < from->length;) {
        uint32_t p = sn_next_point(from->data, from->length, &at);
        if (n->strip_accents && sn_is_nonspacing(p)) continue;
        if (n->lowercase) add_lower(out, p);
        else sn_add_point(out, p);
    }
    out->failed |= clean.failed || plain.failed;
    sn_buf_free(&clean);
    sn_buf_free(&plain);
}

/* ---- reading ---- */

static sn_status read_content(sn_chain *c, const char *path, const json_t *value, const char *name, sn_normalizer *n, sn_error *error) {
    if (!json_is_string(value)) return sn_fail(error, SN_ERROR_INPUT, "%s: normalizer: %s: expected a string", path, name);
    n->content_length = json_string_length(value);
    char *copy = sn_arena_alloc(c->tokenizer->arena, n->content_length + 1, 1);
    if (!copy) return sn_fail_memory(error);
    memcpy(copy, json_string_value(value), n->content_length);
    n->content = copy;
    return SN_OK;
}

static sn_status read_replace(sn_chain *c, const char *path, const json_t *o, sn_normalizer *n, sn_error *error) {
    sn_status status = read_content(c, path, json_object_get(o, "content"), "content", n, error);
    return status ? status : sn_pattern_read(path, json_object_get(o, "pattern"), &n->pattern, error);
}

static sn_status read_prepend(sn_chain *c, const char *path, const json_t *o, sn_normalizer *n, sn_error *error) {
    return read_content(c, path, json_object_get(o, "prepend"), "prepend", n, error);
}

static sn_status read_precompiled(sn_chain *c, const char *path, const json_t *o, sn_normalizer *n, sn_error *error) {
    const json_t *map = json_object_get(o, "precompiled_charsmap");
    return sn_charsmap_open_base64(path, json_is_string(map) ? json_string_value(map) : "", json_string_length(map), &n->map, error);
}

static sn_status read_strip(sn_chain *c, const char *path, const json_t *o, sn_normalizer *n, sn_error *error) {
    n->left = sn_json_bool(o, "strip_left", true), n->right = sn_json_bool(o, "strip_right", true);
    return SN_OK;
}

static sn_status read_bert(sn_chain *c, const char *path, const json_t *o, sn_normalizer *n, sn_error *error) {
    n->clean = sn_json_bool(o, "clean_text", true), n->chinese = sn_json_bool(o, "handle_chinese_chars", true);
    n->lowercase = sn_json_bool(o, "lowercase", true), n->strip_accents = sn_json_bool(o, "strip_accents", n->lowercase);
    return SN_OK;
}

static const struct {
    const char *type;
    void (*apply)(const sn_normalizer *n, const char *text, size_t length, sn_buf *out);
    sn_normal_form form;
    sn_status (*read)(sn_chain *c, const char *path, const json_t *o, sn_normalizer *n, sn_error *error);
} kinds[] = {
    {"NFC", apply_form, SN_NFC}, {"NFD", apply_form, SN_NFD}, {"NFKC", apply_form, SN_NFKC}, {"NFKD", apply_form, SN_NFKD},
    {"Lowercase", apply_lowercase}, {"StripAccents", apply_strip_accents}, {"ByteLevel", apply_byte_level}, {"Nmt", apply_nmt},
    {"Strip", apply_strip, 0, read_strip}, {"Replace", apply_replace, 0, read_replace}, {"Prepend", apply_prepend, 0, read_prepend},
    {"Precompiled", apply_precompiled, 0, read_precompiled}, {"BertNormalizer", apply_bert, 0, read_bert}};

sn_status sn_normalizers_read(sn_chain *c, const char *path, const json_t *object, sn_error *error) {
    if (!object || json_is_null(object)) return SN_OK;
    const char *type = sn_json_string(object, "type");
    if (type && strcmp(type, "Sequence") == 0) {
        sn_status status = SN_OK;
        const json_t *list = json_object_get(object, "normalizers");
        for (size_t i = 0; i < json_array_size(list) && !status; i++) status = sn_normalizers_read(c, path, json_array_get(list, i), error);
        return status;
    }
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (!type || strcmp(kinds[k].type, type) != 0) continue;
        if (!sn_grow((void **)&c->normalizers, &c->normalizer_capacity, c->num_normalizers + 1, sizeof *c->normalizers)) return sn_fail_memory(error);
        sn_normalizer *n = &c->normalizers[c->num_normalizers++];
        *n = (sn_normalizer){.apply = kinds[k].apply, .form = kinds[k].form};
        return kinds[k].read ? kinds[k].read(c, path, object, n, error) : SN_OK;
    }
    return sn_fail(error, SN_ERROR_SUPPORT, "%s: normalizer: found type %s, which is not supported", path, type ? type : "(none)");
}

void sn_normalizer_free(sn_normalizer *n) {
    sn_pattern_free(n->pattern);
    sn_charsmap_close(n->map);
}

void sn_normalizers_run(const sn_chain *c, const char *text, size_t length, int flags, sn_buf *out) {
    sn_buf from = {0};
    out->length = 0;
    sn_buf_add(out, text, length);
    for (size_t i = 0; i < c->num_normalizers; i++) {
        if (flags & c->normalizers[i].unless) continue;
        sn_buf swap = from;
        from = *out, *out = swap;
        out->length = 0, out->failed |= from.failed;
        c->normalizers[i].apply(&c->normalizers[i], from.data ? from.data : "", from.length, out);
    }
    sn_buf_free(&from);
}
