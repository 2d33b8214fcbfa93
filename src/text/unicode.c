/* Unicode: what utf8proc's tables say, in the terms of the tokenizers.
 *
 * Decomposition puts runs of marks in order by a stable sort by class, so that a megabyte of marks costs no more
 * than a megabyte of letters. */
#include "text/unicode.h"

#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

static utf8proc_category_t category(uint32_t p) { return utf8proc_category((utf8proc_int32_t)p); }

bool sn_is_space(uint32_t p) {
    return (p >= 0x09 && p <= 0x0d) || p == 0x20 || p == 0x85 || p == 0xa0 || p == 0x1680 || (p >= 0x2000 && p <= 0x200a) || p == 0x2028 || p == 0x2029 || p == 0x202f ||
           p == 0x205f || p == 0x3000;
}

bool sn_is_letter(uint32_t p) {
    if (p < 0x80) return (p | 0x20) >= 'a' && (p | 0x20) <= 'z';
    utf8proc_category_t c = category(p);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool sn_is_number(uint32_t p) {
    if (p < 0x80) return p >= '0' && p <= '9';
    utf8proc_category_t c = category(p);
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool sn_is_mark(uint32_t p) {
    utf8proc_category_t c = category(p);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool sn_is_nonspacing(uint32_t p) { return category(p) == UTF8PROC_CATEGORY_MN; }

bool sn_is_punctuation(uint32_t p) {
    if (p < 0x80) return p > 0x20 && p < 0x7f && !sn_is_letter(p) && !sn_is_number(p);
    utf8proc_category_t c = category(p);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool sn_is_control(uint32_t p) {
    utf8proc_category_t c = category(p);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

bool sn_is_word(uint32_t p) {
    if (p < 0x80) return sn_is_letter(p) || sn_is_number(p) || p == '_';
    utf8proc_category_t c = category(p);
    bool joiner = p == 0x200c || p == 0x200d, circled = (p >= 0x24b6 && p <= 0x24e9) || (p >= 0x1f130 && p <= 0x1f149) || (p >= 0x1f150 && p <= 0x1f169) || (p >= 0x1f170 && p <= 0x1f189);
    return sn_is_letter(p) || sn_is_mark(p) || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC || joiner || circled;
}

int sn_lower(uint32_t p, uint32_t out[2]) {
    if (p == 0x130) { /* the one character whose lower case has two */
        out[0] = 'i', out[1] = 0x307;
        return 2;
    }
    out[0] = p < 0x80 ? (p >= 'A' && p <= 'Z' ? p | 0x20 : p) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)p);
    return 1;
}

uint32_t sn_upper(uint32_t p) { return (uint32_t)utf8proc_toupper((utf8proc_int32_t)p); }

uint32_t sn_next_point(const char *text, size_t length, size_t *at) {
    uint32_t point;
    int bytes = sn_utf8_decode(text + *at, length - *at, &point);
    *at += bytes ? (size_t)bytes : 1;
    return bytes ? point : 0xfffd;
}

void sn_add_point(sn_buf *out, uint32_t point) {
    char bytes[4];
    sn_buf_add(out, bytes, (size_t)sn_utf8_encode(point, bytes));
}

/* ---- normal forms ---- */

typedef struct points {
    utf8proc_int32_t *data;
    size_t count, capacity;
} points;

static int combining(utf8proc_int32_t p) { return p < 0x300 ? 0 : (int)utf8proc_get_property(p)->combining_class; }

/* Stable counting sort by combining class of the marks in [from, to); `spare` holds as many. */
static void order_marks(utf8proc_int32_t *p, size_t from, size_t to, utf8proc_int32_t *spare) {
    if (to - from < 2) return;
    size_t start[257] = {0};
    for (size_t i = from; i < to; i++) start[combining(p[i]) + 1]++;
    for (int c = 0; c < 256; c++) start[c + 1] += start[c];
    for (size_t i = from; i < to; i++) spare[start[combining(p[i])]++] = p[i];
    memcpy(p + from, spare, (to - from) * sizeof *p);
}

static bool decompose(const char *text, size_t length, utf8proc_option_t options, points *out) {
    for (size_t at = 0; at < length;) {
        utf8proc_int32_t point = (utf8proc_int32_t)sn_next_point(text, length, &at);
        enum { LONGEST = 32 };
        if (!sn_grow((void **)&out->data, &out->capacity, out->count + LONGEST, sizeof *out->data)) return false;
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char(point, out->data + out->count, LONGEST, options, &boundary);
        if (n >= 0 && n <= LONGEST) out->count += (size_t)n;
        else out->data[out->count++] = point;
    }
    return true;
}

void sn_normal_form_add(sn_normal_form form, const char *text, size_t length, sn_buf *out) {
    bool ascii = true;
    for (size_t i = 0; i < length && ascii; i++) ascii = (unsigned char)text[i] < 0x80;
    if (ascii) {
        sn_buf_add(out, text, length);
        return;
    }
    bool compatible = form == SN_NFKC || form == SN_NFKD, compose = form == SN_NFC || form == SN_NFKC;
    points p = {0};
    bool ok = decompose(text, length, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0), &p);
    utf8proc_int32_t *spare = ok ? sn_alloc(p.count + 1, sizeof *spare) : NULL;
    if (spare) {
        for (size_t i = 0, end; i < p.count; i = end + 1) {
            for (end = i; end < p.count && combining(p.data[end]); end++) {}
            order_marks(p.data, i, end, spare);
        }
        utf8proc_ssize_t count = (utf8proc_ssize_t)p.count;
        if (compose) count = utf8proc_normalize_utf32(p.data, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        for (utf8proc_ssize_t i = 0; i < count; i++) sn_add_point(out, (uint32_t)p.data[i]);
    } else {
        out->failed = true;
    }
    sn_free(spare);
    sn_free(p.data);
}

size_t sn_grapheme(const char *text, size_t length) {
    size_t at = 0;
    utf8proc_int32_t state = 0, before = (utf8proc_int32_t)sn_next_point(text, length, &at);
    while (at < length) {
        size_t next = at;
        utf8proc_int32_t point = (utf8proc_int32_t)sn_next_point(text, length, &next);
        if (utf8proc_grapheme_break_stateful(before, point, &state)) break;
        before = point, at = next;
    }
    return at;
}
