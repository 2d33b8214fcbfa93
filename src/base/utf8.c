/* A table of lead bytes says how many bytes follow and which range the first of them may have; that
 * one restriction excludes overlong forms, surrogates and values above U+10FFFF (Unicode, table 3-7). */
#include "base/utf8.h"

static int lead(unsigned char c, unsigned char *low, unsigned char *high) {
    *low = 0x80, *high = 0xbf;
    if (c < 0x80) return 1;
    if (c >= 0xc2 && c <= 0xdf) return 2;
    if (c >= 0xe0 && c <= 0xef) {
        if (c == 0xe0) *low = 0xa0;
        if (c == 0xed) *high = 0x9f;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (c == 0xf0) *low = 0x90;
        if (c == 0xf4) *high = 0x8f;
        return 4;
    }
    return 0;
}

/* Bytes of the sequence at text that are well-formed so far (up to the full length). */
static size_t well_formed(const char *text, size_t length, int *want) {
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    *want = length ? lead(s[0], &low, &high) : 0;
    if (*want == 0) return 0;
    size_t n = 1;
    while (n < (size_t)*want && n < length && s[n] >= low && s[n] <= high) {
        low = 0x80, high = 0xbf;
        n++;
    }
    return n;
}

int sn_utf8_decode(const char *text, size_t length, uint32_t *point) {
    int want;
    size_t n = well_formed(text, length, &want);
    if (want == 0 || n < (size_t)want) return 0;
    const unsigned char *s = (const unsigned char *)text;
    static const unsigned char mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t value = s[0] & mask[want];
    for (int i = 1; i < want; i++) value = value << 6 | (s[i] & 0x3f);
    *point = value;
    return want;
}

int sn_utf8_encode(uint32_t p, char *out) {
    if (p < 0x80) {
        out[0] = (char)p;
        return 1;
    }
    if (p < 0x800) {
        out[0] = (char)(0xc0 | p >> 6), out[1] = (char)(0x80 | (p & 0x3f));
        return 2;
    }
    if (p < 0x10000) {
        out[0] = (char)(0xe0 | p >> 12), out[1] = (char)(0x80 | (p >> 6 & 0x3f));
        out[2] = (char)(0x80 | (p & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | p >> 18), out[1] = (char)(0x80 | (p >> 12 & 0x3f));
    out[2] = (char)(0x80 | (p >> 6 & 0x3f)), out[3] = (char)(0x80 | (p & 0x3f));
    return 4;
}

bool sn_utf8_valid(const char *text, size_t length, size_t *offset) {
    size_t at = 0;
    while (at < length) {
        uint32_t point;
        int bytes = sn_utf8_decode(text + at, length - at, &point);
        if (bytes == 0) {
            if (offset) *offset = at;
            return false;
        }
        at += (size_t)bytes;
    }
    return true;
}

size_t sn_utf8_unfinished(const char *text, size_t length) {
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        int want;
        size_t n = well_formed(text + length - back, back, &want);
        if (want > 1) return n == back && n < (size_t)want ? back : 0;
        if (want == 1) return 0;
    }
    return 0;
}

size_t sn_utf8_bad_length(const char *text, size_t length) {
    int want;
    size_t n = well_formed(text, length, &want);
    return n ? n : 1;
}
